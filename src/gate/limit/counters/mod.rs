//! How a rule counts, and what has been counted for one subject.
//!
//! In: a [`CounterState`] and a [`ClockReading`]. Out: what is left, or how long until there is
//! more.
//!
//! - [`gcra`]: rolling windows as governor counts them;
//! - [`sliding`]: rolling windows that never admit more than the limit;
//! - [`calendar`]: days and months;
//! - [`shared`]: any of these, counted for all replicas by a store.

mod calendar;
mod gcra;
mod reading;
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only a store makes any")
)]
pub(crate) mod shared;
mod sliding;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::nanoseconds;

use self::calendar::{Calendar, CalendarCounter, CalendarState};
pub(super) use self::gcra::{GcraCounter, GcraState};
pub(super) use self::reading::{ClockReading, Level, Moment, NEVER};
use self::shared::{LeaseId, SharedCounter, SharedState};
use self::sliding::{SlidingCounter, SlidingState};

pub(crate) use self::calendar::CalendarUnit;

/// What a limit holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    /// Any stretch of this length.
    Rolling(Duration),
    /// A day or a month of the calendar.
    Calendar(CalendarUnit),
}

/// The days and months of one gate.
#[derive(Debug)]
pub(super) struct Calendars {
    day: Arc<Calendar>,
    month: Arc<Calendar>,
}

/// How a rule counts.
#[derive(Debug)]
pub(super) enum LimitCounter {
    Gcra(GcraCounter),
    Sliding(SlidingCounter),
    Calendar(CalendarCounter),
    Shared(Arc<SharedCounter>),
}

/// What has been counted for one subject, in the terms of the counter that made it.
#[derive(Debug)]
pub(super) enum CounterState {
    Gcra(GcraState),
    // Boxed, so that it does not make the others as large as itself.
    Sliding(Box<SlidingState>),
    Calendar(CalendarState),
    Shared(Arc<SharedState>),
}

/// What has been charged, to be given back by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receipt {
    At(Moment),
    In(u32),
    Of(LeaseId),
}

/// Why a request of some cost does not pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shortage {
    /// It would after so long: [`NEVER`] where it costs more than the rule ever admits at once.
    Wait(Duration),
    /// Nobody knows before the store is asked.
    Ask,
    /// The store cannot be asked, and there is nothing else to go by.
    Unavailable,
}

// === impl Window ===

impl From<Duration> for Window {
    fn from(length: Duration) -> Self {
        Self::Rolling(length)
    }
}

// === impl Calendars ===

impl Calendars {
    fn of(&self, unit: CalendarUnit) -> Arc<Calendar> {
        Arc::clone(match unit {
            CalendarUnit::Day => &self.day,
            CalendarUnit::Month => &self.month,
        })
    }
}

impl Default for Calendars {
    fn default() -> Self {
        Self {
            day: Calendar::new(CalendarUnit::Day),
            month: Calendar::new(CalendarUnit::Month),
        }
    }
}

// === impl LimitCounter ===

impl LimitCounter {
    pub(super) fn gcra(max_requests: u32, window: Duration) -> Self {
        Self::Gcra(GcraCounter::new(max_requests, window))
    }

    pub(super) fn sliding(max_requests: u32, window: Duration) -> Self {
        Self::Sliding(SlidingCounter::new(max_requests, window))
    }

    pub(super) fn calendar(max_requests: u32, unit: CalendarUnit, calendars: &Calendars) -> Self {
        Self::Calendar(CalendarCounter::new(max_requests, calendars.of(unit)))
    }

    /// A state in which nothing is used.
    pub(super) fn unused(&self) -> CounterState {
        match self {
            Self::Gcra(_) => CounterState::Gcra(GcraState::default()),
            Self::Sliding(_) => CounterState::Sliding(Box::default()),
            Self::Calendar(calendar) => CounterState::Calendar(calendar.unused()),
            Self::Shared(shared) => CounterState::Shared(shared.unused()),
        }
    }

