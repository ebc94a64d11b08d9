use proptest::prelude::*;

use super::*;
use crate::clock::LONGEST;

const SECOND: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Every admitted request, in full.
struct Perfect {
    max_requests: usize,
    window: u64,
    admitted: VecDeque<u64>,
    count: usize,
}

impl Perfect {
    fn new(max_requests: u32, window: u64) -> Self {
        Self {
            max_requests: max_requests as usize,
            window,
            admitted: VecDeque::new(),
            count: 0,
        }
    }

    fn admits(&mut self, now: u64) -> bool {
        self.admits_cost(now, 1)
    }

    fn admits_cost(&mut self, now: u64, cost: usize) -> bool {
        while self
            .admitted
            .front()
            .is_some_and(|at| at + self.window <= now)
        {
            self.admitted.pop_front();
        }
        let admits = self.admitted.len() + cost <= self.max_requests;
        if admits {
            self.admitted.extend(std::iter::repeat_n(now, cost));
            self.count += cost;
        }
        admits
    }
}

fn most_in_a_window(admitted: &[u64], window: u64) -> usize {
    let from = |index: usize| {
        let within = |at: &&u64| **at - admitted[index] < window;
        admitted[index..].iter().take_while(within).count()
    };
    (0..admitted.len()).map(from).max().unwrap_or(0)
}

#[test]
fn each_request_comes_back_a_window_after_it_was_made() {
    let sliding = SlidingCounter::new(2, MINUTE);
    let log = SlidingState::default();
    let at = |seconds: u64| Moment(seconds * SECOND);
    let (level, _) = sliding.charge(&log, at(0), 1).unwrap();
    assert_eq!((level.remaining, level.more_in), (1, MINUTE));
    sliding.charge(&log, at(50), 1).unwrap();
    let wait = |seconds| Err(Duration::from_secs(seconds));
    assert_eq!(sliding.look(&log, at(50), 1), wait(10));
    assert_eq!(
        sliding.look(&log, Moment(60 * SECOND - 1), 1),
        Err(Duration::from_nanos(1))
    );
    sliding.charge(&log, at(60), 1).unwrap();
    assert_eq!(sliding.look(&log, at(60), 1), wait(50));
    assert_eq!(sliding.level(&log, at(110)).remaining, 1);
    let level = sliding.level(&log, at(120));
    assert_eq!((level.remaining, level.more_in), (2, Duration::ZERO));
}

#[test]
fn a_burst_comes_back_whole_after_one_window() {
    let sliding = SlidingCounter::new(10_000, MINUTE);
    let log = SlidingState::default();
    for round in 0..3 {
        let now = Moment(round * 60 * SECOND);
        for _ in 0..10_000 {
            sliding.charge(&log, now, 1).unwrap();
        }
        let early = Moment(now.0 + 60 * SECOND - 1);
        assert_eq!(
            sliding.charge(&log, early, 1).err(),
            Some(Duration::from_nanos(1))
        );
    }
}

#[test]
fn a_look_and_a_level_count_nothing() {
    let sliding = SlidingCounter::new(2, MINUTE);
    let log = SlidingState::default();
    for _ in 0..10 {
        assert_eq!(sliding.look(&log, Moment(1), 1), Ok(()));
        assert_eq!(sliding.level(&log, Moment(1)).remaining, 2);
    }
}

#[test]
fn a_refund_gives_back_what_is_still_remembered() {
    let sliding = SlidingCounter::new(2, MINUTE);
    let log = SlidingState::default();
    let (_, first) = sliding.charge(&log, Moment(SECOND), 1).unwrap();
    let (_, second) = sliding.charge(&log, Moment(2 * SECOND), 1).unwrap();
    sliding.refund(&log, second, 1);
    assert_eq!(sliding.level(&log, Moment(2 * SECOND)).remaining, 1);
    sliding.charge(&log, Moment(3 * SECOND), 1).unwrap();
    // A window later the first is forgotten, and cannot be given back once more.
    let later = Moment(61 * SECOND);
    assert_eq!(sliding.level(&log, later).remaining, 1);
    sliding.refund(&log, first, 1);
    assert_eq!(sliding.level(&log, later).remaining, 1);
}

