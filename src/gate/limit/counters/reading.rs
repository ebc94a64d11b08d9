//! What a counter is told, the time, and what it answers: how much is left.

use std::time::Duration;

use crate::clock::{Now, nanoseconds};

/// A point on the monotonic clock, in nanoseconds; none is after [`LONGEST`](crate::clock::LONGEST).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// One reading of both clocks, as counters take it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    pub(crate) monotonic: Moment,
    /// Never after [`LATEST`].
    pub(crate) unix: Duration,
}

/// What a counter has left at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Units that may be charged at once.
    pub(crate) remaining: u32,
    /// Time until there is more; zero when nothing is used. Where there never is any, a window.
    pub(crate) more_in: Duration,
}

/// The wait of a request that costs more than its rule ever admits at once.
pub(crate) const NEVER: Duration = Duration::MAX;

// === impl Moment ===

impl Moment {
    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(span)))
    }
}

impl From<Now> for Moment {
    fn from(now: Now) -> Self {
        Self(nanoseconds(now.monotonic))
    }
}

// === impl ClockReading ===

impl From<Now> for ClockReading {
    fn from(now: Now) -> Self {
        Self {
            monotonic: now.into(),
            unix: now.unix.min(LATEST),
        }
    }
}

/// Later than any calendar goes, and early enough that days and months after it have an end.
const LATEST: Duration = Duration::from_secs(1 << 62);
