//! Where callers put their key.

use std::iter;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

use crate::client::{ConfigError, ConfigErrorKind, Error, Result};
use crate::gate::request::credential::identity_headers::is_identity_header;
use crate::gate::request::credential::scheme::is_token;

/// Names a place in a request where callers put their API key.
///
/// A single source and a list of sources are both `impl IntoIterator<Item = CredentialSource>`,
/// so an option that takes several takes one as well:
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{CredentialSource, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client())
///     .app("orders")
///     .credentials([CredentialSource::bearer(), CredentialSource::header("x-api-key")?]);
/// let gate = gate.handle();
///
/// let request = Request::get("/orders").header("x-api-key", key.secret()).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// let bearer = format!("bearer {}", key.secret());
/// let request = Request::get("/orders").header("authorization", bearer).body(())?;
/// assert!(gate.authenticate(&request.into_parts().0).await.is_ok());
/// # Ok(()) }
/// ```
///
/// # Several places
///
/// The same key in two of the places is one key; two keys are a 400, and so is a key twice in one
/// place (two header lines, cookies or parameters). With
/// [`strip_credential`](crate::WachtAuthLayer::strip_credential) all of them are stripped.
///
/// | source | a key goes | challenge of a 401 |
/// |---|---|---|
/// | [`bearer`](Self::bearer) | `Authorization: Bearer <key>` | `Bearer realm="api"` |
/// | [`header`](Self::header) | `x-api-key: <key>` | `ApiKey realm="api", header="x-api-key"` |
/// | … with [`scheme`](Self::scheme) | `Authorization: ApiKey <key>` | `ApiKey realm="api"` |
/// | [`basic`](Self::basic) | `Authorization: Basic …` | `Basic realm="api"` |
/// | [`cookie`](Self::cookie) | `Cookie: key=<key>` | `ApiKey realm="api", cookie="key"` |
/// | [`query`](Self::query) | `/orders?key=<key>` | `ApiKey realm="api", query="key"` |
/// | [`websocket_protocol`](Self::websocket_protocol) | `Sec-WebSocket-Protocol: key.<key>, chat` | `ApiKey realm="api", protocol="key."` |
///
/// Shared caches know that answers to `Authorization` are nobody else's (RFC 9111, section 3.5). A
/// gate with any other source says so: answers that set no `Cache-Control` get `private`, and all of
/// them `Vary` on the headers that may hold a key.
#[derive(Clone, Debug)]
pub struct CredentialSource(pub(super) SourceKind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Basic,
    Bearer,
    /// The value of the cookie of this name.
    Cookie(Box<str>),
    /// The whole value, or what follows the scheme.
    Header {
        name: HeaderName,
        scheme: Option<Box<str>>,
    },
    /// The value of the parameter of this name.
    Query(Box<str>),
    /// What follows this prefix in an offered protocol.
    WebsocketProtocol(Box<str>),
}

impl CredentialSource {
    /// The token of `Authorization: Bearer <key>` ([RFC 6750]). The word `Bearer` may be in any
    /// case; other schemes, such as `Basic`, count as no credential.
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    #[must_use]
    pub fn bearer() -> Self {
        Self(SourceKind::Bearer)
    }

    /// The key as user name or as password of `Authorization: Basic` ([RFC 7617]), as `curl -u
    /// <key>:` sends it: the part before or after the first colon that could be a key. Two such keys
    /// that differ are a 400, and so is what has no colon; where neither could be a key, it is a
    /// bad credential.
    ///
    /// Browsers ask for a password where a 401 names this scheme, and go on sending it unasked: see
    /// [`cookie`](Self::cookie) for what that means.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    /// # use base64::prelude::{BASE64_STANDARD, Engine};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(CredentialSource::basic());
    ///
    /// for user_pass in [format!("{}:", key.secret()), format!("api:{}", key.secret())] {
    ///     let basic = format!("Basic {}", BASE64_STANDARD.encode(user_pass));
    ///     let request = Request::get("/orders").header("authorization", basic).body(())?;
    ///     assert!(gate.handle().authenticate(&request.into_parts().0).await.is_ok());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// [RFC 7617]: https://www.rfc-editor.org/rfc/rfc7617
    #[must_use]
    pub fn basic() -> Self {
        Self(SourceKind::Basic)
    }

