//! Models of one counter under requests at the same time: see [`crate::sync::model`].
//!
//! Real here: [`GcraCounter`], its [`GcraState`] and governor's arithmetic, over shuttle's atomics.
//! Made up: the threads, and the moments at which they have read the clock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::thread;

use super::counters::{GcraCounter, GcraState, Moment};
use crate::sync::model::{every, many};

const WINDOW: u64 = 60_000;

/// All that was admitted and not given back, by any thread: when, and for how much.
type Admitted = Mutex<Vec<(u64, u32)>>;

struct Model {
    gcra: GcraCounter,
    state: GcraState,
    admitted: Admitted,
}

impl Model {
    fn new(max_requests: u32) -> Arc<Self> {
        Arc::new(Self {
            gcra: GcraCounter::new(max_requests, Duration::from_nanos(WINDOW)),
            state: GcraState::default(),
            admitted: Mutex::default(),
        })
    }

    /// As `Limiter::admit` does it.
    fn request(&self, now: u64) -> bool {
        self.request_for(1, now)
    }

    fn request_for(&self, cost: u32, now: u64) -> bool {
        let admitted = self.gcra.look(&self.state, Moment(now), cost).is_ok()
            && self.gcra.charge(&self.state, Moment(now), cost).is_ok();
        if admitted {
            self.admitted.lock().unwrap().push((now, cost));
        }
        admitted
    }

    /// A request that another rule refuses after this one was charged.
    fn request_in_vain(&self, cost: u32, now: u64) {
        if self.gcra.charge(&self.state, Moment(now), cost).is_ok() {
            self.gcra.refund(&self.state, Moment(now), cost);
        }
    }

    fn count(&self) -> usize {
        self.admitted.lock().unwrap().len()
    }

    /// What was admitted would have been admitted one after the other, too.
    fn nobody_was_let_in_too_many(&self, max_requests: u32) {
        let mut admitted = self.admitted.lock().unwrap().clone();
        admitted.sort_unstable();
        let alone = GcraCounter::new(max_requests, Duration::from_nanos(WINDOW));
        let state = GcraState::default();
        for (now, cost) in &admitted {
            assert!(
                alone.charge(&state, Moment(*now), *cost).is_ok(),
                "too many: {admitted:?}"
            );
        }
    }
}

fn at_the_same_time(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = threads.into_iter().map(thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn two_requests_at_once_never_share_the_last_place() {
    every(|| {
        let model = Model::new(1);
        let other = Arc::clone(&model);
        let other = thread::spawn(move || other.request(7));
        model.request(7);
        other.join().unwrap();
        assert_eq!(model.count(), 1);
    });
}

#[test]
fn no_more_than_the_limit_pass_at_once_and_no_fewer() {
    fn model() {
        let model = Model::new(2);
        let request = |model: &Arc<Model>| -> Box<dyn FnOnce() + Send> {
            let model = Arc::clone(model);
            Box::new(move || {
                model.request(7);
            })
        };
        at_the_same_time((0..4).map(|_| request(&model)).collect());
        assert_eq!(model.count(), 2);
    }
    many(model);
}

#[test]
fn what_is_given_back_lets_nobody_in_too_many() {
    // In vain at the same moment, before the others, and a refill before them.
    for (in_vain, requests) in [
        (100, [100, 100]),
        (100, [130, 60_100]),
        (100, [60_100, 60_100]),
        (60_100, [100, 100]),
    ] {
        let model = move || {
            let model = Model::new(1);
            let (first, second) = (Arc::clone(&model), Arc::clone(&model));
            let vain = Arc::clone(&model);
            at_the_same_time(vec![
                Box::new(move || vain.request_in_vain(1, in_vain)),
                Box::new(move || {
                    first.request(requests[0]);
                }),
                Box::new(move || {
                    second.request(requests[1]);
                }),
            ]);
            model.nobody_was_let_in_too_many(1);
        };
        many(model);
    }
}

#[test]
fn a_place_given_back_is_there_for_the_next() {
    every(|| {
        let model = Model::new(2);
        let vain = Arc::clone(&model);
        let vain = thread::spawn(move || vain.request_in_vain(1, 7));
        assert!(model.request(7), "there was room for both");
        vain.join().unwrap();
        assert!(model.request(7), "one place was given back");
        assert!(!model.request(7));
    });
}

#[test]
fn a_cost_is_charged_whole_or_not_at_all() {
    for (costs, passed) in [([2, 2], 1), ([2, 1], 2), ([3, 1], 1)] {
        every(move || {
            let model = Model::new(3);
            let other = Arc::clone(&model);
            let other = thread::spawn(move || other.request_for(costs[0], 7));
            model.request_for(costs[1], 7);
            other.join().unwrap();
            assert_eq!(model.count(), passed, "{costs:?}");
            model.nobody_was_let_in_too_many(3);
        });
    }
}

#[test]
fn a_cost_that_is_given_back_lets_nobody_in_too_many() {
    // In vain at the same moment, before the others, and a refill before them.
    for (in_vain, requests) in [
        (100, [100, 100]),
        (100, [130, 60_100]),
        (60_100, [100, 100]),
    ] {
        let model = move || {
            let model = Model::new(3);
            let (first, second) = (Arc::clone(&model), Arc::clone(&model));
            let vain = Arc::clone(&model);
            at_the_same_time(vec![
                Box::new(move || vain.request_in_vain(3, in_vain)),
                Box::new(move || {
                    first.request_for(2, requests[0]);
                }),
                Box::new(move || {
                    second.request_for(2, requests[1]);
                }),
            ]);
            model.nobody_was_let_in_too_many(3);
        };
        many(model);
    }
}

#[test]
fn what_is_owed_is_never_lost() {
    every(|| {
        let model = Model::new(2);
        let minute = Duration::from_secs(60);
        let other = Arc::clone(&model);
        let other = thread::spawn(move || other.gcra.book_debt(&other.state, Moment(7), 1, minute));
        model.gcra.book_debt(&model.state, Moment(7), 1, minute);
        model.gcra.book_debt(&model.state, Moment(7), 1, minute);
        other.join().unwrap();
        // Three of two: the bucket is whole after a window and a half, and has a place after one.
        assert_eq!(model.state.when_full(), Moment(7 + 3 * WINDOW / 2));
        let wait = Duration::from_nanos(WINDOW);
        assert_eq!(model.gcra.look(&model.state, Moment(7), 1), Err(wait));
    });
}
