//! What the benches have measured, as they and criterion leave it in the target directory.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A figure that is missing names the bench that makes it.
pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Of the ways in which requests are sent to a server of one thread, the one that targets are for.
pub(crate) const COMMON_MANNER: &str = "HTTP/1.1, 64 connections";

pub(crate) struct Figures {
    /// Medians in nanoseconds, by `group/name`.
    times: BTreeMap<String, f64>,
    pub(crate) allocations: Vec<Allocations>,
    pub(crate) threads: Vec<Threads>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) throughput: Throughput,
    pub(crate) stack: Vec<Stack>,
    pub(crate) bursts: Vec<Burst>,
    pub(crate) caches: Vec<Caches>,
    pub(crate) instructions: Vec<Counted>,
    pub(crate) lines: Vec<Counted>,
}

/// Of one call of the gate.
#[derive(Deserialize)]
pub(crate) struct Allocations {
    pub(crate) name: String,
    pub(crate) http: u64,
    pub(crate) ours: u64,
}

/// Calls a second.
#[derive(Deserialize)]
pub(crate) struct Threads {
    pub(crate) name: String,
    pub(crate) one: f64,
    pub(crate) two: f64,
    pub(crate) ratio: f64,
}

/// Bytes a key.
#[derive(Deserialize)]
pub(crate) struct Memory {
    pub(crate) keys: u64,
    pub(crate) heap: f64,
    pub(crate) heap_with_counter: f64,
    pub(crate) resident: f64,
    pub(crate) resident_with_counter: f64,
}

#[derive(Deserialize)]
pub(crate) struct Throughput {
    pub(crate) rows: Vec<Server>,
    pub(crate) cold: Cold,
}

/// A server as its load client saw it.
#[derive(Deserialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us_per_request: Option<f64>,
    #[serde(flatten)]
    pub(crate) against: Option<Against>,
}

#[derive(Deserialize)]
pub(crate) struct Against {
    #[serde(rename = "ratio_to")]
    pub(crate) other: String,
    pub(crate) rps_ratio: f64,
    pub(crate) p50_ratio: f64,
    pub(crate) p99_ratio: f64,
}

/// A server of one thread, by the way requests are sent to it.
#[derive(Deserialize)]
pub(crate) struct Stack {
    pub(crate) manner: String,
    pub(crate) name: String,
    pub(crate) requests_per_second: f64,
    pub(crate) p99_us: f64,
    pub(crate) user_us: f64,
    pub(crate) user_us_added: f64,
    pub(crate) cpu_us_added: f64,
    /// Requests a second against what a user would write.
    pub(crate) rps_ratio: f64,
    /// Processors that other programs used meanwhile.
    pub(crate) others: f64,
}

/// Keys that nobody knows, all at once.
#[derive(Deserialize)]
pub(crate) struct Burst {
    pub(crate) delay_ms: u64,
    pub(crate) keys: u64,
    pub(crate) checks_alone_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) ratio: f64,
    pub(crate) refused: u64,
}

/// Nanoseconds over the bare service; of it, its own.
#[derive(Deserialize)]
pub(crate) struct Caches {
    pub(crate) name: String,
    pub(crate) warm: f64,
    pub(crate) cold: f64,
    /// Both, of an earlier build in the same run.
    pub(crate) earlier: Option<[f64; 2]>,
}

/// The first request of a key, in microseconds, and the two calls it needs, by themselves.
#[derive(Deserialize)]
pub(crate) struct Cold {
    pub(crate) first_request_us: f64,
    pub(crate) round_trips_us: f64,
    pub(crate) over_us: f64,
}

#[derive(Deserialize)]
pub(crate) struct Counted {
    pub(crate) name: String,
    pub(crate) counted: u64,
    pub(crate) kept: Option<u64>,
}

#[derive(Deserialize)]
struct Rows<T> {
    rows: Vec<T>,
}

#[derive(Deserialize)]
struct OfGate {
    threads: Vec<Threads>,
}

#[derive(Deserialize)]
struct OfAllocations {
    rows: Vec<Allocations>,
    memory: Vec<Memory>,
}

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

