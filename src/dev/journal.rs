//! What the dev gateway was asked.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use tokio::sync::watch;

use super::call::{Call, Side};
use super::entry::{Check, Entry};

/// What the dev gateway was asked, in the order of arrival.
///
/// A request is written down when it has arrived whole and its answer is decided, before the answer
/// is held or delayed; its status follows when it is answered. Clones read the same journal, also
/// after the gateway is gone.
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
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).build()?.app("orders");
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
