//! What can go wrong between this process and Wacht.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::config_error::ConfigError;
use super::decode::DecodeError;
use super::redact::redact;
use super::request_error::RequestError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call to Wacht, or the making of a client, did not succeed.
///
/// Neither the management key nor the key a check was about is in any text of it.
///
/// ```
/// use wacht_auth::Error;
///
/// fn report(error: &Error) -> String {
///     match error {
///         Error::Api { status, message, .. } => format!("Wacht answered {status}: {message}"),
///         Error::Request(error) => format!("no answer: {error}"),
///         other => other.to_string(),
///     }
/// }
/// assert_eq!(report(&Error::InvalidRequest("no slug".into())), "invalid request: no slug");
/// ```
///
/// What Wacht said is in the variant, and what to do about it in the predicates:
///
/// ```
/// use wacht_auth::dev::{DevGateway, Fault, On};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// wacht.fault(On::Management, Fault::Status(429));
/// let error = client.api_keys().create_api_key("billing", Default::default()).send().await;
/// let error = error.unwrap_err();
/// assert!(error.is_rate_limited() && error.is_transient() && !error.is_not_found());
/// # Ok(()) }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Wacht answered, and the answer was no success.
    #[error("Wacht answered {status}: {message}{}", hint(*status, body))]
    #[non_exhaustive]
    Api {
        /// The status of the answer.
        status: StatusCode,
        /// What the answer says in words, at most 500 characters of it.
        message: String,
        /// The id under which Wacht knows the request, if the answer names one.
        request_id: Option<String>,
        /// How long to wait, if the answer has a `Retry-After` in seconds.
        retry_after: Option<Duration>,
        /// The answer as text, at most 64 KiB of it.
        body: String,
    },
    /// The client or the gate cannot be used as it is configured. Nothing was sent.
    #[error("configuration: {0}")]
    Config(ConfigError),
    /// Wacht answered with a success that could not be understood.
    #[error(transparent)]
    Decode(DecodeError),
    /// The call cannot be made with these arguments. Nothing was sent.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// There was no complete answer: no connection, a time-out, a broken connection.
    #[error(transparent)]
    Request(RequestError),
    /// The store that replicas share could not be used. No call of Wacht ends with this: what they
    /// brought is their result, see
    /// [`flush_events`](crate::WachtClient#method.flush_events).
    #[error(transparent)]
    Store(StoreUnavailable),
}

/// Why the store that replicas share could not be used: in words that name neither its address nor
/// its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreUnavailable(pub(crate) String);

