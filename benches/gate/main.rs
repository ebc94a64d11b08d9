//! What the gate costs on top of the service it stands before.
//!
//! `cargo bench -p benches --bench gate`. The groups of criterion:
//!
//! * `gate`: the bare service, every kind of hit, every refusal, and a miss;
//! * `parts`: what a hit cannot do without, each measured with the crate that does it;
//! * `keys`: a hit among 1 000, 100 000 and 1 000 000 known keys.
//!
//! A table beside them says what two threads do against one. It also goes to `bench/gate.json` in
//! the target directory (`bench/gate-short.json` after `-- --test`). Allocations and memory have
//! a bench of their own, `allocations`: the allocator that counts would slow down what is timed
//! here.
//!
//! `-- keys` and the like run one group or table: the name of the group first, as in
//! `-- 'gate/no key'`. With `-- --test` everything runs once, with few keys.
//!
//! Requests are made before the clock starts, 32 at a time: as many as stay in the processor's
//! first-level cache, as a request does that has just been read. Answers are dropped after the
//! clock has stopped; requests within, by the inner service. Nothing else should run meanwhile.
//! Compare figures of one run: single times say more about the machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine, and not the gate's idea of time"
)]

use std::env;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use serde_json::json;

mod calls;
mod cases;
mod keys;
mod parts;
mod run;
#[path = "../service/mod.rs"]
mod service;
mod stand_in;
mod threads;

/// See above.
const BATCH: BatchSize = BatchSize::NumIterations(32);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let run = run::Run::of(&arguments);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    calls::measure(&mut criterion, &run);
    parts::measure(&mut criterion, &run);
    keys::measure(&mut criterion, &run);
    if run.wants("threads") {
        run.keep("gate", &json!({ "threads": threads::measure(&run) }));
    }
    criterion.final_summary();
}
