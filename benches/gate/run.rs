//! How much of everything this run measures.

use std::time::Duration;

use criterion::{BatchSize, Criterion};

/// See the docs of the bench.
pub(crate) const BATCH: BatchSize = BatchSize::NumIterations(32);

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

    pub(crate) fn criterion(&self) -> Criterion {
        Criterion::default()
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(3))
            .configure_from_args()
    }

    /// How many keys the gate knows, from step to step.
    pub(crate) fn populations(&self) -> &'static [u64] {
        match self.is_short {
            true => &[1_000, 2_000],
            false => &[1_000, 100_000, 1_000_000],
        }
    }
}
