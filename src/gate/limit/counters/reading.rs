//! What a counter is told, the time, and what it answers: how much is left.

use std::time::Duration;

use crate::clock::Now;

/// A point on the monotonic clock, in nanoseconds; none is after [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// One reading of both clocks, as counters take it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) monotonic: Moment,
    pub(crate) unix: Duration,
}

/// What a counter has left at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Requests that may pass at once.
    pub(crate) remaining: u32,
    /// Time until one more may pass; zero when nothing is used.
    pub(crate) more_in: Duration,
}

// === impl Moment ===

impl From<Now> for Moment {
    fn from(now: Now) -> Self {
        let nanos = u64::try_from(now.monotonic.as_nanos()).unwrap_or(LONGEST);
        Self(nanos.min(LONGEST))
    }
}

// === impl Reading ===

impl From<Now> for Reading {
    fn from(now: Now) -> Self {
        Self {
            monotonic: now.into(),
            unix: now.unix,
        }
    }
}

/// About 146 years. governor adds three of these at most, and panics on overflow.
pub(crate) const LONGEST: u64 = 1 << 62;
