//! One request, as the journal shows it.

use std::fmt;

use serde_json::Value;

use super::call::{Call, Side};
use super::secret::hex_digest;

/// One request.
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let missing = client.api_keys().get_api_auth_app("my app").send().await;
/// let asked = &wacht.journal().entries()[0];
/// assert_eq!((&*asked.method, &*asked.path), ("GET", "/api-auth/apps/my%20app"));
/// assert!(asked.header("authorization").is_some());
/// assert_eq!(asked.status, Some(404));
/// # assert!(missing.unwrap_err().is_not_found());
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Entry {
    /// The method, upper-case.
    pub method: String,
    /// The path as it came, still percent-encoded, without the query.
    pub path: String,
    /// The query as it came, without the question mark.
    pub query: Option<String>,
    /// Names in lower case, and values; what is not UTF-8 is replaced. `Debug` shows only names.
    pub headers: Vec<(String, String)>,
    /// The body as text; empty for gateway checks, whose body holds a key.
    pub body: String,
    /// What a gateway check asked, if it could be read.
    pub check: Option<Check>,
    /// The status it was answered with; `None` until then, and for good if it never was.
    pub status: Option<u16>,
    pub(super) id: u64,
    side: Side,
}

/// What a gateway check asked, with the key replaced by its digest.
///
/// ```
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{AuthContext, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let context = AuthContext::new("/orders").user_agent("importer/3");
/// gate.handle().authenticate_key(key.secret(), &context).await?;
///
/// let asked = &wacht.journal().checks_asked()[0];
/// assert_eq!((&*asked.method, &*asked.resource), ("POST", "/orders"));
/// assert_eq!(asked.user_agent.as_deref(), Some("importer/3"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// `api_key` or `oauth_access_token`.
    pub principal_type: String,
    /// SHA-256 of the key in lower-case hex; compare with
    /// [`DevKey::sha256`](super::DevKey::sha256).
    pub key_sha256: String,
    /// The resource as sent.
    pub resource: String,
    /// The method as sent.
    pub method: String,
    /// The client address as sent.
    pub client_ip: Option<String>,
    /// The user agent as sent.
    pub user_agent: Option<String>,
    /// The required permissions as sent.
    pub required_permissions: Vec<String>,
    /// All members the body had, in alphabetical order, nulls included.
    pub members: Vec<String>,
}

impl Entry {
    pub(super) fn new(id: u64, side: Side, call: &Call) -> Self {
        let body = call.body.as_deref().unwrap_or_default();
        Self {
            method: call.method.to_string(),
            path: call.uri.path().to_owned(),
            query: call.uri.query().map(str::to_owned),
            headers: call
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), value)
                })
                .collect(),
            body: match side {
                Side::Check => String::new(),
                _ => String::from_utf8_lossy(body).into_owned(),
            },
            check: match side {
                Side::Check => Check::read(body),
                _ => None,
            },
            status: None,
            id,
            side,
        }
    }

    /// The first value of a header; the name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether it is a gateway check.
    #[must_use]
    pub fn is_check(&self) -> bool {
        self.side == Side::Check
    }

    /// Whether it is a call of the management API.
    #[must_use]
    pub fn is_management(&self) -> bool {
        self.side == Side::Management
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Entry")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("headers", &names)
            .field("check", &self.check)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Check {
    fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let principal = body.get("principal")?;
        let required = body.get("required_permissions").and_then(Value::as_array);
        Some(Self {
            principal_type: text(principal.get("type")?)?,
            key_sha256: hex_digest(principal.get("value")?.as_str()?.trim()),
            resource: text(body.get("resource")?)?,
            method: text(body.get("method")?)?,
            client_ip: body.get("client_ip").and_then(text),
            user_agent: body.get("user_agent").and_then(text),
            required_permissions: required.into_iter().flatten().filter_map(text).collect(),
            members: body.as_object()?.keys().cloned().collect(),
        })
    }
}
