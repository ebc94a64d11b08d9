use proptest::prelude::*;

use super::*;
use crate::clock::Now;

const SECOND: u64 = 1_000_000_000;

fn admitted_at_once(gcra: &GcraCounter, bucket: &GcraState, now: Moment, tries: u32) -> u32 {
    (0..tries)
        .map(|_| u32::from(gcra.charge(bucket, now, 1).is_ok()))
        .sum()
}

#[test]
fn admits_the_burst_then_one_per_interval() {
    let gcra = GcraCounter::new(3, Duration::from_secs(60));
    let bucket = GcraState::default();
    let start = Moment(1_000 * SECOND);
    for remaining in [2, 1, 0] {
        let level = Level {
            remaining,
            more_in: Duration::from_secs(20),
        };
        assert_eq!(gcra.charge(&bucket, start, 1), Ok(level));
    }
    assert_eq!(gcra.charge(&bucket, start, 1), Err(Duration::from_secs(20)));

    let early = Moment(start.0 + 20 * SECOND - 1);
    assert_eq!(gcra.charge(&bucket, early, 1), Err(Duration::from_nanos(1)));
    let just = Moment(start.0 + 20 * SECOND);
    assert!(gcra.charge(&bucket, just, 1).is_ok());
    assert!(gcra.charge(&bucket, just, 1).is_err());
}

#[test]
fn the_burst_is_exact_when_the_clock_begins_at_zero() {
    for start in [0, 1, 999, SECOND] {
        let gcra = GcraCounter::new(5, Duration::from_secs(60));
        let bucket = GcraState::default();
        assert_eq!(admitted_at_once(&gcra, &bucket, Moment(start), 20), 5);
        assert_eq!(
            admitted_at_once(&gcra, &bucket, Moment(start + 60 * SECOND), 20),
            5
        );
    }
}

#[test]
fn a_look_changes_nothing() {
    let gcra = GcraCounter::new(2, Duration::from_secs(60));
    let bucket = GcraState::default();
    let now = Moment(SECOND);
    for _ in 0..10 {
        assert_eq!(gcra.look(&bucket, now, 1), Ok(()));
    }
    assert_eq!(gcra.level(&bucket, now).remaining, 2);
    assert_eq!(gcra.level(&bucket, now).more_in, Duration::ZERO);
    assert_eq!(admitted_at_once(&gcra, &bucket, now, 10), 2);
    assert_eq!(gcra.look(&bucket, now, 1), Err(Duration::from_secs(30)));
}

#[test]
fn a_refund_at_the_same_moment_is_whole() {
    let gcra = GcraCounter::new(3, Duration::from_secs(60));
    let bucket = GcraState::default();
    let now = Moment(SECOND);
    gcra.charge(&bucket, now, 1).unwrap();
    gcra.charge(&bucket, now, 1).unwrap();
    gcra.refund(&bucket, now, 1);
    assert_eq!(gcra.level(&bucket, now).remaining, 2);
    gcra.refund(&bucket, now, 1);
    assert_eq!(gcra.level(&bucket, now).remaining, 3);
}

#[test]
fn a_late_refund_never_refills_what_a_later_charge_took() {
    let gcra = GcraCounter::new(1, Duration::from_secs(10));
    let bucket = GcraState::default();
    gcra.charge(&bucket, Moment(SECOND), 1).unwrap();
    let later = Moment(21 * SECOND);
    gcra.charge(&bucket, later, 1).unwrap();
    gcra.refund(&bucket, Moment(SECOND), 1);
    assert!(gcra.look(&bucket, later, 1).is_err());

    let gcra = GcraCounter::new(2, Duration::from_secs(20));
    let bucket = GcraState::default();
    gcra.charge(&bucket, Moment(SECOND), 1).unwrap();
    gcra.charge(&bucket, Moment(5 * SECOND), 1).unwrap();
    gcra.refund(&bucket, Moment(SECOND), 1);
    // As if only the charge at 5 s had been made.
    assert_eq!(bucket.when_full(), Moment(15 * SECOND));
}

#[test]
fn zero_requests_means_never() {
    let gcra = GcraCounter::new(0, Duration::from_secs(60));
    let bucket = GcraState::default();
    for now in [0, SECOND, LONGEST] {
        assert_eq!(gcra.look(&bucket, Moment(now), 1), Err(NEVER));
        assert_eq!(gcra.charge(&bucket, Moment(now), 1), Err(NEVER));
        assert_eq!(gcra.level(&bucket, Moment(now)).remaining, 0);
    }
}

