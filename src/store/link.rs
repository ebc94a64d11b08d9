//! The link to the store: one script call within a deadline.
//!
//! A connection belongs to the runtime that opened it, and carries the calls of all tasks of that
//! runtime. It is opened by a task of its own, so that whoever waits for it can give up at any time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

use super::error::{StoreError, StoreErrorKind};
use super::script::{Arg, Reply, Script, Slot};
use super::server::{Server, Wire};
use crate::breaker::Breaker;
use crate::client::StoreUnavailable;
use crate::clock::{Clock, Now, nanoseconds};
use crate::gate::StoreCalls;
use crate::log::{GATE, Notice};

/// Tells one connection from all others of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(super) u64);

/// The connections to the store, and whether it is worth asking.
pub(crate) struct Link {
    server: Server,
    key_prefix: String,
    deadline: Duration,
    clock: Clock,
    breaker: Breaker,
    away: Notice,
    last_failure: Mutex<Option<StoreErrorKind>>,
    answered: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
    durations: StoreCalls,
    last_id: AtomicU64,
    /// One a runtime; the one that was used last comes last.
    opened: Mutex<Vec<Opened>>,
}

/// The calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// That the answered ones took together.
    pub(crate) time: Duration,
}

/// The connection of one runtime, once it is there.
#[derive(Clone)]
struct Opened {
    runtime: Id,
    connection: watch::Receiver<Option<Result<Arc<Connection>, StoreErrorKind>>>,
}

struct Connection {
    id: ConnectionId,
    wire: Wire,
    /// Monotonic nanoseconds since which calls wait in vain; 0 after an answer.
    silent_since: AtomicU64,
}

impl Link {
    pub(super) fn new(server: Server, key_prefix: String, deadline: Duration) -> Self {
        Self {
            server,
            key_prefix,
            deadline,
            clock: Clock::system(),
            breaker: Breaker::default(),
            away: Notice::new(),
            last_failure: Mutex::default(),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            durations: StoreCalls::default(),
            last_id: AtomicU64::new(0),
            opened: Mutex::default(),
        }
    }

    /// How long a request waits for the store at most.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How long what no request waits for may take.
    pub(super) fn patience(&self) -> Duration {
        self.deadline.max(PATIENCE)
    }

    /// Whether it failed too often: calls end at once, but one now and then to see.
    pub(crate) fn is_away(&self) -> bool {
        !self.breaker.is_closed()
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Calls {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Calls {
            answered: read(&self.answered),
            failed: read(&self.failed),
            time: Duration::from_nanos(read(&self.nanoseconds)),
        }
    }

    /// In how many parts that are not on one node what is counted is kept.
    pub(super) fn parts(&self) -> usize {
        match self.server {
            Server::Single(_) | Server::Sentinel { .. } => 1,
            Server::Cluster(_) => PARTS,
        }
    }

    /// The key of something of this kind. In a cluster `subject` decides on which node it is, so keys
    /// of one script have the same. Both may be anything but secrets.
    pub(crate) fn slot(&self, kind: &str, subject: &str) -> Slot {
        Slot(format!("{}:{kind}:{{{subject}}}", self.key_prefix).into())
    }

    /// A connection beside those for calls, driven by the current runtime.
    pub(super) async fn wire(&self) -> Result<Wire, StoreErrorKind> {
        let wire = tokio::time::timeout(OPENING, self.server.connect()).await;
        let kind = match wire {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => match StoreErrorKind::of(&error) {
                StoreErrorKind::Refused => StoreErrorKind::Unreachable,
                kind => kind,
            },
            Err(_) => StoreErrorKind::TimedOut,
        };
        self.has_failed(kind, self.clock.now());
        Err(kind)
    }

    /// Why it cannot be used, for who is to do something about it.
    pub(super) fn explain(&self, error: StoreError) -> StoreUnavailable {
        let last = *self.last_failure();
        StoreUnavailable(match (error.kind, last) {
            (StoreErrorKind::Away | StoreErrorKind::Connecting, Some(last)) => {
                format!("{error}: {last}")
            }
            _ => error.to_string(),
        })
    }

    /// Runs a script within this time, the opening of a connection included.
    pub(crate) async fn run_within(
        self: &Arc<Self>,
        deadline: Duration,
        script: &Script,
        keys: &[&Slot],
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        let until = tokio::time::Instant::now() + deadline;
        unsent(
            self.breaker
                .try_acquire(self.clock.now())
                .map_err(|_| StoreErrorKind::Away),
        )?;
        let connection = match tokio::time::timeout_at(until, self.connection()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(kind)) => return unsent(Err(kind)),
            Err(_) => {
                // The connection may still come, and then says how the store is.
                self.breaker.unsent();
                return unsent(Err(StoreErrorKind::Connecting));
            }
        };
        self.run_over(&connection, until, script, keys, args).await
    }

