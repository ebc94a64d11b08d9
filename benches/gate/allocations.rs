//! The allocations of every case of `cargo bench --bench gate`, counted.
//!
//! `cargo bench --bench allocations`. The request is made before and both it and the answer are
//! dropped within. What `http` does by itself is counted by itself: the first insert into the
//! extensions (a hit's request, a refusal's answer) and, into an empty header map, as many fields
//! as the answer carries. The rest is the gate's own. The table also goes to
//! `bench/allocations.json` in the target directory.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::fs;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::runtime::Runtime;
use wacht_auth::dev::DevGateway;
use wacht_auth::{PeerAddr, Rejection};

mod cases;
mod service;

use cases::{Caller, Case};
use service::{call, inner};

fn main() {
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
    let mut bare = inner();
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

    // <target>/release/deps/allocations-…
    let program = env::current_exe().unwrap();
    let directory = program.ancestors().nth(3).unwrap().join("bench");
    fs::create_dir_all(&directory).unwrap();
    let figures = json!({ "rows": rows });
    fs::write(
        directory.join("allocations.json"),
        serde_json::to_vec_pretty(&figures).unwrap(),
    )
    .unwrap();
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
