//! Figures that are kept in the repository, so that a change can be held against them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::cases::BARE;

/// What is counted of each case, and how far it may grow before somebody has to say that it is
/// meant to.
pub(crate) struct Kept {
    /// The name of the bench, of the file `<name>.txt` in `benches/`, and of the one that goes to
    /// the report.
    pub(crate) name: &'static str,
    pub(crate) may_grow_to: fn(u64) -> u64,
}

/// A case and its figure.
pub(crate) type Counted = (String, u64);

impl Kept {
    /// Compares, or with `-- --keep` writes the figures down anew, which is for changes that are
    /// meant to cost what they cost.
    pub(crate) fn judge(&self, counted: &[Counted]) -> ExitCode {
        let kept = if env::args().any(|argument| argument == "--keep") {
            self.write(counted);
            counted.to_vec()
        } else {
            self.read()
        };
        self.write_json(counted, &kept);
        self.report(counted, &kept)
    }

    fn path(&self) -> PathBuf {
        let benches = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        benches.join(self.name).with_extension("txt")
    }

    fn write(&self, counted: &[Counted]) {
        let mut text = String::new();
        for (name, figure) in counted {
            writeln!(text, "{figure:>6}  {name}").unwrap();
        }
        fs::write(self.path(), text).unwrap();
        println!("kept in benches/{}.txt", self.name);
    }

    fn read(&self) -> Vec<Counted> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.trim().split_once("  "))
            .map(|(figure, name)| (name.to_owned(), figure.parse().unwrap()))
            .collect()
    }

    fn report(&self, counted: &[Counted], kept: &[Counted]) -> ExitCode {
        let bare = find(counted, BARE).unwrap();
        let mut exit = ExitCode::SUCCESS;
        println!("{} per call", self.name);
        println!(
            "{:<28} {:>7} {:>10} {:>7} {:>7}",
            "", "all", "over bare", "kept", "change"
        );
        for (name, figure) in counted {
            let over = figure.saturating_sub(bare);
            let Some(before) = find(kept, name) else {
                println!("{name:<28} {figure:>7} {over:>10}    none");
                println!("  no figure is kept: run with `-- --keep`");
                exit = ExitCode::FAILURE;
                continue;
            };
            let change = 100.0 * (*figure as f64 / before as f64 - 1.0);
            println!("{name:<28} {figure:>7} {over:>10} {before:>7} {change:>+6.1}%");
            if *figure > (self.may_grow_to)(before) {
                println!("  more than it may grow: if that is meant, run with `-- --keep`");
                exit = ExitCode::FAILURE;
            } else if (self.may_grow_to)(*figure) < before {
                println!("  less than kept: run with `-- --keep`, so that it stays so");
            }
        }
        exit
    }

    /// For the report that the benches make together.
    fn write_json(&self, counted: &[Counted], kept: &[Counted]) {
        let rows: Vec<_> = counted
            .iter()
            .map(|(name, figure)| {
                serde_json::json!({
                    "name": name,
                    "counted": figure,
                    "kept": find(kept, name),
                })
            })
            .collect();
        let folder = target_dir().join("bench");
        fs::create_dir_all(&folder).unwrap();
        let text = serde_json::json!({ "rows": rows }).to_string();
        fs::write(folder.join(format!("{}.json", self.name)), text).unwrap();
    }
}

pub(crate) fn find(figures: &[Counted], name: &str) -> Option<u64> {
    let (_, figure) = figures.iter().find(|(other, _)| other == name)?;
    Some(*figure)
}

pub(crate) fn target_dir() -> PathBuf {
    // <target>/release/deps/instructions-…
    let program = env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}
