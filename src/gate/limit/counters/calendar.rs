//! Days and months as the calendar has them, in UTC.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::DateTime;
use chrono::Datelike;
use chrono::Months;
use chrono::NaiveDate;
use chrono::NaiveTime;

use super::reading::{ClockReading, Level};

/// What a calendar rule counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CalendarUnit {
    /// Since 00:00 UTC.
    Day,
    /// Since the 1st, 00:00 UTC.
    Month,
}

/// The day, or the month, that all counters of a gate are in.
///
/// One for all of them, so that a wall clock that steps back finds none in an earlier one.
#[derive(Debug)]
pub(crate) struct Calendar {
    unit: CalendarUnit,
    period: ArcSwap<Period>,
}

/// One day or month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Period {
    /// Grows with every one that is entered; 0 is before the first.
    number: u32,
    /// Seconds since 1970.
    start: u64,
    end: u64,
    /// When it was entered, by the clock that nobody sets.
    entered: u64,
}

/// At most `max_requests` in a day or a month.
#[derive(Debug)]
pub(crate) struct CalendarCounter {
    max_requests: u32,
    calendar: Arc<Calendar>,
}

/// What one counter has admitted in which period: the period's number in the upper half, the
/// count in the lower. One word, so that both change at once.
#[derive(Debug)]
pub(crate) struct CalendarState {
    calendar: Arc<Calendar>,
    used: AtomicU64,
}

// === impl CalendarUnit ===

impl CalendarUnit {
    /// Start and end, in seconds since 1970, of the day or month that this second is in.
    fn around(self, second: u64) -> (u64, u64) {
        match self {
            Self::Day => {
                let start = second - second % DAY;
                (start, start.saturating_add(DAY))
            }
            // A clock beyond all calendars is in one endless month.
            Self::Month => month_around(second).unwrap_or((second, u64::MAX)),
        }
    }

    /// The longest one there is.
    pub(crate) fn longest(self) -> Duration {
        match self {
            Self::Day => Duration::from_secs(DAY),
            Self::Month => Duration::from_secs(31 * DAY),
        }
    }
}

fn month_around(second: u64) -> Option<(u64, u64)> {
    let today = DateTime::from_timestamp(i64::try_from(second).ok()?, 0)?.date_naive();
    let first = today.with_day(1)?;
    let next = first.checked_add_months(Months::new(1))?;
    let midnight =
        |day: NaiveDate| u64::try_from(day.and_time(NaiveTime::MIN).and_utc().timestamp()).ok();
    Some((midnight(first)?, midnight(next)?))
}

// === impl Calendar ===

impl Calendar {
    pub(crate) fn new(unit: CalendarUnit) -> Arc<Self> {
        Arc::new(Self {
            unit,
            period: ArcSwap::default(),
        })
    }

    /// The period to count in.
    ///
    /// A wall clock that has stepped back into an earlier one changes nothing, until the one
    /// entered has run its full length: a clock that was far ahead for a moment must not shut the
    /// gate for good.
    pub(crate) fn period(&self, now: ClockReading) -> Period {
        let known = **self.period.load();
        if !known.is_over(now) {
            return known;
        }
        self.period.rcu(|known| match known.is_over(now) {
            true => Arc::new(self.next(known, now)),
            false => Arc::clone(known),
        });
        **self.period.load()
    }

    fn next(&self, known: &Period, now: ClockReading) -> Period {
        let (start, end) = self.unit.around(now.unix.as_secs());
        Period {
            number: known.number.saturating_add(1),
            start,
            end,
            entered: now.monotonic.0,
        }
    }
}

// === impl Period ===

impl Period {
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.end - self.start)
    }

    fn is_over(&self, now: ClockReading) -> bool {
        self.rest(now).is_zero()
    }

    /// How long it still lasts.
    pub(crate) fn rest(&self, now: ClockReading) -> Duration {
        let since = Duration::from_nanos(now.monotonic.0.saturating_sub(self.entered));
        let full_length = self.length().saturating_sub(since);
        let then = now.unix.saturating_add(full_length);
        match then.as_secs() < self.start {
            // The wall clock has stepped back, and will not be here again by then.
            true => full_length,
            false => Duration::from_secs(self.end).saturating_sub(now.unix),
        }
    }
}

// === impl CalendarCounter ===

impl CalendarCounter {
    pub(crate) fn new(max_requests: u32, calendar: Arc<Calendar>) -> Self {
        Self {
            max_requests,
            calendar,
        }
    }

    pub(crate) fn unused(&self) -> CalendarState {
        CalendarState {
            calendar: Arc::clone(&self.calendar),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn unit(&self) -> CalendarUnit {
        self.calendar.unit
    }

    pub(crate) fn period(&self, now: ClockReading) -> Period {
        self.calendar.period(now)
    }

    /// Whether a request would pass now, and if not, how long until it would.
    pub(crate) fn look(&self, state: &CalendarState, now: ClockReading) -> Result<(), Duration> {
        let period = self.period(now);
        let used = used_in(state.used.load(Ordering::Acquire), period.number).used;
        match used < self.max_requests {
            true => Ok(()),
            false => Err(period.rest(now)),
        }
    }

    /// Counts one request, and returns what is left and in which period it was counted.
    pub(crate) fn charge(
        &self,
        state: &CalendarState,
        now: ClockReading,
    ) -> Result<(Level, u32), Duration> {
        let period = self.period(now);
        let more = |word: u64| {
            let PeriodUse { number, used } = used_in(word, period.number);
            (used < self.max_requests).then(|| word_of(number, used + 1))
        };
        let before = state
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| period.rest(now))?;
        let PeriodUse { number, used } = used_in(before, period.number);
        let level = self.level_of(used + 1, period, now);
        Ok((level, number))
    }

    /// Gives back one charge made in the period of this number.
    pub(crate) fn refund(&self, state: &CalendarState, charged: u32) {
        let less = |word: u64| {
            let PeriodUse { number, used } = used_in(word, charged);
            (number == charged && used > 0).then(|| word_of(number, used - 1))
        };
        // Declined when the period is over: then there is nothing left to give back.
        let _ = state
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    pub(crate) fn level(&self, state: &CalendarState, now: ClockReading) -> Level {
        let period = self.period(now);
        let used = used_in(state.used.load(Ordering::Acquire), period.number).used;
        self.level_of(used, period, now)
    }

    fn level_of(&self, used: u32, period: Period, now: ClockReading) -> Level {
        let remaining = self.max_requests.saturating_sub(used);
        Level {
            remaining,
            more_in: match used == 0 && remaining > 0 {
                true => Duration::ZERO,
                false => period.rest(now),
            },
        }
    }
}

// === impl CalendarState ===

impl CalendarState {
    pub(crate) fn is_idle(&self, now: ClockReading) -> bool {
        let word = self.used.load(Ordering::Acquire);
        used_in(word, self.calendar.period(now).number).used == 0
    }

    /// A state that says what this one does.
    pub(crate) fn successor(&self) -> Self {
        Self {
            calendar: Arc::clone(&self.calendar),
            used: AtomicU64::new(self.used.load(Ordering::Acquire)),
        }
    }
}

struct PeriodUse {
    number: u32,
    used: u32,
}

/// What is used in the period of this number, or in a later one that others are in already.
fn used_in(word: u64, number: u32) -> PeriodUse {
    let known = PeriodUse {
        number: (word >> 32) as u32,
        used: word as u32,
    };
    match known.number < number {
        true => PeriodUse { number, used: 0 },
        false => known,
    }
}

fn word_of(number: u32, used: u32) -> u64 {
    u64::from(number) << 32 | u64::from(used)
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests;
