//! Units booked after a request has passed, more than are left among them.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::charge::Charge;
use super::*;
use crate::clock::Clock;

/// A gate that charges one caller alone.
struct Indebted(TestGate);

impl Indebted {
    fn new((algorithm, window): (Algorithm, Window), max: u32) -> Self {
        let limiter = Limiter::new(&Limits::local().algorithm(algorithm).capacity(1), None);
        let rules = [spec(Mode::Ip, max, window)];
        let rules = limiter.ruleset(1, &app("shop"), &rules, None, LEAP);
        Self(TestGate { limiter, rules })
    }

    fn book(&self, units: u32, now: Now) {
        let caller = Caller {
            key: KeySubject::ApiKey(1),
            resource: "/",
            address: Some(IpAddr::from(Ipv4Addr::from_bits(1))),
            known: None,
        };
        let limiter = &self.0.limiter;
        limiter.book_debt(&limiter.charged_by(&self.0.rules, &caller, now), units, now);
    }

    /// Waits as told, and passes then and no sooner.
    fn expect_passes_as_told(&self, cost: u32, now: Now) -> (Duration, RuleStates) {
        let refused = expect_limited(self.0.ask_for(cost, now));
        let wait = refused.retry_after.unwrap();
        let early = after(now, wait - Duration::from_secs(1));
        assert!(!self.0.ask_for(cost, early).is_charged(), "{wait:?}");
        let then = after(now, wait);
        (wait, expect_charged(self.0.ask_for(cost, then)))
    }
}

fn after(now: Now, wait: Duration) -> Now {
    Now {
        monotonic: now.monotonic + wait,
        unix: now.unix + wait,
    }
}

/// At noon of the 28th of February 2028.
fn rest(window: Window) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    match window {
        Window::Rolling(length) => length,
        Window::Calendar(CalendarUnit::Day) => DAY / 2,
        Window::Calendar(CalendarUnit::Month) => DAY / 2 + DAY,
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_millis().div_ceil(1_000).try_into().unwrap())
}

#[test]
fn what_is_owed_is_paid_off_before_anything_passes() {
    for kind in kinds() {
        let gate = Indebted::new(kind, 6);
        expect_charged(gate.0.ask_for(4, LEAP));
        gate.book(5, LEAP);
        // 3 are owed.
        assert!(!gate.0.ask_for(0, LEAP).is_charged());
        let (expected, left_then) = match kind {
            (Algorithm::Gcra, Window::Rolling(length)) => (length * 4 / 6, 0),
            (_, window) => (rest(window), 2),
        };
        let (wait, states) = gate.expect_passes_as_told(1, LEAP);
        assert_eq!(wait, whole_seconds(expected), "{kind:?}");
        if length(kind.1) >= MINUTE {
            assert_eq!(left(&states), [left_then], "{kind:?}");
        }
    }
}

#[test]
fn what_is_booked_within_the_limit_is_charged_like_any_request() {
    for kind in kinds() {
        let gate = Indebted::new(kind, 6);
        expect_charged(gate.0.ask_for(1, LEAP));
        gate.book(3, LEAP);
        assert_eq!(left(&expect_charged(gate.0.ask_for(2, LEAP))), [0]);
        assert!(!gate.0.ask_for(1, LEAP).is_charged());
    }
}

#[test]
fn nobody_owes_more_than_one_window_admits() {
    for kind in kinds() {
        let gate = Indebted::new(kind, 5);
        expect_charged(gate.0.ask_for(1, LEAP));
        for _ in 0..3 {
            gate.book(u32::MAX, LEAP);
        }
        let then = match kind.1 {
            // February has the 29th, and then there is March.
            CALENDAR_DAY => rest(kind.1) + length(kind.1),
            CALENDAR_MONTH => rest(kind.1) + length(kind.1),
            Window::Rolling(length) => 2 * length,
        };
        let (wait, states) = gate.expect_passes_as_told(5, LEAP);
        assert_eq!(
            (wait, left(&states)),
            (whole_seconds(then), vec![0]),
            "{kind:?}"
        );
    }
}

