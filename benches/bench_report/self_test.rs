//! The report of figures that are made up: whether all of it is there, and says what they say.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{self, ExitCode};

use serde_json::{Value, json};

use super::charts::{self, OF_KEYS};
use super::document::HEADINGS;
use super::figures::{Figures, Result};
use super::machine::Machine;
use super::svg::FAINT;
use super::targets::{self, HEADERS, PARTS};
use super::write;

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let directory = env::temp_dir().join(format!("bench-report-{}", process::id()));
    let tested = test(root, &directory);
    fs::remove_dir_all(&directory)?;
    tested?;
    println!("all tables and charts are there");
    Ok(ExitCode::SUCCESS)
}

fn test(root: &Path, directory: &Path) -> Result<()> {
    let target = directory.join("target");
    lay_out(&target, ALIKE)?;
    let figures = Figures::read(&target)?;
    let docs = directory.join("docs");
    write(&figures, &Machine::this_one(root)?, &docs)?;

    let document = fs::read_to_string(docs.join("performance.md"))?;
    let mut rest = document.as_str();
    for heading in HEADINGS {
        let found = rest.split_once(&format!("\n{heading}\n"));
        (_, rest) = found.ok_or_else(|| format!("not there, or not in its place: {heading}"))?;
    }
    for row in [
        "| hit, one rule | 400 | 300 | 5 | 1 |",
        "| hit, per_ip, GCRA | 420 | 310 | 3 | 1 |",
        "| 1 000 000 | 600 ns | 600 ns | 600 ns |",
        "| 100 000 | 600 | 700 | 650 | 812 |",
        "| hit, one hot key | 2 000 000 | 3 000 000 | 1.50 |",
        "| jsonwebtoken ES256 | 50 000 | 49 900 | 125.00 |",
        "| axum, with the layer | axum, bare | 0.960 × | 1.000 × | 1.200 × |",
        "| hit, one rule | 1 234 | none |",
        "| hit, one rule | 90 | 178 |",
        "| hit, one rule | 300 | 600 | 400 | 1200 |",
        "| **HTTP/1.1, 64 connections** |",
        "used up to\n0.05 processors",
        "| gate, one rule, fields | 4.00 | 0.90 | 1.50 | 80 000 | 1.100 × | 900 |",
        "| a check takes 10 ms | 500 | 300 | 550 | 1.10 × | 0 |",
        "gateway on loopback that answers\nat once: 80 µs",
    ] {
        expect(document.contains(row), row)?;
    }
    for chart in ["hit", "peers", "keys", "threads", "stack"] {
        let link = format!("(charts/{chart}.svg)");
        expect(document.contains(&link), &link)?;
        let drawing = fs::read_to_string(docs.join("charts").join(format!("{chart}.svg")))?;
        let is_whole = drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n");
        expect(is_whole && !drawing.contains("NaN"), chart)?;
    }

    for (number, many_keys) in [ALIKE, CROSSING, STEEP].into_iter().enumerate() {
        let target = directory.join(format!("target-{number}"));
        lay_out(&target, many_keys)?;
        for (chart, drawing) in charts::all(&Figures::read(&target)?)? {
            legible(chart, &drawing)?;
        }
    }

    let judged = targets::table(&figures)?;
    for row in [
        // 300 ns for parts of 140 ns; without headers 240 ns for 120 ns.
        "against the sum of its parts | ≤ 1.15 × | 2.143 × | **no** |",
        "over the bare service | ≤ 380 ns | 300 ns | yes |",
        "with cold caches, against the state before | ≤ 0.6 × | 0.500 × | yes |",
        // 90 lines, 35 of them bare, where 141 were.
        "cache lines of the same, against the state before | ≤ 0.5 × | 0.390 × | yes |",
        "against the sum of its parts | ≤ 1.3 × | 2.000 × | **no** |",
        "both over the bare service | ≤ 2 × | 1.667 × | yes |",
        "of 100 000 | ≤ 500 bytes | 650 bytes | **no** |",
        "its counter, more | ≤ 200 bytes | 162 bytes | yes |",
        "hit, distinct keys | ≥ 1.7 × | 1.90 × | yes |",
        "limited, whole call, against a hit with its service | ≤ 2 × | 2.500 × | **no** |",
        "against the bare one | ≥ 95 % | 96.0 % | yes |",
        "the same, p99 | ≤ 1.1 × | 1.200 × | **no** |",
        "asking the gateway each time | ≥ 8 × | 10.00 × | yes |",
        "over its two round trips | ≤ 200 µs | 150 µs | yes |",
        "added to a request: one rule, fields | ≤ 0.95 µs | 0.90 µs | yes |",
        "authorization and tower_governor add | ≤ 0.75 × | 0.750 × | yes |",
        "requests a second, against theirs | ≥ 1.05 × | 1.10 × | yes |",
        "takes 10 ms: p99, against the checks alone | ≤ 1.2 × | 1.100 × | yes |",
        "one hot key: what a second thread brings, against what it brings axum alone | ≥ 0.95 × | 0.90 × | **no** |",
    ] {
        expect(judged.contains(row), row)?;
    }

    // Nobody gets a report with holes.
    for (missing, bench) in [
        ("bench/throughput.json", "throughput"),
        ("criterion/parts/headers/new/estimates.json", "gate"),
        ("criterion/peers", "peers"),
    ] {
        let (path, away) = (target.join(missing), target.join("away"));
        fs::rename(&path, &away)?;
        let complaint = match Figures::read(&target) {
            Ok(_) => return Err(format!("not missed: {missing}").into()),
            Err(complaint) => complaint.to_string(),
        };
        fs::rename(&away, &path)?;
        let advice = format!("run `cargo bench -p benches --bench {bench}`");
        expect(complaint.contains(&advice), &complaint)?;
    }
    Ok(())
}

