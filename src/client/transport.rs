//! One exchange with one of Wacht's two services. The HTTP library stays in this room.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{NoProxy, Proxy, Url};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use self::pools::{Connections, Pool, Pools};
use super::config::Config;
use super::config_error::{ConfigError, ConfigErrorKind};
use super::decode::DecodeError;
use super::error::{Error, Result};
use super::log::LOG;
use super::request::{Payload, Request};
use super::request_error::{RequestError, RequestErrorKind};
use super::retry::RetryPolicy;
use crate::clock::Clock;

mod multipart;
mod pools;
mod tls;

#[cfg(feature = "redis")]
pub(crate) use self::tls::provider as crypto_provider;

/// The two services, and which credential goes where.
pub(crate) struct Transport {
    gateway: Endpoint,
    management: Endpoint,
    api_key: SecretString,
    timeout: Duration,
    retries: RetryPolicy,
    clock: Clock,
}

/// One of the two services: where it is, and the connections to it.
struct Endpoint {
    service: Service,
    url: Url,
    /// For people: without path or password, and with the proxy.
    place: Arc<str>,
    pools: Pools,
    /// How many bytes of a good answer are read, unless the request says otherwise.
    body_limit: usize,
}

#[derive(Clone, Copy)]
enum Service {
    Gateway,
    Management,
}

impl Transport {
    pub(super) fn new(
        settings: &Config,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        check_key("the management key", settings.api_key.expose_secret())?;
        let api_url = check_url("api_url", &settings.api_url, settings.allow_plaintext)?;
        let gateway_url = check_url(
            "gateway_url",
            &settings.gateway_url,
            settings.allow_plaintext,
        )?;
        for (name, is_zero) in [
            ("timeout", settings.timeout.is_zero()),
            ("connect_timeout", settings.connect_timeout.is_zero()),
            ("pool_idle_timeout", settings.pool_idle_timeout.is_zero()),
            ("answer_limit", settings.answer_limit == 0),
        ] {
            if is_zero {
                let message = format!("{name} must not be zero");
                return Err(ConfigError::new(ConfigErrorKind::Setting, message));
            }
        }
        let user_agent = HeaderValue::from_str(&settings.user_agent).map_err(|_| {
            ConfigError::new(
                ConfigErrorKind::Setting,
                "user_agent is not a header value: give visible ASCII",
            )
        })?;
        let mut needs_roots = is_https(&api_url) || is_https(&gateway_url);
        let proxy = match &settings.proxy {
            Some(url) => {
                needs_roots |= starts_with_https(url);
                let proxy = Proxy::all(url).map_err(|_| not_a_url("proxy"))?;
                Some((proxy, format!("through the proxy {}", origin(url))))
            }
            None => environment_proxy(variable)?,
        };
        let (proxy, through) = proxy.unzip();
        let place = |url: &Url| match &through {
            Some(through) => format!("{} ({through})", origin(url.as_str())).into(),
            None => origin(url.as_str()).into(),
        };
        let connections = Arc::new(Connections {
            tls: tls::client_config(needs_roots, &settings.root_certificates)?,
            proxy,
            user_agent,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.pool_idle_timeout,
            pings: settings.pings,
        });
        let clock = Clock::system();
        Ok(Self {
            gateway: Endpoint {
                service: Service::Gateway,
                place: place(&gateway_url),
                url: gateway_url,
                pools: Pools::new(&connections, &clock),
                body_limit: settings.answer_limit,
            },
            management: Endpoint {
                service: Service::Management,
                place: place(&api_url),
                url: api_url,
                pools: Pools::new(&connections, &clock),
                body_limit: MANAGEMENT_BODY_LIMIT,
            },
            api_key: settings.api_key.clone(),
            timeout: settings.timeout,
            retries: settings.retries.clone(),
            clock,
        })
    }

