//! Making a client: by a key alone, by settings, or from the environment.

use std::env;
use std::ffi::OsString;
use std::fmt;
#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::config_error::{ConfigError, ConfigErrorKind};
use super::error::Result;
#[cfg(feature = "redis")]
use super::events::EventStore;
use super::log::LOG;
use super::retry::RetryPolicy;
use super::transport::{self, Transport};
use super::wacht_client::WachtClient;

/// Settings of a [`WachtClient`], by value; made by [`WachtClient::builder`].
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::WachtClient;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = WachtClient::builder("wk_live_...")
///     .api_url("http://127.0.0.1:3001")
///     .gateway_url("http://127.0.0.1:3002")
///     .timeout(Duration::from_secs(5))
///     .connect_timeout(Duration::from_secs(1))
///     .user_agent("billing/2.1")
///     .build()?;
/// assert!(!format!("{client:?}").contains("wk_live_"));
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct WachtClientBuilder {
    config: Config,
}

impl WachtClient {
    /// Makes a client for `api_key`, a management key, with every default of
    /// [`WachtClientBuilder`].
    ///
    /// Never fails and never panics. What cannot be used, such as a key that is no header value
    /// or a machine without certificate store, is logged here once and then returned as
    /// [`Error::Config`](crate::Error::Config) by every call. [`WachtClient::builder`] tells at once.
    ///
    /// ```
    /// use wacht_auth::{Error, WachtClient};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = WachtClient::new("wk_live_...\n"); // read from a file, with its line break
    /// let answer = client.api_keys().list_api_auth_apps().send().await;
    /// assert!(matches!(answer, Err(Error::Config(_))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn new(api_key: impl Into<String>) -> Self {
        let config = Config::new(api_key.into());
        let transport = Transport::new(&config, &environment);
        if let Err(error) = &transport {
            tracing::error!(
                target: LOG,
                reason = error.message(),
                "this Wacht client cannot be used, every call will fail"
            );
        }
        Self::of(transport, config.gate_deadline)
    }

    /// Starts a client for `api_key`, a management key, whose settings differ from the defaults.
    pub fn builder(api_key: impl Into<String>) -> WachtClientBuilder {
        WachtClientBuilder {
            config: Config::new(api_key.into()),
        }
    }

    /// Makes a client from the environment.
    ///
    /// `WACHT_API_KEY`, a management key, is required. `WACHT_API_URL` and `WACHT_GATEWAY_URL`
    /// replace the public addresses; they count as absent when empty.
    ///
    /// ```
    /// use wacht_auth::WachtClient;
    ///
    /// match WachtClient::from_env() {
    ///     Ok(client) => println!("{client:?}"), // says where Wacht is, and not the key
    ///     Err(error) => assert!(error.to_string().contains("WACHT_")),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the variable that is missing or cannot be
    /// used.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(environment)
    }

    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        from_variables(&variable)?.build_with(variable)
    }
}

