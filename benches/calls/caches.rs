//! What a hit adds to the bare service: with warm caches, and when others have used the caches
//! since.
//!
//! ```sh
//! cargo bench -p benches --bench caches                    # about a minute
//! cargo bench -p benches --bench caches -- --against PATH  # and the same bench, built elsewhere
//! ```
//!
//! *Warm*: 32 requests one after the other, made before the clock starts; answers are dropped after
//! it has stopped. *Cold*: one request, and before it a buffer of four times the second-level cache
//! is read. That throws all out of the first two levels, code too, as it goes in a server that
//! reads, answers and writes meanwhile. The third level is left alone: it is large enough for what a
//! server uses all the time, and others share it. The request is made after the walk, as one that
//! has just been read. Both clocks stop before the answer is dropped.
//!
//! Cases take turns within a process, and processes take turns. Figures are medians of what the
//! rounds say, and each is the median of a round. With `--against`, the other program takes turns
//! too, and the last columns say what this one adds, times what that one adds. To hold a change
//! against an earlier state, build this bench with the earlier `src`:
//!
//! ```sh
//! git worktree add --detach ../earlier
//! git -C ../earlier checkout EARLIER -- src Cargo.toml
//! (cd ../earlier && cargo bench -p benches --bench caches --no-run)  # names the program
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine, and not the gate's idea of time"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use serde_json::json;
use tokio::runtime::Runtime;
use tower::Service;
use wacht_auth::dev::DevGateway;

mod cases;
#[path = "../median/mod.rs"]
mod median;
#[path = "../service/mod.rs"]
mod service;

use cases::{BARE, Case};
use median::median;
use service::{Inner, call, inner};

const CASES: [&str; 4] = [
    "hit, limits off",
    "hit, one rule, no headers",
    "hit, one rule",
    "hit, three rules",
];
const REGIMES: [&str; 2] = ["warm", "cold"];
/// Warm calls between two looks at the clock.
const BATCH: usize = 32;

/// The first argument of a process that measures.
const ROLE: &str = "--measure";

/// Nanoseconds of whole calls, by regime and case.
type Times = BTreeMap<String, BTreeMap<String, f64>>;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_short = arguments.iter().any(|argument| argument == "--test");
    if arguments.first().is_some_and(|argument| argument == ROLE) {
        let times = measure(if is_short { 3 } else { 400 });
        println!("{}", serde_json::to_string(&times).unwrap());
        return;
    }
    let mut against = arguments.iter().skip_while(|word| *word != "--against");
    let other = against.nth(1).map(PathBuf::from);
    let programs = [Some(env::current_exe().unwrap()), other];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..if is_short { 1 } else { 15 } {
        for turn in 0..2 {
            // Nobody is always the first.
            let place = (turn + round) % 2;
            if let Some(program) = &programs[place] {
                rounds[place].push(ask(program, is_short));
            }
        }
    }
    let [ours, theirs] = rounds.map(Added);
    print(&ours, &theirs);
    if !is_short {
        keep(&ours);
    }
}

/// One round of a program that is this bench.
fn ask(program: &Path, is_short: bool) -> Times {
    let measured = Command::new(program)
        .arg(ROLE)
        .args(is_short.then_some("--test"))
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{complaint}");
    serde_json::from_slice(&measured.stdout).unwrap()
}

// === Measuring ===

fn measure(samples: usize) -> Times {
    let runtime = Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let _guard = runtime.enter();
    let mut bare: Inner = inner();
    let mut cases = CASES.map(|name| Case::warm(&wacht, &runtime, name, 1));
    let mut walked = Walked::new();
    let mut all: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for regime in REGIMES {
        for _ in 0..samples {
            let requests = |make: &dyn Fn() -> Request<Empty<Bytes>>| match regime {
                "warm" => (0..BATCH).map(|_| make()).collect(),
                _ => vec![make()],
            };
            let mut before = || {
                if regime == "cold" {
                    walked.walk();
                }
            };
            before();
            let time = time(&mut bare, requests(&cases::anybodys_request));
            all.entry((regime, BARE)).or_default().push(time);
            for (name, case) in CASES.into_iter().zip(&mut cases) {
                before();
                let requests = requests(&|| case.request(0));
                let time = self::time(&mut case.gate, requests);
                all.entry((regime, name)).or_default().push(time);
            }
        }
    }
    let mut times = Times::new();
    for ((regime, name), samples) in all {
        let of_regime = times.entry(regime.to_owned()).or_default();
        of_regime.insert(name.to_owned(), median(samples));
    }
    times
}

/// Nanoseconds a request.
fn time<S>(service: &mut S, requests: Vec<Request<Empty<Bytes>>>) -> f64
where
    S: Service<Request<Empty<Bytes>>, Error = Infallible>,
{
    let count = requests.len() as f64;
    let mut answers = Vec::with_capacity(requests.len());
    let before = Instant::now();
    for request in requests {
        answers.push(call(service, request));
    }
    before.elapsed().as_nanos() as f64 / count
}

/// What takes the place of everything else in the caches.
struct Walked(Vec<u64>);

impl Walked {
    fn new() -> Self {
        let path = "/sys/devices/system/cpu/cpu0/cache/index2/size";
        let size = fs::read_to_string(path).unwrap_or_default();
        let kilobytes = size.trim().trim_end_matches('K').parse();
        // Where the system does not tell, as much as most have.
        let level_two = 1024 * kilobytes.unwrap_or(1024_usize);
        Self(vec![1; 4 * level_two / size_of::<u64>()])
    }

    fn walk(&mut self) {
        for line in self.0.chunks_mut(64 / size_of::<u64>()) {
            line[0] = black_box(line[0] + 1);
        }
    }
}

// === Comparing ===

/// What cases add to the bare service, and it itself, round by round.
struct Added(Vec<Times>);

impl Added {
    fn median(&self, regime: &str, name: &str) -> f64 {
        median(self.0.iter().map(|times| {
            let times = &times[regime];
            times[name] - if name == BARE { 0.0 } else { times[BARE] }
        }))
    }
}

fn print(ours: &Added, theirs: &Added) {
    println!("nanoseconds over the bare service:");
    println!(
        "{:<28} {:>7} {:>7} {:>14} {:>14}",
        "", "warm", "cold", "warm, times", "cold, times"
    );
    for name in [BARE].into_iter().chain(CASES) {
        let [warm, cold] = REGIMES.map(|regime| ours.median(regime, name));
        print!("{name:<28} {warm:>7.0} {cold:>7.0}");
        if !theirs.0.is_empty() {
            for (regime, ours) in REGIMES.into_iter().zip([warm, cold]) {
                let theirs = theirs.median(regime, name);
                print!(" {:>6.3} of {theirs:>4.0}", ours / theirs);
            }
        }
        println!();
    }
}

/// For the report that the benches make together.
fn keep(ours: &Added) {
    let rows: Vec<_> = [BARE]
        .into_iter()
        .chain(CASES)
        .map(|name| {
            let [warm, cold] = REGIMES.map(|regime| ours.median(regime, name));
            json!({ "name": name, "warm": warm, "cold": cold })
        })
        .collect();
    let program = env::current_exe().unwrap();
    let folder = program.ancestors().nth(3).unwrap().join("bench");
    fs::create_dir_all(&folder).unwrap();
    let text = json!({ "rows": rows }).to_string();
    fs::write(folder.join("caches.json"), text).unwrap();
}