    /// What only a client with the same management key can have made of this.
    pub(super) fn seal(&self, name: &str, bytes: &[u8]) -> [u8; 32] {
        let key = self.api_key.expose_secret();
        let keyed = |of: &str| Sha256::new_with_prefix(format!("wacht-auth, {of} {key} "));
        let inner = keyed("a page").chain_update(name).chain_update([0]);
        let inner = inner.chain_update(bytes).finalize();
        // Twice, so that nobody can go on from where the first has ended.
        keyed("a seal").chain_update(inner).finalize().into()
    }

    /// Half of a digest of the management key, under a name of its own.
    #[cfg(feature = "redis")]
    pub(super) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new_with_prefix(b"wacht-auth, replicas with the management key ");
        digest.update(self.api_key.expose_secret());
        let half = digest.finalize().into_iter().take(16);
        half.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Posts a check to the gateway and waits at most `limit` for the answer, and never longer than
    /// the client's time-out; `secret` is what the check is about.
    ///
    /// Without `Authorization`: the gateway asks for none, and the management key has no business
    /// there. Sent once more if its connection ended without an answer, as one does that is closed
    /// just as it is used again; otherwise never twice, as each check counts against the caller's
    /// limits.
    pub(crate) async fn check(
        &self,
        body: Bytes,
        secret: &SecretString,
        limit: Option<Duration>,
    ) -> Result<Bytes> {
        let limit = self.at_most(limit);
        let url = join(&self.gateway.url, CHECK)?;
        let attempt = async |pool: &Pool, limit: Duration, resends: u32| {
            let request = pool
                .http
                .post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone())
                .timeout(limit);
            let span = span(&Method::POST, &self.gateway.url, CHECK, resends);
            let limit = self.gateway.body_limit;
            let exchange = self.gateway.exchange(pool, request, limit, secret, span);
            exchange.await
        };
        let pool = self.gateway.pools.of_this_runtime()?;
        let began = self.clock.now().monotonic;
        let answer = attempt(&pool, limit, 0).await;
        let took = self.clock.now().monotonic.saturating_sub(began);
        match answer {
            Err(Error::Request(error)) if error.is_unanswered() && took < limit => {
                tracing::debug!(target: LOG, %error, "asking the Wacht gateway again");
                let pool = self.gateway.pools.instead_of(&pool)?;
                attempt(&pool, limit.saturating_sub(took), 1).await
            }
            answer => answer,
        }
    }

    /// Asks the management API and waits at most `limit` for each answer, and never longer than the
    /// client's time-out. With `repeat`, the request changes nothing when it is made twice.
    pub(crate) async fn manage(
        &self,
        request: &Request,
        repeat: bool,
        limit: Option<Duration>,
    ) -> Result<Bytes> {
        let limit = self.at_most(limit);
        if !repeat {
            return self.manage_once(request, limit, 0).await;
        }
        let attempt = |limit, resends| self.manage_once(request, limit, resends);
        self.retries.run(limit, attempt).await
    }

    fn at_most(&self, limit: Option<Duration>) -> Duration {
        limit.map_or(self.timeout, |limit| limit.min(self.timeout))
    }

    /// Asks the management API once and waits at most `limit` for the answer. It has been asked
    /// the same `resends` times before.
    async fn manage_once(&self, request: &Request, limit: Duration, resends: u32) -> Result<Bytes> {
        let mut url = join(&self.management.url, &request.path)?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let pool = self.management.pools.of_this_runtime()?;
        let http = pool
            .http
            .request(request.method.clone(), url)
            .header(AUTHORIZATION, self.bearer()?)
            .timeout(limit);
        let http = match &request.payload {
            Payload::None => http,
            Payload::Json(body) => http
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            Payload::Multipart(form) => {
                let (content_type, body) = multipart::encode(form)?;
                http.header(CONTENT_TYPE, content_type).body(body)
            }
        };
        let span = span(
            &request.method,
            &self.management.url,
            &request.template,
            resends,
        );
        let management = &self.management;
        let body_limit = request.answer_limit.unwrap_or(management.body_limit);
        let exchange = management.exchange(&pool, http, body_limit, &self.api_key, span);
        exchange.await
    }

    fn bearer(&self) -> Result<HeaderValue> {
        let text = format!("Bearer {}", self.api_key.expose_secret());
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| management_key("the management key is not a header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("api_url", &self.management.shown_url())
            .field("gateway_url", &self.gateway.shown_url())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    fn shown_url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Sends a request over a connection of `pool`; `secret` shows in nothing of what comes of it.
    async fn exchange(
        &self,
        pool: &Pool,
        request: reqwest::RequestBuilder,
        body_limit: usize,
        secret: &SecretString,
        span: Span,
    ) -> Result<Bytes> {
        // Named, not looked up: where a filter has switched this span off, the current one is the
        // caller's, which may have fields of the same names.
        let sent = self.send(pool, request, body_limit, secret, &span);
        let sent = sent.instrument(span.clone()).await;
        sent.inspect_err(|error| record_error(&span, error))
    }

    async fn send(
        &self,
        pool: &Pool,
        request: reqwest::RequestBuilder,
        body_limit: usize,
        secret: &SecretString,
        span: &Span,
    ) -> Result<Bytes> {
        let failed = |error| self.request_error(error, false);
        let response = request.send().await.map_err(|error| {
            let is_unanswered = is_unanswered(&error);
            if is_unanswered || error.is_timeout() {
                self.pools.suspect(pool);
            }
            self.request_error(error, is_unanswered)
        })?;
        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        if self.service.is_success(status) {
            let (body, complete) = read(response, body_limit).await.map_err(failed)?;
            if !complete {
                return Err(DecodeError::too_long(body_limit).into());
            }
            return Ok(body.into());
        }
        let headers = HeaderMap::clone(response.headers());
        let (body, _) = read(response, ERROR_BODY_LIMIT).await.map_err(failed)?;
        Err(Error::from_answer(
            status,
            &headers,
            &body,
            secret.expose_secret(),
        ))
    }

    fn request_error(&self, error: reqwest::Error, is_unanswered: bool) -> Error {
        let kind = match (error.is_connect(), error.is_timeout()) {
            (true, is_timeout) => RequestErrorKind::Connect { is_timeout },
            (false, true) => RequestErrorKind::Timeout,
            (false, false) if is_unanswered => RequestErrorKind::Unanswered,
            (false, false) => RequestErrorKind::Other,
        };
        let place = Arc::clone(&self.place);
        RequestError::new(self.service.name(), place, kind, error.without_url()).into()
    }
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "the Wacht gateway",
            Self::Management => "the Wacht management API",
        }
    }

    /// The gateway says everything it says about a key with a 200; another 2xx is not its own.
    fn is_success(self, status: StatusCode) -> bool {
        match self {
            Self::Gateway => status == StatusCode::OK,
            Self::Management => status.is_success(),
        }
    }
}

