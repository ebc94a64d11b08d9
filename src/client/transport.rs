//! One exchange with one of Wacht's two services. The HTTP library stays in this file.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{NoProxy, Proxy, Url, multipart, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::config::Config;
use super::config_error::{ConfigError, ConfigErrorKind};
use super::decode::DecodeError;
use super::error::{Error, Result};
use super::log::LOG;
use super::request::{Form, Payload, Request};
use super::request_error::RequestError;
use super::retry::RetryPolicy;

/// The connections of a client, and which credential goes where.
pub(crate) struct Transport {
    http: reqwest::Client,
    api_url: Url,
    gateway_url: Url,
    api_key: SecretString,
    timeout: Duration,
    retries: RetryPolicy,
}

/// The two services, which share settings of connections and nothing else.
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
        check_key("the API key", settings.api_key.expose_secret())?;
        let api_url = check_url("api_url", &settings.api_url, settings.allow_plaintext)?;
        let gateway_url = check_url(
            "gateway_url",
            &settings.gateway_url,
            settings.allow_plaintext,
        )?;
        for (name, limit) in [
            ("timeout", settings.timeout),
            ("connect_timeout", settings.connect_timeout),
        ] {
            if limit.is_zero() {
                let message = format!("{name} is zero");
                return Err(ConfigError::new(ConfigErrorKind::Setting, message));
            }
        }
        let user_agent = HeaderValue::from_str(&settings.user_agent).map_err(|_| {
            ConfigError::new(ConfigErrorKind::Setting, "user_agent is not a header value")
        })?;

        // Any of the HTTP library's optional features may be switched on by another crate of the
        // same build; what would change what is sent or accepted is therefore refused by name.
        let mut http = reqwest::Client::builder()
            .tls_backend_rustls()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .no_proxy()
            .user_agent(user_agent)
            .timeout(settings.timeout)
            .connect_timeout(settings.connect_timeout);

        let mut needs_roots = is_https(&api_url) || is_https(&gateway_url);
        if let Some(url) = &settings.proxy {
            needs_roots |= starts_with_https(url);
            http = http.proxy(Proxy::all(url).map_err(|_| not_a_url("proxy"))?);
        } else if let Some(proxy) = environment_proxy(variable)? {
            http = http.proxy(proxy);
        }
        if !needs_roots {
            // An empty list of roots is taken as it is, the platform's would be loaded now.
            http = http.tls_certs_only([]);
        }
        // All else was checked before: what is left is to load the roots.
        let http = http.build().map_err(|error| {
            let message = format!("no HTTP client could be made: {}", innermost(&error));
            ConfigError::new(ConfigErrorKind::Tls, message)
        })?;
        Ok(Self {
            http,
            api_url,
            gateway_url,
            api_key: settings.api_key.clone(),
            timeout: settings.timeout,
            retries: settings.retries.clone(),
        })
    }

    /// Posts a check to the gateway; `secret` is what the check is about.
    ///
    /// Without `Authorization`: the gateway asks for none, and the management key has no
    /// business there. Never sent twice: each check counts against the caller's limits.
    pub(crate) async fn check(&self, body: Bytes, secret: &SecretString) -> Result<Bytes> {
        let request = self
            .http
            .post(join(&self.gateway_url, CHECK)?)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let span = span(&Method::POST, &self.gateway_url, CHECK, 0);
        exchange(Service::Gateway, request, secret, span).await
    }

    /// Asks the management API. With `repeat`, the request changes nothing when it is made twice.
    pub(crate) async fn manage(&self, request: &Request, repeat: bool) -> Result<Bytes> {
        if !repeat {
            return self.manage_once(request, self.timeout, 0).await;
        }
        let attempt = |limit, resends| self.manage_once(request, limit, resends);
        self.retries.run(self.timeout, attempt).await
    }

    /// Asks the management API once and waits at most `limit` for the answer. It has been asked
    /// the same `resends` times before.
    async fn manage_once(&self, request: &Request, limit: Duration, resends: u32) -> Result<Bytes> {
        let mut url = join(&self.api_url, &request.path)?;
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let http = self
            .http
            .request(request.method.clone(), url)
            .header(AUTHORIZATION, self.bearer()?)
            .timeout(limit);
        let http = match &request.payload {
            Payload::None => http,
            Payload::Json(body) => http
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            Payload::Multipart(form) => http.multipart(multipart_form(form)?),
        };
        let span = span(&request.method, &self.api_url, &request.template, resends);
        exchange(Service::Management, http, &self.api_key, span).await
    }

    fn bearer(&self) -> Result<HeaderValue> {
        let text = format!("Bearer {}", self.api_key.expose_secret());
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| management_key("the API key is not a header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("api_url", &self.api_url.as_str().trim_end_matches('/'))
            .field(
                "gateway_url",
                &self.gateway_url.as_str().trim_end_matches('/'),
            )
            .finish_non_exhaustive()
    }
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "the Wacht gateway",
            Self::Management => "the Wacht management API",
        }
    }

    /// How many bytes of a good answer are read.
    fn body_limit(self) -> usize {
        match self {
            Self::Gateway => GATEWAY_BODY_LIMIT,
            Self::Management => MANAGEMENT_BODY_LIMIT,
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

fn multipart_form(form: &Form) -> Result<multipart::Form> {
    let mut parts = multipart::Form::new();
    for part in form.parts() {
        let length = part.content.len() as u64;
        let mut body = multipart::Part::stream_with_length(part.content.clone(), length);
        if let Some(file) = &part.file {
            body = body
                .file_name(file.name.clone())
                .mime_str(&file.content_type)
                .map_err(|_| {
                    Error::InvalidRequest(format!("{:?} is not a content type", file.content_type))
                })?;
        }
        parts = parts.part(part.name, body);
    }
    Ok(parts)
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
    ConfigError::new(ConfigErrorKind::Url, format!("{name} is not a URL"))
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

async fn exchange(
    service: Service,
    request: reqwest::RequestBuilder,
    secret: &SecretString,
    span: Span,
) -> Result<Bytes> {
    // Named, not looked up: where a filter has switched this span off, the current one is the
    // caller's, which may have fields of the same names.
    let sent = send(service, request, secret, &span).instrument(span.clone());
    sent.await.inspect_err(|error| record_error(&span, error))
}

async fn send(
    service: Service,
    request: reqwest::RequestBuilder,
    secret: &SecretString,
    span: &Span,
) -> Result<Bytes> {
    if tokio::runtime::Handle::try_current().is_err() {
        let message = "calls need a tokio runtime";
        return Err(ConfigError::new(ConfigErrorKind::Runtime, message).into());
    }
    let failed = |error| request_error(service, error);
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if service.is_success(status) {
        let (body, complete) = read(response, service.body_limit()).await.map_err(failed)?;
        if !complete {
            return Err(DecodeError::too_long(service.body_limit()).into());
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

fn request_error(service: Service, error: reqwest::Error) -> Error {
    let (is_timeout, is_connect) = (error.is_timeout(), error.is_connect());
    let source = error.without_url();
    RequestError::new(service.name(), is_timeout, is_connect, source).into()
}

/// `base` with `path` behind its own path.
fn join(base: &Url, path: &str) -> Result<Url> {
    let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|_| Error::InvalidRequest("the path makes no URL".to_owned()))
}

fn environment_proxy(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Proxy>, ConfigError> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name)?.into_string().ok()?;
            (!value.is_empty()).then_some((*name, value))
        })
    };
    let Some((name, url)) = first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) else {
        return Ok(None);
    };
    let proxy = Proxy::https(url).map_err(|_| not_a_url(name))?;
    let mut direct = String::from(LOOPBACK);
    if let Some((_, more)) = first(&["NO_PROXY", "no_proxy"]) {
        direct.push(',');
        direct.push_str(&more);
    }
    Ok(Some(proxy.no_proxy(NoProxy::from_string(&direct))))
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

/// The reason at the bottom: above it the HTTP library only says "builder error".
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The gateway's one call.
const CHECK: &str = "/v1/authz/check";
/// A check answers in about a kilobyte; metadata and permissions of a key may be larger.
const GATEWAY_BODY_LIMIT: usize = 256 * 1024;
/// A page of 100 apps is about 50 kilobytes.
const MANAGEMENT_BODY_LIMIT: usize = 4 * 1024 * 1024;
/// What is kept of an answer that is not a success; the rest is not read.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1,::ffff:127.0.0.0/104";

#[cfg(test)]
mod tests;
