//! Keys and access tokens that were issued.

use std::fmt;

use super::secret::hex_digest;

/// A key or an access token that was issued. `Debug` hides the secret.
///
/// The journal names keys by their digest:
///
/// ```
/// use wacht_auth::api::gateway::CheckRequest;
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let key = wacht.issue_key("orders").issue();
/// client.gateway().check(CheckRequest::api_key(key.secret())).send().await?;
/// assert_eq!(wacht.journal().checks_asked()[0].key_sha256, key.sha256());
/// assert!(!format!("{key:?} {:?}", wacht.journal()).contains(key.secret()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DevKey {
    pub(super) secret: String,
    pub(super) key_id: i64,
}

impl DevKey {
    /// What a caller sends.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The id `identity.key_id` shows: of the key, or of an access token's OAuth client.
    #[must_use]
    pub fn key_id(&self) -> i64 {
        self.key_id
    }

    /// SHA-256 of the secret in lower-case hex, as the [`Journal`](super::Journal) names it.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex_digest(&self.secret)
    }
}

impl fmt::Debug for DevKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}
