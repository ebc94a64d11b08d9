//! What the rate limiter costs: bytes a subject, nanoseconds a check, and the longest a request
//! waits for it while somebody sends every request from an address of its own.
//!
//! `cargo bench -p benches --bench limits`. Everything goes through a gate whose verdicts are warm,
//! as users meet it: `off` is the same gate with nobody counting, so a check costs the difference.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::disallowed_methods,
    reason = "what is timed here is the machine, and not the gate's idea of time"
)]

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Request;
use http_body_util::Empty;
use serde_json::json;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, DevKey, DevRule, ManualClock};
use wacht_auth::{
    Algorithm, AuthHandle, CachePolicy, Limits, PeerAddr, RateLimitHeaders, WachtAuth,
    WachtAuthLayer,
};

mod service;

use service::{Inner, inner};

/// A way of counting, by name.
type Counting = (&'static str, fn() -> Limits);

const MODES: [&str; 5] = [
    "per_app",
    "per_key",
    "per_key_and_ip",
    "per_app_and_ip",
    "per_ip",
];
/// An app whose rule is there to fill the limiter.
const CROWD: &str = "crowd";
/// The one path that has rules. Verdicts are warmed on another, which charges nothing.
const COUNTED: &str = "/counted";

/// How much of everything.
struct Size {
    subjects: Vec<usize>,
    keys: usize,
    capacity: usize,
    flood: usize,
    rounds: usize,
}

impl Size {
    fn of_this_run() -> Self {
        if env::args().any(|argument| argument == "--test") {
            Self {
                subjects: vec![100],
                keys: 20,
                capacity: 500,
                flood: 1_000,
                rounds: 1,
            }
        } else {
            Self {
                subjects: vec![1_000, 100_000],
                keys: 1_000,
                capacity: 100_000,
                flood: 200_000,
                rounds: 5,
            }
        }
    }
}

/// A Wacht with an app for each mode.
struct Stage {
    runtime: Runtime,
    wacht: DevGateway,
    clock: ManualClock,
    size: Size,
    keys: Vec<Vec<DevKey>>,
    crowd: DevKey,
}

/// A gate whose limiter counts, and who comes to it.
struct Case<'a> {
    gate: WachtAuth<Inner>,
    handle: AuthHandle,
    callers: Callers<'a>,
}

/// The subjects of one mode.
struct Callers<'a> {
    keys: &'a [DevKey],
    by_address: bool,
}

fn request(key: &DevKey, path: &str, address: IpAddr) -> Request<Empty<Bytes>> {
    service::request(path)
        .header("authorization", format!("Bearer {}", key.secret()))
        .extension(PeerAddr((address, 40000).into()))
        .body(Empty::new())
        .unwrap()
}

/// Another one for each number, each in a network of its own: a network has no more than a share of
/// the room. Every second is an IPv4 address, every second an IPv6 one.
fn address(number: usize) -> IpAddr {
    let number = u32::try_from(number).unwrap();
    if number.is_multiple_of(2) {
        Ipv4Addr::from_bits(0x0b00_0000 + (number << 8)).into()
    } else {
        Ipv6Addr::from_bits((0x2001_0000 << 96) + (u128::from(number) << 80) + 1).into()
    }
}

fn call(gate: &mut WachtAuth<Inner>, request: Request<Empty<Bytes>>) -> u16 {
    service::call(gate, request).status().as_u16()
}

impl Stage {
    fn set() -> Self {
        let runtime = Runtime::new().unwrap();
        let size = Size::of_this_run();
        // It stands still: nothing is refreshed, and no counter comes to rest, unless it is moved.
        let clock = ManualClock::new();
        let wacht = runtime.block_on(DevGateway::start()).clock(&clock);
        let rule = |mode: &str, max_requests: i32, unit: &str| {
            DevRule::raw(json!({
                "unit": unit, "duration": 1, "max_requests": max_requests, "mode": mode,
                "priority": 0, "endpoints": [COUNTED],
            }))
        };
        let keys = MODES
            .iter()
            .map(|mode| {
                let app = wacht.app(mode);
                app.scheme([rule(mode, 2_000_000_000, "minute")]);
                let count = if *mode == "per_key" { size.keys } else { 1 };
                (0..count).map(|_| app.issue_key().issue()).collect()
            })
            .collect();
        let app = wacht.app(CROWD);
        app.scheme([rule("per_ip", 1, "minute")]);
        let crowd = app.issue_key().issue();
        Self {
            runtime,
            wacht,
            clock,
            size,
            keys,
            crowd,
        }
    }

