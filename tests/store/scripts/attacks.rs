//! What broke a first attempt.

use super::*;
use crate::server::Redis;

const START: i64 = 1_800_000_000 * SECOND;

/// Units that were taken from a bucket which has been full since are not in it any more: to give them
/// back whole made room that had never been there.
#[test]
fn a_bucket_that_filled_meanwhile_takes_back_no_more_than_is_missing() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let (max, window) = (100, 10 * SECOND);
    let counter = Counter::new(Kind::Gcra, "gcra", max, window);
    let mut spent = Vec::new();
    let mut now = START;
    for _ in 0..40 {
        // Leases that are held until the bucket has refilled by as much, then given back, while
        // another takes all there is.
        let held = counter.ask(&mut redis, units(1, 13), now);
        now += counter.lease;
        let taken = counter.ask(&mut redis, units(1, max), now);
        spent.extend(std::iter::repeat_n(
            now,
            usize::try_from(taken.units).unwrap(),
        ));
        let back = Ask {
            back: (held.units, held.now, held.epoch),
            ..units(1, max)
        };
        let more = counter.ask(&mut redis, back, now);
        spent.extend(std::iter::repeat_n(
            now,
            usize::try_from(more.units).unwrap(),
        ));
    }
    let most = most_in_a_window(&spent, window);
    assert!(most <= Kind::Gcra.bound(max), "{most}");
    assert!(most >= max, "{most}");
}

/// A double holds microseconds since 1970 to a quarter, and a unit of this takes a tenth.
#[test]
fn ten_million_a_second_are_a_limit() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let (max, window) = (10_000_000, SECOND);
    for kind in [Kind::Gcra, Kind::Sliding] {
        let counter = Counter::new(kind, format!("{kind:?}"), max, window);
        let mut granted = 0;
        for step in 0..2_000 {
            // One at a time and many at a time, over a tenth of a second.
            let now = START + step * 50;
            granted += counter.ask(&mut redis, units(1, 1), now).units;
            granted += counter.ask(&mut redis, units(1, 10_000), now).units;
        }
        let refilled = match kind {
            Kind::Gcra => max * 2_000 * 50 / (window + counter.lease),
            Kind::Sliding => 0,
        };
        assert!(granted <= max + refilled, "{kind:?}: {granted}");
        assert!(granted >= max, "{kind:?}: {granted}");
    }
}

/// Under full load what is not spent is not lost: more than half was used all the while.
#[test]
fn a_bucket_in_use_takes_back_what_was_not_spent() {
    let Some(server) = Redis::start() else { return };
    let mut redis = server.connection();
    let counter = Counter::new(Kind::Gcra, "gcra", 100, 10 * SECOND);
    counter.ask(&mut redis, units(70, 70), START);
    let leases = [(); 2].map(|()| counter.ask(&mut redis, units(13, 13), START));
    let now = START + counter.lease;
    let mut left = counter.ask(&mut redis, units(0, 0), now).left;
    // Of much that is given back no more than a quarter of the limit at once.
    for (lease, expected) in leases.iter().zip([13, 10]) {
        let back = Ask {
            back: (lease.units, lease.now, lease.epoch),
            ..Ask::default()
        };
        let after = counter.ask(&mut redis, back, now).left;
        assert!(
            (expected..=expected + 1).contains(&(after - left)),
            "{after} after {left}"
        );
        left = after;
    }
}
