//! The client itself: what all its clones share.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::config_error::ConfigError;
use super::error::{Error, Result};
use super::events::Events;
use super::transport::Transport;

/// Talks to Wacht: to the gateway that verifies keys, and to the management API.
///
/// Clones share their connections, so cloning is cheap and one client per process is enough. Calls
/// need a tokio runtime with I/O and time enabled; making a client does not. Each runtime has
/// connections of its own, as they are driven by the one that opened them, so a client can be used
/// from any number of runtimes; of more than 64, those that asked last keep their connections.
///
/// Connections that are dead and do not say so are given up with the first call that waits in vain,
/// and over HTTP/2 are looked after by pings.
///
/// The key of a client is a *management key*: it belongs to one deployment, and is made in Wacht's
/// console under Settings, API Keys. It is not one of the keys that callers show.
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// wacht.app("billing");
/// let client = wacht.client(); // in your service: `WachtClient::from_env()?`
/// let apps = client.api_keys().list_api_auth_apps().send().await?;
/// assert_eq!(apps[0].app_slug, "billing");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WachtClient {
    inner: Arc<Inner>,
}

struct Inner {
    /// The other side says why this client cannot be used.
    transport: Result<Transport, ConfigError>,
    gate_deadline: Duration,
    deployment: OnceLock<i64>,
    events: Arc<Events>,
}

impl WachtClient {
    pub(super) fn of(transport: Result<Transport, ConfigError>, gate_deadline: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                transport,
                gate_deadline,
                deployment: OnceLock::new(),
                events: Arc::default(),
            }),
        }
    }

    pub(crate) fn transport(&self) -> Result<&Transport> {
        self.inner
            .transport
            .as_ref()
            .map_err(|error| Error::Config(error.clone()))
    }

    /// Why no call of this client can succeed, if that is so.
    pub(crate) fn config_error(&self) -> Option<&str> {
        self.inner
            .transport
            .as_ref()
            .err()
            .map(ConfigError::message)
    }

    /// How long a gate on this client waits for an answer unless it is told otherwise.
    pub(crate) fn gate_deadline(&self) -> Duration {
        self.inner.gate_deadline
    }

    /// A secret that all clients with the same management key have, for this purpose.
    #[cfg(feature = "redis")]
    pub(crate) fn secret_for(&self, purpose: &str) -> Result<[u8; 32]> {
        Ok(self.transport()?.seal(purpose, &[]))
    }

    /// Bytes for replicas with the same management key, under a name that they know them by.
    pub(crate) fn sealed(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        let Ok(transport) = self.transport() else {
            return Vec::new();
        };
        [&transport.seal(name, bytes)[..], bytes].concat()
    }

    /// The bytes, if a replica with the same management key has sealed them under this name.
    pub(crate) fn unsealed<'b>(&self, name: &str, sealed: &'b [u8]) -> Option<&'b [u8]> {
        let (seal, bytes) = sealed.split_first_chunk::<32>()?;
        let expected = self.transport().ok()?.seal(name, bytes);
        // All of it, wherever they differ: how long it takes says nothing.
        let differs = seal
            .iter()
            .zip(expected)
            .fold(0, |all, (one, other)| all | (one ^ other));
        (differs == 0).then_some(bytes)
    }

    /// A text that tells clients of different management keys apart, and says nothing of the key.
    #[cfg(feature = "redis")]
    pub(crate) fn fingerprint(&self) -> Result<String> {
        Ok(self.transport()?.fingerprint())
    }

    /// What the calls of this client and its clones tell the gates built on them.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.inner.events
    }

    /// The deployment that the key belongs to, once somebody has learned it: for the life of the
    /// client and all its clones.
    pub(crate) fn deployment(&self) -> &OnceLock<i64> {
        &self.inner.deployment
    }
}

impl fmt::Debug for WachtClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.transport {
            Ok(transport) => f.debug_tuple("WachtClient").field(transport).finish(),
            Err(error) => f
                .debug_struct("WachtClient")
                .field("unusable", &error.message())
                .finish(),
        }
    }
}
