//! One counter: a rule's way of counting, and what one subject has used up of it.

use std::sync::Arc;
use std::time::Duration;

use super::Algorithm;
use super::calendar::Calendar;
use super::calendar::CalendarUnit;
use super::calendar::Page;
use super::calendar::Paged;
use super::gcra::Bucket as GcraBucket;
use super::gcra::Gcra;
use super::gcra::Level;
use super::gcra::Moment;
use super::window::Log;
use super::window::Sliding;
use crate::clock::Now;
use crate::clock::nanoseconds;

/// One reading of both clocks, as counters take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) monotonic: Moment,
    pub(super) unix: Duration,
}

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
pub(super) enum Meter {
    Gcra(Gcra),
    Sliding(Sliding),
    Calendar(Paged),
}

/// What one subject has used up, in the terms of the meter that made it.
#[derive(Debug)]
pub(super) enum Bucket {
    Gcra(GcraBucket),
    // Boxed, so that it does not make the others as large as itself.
    Sliding(Box<Log>),
    Calendar(Page),
}

/// What has been charged, to be given back by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receipt {
    At(Moment),
    In(u32),
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

// === impl Meter ===

impl Meter {
    pub(super) fn new(
        algorithm: Algorithm,
        max_requests: u32,
        window: Window,
        calendars: &Calendars,
    ) -> Self {
        match (window, algorithm) {
            (Window::Calendar(unit), _) => {
                Self::Calendar(Paged::new(max_requests, calendars.of(unit)))
            }
            (Window::Rolling(length), Algorithm::Gcra) => {
                Self::Gcra(Gcra::new(max_requests, length))
            }
            (Window::Rolling(length), Algorithm::SlidingWindow) => {
                Self::Sliding(Sliding::new(max_requests, length))
            }
        }
    }

    /// A bucket of which nothing is used.
    pub(super) fn bucket(&self) -> Bucket {
        match self {
            Self::Gcra(_) => Bucket::Gcra(GcraBucket::default()),
            Self::Sliding(_) => Bucket::Sliding(Box::default()),
            Self::Calendar(paged) => Bucket::Calendar(paged.page()),
        }
    }

    /// Whether a request would pass now, and if not, how long until it would.
    pub(super) fn look(&self, bucket: &Bucket, now: Reading) -> Result<(), Duration> {
        match (self, bucket) {
            (Self::Gcra(gcra), Bucket::Gcra(bucket)) => gcra.look(bucket, now.monotonic),
            (Self::Sliding(sliding), Bucket::Sliding(log)) => sliding.look(log, now.monotonic),
            (Self::Calendar(paged), Bucket::Calendar(page)) => paged.look(page, now),
            _ => Err(STRANGE),
        }
    }

    /// Takes one request's worth, and returns what is left.
    pub(super) fn charge(
        &self,
        bucket: &Bucket,
        now: Reading,
    ) -> Result<(Level, Receipt), Duration> {
        match (self, bucket) {
            (Self::Gcra(gcra), Bucket::Gcra(bucket)) => gcra
                .charge(bucket, now.monotonic)
                .map(|level| (level, Receipt::At(now.monotonic))),
            (Self::Sliding(sliding), Bucket::Sliding(log)) => sliding
                .charge(log, now.monotonic)
                .map(|(level, at)| (level, Receipt::At(at))),
            (Self::Calendar(paged), Bucket::Calendar(page)) => paged
                .charge(page, now)
                .map(|(level, period)| (level, Receipt::In(period))),
            _ => Err(STRANGE),
        }
    }

    /// Gives back what was charged, as far as that cannot admit more than the limit.
    pub(super) fn refund(&self, bucket: &Bucket, receipt: Receipt) {
        match (self, bucket, receipt) {
            (Self::Gcra(gcra), Bucket::Gcra(bucket), Receipt::At(charged)) => {
                gcra.refund(bucket, charged);
            }
            (Self::Sliding(sliding), Bucket::Sliding(log), Receipt::At(charged)) => {
                sliding.refund(log, charged);
            }
            (Self::Calendar(paged), Bucket::Calendar(page), Receipt::In(period)) => {
                paged.refund(page, period);
            }
            _ => {}
        }
    }

    pub(super) fn level(&self, bucket: &Bucket, now: Reading) -> Level {
        match (self, bucket) {
            (Self::Gcra(gcra), Bucket::Gcra(bucket)) => gcra.level(bucket, now.monotonic),
            (Self::Sliding(sliding), Bucket::Sliding(log)) => sliding.level(log, now.monotonic),
            (Self::Calendar(paged), Bucket::Calendar(page)) => paged.level(page, now),
            _ => Level {
                remaining: 0,
                more_in: STRANGE,
            },
        }
    }

    /// Nanoseconds after which a bucket that nobody charges is idle.
    pub(super) fn memory(&self) -> u64 {
        match self {
            Self::Gcra(gcra) => gcra.refill().max(gcra.window()),
            Self::Sliding(sliding) => sliding.window(),
            Self::Calendar(paged) => nanoseconds(paged.unit().longest()),
        }
    }

    /// When a window that begins now is over, or the current day or month.
    pub(super) fn one_window_on(&self, now: Reading) -> Moment {
        let window = match self {
            Self::Calendar(paged) => nanoseconds(paged.period(now).rest(now)),
            Self::Gcra(_) | Self::Sliding(_) => self.memory(),
        };
        Moment(now.monotonic.0.saturating_add(window))
    }

    /// The length of the day or month that a calendar's rule counts in.
    pub(super) fn period(&self, now: Reading) -> Option<Duration> {
        match self {
            Self::Calendar(paged) => Some(paged.period(now).length()),
            Self::Gcra(_) | Self::Sliding(_) => None,
        }
    }
}

// === impl Bucket ===

impl Bucket {
    /// Whether it says no more than a new one would.
    pub(super) fn is_idle(&self, now: Reading) -> bool {
        match self {
            Self::Gcra(bucket) => bucket.when_full() <= now.monotonic,
            Self::Sliding(log) => log.is_idle(now.monotonic),
            Self::Calendar(page) => page.is_idle(now),
        }
    }

    /// A bucket for somebody who may have been charged in this one, and whose own may have been
    /// forgotten up to `forgot_at`.
    pub(super) fn successor(&self, forgot_at: Moment) -> Self {
        match self {
            Self::Gcra(bucket) => {
                Self::Gcra(GcraBucket::full_at(forgot_at.max(bucket.when_full())))
            }
            Self::Sliding(log) => Self::Sliding(Box::new(log.successor(forgot_at))),
            Self::Calendar(page) => Self::Calendar(page.successor()),
        }
    }
}

/// A bucket is only ever shown to the meter that made it. Were it not so, nobody would pass.
const STRANGE: Duration = Duration::from_secs(3600);
