//! What came of it: a table to read, and the same to be read by a program.

use std::env;
use std::fs;

use serde::Serialize;

use crate::cold::Cold;
use crate::load::Figures;
use crate::median::median;
use crate::rounds::Contender;
use crate::{Result, Size};

pub(crate) const AXUM: &str = "axum, bare";
/// What axum itself takes for having any layer at all.
pub(crate) const AXUM_LAYER: &str = "axum, with a layer that does nothing";
pub(crate) const AXUM_GATE: &str = "axum, with the layer";
pub(crate) const AXUM_GATEWAY: &str = "axum, the gateway asked each time";
pub(crate) const TONIC: &str = "tonic, bare";
pub(crate) const TONIC_GATE: &str = "tonic, with the layer";

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `full`, or `test`, whose figures say nothing.
    mode: &'static str,
    rows: Vec<Row>,
    cold: Cold,
    targets: Vec<Target>,
}

/// One contender: medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us_per_request: Option<f64>,
    load_cpu_us_per_request: Option<f64>,
    checks_per_request: f64,
    #[serde(flatten)]
    ratios: Option<Ratios>,
}

/// This contender's figures as shares of another's: medians of what the rounds say.
#[derive(Debug, Serialize)]
struct Ratios {
    ratio_to: &'static str,
    rps_ratio: f64,
    p50_ratio: f64,
    p99_ratio: f64,
    cpu_ratio: Option<f64>,
}

/// What the crate sets out to do.
#[derive(Debug, Serialize)]
struct Target {
    what: &'static str,
    at_least: Option<f64>,
    at_most: Option<f64>,
    measured: f64,
    met: bool,
}

impl Report {
    pub(crate) fn new(size: Size, axum: &[Contender], tonic: &[Contender], cold: Cold) -> Self {
        let all = || axum.iter().chain(tonic);
        let find = |name: &str| all().find(|contender| contender.name == name);
        let rows: Vec<Row> = all()
            .map(|contender| {
                let other = match contender.name {
                    AXUM_LAYER | AXUM_GATE => find(AXUM),
                    AXUM_GATEWAY => find(AXUM_GATE),
                    TONIC_GATE => find(TONIC),
                    _ => None,
                };
                Row::new(contender, other)
            })
            .collect();
        Self {
            mode: if size.test { "test" } else { "full" },
            targets: targets(&rows, cold),
            rows,
            cold,
        }
    }

    pub(crate) fn print(&self) {
        println!();
        println!(
            "{:<37} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "", "req/s", "p50 µs", "p99 µs", "cpu µs", "load µs", "checks"
        );
        for row in &self.rows {
            println!(
                "{:<37} {:>9.0} {:>8.0} {:>8.0} {:>8} {:>8} {:>8.3}",
                row.name,
                row.requests_per_second,
                row.p50_us,
                row.p99_us,
                shown(row.cpu_us_per_request, 1),
                shown(row.load_cpu_us_per_request, 1),
                row.checks_per_request
            );
        }
        println!(
            "per request: processor time of the server and of the load, checks at the gateway"
        );
        println!();
        println!(
            "{:<37} {:>9} {:>8} {:>8} {:>8}  times those of",
            "", "req/s", "p50", "p99", "cpu"
        );
        for row in &self.rows {
            if let Some(ratios) = &row.ratios {
                println!(
                    "{:<37} {:>9.3} {:>8.3} {:>8.3} {:>8}  {}",
                    row.name,
                    ratios.rps_ratio,
                    ratios.p50_ratio,
                    ratios.p99_ratio,
                    shown(ratios.cpu_ratio, 3),
                    ratios.ratio_to
                );
            }
        }
        println!();
        let Cold {
            keys,
            first_request_us,
            round_trips_us,
            over_us,
        } = self.cold;
        println!(
            "a cold key: {first_request_us:.0} µs for the first request, {round_trips_us:.0} µs \
             for its two round trips alone, {over_us:.0} µs more ({keys} keys)"
        );
        println!();
        for target in &self.targets {
            let (word, bound) = match (target.at_least, target.at_most) {
                (Some(bound), _) => ("at least", bound),
                (_, bound) => ("at most", bound.unwrap_or_default()),
            };
            println!(
                "{:<62} {word:<8} {bound:>7.3}: {:>8.3}, {}",
                target.what,
                target.measured,
                if target.met { "met" } else { "NOT MET" }
            );
        }
    }
}

