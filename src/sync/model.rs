//! Runs models of races: the orders in which the steps of threads may come.
//!
//! ```sh
//! RUSTFLAGS="--cfg wacht_shuttle" cargo test --lib interleavings
//! ```
//!
//! shuttle runs one step at a time: what weaker memory orders allow is not modelled.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

const MAX_SCHEDULES: usize = 20_000;
const SAMPLES: usize = 3_000;

/// Every order of the steps.
pub(crate) fn every(model: impl Fn() + Send + Sync + 'static) {
    let schedules = run(DfsScheduler::new(Some(MAX_SCHEDULES), false), model);
    println!("{schedules} schedules");
    assert!(schedules > 1, "the threads share nothing");
    assert!(schedules < MAX_SCHEDULES, "too many to see them all");
}

/// Many orders of the steps: half of them random, half with two preemptions at random places.
pub(crate) fn many(model: impl Fn() + Clone + Send + Sync + 'static) {
    some(SAMPLES, model);
}

/// So many orders of each half, for a model that takes long or comes in several forms.
pub(crate) fn some(samples: usize, model: impl Fn() + Clone + Send + Sync + 'static) {
    run(RandomScheduler::new(samples), model.clone());
    run(PctScheduler::new(3, samples), model);
}

/// Two threads, to the end of both.
pub(crate) fn both(one: impl FnOnce() + Send + 'static, other: impl FnOnce()) {
    let one = thread::spawn(one);
    other();
    one.join().unwrap();
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    // Of orderings, of which the head of this file speaks.
    config.silence_warnings = true;
    // moka needs more than the default.
    config.stack_size = 1 << 19;
    Runner::new(scheduler, config).run(model)
}