#[test]
fn extreme_limits_neither_panic_nor_admit_too_much() {
    let month = Duration::from_secs(30 * 86_400);
    let latest = Moment::from(Now {
        monotonic: Duration::MAX,
        unix: Duration::ZERO,
    });
    for (max, window) in [
        (i32::MAX as u32, Duration::from_millis(1)),
        (u32::MAX, Duration::from_millis(1)),
        (u32::MAX, month),
        (u32::MAX, Duration::MAX),
        (1, month),
        (1, Duration::MAX),
        (1, Duration::ZERO),
    ] {
        let gcra = GcraCounter::new(max, window);
        for now in [Moment(0), Moment(SECOND), latest] {
            let bucket = GcraState::default();
            let level = gcra.charge(&bucket, now, 1).unwrap();
            assert_eq!(level.remaining, max - 1);
            assert_eq!(gcra.look(&bucket, now, 1).is_ok(), max > 1);
            gcra.refund(&bucket, now, 1);
            assert_eq!(gcra.level(&bucket, now).remaining, max);
        }
    }
    for (max, window) in [(u32::MAX, month), (u32::MAX, Duration::MAX), (7, month)] {
        let gcra = GcraCounter::new(max, window);
        for now in [Moment(0), Moment(SECOND), latest] {
            let bucket = GcraState::default();
            assert_eq!(gcra.charge(&bucket, now, max).unwrap().remaining, 0);
            gcra.refund(&bucket, now, max);
            assert_eq!(gcra.level(&bucket, now).remaining, max);
            gcra.book_debt(&bucket, now, u32::MAX, window);
            gcra.level(&bucket, now);
            // Nothing is owed beyond the end of all time.
            if now < latest && window == month {
                assert!(gcra.look(&bucket, now, 1).is_err());
            }
        }
    }
    let gcra = GcraCounter::new(1, month);
    let bucket = GcraState::default();
    gcra.charge(&bucket, Moment(0), 1).unwrap();
    assert_eq!(gcra.charge(&bucket, Moment(0), 1), Err(month));
}

proptest! {
    #[test]
    fn a_cost_is_as_many_requests_of_one_unit_at_the_same_moment(
        max in 1_u32..40,
        window in 1_u64..10_000,
        steps in prop::collection::vec((0_u64..3_000, 1_u32..50), 1..200),
    ) {
        let gcra = GcraCounter::new(max, Duration::from_nanos(window));
        let [at_once, one_by_one] = [(); 2].map(|()| GcraState::default());
        let mut now = 1;
        for (gap, cost) in steps {
            now += gap;
            let room = gcra.level(&one_by_one, Moment(now)).remaining;
            let charged = gcra.charge(&at_once, Moment(now), cost);
            prop_assert_eq!(charged.is_ok(), cost <= room);
            if charged.is_ok() {
                prop_assert_eq!(admitted_at_once(&gcra, &one_by_one, Moment(now), cost), cost);
            }
            prop_assert_eq!(at_once.when_full(), one_by_one.when_full());
            if let Err(wait) = charged {
                prop_assert_eq!(wait == NEVER, cost > max);
                if cost > max {
                    continue;
                }
                let then = now + wait.as_nanos() as u64;
                prop_assert!(gcra.look(&at_once, Moment(then - 1), cost).is_err());
                prop_assert!(gcra.look(&at_once, Moment(then), cost).is_ok());
            }
        }
    }

    #[test]
    fn no_window_admits_more_than_twice_the_limit_less_one(
        max in 1_u32..20,
        window in 1_u64..10_000,
        gaps in prop::collection::vec(0_u64..2_000, 1..400),
        start in 0_u64..5_000,
    ) {
        let gcra = GcraCounter::new(max, Duration::from_nanos(window));
        let bucket = GcraState::default();
        let mut now = start;
        let mut admitted = Vec::new();
        for gap in gaps {
            // Mostly bunched, so that bursts and refills both happen.
            now += gap / 16 * (gap % 2);
            if gcra.charge(&bucket, Moment(now), 1).is_ok() {
                admitted.push(now);
            }
        }
        for (index, from) in admitted.iter().enumerate() {
            let within = admitted[index..].iter().take_while(|at| *at - from < window).count();
            prop_assert!(within < 2 * max as usize, "{within} within {window}");
        }
    }

    #[test]
    fn the_level_tells_what_a_look_says(
        max in 1_u32..10,
        window in 1_u64..1_000,
        gaps in prop::collection::vec(0_u64..200, 1..100),
    ) {
        let gcra = GcraCounter::new(max, Duration::from_nanos(window));
        let bucket = GcraState::default();
        let mut now = 0;
        for gap in gaps {
            now += gap;
            let level = gcra.level(&bucket, Moment(now));
            match gcra.look(&bucket, Moment(now), 1) {
                Ok(()) => prop_assert!(level.remaining > 0),
                Err(wait) => {
                    prop_assert_eq!(level.remaining, 0);
                    prop_assert_eq!(level.more_in, wait);
                }
            }
            let after = gcra.charge(&bucket, Moment(now), 1);
            prop_assert_eq!(after.is_ok(), level.remaining > 0);
            if let Ok(after) = after {
                prop_assert_eq!(after.remaining, level.remaining - 1);
            }
        }
    }
}
