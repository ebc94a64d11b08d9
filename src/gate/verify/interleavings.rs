//! Models of the races for a place: see [`model`](crate::sync::model).
//!
//! Real here: [`Places`], over shuttle's mutex in place of std's. Made up: the checks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;
use tokio::sync::oneshot;

use crate::clock::{Clock, Deadline};
use crate::gate::verify::places::{Place, Places, Turn};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::model::{both, every, many};

/// Longer than any model takes.
const LONG: Duration = Duration::from_secs(1_000);

/// One place, and who is there.
struct Door {
    clock: Clock,
    places: Arc<Places>,
    // shuttle's, so that there are steps while the place is held.
    inside: AtomicUsize,
}

/// Somebody in the queue, or past it. Gone in this order.
struct Visitor {
    granted: Option<oneshot::Receiver<()>>,
    _place: Place,
}

impl Door {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Clock::system(),
            places: Arc::new(Places::new(1, LONG)),
            inside: AtomicUsize::new(0),
        })
    }

    fn enter(&self, number: u64) -> Visitor {
        let until = Deadline::after(self.clock.now(), LONG);
        let (place, turn) = self.places.enter(number, until, &self.clock).unwrap();
        Visitor {
            granted: match turn {
                Turn::Now => None,
                Turn::Later(granted) => Some(granted),
            },
            _place: place,
        }
    }

    /// Sends a check if there is a place for it.
    fn ask(&self, visitor: &mut Visitor) {
        if visitor.is_in() {
            let before = self.inside.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before, 0, "two checks at the same time");
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Visitor {
    fn is_in(&mut self) -> bool {
        if self.granted.as_mut().is_some_and(|g| g.try_recv().is_ok()) {
            self.granted = None;
        }
        self.granted.is_none()
    }
}

#[test]
fn a_place_that_is_given_back_goes_to_who_waits() {
    every(|| {
        let door = Door::new();
        let mut first = door.enter(1);
        let leaving = Arc::clone(&door);
        let mut second = None;
        both(
            move || {
                leaving.ask(&mut first);
                drop(first);
            },
            || {
                let mut visitor = door.enter(2);
                door.ask(&mut visitor);
                second = Some(visitor);
            },
        );
        assert!(second.unwrap().is_in(), "nobody has told it");
        assert_eq!(door.places.held(), 0);
    });
}

#[test]
fn who_goes_as_its_turn_comes_hands_the_place_on() {
    many(|| {
        let door = Door::new();
        let first = door.enter(1);
        let second = door.enter(2);
        let mut third = door.enter(3);
        both(move || drop(first), || drop(second));
        assert!(third.is_in(), "nobody has told it");
        drop(third);
        assert_eq!(door.places.held(), 0);
    });
}

#[test]
fn a_place_that_is_taken_over_is_given_back_once() {
    many(|| {
        let door = Door::new();
        let lost = door.enter(1);
        let (taking, entering) = (Arc::clone(&door), Arc::clone(&door));
        let takes = thread::spawn(move || {
            taking.places.give_back(1, taking.clock.now());
            let mut follower = taking.enter(2);
            taking.ask(&mut follower);
        });
        let enters = thread::spawn(move || {
            let mut other = entering.enter(3);
            entering.ask(&mut other);
        });
        drop(lost);
        takes.join().unwrap();
        enters.join().unwrap();
        assert_eq!(door.places.held(), 0);
        assert!(door.enter(4).is_in());
    });
}
