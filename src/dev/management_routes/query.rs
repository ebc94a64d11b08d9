//! Parameters of the query.

use http::StatusCode;

use super::refusal::Result;
use crate::dev::answer::Answer;

pub(super) fn query_value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.as_str())
}

pub(super) fn flag(query: &[(String, String)], name: &str) -> Result<bool> {
    match query_value(query, name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Answer::generic(StatusCode::BAD_REQUEST)),
    }
}