    /// The whole value of the header `name`, in any case, with no scheme word before the key:
    /// usually `x-api-key`. [`scheme`](Self::scheme) asks for a word. In a header for which another
    /// source names a scheme, such as `authorization` next to [`bearer`](Self::bearer), a value with a
    /// space in it is of another scheme and no credential.
    ///
    /// ```
    /// use wacht_auth::CredentialSource;
    ///
    /// assert!(CredentialSource::header("X-Api-Key").is_ok());
    /// let unusable = CredentialSource::header("cookie").unwrap_err();
    /// assert!(unusable.to_string().contains("holds many values"), "{unusable}");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for what is no header name, and for names in which no key can arrive:
    ///
    /// - `x-wacht-*`: such headers are removed from every request, since services might believe
    ///   them;
    /// - `cookie`, which holds many values: [`cookie`](Self::cookie) takes one;
    /// - what belongs to one connection and ends at the next hop, such as `connection`, `te` and
    ///   `proxy-*`;
    /// - what browsers, proxies or gRPC write themselves, such as `forwarded`, `x-forwarded-*`,
    ///   `sec-*` and `grpc-*`;
    /// - what says something else in HTTP, such as `host`, `content-*`, `accept` and `user-agent`:
    ///   servers act on it, logs show it.
    pub fn header(name: impl TryInto<HeaderName>) -> Result<Self> {
        let Ok(name) = name.try_into() else {
            let message =
                "a header that holds a key is named by letters, digits and !#$%&'*+-.^_`|~";
            return Err(unfit(message));
        };
        match unusable(&name) {
            None => Ok(Self(SourceKind::Header { name, scheme: None })),
            Some(reason) => {
                let message = format!("the header `{name}` cannot hold a key: {reason}");
                Err(unfit(message))
            }
        }
    }

    /// With this word before the key, in any case, and one space or more between them: `ApiKey`,
    /// `Token`. For a source made by [`header`](Self::header).
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let source = CredentialSource::header("authorization")?.scheme("ApiKey")?;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    ///
    /// let value = format!("apikey {}", key.secret());
    /// let request = Request::get("/orders").header("authorization", value).body(())?;
    /// assert!(gate.handle().authenticate(&request.into_parts().0).await.is_ok());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a word that is not made of letters, digits and
    /// ``!#$%&'*+-.^_`|~``, for `Basic`, whose value is no key ([`basic`](Self::basic) reads it),
    /// and for a source that is no header.
    pub fn scheme(self, word: &str) -> Result<Self> {
        let SourceKind::Header { name, .. } = self.0 else {
            return Err(unfit("only a source made by `header` has a scheme"));
        };
        if word.eq_ignore_ascii_case("basic") {
            let message = "what follows `Basic` is no key: `CredentialSource::basic` reads it";
            return Err(unfit(message));
        }
        let scheme = checked(word, "a scheme")?;
        if name == AUTHORIZATION && word.eq_ignore_ascii_case("bearer") {
            return Ok(Self::bearer());
        }
        let scheme = Some(scheme);
        Ok(Self(SourceKind::Header { name, scheme }))
    }

    /// The value of the cookie `name`, in whatever `Cookie` line; names are case-sensitive.
    ///
    /// # Cross-site requests
    ///
    /// A browser sends cookies unasked, also for a form or an image on somebody else's page (CSRF). A
    /// key in a cookie says whose browser it is, and not that its user wanted the request. Set the
    /// cookie with `SameSite=Strict` or `Lax`, `Secure` and `HttpOnly`, let no safe method change
    /// anything, and put a layer outside the gate that checks `Origin` or `Sec-Fetch-Site`, such as
    /// tower-http's `csrf`. Of the other sources only [`basic`](Self::basic) has this trouble, in a
    /// browser that was once asked for a password: no page can make a browser send the rest.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let source = CredentialSource::cookie("api_key")?;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    ///
    /// let cookies = format!("theme=dark; api_key={}", key.secret());
    /// let request = Request::get("/orders").header("cookie", cookies).body(())?;
    /// assert!(gate.handle().authenticate(&request.into_parts().0).await.is_ok());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a name that is not made of letters, digits and
    /// ``!#$%&'*+-.^_`|~``.
    pub fn cookie(name: &str) -> Result<Self> {
        checked(name, "a cookie").map(|name| Self(SourceKind::Cookie(name)))
    }

