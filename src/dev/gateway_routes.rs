//! The gateway: `POST /v1/authz/check` and `GET /health`.

mod check;
mod decision;
mod permission;
mod subject;
mod verdict;

use http::{Method, StatusCode};

use super::answer::Answer;
use super::call::{CHECK, Call};
use super::state::State;

pub(super) use self::decision::limited;
pub(super) use self::subject::api_key;

pub(super) fn route(state: &mut State, call: &Call) -> Answer {
    match (call.uri.path(), &call.method) {
        (CHECK, &Method::POST) => check::check(state, call),
        (CHECK, _) => Answer::empty(StatusCode::METHOD_NOT_ALLOWED).allowing("POST"),
        ("/health", &Method::GET | &Method::HEAD) => Answer::text(StatusCode::OK, "OK"),
        ("/health", _) => Answer::empty(StatusCode::METHOD_NOT_ALLOWED).allowing("GET,HEAD"),
        _ => Answer::empty(StatusCode::NOT_FOUND),
    }
}
