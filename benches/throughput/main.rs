//! Whole servers with and without the gate, over loopback.
//!
//! ```sh
//! cargo bench -p benches --bench throughput             # two minutes at most
//! cargo bench -p benches --bench throughput -- --test   # each contender once, for seconds
//! ```
//!
//! Every server, Wacht's stand-in and the client that makes the load are processes of their own:
//! this executable starts itself again, once for each. Nothing leaves the machine.
//!
//! The servers differ in nothing but the gate. axum answers `ok`; tonic answers the health check
//! of tonic-health. The gate is as `new` makes it, with `app`: verdicts are cached, the app's rule
//! per key is counted here, and answers say what is left. "The gateway asked each time" is the
//! same with `Limits::gateway()`: one check per request, over pooled connections, to a `DevGateway`
//! that adds no delay of its own. A real gateway is farther away.
//!
//! The load is a closed loop: 64 requests are on their way at any time, over 64 connections of
//! HTTP/1.1 written and read by hand, or by tonic's client over channels that up to 16 of them
//! share. It has a thread for each processor. 1000 keys take turns. Each round begins with a warm-up
//! in which every key is seen twice, so that what is measured is answered from memory. A key that
//! came of age between two rounds is verified anew then.
//!
//! Rounds are short and the contenders take turns, forward and back, so that what the machine does
//! meanwhile meets all of them alike. Ratios are taken within a round; what is printed is their
//! median. The server and its load share the processors, so what limits requests per second is
//! what both of them spend on one; the processor time of the server alone is the steadier figure.
//!
//! A cold key is measured last, without a server around the gate: how long the first request with
//! a key waits whose app is new as well, against a check and a look-up of the app as a plain HTTP
//! client makes them, one after the other.
//!
//! The figures are also written to `bench/throughput.json` in the target directory;
//! `throughput-test.json` with `--test`.
#![allow(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine, and not the gate's idea of time"
)]

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use process::{Process, Role};
use report::Report;
use rounds::{Contender, Lap};
use server::Kind;
use wacht::Wacht;

mod cold;
mod cpu;
mod grpc_load;
mod http_load;
mod load;
#[path = "../median/mod.rs"]
mod median;
mod process;
mod report;
mod rounds;
mod server;
mod wacht;
mod window;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How much of everything.
#[derive(Clone, Copy)]
struct Size {
    test: bool,
    keys: usize,
    rounds: usize,
    window: Duration,
    /// For the contender that is so much slower that less of it will do.
    short_window: Duration,
    warm_up: Duration,
    cold_keys: usize,
}

impl Size {
    fn of_this_run() -> Self {
        if env::args().any(|argument| argument == "--test") {
            Self {
                test: true,
                keys: 50,
                rounds: 1,
                window: Duration::from_millis(300),
                short_window: Duration::from_millis(300),
                warm_up: Duration::from_millis(50),
                cold_keys: 10,
            }
        } else {
            Self {
                test: false,
                keys: 1000,
                rounds: 11,
                window: Duration::from_millis(1500),
                short_window: Duration::from_secs(1),
                warm_up: Duration::from_millis(200),
                cold_keys: 200,
            }
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Role::of_this_process() {
        None => compare(Size::of_this_run()),
        Some(Role::Wacht) => wacht::play(),
        Some(Role::Server) => server::play(),
        Some(Role::Load) => load::play(),
        Some(Role::Cold) => cold::play(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(size: Size) -> Result<()> {
    let mut wacht = Wacht::start(size.keys, size.cold_keys)?;
    let mut load = Process::start(Role::Load)?;
    let mut run = |laps: &[Lap]| {
        let started = laps.iter().map(|lap| Contender::start(lap, &wacht.stage));
        let mut contenders = started.collect::<Result<Vec<_>>>()?;
        rounds::run(size, &mut contenders, &mut load, &mut wacht)?;
        Ok::<_, Box<dyn Error + Send + Sync>>(contenders)
    };
    let lap = |name, kind, window| Lap { name, kind, window };
    let axum = run(&[
        lap(report::AXUM, Kind::Axum, size.window),
        lap(report::AXUM_LAYER, Kind::AxumLayer, size.window),
        lap(report::AXUM_GATE, Kind::AxumGate, size.window),
        lap(report::AXUM_GATEWAY, Kind::AxumGateway, size.short_window),
    ])?;
    let tonic = run(&[
        lap(report::TONIC, Kind::Tonic, size.window),
        lap(report::TONIC_GATE, Kind::TonicGate, size.window),
    ])?;
    let cold = cold::measure(&wacht.stage)?;

    let report = Report::new(size, &axum, &tonic, cold);
    report.print();
    report.write()
}