#[test]
fn zero_requests_means_never() {
    let sliding = SlidingCounter::new(0, MINUTE);
    let log = SlidingState::default();
    for now in [0, SECOND, LONGEST] {
        assert_eq!(sliding.look(&log, Moment(now), 1), Err(NEVER));
        assert_eq!(sliding.charge(&log, Moment(now), 1).err(), Some(NEVER));
        let level = sliding.level(&log, Moment(now));
        assert_eq!((level.remaining, level.more_in), (0, MINUTE));
    }
    assert!(log.is_idle(Moment(0)));
}

#[test]
fn extreme_limits_do_not_panic() {
    for (max, window) in [
        (u32::MAX, Duration::from_millis(1)),
        (u32::MAX, Duration::MAX),
        (1, Duration::MAX),
        (1, Duration::ZERO),
        (33, Duration::from_nanos(1)),
    ] {
        let sliding = SlidingCounter::new(max, window);
        let log = SlidingState::default();
        for now in [Moment(0), Moment(SECOND), Moment(LONGEST)] {
            if let Ok((level, at)) = sliding.charge(&log, now, 1) {
                assert!(level.remaining < max);
                sliding.refund(&log, at, 1);
            }
            sliding.level(&log, now);
        }
    }
}

#[test]
fn who_read_the_clock_earlier_gains_nothing() {
    let sliding = SlidingCounter::new(1, MINUTE);
    let log = SlidingState::default();
    sliding.charge(&log, Moment(SECOND), 1).unwrap();
    let now = Moment(61 * SECOND);
    sliding.charge(&log, now, 1).unwrap();
    // The first is forgotten; the second is not, though it is in the future.
    let behind = Moment(60 * SECOND);
    assert_eq!(sliding.look(&log, behind, 1), Err(Duration::from_secs(61)));
    // Nor does it help to come to a successor.
    let forgetful = SlidingState::default().successor(now);
    let (_, at) = sliding.charge(&forgetful, behind, 1).unwrap();
    assert_eq!(at, now);
}

#[test]
fn a_log_is_as_small_as_the_docs_say() {
    assert!(
        SlidingState::largest() <= 616,
        "{}",
        SlidingState::largest()
    );
    let sliding = SlidingCounter::new(1_000_000, MINUTE);
    let log = SlidingState::default();
    assert!(log.size() <= 104, "{}", log.size());
    sliding.charge(&log, Moment(0), 1).unwrap();
    assert!(log.size() <= 168, "{}", log.size());
    for step in 0..100_000 {
        sliding.charge(&log, Moment(step * 700_000_000), 1).unwrap();
        assert!(log.size() <= SlidingState::largest());
    }
}

#[test]
fn threads_together_are_admitted_to_the_limit_exactly() {
    let sliding = SlidingCounter::new(500, MINUTE);
    let log = SlidingState::default();
    let admitted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let (sliding, log) = (&sliding, &log);
                let admits = move |step: &u64| {
                    let now = Moment(thread * 7 + step * 1_000_000);
                    sliding.charge(log, now, 1).is_ok()
                };
                scope.spawn(move || (0..1_000).filter(admits).count())
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(admitted, 500);
}

/// Mostly bunched, so that bursts and gaps both happen.
fn arrivals() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((0_u64..2_000, any::<bool>()), 1..600).prop_map(|gaps| {
        let mut now = 0;
        let next = |(gap, moves)| {
            now += if moves { gap / 16 } else { 0 };
            now
        };
        gaps.into_iter().map(next).collect()
    })
}

