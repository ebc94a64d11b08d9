//! Get, get, wait, get.

use super::*;
use crate::server::Redis;

const START: i64 = 1_800_000_000 * SECOND;
const MINUTE: i64 = 60 * SECOND;

#[test]
fn units_are_granted_as_wanted_as_far_as_there_are_any() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 10, MINUTE);
        let first = counter.ask(&mut redis, units(1, 4), START);
        assert_eq!((first.units, first.left), (4, 6), "{kind:?}");
        assert_eq!((first.lease, first.epoch), (250_000, START));
        let second = counter.ask(&mut redis, units(1, 100), START);
        assert_eq!((second.units, second.left), (6, 0));
        let none = counter.ask(&mut redis, units(1, 1), START);
        assert_eq!(none.units, 0);
        let then = counter.ask(&mut redis, units(1, 100), START + none.more - 1);
        assert_eq!(then.units, 0, "{kind:?}, not sooner than told");
        let then = counter.ask(&mut redis, units(1, 100), START + none.more);
        let expected = match kind {
            Kind::Gcra => 1,
            Kind::Sliding => 10,
        };
        assert_eq!(then.units, expected, "{kind:?}");
        assert_eq!(then.epoch, START, "it is the same store");
    }
}

#[test]
fn a_cost_is_granted_whole_or_not_at_all() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 10, MINUTE);
        assert_eq!(counter.ask(&mut redis, units(7, 7), START).units, 7);
        let refused = counter.ask(&mut redis, units(4, 4), START);
        assert_eq!((refused.units, refused.left), (0, 3));
        let then = START + refused.more;
        assert_eq!(counter.ask(&mut redis, units(4, 4), then - 1).units, 0);
        assert_eq!(counter.ask(&mut redis, units(4, 4), then).units, 4);
        let never = counter.ask(&mut redis, units(11, 11), then);
        assert_eq!((never.units, never.more), (0, -1));
    }
}

#[test]
fn what_is_given_back_is_there_again_once() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 10, MINUTE);
        let grant = counter.ask(&mut redis, units(8, 8), START);
        let back = |epoch| Ask {
            back: (5, grant.now, epoch),
            ..Ask::default()
        };
        let other = counter.ask(&mut redis, back(grant.epoch + 1), START);
        assert_eq!(other.left, 2, "{kind:?}: of another epoch");
        let given = counter.ask(&mut redis, back(grant.epoch), START);
        assert_eq!(given.left, 7, "{kind:?}");
    }
}

#[test]
fn what_was_spent_elsewhere_is_counted_whether_it_is_left_or_not() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 10, MINUTE);
        let tell = |known, spent, told| Ask {
            known,
            spent,
            told,
            heard: START,
            ..units(1, 1)
        };
        let new = counter.ask(&mut redis, tell(7, 4, 2), START);
        assert_eq!((new.units, new.left), (1, 3), "{kind:?}: 6 were spent");
        let known = counter.ask(&mut redis, tell(new.epoch, 4, 1), START);
        assert_eq!((known.units, known.left), (1, 1), "{kind:?}: 1 was told");
        let over = counter.ask(&mut redis, tell(7, 9, 0), START);
        assert_eq!((over.units, over.left), (0, 0));
    }
}

#[test]
fn what_is_owed_is_paid_before_anything_is_granted() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 6, MINUTE);
        assert_eq!(counter.ask(&mut redis, units(4, 4), START).units, 4);
        let book = Ask {
            debt: 5,
            ..Ask::default()
        };
        assert_eq!(counter.ask(&mut redis, book, START).left, 0);
        let refused = counter.ask(&mut redis, units(1, 1), START);
        assert_eq!(refused.units, 0);
        let then = START + refused.more;
        assert_eq!(counter.ask(&mut redis, units(1, 1), then - 1).units, 0);
        assert_eq!(
            counter.ask(&mut redis, units(1, 1), then).units,
            1,
            "{kind:?}"
        );
        if kind == Kind::Sliding {
            assert_eq!(
                counter.ask(&mut redis, units(0, 0), then).left,
                2,
                "3 are paid for"
            );
        }
    }
}

#[test]
fn a_clock_that_steps_back_counts_no_time_and_begins_an_epoch() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 4, MINUTE);
        let grant = counter.ask(&mut redis, units(4, 4), START);
        let back = START - 3_600 * SECOND;
        let refused = counter.ask(&mut redis, units(1, 1), back);
        assert_eq!(
            (refused.units, refused.epoch),
            (0, grant.epoch + 1),
            "{kind:?}"
        );
        let late = Ask {
            back: (4, grant.now, grant.epoch),
            ..units(1, 1)
        };
        assert_eq!(counter.ask(&mut redis, late, back).units, 0);
        // From there on it goes as before.
        assert_eq!(
            counter
                .ask(&mut redis, units(1, 1), back + refused.more - 2)
                .units,
            0
        );
        assert_eq!(
            counter
                .ask(&mut redis, units(1, 1), back + refused.more)
                .units,
            1
        );
    }
}

#[test]
fn the_store_has_a_clock_of_its_own() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), 4, MINUTE);
        let grant = counter.ask_now(&mut redis, units(1, 4));
        let [seconds, micros]: [i64; 2] = redis::cmd("TIME").query(&mut redis).unwrap();
        let now = seconds * SECOND + micros;
        assert!((grant.now..grant.now + 10 * SECOND).contains(&now));
        let ttl: i64 = redis::cmd("PTTL")
            .arg(format!("{kind:?}"))
            .query(&mut redis)
            .unwrap();
        assert!((67_000..77_000).contains(&ttl), "{kind:?}: {ttl}");
    }
}