/// Checks that `key` can travel in a header.
pub(super) fn check_key(name: &str, key: &str) -> Result<(), ConfigError> {
    if key.is_empty() {
        return Err(management_key(format!("{name} is empty")));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(management_key(format!(
            "{name} holds a space, a line break or another character that is not visible ASCII"
        )));
    }
    Ok(())
}

fn management_key(message: impl Into<String>) -> ConfigError {
    ConfigError::new(ConfigErrorKind::ManagementKey, message)
}

/// Checks a base URL. The message never repeats the URL, which may hold a password.
pub(super) fn check_url(name: &str, text: &str, allow_plaintext: bool) -> Result<Url, ConfigError> {
    let refuse = |problem: &str| {
        let message = format!("{name} {problem}");
        Err(ConfigError::new(ConfigErrorKind::Url, message))
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(&format!("is not a URL: {error}")),
    };
    let Some(host) = url.host_str() else {
        return refuse("has no host");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("must not contain a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("must not contain a query or fragment");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_plaintext || is_loopback(host) => Ok(url),
        "http" => {
            let message = format!(
                "{name} is plain http to a host that is not loopback: use https, or \
                 `allow_plaintext` if the network is protected by other means"
            );
            Err(ConfigError::new(ConfigErrorKind::Plaintext, message))
        }
        _ => refuse("is neither https nor http"),
    }
}

fn not_a_url(name: &str) -> ConfigError {
    ConfigError::new(
        ConfigErrorKind::Url,
        format!("{name} is not a URL, such as http://proxy.internal:3128"),
    )
}

/// What a trace shows of one exchange: OpenTelemetry's span of an HTTP client. It goes without
/// `url.full`, which names apps and keys.
fn span(method: &Method, base: &Url, template: &str, resends: u32) -> Span {
    tracing::debug_span!(
        target: LOG,
        "wacht_auth.request",
        otel.kind = "client",
        otel.name = %format_args!("{method} {template}"),
        otel.status_code = Empty,
        "error.type" = Empty,
        http.request.method = %method,
        http.request.resend_count = (resends > 0).then_some(resends),
        http.response.status_code = Empty,
        server.address = base.host_str().map(|host| host.trim_matches(['[', ']'])),
        server.port = base.port_or_known_default(),
        url.scheme = base.scheme(),
        url.template = template,
    )
}

/// Says in the span of an exchange what went wrong.
fn record_error(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    match error {
        Error::Api { status, .. } => span.record("error.type", status.as_str()),
        Error::Request(error) if error.is_timeout() => span.record("error.type", "timeout"),
        Error::Request(error) if error.is_connect() => span.record("error.type", "connect"),
        Error::Request(_) => span.record("error.type", "request"),
        Error::Decode(_) => span.record("error.type", "decode"),
        _ => span.record("error.type", "_OTHER"),
    };
}

/// Reads at most `limit` bytes, and says whether that was all.
async fn read(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend(chunk.into_iter().take(room));
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

/// Whether the connection ended before the head of an answer had come, so that it is not known
/// whether the request was processed, and nothing says that it was.
fn is_unanswered(error: &reqwest::Error) -> bool {
    // Where no connection came about, nothing was sent.
    if error.is_connect() {
        return false;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let ended = match (error.downcast_ref(), error.downcast_ref::<io::Error>()) {
            (Some(error), _) => {
                let error: &hyper::Error = error;
                error.is_incomplete_message() || error.is_canceled() || error.is_closed()
            }
            (_, Some(error)) => matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        if ended {
            return true;
        }
        cause = error.source();
    }
    false
}

/// `base` with `path` behind its own path.
fn join(base: &Url, path: &str) -> Result<Url> {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| Error::InvalidRequest("the path makes no URL".to_owned()))
}

fn environment_proxy(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<(Proxy, String)>, ConfigError> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name)?.into_string().ok()?;
            (!value.is_empty()).then_some((*name, value))
        })
    };
    let Some((name, url)) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
        return Ok(None);
    };
    let through = format!("{name} is set, to the proxy {}", origin(&url));
    let proxy = Proxy::https(url).map_err(|_| not_a_url(name))?;
    let mut direct = String::from(LOOPBACK);
    if let Some((_, more)) = first(&["NO_PROXY", "no_proxy"]) {
        direct.push(',');
        direct.push_str(&more);
    }
    let proxy = proxy.no_proxy(NoProxy::from_string(&direct));
    Ok(Some((proxy, through)))
}

/// Scheme, host and port of a URL, which may be written without the scheme, as those of proxies are.
fn origin(url: &str) -> String {
    let parse = |text: &str| Url::parse(text).ok().filter(Url::has_host);
    let Some(url) = parse(url).or_else(|| parse(&format!("http://{url}"))) else {
        return "that is no URL".to_owned();
    };
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{}", url.scheme(), port.unwrap_or_default())
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

fn is_https(url: &Url) -> bool {
    url.scheme() == "https"
}

fn starts_with_https(url: &str) -> bool {
    url.trim_start()
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case("https:"))
}

/// The gateway's one call.
const CHECK: &str = "/v1/authz/check";
/// A page of 100 apps is about 50 kilobytes.
const MANAGEMENT_BODY_LIMIT: usize = 4 * 1024 * 1024;
/// What is kept of an answer that is not a success; the rest is not read.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1,::ffff:127.0.0.0/104";

#[cfg(test)]
mod tests;