    /// Runs a script over this connection or not at all. A cluster, where the same connection may
    /// lead to another server by now, is never asked.
    pub(crate) async fn run_on(
        self: &Arc<Self>,
        id: ConnectionId,
        script: &Script,
        keys: &[&Slot],
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        let connection = self.opened().iter().find_map(|opened| {
            let connection = opened.connection.borrow();
            let connection = connection.as_ref()?.as_ref().ok()?;
            let is_it = connection.id == id && connection.wire.has_one_server();
            is_it.then(|| Arc::clone(connection))
        });
        let connection = unsent(connection.ok_or(StoreErrorKind::OtherConnection))?;
        unsent(
            self.breaker
                .try_acquire(self.clock.now())
                .map_err(|_| StoreErrorKind::Away),
        )?;
        let until = tokio::time::Instant::now() + self.deadline;
        self.run_over(&connection, until, script, keys, args).await
    }

    async fn run_over(
        &self,
        connection: &Arc<Connection>,
        until: tokio::time::Instant,
        script: &Script,
        keys: &[&Slot],
        args: &[Arg<'_>],
    ) -> Result<Reply, StoreError> {
        let sent = self.clock.now();
        let call = connection.evaluate(script, keys, args);
        // A caller who is gone has learned nothing of the store.
        let mut pending = Pending(Some(&self.breaker));
        let answer = tokio::time::timeout_at(until, call).await;
        pending.0 = None;
        let now = self.clock.now();
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| StoreErrorKind::of(&error)),
            Err(_) => Err(StoreErrorKind::TimedOut),
        };
        let took = now.monotonic.saturating_sub(sent.monotonic);
        match answer {
            Ok(value) => {
                connection.silent_since.store(0, Ordering::Relaxed);
                self.heard(now);
                self.durations.answered(took);
                self.answered.fetch_add(1, Ordering::Relaxed);
                self.nanoseconds
                    .fetch_add(nanoseconds(took), Ordering::Relaxed);
                Ok(Reply {
                    value,
                    connection: connection.id,
                    took,
                })
            }
            Err(kind) => {
                self.durations.failed(took);
                self.failed.fetch_add(1, Ordering::Relaxed);
                let is_silent = kind == StoreErrorKind::TimedOut && connection.is_silent(sent, now);
                if is_silent || kind.asks_for_another_connection() {
                    self.close(connection.id);
                }
                match kind.is_of_the_store() {
                    true => self.has_failed(kind, now),
                    false => self.breaker.indeterminate(),
                }
                Err(StoreError {
                    kind,
                    sent_over: Some(connection.id),
                })
            }
        }
    }

    /// The connection of this runtime, which is opened if there is none.
    async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, StoreErrorKind> {
        let mut opened = self.opened_here()?;
        let connection = opened.connection.wait_for(Option::is_some).await;
        match connection.as_deref() {
            Ok(Some(connection)) => connection.clone(),
            // The runtime that was to open it is gone.
            Ok(None) | Err(_) => {
                self.breaker.unsent();
                Err(StoreErrorKind::Connecting)
            }
        }
    }

    fn opened_here(self: &Arc<Self>) -> Result<Opened, StoreErrorKind> {
        let runtime = Handle::try_current().map_err(|_| StoreErrorKind::NoRuntime)?;
        let id = runtime.id();
        let mut all = self.opened();
        let found = all.iter().position(|opened| opened.runtime == id);
        let found = found.map(|place| all.remove(place));
        let opened = found.filter(Opened::is_good).unwrap_or_else(|| {
            let (tx, connection) = watch::channel(None);
            let link = Arc::clone(self);
            runtime.spawn(async move {
                let opened = link.open().await;
                tx.send_replace(Some(opened));
            });
            Opened {
                runtime: id,
                connection,
            }
        });
        if all.len() >= MOST_CONNECTIONS {
            all.remove(0);
        }
        all.push(opened.clone());
        Ok(opened)
    }

    async fn open(&self) -> Result<Arc<Connection>, StoreErrorKind> {
        Ok(Arc::new(Connection {
            wire: self.wire().await?,
            id: ConnectionId(self.last_id.fetch_add(1, Ordering::Relaxed)),
            silent_since: AtomicU64::new(0),
        }))
    }

    fn close(&self, id: ConnectionId) {
        self.opened()
            .retain(|opened| match &*opened.connection.borrow() {
                Some(Ok(connection)) => connection.id != id,
                _ => true,
            });
    }

    fn heard(&self, now: Now) {
        self.breaker.answered(now);
        if self.away.is_over() {
            tracing::info!(target: GATE, "the store answers again");
        }
    }

    fn has_failed(&self, kind: StoreErrorKind, now: Now) {
        *self.last_failure() = Some(kind);
        if self.breaker.failed(now) && self.away.is_first() {
            tracing::warn!(
                target: GATE,
                reason = %kind,
                "the store is away: nothing is shared with other replicas until it is back"
            );
        }
    }

    fn last_failure(&self) -> MutexGuard<'_, Option<StoreErrorKind>> {
        let last = self.last_failure.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// Whether it is there, or on its way.
    fn is_good(&self) -> bool {
        let is_there = match &*self.connection.borrow() {
            Some(opened) => return opened.is_ok(),
            None => false,
        };
        is_there || self.connection.has_changed().is_ok()
    }
}

