//! What a client does to keys and apps, told to the gates that are built on it.
//!
//! Each call that ends a key, or opens or closes an app, is announced when it is sent and settled
//! when its outcome is known. A gate that is built later hears of the revocations that the gateway
//! may not have heard of.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use self::outcome::outcome;
use self::recent::Recent;
use super::error::Result;
use crate::clock::Clock;

mod event;
mod listener;
mod outcome;
mod pages;
mod recent;
mod sink;

#[cfg(test)]
mod tests;

pub(crate) use self::event::ManagementEvent;
pub(crate) use self::listener::{Listener, Order, Outcome, RevocationId, Settled};
pub(crate) use self::pages::{PageName, SharedPage, SharedPages, Turn};
pub(crate) use self::sink::EventSink;
#[cfg(feature = "redis")]
pub(crate) use self::sink::EventStore;
pub use self::sink::StoreStats;

/// The listeners of a client and all its clones, and what a later one has to hear.
pub(crate) struct Events {
    clock: Clock,
    // Held while listeners are told, so that all of them hear the same in the same order, also one
    // that comes meanwhile.
    board: Mutex<Board>,
    sink: OnceLock<Arc<dyn EventSink>>,
}

struct Board {
    last: Order,
    listeners: Vec<Weak<dyn Listener>>,
    under_way: BTreeMap<Order, UnderWay>,
    recent: Recent,
}

/// A call that was sent and is not settled yet.
struct UnderWay {
    event: ManagementEvent,
    origin: Origin,
    told: Vec<(Weak<dyn Listener>, RevocationId)>,
}

/// Whose event it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Here,
    /// Another replica's, or one of ours that has come back with its place among theirs.
    Elsewhere,
}

impl Events {
    /// `clock` tells how long ago something was settled.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            board: Mutex::new(Board {
                last: Order(0),
                listeners: Vec::new(),
                under_way: BTreeMap::new(),
                recent: Recent::default(),
            }),
            sink: OnceLock::new(),
        }
    }

    /// What tells other replicas, if anything does.
    pub(crate) fn sink(&self) -> Option<&Arc<dyn EventSink>> {
        self.sink.get()
    }

    /// Tells other replicas from now on through this. Whether there was nothing else.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn share(&self, sink: Arc<dyn EventSink>) -> bool {
        self.sink.set(sink).is_ok()
    }

    /// Adds a listener, which is let go of when nobody else holds it.
    ///
    /// Before this returns, it has heard of the revocations of the last two minutes, those that
    /// were settled as having revoked nothing aside, and of all calls under way. Of each further
    /// event it hears once.
    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        let Some(hearing) = listener.upgrade() else {
            return;
        };
        let now = self.clock.now().monotonic;
        let mut board = self.board();
        for (event, settled) in board.recent.standing(now) {
            let id = hearing.begins(event, settled.sent);
            hearing.settled(event, id, settled);
        }
        for (sent, call) in &mut board.under_way {
            let id = hearing.begins(&call.event, *sent);
            call.told.push((Weak::clone(&listener), id));
        }
        board.listeners.retain(|other| other.strong_count() > 0);
        board.listeners.push(listener);
    }

    /// Makes the call, and tells the listeners and other replicas before and after it. If it is
    /// dropped on the way, they hear that nobody knows its outcome.
    pub(crate) async fn announced<T>(
        &self,
        event: ManagementEvent,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let sent = self.begin(event.clone());
        let mut announced = Announced {
            events: self,
            sent,
            outcome: Outcome::Nothing,
        };
        if let Some(sink) = self.sink()
            && sink.told().await.is_err()
        {
            sink.is_sent_untold(sent);
        }
        announced.outcome = Outcome::Indeterminate;
        let answer = call.await;
        announced.outcome = outcome(&event, &answer);
        drop(announced);
        if let Some(sink) = self.sink() {
            // In vain or not: it is told again until it is known.
            let _ = sink.told().await;
        }
        answer
    }

    /// Tells the listeners of something that needs no call: it is done.
    pub(crate) fn publish(&self, event: ManagementEvent) {
        if let Some(sink) = self.sink() {
            sink.done(&event);
        }
        let sent = self.begin_elsewhere(event);
        self.settle(sent, Outcome::Done);
    }

    /// Tells other replicas, and nobody here, of something that needs no call.
    pub(crate) fn tell_others(&self, event: &ManagementEvent) {
        if let Some(sink) = self.sink() {
            sink.done(event);
        }
    }

    /// Another replica is about to send a call.
    pub(crate) fn begin_elsewhere(&self, event: ManagementEvent) -> Order {
        self.begin_from(event, Origin::Elsewhere)
    }

    /// Events of other replicas were missed.
    #[cfg(feature = "redis")]
    pub(crate) fn missed(&self) {
        let listeners = self.board().listeners.clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.missed();
        }
    }

    fn begin(&self, event: ManagementEvent) -> Order {
        self.begin_from(event, Origin::Here)
    }

    fn begin_from(&self, event: ManagementEvent, origin: Origin) -> Order {
        let mut board = self.board();
        let sent = board.next();
        if let (Some(sink), Origin::Here) = (self.sink(), origin) {
            sink.begins(&event, sent);
        }
        let begins = |listener: &Weak<dyn Listener>| {
            let id = listener.upgrade()?.begins(&event, sent);
            Some((Weak::clone(listener), id))
        };
        let told = board.listeners.iter().filter_map(begins).collect();
        let call = UnderWay {
            event,
            origin,
            told,
        };
        board.under_way.insert(sent, call);
        sent
    }

    fn settle(&self, sent: Order, outcome: Outcome) {
        self.settle_elsewhere(sent, outcome, true);
    }

    /// What became of a call. Unless it `lifts` what was over before it, it may have overlapped with
    /// anything.
    pub(crate) fn settle_elsewhere(&self, sent: Order, outcome: Outcome, lifts: bool) {
        let now = self.clock.now().monotonic;
        let mut board = self.board();
        let Some(call) = board.under_way.remove(&sent) else {
            return;
        };
        let UnderWay {
            event,
            origin,
            told,
        } = call;
        if let (Some(sink), Origin::Here) = (self.sink(), origin) {
            sink.settled(&event, sent, outcome);
        }
        let settled = Settled {
            outcome,
            sent: if lifts { sent } else { Order(0) },
            answered: match outcome {
                Outcome::Done | Outcome::Nothing => Some(board.next()),
                Outcome::Indeterminate => None,
            },
        };
        for (listener, id) in told {
            if let Some(listener) = listener.upgrade() {
                listener.settled(&event, id, settled);
            }
        }
        board.recent.keep(event, settled, now);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let board = self.board();
        f.debug_struct("Events")
            .field("listeners", &board.listeners.len())
            .field("under_way", &board.under_way.len())
            .finish_non_exhaustive()
    }
}

impl Board {
    fn next(&mut self) -> Order {
        self.last.0 += 1;
        self.last
    }
}

/// A call under way. It is settled when this is dropped, with the outcome known by then.
struct Announced<'e> {
    events: &'e Events,
    sent: Order,
    outcome: Outcome,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.events.settle(self.sent, self.outcome);
    }
}