    fn layer(&self, limits: Limits) -> WachtAuthLayer {
        WachtAuthLayer::builder(self.wacht.client())
            .clock(&self.clock)
            // Nothing is verified anew when the clock is moved.
            .cache(CachePolicy::default().fresh_for(Duration::from_secs(1 << 30)))
            .limits(limits)
            .build()
            .unwrap()
            .rate_limit_headers(RateLimitHeaders::None)
    }

    /// A gate that knows its keys and has counted nothing.
    fn case(&self, mode: usize, limits: Limits) -> Case<'_> {
        let layer = self.layer(limits);
        let handle = layer.handle();
        let gate: WachtAuth<Inner> = layer.layer(inner());
        let keys = &self.keys[mode];
        for key in keys.iter().chain([&self.crowd]) {
            let warm = gate.clone().oneshot(request(key, "/warm", address(0)));
            assert_eq!(self.runtime.block_on(warm).unwrap().status(), 200);
        }
        Case {
            gate,
            handle,
            callers: Callers {
                keys,
                by_address: MODES[mode].contains("ip"),
            },
        }
    }
}

impl Callers<'_> {
    /// How many subjects this mode can have here, at most `wanted`.
    fn subjects(&self, wanted: usize) -> usize {
        match self.by_address {
            true => wanted,
            false => wanted.min(self.keys.len()),
        }
    }

    fn request(&self, subject: usize) -> Request<Empty<Bytes>> {
        match self.by_address {
            true => request(&self.keys[0], COUNTED, address(subject)),
            false => request(&self.keys[subject % self.keys.len()], COUNTED, address(0)),
        }
    }
}

impl Case<'_> {
    /// Counts `subjects` of this mode, and returns the bytes that stay.
    fn fill(&mut self, subjects: usize) -> i64 {
        (0..subjects)
            .map(|subject| {
                let measured = allocation_counter::measure(|| {
                    let request = self.callers.request(subject);
                    assert_eq!(call(&mut self.gate, request), 200);
                });
                measured.bytes_current
            })
            .sum()
    }
}

fn algorithms() -> Vec<Counting> {
    vec![
        ("gcra", Limits::local),
        ("sliding window", || {
            Limits::local().algorithm(Algorithm::SlidingWindow)
        }),
    ]
}

fn bytes_a_subject(stage: &Stage) {
    println!("bytes a subject, counted allocations, with memory set aside for growth:");
    println!(
        "{:<16} {:<16} {:>8} {:>16} {:>16}",
        "", "", "subjects", "one request", "in steady use"
    );
    for (algorithm, limits) in algorithms() {
        for (place, mode) in MODES.iter().enumerate() {
            // A mode without subjects has one counter, and one that has no more subjects than keys
            // would otherwise show twice.
            let mut last = 0;
            for wanted in &stage.size.subjects {
                let mut case = stage.case(place, limits().capacity(stage.size.capacity));
                let subjects = case.callers.subjects(*wanted);
                if std::mem::replace(&mut last, subjects) == subjects {
                    continue;
                }
                let mut bytes = case.fill(subjects);
                let counted = case.handle.stats().limiter_subjects;
                if counted == 0 {
                    continue;
                }
                let at_first = bytes as f64 / subjects as f64;
                // Over more than a window, which is a minute: what can be forgotten is.
                for _ in 0..70 {
                    stage.clock.advance(Duration::from_secs(1));
                    bytes += case.fill(subjects);
                }
                let in_use = bytes as f64 / subjects as f64;
                println!("{algorithm:<16} {mode:<16} {counted:>8} {at_first:>16.1} {in_use:>16.1}");
            }
        }
    }
}

/// How long each of many requests took, in nanoseconds, the fastest first.
struct Times {
    sorted: Vec<u64>,
    /// Requests that took long because the machine ran something else meanwhile.
    interrupted: usize,
}

impl Times {
    fn of(
        requests: impl Iterator<Item = Request<Empty<Bytes>>>,
        gate: &mut WachtAuth<Inner>,
    ) -> Self {
        const LONG: Duration = Duration::from_micros(20);
        let mut sorted = Vec::new();
        let mut interrupted = 0;
        let mut interruptions = interruptions_so_far();
        for (number, request) in requests.enumerate() {
            let before = Instant::now();
            let status = call(gate, request);
            let took = before.elapsed();
            assert!(matches!(status, 200 | 429));
            // Often enough that an interruption between two requests is seldom taken for one
            // within them.
            if took > LONG || number % 64 == 0 {
                let so_far = interruptions_so_far();
                if took > LONG && so_far != interruptions {
                    interrupted += 1;
                    interruptions = so_far;
                    continue;
                }
                interruptions = so_far;
            }
            sorted.push(u64::try_from(took.as_nanos()).unwrap());
        }
        sorted.sort_unstable();
        Self {
            sorted,
            interrupted,
        }
    }

