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

use super::reading::{Level, Moment, NEVER};
use crate::clock::nanoseconds;

/// How many runs a log holds at most.
pub(crate) const RUNS: u32 = 32;

/// At most `max_requests` units in any window of this length.
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
    /// The sum of their counts: never more than the limit.
    used: u32,
    /// What was booked beyond the limit. What the runs give back pays for it first.
    debt: u32,
    /// The latest moment anybody asked at. Who read the clock earlier and came later is taken to
    /// have come then: what was forgotten meanwhile is not known any more.
    latest: u64,
    /// When the last run is forgotten, if nothing is given back. With a debt, no sooner than that.
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

    /// Nanoseconds after which a log that nobody charges is empty, whatever was owed: a window until
    /// all runs are forgotten, and another for those that pay. Each may be put off within its cell by
    /// one that pays.
    pub(crate) fn idle_after(&self) -> u64 {
        self.window.saturating_add(self.cell).saturating_mul(2)
    }

    /// Whether a request of this cost would pass now, and if not, how long until it would.
    pub(crate) fn look(
        &self,
        state: &SlidingState,
        now: Moment,
        cost: u32,
    ) -> Result<(), Duration> {
        self.room(&self.settled(state, now), now, cost)
    }

    /// Counts one request of this cost, and returns what is left and when it was counted.
    pub(crate) fn charge(
        &self,
        state: &SlidingState,
        now: Moment,
        cost: u32,
    ) -> Result<(Level, Moment), Duration> {
        let mut log = self.settled(state, now);
        self.room(&log, now, cost)?;
        let at = log.latest;
        self.enter(&mut log, at, cost);
        Ok((self.level_of(&log, now), Moment(at)))
    }

    /// Counts so many units, though there may be no room for them. What is owed then is never more
    /// than the limit.
    pub(crate) fn book_debt(&self, state: &SlidingState, now: Moment, units: u32) {
        let mut log = self.settled(state, now);
        log.debt = log.debt.saturating_add(units);
        let at = log.latest;
        self.pay(&mut log, at);
        log.debt = log.debt.min(self.max_requests);
        if log.debt > 0 {
            log.idle_from = at.saturating_add(self.idle_after());
        }
    }

    /// Gives back one charge of this cost counted at `charged`.
    pub(crate) fn refund(&self, state: &SlidingState, charged: Moment, cost: u32) {
        let mut log = state.lock();
        let cell = charged.0 / self.cell;
        let found = log
            .runs
            .iter()
            .rposition(|run| run.last / self.cell == cell);
        // None when it has been forgotten by now.
        let Some(place) = found else { return };
        // Its moment stays that of the youngest, which may be the one given back: too late at
        // most.
        if let Some(run) = log.runs.get_mut(place) {
            let given_back = cost.min(run.count);
            run.count -= given_back;
            if run.count == 0 {
                log.runs.remove(place);
            }
            log.used = log.used.saturating_sub(given_back);
        }
        let at = log.latest;
        self.pay(&mut log, at);
    }

    pub(crate) fn level(&self, state: &SlidingState, now: Moment) -> Level {
        self.level_of(&self.settled(state, now), now)
    }

    /// The log, without what no window that ends now or later reaches.
    fn settled<'a>(&self, state: &'a SlidingState, now: Moment) -> MutexGuard<'a, Log> {
        let mut log = state.lock();
        log.latest = log.latest.max(now.0);
        let until = log.latest;
        while self.forget_oldest(&mut log, until).is_some() {}
        log
    }

    /// Forgets the oldest run, if no window that ends at `until` or later reaches it, and returns
    /// when that was so. What it gives back pays for a debt at that moment.
    fn forget_oldest(&self, log: &mut Log, until: u64) -> Option<u64> {
        let at = log.runs.front()?.last.saturating_add(self.window);
        if at > until {
            return None;
        }
        let oldest = log.runs.pop_front()?;
        log.used = log.used.saturating_sub(oldest.count);
        self.pay(log, at);
        Some(at)
    }

    /// Pays for the debt with the room there is.
    fn pay(&self, log: &mut Log, at: u64) {
        let paid = log.debt.min(self.max_requests.saturating_sub(log.used));
        if paid > 0 {
            log.debt -= paid;
            self.enter(log, at, paid);
        }
    }

    /// No run is younger than `at`.
    fn enter(&self, log: &mut Log, at: u64, count: u32) {
        match log.runs.back_mut() {
            Some(run) if run.last / self.cell == at / self.cell => {
                run.last = at;
                run.count += count;
            }
            _ => log.runs.push_back(Run { last: at, count }),
        }
        log.used += count;
        log.idle_from = log.idle_from.max(at.saturating_add(self.window));
    }

    /// `cost` is not 0.
    fn room(&self, log: &Log, now: Moment, cost: u32) -> Result<(), Duration> {
        match self.max_requests.checked_sub(log.used) {
            Some(free) if cost <= free => Ok(()),
            _ => Err(self.wait(log, now, cost)),
        }
    }

    fn level_of(&self, log: &Log, now: Moment) -> Level {
        let remaining = self.max_requests.saturating_sub(log.used);
        Level {
            remaining,
            more_in: match (log.used, self.max_requests) {
                // Nothing was admitted, and nothing ever is.
                (_, 0) => Duration::from_nanos(self.window),
                (0, _) => Duration::ZERO,
                _ => self.wait(log, now, remaining + 1),
            },
        }
    }

    /// Until there is room for this cost, which there is not now.
    fn wait(&self, log: &Log, now: Moment, cost: u32) -> Duration {
        if cost > self.max_requests {
            return NEVER;
        }
        let until = match log.debt {
            0 => self.room_at(log, cost),
            _ => self.room_after_debt(log.clone(), cost),
        };
        until.map_or(NEVER, |until| {
            Duration::from_nanos(until.saturating_sub(now.0))
        })
    }

    fn room_at(&self, log: &Log, cost: u32) -> Option<u64> {
        let mut used = log.used;
        let makes_room = log.runs.iter().find(|run| {
            used = used.saturating_sub(run.count);
            cost <= self.max_requests.saturating_sub(used)
        });
        makes_room.map(|run| run.last.saturating_add(self.window))
    }

    /// Found by letting the time pass for a copy, because a debt is paid with runs of its own.
    fn room_after_debt(&self, mut log: Log, cost: u32) -> Option<u64> {
        loop {
            let at = self.forget_oldest(&mut log, u64::MAX)?;
            if cost <= self.max_requests.saturating_sub(log.used) {
                return Some(at);
            }
        }
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
