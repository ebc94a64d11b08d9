//! `docs/performance.md`, whole.

use std::fmt::Write as _;

use super::figures::{Counted, Figures, Result};
use super::machine::Machine;
use super::targets::{
    self, BARE, HEADERS, HIT, HIT_WITHOUT_HEADERS, PARTS, over_bare, spaced, sum_of_parts,
};

/// Written by hand.
const TRIED: &str = include_str!("tried.md");

/// The headings, in order.
pub(crate) const HEADINGS: [&str; 13] = [
    "## Targets",
    "## A hit, part by part",
    "## Every case",
    "## Cold caches",
    "## Many keys",
    "## Two threads",
    "## A miss",
    "## Other middleware",
    "## Whole servers",
    "## Beside what a user would write",
    "## Many unknown keys at once",
    "## Instructions",
    "## What was tried",
];

pub(crate) fn write(figures: &Figures, machine: &Machine) -> Result<String> {
    let [
        targets,
        parts,
        cases,
        caches,
        keys,
        threads,
        miss,
        peers,
        servers,
        stack,
        bursts,
        instructions,
        tried,
    ] = HEADINGS;
    let sections = [
        (targets, targets_section(figures)?),
        (parts, parts_section(figures)?),
        (cases, cases_section(figures)?),
        (caches, caches_section(figures)?),
        (keys, keys_section(figures)?),
        (threads, threads_section(figures)?),
        (miss, miss_section(figures)?),
        (peers, peers_section(figures)?),
        (servers, servers_section(figures)?),
        (stack, stack_section(figures)?),
        (bursts, bursts_section(figures)?),
        (instructions, instructions_section(figures)?),
        (tried, TRIED.to_owned()),
    ];
    let mut document = head(machine)?;
    for (heading, text) in sections {
        write!(document, "\n{heading}\n\n{}\n", text.trim_end())?;
    }
    Ok(document)
}

fn head(machine: &Machine) -> Result<String> {
    let Machine {
        processor,
        cores,
        kernel,
        rustc,
        crates,
    } = machine;
    let mut crates_line = String::new();
    for (place, (name, version)) in crates.iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        write!(crates_line, "{comma}{name} {version}")?;
    }
    Ok(format!(
        "# Performance

What the gate costs, measured by the benches of this crate on one machine in one run, and written
here by

```sh
cargo run --release -p benches
```

| | |
|---|---|
| processor | {processor}, {cores} cores |
| system | {kernel} |
| compiler | {rustc} |
| crates | {crates_line} |

Times are medians. Compare figures of one run: single times say more about the machine.
"
    ))
}

fn targets_section(figures: &Figures) -> Result<String> {
    let table = targets::table(figures)?;
    Ok(format!(
        "A *hit* is a request whose key the gate knows to be good; it is passed on within the call. A
refusal is held against a hit as whole calls, because it never reaches the service.

{table}"
    ))
}