/// That no words stand on others, on a line of a figure, or on a point, and none outside.
fn legible(chart: &str, drawing: &str) -> Result<()> {
    let number = |line: &str, name: &str| -> Result<f64> {
        let value = line.split(&format!(" {name}=\"")).nth(1);
        let value = value.and_then(|value| value.split('"').next());
        Ok(value
            .ok_or_else(|| format!("{chart}: no {name} in {line}"))?
            .parse()?)
    };
    let mut words = Vec::new();
    let mut marks = Vec::new();
    for line in drawing.lines() {
        if line.starts_with("<text ") {
            let said = line.split(['<', '>']).nth(2).unwrap_or_default();
            let size = number(line, "font-size")?;
            // Of a wide font.
            let width = said.chars().count() as f64 * size * 0.6;
            let left = number(line, "x")?
                - match line {
                    line if line.contains("\"middle\"") => width / 2.0,
                    line if line.contains("\"end\"") => width,
                    _ => 0.0,
                };
            let baseline = number(line, "y")?;
            let place = Place {
                x: [left, left + width],
                y: [baseline - size * 0.75, baseline + size * 0.25],
            };
            words.push((said, place));
        } else if line.starts_with("<circle ") {
            let (x, y, r) = (number(line, "cx")?, number(line, "cy")?, number(line, "r")?);
            marks.push(Place {
                x: [x - r, x + r],
                y: [y - r, y + r],
            });
        } else if line.starts_with("<line ") && !line.contains(FAINT) {
            let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|name| number(line, name));
            let (x1, y1, x2, y2) = (x1?, y1?, x2?, y2?);
            // In pieces: a slope is in far less room than its ends span.
            marks.extend((0..=100).map(|piece| {
                let part = f64::from(piece) / 100.0;
                let (x, y) = (x1 + (x2 - x1) * part, y1 + (y2 - y1) * part);
                Place {
                    x: [x, x],
                    y: [y, y],
                }
            }));
        }
    }
    let (width, height) = (number(drawing, "width")?, number(drawing, "height")?);
    for (index, (said, place)) in words.iter().enumerate() {
        let is_inside = place.x[0] >= 0.0 && place.x[1] <= width && place.y[1] <= height;
        expect(is_inside, &format!("{chart}: `{said}` is cut off"))?;
        for (other, at) in &words[..index] {
            let what = format!("{chart}: `{said}` stands on `{other}`");
            expect(!place.meets(at), &what)?;
        }
        let is_free = !marks.iter().any(|mark| place.meets(mark));
        expect(is_free, &format!("{chart}: `{said}` stands on a figure"))?;
    }
    Ok(())
}

