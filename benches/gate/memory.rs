//! What a known key takes of the resident memory of a process.
//!
//! The gate is in a process of its own, which is this program again; the stand-in for Wacht is
//! here. The keys themselves are nowhere: each is made from its number when it is needed.

use std::env;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::run::Run;
use super::service::call;
use super::stand_in::{COUNTED, StandIn, fill, request_of};

/// The first argument of the process that is measured.
pub(crate) const ROLE: &str = "measure-memory";

/// Keys that are there before the first look: whatever is made once is made for them.
const BEFORE: u64 = 1_000;

pub(crate) fn measure(run: &Run) -> Value {
    let stand_in = StandIn::start();
    println!("resident bytes of a known key with four permissions:");
    println!(
        "{:>10} {:>14} {:>24}",
        "keys", "verdict", "verdict and counter"
    );
    let mut rows = Vec::new();
    // The first population is too small to see beside what the process itself takes.
    for keys in &run.populations()[1..] {
        let measured = Command::new(env::current_exe().unwrap())
            .args([ROLE, stand_in.url(), &keys.to_string()])
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
        println!("{keys:>10} {verdict:>14.0} {both:>24.0}");
        rows.push(json!({ "keys": keys, "verdict": verdict, "with_counter": both }));
    }
    json!(rows)
}

/// Prints the bytes that are resident at first, with all keys known, and with all keys counted.
pub(crate) fn measure_here(url: &str, keys: u64) {
    let runtime = Runtime::new().unwrap();
    let mut gate = StandIn::at(url).gate();
    let _guard = runtime.enter();
    fill(&gate, &runtime, 0..BEFORE);
    let before = resident();
    let all = BEFORE..BEFORE + keys;
    fill(&gate, &runtime, all.clone());
    let known = resident();
    for number in all {
        assert_eq!(call(&mut gate, request_of(number, COUNTED)).status(), 200);
    }
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