impl WachtClientBuilder {
    /// Sets where the management API is. Defaults to `https://api.wacht.dev`.
    ///
    /// A path is kept and trailing slashes do not matter. User info, query and fragment are
    /// refused by [`build`](Self::build).
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.config.api_url = url.into();
        self
    }

    /// Sets where the gateway is. Defaults to `https://gateway.wacht.dev`.
    ///
    /// The rules are those of [`api_url`](Self::api_url). The gateway never gets the API key of
    /// this client.
    pub fn gateway_url(mut self, url: impl Into<String>) -> Self {
        self.config.gateway_url = url.into();
        self
    }

    /// Sets how long one call may take in all, from connecting to the last byte of the answer.
    /// Defaults to 10 seconds. A call that is [repeated](RetryPolicy) may take it each time.
    ///
    /// Set this rather than a time-out around a call: one that is dropped while it waits does not
    /// tell the client that its connections may be dead.
    pub fn timeout(mut self, total: Duration) -> Self {
        self.config.timeout = total;
        self
    }

    /// Sets how long making a connection may take, TLS included. Defaults to 2 seconds, so that
    /// a host that is gone is noticed well before [`timeout`](Self::timeout).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.config.connect_timeout = limit;
        self
    }

    /// Sets how long a connection that nobody uses is kept for the next call. Defaults to 30 seconds.
    ///
    /// Set it below the idle time-out of what stands between this process and Wacht: a balancer
    /// that closes a connection just as it is used again costs that call a second attempt, and one
    /// that forgets it without a word costs it the whole time-out. Over HTTP/2, connections are
    /// looked after by pings besides.
    pub fn pool_idle_timeout(mut self, limit: Duration) -> Self {
        self.config.pool_idle_timeout = limit;
        self
    }

    /// Sets how many bytes of a good answer of the gateway are read. Defaults to 4 MiB.
    ///
    /// The answer to a check holds all permissions of the key, twice: 4 MiB are some 30 000 of 60
    /// bytes. A longer answer is an [`Error::Decode`](crate::Error::Decode), and a gate answers 503 for that
    /// key.
    ///
    /// ```
    /// use wacht_auth::{Error, WachtClient};
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let builder = WachtClient::builder(wacht.management_key())
    ///     .api_url(wacht.url())
    ///     .gateway_url(wacht.url());
    /// let client = builder.answer_limit(64 * 1024).build()?;
    ///
    /// let permissions = (0..4_600).map(|number| format!("reports:{number}:read"));
    /// let key = wacht.issue_key("orders").permissions(permissions).issue();
    /// let check = CheckRequest::api_key(key.secret());
    /// let answer = client.gateway().check(check.clone()).send().await;
    /// assert!(matches!(answer, Err(Error::Decode(_))));
    /// assert!(wacht.client().gateway().check(check).send().await?.allowed);
    /// # Ok(()) }
    /// ```
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        self.config.answer_limit = bytes;
        self
    }

    /// Sets the `User-Agent` header of the client's requests. Defaults to `wacht-auth/` and the
    /// version of this crate.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.config.user_agent = user_agent.into();
        self
    }

    /// Sends every request through this HTTP proxy. The URL may carry a user name and password.
    ///
    /// Without this, `HTTPS_PROXY` (or `ALL_PROXY`) and `NO_PROXY` of the environment are
    /// respected for `https` URLs to hosts other than loopback, and nothing else is.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.config.proxy = Some(url.into());
        self
    }

    /// Permits `http://` URLs to hosts other than loopback.
    ///
    /// Callers' keys, and the management key if it is the management API, then cross the network
    /// unprotected; this is for networks that are protected by other means.
    ///
    /// ```
    /// use wacht_auth::{Error, WachtClient};
    ///
    /// let builder = || WachtClient::builder("wk_live_...").gateway_url("http://gateway.internal");
    /// assert!(matches!(builder().build(), Err(Error::Config(_))));
    /// assert!(builder().allow_plaintext().build().is_ok());
    /// ```
    pub fn allow_plaintext(mut self) -> Self {
        self.config.allow_plaintext = true;
        self
    }

    /// Trusts these root certificates beside those of the platform: PEM, one or several behind one
    /// another.
    ///
    /// For a Wacht of your own behind a private certification authority. On Linux the platform's are
    /// the files of `ca-certificates`, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place.
    ///
    /// ```
    /// use wacht_auth::WachtClient;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    /// let authority = std::fs::read(format!("{directory}/certificate.pem"))?;
    /// let builder = WachtClient::builder("wk_live_...").api_url("https://wacht.internal/api");
    /// assert!(builder.root_certificates(authority).build().is_ok());
    /// # Ok(()) }
    /// ```
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        let roots = &mut self.config.root_certificates;
        roots.extend_from_slice(pem.as_ref());
        roots.push(b'\n');
        self
    }

    /// Sets when calls of the management API are repeated. Defaults to
    /// [`RetryPolicy::default`]: three attempts of calls that only read.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.config.retries = policy;
        self
    }

    /// Makes every call once, as [`RetryPolicy::none`] does.
    pub fn no_retries(self) -> Self {
        self.retries(RetryPolicy::none())
    }

    /// Gives gates on this client another deadline to begin with.
    #[cfg(feature = "test-util")]
    pub(crate) fn gate_deadline(mut self, deadline: Duration) -> Self {
        self.config.gate_deadline = deadline;
        self
    }

    /// Lets this tell other replicas of the client's events.
    #[cfg(feature = "redis")]
    pub(crate) fn event_store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.config.event_store = Some(store);
        self
    }

    /// Makes the client. Opens no connection.
    ///
    /// ```
    /// use wacht_auth::{Error, WachtClient};
    ///
    /// let builder = WachtClient::builder("wk_live_...").api_url("https://user:pw@wacht.example");
    /// assert!(matches!(builder.build(), Err(Error::Config(_))));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config), of this [kind](super::ConfigErrorKind):
    ///
    /// - `ManagementKey` when the key is empty or no header value;
    /// - `Url` and `Plaintext` when a URL is refused, or that of a proxy does not parse;
    /// - `Setting` when a time-out or the answer limit is zero, or the user agent no header value;
    /// - `Tls` when `https` is wanted on a machine without certificate store, when a root certificate
    ///   is none, or when there is no crypto provider.
    pub fn build(self) -> Result<WachtClient> {
        self.build_with(environment)
    }

    pub(super) fn build_with(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<WachtClient> {
        let transport = Transport::new(&self.config, &variable)?;
        let client = WachtClient::of(Ok(transport), self.config.gate_deadline);
        #[cfg(feature = "redis")]
        if let Some(store) = &self.config.event_store {
            store.join(&client)?;
        }
        Ok(client)
    }
}

impl fmt::Debug for WachtClientBuilder {
    // The URLs are not shown: until they are checked they may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WachtClientBuilder")
            .field("timeout", &self.config.timeout)
            .field("connect_timeout", &self.config.connect_timeout)
            .field("pool_idle_timeout", &self.config.pool_idle_timeout)
            .field("answer_limit", &self.config.answer_limit)
            .field("user_agent", &self.config.user_agent)
            .field("allow_plaintext", &self.config.allow_plaintext)
            .field("retries", &self.config.retries)
            .finish_non_exhaustive()
    }
}

/// The variables of this process.
fn environment(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// Settings as the environment has them, each checked under the name of its variable.
fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<WachtClientBuilder> {
    let problem = |message| ConfigError::new(ConfigErrorKind::Environment, message);
    let text = |name: &str| match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(problem(format!("{name} is not valid Unicode"))),
    };
    let Some(api_key) = text("WACHT_API_KEY")? else {
        return Err(problem(
            "WACHT_API_KEY is not set: it has to hold a management key, made in Wacht's console"
                .to_owned(),
        )
        .into());
    };
    transport::check_key("WACHT_API_KEY", &api_key)?;

    let mut config = Config::new(api_key);
    for (name, setting) in [
        ("WACHT_API_URL", &mut config.api_url),
        ("WACHT_GATEWAY_URL", &mut config.gateway_url),
    ] {
        if let Some(url) = text(name)?.filter(|url| !url.is_empty()) {
            transport::check_url(name, &url, false)?;
            *setting = url;
        }
    }
    Ok(WachtClientBuilder { config })
}
