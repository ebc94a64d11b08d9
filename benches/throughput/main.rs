//! Whole servers with and without the gate, over loopback.
//!
//! ```sh
//! cargo bench -p benches --bench throughput                    # ten minutes
//! cargo bench -p benches --bench throughput -- --test          # each contender once, for seconds
//! cargo bench -p benches --bench throughput -- servers         # the first of three parts
//! cargo bench -p benches --bench throughput -- stack           # the second, see `stack.rs`
//! cargo bench -p benches --bench throughput -- burst           # the third, see `burst.rs`
//! cargo bench -p benches --bench throughput -- --against PATH  # see the head of `caches.rs`
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
//! A cold key is measured after that, without a server around the gate: how long the first request with
//! a key waits whose app is new as well, against a check and a look-up of the app as a plain HTTP
//! client makes them, one after the other.
//!
//! *The stack.* The gate with a rule and header fields, with a rule alone and without limits beside
//! what a user would write in its place (see `written.rs`). Here each server has one thread, and so
//! has the load: what a request costs the server in its own code is then steady, though requests a
//! second follow the load as much as the server. One request or 64 are on their way at any time,
//! over HTTP/1.1 on as many connections, or over HTTP/2 on one. With `--against`, the gate of an
//! earlier build takes turns with this one.
//!
//! *The burst.* All keys at once, and none of them known.
//!
//! The figures are also written to `bench/throughput.json`, `stack.json` and `burst.json` in the
//! target directory; `throughput-test.json` and so on with `--test`.
#![allow(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine, and not the gate's idea of time"
)]

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use process::{Process, Role};
use report::Report;
use rounds::{Contender, Lap};
use server::Kind;
use wacht::Wacht;
use window::{Manner, Protocol};

mod burst;
mod cold;
mod cpu;
mod grpc_load;
mod http2_load;
mod http_load;
mod load;
#[path = "../median/mod.rs"]
mod median;
mod process;
mod report;
mod rounds;
mod server;
mod stack;
mod wacht;
mod window;
mod written;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Requests on their way at any time.
const AT_ONCE: usize = 64;

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
        Some(Role::Burst) => burst::play(),
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
    let arguments: Vec<String> = env::args().skip(1).collect();
    let against = arguments.iter().position(|word| word == "--against");
    let earlier = against.and_then(|place| arguments.get(place + 1));
    let parts = ["servers", "stack", "burst"];
    let chosen = arguments.iter().find(|word| parts.contains(&word.as_str()));
    let wants = |part: &str| chosen.is_none_or(|chosen| chosen == part);

    let mut wacht = Wacht::start(size.keys, size.cold_keys)?;
    if wants("servers") {
        servers(size, &mut wacht)?;
    }
    if wants("stack") {
        stack::compare(size, &mut wacht, earlier.map(PathBuf::from))?;
    }
    if wants("burst") {
        burst::compare(size)?;
    }
    Ok(())
}

/// axum's and tonic's, and how a cold key fares.
fn servers(size: Size, wacht: &mut Wacht) -> Result<()> {
    let mut load = Process::start(Role::Load)?;
    let threads = thread::available_parallelism()?.get();
    let mut run = |protocol, laps: &[(&'static str, Kind, Duration)]| {
        let manner = Manner {
            protocol,
            at_once: AT_ONCE,
            threads: threads.min(AT_ONCE),
        };
        let mut contenders = Vec::new();
        for (name, kind, window) in laps.iter().copied() {
            let lap = Lap {
                name,
                kind,
                window,
                threads: None,
                program: env::current_exe()?,
            };
            contenders.push(Contender::start(&lap, &wacht.stage)?);
        }
        rounds::run(size, manner, &mut contenders, &mut load, wacht)?;
        Ok::<_, Box<dyn Error + Send + Sync>>(contenders)
    };
    let axum = run(
        Protocol::Http,
        &[
            (report::AXUM, Kind::Axum, size.window),
            (report::AXUM_LAYER, Kind::AxumLayer, size.window),
            (report::AXUM_GATE, Kind::AxumGate, size.window),
            (report::AXUM_GATEWAY, Kind::AxumGateway, size.short_window),
        ],
    )?;
    let tonic = run(
        Protocol::Grpc,
        &[
            (report::TONIC, Kind::Tonic, size.window),
            (report::TONIC_GATE, Kind::TonicGate, size.window),
        ],
    )?;
    let cold = cold::measure(&wacht.stage)?;

    let report = Report::new(size, &axum, &tonic, cold);
    report.print();
    report::write("throughput", size, &report)
}
