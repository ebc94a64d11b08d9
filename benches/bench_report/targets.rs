//! What was aimed at, what was measured, and whether that is enough.

use std::fmt::Write as _;

use super::figures::{Figures, Result};

pub(crate) const BARE: &str = "gate/bare inner service";
pub(crate) const HIT: &str = "gate/hit, one rule";
pub(crate) const HIT_WITHOUT_HEADERS: &str = "gate/hit, one rule, no headers";

const HIT_WITHOUT_LIMITS: &str = "gate/hit, limits off";
/// Cache lines of a hit over the bare service before verdicts were laid out for it.
const LINES_BEFORE: f64 = 141.0;

/// The parts of a hit without headers, as the group `parts` calls them, and in words.
pub(crate) const PARTS: [(&str, &str); 6] = [
    ("bearer", "find the bearer's key and look at its form"),
    ("SHA-256", "SHA-256 of the key"),
    ("moka get", "moka: find the verdict"),
    (
        "governor check",
        "governor: check and charge one keyed limit",
    ),
    ("extension", "http: the first insert into the extensions"),
    ("clock", "read the monotonic clock"),
];
/// The part that headers add.
pub(crate) const HEADERS: (&str, &str) = ("headers", "write the two rate-limit fields");

pub(crate) const BARE_SERVER: &str = "axum, bare";
pub(crate) const GATED_SERVER: &str = "axum, with the layer";
const WRITTEN: &str = "authorization and tower_governor";
const GATE: &str = "gate, one rule, fields";
pub(crate) const ASKING_SERVER: &str = "axum, the gateway asked each time";

struct Target {
    what: String,
    wanted: String,
    measured: String,
    is_met: bool,
}

/// As a table of the document.
pub(crate) fn table(figures: &Figures) -> Result<String> {
    let mut table = String::from("| what | target | measured | met |\n|---|---|---|---|\n");
    for target in all(figures)? {
        let Target {
            what,
            wanted,
            measured,
            is_met,
        } = target;
        let met = if is_met { "yes" } else { "**no**" };
        writeln!(table, "| {what} | {wanted} | {measured} | {met} |")?;
    }
    Ok(table)
}

/// The sum of the parts of a hit by themselves, in nanoseconds.
pub(crate) fn sum_of_parts(figures: &Figures, with_headers: bool) -> Result<f64> {
    let mut sum = 0.0;
    for (part, _) in PARTS.iter().chain(with_headers.then_some(&HEADERS)) {
        sum += figures.time(&format!("parts/{part}"))?;
    }
    Ok(sum)
}

/// What the gate adds to the bare service.
pub(crate) fn over_bare(figures: &Figures, id: &str) -> Result<f64> {
    Ok(figures.time(id)? - figures.time(BARE)?)
}

fn all(figures: &Figures) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    hits(figures, &mut targets)?;
    keys(figures, &mut targets)?;
    threads(figures, &mut targets)?;
    refusals(figures, &mut targets)?;
    servers(figures, &mut targets)?;
    stack(figures, &mut targets)?;
    bursts(figures, &mut targets);
    Ok(targets)
}

fn hits(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    let hit = over_bare(figures, HIT)?;
    let what = "hit, one rule per key, over the bare service";
    targets.push(at_most_times(
        &format!("{what}, against the sum of its parts"),
        1.15,
        hit / sum_of_parts(figures, true)?,
    ));
    targets.push(at_most(what, 380.0, "ns", 0, hit));
    targets.push(at_most(
        "the same without limits",
        240.0,
        "ns",
        0,
        over_bare(figures, HIT_WITHOUT_LIMITS)?,
    ));
    let cold = figures.caches("hit, one rule")?;
    if let Some([_, earlier]) = cold.earlier {
        targets.push(at_most_times(
            "the same with cold caches, against the state before",
            0.6,
            cold.cold / earlier,
        ));
    }
    let lines = figures.lines_over_bare("hit, one rule")? as f64;
    targets.push(at_most_times(
        "cache lines of the same, against the state before",
        0.5,
        lines / LINES_BEFORE,
    ));
    let without = over_bare(figures, HIT_WITHOUT_HEADERS)?;
    targets.push(at_most_times(
        "the same without rate-limit headers, against the sum of its parts",
        1.3,
        without / sum_of_parts(figures, false)?,
    ));
    for (what, name, most) in [
        (
            "allocations of ours in a hit without headers",
            HIT_WITHOUT_HEADERS,
            0,
        ),
        ("allocations of ours in a hit with headers", HIT, 1),
    ] {
        let ours = figures.allocations(name.trim_start_matches("gate/"))?.ours;
        targets.push(Target {
            what: what.to_owned(),
            wanted: format!("≤ {most}"),
            measured: ours.to_string(),
            is_met: ours <= most,
        });
    }
    Ok(())
}

