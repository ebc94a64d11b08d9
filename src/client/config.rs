//! What a client can be told before it is made.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use super::error::{Error, Result};
use super::retry::RetryPolicy;
use super::transport::{self, Transport};
use super::{Inner, WachtClient};

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
    pub(super) api_key: SecretString,
    pub(super) api_url: String,
    pub(super) gateway_url: String,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) user_agent: String,
    pub(super) proxy: Option<String>,
    pub(super) allow_plaintext: bool,
    pub(super) retries: RetryPolicy,
}

impl WachtClientBuilder {
    pub(super) fn new(api_key: String) -> Self {
        Self {
            api_key: api_key.into(),
            api_url: API_URL.to_owned(),
            gateway_url: GATEWAY_URL.to_owned(),
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            user_agent: USER_AGENT.to_owned(),
            proxy: None,
            allow_plaintext: false,
            retries: RetryPolicy::default(),
        }
    }

    /// Sets where the management API is. Defaults to `https://api.wacht.dev`.
    ///
    /// A path is kept and trailing slashes do not matter. User info, query and fragment are
    /// refused by [`build`](Self::build).
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.api_url = url.into();
        self
    }

    /// Sets where the gateway is. Defaults to `https://gateway.wacht.dev`.
    ///
    /// The rules are those of [`api_url`](Self::api_url). The gateway never gets the API key of
    /// this client.
    pub fn gateway_url(mut self, url: impl Into<String>) -> Self {
        self.gateway_url = url.into();
        self
    }

    /// Sets how long one call may take in all, from connecting to the last byte of the answer.
    /// Defaults to 10 seconds. A call that is [repeated](RetryPolicy) may take it each time.
    pub fn timeout(mut self, total: Duration) -> Self {
        self.timeout = total;
        self
    }

    /// Sets how long making a connection may take, TLS included. Defaults to 2 seconds, so that
    /// a host that is gone is noticed well before [`timeout`](Self::timeout).
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the `User-Agent` header of the client's requests. Defaults to `wacht-auth/` and the
    /// version of this crate.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sends every request through this HTTP proxy. The URL may carry a user name and password.
    ///
    /// Without this, `HTTPS_PROXY` (or `ALL_PROXY`) and `NO_PROXY` of the environment are
    /// respected for `https` URLs to hosts other than loopback, and nothing else is.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
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
        self.allow_plaintext = true;
        self
    }

    /// Sets when calls of the management API are repeated. Defaults to
    /// [`RetryPolicy::default`]: three attempts of calls that only read.
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.retries = policy;
        self
    }

    /// Makes every call once, as [`RetryPolicy::none`] does.
    pub fn no_retries(self) -> Self {
        self.retries(RetryPolicy::none())
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
    /// [`Error::Config`] when the key is empty or no header value, a URL is refused, a time-out
    /// is zero, the user agent is no header value, a proxy URL does not parse, or `https` is
    /// wanted on a machine without certificate store.
    pub fn build(self) -> Result<WachtClient> {
        self.build_with(environment)
    }

    pub(super) fn build_with(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<WachtClient> {
        let transport = self.transport(variable).map_err(Error::Config)?;
        Ok(WachtClient {
            inner: Inner::new(Ok(transport)),
        })
    }

    pub(super) fn transport(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Transport, String> {
        Transport::new(self, &variable)
    }
}

impl fmt::Debug for WachtClientBuilder {
    // The URLs are not shown: until they are checked they may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WachtClientBuilder")
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("user_agent", &self.user_agent)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// The variables of this process.
pub(super) fn environment(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// Settings as the environment has them, each checked under the name of its variable.
pub(super) fn from_variables(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<WachtClientBuilder> {
    let text = |name: &str| match variable(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(Error::Config(format!("{name} is not valid Unicode"))),
    };
    let Some(api_key) = text("WACHT_API_KEY")? else {
        return Err(Error::Config("WACHT_API_KEY is not set".to_owned()));
    };
    transport::check_key("WACHT_API_KEY", &api_key).map_err(Error::Config)?;

    let mut builder = WachtClientBuilder::new(api_key);
    for (name, setting) in [
        ("WACHT_API_URL", &mut builder.api_url),
        ("WACHT_GATEWAY_URL", &mut builder.gateway_url),
    ] {
        if let Some(url) = text(name)?.filter(|url| !url.is_empty()) {
            transport::check_url(name, &url, false).map_err(Error::Config)?;
            *setting = url;
        }
    }
    Ok(builder)
}

const API_URL: &str = "https://api.wacht.dev";
const GATEWAY_URL: &str = "https://gateway.wacht.dev";
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const USER_AGENT: &str = concat!("wacht-auth/", env!("CARGO_PKG_VERSION"));
