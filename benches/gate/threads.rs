//! Two threads against one: how many calls a second they make together.
//!
//! Every thread has its own clone of the gate. All start a batch at the same moment and it counts
//! as done when the last is, so nobody works alone; of its batches the median counts. One thread and two take turns. What the bare
//! service and a hash of nothing shared gain by a second thread is what the machine has to give.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::run::Run;
use super::service::{call, inner};
use super::stand_in::{COUNTED, PLENTY, StandIn, fill, request_of};

/// Calls between two starts: the requests of one batch are made while no clock runs. So few that
/// most batches end before the system gives the processor to somebody else.
const BATCH: u64 = 128;
const BATCHES: usize = 160;
/// Keys of each thread, where they are distinct.
const KEYS: u64 = 1_000;

pub(crate) fn measure(run: &Run) -> Value {
    let rounds = if run.is_short { 1 } else { 41 };
    let runtime = Runtime::new().unwrap();
    let stand_in = StandIn::start();
    let gate = stand_in.gate();
    let _guard = runtime.enter();
    fill(&gate, &runtime, 0..2 * KEYS);

    println!("calls a second, medians of {rounds} rounds:");
    println!(
        "{:<20} {:>14} {:>14} {:>8}",
        "", "one thread", "two threads", "ratio"
    );
    let mut rows = Vec::new();
    let mut row = |name: &str, one_and_two: &dyn Fn(u64) -> f64| {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        let mut ratios = Vec::new();
        // The first round warms up.
        for round in 0..=rounds {
            let rates = (one_and_two(1), one_and_two(2));
            if round > 0 {
                one.push(rates.0);
                two.push(rates.1);
                ratios.push(rates.1 / rates.0);
            }
        }
        let (one, two, ratio) = (median(one), median(two), median(ratios));
        println!("{name:<20} {one:>14.0} {two:>14.0} {ratio:>8.2}");
        rows.push(json!({ "name": name, "one": one, "two": two, "ratio": ratio }));
    };

    row("SHA-256 alone", &|threads| {
        rate(threads, |_| {
            (
                |_| [b'x'; 46],
                |text: [u8; 46]| {
                    black_box(Sha256::digest(text));
                },
            )
        })
    });
    row("bare inner service", &|threads| {
        rate(threads, |_| {
            let mut bare = inner();
            (
                |number| request_of(number % KEYS, COUNTED),
                move |request| drop(call(&mut bare, request)),
            )
        })
    });
    row("hit, distinct keys", &|threads| {
        rate(threads, |thread| {
            let mut gate = gate.clone();
            (
                move |number| request_of(thread * KEYS + number % KEYS, COUNTED),
                move |request| drop(call(&mut gate, request)),
            )
        })
    });
    row("hit, one hot key", &|threads| {
        rate(threads, |_| {
            let mut gate = gate.clone();
            (
                |_| request_of(0, PLENTY),
                move |request| drop(call(&mut gate, request)),
            )
        })
    });
    json!(rows)
}

/// How many calls a second so many threads make together. `work` makes a thread's own hands: one
/// prepares, by number, what the other then does while the clock runs.
fn rate<T, P, D>(threads: u64, work: impl Fn(u64) -> (P, D) + Sync) -> f64
where
    P: FnMut(u64) -> T,
    D: FnMut(T),
{
    let start = Start::of(threads);
    let spans: Vec<Vec<(Instant, Instant)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    let (mut prepare, mut act) = work(thread);
                    let mut spans = Vec::with_capacity(BATCHES);
                    for batch in 0..BATCHES {
                        let first = batch as u64 * BATCH;
                        let prepared: Vec<T> = (first..first + BATCH).map(&mut prepare).collect();
                        start.together(batch + 1);
                        let before = Instant::now();
                        prepared.into_iter().for_each(&mut act);
                        spans.push((before, Instant::now()));
                    }
                    spans
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let spans = (0..BATCHES)
        .map(|batch| {
            let of_batch = || spans.iter().map(|spans| spans[batch]);
            let first = of_batch().map(|(before, _)| before).min().unwrap();
            let last = of_batch().map(|(_, after)| after).max().unwrap();
            (last - first).as_secs_f64()
        })
        .collect();
    (threads * BATCH) as f64 / median(spans)
}

/// Lets threads go on together. Nobody sleeps: waking up takes longer than a batch.
struct Start {
    threads: usize,
    arrived: AtomicUsize,
}

impl Start {
    fn of(threads: u64) -> Self {
        Self {
            threads: threads as usize,
            arrived: AtomicUsize::new(0),
        }
    }

    /// Returns when all threads have come to the start of this number, counted from 1.
    fn together(&self, number: usize) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < number * self.threads {
            spin_loop();
        }
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}
