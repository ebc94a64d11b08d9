//! Requests that cost more or less than one unit, and what callers are told of when they pass.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn gate(algorithm: Algorithm, rules: &[RuleSpec]) -> TestGate {
    let limiter = Limiter::new(&Limits::local().algorithm(algorithm), None);
    let rules = limiter.ruleset(1, &app("shop"), rules, None, LEAP);
    TestGate { limiter, rules }
}

#[test]
fn a_cost_is_charged_whole_by_every_rule_or_by_none() {
    for (algorithm, window) in kinds() {
        let rules = [
            spec(Mode::Key, 10, window),
            spec(Mode::App, 7, window),
            spec(Mode::Ip, 5, window),
        ];
        let gate = gate(algorithm, &rules);
        let charged = expect_charged(gate.ask_for(3, LEAP));
        assert_eq!(left(&charged), [7, 4, 2], "{algorithm:?} {window:?}");
        let refused = expect_limited(gate.ask_for(3, LEAP));
        assert_eq!(refused.violated.len(), 1);
        assert_eq!(left(&refused.states), [7, 4, 2]);
        let charged = expect_charged(gate.ask_for(2, LEAP));
        assert_eq!(left(&charged), [5, 2, 0]);
    }
}

#[test]
fn a_rule_alone_charges_as_among_others() {
    for (algorithm, window) in kinds() {
        for mode in [Mode::App, Mode::Key] {
            let gate = gate(algorithm, &[spec(mode, 5, window)]);
            assert_eq!(left(&expect_charged(gate.ask_for(2, LEAP))), [3]);
            assert_eq!(left(&expect_limited(gate.ask_for(4, LEAP)).states), [3]);
            assert_eq!(left(&expect_charged(gate.ask_for(3, LEAP))), [0]);
            assert_eq!(left(&expect_limited(gate.ask_for(1, LEAP)).states), [0]);
        }
    }
}

#[test]
fn a_request_that_costs_nothing_passes_where_one_that_costs_a_unit_would() {
    for (algorithm, window) in kinds() {
        let gate = gate(algorithm, &[spec(Mode::Key, 2, window)]);
        for _ in 0..5 {
            assert_eq!(left(&expect_charged(gate.ask_for(0, LEAP))), [2]);
        }
        expect_charged(gate.ask_for(2, LEAP));
        let nothing = expect_limited(gate.ask_for(0, LEAP));
        assert_eq!(nothing, expect_limited(gate.ask_for(1, LEAP)));
    }
}

#[test]
fn what_costs_more_than_a_rule_ever_holds_is_told_no_time() {
    for (algorithm, window) in kinds() {
        let rules = [spec(Mode::Key, 5, window), spec(Mode::App, 9, window)];
        let gate = gate(algorithm, &rules);
        let refused = expect_limited(gate.ask_for(6, LEAP));
        assert_eq!(refused.retry_after, None, "{algorithm:?} {window:?}");
        assert_eq!(left(&refused.states), [5, 9]);
        let of_the_first = refused.states.iter().next().unwrap();
        assert_eq!(of_the_first.more_in, 0, "it is untouched");
        // Nor is it told the time after which only the other one would admit it.
        expect_charged(gate.ask_for(4, LEAP));
        let refused = expect_limited(gate.ask_for(6, LEAP));
        assert_eq!((refused.retry_after, refused.violated.len()), (None, 2));
        let refused = expect_limited(gate.ask_for(u32::MAX, LEAP));
        assert_eq!(
            (refused.retry_after, left(&refused.states)),
            (None, vec![1, 5])
        );
    }
}

#[test]
fn who_loses_the_race_gets_all_that_it_cost_back() {
    for (algorithm, window) in kinds() {
        let rules = [
            spec(Mode::Key, 9, window),
            spec(Mode::App, 5, window),
            spec(Mode::Ip, 9, window),
        ];
        let gate = gate(algorithm, &rules);
        let refused = gate.refused_after_the_look(3, LEAP);
        assert_eq!(left(&refused.states), [6, 2, 6], "{algorithm:?} {window:?}");
    }
}

/// What was admitted when.
type Log = Vec<(Now, u32)>;