/// What something takes up in a drawing: from, to.
struct Place {
    x: [f64; 2],
    y: [f64; 2],
}

impl Place {
    fn meets(&self, other: &Self) -> bool {
        let meet = |one: [f64; 2], other: [f64; 2]| one[0] < other[1] && other[0] < one[1];
        // A line is of no width.
        let meet = |one, other: [f64; 2]| meet(one, [other[0], other[1] + 0.1]);
        meet(self.x, other.x) && meet(self.y, other.y)
    }
}

fn expect(is_so: bool, what: &str) -> Result<()> {
    match is_so {
        true => Ok(()),
        false => Err(format!("not as it should be: {what}").into()),
    }
}

/// Times of a call with a thousand, a hundred thousand and a million keys, for each case.
type ManyKeys = [[f64; 3]; OF_KEYS.len()];

const ALIKE: ManyKeys = [[400.0, 500.0, 600.0]; OF_KEYS.len()];
const CROSSING: ManyKeys = [
    [655.0, 661.0, 656.0],
    [658.0, 1_387.0, 1_941.0],
    [465.0, 866.0, 1_088.0],
    [136.0, 744.0, 1_179.0],
];
/// One far above the others, which lie at the bottom.
const STEEP: ManyKeys = [
    [100.0, 110.0, 120.0],
    [9_000.0, 30_000.0, 90_000.0],
    [90.0, 95.0, 99.0],
    [10.0, 12.0, 14.0],
];

