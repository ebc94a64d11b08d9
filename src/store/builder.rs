//! The settings of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::RedisStore;
use super::link::Link;
use super::server::{SentinelLogin, Server};
use super::share::Scope;
use crate::client::{ConfigError, ConfigErrorKind, Result};

/// Settings of a [`RedisStore`], by value; made by [`RedisStore::builder`].
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::store::RedisStore;
///
/// # fn main() -> Result<(), wacht_auth::Error> {
/// let store = RedisStore::builder("redis+cluster://10.0.0.1,10.0.0.2")
///     .key_prefix("billing")
///     .deadline(Duration::from_millis(20))
///     .build()?;
/// # let _ = store;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisStoreBuilder {
    url: String,
    key_prefix: String,
    deadline: Duration,
    root_certificates: Option<Vec<u8>>,
    sentinels: SentinelLogin,
    deployment: Option<i64>,
}

impl RedisStoreBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            key_prefix: KEY_PREFIX.to_owned(),
            deadline: DEADLINE,
            root_certificates: None,
            sentinels: SentinelLogin::default(),
            deployment: None,
        }
    }

    /// Sets what the names of all keys in the store begin with. Default: `wacht`.
    ///
    /// Services that share a Redis and not their limits each need their own.
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// Says which deployment the clients with this store are of. Replicas that say the same share what
    /// they revoke, whatever their management keys.
    ///
    /// Default: clients with the same management key share, and no others. So where replicas have
    /// different keys of one deployment, or while a key is replaced, say it.
    pub fn deployment(mut self, id: i64) -> Self {
        self.deployment = Some(id);
        self
    }

    /// Sets how long a request waits for the store at most, before it goes on without. Default: 50 ms.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Trusts the certificates in this PEM text alone, in place of those that the machine trusts.
    /// For a server with a certificate of your own; asks for a `rediss` URL.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    /// Logs in to the sentinels with this password. Default: without one. The password in the URL is the
    /// master's alone.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinels.password = Some(password.into());
        self
    }

    /// Logs in to the sentinels as this user. Default: the one that they call `default`.
    pub fn sentinel_user(mut self, user: impl Into<String>) -> Self {
        self.sentinels.user = Some(user.into());
        self
    }

    /// Makes the store. The network is not touched.
    ///
    /// ```
    /// use wacht_auth::Error;
    /// use wacht_auth::store::RedisStore;
    ///
    /// let error = RedisStore::builder("http://user:a-password@cache.internal").build().unwrap_err();
    /// assert!(matches!(error, Error::Config(_)));
    /// assert!(!error.to_string().contains("a-password"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) of the kind
    /// [`Store`](ConfigErrorKind::Store): the URL is none of those that
    /// [`RedisStore::connect`] knows, the deadline is zero, the prefix is empty, has braces or is
    /// longer than 100 bytes, the certificates cannot be read, or there is a login of sentinels, and none
    /// in the URL.
    pub fn build(self) -> Result<RedisStore> {
        let problem = |what: &str| ConfigError::new(ConfigErrorKind::Store, what);
        if self.deadline.is_zero() {
            return Err(problem("the deadline of the store is zero").into());
        }
        let prefix = &self.key_prefix;
        // Braces say which part of a key's name decides on its node in a cluster.
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || prefix.contains(['{', '}']) {
            return Err(
                problem("the key prefix of the store is empty, too long or has braces").into(),
            );
        }
        let server =
            Server::parse(&self.url, self.root_certificates, self.sentinels).map_err(problem)?;
        Ok(RedisStore {
            link: Arc::new(Link::new(server, self.key_prefix, self.deadline)),
            scope: Scope::of(self.deployment),
            replicas: Arc::default(),
        })
    }
}

impl fmt::Debug for RedisStoreBuilder {
    // Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("key_prefix", &self.key_prefix)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

const KEY_PREFIX: &str = "wacht";
const PREFIX_MAX: usize = 100;
/// Ten times what a store in the same network needs, and too short to be felt.
const DEADLINE: Duration = Duration::from_millis(50);
