//! What this shows: which requests of one caller pass, by four ways of counting the same limit.
//!
//! ```sh
//! cargo run --example limits_explained                # a table, and a picture in `target/`
//! cargo run --example limits_explained -- --self-test # fails if a stated bound does not hold
//! ```
//!
//! The limit is 60 requests a minute per key. The caller is quiet, comes with a burst around the
//! full minute, is quiet again, sends three times as much as it may, and ends exactly at its
//! limit. The crate's own two algorithms decide in a real gate with a hand-moved clock, before a
//! `DevGateway`; the other two are models within this file:
//!
//! * a perfect log remembers the time of every request it has admitted, which no service can
//!   afford for millions of callers, and admits what keeps every window within the limit;
//! * a clock window starts anew at every full minute, which is how the gateway's counters behave.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
use wacht_auth::{Algorithm, CachePolicy, Limits, WachtAuthLayer};

mod picture;

/// Requests per key and minute.
const LIMIT: usize = 60;
/// In milliseconds, as all times here.
const WINDOW: u64 = 60_000;
/// A full minute, in seconds since 1970: where the picture begins.
const START: u64 = 1_767_614_400;

/// A part of the traffic: so many requests a second, evenly, from one second to another.
struct Phase {
    name: &'static str,
    from: u64,
    to: u64,
    per_second: u64,
}

const BURST: Phase = phase("a burst around the full minute", 55, 65, 16);
const OVERLOAD: Phase = phase("three times the limit", 125, 275, 3);
const MODEST: Phase = phase("at the limit", 335, 400, 1);
const TRAFFIC: [Phase; 3] = [BURST, OVERLOAD, MODEST];
/// Where the picture ends, in seconds.
const END: u64 = 400;

const fn phase(name: &'static str, from: u64, to: u64, per_second: u64) -> Phase {
    Phase {
        name,
        from,
        to,
        per_second,
    }
}

impl Phase {
    fn arrivals(&self) -> impl Iterator<Item = u64> {
        let count = (self.to - self.from) * self.per_second;
        (0..count).map(|number| self.from * 1_000 + number * 1_000 / self.per_second)
    }

    fn contains(&self, time: u64) -> bool {
        (self.from * 1_000..self.to * 1_000).contains(&time)
    }
}

/// What one way of counting made of the traffic.
struct Lane {
    name: &'static str,
    /// The most it may admit in any window, as documented.
    bound: usize,
    /// Every request: when it came and whether it passed.
    verdicts: Vec<(u64, bool)>,
}

impl Lane {
    fn admitted(&self) -> impl Iterator<Item = u64> {
        let admitted = self.verdicts.iter().filter(|(_, passed)| *passed);
        admitted.map(|(time, _)| *time)
    }

    fn admitted_in(&self, phase: &Phase) -> usize {
        self.admitted().filter(|time| phase.contains(*time)).count()
    }

    /// How many it has admitted in the window that ends at `time`, which belongs to it.
    fn within_window(&self, time: u64) -> usize {
        let inside = |at: &u64| *at <= time && *at + WINDOW > time;
        self.admitted().filter(inside).count()
    }

    fn most_in_a_window(&self) -> usize {
        // The fullest windows end with a request.
        self.admitted()
            .map(|time| self.within_window(time))
            .max()
            .unwrap_or(0)
    }
}

// --- the models ---

fn perfect_log(traffic: &[u64]) -> Lane {
    let mut lane = Lane {
        name: "perfect log",
        bound: LIMIT,
        verdicts: Vec::new(),
    };
    for time in traffic {
        let passes = lane.within_window(*time) < LIMIT;
        lane.verdicts.push((*time, passes));
    }
    lane
}

fn clock_window(traffic: &[u64]) -> Lane {
    let mut lane = Lane {
        name: "clock window (the gateway)",
        bound: 2 * LIMIT,
        verdicts: Vec::new(),
    };
    let (mut minute, mut count) = (0, 0);
    for time in traffic {
        if time / WINDOW != minute {
            (minute, count) = (time / WINDOW, 0);
        }
        count += 1;
        lane.verdicts.push((*time, count <= LIMIT));
    }
    lane
}

// --- the crate's own ---

async fn in_a_gate(
    name: &'static str,
    bound: usize,
    limits: Limits,
    traffic: &[u64],
) -> Result<Lane, Box<dyn Error>> {
    let clock = ManualClock::at(Duration::from_secs(START));
    let wacht = DevGateway::start().await.clock(&clock);
    let limit = DevRule::per_key(LIMIT.try_into()?, "minute", 1);
    let app = wacht.app("orders");
    app.scheme([limit]);
    let key = app.issue_key().issue();
    let gate = WachtAuthLayer::builder(wacht.client())
        .limits(limits)
        .cache(CachePolicy::default().fresh_for(Duration::from_secs(END)))
        .clock(&clock)
        .build()?
        .app("orders")
        .layer(tower::service_fn(async |_: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));

    let mut lane = Lane {
        name,
        bound,
        verdicts: Vec::new(),
    };
    let mut shown = 0;
    for time in traffic {
        clock.advance(Duration::from_millis(time - shown));
        shown = *time;
        let request = Request::get("/orders")
            .header("authorization", format!("Bearer {}", key.secret()))
            .body(Empty::new())?;
        let answer = gate.clone().oneshot(request).await?;
        let passed = match answer.status() {
            StatusCode::OK => true,
            StatusCode::TOO_MANY_REQUESTS => false,
            other => return Err(format!("an answer that nobody promised: {other}").into()),
        };
        lane.verdicts.push((*time, passed));
    }
    Ok(lane)
}

