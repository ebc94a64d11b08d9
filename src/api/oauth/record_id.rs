//! How a caller names an OAuth client or a grant.

use std::fmt;

use super::{OAuthClient, OAuthGrant};
use crate::client::{Error, Result};

/// The id of a record, of an OAuth client or of a grant: a decimal number, given as a number, as
/// text, or by the object itself.
///
/// For a client it is [`OAuthClient::id`], not the public `client_id` that begins with `oc_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordId(String);

impl RecordId {
    /// The id as Wacht writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is wrong with it as the id of `what`.
    pub(super) fn check(&self, what: &str) -> Result<()> {
        if self.0.parse::<i64>().is_ok() {
            return Ok(());
        }
        let id = &self.0;
        let hint = match id.starts_with("oc_") {
            true => ": it looks like a `client_id`, and the record's `id` is needed",
            false => ": ids are decimal numbers",
        };
        let message = format!("{id:?} is no id of {what}{hint}");
        Err(Error::InvalidRequest(message))
    }
}

impl From<i64> for RecordId {
    fn from(id: i64) -> Self {
        Self(id.to_string())
    }
}

impl From<&str> for RecordId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl From<&String> for RecordId {
    fn from(id: &String) -> Self {
        Self(id.clone())
    }
}

impl From<String> for RecordId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl From<&OAuthClient> for RecordId {
    fn from(client: &OAuthClient) -> Self {
        Self::from(client.id)
    }
}

impl From<&OAuthGrant> for RecordId {
    fn from(grant: &OAuthGrant) -> Self {
        Self::from(grant.id)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
