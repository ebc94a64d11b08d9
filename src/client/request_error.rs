//! What went wrong on the way to Wacht or back.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// There was no complete answer. The cause is in [`source`](StdError::source).
///
/// Where no connection came about, the text says where to: scheme, host and port alone, of the service
/// and of the proxy that is set.
///
/// ```
/// use wacht_auth::{Error, WachtClient};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = WachtClient::builder("wk_live_...")
///     .api_url("http://127.0.0.1:1") // where nobody listens
///     .no_retries()
///     .build()?;
/// match client.api_keys().list_api_auth_apps().send().await {
///     Err(Error::Request(error)) => assert!(error.is_connect(), "so nothing was sent"),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RequestError {
    service: &'static str,
    /// Where it is, and the proxy that is set, if one is.
    place: Arc<str>,
    kind: RequestErrorKind,
    source: Box<dyn StdError + Send + Sync>,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestErrorKind {
    /// There was no connection.
    Connect { is_timeout: bool },
    /// Time ran out.
    Timeout,
    /// The connection ended before an answer began.
    Unanswered,
    /// Whatever else, such as half an answer.
    Other,
}

impl RequestError {
    pub(super) fn new(
        service: &'static str,
        place: Arc<str>,
        kind: RequestErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            service,
            place,
            kind,
            source: source.into(),
        }
    }

    /// Whether the connection ended before an answer began.
    pub(super) fn is_unanswered(&self) -> bool {
        self.kind == RequestErrorKind::Unanswered
    }

    /// Whether time ran out, while connecting or later.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(
            self.kind,
            RequestErrorKind::Timeout | RequestErrorKind::Connect { is_timeout: true }
        )
    }

    /// Whether no connection came about, so that nothing was sent.
    ///
    /// # Troubleshooting
    ///
    /// This is typically caused by a wrong base URL, a missing route or proxy, or a certificate
    /// that is not trusted; the source says which.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self.kind, RequestErrorKind::Connect { .. })
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, place, .. } = self;
        match (self.is_connect(), self.is_timeout()) {
            (true, true) => write!(
                f,
                "could not connect to {service} at {place} in time: check the URL and the network"
            ),
            (true, false) => write!(
                f,
                "could not connect to {service} at {place}: check the URL, the network and the \
                 certificates"
            ),
            (false, true) => write!(
                f,
                "{service} did not answer in time; what was asked may have been done"
            ),
            (false, false) => write!(
                f,
                "the connection to {service} failed; what was asked may have been done"
            ),
        }
    }
}

impl RequestError {
    /// The word of whoever failed first, such as the operating system or TLS. It names no URL.
    pub(crate) fn cause(&self) -> &dyn StdError {
        innermost(&*self.source)
    }
}

/// The reason at the bottom: above it the HTTP library only says "builder error".
pub(super) fn innermost<'a>(error: &'a (dyn StdError + 'static)) -> &'a dyn StdError {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

impl StdError for RequestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