async fn lanes(traffic: &[u64]) -> Result<Vec<Lane>, Box<dyn Error>> {
    let gcra = Limits::local().algorithm(Algorithm::Gcra);
    let sliding = Limits::local().algorithm(Algorithm::SlidingWindow);
    Ok(vec![
        perfect_log(traffic),
        in_a_gate("SlidingWindow", LIMIT, sliding, traffic).await?,
        in_a_gate("Gcra (the default)", 2 * LIMIT - 1, gcra, traffic).await?,
        clock_window(traffic),
    ])
}

// --- what came of it ---

fn print_table(lanes: &[Lane]) {
    println!("{LIMIT} requests a minute; admitted:\n");
    println!(
        "{:<28}{:>7}{:>7}{:>10}{:>7}   {:>18}{:>8}",
        "", "in all", "burst", "overload", "rest", "most in any minute", "stated"
    );
    for lane in lanes {
        println!(
            "{:<28}{:>7}{:>7}{:>10}{:>7}   {:>18}{:>8}",
            lane.name,
            lane.admitted().count(),
            lane.admitted_in(&BURST),
            lane.admitted_in(&OVERLOAD),
            lane.admitted_in(&MODEST),
            lane.most_in_a_window(),
            format!("<= {}", lane.bound),
        );
    }
    println!();
}

/// What the documentation promises, and this picture with it. Empty when all of it is so.
fn broken_promises(lanes: &[Lane], svg: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut promise = |what: String, kept: bool| {
        if !kept {
            broken.push(what);
        }
    };
    let perfect = &lanes[0];
    for lane in lanes {
        let (name, most) = (lane.name, lane.most_in_a_window());
        let bound = lane.bound;
        promise(
            format!("{name}: at most {bound} in a window, and not {most}"),
            most <= bound,
        );
        // Per window sustained: what the first burst had in store comes on top.
        let windows = (OVERLOAD.to - OVERLOAD.from) as usize * 1_000 / WINDOW as usize + 2;
        promise(
            format!("{name}: at most the limit per window sustained"),
            lane.admitted_in(&OVERLOAD) <= windows * LIMIT,
        );
        for phase in [&OVERLOAD, &MODEST] {
            promise(
                format!(
                    "{name}: of {}, 95 % of what a perfect log admits",
                    phase.name
                ),
                100 * lane.admitted_in(phase) >= 95 * perfect.admitted_in(phase),
            );
        }
        let drawn = svg.contains(&format!("most in any minute: {most}, stated: {bound}"));
        promise(format!("{name}: the picture says so too"), drawn);
    }
    let of = |name: &str| lanes.iter().find(|lane| lane.name.starts_with(name));
    promise(
        "a perfect log uses the limit up, and refuses nobody who keeps to it".to_owned(),
        perfect.most_in_a_window() == LIMIT
            && perfect.admitted_in(&MODEST) == MODEST.arrivals().count(),
    );
    promise(
        "a clock window lets twice the limit through around a full minute".to_owned(),
        of("clock window").is_some_and(|lane| lane.admitted_in(&BURST) == 2 * LIMIT),
    );
    promise(
        "GCRA's bound is not only stated but needed".to_owned(),
        of("Gcra").is_some_and(|lane| lane.most_in_a_window() > LIMIT),
    );
    if let Err(why) = picture::well_formed(svg) {
        promise(format!("the picture is well-formed: {why}"), false);
    }
    broken
}

/// `limits_explained.svg` in the directory that cargo builds into.
fn picture_path() -> Result<PathBuf, Box<dyn Error>> {
    let program = env::current_exe()?;
    let target = program
        .ancestors()
        .nth(3)
        .ok_or("this is not where cargo puts its examples")?;
    Ok(target.join("limits_explained.svg"))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let traffic: Vec<u64> = TRAFFIC.iter().flat_map(Phase::arrivals).collect();
    let lanes = lanes(&traffic).await?;
    print_table(&lanes);

    let path = picture_path()?;
    fs::write(&path, picture::draw(&lanes))?;
    println!("drawn: {}", path.display());
    if !env::args().any(|argument| argument == "--self-test") {
        return Ok(ExitCode::SUCCESS);
    }

    let broken = broken_promises(&lanes, &fs::read_to_string(&path)?);
    for promise in &broken {
        eprintln!("not so: {promise}");
    }
    println!("{} promises broken", broken.len());
    match broken.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}
