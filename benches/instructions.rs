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
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt;
use http::Request;
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{CachePolicy, Limits, RateLimitHeaders, RejectionKind, WachtAuth, WachtAuthLayer};

mod service;

use service::{Inner, call, inner};

/// Calls of each case that are counted; enough that the loop itself does not show.
const CALLS: u64 = 1_000;

/// What a hit may grow by before somebody has to say that it is meant to.
const TOLERANCE: f64 = 0.05;

/// The figures a change is compared with.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Tells this program that callgrind is looking, and at which case.
const COUNTED: &str = "WACHT_AUTH_COUNTED";

fn main() -> ExitCode {
    if let Ok(name) = env::var(COUNTED) {
        run(&name);
        return ExitCode::SUCCESS;
    }
    let keep = env::args().any(|argument| argument == "--keep");
    let counted = count();
    let kept = read_kept();
    write_json(&counted, &kept);
    if keep {
        let mut text = String::new();
        for (name, instructions) in &counted {
            writeln!(text, "{instructions:>6}  {name}").unwrap();
        }
        fs::write(KEPT, text).unwrap();
        println!("kept in benches/instructions.txt");
    }
    report(&counted, if keep { &counted } else { &kept })
}

// === What is counted ===

const BARE: &str = "bare inner service";

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

struct Case {
    gate: WachtAuth<Inner>,
    secret: Option<String>,
    meets: Option<RejectionKind>,
}

fn case(wacht: &DevGateway, name: &str) -> Case {
    // So old that nothing is asked again while it is measured.
    let hour = Duration::from_secs(3600);
    let forever = CachePolicy::default().fresh_for(hour).negative_ttl(hour);
    let builder = WachtAuthLayer::builder(wacht.client()).cache(forever);
    let layer = builder.clone().build().unwrap();
    let app = wacht.app(&name.replace([' ', ','], "-"));
    let key = |rules: Vec<DevRule>| {
        app.scheme(rules);
        let key = wacht.issue_key(app.slug()).permissions(["orders:read"]);
        Some(key.issue().secret().to_owned())
    };
    let plenty = || DevRule::per_key(2_000_000_000, "minute", 1);
    let of_hour = || DevRule::per_key(2_000_000_000, "hour", 1);
    let of_app = || DevRule::per_app(2_000_000_000, "minute", 1);
    let (layer, secret, meets) = match name {
        "hit, limits off" => {
            let layer = builder.limits(Limits::off()).build().unwrap();
            (layer, key(vec![plenty()]), None)
        }
        "hit, 10000 keys revoked" => {
            let layer = builder.limits(Limits::off()).build().unwrap();
            // Of nobody: no id is negative.
            for key_id in 1..=10_000 {
                layer.handle().revoke_key_id(-key_id);
            }
            (layer, key(vec![plenty()]), None)
        }
        "hit, one rule, no headers" => (
            layer.rate_limit_headers(RateLimitHeaders::None),
            key(vec![plenty()]),
            None,
        ),
        "hit, one rule" => (layer, key(vec![plenty()]), None),
        "hit, three rules" => (layer, key(vec![plenty(), of_hour(), of_app()]), None),
        "no key" => (layer, None, Some(RejectionKind::MissingCredential)),
        "malformed key" => (
            layer,
            Some("two,keys".to_owned()),
            Some(RejectionKind::MalformedCredential),
        ),
        "known bad key" => (
            layer,
            Some(format!("sk_{}", "x".repeat(43))),
            Some(RejectionKind::InvalidKey),
        ),
        "limited" => (
            layer,
            key(vec![DevRule::per_key(1, "month", 1)]),
            Some(RejectionKind::RateLimited),
        ),
        _ => unreachable!("a case without a gate: {name}"),
    };
    Case {
        gate: layer.app(app.slug()).layer(inner()),
        secret,
        meets,
    }
}

fn request(secret: Option<&str>) -> Request<Empty<Bytes>> {
    let request = service::request("/items");
    match secret {
        Some(secret) => request.header("authorization", format!("Bearer {secret}")),
        None => request,
    }
    .body(Empty::new())
    .unwrap()
}

/// One case: warmed up, then counted.
fn run(name: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let _guard = runtime.enter();
    if name == BARE {
        let some_key = format!("sk_{}", "k".repeat(43));
        count_bare(&mut inner(), &request(Some(&some_key)));
        return;
    }
    let mut case = case(&wacht, name);
    let secret = case.secret.as_deref();
    // The first call verifies, and spends what "limited" has. The others fill memory and caches.
    let first = case.gate.clone().oneshot(request(secret));
    let _ = runtime.block_on(first);
    let request = request(secret);
    for _ in 0..CALLS {
        let response = call(&mut case.gate, request.clone());
        let rejection = response.extensions().get::<wacht_auth::Rejection>();
        let met = rejection.map(wacht_auth::Rejection::kind);
        assert_eq!(met, case.meets, "{name}");
    }
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

// === Counting ===

/// The instructions of one call of each case.
fn count() -> Vec<(String, u64)> {
    let names = [BARE].into_iter().chain(CASES);
    names
        .map(|name| (name.to_owned(), count_case(name)))
        .collect()
}

/// Runs this program under callgrind, which counts what one of the two functions does.
fn count_case(name: &str) -> u64 {
    let folder = target_dir().join("callgrind");
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

fn target_dir() -> PathBuf {
    // target/release/deps/instructions-…
    let program = env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

// === Comparing ===

fn read_kept() -> Vec<(String, u64)> {
    let text = fs::read_to_string(KEPT).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(instructions, name)| (name.to_owned(), instructions.parse().unwrap()))
        .collect()
}

fn find(figures: &[(String, u64)], name: &str) -> Option<u64> {
    let (_, instructions) = figures.iter().find(|(other, _)| other == name)?;
    Some(*instructions)
}

fn report(counted: &[(String, u64)], kept: &[(String, u64)]) -> ExitCode {
    let bare = find(counted, BARE).unwrap();
    let mut exit = ExitCode::SUCCESS;
    println!("instructions per call");
    println!(
        "{:<28} {:>7} {:>10} {:>7} {:>7}",
        "", "all", "over bare", "kept", "change"
    );
    for (name, instructions) in counted {
        let over = instructions.saturating_sub(bare);
        let Some(before) = find(kept, name) else {
            println!("{name:<28} {instructions:>7} {over:>10}    none");
            println!("  no figure is kept: run with `-- --keep`");
            exit = ExitCode::FAILURE;
            continue;
        };
        let change = *instructions as f64 / before as f64 - 1.0;
        println!(
            "{name:<28} {instructions:>7} {over:>10} {before:>7} {:>+6.1}%",
            change * 100.0
        );
        if change > TOLERANCE {
            println!("  more than it may grow: if that is meant, run with `-- --keep`");
            exit = ExitCode::FAILURE;
        } else if change < -TOLERANCE {
            println!("  less than kept: run with `-- --keep`, so that it stays so");
        }
    }
    exit
}

/// For the report that the benches make together.
fn write_json(counted: &[(String, u64)], kept: &[(String, u64)]) {
    let rows: Vec<_> = counted
        .iter()
        .map(|(name, instructions)| {
            serde_json::json!({
                "name": name,
                "instructions": instructions,
                "kept": find(kept, name),
            })
        })
        .collect();
    let folder = target_dir().join("bench");
    fs::create_dir_all(&folder).unwrap();
    let text = serde_json::json!({ "rows": rows }).to_string();
    fs::write(folder.join("instructions.json"), text).unwrap();
}
