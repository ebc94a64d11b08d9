//! What went wrong on the way to Wacht or back.

use std::error::Error as StdError;
use std::fmt;

/// There was no complete answer. The cause is in [`source`](StdError::source), without any URL.
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
    is_timeout: bool,
    is_connect: bool,
    source: Box<dyn StdError + Send + Sync>,
}

impl RequestError {
    pub(super) fn new(
        service: &'static str,
        is_timeout: bool,
        is_connect: bool,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            service,
            is_timeout,
            is_connect,
            source: source.into(),
        }
    }

    /// Whether time ran out, while connecting or later.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.is_timeout
    }

    /// Whether no connection came about, so that nothing was sent.
    ///
    /// # Troubleshooting
    ///
    /// This is typically caused by a wrong base URL, a missing route or proxy, or a certificate
    /// that is not trusted; the source says which.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.is_connect
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = self.service;
        match (self.is_connect, self.is_timeout) {
            (true, true) => write!(
                f,
                "could not connect to {service} in time: check its URL and the network"
            ),
            (true, false) => write!(
                f,
                "could not connect to {service}: check its URL, the network and the certificates"
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

impl StdError for RequestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