fn parts_section(figures: &Figures) -> Result<String> {
    let mut table = String::from("| part | ns |\n|---|---|\n");
    for (part, words) in PARTS.iter().chain([&HEADERS]) {
        let time = figures.time(&format!("parts/{part}"))?;
        writeln!(table, "| {words} | {time:.0} |")?;
    }
    for (words, id, with_headers) in [
        ("without headers", HIT_WITHOUT_HEADERS, false),
        ("with headers", HIT, true),
    ] {
        let sum = sum_of_parts(figures, with_headers)?;
        let hit = over_bare(figures, id)?;
        writeln!(table, "| **sum, {words}** | {sum:.0} |")?;
        writeln!(
            table,
            "| **hit over the bare service, {words}** | {hit:.0} |"
        )?;
    }
    let bare = figures.time(BARE)?;
    Ok(format!(
        "What a hit cannot do without, each part by itself, straight from the crate that does it, with one
key known. A gate with few keys does better than one of them: it finds most verdicts before it asks moka
(see \"What was tried\"). The bare service, to which the gate adds, takes {bare:.0} ns: it drops the request and makes
an empty answer.

{table}
![A hit by part](charts/hit.svg)"
    ))
}

fn cases_section(figures: &Figures) -> Result<String> {
    let mut table = String::from(
        "| case | ns | over bare | allocations of `http` | ours |\n|---|---|---|---|---|\n",
    );
    for row in &figures.allocations {
        let time = figures.time(&format!("gate/{}", row.name))?;
        let bare = match row.name.contains("_ip,") {
            true => figures.time("gate/bare inner service, with an address")?,
            false => figures.time(BARE)?,
        };
        let (name, over, http, ours) = (&row.name, time - bare, row.http, row.ours);
        writeln!(
            table,
            "| {name} | {time:.0} | {over:.0} | {http} | {ours} |"
        )?;
    }
    Ok(format!(
        "Every way through the gate that waits for nobody. A hit has one rule per key and the draft's header
fields, where its name does not say otherwise. `http` allocates for the first insert into the
extensions and for the fields of the answer. Requests with an address carry it in their extensions and
are held against the same before the bare service.

{table}"
    ))
}

fn caches_section(figures: &Figures) -> Result<String> {
    let mut times = String::from(
        "| over the bare service, ns | warm | cold | before: warm | cold |\n|---|---|---|---|---|\n",
    );
    for row in &figures.caches {
        let (name, warm, cold) = (&row.name, row.warm, row.cold);
        write!(times, "| {name} | {warm:.0} | {cold:.0} |")?;
        match row.earlier {
            Some([warm, cold]) => writeln!(times, " {warm:.0} | {cold:.0} |")?,
            None => writeln!(times, " | |")?,
        }
    }
    let lines = counted_table("cache lines", &figures.lines)?;
    Ok(format!(
        "In a server the caches hold little of the gate when a request comes. *Cold* is a request before which
a buffer of four times the second-level cache was read; *warm* are many requests in a row. The bare
service is shown as it is, and taken off the others. \"Before\" is an earlier build, where one took
turns with this one.

{times}
What a hit costs then goes by the places that it touches: distinct lines of 64 bytes of data, on the
heap or static, without the stack, counted from a trace of all accesses (how, is told in the head of
`benches/calls/lines.rs`; `cargo bench -p benches --bench lines`). The bench also tells how many of them are
static, how many are written, and by which functions they are touched first.

{lines}"
    ))
}

fn keys_section(figures: &Figures) -> Result<String> {
    let mut table = String::from(
        "| known keys | hit, one rule, 1 000 in use | hit, one rule | hit, no rule matches | moka get alone |\n\
         |---|---|---|---|---|\n",
    );
    for keys in [1_000, 100_000, 1_000_000] {
        write!(table, "| {} |", spaced(f64::from(keys)))?;
        for name in super::charts::OF_KEYS {
            let time = figures.time(&format!("keys/{name}, {keys} keys"))?;
            write!(table, " {time:.0} ns |")?;
        }
        table.push('\n');
    }
    let mut memory = String::from(
        "| known keys | heap, bytes a key | with a counter | resident, bytes a key | with a counter |\n\
         |---|---|---|---|---|\n",
    );
    for row in &figures.memory {
        let keys = spaced(row.keys as f64);
        let (heap, resident) = (row.heap, row.resident);
        let (heap_both, resident_both) = (row.heap_with_counter, row.resident_with_counter);
        writeln!(
            memory,
            "| {keys} | {heap:.0} | {heap_both:.0} | {resident:.0} | {resident_both:.0} |"
        )?;
    }
    Ok(format!(
        "Keys come in random order. Where all of them do, the processor's caches miss as often as they can: a
hit finds its verdict, its counter and its permissions by reading one place of the memory after the other, and
none of them is near.
Where 1 000 of them are in use and the others are only known, they do not. \"moka get alone\" is a cache
of entries as large, walked in random order in the same run.

{table}
![Time by known keys](charts/keys.svg)

What a gate takes that learns so many keys with four permissions each, and then counts each of them: of
the heap, as allocated, and of the memory that the system calls resident, which contains what the
allocator rounds up and cannot give back:

{memory}"
    ))
}

fn threads_section(figures: &Figures) -> Result<String> {
    let mut table =
        String::from("| | one thread, calls a second | two threads | ratio |\n|---|---|---|---|\n");
    for row in &figures.threads {
        let (name, ratio) = (&row.name, row.ratio);
        let (one, two) = (spaced(row.one), spaced(row.two));
        writeln!(table, "| {name} | {one} | {two} | {ratio:.2} |")?;
    }
    Ok(format!(
        "Each thread has its own clone of the gate. \"SHA-256 alone\" shares nothing and \"bare inner service\"
only the allocator: they show what a second thread brings on this machine. \"moka get alone\" finds
distinct keys in one cache. Those of axum go through a router, which clones its services for each
request.

{table}
![Calls a second by threads](charts/threads.svg)"
    ))
}

fn miss_section(figures: &Figures) -> Result<String> {
    let miss = figures.time("gate/miss")? / 1_000.0;
    Ok(format!(
        "A key that was not known, of an app whose limits are known, with a gateway on loopback that answers
at once: {miss:.0} µs. That is a round trip and the threads it wakes, so it is held against nothing."
    ))
}

fn peers_section(figures: &Figures) -> Result<String> {
    let ours = figures.time("peers/wacht-auth")?;
    let bare = figures.time("peers/bare inner service")?;
    let mut table =
        String::from("| | ns | over bare | whole call, times wacht-auth |\n|---|---|---|---|\n");
    for (name, time) in figures.group("peers") {
        let (over, ratio) = (spaced(time - bare), time / ours);
        let time = spaced(time);
        writeln!(table, "| {name} | {time} | {over} | {ratio:.2} |")?;
    }
    Ok(format!(
        "One admitted request through what else could stand there. What each of them does and does not do, and
how it is configured, is told in the head of `benches/peers.rs`.

{table}
![Other middleware](charts/peers.svg)"
    ))
}

fn servers_section(figures: &Figures) -> Result<String> {
    let mut rows = String::from(
        "| | requests a second | p50 µs | p99 µs | CPU µs a request |\n|---|---|---|---|---|\n",
    );
    let mut ratios =
        String::from("| | against | requests a second | p50 | p99 |\n|---|---|---|---|---|\n");
    for row in &figures.throughput.rows {
        let (name, p50, p99) = (&row.name, row.p50_us, row.p99_us);
        let rate = spaced(row.requests_per_second);
        let cpu = row
            .cpu_us_per_request
            .map_or_else(|| "not known".to_owned(), |cpu| format!("{cpu:.1}"));
        writeln!(rows, "| {name} | {rate} | {p50:.0} | {p99:.0} | {cpu} |")?;
        if let Some(against) = &row.against {
            let (other, rate) = (&against.other, against.rps_ratio);
            let (p50, p99) = (against.p50_ratio, against.p99_ratio);
            writeln!(
                ratios,
                "| {name} | {other} | {rate:.3} × | {p50:.3} × | {p99:.3} × |"
            )?;
        }
    }
    let cold = &figures.throughput.cold;
    let (first, trips, over) = (cold.first_request_us, cold.round_trips_us, cold.over_us);
    Ok(format!(
        "A server in a process of its own, over loopback, under a load client in another.

{rows}
The same as ratios, each the median of what the rounds say:

{ratios}
The first request of a cold key, whose app is cold too, takes {first:.0} µs; its two calls by themselves, to
the gateway and to the management API, take {trips:.0} µs; the median of the differences is {over:.0} µs."
    ))
}

fn stack_section(figures: &Figures) -> Result<String> {
    let mut table = String::from(
        "| | own CPU µs | added | added, with the system's | requests a second | times | p99 µs |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut manner = "";
    let others = figures.stack.iter().map(|row| row.others);
    let others = others.fold(0.0, f64::max);
    for row in &figures.stack {
        if row.manner != manner {
            manner = &row.manner;
            writeln!(table, "| **{manner}** | | | | | | |")?;
        }
        let (name, user, added) = (&row.name, row.user_us, row.user_us_added);
        let (cpu, rate) = (row.cpu_us_added, spaced(row.requests_per_second));
        let (ratio, p99) = (row.rps_ratio, row.p99_us);
        writeln!(
            table,
            "| {name} | {user:.2} | {added:.2} | {cpu:.2} | {rate} | {ratio:.3} × | {p99:.0} |"
        )?;
    }
    Ok(format!(
        "axum servers of one thread, under a load client of one thread in a process of its own. \"Authorization by
a hash map\" is tower-http's `AsyncRequireAuthorizationLayer` with the SHA-256 of the key and a map of
the standard library; with `tower_governor` by key and its header fields it is the stack that a user
would write, and what the requests a second are held against. It shares nothing, revokes nothing and
never forgets a key. A thousand keys take turns. \"Own CPU\" is what a request costs the server in its own
code, and \"added\" what that is over the bare server in the same round. Other programs used up to
{others:.2} processors meanwhile.

{table}
![What a request costs a server](charts/stack.svg)"
    ))
}

fn bursts_section(figures: &Figures) -> Result<String> {
    let mut table = String::from(
        "| | checks alone, ms | p50 ms | p99 ms | p99, times the checks alone | refused |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut keys = 0;
    for row in &figures.bursts {
        keys = row.keys;
        let (delay, alone, ratio) = (row.delay_ms, row.checks_alone_ms, row.ratio);
        let (p50, p99, refused) = (row.p50_ms, row.p99_ms, row.refused);
        writeln!(
            table,
            "| a check takes {delay} ms | {alone:.0} | {p50:.0} | {p99:.0} | {ratio:.2} × | {refused} |"
        )?;
    }
    let keys = spaced(keys as f64);
    Ok(format!(
        "{keys} good keys, none of them known, are sent to a server that has just started, all at once over 64
connections of HTTP/2. \"Checks alone\" is how long a plain client with 64 connections takes for as many
checks at the same gateway, which answers at once or after some milliseconds. Server, gateway and load
share the processors.

{table}"
    ))
}

fn counted_table(what: &str, rows: &[Counted]) -> Result<String> {
    let mut table = format!("| | {what} | kept |\n|---|---|---|\n");
    for row in rows {
        let kept = row
            .kept
            .map_or_else(|| "none".to_owned(), |kept| spaced(kept as f64));
        let counted = spaced(row.counted as f64);
        writeln!(table, "| {} | {counted} | {kept} |", row.name)?;
    }
    Ok(table)
}

fn instructions_section(figures: &Figures) -> Result<String> {
    let table = counted_table("instructions", &figures.instructions)?;
    Ok(format!(
        "Counted by callgrind, which does not depend on what else the machine does; `cargo bench -p benches
--bench instructions`. \"Kept\" is the figure in the repository that a change is held against.

{table}"
    ))
}
