//! Places for checks: how many are out at the same time, and who comes next.
//!
//! Whoever finds no place waits in a queue, up to its own deadline. A place is given back when the
//! gateway has answered, and lapses when the check's time is over: its runtime may stand still, and
//! must not keep the others from asking. For the same reason nobody is handed a place whose own
//! deadline is over.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, Deadline, Now};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// A number of places, and the queue for them.
pub(super) struct Places {
    most: usize,
    /// How long a place is held at most.
    lapse_after: Duration,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// When they lapse, by the number of the verification that holds them.
    held: HashMap<u64, Deadline>,
    /// No place lapses before this.
    none_lapses_before: Option<Deadline>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    until: Deadline,
    granted: oneshot::Sender<()>,
}

/// A place that is held or waited for. Given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    clock: Clock,
    number: u64,
}

/// How long a place is waited for.
pub(super) enum Turn {
    /// It is there.
    Now,
    /// It is there when this says so.
    Later {
        granted: oneshot::Receiver<()>,
        /// For who is the first in the queue: when the first place lapses.
        lapses: Option<Duration>,
    },
}

impl Places {
    /// So many, each of which is held for so long at most.
    pub(super) fn new(most: usize, lapse_after: Duration) -> Self {
        Self {
            most: most.max(1),
            lapse_after,
            queue: Mutex::default(),
        }
    }

    /// The part of these that one key may take.
    pub(super) fn share(&self) -> Self {
        Self::new(self.most / KEYS_TO_FILL_IT, self.lapse_after)
    }

    /// A place for the check of the verification with this number, which nothing else has; `None` if
    /// none becomes free in time, or too many wait.
    pub(super) async fn place(
        self: &Arc<Self>,
        number: u64,
        until: Deadline,
        clock: &Clock,
    ) -> Option<Place> {
        let (place, turn) = self.enter(number, until, clock)?;
        let Turn::Later {
            mut granted,
            lapses,
        } = turn
        else {
            return Some(place);
        };
        let left = until.left(clock.now());
        let first = lapses.map_or(left, |lapses| lapses.min(left));
        if let Ok(granted) = tokio::time::timeout(first, &mut granted).await {
            return granted.is_ok().then_some(place);
        }
        self.queue().grant(self, clock.now());
        let granted = tokio::time::timeout(left.saturating_sub(first), granted).await;
        matches!(granted, Ok(Ok(()))).then_some(place)
    }

    /// Takes a place or the last one in the queue. `None` if the queue is full.
    pub(super) fn enter(
        self: &Arc<Self>,
        number: u64,
        until: Deadline,
        clock: &Clock,
    ) -> Option<(Place, Turn)> {
        let now = clock.now();
        let mut queue = self.queue();
        queue.grant(self, now);
        let turn = if queue.held.len() < self.most {
            queue.hold(number, Deadline::after(now, self.lapse_after));
            Turn::Now
        } else if queue.waiting.len() < self.most.saturating_mul(WAITING_FOR_EACH) {
            let lapses = match queue.waiting.is_empty() {
                true => queue.held.values().min().map(|lapses| lapses.left(now)),
                false => None,
            };
            let (tell, granted) = oneshot::channel();
            queue.waiting.push_back(Waiting {
                number,
                until,
                granted: tell,
            });
            Turn::Later { granted, lapses }
        } else {
            return None;
        };
        drop(queue);
        let place = Place {
            places: Arc::clone(self),
            clock: clock.clone(),
            number,
        };
        Some((place, turn))
    }

    /// Takes back the place of a verification that another goes on for.
    pub(super) fn give_back(&self, number: u64, now: Now) {
        let mut queue = self.queue();
        if queue.held.remove(&number).is_some() {
            queue.grant(self, now);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.queue().held.len()
    }
}

impl Queue {
    /// Hands out what is free to those who wait.
    fn grant(&mut self, places: &Places, now: Now) {
        if self.none_lapses_before.is_some_and(|at| at.is_over(now)) {
            self.held.retain(|_, lapses| !lapses.is_over(now));
            self.none_lapses_before = self.held.values().copied().min();
        }
        while let Some(first) = self.waiting.front() {
            let is_gone = first.granted.is_closed() || first.until.is_over(now);
            if !is_gone && self.held.len() >= places.most {
                return;
            }
            let Some(first) = self.waiting.pop_front() else {
                return;
            };
            // In vain for one that is gone by now.
            if !is_gone && first.granted.send(()).is_ok() {
                self.hold(first.number, Deadline::after(now, places.lapse_after));
            }
        }
    }

    fn hold(&mut self, number: u64, lapses: Deadline) {
        self.held.insert(number, lapses);
        let first = self.none_lapses_before.get_or_insert(lapses);
        *first = lapses.min(*first);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back(self.number, self.clock.now());
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// How many keys it takes to fill all places with checks that nobody joins.
const KEYS_TO_FILL_IT: usize = 4;
/// How many may wait for each place: with a gateway that answers in 60 ms, as many as are served
/// within 2 s.
const WAITING_FOR_EACH: usize = 32;