#[test]
fn a_day_that_nobody_came_has_paid_as_well() {
    for unit in [CALENDAR_DAY, CALENDAR_MONTH] {
        let gate = Indebted::new((Algorithm::Gcra, unit), 6);
        gate.book(u32::MAX, LEAP);
        let then = after(LEAP, rest(unit) + length(unit));
        assert_eq!(left(&expect_charged(gate.0.ask_for(6, then))), [0]);
        gate.book(2, then);
        assert!(!gate.0.ask_for(1, then).is_charged());
        let years_later = after(then, 40 * length(unit));
        assert_eq!(left(&expect_charged(gate.0.ask_for(1, years_later))), [5]);
    }
}

#[test]
fn who_owes_is_not_forgotten_for_others() {
    for kind in kinds() {
        let gate = Indebted::new(kind, 6);
        gate.book(u32::MAX, LEAP);
        let next_window = after(LEAP, rest(kind.1));
        for other in 2..200_u32 {
            gate.0.ask(1, other << 8, "/", next_window);
        }
        assert!(!gate.0.ask_for(1, next_window).is_charged(), "{kind:?}");
        // And is, once it has paid.
        let paid = after(next_window, 2 * length(kind.1));
        for other in 2..200_u32 {
            gate.0.ask(1, other << 8, "/", paid);
        }
        assert_eq!(gate.0.limiter.subjects(), 1);
        gate.0.ask_for(1, paid);
    }
}

#[test]
fn a_charge_keeps_neither_the_counters_nor_the_rules() {
    let limiter = Arc::new(Limiter::new(&Limits::local(), None));
    let rules = [spec(Mode::Key, 5, MINUTE), spec(Mode::App, 5, MINUTE)];
    let rules = limiter.ruleset(1, &app("shop"), &rules, None, START);
    let caller = Caller {
        key: KeySubject::ApiKey(1),
        resource: "/",
        address: None,
        known: None,
    };
    let clock = Clock::system();
    let charge = Charge::of(&limiter, &rules, &caller, &clock, START);
    charge.book(1);
    drop(rules);
    charge.book(1);
    let known = Arc::downgrade(&limiter);
    drop(limiter);
    assert_eq!(known.strong_count(), 0);
    charge.book(1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// With all that was booked until then, no more than the windows since the start hold.
    #[test]
    fn whoever_passes_has_paid(
        kind in select(kinds()),
        max in 1_u32..50,
        steps in prop::collection::vec((0_u32..1_200, 0_u32..12, 0_u32..60), 1..60),
    ) {
        let gate = Indebted::new(kind, max);
        let (mut now, mut units) = (LEAP, 0);
        for (gap, cost, booked) in steps {
            let cost = cost.min(max);
            now = after(now, length(kind.1) * gap / 1_000);
            if let ChargeOutcome::Limited(refused) = gate.0.ask_for(cost, now) {
                let wait = refused.retry_after.unwrap();
                let early = after(now, wait - Duration::from_secs(1));
                prop_assert!(!gate.0.ask_for(cost, early).is_charged());
                now = after(now, wait);
                prop_assert!(gate.0.ask_for(cost, now).is_charged(), "{wait:?}");
            }
            units += u64::from(cost);
            let since = now.monotonic - LEAP.monotonic;
            let windows = |window: Duration| {
                u64::try_from(since.as_nanos() / window.as_nanos()).unwrap() + 1
            };
            let days = now.unix.as_secs() / 86_400 - LEAP.unix.as_secs() / 86_400 + 1;
            let bound = match kind {
                (_, CALENDAR_DAY) => u64::from(max) * days,
                // None is shorter than 28 days.
                (_, CALENDAR_MONTH) => u64::from(max) * (days / 28 + 2),
                (Algorithm::Gcra, Window::Rolling(window)) => {
                    let refilled = since.as_nanos() * u128::from(max) / window.as_nanos();
                    u64::from(max) + u64::try_from(refilled).unwrap()
                }
                (_, Window::Rolling(window)) => u64::from(max) * windows(window),
            };
            prop_assert!(units <= bound, "{units} > {bound}");
            gate.book(booked.min(max), now);
            units += u64::from(booked.min(max));
        }
    }
}
