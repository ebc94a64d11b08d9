//! Days and months.

use super::*;
use crate::server::Redis;

/// 2028-02-28, 12:00 UTC.
const NOON: i64 = 1_835_352_000 * SECOND;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

#[test]
fn a_day_has_its_units_and_the_next_one_has_them_again() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for (unit, rest) in [("day", 12 * HOUR), ("month", 12 * HOUR + DAY)] {
        let counter = Counter::calendar(unit, unit, 5);
        let grant = counter.ask(&mut redis, units(1, 9), NOON);
        assert_eq!((grant.units, grant.left, grant.lease), (5, 0, 250_000));
        let refused = counter.ask(&mut redis, units(1, 1), NOON + HOUR);
        assert_eq!((refused.units, refused.more), (0, rest - HOUR), "{unit}");
        assert_eq!(
            counter.ask(&mut redis, units(1, 1), NOON + rest - 1).units,
            0
        );
        assert_eq!(
            counter.ask(&mut redis, units(1, 9), NOON + rest).units,
            5,
            "{unit}"
        );
    }
}

#[test]
fn months_begin_as_in_the_calendar() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let months = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28, 31];
    // 2028-01-01.
    let mut start = 1_830_297_600 * SECOND;
    for days in months {
        let counter = Counter::calendar("month", format!("month at {start}"), 1);
        assert_eq!(counter.ask(&mut redis, units(1, 1), start).units, 1);
        let last = counter.ask(&mut redis, units(1, 1), start + days * DAY - 1);
        assert_eq!((last.units, last.more), (0, 1), "{days} days");
        start += days * DAY;
        assert_eq!(counter.ask(&mut redis, units(1, 1), start).units, 1);
    }
}

#[test]
fn a_lease_ends_with_the_day() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::calendar("day", "day", 5);
    let grant = counter.ask(&mut redis, units(1, 1), NOON + 12 * HOUR - 7);
    assert_eq!(grant.lease, 7);
    let back = Ask {
        back: (1, grant.now, grant.epoch),
        ..units(1, 9)
    };
    let next = counter.ask(&mut redis, back, NOON + 12 * HOUR);
    assert_eq!(
        (next.units, next.left),
        (5, 0),
        "yesterday's are not given back today"
    );
}

#[test]
fn what_is_given_back_the_same_day_is_there_again() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::calendar("day", "day", 5);
    let grant = counter.ask(&mut redis, units(1, 4), NOON);
    let back = |epoch| Ask {
        back: (3, grant.now, epoch),
        ..Ask::default()
    };
    assert_eq!(counter.ask(&mut redis, back(grant.epoch + 1), NOON).left, 1);
    assert_eq!(counter.ask(&mut redis, back(grant.epoch), NOON).left, 4);
}

#[test]
fn what_was_spent_is_counted_in_its_own_day() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::calendar("day", "day", 9);
    let midnight = NOON / SECOND - 12 * 3_600;
    let tell = |period| Ask {
        known: 7,
        spent: 4,
        told: 2,
        heard: NOON,
        period,
        ..units(1, 1)
    };
    assert_eq!(
        counter.ask(&mut redis, tell(midnight - 86_400), NOON).left,
        8
    );
    assert_eq!(counter.ask(&mut redis, tell(midnight), NOON).left, 1);
}

#[test]
fn what_is_owed_goes_over_into_the_next_day_and_no_further() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::calendar("day", "day", 6);
    let book = Ask {
        debt: 100,
        ..units(1, 1)
    };
    assert_eq!(counter.ask(&mut redis, book, NOON).units, 0);
    assert_eq!(counter.ask(&mut redis, units(1, 1), NOON + DAY).units, 0);
    assert_eq!(
        counter.ask(&mut redis, units(1, 9), NOON + 2 * DAY).units,
        6
    );
}

#[test]
fn a_clock_that_steps_back_over_midnight_grants_nothing_twice() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::calendar("day", "day", 5);
    let midnight = NOON + 12 * HOUR;
    assert_eq!(counter.ask(&mut redis, units(5, 5), midnight - 1).units, 5);
    let next = counter.ask(&mut redis, units(5, 5), midnight + 1);
    assert_eq!(next.units, 5);
    let back = counter.ask(&mut redis, units(1, 5), midnight - SECOND);
    assert_eq!((back.units, back.epoch), (0, next.epoch + 1));
    assert_eq!(counter.ask(&mut redis, units(1, 5), midnight + 2).units, 0);
    assert_eq!(
        counter.ask(&mut redis, units(1, 5), midnight + DAY).units,
        5
    );
}

#[test]
fn a_clock_that_was_a_year_ahead_shuts_nobody_out_for_a_year() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for unit in ["day", "month"] {
        let counter = Counter::calendar(unit, unit, 5);
        assert_eq!(
            counter.ask(&mut redis, units(5, 5), NOON + 365 * DAY).units,
            5
        );
        assert_eq!(
            counter.ask(&mut redis, units(1, 5), NOON).units,
            0,
            "no time has passed"
        );
        assert_eq!(
            counter.ask(&mut redis, units(1, 5), NOON + 2 * DAY).units,
            5
        );
    }
}
