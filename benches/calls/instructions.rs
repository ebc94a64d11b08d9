//! How many instructions a request costs the gate, counted by callgrind.
//!
//! Times differ from run to run and from machine to machine; instructions of one binary hardly do.
//! So they are what a change is held against: `benches/instructions.txt` keeps the figures, and
//! this fails when a hit takes more than 5 % over its kept one.
//!
//! `cargo bench -p benches --bench instructions` compares. The same with `-- --keep` writes the
//! figures down anew, which is for changes that are meant to cost what they cost.
//! Valgrind must be installed.
//!
//! The counts are those of the program that callgrind simulates: a processor without instructions
//! for SHA-256, so hashing a key weighs several times more here than it does in time.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use bytes::Bytes;
use futures_util::future::FutureExt;
use http::Request;
use http_body_util::Empty;
use tower::Service;
use wacht_auth::WachtAuth;
use wacht_auth::dev::DevGateway;

mod cases;
mod kept;
#[path = "../service/mod.rs"]
mod service;

use cases::{BARE, Case};
use kept::Kept;
use service::{Inner, inner};

const CASES: [&str; 9] = [
    "hit, limits off",
    "hit, 10000 keys revoked",
    "hit, one rule, no headers",
    "hit, one rule",
    "hit, three rules",
    "no key",
    "malformed key",
    "known bad key",
    "limited",
];

/// Calls of each case that are counted; enough that the loop itself does not show.
const CALLS: u64 = 1_000;

/// Tells this program that callgrind is looking, and at which case.
const COUNTED: &str = "WACHT_AUTH_COUNTED";

fn main() -> ExitCode {
    if let Ok(name) = env::var(COUNTED) {
        run(&name);
        return ExitCode::SUCCESS;
    }
    let names = [BARE].into_iter().chain(CASES);
    let counted: Vec<_> = names.map(|name| (name.to_owned(), count(name))).collect();
    let kept = Kept {
        name: "instructions",
        may_grow_to: |kept| kept + kept / 20,
    };
    kept.judge(&counted)
}

/// One case: warmed up, then counted.
fn run(name: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let _guard = runtime.enter();
    if name == BARE {
        count_bare(&mut inner(), &cases::anybodys_request());
        return;
    }
    let mut case = Case::warm(&wacht, &runtime, name, 1);
    // Fills memory and caches.
    for _ in 0..CALLS {
        case.check(0);
    }
    let request = case.request(0);
    count_gate(&mut case.gate, &request);
}

// The two functions whose instructions are counted, and those of all they call. callgrind finds
// them by name, so neither may hold a closure: it would have the name as well.

#[inline(never)]
fn count_bare(service: &mut Inner, request: &Request<Empty<Bytes>>) {
    for _ in 0..CALLS {
        black_box(service.call(request.clone()).now_or_never());
    }
}

#[inline(never)]
fn count_gate(service: &mut WachtAuth<Inner>, request: &Request<Empty<Bytes>>) {
    for _ in 0..CALLS {
        black_box(service.call(request.clone()).now_or_never());
    }
}

/// The instructions of one call. Runs this program under callgrind, which counts what one of the
/// two functions does.
fn count(name: &str) -> u64 {
    let folder = kept::target_dir().join("callgrind");
    fs::create_dir_all(&folder).unwrap();
    let profile = folder.join(name.replace([' ', ','], "_"));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args([
            "--toggle-collect=*count_bare*",
            "--toggle-collect=*count_gate*",
        ])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe().unwrap())
        .env(COUNTED, name)
        .output()
        .expect("valgrind runs: is it installed?");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(&profile).expect("callgrind writes a profile");
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total: u64 = total.and_then(|total| total.trim().parse().ok()).unwrap();
    assert!(total > CALLS, "nothing was counted: {said}");
    total / CALLS
}
