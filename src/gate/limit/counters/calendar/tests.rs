use proptest::prelude::*;

use super::super::reading::Moment;
use super::*;
use crate::clock::Now;

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

    fn reading(self) -> ClockReading {
        ClockReading {
            monotonic: Moment(self.monotonic * 1_000_000_000),
            unix: Duration::from_secs(self.unix),
        }
    }
}

struct Counter {
    calendar: CalendarCounter,
    state: CalendarState,
}

impl Counter {
    fn new(unit: CalendarUnit, max_requests: u32) -> Self {
        let calendar = CalendarCounter::new(max_requests, Calendar::new(unit));
        let state = calendar.unused();
        Self { calendar, state }
    }

    fn admits(&self, hand: Hand) -> bool {
        self.calendar.charge(&self.state, hand.reading(), 1).is_ok()
    }

    fn wait(&self, hand: Hand) -> u64 {
        let refused = self.calendar.look(&self.state, hand.reading(), 1);
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
    assert!(counter.calendar.charge(&counter.state, reading, 1).is_ok());
    reading.unix = Duration::from_secs(unix("2026-03-15T00:00:00Z")) - Duration::from_nanos(1);
    let refused = counter
        .calendar
        .charge(&counter.state, reading, 1)
        .unwrap_err();
    assert_eq!(refused, Duration::from_nanos(1));
    reading.unix += refused;
    assert!(counter.calendar.charge(&counter.state, reading, 1).is_ok());
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
        let period = counter.calendar.period(hand.reading());
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
    let counter = CalendarCounter::new(1, Arc::clone(&calendar));
    let mut hand = Hand::at("2026-03-14T12:00:00Z");
    let state = counter.unused();
    counter.charge(&state, hand.reading(), 1).unwrap();
    hand.pass(DAY);
    assert!(state.is_idle(hand.reading()), "and may be forgotten");
    counter
        .charge(&counter.unused(), hand.reading(), 1)
        .unwrap();
    hand.set("2026-03-14T12:00:00Z");
    // Forgotten or not, all count for the 15th now.
    for state in [state, counter.unused()] {
        counter.charge(&state, hand.reading(), 1).unwrap();
        assert!(counter.charge(&state, hand.reading(), 1).is_err());
        hand.set("2026-03-15T12:00:00Z");
        assert!(counter.charge(&state, hand.reading(), 1).is_err());
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
            let reading = ClockReading {
                monotonic: Moment(5),
                unix: Duration::from_secs(seconds),
            };
            let _ = counter.calendar.charge(&counter.state, reading, 1);
            let _ = counter.calendar.look(&counter.state, reading, 1);
            let _ = counter.calendar.level(&counter.state, reading);
            let _ = counter.calendar.period(reading).length();
            counter.state.is_idle(reading);
        }
    }
}

#[test]
fn the_last_day_and_month_of_all_have_a_limit_too() {
    for unit in [CalendarUnit::Day, CalendarUnit::Month] {
        let counter = Counter::new(unit, 1);
        let reading = ClockReading::from(Now {
            monotonic: Duration::MAX,
            unix: Duration::MAX,
        });
        assert!(counter.calendar.charge(&counter.state, reading, 1).is_ok());
        assert!(counter.calendar.charge(&counter.state, reading, 1).is_err());
    }
}

#[test]
fn a_refund_is_for_the_period_it_was_charged_in() {
    let counter = Counter::new(CalendarUnit::Day, 2);
    let mut hand = Hand::at("2026-03-14T23:00:00Z");
    let charge = |hand: Hand| {
        counter
            .calendar
            .charge(&counter.state, hand.reading(), 1)
            .unwrap()
    };
    let (level, yesterday) = charge(hand);
    assert_eq!(
        (level.remaining, level.more_in),
        (1, Duration::from_secs(HOUR))
    );
    counter.calendar.refund(&counter.state, yesterday, 1);
    let level = counter.calendar.level(&counter.state, hand.reading());
    assert_eq!((level.remaining, level.more_in), (2, Duration::ZERO));

    let (_, yesterday) = charge(hand);
    hand.pass(HOUR);
    charge(hand);
    charge(hand);
    counter.calendar.refund(&counter.state, yesterday, 1);
    assert!(!counter.admits(hand));
}

#[test]
fn zero_requests_means_never() {
    let counter = Counter::new(CalendarUnit::Day, 0);
    let hand = Hand::at("2026-03-14T23:00:00Z");
    let refused = counter.calendar.charge(&counter.state, hand.reading(), 1);
    assert_eq!(refused.unwrap_err(), NEVER);
    let level = counter.calendar.level(&counter.state, hand.reading());
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
    /// However often the wall clock is set back: a fresh count for each day that it has not
    /// shown before, and a few more for each full length that has passed.
    #[test]
    fn steps_of_the_clock_admit_no_more_than_the_days_they_show(
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
