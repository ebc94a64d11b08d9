//! Two threads against one: how many calls a second they make together.
//!
//! Every thread has its own clone of the gate. All start a batch at the same moment and it counts
//! as done when the last is, so nobody works alone; of its batches the median counts. One thread
//! and two take turns. What the bare service and a hash of nothing shared gain by a second thread
//! is what the machine has to give; what moka's own look-ups of distinct keys gain is what a gate
//! that makes one in each hit can hope for.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use moka::sync::Cache;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::keys::{Digest, Entry};
use super::run::Run;
use super::service::{Inner, call, inner};
use super::stand_in::{COUNTED, PLENTY, StandIn, fill, request_of};

/// Calls between two starts: the requests of one batch are made while no clock runs. So few that
/// most batches end before the system gives the processor to somebody else.
const BATCH: u64 = 64;
const BATCHES: u64 = 320;
/// Keys of each thread, where they are distinct.
const KEYS: u64 = 1_000;

pub(crate) fn measure(run: &Run) -> Value {
    let rounds = if run.is_short { 1 } else { 21 };
    let runtime = Runtime::new().unwrap();
    let stand_in = StandIn::start(|_, _| None);
    let gate = stand_in.gate();
    let _guard = runtime.enter();
    fill(&gate, &runtime, 0..2 * KEYS);

    println!("calls a second, medians of {rounds} rounds:");
    println!(
        "{:<20} {:>14} {:>14} {:>8}",
        "", "one thread", "two threads", "ratio"
    );
    let mut rows = Vec::new();
    let mut row = |name: &str, rates: Vec<[f64; 2]>| {
        // The first round warms up.
        let of = |figure: fn(&[f64; 2]) -> f64| median(rates[1..].iter().map(figure).collect());
        let (one, two) = (of(|[one, _]| *one), of(|[_, two]| *two));
        let ratio = of(|[one, two]| two / one);
        println!("{name:<20} {one:>14.0} {two:>14.0} {ratio:>8.2}");
        rows.push(json!({ "name": name, "one": one, "two": two, "ratio": ratio }));
    };

    let rounds = rounds + 1;
    row(
        "SHA-256 alone",
        rates(rounds, |_| {
            let hash = |text: [u8; 46]| {
                black_box(Sha256::digest(text));
            };
            (|_| [b'x'; 46], hash)
        }),
    );
    row(
        "bare inner service",
        rates(rounds, |_| {
            let mut bare: Inner = inner();
            (
                |number| request_of(number % KEYS, COUNTED),
                move |request| drop(call(&mut bare, request)),
            )
        }),
    );
    let cache: Cache<Digest, Arc<Entry>> = Cache::new(100_000);
    for number in 0..2 * KEYS {
        cache.insert(Digest::of(number), Arc::new(Entry([number; 38])));
    }
    row(
        "moka get alone",
        rates(rounds, |thread| {
            let look = |digest| {
                black_box(cache.get(&digest));
            };
            (
                move |number| Digest::of(thread * KEYS + number % KEYS),
                look,
            )
        }),
    );
    row(
        "hit, distinct keys",
        rates(rounds, |thread| {
            let mut gate = gate.clone();
            (
                move |number| request_of(thread * KEYS + number % KEYS, COUNTED),
                move |request| drop(call(&mut gate, request)),
            )
        }),
    );
    row(
        "hit, one hot key",
        rates(rounds, |_| {
            let mut gate = gate.clone();
            (
                |_| request_of(0, PLENTY),
                move |request| drop(call(&mut gate, request)),
            )
        }),
    );
    // As a server does it: the router is called, and clones what it has for each request.
    let answers = || {
        let answer = || get(async || "ok");
        Router::new()
            .route(COUNTED, answer())
            .route(PLENTY, answer())
    };
    let gated = answers().layer(stand_in.layer());
    // A gate of its own, which has to be told the keys as well.
    let told = gated.clone();
    runtime.block_on(async {
        for number in 0..2 * KEYS {
            let answer = told.clone().oneshot(routed(number, COUNTED)).await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    });
    for (name, router) in [
        ("axum, bare", answers()),
        ("axum, hit, distinct keys", gated.clone()),
    ] {
        row(
            name,
            rates(rounds, |thread| {
                (
                    move |number| routed(thread * KEYS + number % KEYS, COUNTED),
                    through(&router),
                )
            }),
        );
    }
    row(
        "axum, hit, one hot key",
        rates(rounds, |_| (|_| routed(0, PLENTY), through(&gated))),
    );
    json!(rows)
}

fn routed(number: u64, path: &str) -> Request<Body> {
    request_of(number, path).map(|_| Body::empty())
}

/// A thread's own router, as each connection of a server has one.
fn through(router: &Router) -> impl FnMut(Request<Body>) + use<> {
    let mut router = router.clone();
    move |request| drop(call(&mut router, request))
}

/// How many calls a second one thread makes, and how many two make together, round by round. `work`
/// makes a thread's own hands: one prepares, by number, what the other then does while the clock
/// runs.
///
/// The threads are the same throughout, as those of a server are: the allocator gives each a
/// place of its own.
fn rates<T, P, D>(rounds: usize, work: impl Fn(u64) -> (P, D) + Sync) -> Vec<[f64; 2]>
where
    P: FnMut(u64) -> T,
    D: FnMut(T),
{
    let next = Barrier::new(2);
    let starts: Vec<[Start; 2]> = (0..rounds).map(|_| [1, 2].map(Start::of)).collect();
    let of_threads: Vec<Vec<[Spans; 2]>> = thread::scope(|scope| {
        let threads = [0, 1].map(|thread| {
            let (work, next, starts) = (&work, &next, &starts);
            scope.spawn(move || {
                let (mut prepare, mut act) = work(thread);
                let mut turn = |start: &Start| {
                    next.wait();
                    let mut spans = Spans::new();
                    // In a turn of one, the second thread sleeps.
                    let batches = if thread < start.threads { BATCHES } else { 0 };
                    for batch in 0..batches {
                        let first = batch * BATCH;
                        let prepared: Vec<T> = (first..first + BATCH).map(&mut prepare).collect();
                        start.together(batch + 1);
                        let before = Instant::now();
                        prepared.into_iter().for_each(&mut act);
                        spans.push((before, Instant::now()));
                    }
                    spans
                };
                starts
                    .iter()
                    .map(|[one, two]| [turn(one), turn(two)])
                    .collect()
            })
        });
        threads.map(|thread| thread.join().unwrap()).into()
    });
    (0..rounds)
        .map(|round| {
            [0, 1].map(|turn| {
                let of_turn: Vec<&Spans> = of_threads
                    .iter()
                    .map(|rounds| &rounds[round][turn])
                    .collect();
                rate(&of_turn[..=turn])
            })
        })
        .collect()
}

/// When each batch of a thread began and ended.
type Spans = Vec<(Instant, Instant)>;

/// Calls a second of the threads with these spans.
fn rate(threads: &[&Spans]) -> f64 {
    let taken = (0..BATCHES as usize)
        .map(|batch| {
            let of_batch = || threads.iter().map(|spans| spans[batch]);
            let first = of_batch().map(|(before, _)| before).min().unwrap();
            let last = of_batch().map(|(_, after)| after).max().unwrap();
            (last - first).as_secs_f64()
        })
        .collect();
    (threads.len() as u64 * BATCH) as f64 / median(taken)
}

/// Lets threads go on together. Nobody sleeps: waking up takes longer than a batch.
struct Start {
    threads: u64,
    arrived: AtomicU64,
}

impl Start {
    fn of(threads: u64) -> Self {
        Self {
            threads,
            arrived: AtomicU64::new(0),
        }
    }

    /// Returns when all threads have come to the start of this number, counted from 1.
    fn together(&self, number: u64) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut turns = 0_u32;
        while self.arrived.load(Ordering::Acquire) < number * self.threads {
            turns += 1;
            match turns % 1_000 {
                // The other one may have nowhere else to run.
                0 => thread::yield_now(),
                _ => spin_loop(),
            }
        }
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}
