//! How a caller names an OAuth client or a grant.

use std::fmt;

use super::{OAuthClient, OAuthGrant};
use crate::client::{Error, Result};

/// The id of a record, of an OAuth client or of a grant: a decimal number, given as a number, as
/// text, or by the object itself.
///
/// For a client it is [`OAuthClient::id`], not the public `client_id` that begins with `oc_`.
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::models::RecordId;
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// assert_eq!(RecordId::from(8_000_000_000_000_001), RecordId::from("8000000000000001"));
///
/// // A public id in the place of the record's is noticed before anything is sent.
/// let answer = client.oauth().list_oauth_grants("acme-oauth", "oc_8fJ2").send().await;
/// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
/// # Ok(()) }
/// ```
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
