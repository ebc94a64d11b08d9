//! How much of everything this run measures, and where its figures go.

use std::env;
use std::fs;

use serde_json::Value;

pub(crate) struct Run {
    /// `-- --test`: everything once.
    pub(crate) is_short: bool,
    filter: Option<String>,
}

impl Run {
    pub(crate) fn of(arguments: &[String]) -> Self {
        Self {
            is_short: arguments.iter().any(|argument| argument == "--test"),
            filter: arguments
                .iter()
                .find(|argument| !argument.starts_with('-'))
                .cloned(),
        }
    }

    /// Whether the group or table of this name is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let filter = self.filter.as_deref();
        filter.is_none_or(|filter| filter.starts_with(name))
    }

    /// How many keys the gate knows, from step to step.
    pub(crate) fn populations(&self) -> &'static [u64] {
        match self.is_short {
            true => &[1_000, 2_000],
            false => &[1_000, 100_000, 1_000_000],
        }
    }

    /// Leaves the figures in the target directory, for a program to read.
    pub(crate) fn keep(&self, name: &str, figures: &Value) {
        // <target>/release/deps/gate-…
        let program = env::current_exe().unwrap();
        let directory = program.ancestors().nth(3).unwrap().join("bench");
        let name = match self.is_short {
            true => format!("{name}-short.json"),
            false => format!("{name}.json"),
        };
        fs::create_dir_all(&directory).unwrap();
        let text = serde_json::to_vec_pretty(figures).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }
}
