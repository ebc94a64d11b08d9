//! What the dev gateway was asked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde_json::Value;
use tokio::sync::watch;

use super::call::{Call, Side};
use super::secret::hex_digest;

/// What the dev gateway was asked, in the order of arrival.
///
/// A request is written down when it has arrived whole and its answer is decided, before the answer
/// is held or delayed; its status follows when it is answered. Clones read the same journal, also after the gateway is gone.
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let journal = wacht.journal();
/// client.api_keys().list_api_auth_apps().send().await?;
/// assert_eq!((journal.checks(), journal.management_calls()), (0, 1));
/// assert_eq!(journal.count("GET", "/api-auth/apps"), 1);
///
/// journal.clear();
/// assert_eq!(journal.management_calls(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Journal(Arc<Pages>);

struct Pages {
    entries: Mutex<Vec<Entry>>,
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    checks: usize,
    management: usize,
    next_id: u64,
}

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
    id: u64,
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
/// # let gate = gate.deadline(std::time::Duration::from_secs(60));
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

impl Journal {
    pub(super) fn new() -> Self {
        Self(Arc::new(Pages {
            entries: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
        }))
    }

    /// How many gateway checks arrived.
    #[must_use]
    pub fn checks(&self) -> usize {
        self.0.counts.borrow().checks
    }

    /// How many management calls arrived.
    #[must_use]
    pub fn management_calls(&self) -> usize {
        self.0.counts.borrow().management
    }

    /// How many requests had this method and this path, the query aside.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.entries_now()
            .iter()
            .filter(|e| e.method == method && e.path == path)
            .count()
    }

    /// All requests, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries_now().clone()
    }

    /// What the checks asked, oldest first; unreadable ones are left out.
    #[must_use]
    pub fn checks_asked(&self) -> Vec<Check> {
        self.entries_now()
            .iter()
            .filter_map(|entry| entry.check.clone())
            .collect()
    }

    /// Forgets everything and counts from zero.
    pub fn clear(&self) {
        let mut entries = self.entries_now();
        entries.clear();
        self.0.counts.send_modify(|counts| {
            (counts.checks, counts.management) = (0, 0);
        });
    }

    /// Waits until at least `count` gateway checks have arrived since the start or the last
    /// [`clear`](Self::clear).
    ///
    /// Works on any runtime. It has no time limit of its own: a count that is never reached
    /// waits for ever.
    ///
    /// For what happens in the background:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// clock.advance(Duration::from_secs(31)); // not fresh any more
    /// gate.authenticate_key(key.secret(), &context).await?; // passes, and sends a refresh
    /// wacht.journal().wait_for_checks(2).await;
    /// assert_eq!(gate.stats().refreshes, 1);
    /// # Ok(()) }
    /// ```
    pub async fn wait_for_checks(&self, count: usize) {
        self.wait_for(|counts| counts.checks >= count).await;
    }

    /// Waits until at least `count` management calls have arrived, as
    /// [`wait_for_checks`](Self::wait_for_checks) does for checks.
    pub async fn wait_for_management_calls(&self, count: usize) {
        self.wait_for(|counts| counts.management >= count).await;
    }

    async fn wait_for(&self, reached: impl FnMut(&Counts) -> bool) {
        // The sender lives in `self`, so the wait cannot end in an error.
        let _ = self.0.counts.subscribe().wait_for(reached).await;
    }

    /// Writes a request down and gives the number to answer it under.
    pub(super) fn record(&self, side: Side, call: &Call) -> u64 {
        let mut entries = self.entries_now();
        let mut id = 0;
        self.0.counts.send_if_modified(|counts| {
            id = counts.next_id;
            counts.next_id += 1;
            false
        });
        entries.push(Entry::new(id, side, call));
        self.0.counts.send_modify(|counts| match side {
            Side::Check => counts.checks += 1,
            Side::Management => counts.management += 1,
            Side::Elsewhere => {}
        });
        id
    }

    pub(super) fn answered(&self, id: u64, status: StatusCode) {
        let mut entries = self.entries_now();
        if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.id == id) {
            entry.status = Some(status.as_u16());
        }
    }

    fn entries_now(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries_now().iter()).finish()
    }
}

impl Entry {
    fn new(id: u64, side: Side, call: &Call) -> Self {
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