    /// Whether a request of this cost, which is not 0, would pass now. `waits` is whether it may wait
    /// for a store.
    pub(super) fn look(
        &self,
        state: &CounterState,
        now: ClockReading,
        cost: u32,
        waits: bool,
    ) -> Result<(), Shortage> {
        let looked = match (self, state) {
            (Self::Gcra(gcra), CounterState::Gcra(state)) => gcra.look(state, now.monotonic, cost),
            (Self::Sliding(sliding), CounterState::Sliding(state)) => {
                sliding.look(state, now.monotonic, cost)
            }
            (Self::Calendar(calendar), CounterState::Calendar(state)) => {
                calendar.look(state, now, cost)
            }
            (Self::Shared(shared), CounterState::Shared(state)) => {
                return shared.look(state, now, cost, waits);
            }
            _ => Err(WRONG_STATE_WAIT),
        };
        looked.map_err(Shortage::Wait)
    }

    /// Takes what one request costs, whole or not at all, and returns what is left. `cost` is not 0.
    #[inline]
    pub(super) fn charge(
        &self,
        state: &CounterState,
        now: ClockReading,
        cost: u32,
        waits: bool,
    ) -> Result<(Level, Receipt), Shortage> {
        let charged = match (self, state) {
            (Self::Gcra(gcra), CounterState::Gcra(state)) => gcra
                .charge(state, now.monotonic, cost)
                .map(|level| (level, Receipt::At(now.monotonic))),
            (Self::Sliding(sliding), CounterState::Sliding(state)) => sliding
                .charge(state, now.monotonic, cost)
                .map(|(level, at)| (level, Receipt::At(at))),
            (Self::Calendar(calendar), CounterState::Calendar(state)) => calendar
                .charge(state, now, cost)
                .map(|(level, period)| (level, Receipt::In(period))),
            (Self::Shared(shared), CounterState::Shared(state)) => {
                return shared.charge(state, now, cost, waits);
            }
            _ => Err(WRONG_STATE_WAIT),
        };
        charged.map_err(Shortage::Wait)
    }

    /// The same where this process counts alone, and nothing is to be given back; `None` where a store
    /// counts, or not so much is left.
    pub(super) fn charge_here(
        &self,
        state: &CounterState,
        now: ClockReading,
        cost: u32,
    ) -> Option<Level> {
        match (self, state) {
            (Self::Gcra(gcra), CounterState::Gcra(state)) => {
                gcra.charge(state, now.monotonic, cost).ok()
            }
            (Self::Shared(_), _) => None,
            _ => self
                .charge(state, now, cost, true)
                .ok()
                .map(|(level, _)| level),
        }
    }

    /// Takes so many units, though there may be none left. What is owed then is paid for before
    /// anything passes, and is never more than the limit.
    pub(super) fn book_debt(&self, state: &CounterState, now: ClockReading, units: u32) {
        match (self, state) {
            (Self::Gcra(gcra), CounterState::Gcra(state)) => {
                let longest = Duration::from_nanos(gcra.refill());
                gcra.book_debt(state, now.monotonic, units, longest);
            }
            (Self::Sliding(sliding), CounterState::Sliding(state)) => {
                sliding.book_debt(state, now.monotonic, units);
            }
            (Self::Calendar(calendar), CounterState::Calendar(state)) => {
                calendar.book_debt(state, now, units);
            }
            _ => {}
        }
    }

    /// Gives back what a request of this cost was charged, as far as that cannot admit more than
    /// the limit.
    pub(super) fn refund(&self, state: &CounterState, receipt: Receipt, cost: u32) {
        match (self, state, receipt) {
            (Self::Gcra(gcra), CounterState::Gcra(state), Receipt::At(charged)) => {
                gcra.refund(state, charged, cost);
            }
            (Self::Sliding(sliding), CounterState::Sliding(state), Receipt::At(charged)) => {
                sliding.refund(state, charged, cost);
            }
            (Self::Calendar(calendar), CounterState::Calendar(state), Receipt::In(period)) => {
                calendar.refund(state, period, cost);
            }
            (Self::Shared(shared), CounterState::Shared(state), receipt) => {
                shared.refund(state, receipt, cost);
            }
            _ => {}
        }
    }

