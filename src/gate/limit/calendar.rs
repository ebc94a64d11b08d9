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

use super::counter::Reading;
use super::gcra::Level;

/// Which page of the calendar a rule counts by.
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
pub(super) struct Calendar {
    unit: CalendarUnit,
    period: ArcSwap<Period>,
}

/// One day or month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Period {
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
pub(super) struct Paged {
    max_requests: u32,
    calendar: Arc<Calendar>,
}

/// What one counter has admitted in which period: the period's number in the upper half, the
/// count in the lower. One word, so that both change at once.
#[derive(Debug)]
pub(super) struct Page {
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
    pub(super) fn longest(self) -> Duration {
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
    pub(super) fn new(unit: CalendarUnit) -> Arc<Self> {
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
    pub(super) fn period(&self, now: Reading) -> Period {
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

    fn next(&self, known: &Period, now: Reading) -> Period {
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
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs(self.end - self.start)
    }

    fn is_over(&self, now: Reading) -> bool {
        self.rest(now).is_zero()
    }

    /// How long it still lasts.
    pub(super) fn rest(&self, now: Reading) -> Duration {
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

// === impl Paged ===

impl Paged {
    pub(super) fn new(max_requests: u32, calendar: Arc<Calendar>) -> Self {
        Self {
            max_requests,
            calendar,
        }
    }

    pub(super) fn page(&self) -> Page {
        Page {
            calendar: Arc::clone(&self.calendar),
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn unit(&self) -> CalendarUnit {
        self.calendar.unit
    }

    pub(super) fn period(&self, now: Reading) -> Period {
        self.calendar.period(now)
    }

    /// Whether a request would pass now, and if not, how long until it would.
    pub(super) fn look(&self, page: &Page, now: Reading) -> Result<(), Duration> {
        let period = self.period(now);
        let used = used_in(page.used.load(Ordering::Acquire), period.number).used;
        match used < self.max_requests {
            true => Ok(()),
            false => Err(period.rest(now)),
        }
    }

    /// Counts one request, and returns what is left and in which period it was counted.
    pub(super) fn charge(&self, page: &Page, now: Reading) -> Result<(Level, u32), Duration> {
        let period = self.period(now);
        let more = |word: u64| {
            let Used { number, used } = used_in(word, period.number);
            (used < self.max_requests).then(|| word_of(number, used + 1))
        };
        let before = page
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| period.rest(now))?;
        let Used { number, used } = used_in(before, period.number);
        let level = self.level_of(used + 1, period, now);
        Ok((level, number))
    }

    /// Gives back one charge made in the period of this number.
    pub(super) fn refund(&self, page: &Page, charged: u32) {
        let less = |word: u64| {
            let Used { number, used } = used_in(word, charged);
            (number == charged && used > 0).then(|| word_of(number, used - 1))
        };
        // Declined when the period is over: then there is nothing left to give back.
        let _ = page
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    pub(super) fn level(&self, page: &Page, now: Reading) -> Level {
        let period = self.period(now);
        let used = used_in(page.used.load(Ordering::Acquire), period.number).used;
        self.level_of(used, period, now)
    }

    fn level_of(&self, used: u32, period: Period, now: Reading) -> Level {
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

// === impl Page ===

impl Page {
    pub(super) fn is_idle(&self, now: Reading) -> bool {
        let word = self.used.load(Ordering::Acquire);
        used_in(word, self.calendar.period(now).number).used == 0
    }

    /// A page that says what this one does.
    pub(super) fn successor(&self) -> Self {
        Self {
            calendar: Arc::clone(&self.calendar),
            used: AtomicU64::new(self.used.load(Ordering::Acquire)),
        }
    }
}

struct Used {
    number: u32,
    used: u32,
}

/// What is used in the period of this number, or in a later one that others are in already.
fn used_in(word: u64, number: u32) -> Used {
    let known = Used {
        number: (word >> 32) as u32,
        used: word as u32,
    };
    match known.number < number {
        true => Used { number, used: 0 },
        false => known,
    }
}

fn word_of(number: u32, used: u32) -> u64 {
    u64::from(number) << 32 | u64::from(used)
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gcra::Moment;
    use super::*;

    const HOUR: u64 = 3_600;

    fn unix(text: &str) -> u64 {
        let time = DateTime::parse_from_rfc3339(text).unwrap();
        u64::try_from(time.timestamp()).unwrap()
    }

    /// Both clocks as time passes, and the wall clock as somebody sets it.
    #[derive(Clone, Copy)]
    struct Hand {
        monotonic: u64,
        unix: u64,
    }

    impl Hand {
        fn at(text: &str) -> Self {
            Self {
                monotonic: 1_000,
                unix: unix(text),
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.monotonic += seconds;
            self.unix += seconds;
        }

        fn set(&mut self, text: &str) {
            self.unix = unix(text);
        }

        fn reading(self) -> Reading {
            Reading {
                monotonic: Moment(self.monotonic * 1_000_000_000),
                unix: Duration::from_secs(self.unix),
            }
        }
    }

    struct Counter {
        paged: Paged,
        page: Page,
    }

    impl Counter {
        fn new(unit: CalendarUnit, max_requests: u32) -> Self {
            let paged = Paged::new(max_requests, Calendar::new(unit));
            let page = paged.page();
            Self { paged, page }
        }

        fn admits(&self, hand: Hand) -> bool {
            self.paged.charge(&self.page, hand.reading()).is_ok()
        }

        fn wait(&self, hand: Hand) -> u64 {
            let refused = self.paged.look(&self.page, hand.reading());
            refused.expect_err("it is used up").as_secs()
        }
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let counter = Counter::new(CalendarUnit::Day, 2);
        let mut hand = Hand::at("2026-03-14T23:59:58Z");
        assert!(counter.admits(hand) && counter.admits(hand) && !counter.admits(hand));
        assert_eq!(counter.wait(hand), 2);
        hand.pass(1);
        assert_eq!(counter.wait(hand), 1);
        hand.pass(1);
        assert!(counter.admits(hand) && counter.admits(hand) && !counter.admits(hand));
        assert_eq!(counter.wait(hand), DAY);
        hand.pass(DAY - 1);
        assert!(!counter.admits(hand));
        hand.pass(1);
        assert!(counter.admits(hand));
    }

    #[test]
    fn the_last_nanosecond_of_a_day_belongs_to_it() {
        let counter = Counter::new(CalendarUnit::Day, 1);
        let mut reading = Hand::at("2026-03-14T12:00:00Z").reading();
        assert!(counter.paged.charge(&counter.page, reading).is_ok());
        reading.unix = Duration::from_secs(unix("2026-03-15T00:00:00Z")) - Duration::from_nanos(1);
        let refused = counter.paged.charge(&counter.page, reading).unwrap_err();
        assert_eq!(refused, Duration::from_nanos(1));
        reading.unix += refused;
        assert!(counter.paged.charge(&counter.page, reading).is_ok());
    }

    #[test]
    fn months_are_as_long_as_they_are() {
        for (during, next, days) in [
            ("2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z", 31),
            ("2026-02-28T12:00:00Z", "2026-03-01T00:00:00Z", 28),
            ("2028-02-28T12:00:00Z", "2028-03-01T00:00:00Z", 29),
            ("2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z", 29),
            ("2000-02-29T23:59:59Z", "2000-03-01T00:00:00Z", 29),
            ("2100-02-28T23:59:59Z", "2100-03-01T00:00:00Z", 28),
            ("2026-04-30T00:00:00Z", "2026-05-01T00:00:00Z", 30),
            ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", 31),
            ("1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z", 31),
        ] {
            let counter = Counter::new(CalendarUnit::Month, 1);
            let mut hand = Hand::at(during);
            assert!(counter.admits(hand), "{during}");
            let period = counter.paged.period(hand.reading());
            assert_eq!(period.length().as_secs(), days * DAY, "{during}");
            assert_eq!(counter.wait(hand), unix(next) - unix(during), "{during}");
            hand.pass(counter.wait(hand) - 1);
            assert!(!counter.admits(hand), "{during}");
            hand.pass(1);
            assert!(counter.admits(hand), "{during}");
        }
    }

    #[test]
    fn a_leap_day_is_in_february() {
        let month = Counter::new(CalendarUnit::Month, 1);
        let day = Counter::new(CalendarUnit::Day, 1);
        let mut hand = Hand::at("2028-02-28T23:00:00Z");
        assert!(month.admits(hand) && day.admits(hand));
        hand.pass(HOUR);
        assert!(!month.admits(hand) && day.admits(hand));
        hand.pass(DAY);
        assert!(month.admits(hand) && day.admits(hand));
    }

    #[test]
    fn a_clock_that_steps_back_opens_nothing() {
        for (unit, before, after) in [
            (
                CalendarUnit::Day,
                "2026-03-14T23:50:00Z",
                "2026-03-15T00:10:00Z",
            ),
            (
                CalendarUnit::Month,
                "2026-02-28T23:50:00Z",
                "2026-03-01T00:10:00Z",
            ),
        ] {
            let counter = Counter::new(unit, 1);
            let mut hand = Hand::at(before);
            assert!(counter.admits(hand));
            hand.pass(20 * 60);
            assert!(counter.admits(hand));
            for _ in 0..5 {
                hand.set(before);
                assert!(!counter.admits(hand));
                hand.set(after);
                assert!(!counter.admits(hand));
            }
            // Set back for good, it ends when the calendar says so.
            hand.set(before);
            let wait = counter.wait(hand);
            hand.pass(wait - 1);
            assert!(!counter.admits(hand));
            hand.pass(1);
            assert!(counter.admits(hand));
        }
    }

    #[test]
    fn nobody_new_gains_by_a_clock_that_steps_back() {
        let calendar = Calendar::new(CalendarUnit::Day);
        let paged = Paged::new(1, Arc::clone(&calendar));
        let mut hand = Hand::at("2026-03-14T12:00:00Z");
        let page = paged.page();
        paged.charge(&page, hand.reading()).unwrap();
        hand.pass(DAY);
        assert!(page.is_idle(hand.reading()), "and may be forgotten");
        paged.charge(&paged.page(), hand.reading()).unwrap();
        hand.set("2026-03-14T12:00:00Z");
        // Forgotten or not, all count for the 15th now.
        for page in [page, paged.page()] {
            paged.charge(&page, hand.reading()).unwrap();
            assert!(paged.charge(&page, hand.reading()).is_err());
            hand.set("2026-03-15T12:00:00Z");
            assert!(paged.charge(&page, hand.reading()).is_err());
        }
    }

    #[test]
    fn a_clock_far_ahead_for_a_moment_does_not_shut_the_gate_for_good() {
        let counter = Counter::new(CalendarUnit::Day, 1);
        let mut hand = Hand::at("2026-03-14T12:00:00Z");
        assert!(counter.admits(hand));
        hand.set("2099-01-01T12:00:00Z");
        assert!(counter.admits(hand));
        hand.set("2026-03-14T12:00:00Z");
        assert_eq!(counter.wait(hand), DAY);
        hand.pass(DAY - 1);
        assert!(!counter.admits(hand));
        hand.pass(1);
        assert!(counter.admits(hand) && !counter.admits(hand));
        // From here on, by the calendar again.
        assert_eq!(counter.wait(hand), 12 * HOUR);
    }

    #[test]
    fn no_clock_is_so_wrong_that_it_panics() {
        for unit in [CalendarUnit::Day, CalendarUnit::Month] {
            let counter = Counter::new(unit, 1);
            for seconds in [0, 1, u64::MAX, 1 << 62, 1 << 40, 0, u64::MAX - 1] {
                let reading = Reading {
                    monotonic: Moment(5),
                    unix: Duration::from_secs(seconds),
                };
                let _ = counter.paged.charge(&counter.page, reading);
                let _ = counter.paged.look(&counter.page, reading);
                let _ = counter.paged.level(&counter.page, reading);
                let _ = counter.paged.period(reading).length();
                counter.page.is_idle(reading);
            }
        }
    }

    #[test]
    fn a_refund_is_for_the_period_it_was_charged_in() {
        let counter = Counter::new(CalendarUnit::Day, 2);
        let mut hand = Hand::at("2026-03-14T23:00:00Z");
        let charge = |hand: Hand| counter.paged.charge(&counter.page, hand.reading()).unwrap();
        let (level, yesterday) = charge(hand);
        assert_eq!(
            (level.remaining, level.more_in),
            (1, Duration::from_secs(HOUR))
        );
        counter.paged.refund(&counter.page, yesterday);
        let level = counter.paged.level(&counter.page, hand.reading());
        assert_eq!((level.remaining, level.more_in), (2, Duration::ZERO));

        let (_, yesterday) = charge(hand);
        hand.pass(HOUR);
        charge(hand);
        charge(hand);
        counter.paged.refund(&counter.page, yesterday);
        assert!(!counter.admits(hand));
    }

    #[test]
    fn zero_requests_means_never() {
        let counter = Counter::new(CalendarUnit::Day, 0);
        let hand = Hand::at("2026-03-14T23:00:00Z");
        assert!(!counter.admits(hand));
        assert_eq!(counter.wait(hand), HOUR);
        let level = counter.paged.level(&counter.page, hand.reading());
        assert_eq!(
            (level.remaining, level.more_in),
            (0, Duration::from_secs(HOUR))
        );
    }

    #[test]
    fn threads_around_midnight_are_admitted_to_the_limit_of_each_day() {
        let counter = Counter::new(CalendarUnit::Day, 300);
        let before = Hand::at("2026-03-14T23:59:59Z");
        let mut after = before;
        after.pass(1);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let counter = &counter;
                    // Half of them read the clock before midnight and are late.
                    let hand = if thread % 2 == 0 { before } else { after };
                    scope.spawn(move || (0..1_000).filter(|_| counter.admits(hand)).count())
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!((300..=600).contains(&admitted), "{admitted}");
        assert!(!counter.admits(after) && !counter.admits(before));
    }

    proptest! {
        /// However often the wall clock is set back: a fresh count for each page that it has not
        /// shown before, and a few more for each full length that has passed.
        #[test]
        fn steps_of_the_clock_admit_no_more_than_the_pages_they_show(
            steps in prop::collection::vec((0_u64..30 * HOUR, -40_i64 * 3_600..=0), 1..200),
        ) {
            let counter = Counter::new(CalendarUnit::Day, 3);
            let mut hand = Hand::at("2026-03-14T12:00:00Z");
            let (begin, first) = (hand.monotonic, hand.unix / DAY);
            let mut latest = first;
            let mut admitted = u64::from(counter.admits(hand));
            for (passes, set) in steps {
                hand.pass(passes);
                hand.unix = hand.unix.saturating_add_signed(set);
                latest = latest.max(hand.unix / DAY);
                admitted += (0..5).filter(|_| counter.admits(hand)).count() as u64;
                let days = 1 + (latest - first) + 2 * (hand.monotonic - begin) / DAY;
                prop_assert!(admitted <= 3 * days, "{admitted} in {days}");
            }
        }
    }
}
