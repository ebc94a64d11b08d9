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

use super::reading::{ClockReading, Level, NEVER};

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
    /// Grows by one for the one that follows, and by two where some between were skipped: what is
    /// owed lasts no longer. 0 is before the first.
    number: u32,
    /// Seconds since 1970.
    start: u64,
    end: u64,
    /// When it was entered, by the clock that nobody sets.
    entered: u64,
}

/// At most `max_requests` units in a day or a month.
#[derive(Debug)]
pub(crate) struct CalendarCounter(Arc<CalendarLimit>);

#[derive(Debug)]
struct CalendarLimit {
    max_requests: u32,
    calendar: Arc<Calendar>,
}

/// What one counter has admitted in which period: the period's number in the upper half, the
/// count in the lower. One word, so that both change at once.
///
/// A count beyond the limit is owed, and goes over into the next period.
#[derive(Debug)]
pub(crate) struct CalendarState {
    limit: Arc<CalendarLimit>,
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
        let skips = start > known.end;
        Period {
            number: known.number.saturating_add(1 + u32::from(skips)),
            start,
            end,
            entered: now.monotonic.0,
        }
    }
}

// === impl Period ===

impl Period {
    /// Seconds since 1970.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

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
        Self(Arc::new(CalendarLimit {
            max_requests,
            calendar,
        }))
    }

    pub(crate) fn unused(&self) -> CalendarState {
        CalendarState {
            limit: Arc::clone(&self.0),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn unit(&self) -> CalendarUnit {
        self.0.calendar.unit
    }

    pub(crate) fn period(&self, now: ClockReading) -> Period {
        self.0.calendar.period(now)
    }

    /// Whether a request of this cost would pass now, and if not, how long until it would.
    pub(crate) fn look(
        &self,
        state: &CalendarState,
        now: ClockReading,
        cost: u32,
    ) -> Result<(), Duration> {
        let period = self.period(now);
        let used = self.0.used_in(state.word(), period.number).used;
        match self.0.admits(used, cost) {
            true => Ok(()),
            false => Err(self.wait(used, cost, period, now)),
        }
    }

    /// Counts one request of this cost, and returns what is left and in which period it was
    /// counted.
    pub(crate) fn charge(
        &self,
        state: &CalendarState,
        now: ClockReading,
        cost: u32,
    ) -> Result<(Level, u32), Duration> {
        let period = self.period(now);
        let more = |word: u64| {
            let PeriodUse { number, used } = self.0.used_in(word, period.number);
            self.0
                .admits(used, cost)
                .then(|| word_of(number, used + cost))
        };
        let before = state
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|word| {
                let used = self.0.used_in(word, period.number).used;
                self.wait(used, cost, period, now)
            })?;
        let PeriodUse { number, used } = self.0.used_in(before, period.number);
        let level = self.level_of(used + cost, period, now);
        Ok((level, number))
    }

    /// Counts so many units, though the limit may be used up. What is owed then is never more than
    /// the limit.
    pub(crate) fn book_debt(&self, state: &CalendarState, now: ClockReading, units: u32) {
        let number = self.period(now).number;
        let more = |word: u64| {
            let PeriodUse { number, used } = self.0.used_in(word, number);
            let most = self.0.max_requests.saturating_mul(2);
            Some(word_of(number, used.saturating_add(units).min(most)))
        };
        // The closure never declines.
        let _ = state
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// Gives back one charge of this cost made in the period of this number.
    pub(crate) fn refund(&self, state: &CalendarState, charged: u32, cost: u32) {
        let less = |word: u64| {
            let PeriodUse { number, used } = self.0.used_in(word, charged);
            (number == charged && used > 0).then(|| word_of(number, used.saturating_sub(cost)))
        };
        // Declined when the period is over: then there is nothing left to give back.
        let _ = state
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    pub(crate) fn level(&self, state: &CalendarState, now: ClockReading) -> Level {
        let period = self.period(now);
        let used = self.0.used_in(state.word(), period.number).used;
        self.level_of(used, period, now)
    }

    fn level_of(&self, used: u32, period: Period, now: ClockReading) -> Level {
        let max = self.0.max_requests;
        Level {
            remaining: max.saturating_sub(used),
            more_in: match (used, max) {
                (_, 0) => period.rest(now),
                (0, _) => Duration::ZERO,
                _ => self.wait(used, max.saturating_sub(used) + 1, period, now),
            },
        }
    }

    /// Until there is room for this cost, which there is not now: in the next period, or in the
    /// one after it where the next has to pay for what is owed.
    fn wait(&self, used: u32, cost: u32, period: Period, now: ClockReading) -> Duration {
        if cost > self.0.max_requests {
            return NEVER;
        }
        let rest = period.rest(now);
        let next = match self.0.admits(self.0.owed(used), cost) {
            true => Duration::ZERO,
            false => {
                let (start, end) = self.unit().around(now.unix.saturating_add(rest).as_secs());
                Duration::from_secs(end.saturating_sub(start))
            }
        };
        rest.saturating_add(next)
    }
}

// === impl CalendarLimit ===

impl CalendarLimit {
    fn admits(&self, used: u32, cost: u32) -> bool {
        self.max_requests
            .checked_sub(used)
            .is_some_and(|free| cost <= free)
    }

    /// What is used of the next period from the beginning.
    fn owed(&self, used: u32) -> u32 {
        used.saturating_sub(self.max_requests)
    }

    /// What is used in the period of this number, or in a later one that others are in already.
    fn used_in(&self, word: u64, number: u32) -> PeriodUse {
        let known = PeriodUse {
            number: (word >> 32) as u32,
            used: word as u32,
        };
        let used = match number.saturating_sub(known.number) {
            0 => return known,
            1 => self.owed(known.used),
            _ => 0,
        };
        PeriodUse { number, used }
    }
}

// === impl CalendarState ===

impl CalendarState {
    pub(crate) fn is_idle(&self, now: ClockReading) -> bool {
        let number = self.limit.calendar.period(now).number;
        self.limit.used_in(self.word(), number).used == 0
    }

    /// A state that says what this one does.
    pub(crate) fn successor(&self) -> Self {
        Self {
            limit: Arc::clone(&self.limit),
            used: AtomicU64::new(self.word()),
        }
    }

    fn word(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

struct PeriodUse {
    number: u32,
    used: u32,
}

fn word_of(number: u32, used: u32) -> u64 {
    u64::from(number) << 32 | u64::from(used)
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests;
