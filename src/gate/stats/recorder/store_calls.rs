//! How long calls of a store took.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Histogram, Unit, with_recorder};

use super::histogram;
use super::store::{ANSWERED, FAILED, RESULT};

const CALL_DURATION: &str = "wacht_auth.store.call.duration";

/// The time of each call of a store, told when it is over. Of the store, not of its gates, which may
/// be several.
#[derive(Default)]
pub(crate) struct StoreCalls(OnceLock<CallHandles>);

pub(super) struct CallHandles {
    answered: Histogram,
    failed: Histogram,
}

impl StoreCalls {
    pub(crate) fn answered(&self, took: Duration) {
        self.handles().answered.record(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, took: Duration) {
        self.handles().failed.record(took.as_secs_f64());
    }

    fn handles(&self) -> &CallHandles {
        self.0.get_or_init(CallHandles::new)
    }
}

impl CallHandles {
    pub(super) fn new() -> Self {
        with_recorder(|recorder| {
            let description = "How long calls of the store that replicas share took, by result.";
            let unit = Some(Unit::Seconds);
            recorder.describe_histogram(CALL_DURATION.into(), unit, description.into());
        });
        Self {
            answered: histogram(CALL_DURATION, &[(RESULT, ANSWERED)]),
            failed: histogram(CALL_DURATION, &[(RESULT, FAILED)]),
        }
    }
}
