//! Replicas that hold leases, spend them when they like and give back what they like: never more
//! than the bound in any window.

use proptest::prelude::*;
use redis::Connection;

use super::*;
use crate::server::Redis;

const START: i64 = 1_800_000_000 * SECOND;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Lets time pass, in thousandths of a lease.
    Wait(i64),
    /// A replica asks.
    Ask { need: i64, want: i64 },
    /// It spends so many of a lease, at its youngest or at its oldest.
    Spend { lease: usize, units: i64 },
    /// It gives back what is left of a lease.
    GiveBack { lease: usize },
}

#[derive(Debug)]
struct Lease {
    units: i64,
    until: i64,
    granted: i64,
    epoch: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_i64..700).prop_map(Step::Wait),
        1 => (1_000_i64..60_000).prop_map(Step::Wait),
        4 => (1_i64..4, 0_i64..40).prop_map(|(need, more)| Step::Ask { need, want: need + more }),
        4 => (0_usize..6, 1_i64..40).prop_map(|(lease, units)| Step::Spend { lease, units }),
        3 => (0_usize..6).prop_map(|lease| Step::GiveBack { lease }),
    ];
    prop::collection::vec(step, 1..120)
}

/// When each unit was spent.
fn play(redis: &mut Connection, counter: &Counter, steps: &[Step]) -> Vec<i64> {
    counter.forget(redis);
    let mut now = START;
    let mut leases: Vec<Lease> = Vec::new();
    let mut spent = Vec::new();
    for step in steps {
        // Whoever holds the oldest waits with it to the last moment.
        leases.retain(|lease| lease.until > now && lease.units > 0);
        match *step {
            Step::Wait(thousandths) => now += counter.lease * thousandths / 1_000,
            Step::Ask { need, want } => {
                let answer = counter.ask(redis, units(need, want), now);
                assert!(answer.units == 0 || (need..=want).contains(&answer.units));
                leases.push(Lease {
                    units: answer.units,
                    until: now + answer.lease,
                    granted: answer.now,
                    epoch: answer.epoch,
                });
            }
            Step::Spend { lease, units } => {
                if let Some(lease) = leases.get_mut(lease) {
                    let units = units.min(lease.units);
                    lease.units -= units;
                    spent.extend(std::iter::repeat_n(now, usize::try_from(units).unwrap()));
                }
            }
            Step::GiveBack { lease } if lease < leases.len() => {
                let lease = leases.remove(lease);
                let back = Ask {
                    back: (lease.units, lease.granted, lease.epoch),
                    ..Ask::default()
                };
                counter.ask(redis, back, now);
            }
            Step::GiveBack { .. } => {}
        }
    }
    spent
}

#[test]
fn no_window_sees_more_spent_than_the_bound() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let case = (
        prop::sample::select(vec![Kind::Gcra, Kind::Sliding]),
        1_i64..150,
        prop::sample::select(vec![SECOND, 3 * SECOND, 60 * SECOND]),
        steps(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let redis = std::cell::RefCell::new(&mut redis);
    runner
        .run(&case, |(kind, max, window, steps)| {
            let counter = Counter::new(kind, "bounds", max, window);
            let spent = play(&mut redis.borrow_mut(), &counter, &steps);
            let most = most_in_a_window(&spent, window);
            prop_assert!(most <= kind.bound(max), "{most} of {max} in {kind:?}");
            Ok(())
        })
        .unwrap();
}

/// Up to 64 units a window, what is granted is what a perfect log of the window and the lease grants.
#[test]
fn small_limits_are_granted_as_by_a_perfect_log() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let case = (
        1_i64..=64,
        prop::collection::vec((0_i64..40_000, 1_i64..6), 1..150),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    let redis = std::cell::RefCell::new(&mut redis);
    runner
        .run(&case, |(max, arrivals)| {
            let mut redis = redis.borrow_mut();
            let counter = Counter::new(Kind::Sliding, "perfect", max, SECOND);
            counter.forget(&mut redis);
            let span = SECOND + counter.lease;
            let (mut now, mut log) = (START, Vec::new());
            for (gap, want) in arrivals {
                now += gap;
                let used = log.iter().filter(|at| **at + span > now).count();
                let free = max - i64::try_from(used).unwrap();
                let granted = counter.ask(&mut redis, units(1, want), now).units;
                prop_assert_eq!(granted, free.min(want));
                log.extend(std::iter::repeat_n(now, usize::try_from(granted).unwrap()));
            }
            Ok(())
        })
        .unwrap();
}

/// Of steady demand a large limit grants nearly what a perfect log of the window would.
#[test]
fn merged_entries_cost_little() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for kind in [Kind::Gcra, Kind::Sliding] {
        let (max, window) = (1_000, 10 * SECOND);
        let counter = Counter::new(kind, format!("steady {kind:?}"), max, window);
        // 1.2 times the limit, for ten windows.
        let granted: i64 = (0..12_000)
            .map(|step| {
                counter
                    .ask(&mut redis, units(1, 1), START + step * window / 1_200)
                    .units
            })
            .sum();
        assert!(granted >= 9_500, "{kind:?}: {granted} of 10 000");
    }
}
