//! What is wrong with a configuration.

/// A client or a gate cannot be used as it is configured. Nothing was sent.
///
/// Its text says what to change, for people; [`kind`](Self::kind) says it for code. No key and no
/// password of a URL is in either.
///
/// ```
/// use wacht_auth::client::ConfigErrorKind;
/// use wacht_auth::{Error, WachtClient};
///
/// let builder = WachtClient::builder("wk_live_...").api_url("http://wacht.internal");
/// match builder.build() {
///     Err(Error::Config(error)) => {
///         assert_eq!(error.kind(), ConfigErrorKind::Plaintext);
///         assert!(error.to_string().starts_with("api_url is plain http"));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    kind: ConfigErrorKind,
    message: String,
}

/// What has to be changed before a configuration can work; see [`ConfigError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// The deployment does not have an app that the layer accepts keys of: misspelt, deleted, or
    /// one of another deployment.
    AppNotFound,
    /// What names the trusted proxies is no address and no network.
    ClientIp,
    /// The places where a gate looks for keys: none at all, or a name, scheme or prefix in which no
    /// key can arrive.
    Credentials,
    /// The management key belongs to another deployment than the layer.
    DeploymentMismatch,
    /// An environment variable is not set or not valid Unicode. What is wrong with the value of
    /// one is of the value's own kind.
    Environment,
    /// The management key is empty, is no header value, or is one that Wacht does not accept.
    ManagementKey,
    /// The deployment of the management key has no API auth app, so no key is its own.
    NoApps,
    /// A URL is `http://` to a host other than loopback. See
    /// [`allow_plaintext`](crate::client::WachtClientBuilder::allow_plaintext).
    Plaintext,
    /// The client that free functions use: [`init`](crate::init) was not called, or called twice.
    ProcessClient,
    /// Rate-limit rules that cannot be applied here: none, of an unknown unit or mode, or with
    /// less than one request for each replica.
    RateLimits,
    /// A requirement that is no expression of permissions.
    Requirement,
    /// A call was made outside of a tokio runtime.
    Runtime,
    /// Another setting of the client: a time-out of zero, a user agent that is no header value.
    Setting,
    /// The store that replicas share: its URL or another setting of it, or a client that has another
    /// store already.
    Store,
    /// TLS could not be set up. Typically there are no root certificates on the machine, as in a
    /// container image without `ca-certificates`.
    Tls,
    /// A URL, of Wacht or of a proxy, that is none, or that has more in it than a place: user
    /// info, a query or a fragment.
    Url,
}

impl ConfigError {
    pub(crate) fn new(kind: ConfigErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What has to be changed.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}