/// Figures as the benches leave them.
fn lay_out(target: &Path, many_keys: ManyKeys) -> Result<()> {
    let mut times = vec![
        ("gate", "bare inner service".to_owned(), 100.0),
        (
            "gate",
            "bare inner service, with an address".to_owned(),
            110.0,
        ),
        ("gate", "hit, limits off".to_owned(), 300.0),
        ("gate", "hit, one rule".to_owned(), 400.0),
        ("gate", "hit, one rule, no headers".to_owned(), 340.0),
        ("gate", "hit, per_ip, GCRA".to_owned(), 420.0),
        ("gate", "no key".to_owned(), 500.0),
        ("gate", "malformed key".to_owned(), 500.0),
        ("gate", "known bad key".to_owned(), 800.0),
        ("gate", "limited".to_owned(), 1_000.0),
        ("gate", "miss".to_owned(), 80_000.0),
        ("peers", "bare inner service".to_owned(), 100.0),
        ("peers", "wacht-auth".to_owned(), 400.0),
        ("peers", "jsonwebtoken ES256".to_owned(), 50_000.0),
    ];
    for (part, _) in PARTS.iter().chain([&HEADERS]) {
        times.push(("parts", (*part).to_owned(), 20.0));
    }
    for (name, case) in OF_KEYS.into_iter().zip(many_keys) {
        for (keys, time) in [1_000, 100_000, 1_000_000].into_iter().zip(case) {
            times.push(("keys", format!("{name}, {keys} keys"), time));
        }
    }
    for (group, name, time) in times {
        let directory = target.join("criterion").join(group).join(&name).join("new");
        let benchmark = json!({ "group_id": group, "full_id": format!("{group}/{name}") });
        put(&directory.join("benchmark.json"), &benchmark)?;
        let estimates = json!({ "median": { "point_estimate": time } });
        put(&directory.join("estimates.json"), &estimates)?;
    }
    let allocations = |name: &str, http: u64, ours: u64| {
        let all = http + ours;
        json!({ "name": name, "all": all, "http": http, "ours": ours })
    };
    let bench = target.join("bench");
    put(
        &bench.join("allocations.json"),
        &json!({
            "rows": [
            allocations("bare inner service", 0, 0),
            allocations("hit, one rule, no headers", 3, 0),
            allocations("hit, one rule", 5, 1),
            allocations("hit, per_ip, GCRA", 3, 1),
            allocations("limited", 5, 20),
            ],
            "memory": [{
                "keys": 100_000, "heap": 600.0, "heap_with_counter": 700.0,
                "resident": 650.2, "resident_with_counter": 812.0,
            }],
        }),
    )?;
    let threads = |name: &str, ratio: f64| json!({ "name": name, "one": 2e6, "two": 2e6 * ratio, "ratio": ratio });
    put(
        &bench.join("gate.json"),
        &json!({
            "threads": [
                threads("SHA-256 alone", 2.0),
                threads("hit, distinct keys", 1.9),
                threads("hit, one hot key", 1.5),
                threads("axum, bare", 2.0),
                threads("axum, hit, distinct keys", 2.0),
                threads("axum, hit, one hot key", 1.8),
            ],
        }),
    )?;
    let server = |name: &str, rate: f64, against: Value| {
        let mut row = json!({
            "name": name, "requests_per_second": rate, "p50_us": 600.0, "p99_us": 1_200.0,
            "cpu_us_per_request": null,
        });
        if let (Some(row), Value::Object(against)) = (row.as_object_mut(), against) {
            row.extend(against);
        }
        row
    };
    let against = |other: &str, rate: f64, p50: f64, p99: f64| json!({ "ratio_to": other, "rps_ratio": rate, "p50_ratio": p50, "p99_ratio": p99 });
    put(
        &bench.join("throughput.json"),
        &json!({
            "rows": [
                server("axum, bare", 50_000.0, Value::Null),
                server("axum, with the layer", 48_000.0, against("axum, bare", 0.96, 1.0, 1.2)),
                server(
                    "axum, the gateway asked each time",
                    4_800.0,
                    against("axum, with the layer", 0.1, 10.0, 10.0),
                ),
            ],
            "cold": { "first_request_us": 450.0, "round_trips_us": 300.0, "over_us": 150.0 },
        }),
    )?;
    let of_one_thread = |name: &str, added: f64| {
        json!({
            "manner": "HTTP/1.1, 64 connections", "name": name, "requests_per_second": 80_000.0,
            "p99_us": 900.0, "user_us": 4.0, "user_us_added": added, "cpu_us_added": 1.5,
            "rps_ratio": 1.1, "others": 0.05,
        })
    };
    put(
        &bench.join("stack.json"),
        &json!({
            "rows": [
                of_one_thread("axum, bare", 0.0),
                of_one_thread("authorization and tower_governor", 1.2),
                of_one_thread("gate, limits off", 0.4),
                of_one_thread("gate, one rule, no fields", 0.6),
                of_one_thread("gate, one rule, fields", 0.9),
            ],
        }),
    )?;
    put(
        &bench.join("burst.json"),
        &json!({
            "rows": [{
                "delay_ms": 10, "keys": 2_000, "checks_alone_ms": 500.0, "p50_ms": 300.0,
                "p99_ms": 550.0, "ratio": 1.1, "refused": 0,
            }],
        }),
    )?;
    put(
        &bench.join("caches.json"),
        &json!({
            "rows": [{
                "name": "hit, one rule", "warm": 300.0, "cold": 600.0, "earlier": [400.0, 1_200.0],
            }],
        }),
    )?;
    put(
        &bench.join("lines.json"),
        &json!({
            "rows": [
                { "name": "bare inner service", "counted": 35, "kept": 35 },
                { "name": "hit, one rule", "counted": 90, "kept": 178 },
            ],
        }),
    )?;
    put(
        &bench.join("instructions.json"),
        &json!({ "rows": [{ "name": "hit, one rule", "counted": 1_234, "kept": null }] }),
    )
}

fn put(path: &Path, figures: &Value) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    Ok(fs::write(path, figures.to_string())?)
}