    /// The value of the query parameter `name`; names are case-sensitive, and compared once decoded
    /// as a form's are.
    ///
    /// The parameter is taken out of the request's URI, and of axum's `OriginalUri`, before any of the
    /// layer's closures and the inner service see it, also where [`skip`](crate::WachtAuthLayer::skip)
    /// lets the request pass.
    ///
    /// # When not to use it
    ///
    /// A URL is not kept secret: it stands in the logs of every proxy and of every layer further out
    /// (tower-http's `TraceLayer` there has seen the key), in the history of browsers, and in the
    /// `Referer` of what a page loads (from this service's requests it is taken out as well; answer
    /// with `Referrer-Policy: no-referrer` for the others). Take another source wherever the caller can set a header.
    /// What is left are callers that cannot, such as `<img>`, `EventSource` and webhooks: give them
    /// keys of their own that permit little and end soon.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::{Request, Uri}, routing::get};
    /// use tower::ServiceExt;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let source = CredentialSource::query("key")?;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    /// let app = Router::new().route("/events", get(async |uri: Uri| uri.to_string())).layer(gate);
    ///
    /// let request = Request::get(format!("/events?key={}&since=7", key.secret()));
    /// let answer = app.oneshot(request.body(Body::empty())?).await?;
    /// assert_eq!(answer.headers()["cache-control"], "private");
    /// let seen = axum::body::to_bytes(answer.into_body(), 1024).await?;
    /// assert_eq!(seen, "/events?since=7");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a name that is not made of letters, digits and ``!$'*-.^_`|~``.
    pub fn query(name: &str) -> Result<Self> {
        if name.contains(['#', '%', '&', '+']) {
            // As it stands in a URL, it would be another name or none.
            return Err(unfit(
                "a query parameter that holds a key is not named with #, %, & or +",
            ));
        }
        checked(name, "a query parameter").map(|name| Self(SourceKind::Query(name)))
    }

    /// What follows `prefix` in one of the protocols that a websocket's client offers: the one
    /// header that a script in a browser can choose.
    ///
    /// ```js
    /// new WebSocket("wss://example.com/live", ["chat.v1", "key." + key])
    /// ```
    ///
    /// The client has to offer another protocol besides, or it is a 400: the server must answer with
    /// one of those offered, and never does so with the key. The key's entry is removed before the
    /// inner service sees it, and your handler selects among the others. Layers further out have seen
    /// it: mark `sec-websocket-protocol` as sensitive where they log headers.
    ///
    /// ```
    /// use http::Request;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{CredentialSource, WachtAuthLayer};
    /// # use std::convert::Infallible;
    /// # use http::Response;
    /// # use http_body_util::Full;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let source = CredentialSource::websocket_protocol("key.")?;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").credentials(source);
    /// let service = gate.layer(service_fn(async |request: Request<String>| {
    ///     assert_eq!(request.headers()["sec-websocket-protocol"], "chat.v1");
    ///     Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
    /// }));
    ///
    /// let offered = format!("chat.v1, key.{}", key.secret());
    /// let request = Request::get("/live").header("sec-websocket-protocol", offered);
    /// assert_eq!(service.oneshot(request.body(String::new())?).await?.status(), 200);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a prefix that is empty or not made of letters,
    /// digits and ``!#$%&'*+-.^_`|~``.
    pub fn websocket_protocol(prefix: &str) -> Result<Self> {
        let prefix = checked(prefix, "the prefix of a protocol")?;
        Ok(Self(SourceKind::WebsocketProtocol(prefix)))
    }
}

impl IntoIterator for CredentialSource {
    type Item = Self;
    type IntoIter = iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        iter::once(self)
    }
}

impl SourceKind {
    /// The header in which the key is, if it is in one.
    pub(super) fn header_name(&self) -> Option<&HeaderName> {
        match self {
            Self::Basic | Self::Bearer => Some(&AUTHORIZATION),
            Self::Cookie(_) => Some(&COOKIE),
            Self::Header { name, .. } => Some(name),
            Self::Query(_) => None,
            Self::WebsocketProtocol(_) => Some(&SEC_WEBSOCKET_PROTOCOL),
        }
    }
}

/// A word of the kind that names headers. It stands in quotes, in JSON and in backticks as it is.
fn checked(word: &str, what: &str) -> Result<Box<str>> {
    if is_token(word) {
        return Ok(word.into());
    }
    let message =
        format!("{what} that goes with a key is named by letters, digits and !#$%&'*+-.^_`|~");
    Err(unfit(message))
}

fn unfit(message: impl Into<String>) -> Error {
    ConfigError::new(ConfigErrorKind::Credentials, message).into()
}

