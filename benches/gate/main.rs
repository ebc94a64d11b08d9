//! What the gate costs on top of the service it stands before.
//!
//! `cargo bench --bench gate`. The groups of criterion:
//!
//! * `gate`: the bare service, every kind of hit, every refusal, and a miss;
//! * `parts`: what a hit cannot do without, each measured with the crate that does it;
//! * `keys`: a hit among 1 000, 100 000 and 1 000 000 known keys.
//!
//! Two tables beside them: the rate of two threads against one, and the memory of a known key.
//! They also go to `bench/gate.json` in the target directory (`bench/gate-short.json` after
//! `-- --test`). Allocations have a bench of their own, `cargo bench --bench allocations`: the
//! allocator that counts them would slow down what is timed here.
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

mod calls;
mod cases;
mod figures;
mod keys;
mod memory;
mod parts;
mod run;
mod service;
mod stand_in;
mod threads;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, url, count] = arguments.as_slice()
        && role == memory::ROLE
    {
        memory::measure_here(url, count.parse().unwrap());
        return;
    }
    let run = run::Run::of(&arguments);
    let mut criterion = run.criterion();
    calls::measure(&mut criterion, &run);
    parts::measure(&mut criterion, &run);
    keys::measure(&mut criterion, &run);
    if run.wants("threads") {
        figures::keep(&run, "threads", &threads::measure(&run));
    }
    if run.wants("memory") {
        figures::keep(&run, "memory", &memory::measure(&run));
    }
    criterion.final_summary();
}
