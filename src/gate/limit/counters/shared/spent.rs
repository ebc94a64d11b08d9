//! What this replica has spent in the last window: what its share is held against, and what it tells
//! a store that has forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::super::calendar::Calendar;
use super::super::reading::{ClockReading, Moment};
use super::super::sliding::{SlidingCounter, SlidingState};
use super::super::{Level, NEVER};

/// The window that is looked back at.
#[derive(Clone, Debug)]
pub(super) enum SpentWindow {
    Rolling(Duration),
    Calendar(Arc<Calendar>),
}

#[derive(Debug)]
pub(super) enum Spent {
    Rolling(SlidingState),
    /// Since the day or month that began at this second.
    Since {
        start: u64,
        units: u32,
    },
}

impl Spent {
    /// Of somebody who may have spent all of this.
    pub(super) fn successor(&self, forgot_at: Moment) -> Self {
        match self {
            Self::Rolling(log) => Self::Rolling(log.successor(forgot_at)),
            Self::Since { start, units } => Self::Since {
                start: *start,
                units: *units,
            },
        }
    }
}

impl SpentWindow {
    pub(super) fn nothing(&self) -> Spent {
        match self {
            Self::Rolling(_) => Spent::Rolling(SlidingState::default()),
            Self::Calendar(_) => Spent::Since { start: 0, units: 0 },
        }
    }

    /// When the current day or month began, in seconds since 1970; 0 for a rolling window.
    pub(super) fn start(&self, now: ClockReading) -> u64 {
        match self {
            Self::Rolling(_) => 0,
            Self::Calendar(calendar) => calendar.period(now).start(),
        }
    }

    /// Records what was spent until now.
    pub(super) fn record(&self, spent: &mut Spent, units: u32, now: ClockReading) {
        if units == 0 {
            return;
        }
        match (self, spent) {
            (Self::Rolling(window), Spent::Rolling(log)) => {
                // Never refused: nobody spends as much as it holds.
                let _ = SlidingCounter::new(u32::MAX, *window).charge(log, now.monotonic, units);
            }
            (Self::Calendar(_), Spent::Since { start, units: used }) => {
                let current = self.start(now);
                match *start == current {
                    true => *used = used.saturating_add(units),
                    false => (*start, *used) = (current, units),
                }
            }
            _ => {}
        }
    }

    pub(super) fn in_last(&self, spent: &Spent, now: ClockReading) -> u32 {
        match (self, spent) {
            (Self::Rolling(window), Spent::Rolling(log)) => {
                let Level { remaining, .. } =
                    SlidingCounter::new(u32::MAX, *window).level(log, now.monotonic);
                u32::MAX - remaining
            }
            (Self::Calendar(_), Spent::Since { start, units }) if *start == self.start(now) => {
                *units
            }
            _ => 0,
        }
    }

    /// Until so many units of a share are free, which are not now.
    pub(super) fn wait(
        &self,
        spent: &Spent,
        share: u32,
        units: u32,
        now: ClockReading,
    ) -> Duration {
        match (self, spent) {
            (Self::Rolling(window), Spent::Rolling(log)) => {
                let share = SlidingCounter::new(share, *window);
                match share.look(log, now.monotonic, units) {
                    Ok(()) => Duration::ZERO,
                    Err(NEVER) => *window,
                    Err(wait) => wait,
                }
            }
            (Self::Calendar(calendar), _) => calendar.period(now).rest(now),
            (Self::Rolling(window), _) => *window,
        }
    }
}

/// What was spent of the leases that were granted last, by the clock of the store: one that takes
/// another's place may have heard of the others only.
#[derive(Debug, Default)]
pub(super) struct Recent {
    slot: u64,
    units: u32,
    before: u32,
}

impl Recent {
    /// Units of a lease that was granted then, in microseconds.
    pub(super) fn note(&mut self, units: u32, granted: u64) {
        let slot = granted / SLOT;
        match slot.checked_sub(self.slot) {
            Some(0) => {}
            Some(1) => (self.slot, self.before, self.units) = (slot, self.units, 0),
            Some(_) => (self.slot, self.before, self.units) = (slot, 0, 0),
            // The older one of two leases, or the clock has stepped back: rather too recent.
            None => {}
        }
        self.units = self.units.saturating_add(units);
    }

    /// Units of what was granted in the four seconds before this moment, or a little earlier.
    pub(super) fn until(&self, seen: u64) -> u32 {
        match (seen / SLOT).saturating_sub(self.slot) {
            0 => self.units.saturating_add(self.before),
            1 => self.units,
            _ => 0,
        }
    }
}

/// In microseconds.
const SLOT: u64 = 4_000_000;
