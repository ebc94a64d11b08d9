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
    Later(oneshot::Receiver<()>),
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
        let Turn::Later(mut granted) = turn else {
            return Some(place);
        };
        let mut left = until.left(clock.now());
        while !left.is_zero() {
            // Nobody says that a place has lapsed, and whoever stands before this one in the queue may
            // not look.
            let look = self
                .next_lapse(clock.now())
                .clamp(SHORTEST_LOOK, left.max(SHORTEST_LOOK));
            if let Ok(granted) = tokio::time::timeout(look, &mut granted).await {
                return granted.is_ok().then_some(place);
            }
            left = left.saturating_sub(look);
            self.queue().grant(self, clock.now());
        }
        granted.try_recv().is_ok().then_some(place)
    }

    /// How long until a place lapses, at the earliest.
    fn next_lapse(&self, now: Now) -> Duration {
        let lapses = self.queue().none_lapses_before;
        lapses.map_or(self.lapse_after, |lapses| lapses.left(now))
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
        let turn = if queue.held.contains_key(&number) || queue.held.len() < self.most {
            queue.hold(number, Deadline::after(now, self.lapse_after));
            Turn::Now
        } else if queue.waiting.len() < self.most.saturating_mul(WAITING_FOR_EACH) {
            let (tell, granted) = oneshot::channel();
            queue.waiting.push_back(Waiting {
                number,
                until,
                granted: tell,
            });
            Turn::Later(granted)
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

    /// Hands the place of a verification, if it has one, to the one that goes on for it.
    pub(super) fn hand_over(&self, before: u64, number: u64, now: Now) {
        let mut queue = self.queue();
        if queue.held.remove(&before).is_some() {
            queue.hold(number, Deadline::after(now, self.lapse_after));
        }
    }

    /// Takes back the place of a verification.
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

/// How often somebody looks whether a place has lapsed, at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
/// How many keys it takes to fill all places with checks that nobody joins.
const KEYS_TO_FILL_IT: usize = 4;
/// How many may wait for each place: with a gateway that answers in 60 ms, as many as are served
/// within 2 s.
const WAITING_FOR_EACH: usize = 32;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dev::ManualClock;

    const HOLD: Duration = Duration::from_secs(2);

    struct Stage {
        manual: ManualClock,
        clock: Clock,
        places: Arc<Places>,
    }

    impl Stage {
        fn with(most: usize) -> Self {
            let manual = ManualClock::new();
            Self {
                clock: (&manual).into(),
                manual,
                places: Arc::new(Places::new(most, HOLD)),
            }
        }

        fn enter(&self, number: u64) -> Option<(Place, Turn)> {
            let until = Deadline::after(self.clock.now(), HOLD);
            self.places.enter(number, until, &self.clock)
        }

        #[track_caller]
        fn takes(&self, number: u64) -> Place {
            match self.enter(number) {
                Some((place, Turn::Now)) => place,
                _ => panic!("there is no place"),
            }
        }

        #[track_caller]
        fn waits(&self, number: u64) -> (Place, oneshot::Receiver<()>) {
            match self.enter(number) {
                Some((place, Turn::Later(granted))) => (place, granted),
                _ => panic!("it does not wait"),
            }
        }
    }

    #[test]
    fn places_are_handed_on_in_the_order_of_the_queue() {
        let stage = Stage::with(2);
        let (one, other) = (stage.takes(1), stage.takes(2));
        let mut waiting: Vec<_> = (3..6).map(|number| stage.waits(number)).collect();
        drop(one);
        assert!(waiting[0].1.try_recv().is_ok());
        assert!(waiting[1].1.try_recv().is_err());
        // Who has gone is passed over.
        drop(waiting.remove(1));
        drop(other);
        assert!(waiting[1].1.try_recv().is_ok());
        drop(waiting);
        assert_eq!(stage.places.held(), 0);
    }

    #[test]
    fn a_place_that_nobody_gives_back_lapses_and_so_does_a_turn() {
        let stage = Stage::with(1);
        let lost = stage.takes(1);
        let (_stuck, mut turn) = stage.waits(2);
        stage.manual.advance(HOLD);
        // It would be its turn, and its own time is over.
        let mut next = stage.takes(3);
        assert!(turn.try_recv().is_err());
        // What comes late gives back nothing that is another's.
        drop(lost);
        assert_eq!(stage.places.held(), 1);
        for number in 4..10 {
            stage.manual.advance(HOLD);
            next = stage.takes(number);
        }
        drop(next);
        assert_eq!(stage.places.held(), 0);
    }

    #[tokio::test]
    async fn who_waits_behind_one_that_stands_still_takes_the_place_that_lapses() {
        let stage = Stage::with(1);
        let _lost = stage.takes(1);
        let (_stuck, _turn) = stage.waits(2);
        let until = Deadline::after(stage.clock.now(), 10 * HOLD);
        let (places, clock) = (Arc::clone(&stage.places), stage.clock.clone());
        // Its look is due after a while that the clock shows as over.
        stage.manual.advance(HOLD - Duration::from_millis(1));
        let waits = tokio::spawn(async move { places.place(3, until, &clock).await.is_some() });
        tokio::task::yield_now().await;
        stage.manual.advance(HOLD);
        assert!(waits.await.unwrap());
    }

    #[test]
    fn a_place_is_handed_over_and_not_to_the_next_in_the_queue() {
        let stage = Stage::with(1);
        let lost = stage.takes(1);
        let (_next, mut turn) = stage.waits(2);
        stage.places.hand_over(1, 3, stage.clock.now());
        assert!(turn.try_recv().is_err());
        let second = stage.takes(3);
        drop(lost);
        assert_eq!(stage.places.held(), 1);
        drop(second);
        assert!(turn.try_recv().is_ok());
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let stage = Stage::with(2);
        let _held = [stage.takes(1), stage.takes(2)];
        let mut waiting: Vec<_> = (0..64).map(|number| stage.waits(10 + number)).collect();
        assert!(stage.enter(100).is_none());
        waiting.remove(0);
        assert!(stage.enter(101).is_some(), "one has gone");
    }

    #[tokio::test]
    async fn who_waits_goes_at_its_deadline_and_takes_nothing() {
        let stage = Stage::with(1);
        let held = stage.takes(1);
        let until = Deadline::after(stage.clock.now(), Duration::from_millis(10));
        assert!(stage.places.place(2, until, &stage.clock).await.is_none());
        drop(held);
        assert_eq!(stage.places.held(), 0);
        assert!(stage.places.place(3, until, &stage.clock).await.is_some());
    }
}