/// The most units in any window, or in any one day or month.
fn most_in_a_window(log: &Log, window: Window) -> u64 {
    let month = |now: Now| {
        let second = i64::try_from(now.unix.as_secs()).unwrap();
        let time = chrono::DateTime::from_timestamp(second, 0).unwrap();
        time.format("%Y-%m").to_string()
    };
    let within = |first: Now, now: Now| match window {
        Window::Rolling(length) => now.monotonic - first.monotonic < length,
        Window::Calendar(CalendarUnit::Day) => {
            first.unix.as_secs() / 86_400 == now.unix.as_secs() / 86_400
        }
        Window::Calendar(CalendarUnit::Month) => month(first) == month(now),
    };
    let from = |index: usize| {
        let (first, _) = log[index];
        let of_window = log[index..]
            .iter()
            .take_while(|(now, _)| within(first, *now));
        of_window.map(|(_, cost)| u64::from(*cost)).sum()
    };
    (0..log.len()).map(from).max().unwrap_or(0)
}

/// Gaps in thousandths of a window, and costs.
fn requests() -> impl Strategy<Value = Vec<(u32, u32)>> {
    let gap = prop_oneof![Just(0), 0_u32..80, 0_u32..1_200];
    prop::collection::vec((gap, 0_u32..12), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_window_admits_more_units_than_the_bound_and_the_refused_use_none(
        (algorithm, window) in select(kinds()),
        max in 1_u32..60,
        requests in requests(),
    ) {
        let rules = [spec(Mode::Key, max, window)];
        let [gate, twin] = [(); 2].map(|()| gate(algorithm, &rules));
        let (mut now, mut log) = (LEAP, Log::new());
        for (gap, cost) in requests {
            let gap = length(window) * gap / 1_000;
            now = Now { monotonic: now.monotonic + gap, unix: now.unix + gap };
            if let ChargeOutcome::Charged(states) = gate.ask_for(cost, now) {
                log.push((now, cost));
                // For the twin there were no others.
                prop_assert_eq!(expect_charged(twin.ask_for(cost, now)), states);
            }
        }
        let bound = match (algorithm, window) {
            (Algorithm::Gcra, Window::Rolling(_)) => 2 * u64::from(max) - 1,
            _ => u64::from(max),
        };
        prop_assert!(most_in_a_window(&log, window) <= bound);
    }

    /// And no sooner: a second earlier, to which `Retry-After` is rounded, it does not.
    #[test]
    fn who_waits_as_told_passes(
        (algorithm, window) in select(kinds()),
        max in 1_u32..60,
        requests in requests(),
    ) {
        let gate = gate(algorithm, &[spec(Mode::Key, max, window)]);
        let mut now = LEAP;
        let after = |now: Now, wait: Duration| {
            Now { monotonic: now.monotonic + wait, unix: now.unix + wait }
        };
        for (gap, cost) in requests {
            now = after(now, length(window) * gap / 1_000);
            let ChargeOutcome::Limited(refused) = gate.ask_for(cost, now) else { continue };
            let Some(wait) = refused.retry_after else {
                prop_assert!(cost > max);
                continue;
            };
            prop_assert!(cost <= max);
            let early = after(now, wait - Duration::from_secs(1));
            prop_assert!(!gate.ask_for(cost, early).is_charged());
            now = after(now, wait);
            prop_assert!(gate.ask_for(cost, now).is_charged(), "{wait:?}");
        }
    }

    /// `r` units are there and no more, and `t` is the wait of a request that costs one more.
    #[test]
    fn the_fields_say_what_happens_next(
        (algorithm, window) in select(kinds()),
        max in 1_u32..60,
        requests in requests(),
    ) {
        let gate = gate(algorithm, &[spec(Mode::Key, max, window)]);
        let mut now = LEAP;
        for (gap, cost) in requests {
            let gap = length(window) * gap / 1_000;
            now = Now { monotonic: now.monotonic + gap, unix: now.unix + gap };
            let states = match gate.ask_for(cost, now) {
                ChargeOutcome::Charged(states) => states,
                other => expect_limited(other).states,
            };
            let state = *states.iter().next().unwrap();
            let refused = expect_limited(gate.ask_for(state.remaining + 1, now));
            let told = refused.retry_after.map(|wait| wait.as_secs());
            prop_assert_eq!(told.unwrap_or(0), u64::from(state.more_in));
            prop_assert_eq!(refused.states.iter().next(), Some(&state));
            if state.remaining > 0 {
                let charged = expect_charged(gate.ask_for(state.remaining, now));
                prop_assert_eq!(left(&charged), [0]);
            }
        }
    }
}
