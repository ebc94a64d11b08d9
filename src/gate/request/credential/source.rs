//! Where callers put their key.

use std::iter;

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::gate::request::credential::identity_headers::is_identity_header;

/// Names a place in a request where callers put their API key.
///
/// A single source and a list of sources are both `impl IntoIterator<Item = CredentialSource>`,
/// so an option that takes several takes one as well:
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{CredentialSource, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client())
///     .app("orders")
///     .credentials([CredentialSource::bearer(), CredentialSource::header("x-api-key")]);
/// # let gate = gate.deadline(std::time::Duration::from_secs(60));
/// let gate = gate.handle();
///
/// let request = Request::get("/orders").header("x-api-key", key.secret()).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// let bearer = format!("bearer {}", key.secret());
/// let request = Request::get("/orders").header("authorization", bearer).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CredentialSource(pub(super) SourceKind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    Bearer,
    Header(HeaderName),
    Unusable(Box<str>),
}

impl CredentialSource {
    /// The token of `Authorization: Bearer <key>` ([RFC 6750]). The word `Bearer` may be in any
    /// case; other schemes, such as `Basic`, count as no credential.
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    #[must_use]
    pub fn bearer() -> Self {
        Self(SourceKind::Bearer)
    }

    /// The whole value of the header `name`, in any case, with no scheme word before the key.
    ///
    /// Three names cannot be used: what is no header name at all, what starts with `x-wacht-`
    /// (such headers are removed from every request, since services might believe them), and
    /// `authorization` next to [`bearer`](Self::bearer). A gate with such a source refuses
    /// every request as misconfigured, and says why in its log.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let gate = |source| {
    ///     let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    /// #     let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///     gate.handle()
    /// };
    /// assert!(gate(CredentialSource::header("x-api-key")).check().await.is_ok());
    /// assert!(gate(CredentialSource::header("x api key")).check().await.is_err());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn header(name: &str) -> Self {
        Self(match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if !is_identity_header(&name) => SourceKind::Header(name),
            _ => SourceKind::Unusable(name.into()),
        })
    }
}

impl IntoIterator for CredentialSource {
    type Item = Self;
    type IntoIter = iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self)
    }
}

impl SourceKind {
    pub(super) fn header_name(&self) -> Option<&HeaderName> {
        match self {
            Self::Bearer => Some(&AUTHORIZATION),
            Self::Header(name) => Some(name),
            Self::Unusable(_) => None,
        }
    }
}