impl Connection {
    async fn evaluate(
        &self,
        script: &Script,
        keys: &[&Slot],
        args: &[Arg<'_>],
    ) -> Result<Value, RedisError> {
        let mut wire = self.wire.clone();
        match wire.send(&script.by_hash(keys, args)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                wire.send(&script.as_text(keys, args)).await
            }
            answer => answer,
        }
    }

    /// Whether calls have waited in vain for so long, since the last answer, that it may be dead.
    fn is_silent(&self, sent: Now, now: Now) -> bool {
        let sent = nanoseconds(sent.monotonic).max(1);
        let first =
            self.silent_since
                .compare_exchange(0, sent, Ordering::Relaxed, Ordering::Relaxed);
        let since = first.err().unwrap_or(sent);
        nanoseconds(now.monotonic).saturating_sub(since) >= nanoseconds(SILENT)
    }
}

/// A call that is out. One that is dropped on the way gives a probe's place to the next.
struct Pending<'a>(Option<&'a Breaker>);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            breaker.unsent();
        }
    }
}

fn unsent<T>(of: Result<T, StoreErrorKind>) -> Result<T, StoreError> {
    of.map_err(|kind| StoreError {
        kind,
        sent_over: None,
    })
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("deadline", &self.deadline)
            .field("is_away", &self.is_away())
            .finish_non_exhaustive()
    }
}

/// Some for each node of a cluster.
const PARTS: usize = 32;
/// Of more runtimes than this, those that asked last keep their connection.
const MOST_CONNECTIONS: usize = 256;
/// Sentinels are asked one after the other.
const OPENING: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_millis(500);
/// A connection without an answer for so long is replaced.
const SILENT: Duration = Duration::from_millis(500);
