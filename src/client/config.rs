//! What a client can be told before it is made.

#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

#[cfg(feature = "redis")]
use super::events::EventStore;
use super::retry::RetryPolicy;

/// The settings of a client, as they were given: nothing is checked yet.
pub(super) struct Config {
    pub(super) api_key: SecretString,
    pub(super) api_url: String,
    pub(super) gateway_url: String,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) pool_idle_timeout: Duration,
    pub(super) pings: Pings,
    /// In bytes, of the gateway.
    pub(super) answer_limit: usize,
    pub(super) user_agent: String,
    pub(super) proxy: Option<String>,
    pub(super) allow_plaintext: bool,
    /// Trusted beside the platform's, as PEM.
    pub(super) root_certificates: Vec<u8>,
    pub(super) retries: RetryPolicy,
    /// How long a gate on this client waits for an answer unless it is told otherwise.
    pub(super) gate_deadline: Duration,
    /// What tells other replicas of its events.
    #[cfg(feature = "redis")]
    pub(super) event_store: Option<Arc<dyn EventStore>>,
}

/// How a dead HTTP/2 connection is noticed, in use or idle.
#[derive(Clone, Copy)]
pub(super) struct Pings {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Config {
    pub(super) fn new(api_key: String) -> Self {
        Self {
            api_key: api_key.into(),
            api_url: API_URL.to_owned(),
            gateway_url: GATEWAY_URL.to_owned(),
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            pool_idle_timeout: POOL_IDLE_TIMEOUT,
            pings: PINGS,
            answer_limit: ANSWER_LIMIT,
            user_agent: USER_AGENT.to_owned(),
            proxy: None,
            allow_plaintext: false,
            root_certificates: Vec::new(),
            retries: RetryPolicy::default(),
            gate_deadline: GATE_DEADLINE,
            #[cfg(feature = "redis")]
            event_store: None,
        }
    }
}

const API_URL: &str = "https://api.wacht.dev";
const GATEWAY_URL: &str = "https://gateway.wacht.dev";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Of a gate that is not told otherwise.
pub(super) const GATE_DEADLINE: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than most balancers keep a connection that nobody uses.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const PINGS: Pings = Pings {
    interval: Duration::from_secs(10),
    timeout: Duration::from_secs(5),
};
/// A check answers in about a kilobyte; a key with tens of thousands of permissions is a key.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
const USER_AGENT: &str = concat!("wacht-auth/", env!("CARGO_PKG_VERSION"));