impl Error {
    /// Whether Wacht answered 404.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether Wacht answered 429.
    ///
    /// # Troubleshooting
    ///
    /// All management keys of a deployment share 1000 calls a minute. This is never about the
    /// key of a check: there a limit is a good answer with `allowed: false`.
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the call ran into a time-out, while connecting or later.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::WachtClient;
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = WachtClient::builder(wacht.management_key())
    ///     .api_url(wacht.url())
    ///     .gateway_url(wacht.url())
    ///     .timeout(Duration::from_millis(50))
    ///     .no_retries()
    ///     .build()?;
    /// wacht.fault(On::Management, Fault::Hang);
    /// let error = client.api_keys().list_api_auth_apps().send().await.unwrap_err();
    /// assert!(error.is_timeout());
    /// # Ok(()) }
    /// ```
    ///
    /// # Troubleshooting
    ///
    /// The call may have taken effect all the same. See
    /// [`WachtClientBuilder::timeout`](crate::client::WachtClientBuilder::timeout).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_timeout())
    }

    /// Whether the same call may succeed later without any change: no complete answer, 429, a 5xx,
    /// or a store that is away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request(_) | Self::Store(_) => true,
            Self::Api { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Config(_) | Self::Decode(_) | Self::InvalidRequest(_) => false,
        }
    }

    /// Whether the gateway said that the key of a check is no good: unknown, revoked, expired
    /// or malformed.
    ///
    /// A 401 in any other form says nothing about the key; it may come from something between
    /// this process and the gateway.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let check = || client.gateway().check(CheckRequest::api_key("sk_of_nobody")).send();
    /// assert!(check().await.unwrap_err().is_invalid_key());
    ///
    /// // A 401 of a proxy on the way, say, which knows nothing of keys.
    /// wacht.fault(On::Checks, Fault::body(401, "text/html", "<h1>Sign in first</h1>"));
    /// assert!(!check().await.unwrap_err().is_invalid_key());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_invalid_key(&self) -> bool {
        matches!(
            self,
            Self::Api {
                status: StatusCode::UNAUTHORIZED,
                body,
                ..
            } if says_invalid_key(body)
        )
    }

    /// What the management API itself said, with its status. Without its envelope an answer may
    /// be a proxy's, or that of a wrong base URL.
    pub(crate) fn of_management(&self) -> Option<(StatusCode, String)> {
        let Self::Api { status, body, .. } = self else {
            return None;
        };
        let envelope: Value = serde_json::from_str(body).ok()?;
        let message = envelope.pointer("/errors/0/message")?.as_str()?;
        Some((*status, message.to_owned()))
    }

    /// What is at the bottom of it, where the text does not say: why there was no answer.
    pub(crate) fn cause(&self) -> Option<&dyn std::error::Error> {
        match self {
            Self::Request(error) => Some(error.cause()),
            _ => None,
        }
    }

    /// Whether the management API itself said that the app does not exist.
    pub(crate) fn is_app_not_found(&self) -> bool {
        self.of_management().is_some_and(|(status, message)| {
            status == StatusCode::NOT_FOUND && message == "API key app not found"
        })
    }

    /// The status of the answer, if there was one that is no success.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// How long Wacht asks to wait, if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Api { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The text of the answer, if there was one that is no success; at most 64 KiB of it.
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        match self {
            Self::Api { body, .. } => Some(body),
            _ => None,
        }
    }

    pub(super) fn from_answer(
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        secret: &str,
    ) -> Self {
        let body = redact(&String::from_utf8_lossy(body), secret);
        let envelope: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |pointer| envelope.pointer(pointer).and_then(Value::as_str);
        let message = text("/errors/0/message")
            .or_else(|| text("/error/message"))
            .or_else(|| text("/message"))
            .unwrap_or_else(|| match body.trim() {
                "" => status.canonical_reason().unwrap_or("no explanation"),
                raw => raw,
            });
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self::Api {
            status,
            message: printable(message),
            request_id: text("/request_id")
                .or_else(|| header("x-request-id"))
                .map(|id| printable(&redact(id, secret))),
            retry_after: header(RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
            body,
        }
    }
}

impl fmt::Debug for Error {
    // Without the body, which is long and of which `message` has the beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api {
                status,
                message,
                request_id,
                retry_after,
                body: _,
            } => f
                .debug_struct("Api")
                .field("status", status)
                .field("message", message)
                .field("request_id", request_id)
                .field("retry_after", retry_after)
                .finish_non_exhaustive(),
            Self::Config(error) => f.debug_tuple("Config").field(error).finish(),
            Self::Decode(error) => f.debug_tuple("Decode").field(error).finish(),
            Self::InvalidRequest(message) => {
                f.debug_tuple("InvalidRequest").field(message).finish()
            }
            Self::Request(error) => f.debug_tuple("Request").field(error).finish(),
            Self::Store(error) => f.debug_tuple("Store").field(error).finish(),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Whether the body of a 401 is one of the two by which the gateway refuses a key.
fn says_invalid_key(body: &str) -> bool {
    if body.trim() == "Invalid API key" {
        return true;
    }
    let Ok(Value::Object(envelope)) = serde_json::from_str(body) else {
        return false;
    };
    envelope.get("allowed") == Some(&Value::Bool(false))
        && envelope.get("request_id").is_some_and(Value::is_string)
}

/// What to do about a refusal whose own words do not say it.
fn hint(status: StatusCode, body: &str) -> &'static str {
    match status.as_u16() {
        // What the gateway says is about the key of a check, not about ours.
        401 if says_invalid_key(body) => "",
        401 => " (is the management key right? Wacht also says so when it could not look at it)",
        429 => " (all management keys of a deployment share 1000 calls a minute: wait)",
        300..=399 => " (redirects are not followed: is the URL right?)",
        500..=599 => " (try again later)",
        _ => "",
    }
}

/// The beginning, on one line.
fn printable(text: &str) -> String {
    text.trim()
        .chars()
        .take(MESSAGE_LIMIT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// In characters.
const MESSAGE_LIMIT: usize = 500;

#[cfg(test)]
mod tests;