fn keys(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    let few = over_bare(figures, "keys/hit, one rule, 1000 keys")?;
    for (what, most, id) in [
        (
            "1 000 of them in use",
            1.5,
            "keys/hit, one rule, 1000 in use, 1000000 keys",
        ),
        (
            "all of them in random order",
            2.0,
            "keys/hit, one rule, 1000000 keys",
        ),
    ] {
        targets.push(at_most_times(
            &format!(
                "hit among 1 000 000 keys, {what}, against one among 1 000, both over the bare service"
            ),
            most,
            over_bare(figures, id)? / few,
        ));
    }
    for row in &figures.memory {
        let of = spaced(row.keys as f64);
        let what = format!("resident bytes a known key, of {of}");
        targets.push(at_most(&what, 500.0, "bytes", 0, row.resident));
        let counter = row.resident_with_counter - row.resident;
        targets.push(at_most("its counter, more", 200.0, "bytes", 0, counter));
    }
    Ok(())
}

fn threads(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    for (name, least) in [("hit, distinct keys", 1.7), ("hit, one hot key", 1.4)] {
        let ratio = figures.threads(name)?.ratio;
        targets.push(at_least_times(
            &format!("calls a second, two threads against one: {name}"),
            least,
            ratio,
        ));
    }
    let bare = figures.threads("axum, bare")?.ratio;
    for name in ["axum, hit, distinct keys", "axum, hit, one hot key"] {
        targets.push(at_least_times(
            &format!("{name}: what a second thread brings, against what it brings axum alone"),
            0.95,
            figures.threads(name)?.ratio / bare,
        ));
    }
    Ok(())
}

/// The server of one thread with the layer, beside the one that a user would write without.
fn stack(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    let written = figures.stack(WRITTEN)?;
    let gate = figures.stack(GATE)?;
    for (what, name, most) in [
        ("one rule, fields", GATE, 0.95),
        ("one rule, no fields", "gate, one rule, no fields", 0.7),
        ("limits off", "gate, limits off", 0.45),
    ] {
        let what = format!("axum server, own processor time added to a request: {what}");
        let added = figures.stack(name)?.user_us_added;
        targets.push(at_most(&what, most, "µs", 2, added));
    }
    targets.push(at_most_times(
        "the first of these, against what authorization and tower_governor add",
        0.75,
        gate.user_us_added / written.user_us_added,
    ));
    targets.push(at_least_times(
        "requests a second, against theirs",
        1.05,
        gate.rps_ratio,
    ));
    Ok(())
}

fn bursts(figures: &Figures, targets: &mut Vec<Target>) {
    for row in &figures.bursts {
        let (keys, delay) = (spaced(row.keys as f64), row.delay_ms);
        let what = format!(
            "{keys} unknown keys at once, a check takes {delay} ms: p99, against the checks alone"
        );
        targets.push(at_most_times(&what, 1.2, row.ratio));
        targets.push(at_most(
            "refused of them",
            0.0,
            "keys",
            0,
            row.refused as f64,
        ));
    }
}

fn refusals(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    let hit = figures.time(HIT)?;
    for name in ["no key", "malformed key", "known bad key", "limited"] {
        let refusal = figures.time(&format!("gate/{name}"))?;
        targets.push(at_most_times(
            &format!("refusal, {name}, whole call, against a hit with its service"),
            2.0,
            refusal / hit,
        ));
    }
    Ok(())
}

fn servers(figures: &Figures, targets: &mut Vec<Target>) -> Result<()> {
    let gated = figures.server(GATED_SERVER)?;
    let against = gated.against(BARE_SERVER)?;
    targets.push(Target {
        what: "axum server with the layer, requests a second, against the bare one".to_owned(),
        wanted: "≥ 95 %".to_owned(),
        measured: format!("{:.1} %", 100.0 * against.rps_ratio),
        is_met: against.rps_ratio >= 0.95,
    });
    targets.push(at_most_times("the same, p99", 1.1, against.p99_ratio));
    // The row says it the other way round.
    let asking = figures.server(ASKING_SERVER)?.against(GATED_SERVER)?;
    targets.push(at_least_times(
        "axum server with the layer, requests a second, against asking the gateway each time",
        8.0,
        1.0 / asking.rps_ratio,
    ));
    targets.push(at_most_times(
        "the same, p50",
        0.125,
        1.0 / asking.p50_ratio,
    ));
    let cold = &figures.throughput.cold;
    targets.push(Target {
        what: "a cold key, over its two round trips".to_owned(),
        wanted: "≤ 200 µs".to_owned(),
        measured: format!("{:.0} µs", cold.over_us),
        is_met: cold.over_us <= 200.0,
    });
    Ok(())
}

fn at_most(what: &str, most: f64, unit: &str, decimals: usize, measured: f64) -> Target {
    Target {
        what: what.to_owned(),
        wanted: format!("≤ {most} {unit}"),
        measured: format!("{measured:.decimals$} {unit}"),
        is_met: measured <= most,
    }
}

fn at_most_times(what: &str, most: f64, measured: f64) -> Target {
    Target {
        what: what.to_owned(),
        wanted: format!("≤ {most} ×"),
        measured: format!("{measured:.3} ×"),
        is_met: measured <= most,
    }
}

fn at_least_times(what: &str, least: f64, measured: f64) -> Target {
    Target {
        what: what.to_owned(),
        wanted: format!("≥ {least} ×"),
        measured: format!("{measured:.2} ×"),
        is_met: measured >= least,
    }
}

/// A whole number with a space between thousands.
pub(crate) fn spaced(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut spaced = String::from(if number <= -0.5 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}
