//! What this shows: the gate under mixed traffic while Wacht comes and goes. Nobody gets in who
//! should not, and nobody is kept out whom the gate knows.
//!
//! ```sh
//! cargo run --release --example soak                   # a minute
//! cargo run --release --example soak -- --seconds 600
//! cargo run --example soak -- --self-test              # 15 seconds
//! cargo run --release --example soak -- --many         # a watch over 10 000 keys
//! ```
//!
//! Everything is in this one process, the `DevGateway` that stands in for Wacht included: its
//! memory is in the figures too, and it keeps the hundred keys that it issues every second.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use wacht_auth::RejectionKind;

mod many;
mod outages;
mod proxy;
mod revoked_elsewhere;
mod stage;
mod traffic;

use self::outages::flap;
use self::revoked_elsewhere::{AT_ONCE, revoked_elsewhere};
use self::stage::{Soak, get};
use self::traffic::{
    clock, counted, flipped, ghosts, intruders, known, metered, newcomers, of_another_runtime,
    revoker,
};

async fn run(duration: Duration) -> Result<ExitCode, Box<dyn Error>> {
    let soak = Soak::new().await?;
    let strangers = soak.wacht.other_deployment();
    let ticking = tokio::spawn(clock(Arc::clone(&soak)));
    for key in soak.seen() {
        // Slow machines get their time before it counts.
        while let Some(kind) = soak.ask(key.secret()).await {
            if kind != RejectionKind::Unavailable {
                return Err(format!("a good key was refused at the start: {kind:?}").into());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    let rss_at_start = rss();
    soak.take_journal();
    let before = (
        get(&soak.tally.checks),
        get(&soak.tally.management_calls),
        get(&soak.tally.requests),
    );

    let begin = Instant::now();
    let flapping = tokio::spawn(flap(Arc::clone(&soak)));
    let mut traffic = JoinSet::new();
    traffic.spawn(known(Arc::clone(&soak)));
    traffic.spawn(known(Arc::clone(&soak)));
    traffic.spawn(newcomers(Arc::clone(&soak)));
    traffic.spawn(intruders(Arc::clone(&soak), strangers));
    traffic.spawn(metered(Arc::clone(&soak)));
    traffic.spawn(revoker(Arc::clone(&soak)));
    traffic.spawn(ghosts(Arc::clone(&soak)));
    traffic.spawn(counted(Arc::clone(&soak)));
    traffic.spawn(flipped(Arc::clone(&soak)));
    for _ in 0..AT_ONCE {
        traffic.spawn(revoked_elsewhere(Arc::clone(&soak)));
    }
    let elsewhere = Arc::clone(&soak);
    let elsewhere = std::thread::spawn(move || of_another_runtime(&elsewhere));
    sleep(duration).await;
    soak.over.store(true, Ordering::Relaxed);
    flapping.abort();
    while let Some(ended) = traffic.join_next().await {
        ended?;
    }
    ticking.await?;
    match elsewhere.join() {
        Ok(ended) => ended?,
        Err(_) => return Err("the other runtime panicked".into()),
    }
    let seconds = begin.elapsed().as_secs_f64();
    soak.take_journal();

    let tally = &soak.tally;
    let per_second = |count: &AtomicU64, before: u64| {
        let count = get(count) - before;
        format!("{:.1} /s", count as f64 / seconds)
    };
    row("seconds", format!("{seconds:.1}"));
    row("outages", get(&tally.outages));
    row("requests", per_second(&tally.requests, before.2));
    row("gateway calls", per_second(&tally.checks, before.0));
    row(
        "management calls, revocations included",
        per_second(&tally.management_calls, before.1),
    );
    row("admitted: known keys", get(&tally.known));
    row("  of these in an outage", get(&tally.known_in_outage));
    row("put off, the spans over", get(&tally.past_the_spans));
    row("admitted: new keys", get(&tally.newcomers));
    row("put off: new keys", get(&tally.unavailable));
    row("admitted: the metered key", get(&tally.metered));
    row("limited: the metered key", get(&tally.limited));
    row(
        "admitted: a key that the gateway counts",
        get(&tally.counted),
    );
    row("admitted: a key whose scheme changes", get(&tally.flipped));
    row(
        "admitted: on a runtime that mostly stands",
        get(&tally.elsewhere),
    );
    row("careful restarts of the gateway", get(&tally.restarts) / 2);
    row("steps of the wall clock", get(&tally.clock_steps));
    row("refused: bad and strangers' keys", get(&tally.bad));
    row("revocations sent", get(&tally.revocations));
    row("refused: revoked keys", get(&tally.revoked));
    row("revoked elsewhere, and seen", get(&tally.seen_elsewhere));
    let longest = format!("{} ms", get(&tally.longest_elsewhere));
    row("  after at most", longest);
    let held = soak.gate.handle().stats();
    if let Some(watch) = held.watch {
        row("lists of keys read", watch.lists);
        row("lists that failed", watch.failed);
        row("confirmations", watch.confirmations);
    }
    row("known keys held", held.cached_keys);
    row("refused keys held", held.refused_keys);
    row("connections open at the end", soak.proxy.open());
    row("RSS at the start", rss_at_start);
    row("RSS at the end", rss());
    let (admissions, refusals) = (get(&tally.wrong_admissions), get(&tally.wrong_refusals));
    row("wrong admissions, must be 0", admissions);
    row("wrong refusals, must be 0", refusals);
    let complaints = tally.complaints.lock();
    let complaints = complaints.unwrap_or_else(PoisonError::into_inner);
    for complaint in complaints.iter() {
        println!("  <- {complaint}");
    }
    // A run in which one of these did not happen has shown nothing.
    let idle = [
        &tally.known_in_outage,
        &tally.newcomers,
        &tally.bad,
        &tally.limited,
        &tally.revoked,
        &tally.counted,
        &tally.flipped,
        &tally.elsewhere,
        &tally.restarts,
        &tally.clock_steps,
    ];
    // A list comes every two seconds, if it comes: a short run may be over between two outages.
    let seen_elsewhere = seconds < 60.0 || get(&tally.seen_elsewhere) > 0;
    let happened = seen_elsewhere && idle.iter().all(|count| get(count) > 0);
    if !happened {
        println!("  <- some kind of traffic never came about");
    }
    Ok(match complaints.is_empty() && happened {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn row(what: &str, value: impl Display) {
    println!("{what:<42} {value:>14}");
}

/// The memory that this process holds, where the system says so.
fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u32>().ok());
    kilobytes.map_or_else(
        || "unknown".to_owned(),
        |kilobytes| format!("{:.1} MiB", f64::from(kilobytes) / 1024.0),
    )
}

/// How long, or `None` where the watch over many keys is measured.
fn duration_of(arguments: impl Iterator<Item = String>) -> Result<Option<Duration>, String> {
    const USAGE: &str = "usage: soak [--self-test | --seconds N | --many]";
    let mut seconds = 60;
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        seconds = match argument.as_str() {
            "--self-test" => 15,
            "--many" => return Ok(None),
            "--seconds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                number.ok_or(USAGE)?
            }
            _ => return Err(USAGE.to_owned()),
        };
    }
    Ok(Some(Duration::from_secs(seconds)))
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match duration_of(env::args()) {
        Ok(Some(duration)) => run(duration).await,
        Ok(None) => many::run().await,
        Err(usage) => Err(usage.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
