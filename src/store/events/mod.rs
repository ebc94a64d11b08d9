//! Events of clients, told to all replicas.
//!
//! What goes in is what [`client::events`](crate::client::events) says of this process; it waits in
//! the [outbox] until it is in a stream of the store. What comes out is what the [reader] finds
//! there, and goes into the events of the client as if it had happened here.
//!
//! Each entry has the stream's `born` and a `seq`, so that a reader knows when it has missed
//! something: then all that is known of keys is verified again.

mod answer;
mod apply;
mod entry;
mod members;
mod outbox;
mod pages;
mod reader;
mod register;
mod seen;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use self::entry::{EventId, Stage};
use self::members::Members;
use self::outbox::Outbox;
use self::reader::Reader;
use super::error::StoreError;
use super::link::Link;
use super::script::Slot;
use crate::client::StoreUnavailable;
use crate::client::events::{
    EventSink, Events, ManagementEvent, Order, Outcome, SharedPages, StoreStats,
};
use crate::clock::Clock;
use crate::gate::limit_store::Registers;

/// This process among the replicas, for one client and its clones.
pub(crate) struct Replica {
    me: Weak<Self>,
    link: Arc<Link>,
    keys: Keys,
    events: Weak<Events>,
    clock: Clock,
    /// Random: tells this replica from all others.
    id: u64,
    last: AtomicU64,
    own: Mutex<Own>,
    outbox: Outbox,
    /// Whether somebody brings in what could not be brought in at once.
    is_retrying: AtomicBool,
    is_idle: AtomicBool,
    reader: Mutex<Reader>,
    members: Members,
    registers: Arc<Registers>,
}

/// The keys of what the replicas tell each other. In a cluster all are on one node.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// Which service it is.
    scope: Box<str>,
    ledger: Slot,
    stream: Slot,
    members: Slot,
}

/// What this replica itself has said.
#[derive(Default)]
struct Own {
    /// Calls that are under way.
    under_way: BTreeMap<Order, UnderWay>,
    /// Calls that close an app, until their outcome has come back with its place among the others'.
    closing: HashMap<u64, Closing>,
}

struct UnderWay {
    id: EventId,
    /// Whether it was sent before the others were told that it is.
    is_untold: bool,
}

struct Closing {
    app: Box<str>,
    since: Duration,
}

impl Keys {
    /// Of the replicas that are one service: by a text that says so, and is no secret.
    fn new(link: &Link, scope: &str) -> Self {
        Self {
            scope: scope.into(),
            ledger: link.slot("events", scope),
            stream: link.slot("events:stream", scope),
            members: link.slot("replicas", scope),
        }
    }
}

