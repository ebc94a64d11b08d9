//! What a known key takes: of the heap, counted, and of the resident memory of a process.
//!
//! The resident memory is that of a process that has nothing but the gate in it, which is this
//! program again; the stand-in for Wacht is here. It contains what the allocator cannot give back
//! of the memory that verifying took. The keys themselves are nowhere: each is made from its
//! number when it is needed.

use std::env;
use std::fs;
use std::ops::Range;
use std::process::Command;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use wacht_auth::WachtAuth;

use super::run::Run;
use super::service::{Inner, call};
use super::stand_in::{COUNTED, StandIn, fill, request_of};

/// The first argument of the process that is measured.
pub(crate) const ROLE: &str = "measure-memory";

/// Keys that are there before the first look: whatever is made once is made for them.
const BEFORE: u64 = 1_000;

pub(crate) fn measure(run: &Run) -> Value {
    let stand_in = StandIn::start();
    println!("bytes of a known key with four permissions:");
    println!(
        "{:>10} {:>12} {:>22} {:>12} {:>22}",
        "keys", "heap", "heap with counter", "resident", "resident with counter"
    );
    let mut rows = Vec::new();
    // The first population is too small to see beside what the process itself takes.
    for keys in &run.populations()[1..] {
        let measured = Command::new(env::current_exe().unwrap())
            .args([ROLE, &stand_in.url, &keys.to_string()])
            .output()
            .unwrap();
        let words = String::from_utf8(measured.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&measured.stderr);
        let resident: Vec<f64> = words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let [before, known, counted] = resident[..] else {
            panic!("the measured process said: {words} {complaint}");
        };
        let verdict = (known - before) / *keys as f64;
        let both = (counted - before) / *keys as f64;
        let (heap, heap_both) = on_the_heap(&stand_in, *keys);
        println!("{keys:>10} {heap:>12.0} {heap_both:>22.0} {verdict:>12.0} {both:>22.0}");
        rows.push(json!({
            "keys": keys, "heap": heap, "heap_with_counter": heap_both,
            "resident": verdict, "resident_with_counter": both,
        }));
    }
    json!(rows)
}

/// Bytes a key that stay allocated, with the key known and with it counted. All of the gate's work
/// is on this thread, where allocations are counted.
fn on_the_heap(stand_in: &StandIn, keys: u64) -> (f64, f64) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut gate = stand_in.gate();
    let _guard = runtime.enter();
    fill(&gate, &runtime, 0..BEFORE);
    let all = BEFORE..BEFORE + keys;
    let known = allocation_counter::measure(|| fill(&gate, &runtime, all.clone()));
    let counted = allocation_counter::measure(|| count_all(&mut gate, all));
    let known = known.bytes_current as f64 / keys as f64;
    let counted = counted.bytes_current as f64 / keys as f64;
    (known, known + counted)
}

/// One request that is counted of each key.
fn count_all(gate: &mut WachtAuth<Inner>, numbers: Range<u64>) {
    for number in numbers {
        assert_eq!(call(gate, request_of(number, COUNTED)).status(), 200);
    }
}

/// Prints the bytes that are resident at first, with all keys known, and with all keys counted.
pub(crate) fn measure_here(url: &str, keys: u64) {
    let runtime = Runtime::new().unwrap();
    let stand_in = StandIn {
        url: url.to_owned(),
    };
    let mut gate = stand_in.gate();
    let _guard = runtime.enter();
    fill(&gate, &runtime, 0..BEFORE);
    let before = resident();
    let all = BEFORE..BEFORE + keys;
    fill(&gate, &runtime, all.clone());
    let known = resident();
    count_all(&mut gate, all);
    println!("{before} {known} {}", resident());
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}