/// Why no key can arrive in this header, if none can.
fn unusable(name: &HeaderName) -> Option<&'static str> {
    if is_identity_header(name) {
        return Some("such headers are removed from every request");
    }
    let name = name.as_str();
    let starts_with = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        "cookie" => Some("it holds many values: `CredentialSource::cookie` takes one"),
        "set-cookie" => Some("it holds many values, for browsers"),
        "sec-websocket-protocol" => {
            Some("browsers write it: `CredentialSource::websocket_protocol` reads it")
        }
        // RFC 9110, section 7.6.1, and RFC 9113, section 8.2.2.
        "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        | "http2-settings" => Some("it ends at the next hop"),
        _ if starts_with(&["proxy-"]) => Some("it ends at the next hop"),
        "forwarded" | "via" => Some("proxies write it"),
        _ if starts_with(&["x-forwarded-"]) => Some("proxies write it"),
        "origin" => Some("browsers write it"),
        // The prefixes are reserved: no script, and no gRPC application, can set them.
        _ if starts_with(&["sec-", "access-control-"]) => Some("browsers write it"),
        _ if starts_with(&["grpc-"]) => Some("gRPC writes it"),
        "accept" | "cache-control" | "date" | "expect" | "from" | "host" | "max-forwards"
        | "pragma" | "range" | "referer" | "user-agent" => Some("it says something else in HTTP"),
        _ if starts_with(&["accept-", "content-", "if-"]) => Some("it says something else in HTTP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(name: &str) -> String {
        match CredentialSource::header(name) {
            Err(crate::Error::Config(error)) => error.to_string(),
            other => panic!("{name:?}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_header_name_is_said_at_once() {
        for name in ["", "x api key", "x-api-key:", "schlüssel"] {
            assert!(error(name).contains("is named by"), "{name:?}");
        }
    }

    #[test]
    fn a_header_in_which_no_key_can_arrive_is_said_at_once() {
        for (name, reason) in [
            ("x-wacht-key", "removed"),
            ("X_Wacht_Key", "removed"),
            ("Cookie", "many values"),
            ("Connection", "next hop"),
            ("TE", "next hop"),
            ("Transfer-Encoding", "next hop"),
            ("Proxy-Authorization", "next hop"),
            ("Forwarded", "proxies"),
            ("X-Forwarded-For", "proxies"),
            ("Origin", "browsers"),
            ("Sec-WebSocket-Protocol", "browsers"),
            ("grpc-timeout", "gRPC"),
            ("Host", "something else"),
            ("Content-Length", "something else"),
            ("Content-Type", "something else"),
            ("User-Agent", "something else"),
            ("If-Match", "something else"),
        ] {
            let said = error(name);
            let name = name.to_ascii_lowercase();
            assert!(said.contains(&format!("`{name}`")), "{said}");
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn names_of_every_type_that_can_be_a_header_name_are_taken() {
        let name = HeaderName::from_static("x-api-key");
        for source in [
            CredentialSource::header("X-Api-Key"),
            CredentialSource::header("X-Api-Key".to_owned()),
            CredentialSource::header(&b"X-Api-Key"[..]),
            CredentialSource::header(&name),
            CredentialSource::header(name.clone()),
        ] {
            let expected = SourceKind::Header {
                name: name.clone(),
                scheme: None,
            };
            assert_eq!(source.unwrap().0, expected);
        }
        for usable in [
            "authorization",
            "api-key",
            "x-wachtel",
            "ocp-apim-subscription-key",
            "token",
        ] {
            assert!(CredentialSource::header(usable).is_ok(), "{usable}");
        }
    }
    #[test]
    fn words_that_cannot_stand_where_they_have_to_are_said_at_once() {
        type Make = fn(&str) -> Result<CredentialSource>;
        let makes: [Make; 4] = [
            CredentialSource::cookie,
            CredentialSource::query,
            CredentialSource::websocket_protocol,
            |word| CredentialSource::header("x-api-key")?.scheme(word),
        ];
        for make in makes {
            for word in ["", "api key", "a=b", "a;b", "a,b", "\"", "schlüssel", "\n"] {
                let error = make(word).unwrap_err().to_string();
                assert!(error.contains("is named by"), "{word:?}: {error}");
            }
            assert!(make("api_key.v1").is_ok());
        }
    }

    #[test]
    fn only_headers_have_schemes_and_only_schemes_before_a_key() {
        let header = || CredentialSource::header("Authorization").unwrap();
        let bearer = header().scheme("BEARER").unwrap();
        assert_eq!(bearer.0, SourceKind::Bearer);
        let error = header().scheme("basic").unwrap_err().to_string();
        assert!(error.contains("CredentialSource::basic"), "{error}");
        for source in [
            CredentialSource::bearer(),
            CredentialSource::basic(),
            CredentialSource::cookie("key").unwrap(),
            CredentialSource::query("key").unwrap(),
            CredentialSource::websocket_protocol("key.").unwrap(),
        ] {
            let error = source.scheme("ApiKey").unwrap_err().to_string();
            assert!(error.contains("only a source made by `header`"), "{error}");
        }
    }
}
