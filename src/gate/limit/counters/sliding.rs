//! A window that slides: never more than the limit in any window, wherever it begins.
//!
//! A perfect log would hold the moment of every request. This one holds at most [`RUNS`] runs of
//! requests that came close together, and takes a whole run to be as young as its youngest. So it
//! may forget late, which admits a little less, and never early, which would admit more. Up to
//! [`RUNS`] requests a window, every run is one moment, and the log is perfect.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use super::reading::{Level, Moment};
use crate::clock::nanoseconds;

/// How many runs a log holds at most.
pub(crate) const RUNS: u32 = 32;

/// At most `max_requests` in any window of this length.
#[derive(Debug)]
pub(crate) struct SlidingCounter {
    max_requests: u32,
    window: u64,
    /// Requests in the same cell of this many nanoseconds are one run.
    cell: u64,
}

/// What one counter has admitted lately.
///
/// A mutex, because a charge changes several words at once. It is held for a few steps over at
/// most [`RUNS`] runs.
#[derive(Debug, Default)]
pub(crate) struct SlidingState(Mutex<Log>);

#[derive(Clone, Debug, Default)]
struct Log {
    /// Oldest first.
    runs: VecDeque<Run>,
    /// The sum of their counts.
    used: u32,
    /// The latest moment anybody asked at. Who read the clock earlier and came later is taken to
    /// have come then: what was forgotten meanwhile is not known any more.
    latest: u64,
    /// When the last run is forgotten, if nothing is given back.
    idle_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    /// When the last of them was admitted.
    last: u64,
    count: u32,
}

// === impl SlidingCounter ===

impl SlidingCounter {
    pub(crate) fn new(max_requests: u32, window: Duration) -> Self {
        let window = nanoseconds(window).max(1);
        Self {
            max_requests,
            window,
            cell: match max_requests <= RUNS {
                true => 1,
                // A window that begins within a cell reaches into one more.
                false => window.div_ceil(u64::from(RUNS - 1)),
            },
        }
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// Whether a request would pass now, and if not, how long until it would.
    pub(crate) fn look(&self, state: &SlidingState, now: Moment) -> Result<(), Duration> {
        self.room(&self.settled(state, now), now)
    }

    /// Counts one request, and returns what is left and when it was counted.
    pub(crate) fn charge(
        &self,
        state: &SlidingState,
        now: Moment,
    ) -> Result<(Level, Moment), Duration> {
        let mut log = self.settled(state, now);
        self.room(&log, now)?;
        let at = log.latest;
        match log.runs.back_mut() {
            Some(run) if run.last / self.cell == at / self.cell => {
                run.last = at;
                run.count += 1;
            }
            _ => log.runs.push_back(Run { last: at, count: 1 }),
        }
        log.used += 1;
        log.idle_from = at + self.window;
        Ok((self.level_of(&log, now), Moment(at)))
    }

    /// Gives back one charge counted at `charged`.
    pub(crate) fn refund(&self, state: &SlidingState, charged: Moment) {
        let mut log = state.lock();
        let cell = charged.0 / self.cell;
        let found = log
            .runs
            .iter()
            .rposition(|run| run.last / self.cell == cell);
        // None when it has been forgotten by now.
        let Some(place) = found else { return };
        log.used = log.used.saturating_sub(1);
        // Its moment stays that of the youngest, which may be the one given back: too late at
        // most.
        if let Some(run) = log.runs.get_mut(place) {
            run.count = run.count.saturating_sub(1);
            if run.count == 0 {
                log.runs.remove(place);
            }
        }
    }

    pub(crate) fn level(&self, state: &SlidingState, now: Moment) -> Level {
        self.level_of(&self.settled(state, now), now)
    }

    /// The log, without what no window that ends now or later reaches.
    fn settled<'a>(&self, state: &'a SlidingState, now: Moment) -> MutexGuard<'a, Log> {
        let mut log = state.lock();
        log.latest = log.latest.max(now.0);
        while let Some(run) = log.runs.front().copied() {
            if run.last + self.window > log.latest {
                break;
            }
            log.runs.pop_front();
            log.used = log.used.saturating_sub(run.count);
        }
        log
    }

    fn room(&self, log: &Log, now: Moment) -> Result<(), Duration> {
        if log.used < self.max_requests {
            return Ok(());
        }
        Err(self.more_in(log, now))
    }

    fn level_of(&self, log: &Log, now: Moment) -> Level {
        let remaining = self.max_requests.saturating_sub(log.used);
        let nothing_used = log.used == 0 && self.max_requests > 0;
        Level {
            remaining,
            more_in: match nothing_used {
                true => Duration::ZERO,
                false => self.more_in(log, now),
            },
        }
    }

    /// Until the oldest run is forgotten.
    fn more_in(&self, log: &Log, now: Moment) -> Duration {
        let until = match log.runs.front() {
            Some(oldest) => (oldest.last + self.window).saturating_sub(now.0),
            // Nothing was admitted, and nothing ever is.
            None => self.window,
        };
        Duration::from_nanos(until)
    }
}

// === impl SlidingState ===

impl SlidingState {
    /// Whether it says no more than an empty one.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        self.lock().idle_from <= now.0
    }

    /// A log that knows what this one does, and to which nobody comes earlier than `since`.
    pub(crate) fn successor(&self, since: Moment) -> Self {
        let mut log = self.lock().clone();
        log.latest = log.latest.max(since.0);
        Self(Mutex::new(log))
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one log takes at most.
    #[cfg(test)]
    pub(crate) const fn largest() -> usize {
        size_of::<Self>() + RUNS as usize * size_of::<Run>()
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.lock().runs.capacity() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests;
