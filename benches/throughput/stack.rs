//! The gate beside what a user would write in its place, each in a server of one thread.
//!
//! Figures are of a request; what is added is added to the bare server's in the same round.

use std::mem::take;
use std::path::PathBuf;
use std::{env, iter};

use serde::Serialize;

use crate::load::Figures;
use crate::median::median;
use crate::process::{Process, Role};
use crate::rounds::{self, Contender, Lap};
use crate::server::Kind;
use crate::wacht::Wacht;
use crate::window::{Manner, Protocol};
use crate::{Result, Size, report};

const BARE: &str = "axum, bare";
const WRITTEN: &str = "authorization and tower_governor";

const CONTENDERS: [(&str, Kind); 7] = [
    (BARE, Kind::Axum),
    ("axum, bare, two fields", Kind::AxumFields),
    ("authorization by a hash map", Kind::AxumAuthorization),
    (WRITTEN, Kind::AxumWritten),
    ("gate, limits off", Kind::AxumGateOff),
    ("gate, one rule, no fields", Kind::AxumGateWithoutFields),
    ("gate, one rule, fields", Kind::AxumGate),
];
/// The same of another program.
const EARLIER: [(&str, Kind); 3] = [
    ("earlier: limits off", Kind::AxumGateOff),
    ("earlier: one rule, no fields", Kind::AxumGateWithoutFields),
    ("earlier: one rule, fields", Kind::AxumGate),
];

/// Fewer will do: there are four manners, and the processor time is steady.
const ROUNDS: usize = 7;

const MANNERS: [(&str, Protocol, usize); 4] = [
    ("HTTP/1.1, one connection", Protocol::Http, 1),
    ("HTTP/1.1, 64 connections", Protocol::Http, 64),
    ("HTTP/2, one stream", Protocol::Http2, 1),
    ("HTTP/2, 64 streams", Protocol::Http2, 64),
];

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    manner: &'static str,
    name: &'static str,
    requests_per_second: f64,
    p99_us: f64,
    user_us: f64,
    user_us_added: f64,
    cpu_us: f64,
    cpu_us_added: f64,
    /// Against what a user would write.
    rps_ratio: f64,
    /// What others used meanwhile, in processors: with more than a little, nothing here says much.
    others: f64,
}

/// `earlier` is this bench, built from another state of the crate.
pub(crate) fn compare(size: Size, wacht: &mut Wacht, earlier: Option<PathBuf>) -> Result<()> {
    let mut load = Process::start(Role::Load)?;
    let this = env::current_exe()?;
    let earlier = earlier
        .iter()
        .flat_map(|program| EARLIER.map(|(name, kind)| (name, kind, program)));
    let all = CONTENDERS.map(|(name, kind)| (name, kind, &this));
    let mut contenders = Vec::new();
    for (name, kind, program) in all.into_iter().chain(earlier) {
        let lap = Lap {
            name,
            kind,
            window: size.short_window,
            threads: Some(1),
            program: program.clone(),
        };
        contenders.push(Contender::start(&lap, &wacht.stage)?);
    }
    let mut rows = Vec::new();
    for (manner, protocol, at_once) in MANNERS {
        let sent = Manner {
            protocol,
            at_once,
            threads: 1,
        };
        let size = Size {
            rounds: size.rounds.min(ROUNDS),
            ..size
        };
        rounds::run(size, sent, &mut contenders, &mut load, wacht)?;
        let of_manner = rows_of(manner, &mut contenders)?;
        print(&of_manner);
        rows.extend(of_manner);
    }
    report::write("stack", size, &serde_json::json!({ "rows": rows }))
}

fn rows_of(manner: &'static str, contenders: &mut [Contender]) -> Result<Vec<Row>> {
    let rounds = |contender: &mut Contender| (contender.name, take(&mut contender.rounds));
    let all: Vec<_> = contenders.iter_mut().map(rounds).collect();
    let of = |wanted| {
        let found = all.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, rounds)| rounds).ok_or("nobody of this name")
    };
    let (bare, written) = (of(BARE)?, of(WRITTEN)?);
    let user = |figures: &Figures| figures.user_us_per_request.unwrap_or(f64::NAN);
    let cpu = |figures: &Figures| figures.cpu_us_per_request.unwrap_or(f64::NAN);
    Ok(all
        .iter()
        .map(|(name, rounds)| {
            let of = |figure: &dyn Fn(&Figures) -> f64| median(rounds.iter().map(figure));
            let beside = |other: &[Figures], compared: &dyn Fn(&Figures, &Figures) -> f64| {
                median(iter::zip(rounds, other).map(|(this, other)| compared(this, other)))
            };
            Row {
                manner,
                name,
                requests_per_second: of(&|this| this.requests_per_second),
                p99_us: of(&|this| this.p99_us),
                user_us: of(&user),
                user_us_added: beside(bare, &|this, bare| user(this) - user(bare)),
                cpu_us: of(&cpu),
                cpu_us_added: beside(bare, &|this, bare| cpu(this) - cpu(bare)),
                others: of(&|this| this.others.unwrap_or(f64::NAN)),
                rps_ratio: beside(written, &|this, written| {
                    this.requests_per_second / written.requests_per_second
                }),
            }
        })
        .collect())
}

fn print(rows: &[Row]) {
    println!();
    println!("{}:", rows[0].manner);
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "req/s", "times", "p99 µs", "user µs", "added", "cpu µs", "added", "others"
    );
    for row in rows {
        println!(
            "{:<34} {:>9.0} {:>8.3} {:>8.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            row.name,
            row.requests_per_second,
            row.rps_ratio,
            row.p99_us,
            row.user_us,
            row.user_us_added,
            row.cpu_us,
            row.cpu_us_added,
            row.others
        );
    }
    println!(
        "times: requests a second, times those of {WRITTEN}; others: processors that others used"
    );
}
