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
use tower::Layer;
use wacht_auth::WachtAuth;

use super::run::Run;
use super::service::{Inner, call, inner};
use super::shapes::SHAPES;
use super::stand_in::{COUNTED, SHAPE, StandIn, fill, request_of};

/// The first argument of the process that is measured.
pub(crate) const ROLE: &str = "measure-memory";
/// The same, where what keys take is compared with what they are said to.
pub(crate) const WEIGHT_ROLE: &str = "measure-weight";

/// Keys that are there before the first look: whatever is made once is made for them.
const BEFORE: u64 = 1_000;

pub(crate) fn measure(run: &Run) -> Value {
    let stand_in = StandIn::start(|_, _| None);
    println!("bytes of a known key with four permissions:");
    println!(
        "{:>10} {:>12} {:>22} {:>12} {:>22}",
        "keys", "heap", "heap with counter", "resident", "resident with counter"
    );
    let mut rows = Vec::new();
    // The first population is too small to see beside what the process itself takes.
    for keys in &run.populations()[1..] {
        let resident = ask_process(&[ROLE, &stand_in.url, &keys.to_string()]);
        let [before, known, counted] = resident[..] else {
            panic!("the measured process said: {resident:?}");
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

/// What keys of all shapes are said to take, and what is resident of them.
pub(crate) fn measure_weights(run: &Run) -> Value {
    let stand_in = StandIn::start(|shape, key| {
        let shape = SHAPES.get(shape)?;
        let permissions = serde_json::to_string(&(shape.permissions)(key)).ok()?;
        Some((permissions, (shape.metadata)(key).to_string()))
    });
    println!(
        "{:<30} {:>10} {:>10} {:>6}",
        "bytes of a known key", "weighs", "resident", ""
    );
    let mut rows = Vec::new();
    for (number, shape) in SHAPES.iter().enumerate() {
        let keys = if run.is_short { 100 } else { shape.keys };
        let url = format!("{}{SHAPE}{number}", stand_in.url);
        let figures = ask_process(&[WEIGHT_ROLE, &url, &keys.to_string()]);
        let [weighs, resident] = figures[..] else {
            panic!("the measured process said: {figures:?}");
        };
        let (weighs, resident) = (weighs / keys as f64, resident / keys as f64);
        let ratio = weighs / resident;
        println!(
            "{:<30} {weighs:>10.0} {resident:>10.0} {ratio:>6.2}",
            shape.name
        );
        rows.push(json!({ "shape": shape.name, "weighs": weighs, "resident": resident }));
    }
    json!(rows)
}

/// The numbers that another process of this program prints.
fn ask_process(arguments: &[&str]) -> Vec<f64> {
    let program = env::current_exe().unwrap();
    let measured = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{complaint}");
    let words = String::from_utf8(measured.stdout).unwrap();
    let numbers = words.split_whitespace().map(|word| word.parse().unwrap());
    numbers.collect()
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

/// Prints what keys are said to take, and what they add to what is resident.
pub(crate) fn weigh_here(url: &str, keys: u64) {
    let runtime = Runtime::new().unwrap();
    let stand_in = StandIn {
        url: url.to_owned(),
    };
    let layer = stand_in.layer();
    let gate = layer.layer(inner());
    let before = keys.min(BEFORE);
    let (start, end) = (0..before, before..before + keys);
    fill(&gate, &runtime, start);
    let (weighed, was) = (layer.handle().stats().cached_bytes, resident());
    fill(&gate, &runtime, end);
    let (weighs, is) = (layer.handle().stats().cached_bytes, resident());
    println!("{} {}", weighs - weighed, is.saturating_sub(was));
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}