    /// In nanoseconds, the time that `share` of the requests stay below.
    fn at(&self, share: f64) -> u64 {
        let last = self.sorted.len() - 1;
        self.sorted[(last as f64 * share) as usize]
    }
}

/// How often this thread had to wait for a processor; nothing where the system does not tell.
fn interruptions_so_far() -> Option<String> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find(|line| line.starts_with("nonvoluntary_ctxt_switches"))?;
    Some(line.to_owned())
}

/// Every number as small as it ever was over the rounds: what the machine does to one of them is
/// not the limiter's, and what the limiter does it does in each.
fn print_times(what: &str, rounds: &[Times]) {
    let least = |share| rounds.iter().map(|times| times.at(share)).min().unwrap();
    let longest = rounds.iter().map(|times| times.at(1.0)).max().unwrap();
    let interrupted: usize = rounds.iter().map(|times| times.interrupted).sum();
    println!(
        "{what:<36} {:>8} {:>8} {:>8} {:>8} {longest:>8} {interrupted:>8}",
        least(0.5),
        least(0.999),
        least(0.9999),
        least(1.0)
    );
}

/// A fresh address for every request, while the limiter fills, when it is full, and when all it
/// holds has come to rest and is swept out bit by bit.
fn flood(stage: &Stage) {
    let Size {
        capacity,
        flood,
        rounds,
        ..
    } = stage.size;
    println!();
    println!(
        "fresh addresses only, {capacity} subjects fit; nanoseconds of the gate's whole call:"
    );
    println!(
        "{:<36} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "half", "99.9 %", "99.99 %", "longest", "ever", "left out"
    );
    let crowd = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| request(&stage.crowd, COUNTED, address(number)))
    };
    let mut off = Vec::new();
    for _ in 0..rounds {
        let mut case = stage.case(0, Limits::off());
        off.push(Times::of(crowd(0..flood), &mut case.gate));
    }
    print_times("off: nobody counts", &off);
    for (algorithm, limits) in algorithms() {
        let (mut filling, mut full, mut turnover) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut case = stage.case(0, limits().capacity(capacity));
            filling.push(Times::of(crowd(0..capacity), &mut case.gate));
            // Two networks may have one share, so that the last few places stay empty.
            let nearly = capacity * 98 / 100..=capacity;
            assert!(nearly.contains(&case.handle.stats().limiter_subjects));
            let fresh = capacity..capacity + flood;
            full.push(Times::of(crowd(fresh.clone()), &mut case.gate));
            assert!(nearly.contains(&case.handle.stats().limiter_subjects));
            stage.clock.advance(Duration::from_secs(120));
            let fresher = fresh.end..fresh.end + capacity;
            turnover.push(Times::of(crowd(fresher), &mut case.gate));
        }
        print_times(&format!("{algorithm}: filling"), &filling);
        print_times(&format!("{algorithm}: full, nothing at rest"), &full);
        print_times(&format!("{algorithm}: full, everything at rest"), &turnover);
    }
    println!();
}

fn checks(c: &mut Criterion) {
    let stage = Stage::set();
    let _guard = stage.runtime.enter();
    bytes_a_subject(&stage);
    flood(&stage);

    let mut group = c.benchmark_group("limits");
    let off: Counting = ("off", Limits::off);
    for (algorithm, limits) in [off].into_iter().chain(algorithms()) {
        for (place, mode) in MODES.iter().enumerate() {
            for wanted in &stage.size.subjects {
                let mut case = stage.case(place, limits());
                let subjects = case.callers.subjects(*wanted);
                case.fill(subjects);
                // The rest of a large limiter is filled by others.
                for number in subjects..*wanted {
                    let other = request(&stage.crowd, COUNTED, address(number));
                    call(&mut case.gate, other);
                }
                let name = format!("{algorithm}/{mode}/{wanted} subjects");
                let Case {
                    mut gate, callers, ..
                } = case;
                let mut number = 0_usize;
                group.bench_function(name, |b| {
                    b.iter_batched(
                        || {
                            // All over the place, so that no subject is in the processor's cache.
                            number = number.wrapping_add(0x9e37_79b1);
                            callers.request(number % subjects)
                        },
                        |request| call(&mut gate, request),
                        BatchSize::SmallInput,
                    );
                });
            }
        }
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(20)
}

criterion_group! {
    name = benches;
    config = short();
    targets = checks
}
criterion_main!(benches);