impl Figures {
    pub(crate) fn read(target: &Path) -> Result<Self> {
        let mut times = BTreeMap::new();
        for group in super::GROUPS {
            let directory = target.join("criterion").join(group);
            read_group(&directory, group, &mut times)
                .map_err(|why| format!("{}: {why}; {}", directory.display(), run(group)))?;
        }
        let OfGate { threads } = read_json(target, "gate")?;
        let OfAllocations { rows, memory } = read_json(target, "allocations")?;
        let stack: Rows<Stack> = read_json(target, "stack")?;
        let bursts: Rows<Burst> = read_json(target, "burst")?;
        let caches: Rows<Caches> = read_json(target, "caches")?;
        let instructions: Rows<Counted> = read_json(target, "instructions")?;
        let lines: Rows<Counted> = read_json(target, "lines")?;
        Ok(Self {
            times,
            allocations: rows,
            threads,
            memory,
            throughput: read_json(target, "throughput")?,
            stack: stack.rows,
            bursts: bursts.rows,
            caches: caches.rows,
            instructions: instructions.rows,
            lines: lines.rows,
        })
    }

    /// The median time of `group/name`, in nanoseconds.
    pub(crate) fn time(&self, id: &str) -> Result<f64> {
        let bench = match id.split_once('/') {
            Some(("peers", _)) => "peers",
            _ => "gate",
        };
        let time = self.times.get(id).copied();
        time.ok_or_else(|| format!("no figure for {id}; {}", run(bench)).into())
    }

    /// The members of a group with their times, the fastest first.
    pub(crate) fn group(&self, group: &str) -> Vec<(&str, f64)> {
        let mut members: Vec<(&str, f64)> = self
            .times
            .iter()
            .filter_map(|(id, time)| {
                let name = id.strip_prefix(group)?.strip_prefix('/')?;
                Some((name, *time))
            })
            .collect();
        members.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        members
    }

    pub(crate) fn allocations(&self, name: &str) -> Result<&Allocations> {
        let mut rows = self.allocations.iter();
        let row = rows.find(|row| row.name == name);
        row.ok_or_else(|| format!("no allocations for {name}; {}", run("allocations")).into())
    }

    pub(crate) fn threads(&self, name: &str) -> Result<&Threads> {
        let row = self.threads.iter().find(|row| row.name == name);
        row.ok_or_else(|| format!("no threads for {name}; {}", run("gate")).into())
    }

    /// A server of one thread, under HTTP/1.1 over 64 connections.
    pub(crate) fn stack(&self, name: &str) -> Result<&Stack> {
        let mut rows = self.stack.iter();
        let row = rows.find(|row| row.manner == COMMON_MANNER && row.name == name);
        row.ok_or_else(|| format!("no server called {name}; {}", run("stack")).into())
    }

    pub(crate) fn caches(&self, name: &str) -> Result<&Caches> {
        let row = self.caches.iter().find(|row| row.name == name);
        row.ok_or_else(|| format!("no case called {name}; {}", run("caches")).into())
    }

    /// The cache lines of a case, those of the bare service taken off.
    pub(crate) fn lines_over_bare(&self, name: &str) -> Result<u64> {
        let of = |wanted: &str| {
            let row = self.lines.iter().find(|row| row.name == wanted);
            row.map(|row| row.counted)
                .ok_or_else(|| format!("no lines of {wanted}; {}", run("lines")))
        };
        Ok(of(name)?.saturating_sub(of("bare inner service")?))
    }

    pub(crate) fn server(&self, name: &str) -> Result<&Server> {
        let row = self.throughput.rows.iter().find(|row| row.name == name);
        row.ok_or_else(|| format!("no server called {name}; {}", run("throughput")).into())
    }
}

impl Server {
    pub(crate) fn against(&self, other: &str) -> Result<&Against> {
        let against = self.against.as_ref();
        let against = against.filter(|against| against.other == other);
        against.ok_or_else(|| {
            let missing = format!("{} is not held against {other}", self.name);
            format!("{missing}; {}", run("throughput")).into()
        })
    }
}

fn read_group(directory: &Path, group: &str, into: &mut BTreeMap<String, f64>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let latest = entry?.path().join("new");
        if !latest.is_dir() {
            continue;
        }
        let benchmark: Benchmark = parse(&latest.join("benchmark.json"))?;
        let estimates: Estimates = parse(&latest.join("estimates.json"))?;
        if benchmark.group_id == group {
            into.insert(benchmark.full_id, estimates.median.point_estimate);
        }
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(target: &Path, bench: &str) -> Result<T> {
    let path = target.join("bench").join(format!("{bench}.json"));
    parse(&path).map_err(|why| format!("{}: {why}; {}", path.display(), run(bench)).into())
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn run(bench: &str) -> String {
    let bench = match bench {
        "parts" | "keys" => "gate",
        "stack" | "burst" => "throughput",
        other => other,
    };
    format!("run `cargo bench -p benches --bench {bench}`")
}