impl Replica {
    pub(super) fn new(link: &Arc<Link>, scope: &str, events: &Arc<Events>) -> Arc<Self> {
        let id = RandomState::new().hash_one(scope);
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            link: Arc::clone(link),
            keys: Keys::new(link, scope),
            events: Arc::downgrade(events),
            clock: Clock::system(),
            id,
            last: AtomicU64::new(0),
            own: Mutex::default(),
            outbox: Outbox::new(),
            is_retrying: AtomicBool::new(false),
            is_idle: AtomicBool::new(true),
            reader: Mutex::new(Reader::new()),
            members: Members::new(),
            registers: Arc::new(Registers::new(link.parts())),
        })
    }

    /// Whether it is for this client.
    pub(super) fn is_of(&self, events: &Arc<Events>) -> bool {
        Weak::as_ptr(&self.events) == Arc::as_ptr(events)
    }

    fn next_id(&self) -> EventId {
        EventId(self.id, self.last.fetch_add(1, Ordering::Relaxed))
    }

    fn tell(&self, id: EventId, stage: Stage, event: &ManagementEvent) {
        self.outbox.push(id, stage, event.into(), self.clock.now());
    }

    /// Brings in what is in the outbox, and goes on until it is there or too old, unless somebody
    /// does so already.
    fn tell_in_background(&self) {
        // Without a runtime the reader does it, or whoever says something next.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.is_retrying.swap(true, Ordering::SeqCst) {
            return;
        }
        runtime.spawn(Retrying(Weak::clone(&self.me)).run());
    }

    async fn flush(&self, within: Duration) -> Result<(), StoreError> {
        self.outbox.flush(&self.link, &self.keys, within).await
    }

    /// Whether a call of this replica may close the app, of which the others' have not been placed
    /// before or after it yet.
    fn is_closing(&self, app: &str) -> bool {
        let now = self.clock.now().monotonic;
        let mut own = self.own();
        own.closing
            .retain(|_, closing| now.saturating_sub(closing.since) < CLOSING_FOR);
        own.closing.values().any(|closing| *closing.app == *app)
    }

    /// An entry of ours has come back.
    fn has_come_back(&self, id: EventId, stage: Stage) {
        if stage != Stage::Sent {
            self.own().closing.remove(&id.1);
        }
    }

    /// What is known of other replicas.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Which servers count, of those that were met.
    pub(crate) fn registers(&self) -> &Arc<Registers> {
        &self.registers
    }

    /// Which of the replicas it is.
    fn id(&self) -> String {
        format!("{:016x}", self.id)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Replica {
    fn begins(&self, event: &ManagementEvent, sent: Order) {
        let id = self.next_id();
        let mut own = self.own();
        if let ManagementEvent::CloseApp(app) = event {
            let closing = Closing {
                app: app.clone(),
                since: self.clock.now().monotonic,
            };
            own.closing.insert(id.1, closing);
        }
        let under_way = UnderWay {
            id,
            is_untold: false,
        };
        own.under_way.insert(sent, under_way);
        drop(own);
        self.tell(id, Stage::Sent, event);
    }

    fn settled(&self, event: &ManagementEvent, sent: Order, outcome: Outcome) {
        let Some(call) = self.own().under_way.remove(&sent) else {
            return;
        };
        let stage = match outcome {
            Outcome::Done if call.is_untold => Stage::DoneUntold,
            Outcome::Done => Stage::Done,
            Outcome::Nothing => Stage::Nothing,
            Outcome::Indeterminate => Stage::Indeterminate,
        };
        self.tell(call.id, stage, event);
        self.tell_in_background();
    }

    fn done(&self, event: &ManagementEvent) {
        self.tell(self.next_id(), Stage::Done, event);
        self.tell_in_background();
    }

    fn told(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreUnavailable>> + Send + '_>> {
        Box::pin(async {
            let told = self.flush(self.link.deadline()).await;
            if told.is_err() {
                self.tell_in_background();
            }
            told.map_err(|error| self.link.explain(error))
        })
    }

    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreUnavailable>> + Send + '_>> {
        Box::pin(async {
            let look = self.look_at_store(CHECK_WITHIN).await;
            look.map(drop).map_err(|error| self.link.explain(error))
        })
    }

    fn is_sent_untold(&self, sent: Order) {
        if let Some(call) = self.own().under_way.get_mut(&sent) {
            call.is_untold = true;
        }
    }

    fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Acquire)
    }

    fn keep_current(&self) {
        self.claim();
    }

    fn pages(&self) -> &dyn SharedPages {
        self
    }

    fn stats(&self) -> StoreStats {
        let reading = self.reading();
        let calls = self.link.calls();
        StoreStats {
            away: self.link.is_away(),
            replicas: self.members.alive(),
            events_untold: self.outbox.len() as u64,
            events_behind: reading.behind,
            events_missed: reading.missed,
            events_skipped: reading.garbage,
            calls: calls.answered,
            failed_calls: calls.failed,
            call_time: calls.time,
            // Each gate has its own.
            leases: 0,
            leased_units: 0,
        }
    }
}

/// Who brings in what is left. Its end lets another do so.
struct Retrying(Weak<Replica>);

impl Retrying {
    async fn run(mut self) {
        while let Some(replica) = self.0.upgrade() {
            let is_told = replica.flush(RETRY_WITHIN).await.is_ok();
            replica.outbox.forget_old(replica.clock.now());
            if is_told && replica.outbox.len() == 0 {
                replica.is_retrying.store(false, Ordering::SeqCst);
                // Something may have come in just before that, and found that somebody is at it.
                if replica.outbox.len() == 0 || replica.is_retrying.swap(true, Ordering::SeqCst) {
                    // Not ours any more.
                    self.0 = Weak::new();
                    return;
                }
                continue;
            }
            drop(replica);
            tokio::time::sleep(BETWEEN_RETRIES).await;
        }
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        if let Some(replica) = self.0.upgrade() {
            replica.is_retrying.store(false, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("untold", &self.outbox.len())
            .finish_non_exhaustive()
    }
}

/// A name that nothing else has.
fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(()))
}

/// Of a stream that nobody uses, in milliseconds: a week.
const FORGOTTEN_AFTER: i64 = 7 * 24 * 60 * 60 * 1000;
const BETWEEN_RETRIES: Duration = Duration::from_millis(250);
const RETRY_WITHIN: Duration = Duration::from_secs(1);
/// A connection may have to be opened.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// A call takes less than that, and so does its outcome on its way back.
const CLOSING_FOR: Duration = Duration::from_secs(120);