/// For a program to read, in the target directory.
pub(crate) fn write(name: &str, size: Size, figures: &impl Serialize) -> Result<()> {
    let executable = env::current_exe()?;
    // It is in `release/deps` of the target directory.
    let target = executable.ancestors().nth(3);
    let folder = target.ok_or("there is no target directory")?.join("bench");
    fs::create_dir_all(&folder)?;
    let name = match size.test {
        false => format!("{name}.json"),
        true => format!("{name}-test.json"),
    };
    let text = serde_json::to_vec_pretty(figures)?;
    Ok(fs::write(folder.join(name), text)?)
}

impl Row {
    fn new(contender: &Contender, other: Option<&Contender>) -> Self {
        let of = |figure: fn(&Figures) -> f64| median(contender.rounds.iter().map(figure));
        let known = |figure: fn(&Figures) -> Option<f64>| {
            let figures: Option<Vec<f64>> = contender.rounds.iter().map(figure).collect();
            figures.map(median)
        };
        Self {
            name: contender.name,
            requests_per_second: of(|f| f.requests_per_second),
            p50_us: of(|f| f.p50_us),
            p99_us: of(|f| f.p99_us),
            cpu_us_per_request: known(|f| f.cpu_us_per_request),
            load_cpu_us_per_request: known(|f| f.load_cpu_us_per_request),
            checks_per_request: contender.checks as f64 / contender.requests() as f64,
            ratios: other.map(|other| Ratios::new(contender, other)),
        }
    }
}

impl Ratios {
    fn new(contender: &Contender, other: &Contender) -> Self {
        let rounds = || contender.rounds.iter().zip(&other.rounds);
        let of = |figure: fn(&Figures) -> f64| {
            median(rounds().map(|(this, that)| figure(this) / figure(that)))
        };
        let cpu = rounds().map(|(this, that)| {
            let (this, that) = this.cpu_us_per_request.zip(that.cpu_us_per_request)?;
            Some(this / that)
        });
        Self {
            ratio_to: other.name,
            rps_ratio: of(|f| f.requests_per_second),
            p50_ratio: of(|f| f.p50_us),
            p99_ratio: of(|f| f.p99_us),
            cpu_ratio: cpu.collect::<Option<Vec<_>>>().map(median),
        }
    }
}

fn targets(rows: &[Row], cold: Cold) -> Vec<Target> {
    let ratios = |name: &str| {
        let row = rows.iter().find(|row| row.name == name);
        row.and_then(|row| row.ratios.as_ref())
    };
    let least = |what, bound, measured| Target {
        what,
        at_least: Some(bound),
        at_most: None,
        measured,
        met: measured >= bound,
    };
    let most = |what, bound, measured| Target {
        what,
        at_least: None,
        at_most: Some(bound),
        measured,
        met: measured <= bound,
    };
    let mut targets = Vec::new();
    if let Some(gate) = ratios(AXUM_GATE) {
        targets.push(least(
            "axum, with the layer: req/s, times the bare server's",
            0.95,
            gate.rps_ratio,
        ));
        targets.push(most(
            "axum, with the layer: p99, times the bare server's",
            1.1,
            gate.p99_ratio,
        ));
    }
    // The row says it the other way round.
    if let Some(gateway) = ratios(AXUM_GATEWAY) {
        targets.push(least(
            "axum, with the layer: req/s, times those with the gateway asked",
            8.0,
            1.0 / gateway.rps_ratio,
        ));
        targets.push(most(
            "axum, with the layer: p50, times that with the gateway asked",
            0.125,
            1.0 / gateway.p50_ratio,
        ));
    }
    targets.push(most(
        "a cold key: µs beyond two round trips",
        200.0,
        cold.over_us,
    ));
    targets
}

fn shown(number: Option<f64>, decimals: usize) -> String {
    match number {
        Some(number) => format!("{number:.decimals$}"),
        None => "-".to_owned(),
    }
}
