//! What the gate allocates: for a call, in every case of the bench `gate`, and for a key that it
//! knows.
//!
//! `cargo bench -p benches --bench allocations`. Of a call: the request is made before and both it
//! and the answer are dropped within. What `http` does by itself is counted by itself: the first insert into the
//! extensions (a hit's request, a refusal's answer) and, into an empty header map, as many fields
//! as the answer carries. The rest is the gate's own. Of a key: see
//! `memory.rs`, and for keys of many shapes, beside what the cache says of them, `shapes.rs`. All of it also goes to `bench/allocations.json` in the target directory
//! (`bench/allocations-short.json` after `-- --test`, which knows but few keys),
//! unless `-- calls`, `-- memory` or `-- weights` chooses one of the three.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::env;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wacht_auth::dev::DevGateway;
use wacht_auth::{PeerAddr, Rejection};

mod cases;
mod memory;
mod run;
#[path = "../service/mod.rs"]
mod service;
mod shapes;
mod stand_in;

use cases::{Caller, Case};
use run::Run;
use service::{Inner, call, inner};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, url, count] = arguments.as_slice() {
        let count = count.parse().unwrap();
        match role.as_str() {
            memory::ROLE => return memory::measure_here(url, count),
            memory::WEIGHT_ROLE => return memory::weigh_here(url, count),
            _ => {}
        }
    }
    let run = Run::of(&arguments);
    let rows = run.wants("calls").then(of_calls);
    let memory = run.wants("memory").then(|| memory::measure(&run));
    let weights = run.wants("weights").then(|| memory::measure_weights(&run));
    if let (Some(rows), Some(memory), Some(weights)) = (rows, memory, weights) {
        let all = json!({ "rows": rows, "memory": memory, "weights": weights });
        run.keep("allocations", &all);
    }
}

fn of_calls() -> Value {
    let runtime = Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let cases = cases::cases(&wacht, &runtime);
    let _guard = runtime.enter();

    println!(
        "{:<40} {:>8} {:>8} {:>8}",
        "allocations per call", "all", "http's", "ours"
    );
    let mut rows = Vec::new();
    let mut row = |name: &str, all: u64, http: u64| {
        // A gate that came by with fewer would not be using `http` as it is used here.
        let ours = all.checked_sub(http).unwrap();
        println!("{name:<40} {all:>8} {http:>8} {ours:>8}");
        rows.push(json!({ "name": name, "all": all, "http": http, "ours": ours }));
    };
    let mut bare: Inner = inner();
    let request = Caller::of_key(&format!("sk_{}", "x".repeat(43))).request();
    row(
        "bare inner service",
        count(|| drop(call(&mut bare, request))),
        0,
    );
    for mut case in cases {
        let http = of_http(&mut case);
        let request = case.caller.request();
        row(
            &case.name,
            count(|| drop(call(&mut case.gate, request))),
            http,
        );
    }
    json!(rows)
}

fn of_http(case: &mut Case) -> u64 {
    let request = case.caller.request();
    let address = request.extensions().get::<PeerAddr>().copied();
    let answer = call(&mut case.gate, request);
    let is_refusal = answer.extensions().get::<Rejection>().is_some();
    let fields: Vec<(HeaderName, HeaderValue)> = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut extensions = Extensions::new();
    // It was in the request; what a refusal inserts goes into the answer.
    if let (Some(address), false) = (address, is_refusal) {
        extensions.insert(address);
    }
    let mut headers = HeaderMap::new();
    count(|| {
        // As large as a `Principal`.
        extensions.insert((1_usize, 2_usize));
        for (name, value) in fields {
            headers.append(name, value);
        }
    })
}

fn count(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}