proptest! {
    #[test]
    fn no_window_ever_admits_more_than_the_limit(
        max in 1_u32..100,
        window in 1_u64..10_000,
        arrivals in arrivals(),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        let admits = |now: &u64| sliding.charge(&log, Moment(*now), 1).is_ok();
        let admitted: Vec<u64> = arrivals.into_iter().filter(admits).collect();
        prop_assert!(most_in_a_window(&admitted, window) <= max as usize);
    }

    #[test]
    fn small_limits_are_decided_as_by_a_perfect_log(
        max in 1_u32..=RUNS,
        window in 1_u64..10_000,
        arrivals in arrivals(),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        let mut perfect = Perfect::new(max, window);
        for now in arrivals {
            prop_assert_eq!(sliding.charge(&log, Moment(now), 1).is_ok(), perfect.admits(now));
        }
    }

    #[test]
    fn small_limits_decide_costs_as_a_perfect_log_does(
        max in 1_u32..=RUNS,
        window in 1_u64..10_000,
        arrivals in arrivals(),
        costs in prop::collection::vec(1_u32..40, 600),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        let mut perfect = Perfect::new(max, window);
        for (now, cost) in arrivals.into_iter().zip(costs) {
            let expected = perfect.admits_cost(now, cost as usize);
            prop_assert_eq!(sliding.charge(&log, Moment(now), cost).is_ok(), expected);
        }
    }

    /// To the nanosecond, whatever was given back and booked before.
    #[test]
    fn the_wait_of_a_cost_is_true(
        max in 1_u32..100,
        window in 1_u64..10_000,
        arrivals in arrivals(),
        steps in prop::collection::vec((1_u32..100, 0_u32..200, 0_u8..4), 600),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        for (now, (cost, units, what)) in arrivals.into_iter().map(Moment).zip(steps) {
            match sliding.charge(&log, now, cost) {
                Ok((_, at)) if what == 0 => sliding.refund(&log, at, cost),
                Ok(_) => {}
                Err(NEVER) => prop_assert!(cost > max),
                Err(wait) => {
                    let nanos = wait.as_nanos() as u64;
                    let then = log.successor(Moment(0));
                    prop_assert!(sliding.look(&then, Moment(now.0 + nanos - 1), cost).is_err());
                    prop_assert!(sliding.look(&then, Moment(now.0 + nanos), cost).is_ok());
                }
            }
            if what == 1 {
                sliding.book_debt(&log, now, units);
            }
            prop_assert!(log.size() <= SlidingState::largest());
            let idle_at = Moment(log.lock().idle_from);
            let then = log.successor(Moment(0));
            prop_assert_eq!(sliding.level(&then, idle_at).remaining, max, "idle is unused");
        }
    }

    #[test]
    fn steady_callers_get_95_of_100_that_a_perfect_log_admits(
        max in 1_u32..2_000,
        window in 1_000_000_u64..100_000_000_000,
        // Requests offered, in hundredths of the limit.
        offered in 50_u64..1_000,
        start: u32,
    ) {
        let gap = (window * 100 / (u64::from(max) * offered)).max(1);
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        let mut perfect = Perfect::new(max, window);
        let mut admitted = 0;
        for step in 0..10 * window / gap {
            let now = u64::from(start) + step * gap;
            admitted += usize::from(sliding.charge(&log, Moment(now), 1).is_ok());
            perfect.admits(now);
        }
        prop_assert!(admitted * 100 >= perfect.count * 95, "{admitted} of {}", perfect.count);
    }

    #[test]
    fn the_wait_is_true(
        max in 1_u32..100,
        window in 1_u64..10_000,
        arrivals in arrivals(),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        for now in arrivals.into_iter().map(Moment) {
            let level = sliding.level(&log, now);
            prop_assert_eq!(sliding.look(&log, now, 1).is_ok(), level.remaining > 0);
            let Err(wait) = sliding.charge(&log, now, 1) else { continue };
            prop_assert_eq!(wait, level.more_in);
            let then = log.successor(Moment(0));
            let nanos = wait.as_nanos() as u64;
            prop_assert!(sliding.look(&then, Moment(now.0 + nanos - 1), 1).is_err());
            prop_assert!(sliding.look(&then, Moment(now.0 + nanos), 1).is_ok());
        }
    }

    #[test]
    fn with_refunds_no_window_keeps_more_than_the_limit(
        max in 1_u32..60,
        window in 1_u64..2_000,
        steps in prop::collection::vec((0_u64..60, any::<bool>(), 0_usize..8), 1..500),
    ) {
        let sliding = SlidingCounter::new(max, Duration::from_nanos(window));
        let log = SlidingState::default();
        let mut now = 0;
        let mut kept: Vec<Moment> = Vec::new();
        for (gap, refund, back) in steps {
            now += gap;
            if refund && !kept.is_empty() {
                let place = kept.len() - 1 - back.min(kept.len() - 1);
                sliding.refund(&log, kept.remove(place), 1);
            } else if let Ok((_, at)) = sliding.charge(&log, Moment(now), 1) {
                kept.push(at);
            }
            let times: Vec<u64> = kept.iter().map(|at| at.0).collect();
            prop_assert!(most_in_a_window(&times, window) <= max as usize);
        }
    }
}