    pub(super) fn level(&self, state: &CounterState, now: ClockReading) -> Level {
        match (self, state) {
            (Self::Gcra(gcra), CounterState::Gcra(state)) => gcra.level(state, now.monotonic),
            (Self::Sliding(sliding), CounterState::Sliding(state)) => {
                sliding.level(state, now.monotonic)
            }
            (Self::Calendar(calendar), CounterState::Calendar(state)) => calendar.level(state, now),
            (Self::Shared(shared), CounterState::Shared(state)) => shared.level(state, now),
            _ => Level {
                remaining: 0,
                more_in: WRONG_STATE_WAIT,
            },
        }
    }

    /// Nanoseconds after which a state that nobody charges is idle, whatever was owed.
    pub(super) fn idle_after(&self) -> u64 {
        match self {
            Self::Gcra(gcra) => gcra.refill().max(gcra.window()).saturating_mul(2),
            Self::Sliding(sliding) => sliding.idle_after(),
            Self::Calendar(calendar) => nanoseconds(calendar.unit().longest()).saturating_mul(2),
            Self::Shared(shared) => nanoseconds(shared.window()).saturating_mul(2),
        }
    }

    /// When a window that begins now is over, or the current day or month.
    pub(super) fn one_window_on(&self, now: ClockReading) -> Moment {
        let window = match self {
            Self::Calendar(calendar) => nanoseconds(calendar.period(now).rest(now)),
            Self::Gcra(gcra) => gcra.refill().max(gcra.window()),
            Self::Sliding(sliding) => sliding.window(),
            Self::Shared(shared) => nanoseconds(shared.rest(now)),
        };
        Moment(now.monotonic.0.saturating_add(window))
    }

    /// The length of the day or month that a calendar's rule counts in.
    pub(super) fn period(&self, now: ClockReading) -> Option<Duration> {
        match self {
            Self::Calendar(calendar) => Some(calendar.period(now).length()),
            Self::Shared(shared) => shared.period(now),
            Self::Gcra(_) | Self::Sliding(_) => None,
        }
    }

    /// The two together, where a store counts.
    pub(super) fn shared_with<'a>(
        &'a self,
        state: &'a CounterState,
    ) -> Option<(&'a Arc<SharedCounter>, &'a Arc<SharedState>)> {
        match (self, state) {
            (Self::Shared(counter), CounterState::Shared(state)) => Some((counter, state)),
            _ => None,
        }
    }
}

// === impl CounterState ===

impl CounterState {
    /// Whether it says no more than a new one would.
    pub(super) fn is_idle(&self, now: ClockReading) -> bool {
        match self {
            Self::Gcra(state) => state.when_full() <= now.monotonic,
            Self::Sliding(state) => state.is_idle(now.monotonic),
            Self::Calendar(state) => state.is_idle(now),
            Self::Shared(state) => state.is_idle(now),
        }
    }

    /// Whether it has been idle for so long. A calendar's counters are idle together, with a day or a
    /// month, and a store's are not before their leases have ended: those need no rest.
    pub(super) fn has_rested(&self, rest: Duration, now: ClockReading) -> bool {
        match self {
            Self::Gcra(state) => state.when_full() <= now.monotonic.before(rest),
            Self::Sliding(state) => state.is_idle(now.monotonic.before(rest)),
            Self::Calendar(_) | Self::Shared(_) => self.is_idle(now),
        }
    }

    /// A state for one request of somebody who finds no room, whose share is counted in this one.
    pub(super) fn without_room(&self) -> Self {
        match self {
            Self::Shared(state) => Self::Shared(Arc::new(state.without_room())),
            Self::Gcra(_) | Self::Sliding(_) | Self::Calendar(_) => self.successor(Moment(0)),
        }
    }

    /// A state for somebody who may have been charged in this one, and whose own may have been
    /// forgotten up to `forgot_at`.
    pub(super) fn successor(&self, forgot_at: Moment) -> Self {
        match self {
            Self::Gcra(state) => Self::Gcra(GcraState::full_at(forgot_at.max(state.when_full()))),
            Self::Sliding(state) => Self::Sliding(Box::new(state.successor(forgot_at))),
            Self::Calendar(state) => Self::Calendar(state.successor()),
            Self::Shared(state) => Self::Shared(Arc::new(state.successor(forgot_at))),
        }
    }
}

/// A state is only ever shown to the counter that made it. Were it not so, nobody would pass.
const WRONG_STATE_WAIT: Duration = Duration::from_secs(3600);
