//! What this shows: what the gate costs on this machine, as tables and charts in
//! `docs/performance.md` and `docs/charts/`.
//!
//! ```sh
//! cargo run --release -p benches                     # runs the benches: some minutes
//! cargo run --release -p benches -- --from-last-run  # with the figures there are
//! cargo run -p benches -- --self-test                # into a directory that is removed
//! ```
//!
//! Where `caches` and `throughput` were last run with `--against` an earlier build (see there), the
//! document holds this state against that one.
//!
//! Nothing else should run meanwhile. The whole document is made here, but for what was tried:
//! that is written by hand, in `tried.md` beside this file.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod charts;
mod document;
mod figures;
mod machine;
mod self_test;
mod svg;
mod targets;

use figures::Figures;
use machine::Machine;

const BENCHES: [&str; 7] = [
    "gate",
    "allocations",
    "caches",
    "peers",
    "throughput",
    "instructions",
    "lines",
];
/// The groups of criterion that are read.
const GROUPS: [&str; 4] = ["gate", "parts", "keys", "peers"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // This package is a directory of the repository.
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match arguments.first().map(String::as_str) {
        None => {
            run_benches(&target_dir()?)?;
            report(root)
        }
        Some("--from-last-run") => report(root),
        Some("--self-test") => self_test::run(root),
        Some(other) => Err(format!("there is no option {other}; see the head of this file").into()),
    }
}

/// <target>/release/bench_report
fn target_dir() -> Result<PathBuf, Box<dyn Error>> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2);
    Ok(target.ok_or("not run by cargo")?.to_owned())
}

fn run_benches(target: &Path) -> Result<(), Box<dyn Error>> {
    // What an earlier version measured under another name would be taken for this one's.
    for old in GROUPS.map(|group| target.join("criterion").join(group)) {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for bench in BENCHES {
        println!("cargo bench -p benches --bench {bench}");
        let ended = Command::new(&cargo)
            .args(["bench", "--bench", bench])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()?;
        if !ended.success() {
            return Err(format!("cargo bench -p benches --bench {bench}: {ended}").into());
        }
    }
    Ok(())
}

fn report(root: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let figures = Figures::read(&target_dir()?)?;
    let machine = Machine::this_one(root)?;
    write(&figures, &machine, &root.join("docs"))?;
    print!("{}", targets::table(&figures)?);
    println!("written: docs/performance.md and docs/charts/");
    Ok(ExitCode::SUCCESS)
}

fn write(figures: &Figures, machine: &Machine, docs: &Path) -> Result<(), Box<dyn Error>> {
    let charts = docs.join("charts");
    fs::create_dir_all(&charts)?;
    for (name, chart) in charts::all(figures)? {
        fs::write(charts.join(format!("{name}.svg")), chart)?;
    }
    fs::write(
        docs.join("performance.md"),
        document::write(figures, machine)?,
    )?;
    Ok(())
}
