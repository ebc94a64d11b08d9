//! Whatever stands in a scheme.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::api::rate_limit_schemes::rules as read;

const UNITS: [&str; 8] = [
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "calendar_day",
    "month",
    "calendar_month",
];
const MODES: [&str; 5] = [
    "per_app",
    "per_key",
    "per_ip",
    "per_key_and_ip",
    "per_app_and_ip",
];

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (1..5).prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => select(vec![
            json!(0), json!(-1), json!(i32::MAX), json!(i32::MIN), json!(i64::MAX),
            json!(1.5), json!("1"), json!(null), json!([1]),
        ]),
    ]
}

fn word(known: &[&str]) -> impl Strategy<Value = Value> {
    let known: Vec<Value> = known.iter().map(|word| json!(word)).collect();
    prop_oneof![
        8 => select(known),
        1 => "[a-z_ A-Z\u{0}]{0,9}".prop_map(Value::from),
        1 => select(vec![json!(null), json!(0), json!({})]),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let endpoints = select(vec![
        json!(null),
        json!([]),
        json!(["*"]),
        json!(["/"]),
        json!(["/a", ""]),
        json!("/"),
        json!([null]),
    ]);
    (
        word(&UNITS),
        number(),
        number(),
        word(&MODES),
        endpoints,
        number(),
        select(vec![
            None,
            Some("unit"),
            Some("mode"),
            Some("duration"),
            Some("endpoints"),
        ]),
    )
        .prop_map(
            |(unit, duration, max, mode, endpoints, priority, missing)| {
                let mut rule = json!({
                    "unit": unit, "duration": duration, "max_requests": max, "mode": mode,
                    "endpoints": endpoints, "priority": priority,
                });
                if let (Some(missing), Some(members)) = (missing, rule.as_object_mut()) {
                    members.remove(missing);
                }
                rule
            },
        )
}

fn scheme() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => prop::collection::vec(rule(), 0..5).prop_map(Value::from),
        1 => rule(),
        1 => number(),
    ]
}

/// Steps of the two clocks, which need not agree and, for the wall clock, not move forward.
fn steps() -> impl Strategy<Value = Vec<(u64, i64)>> {
    let forward = prop_oneof![
        Just(0),
        0..2_000_u64,
        any::<u32>().prop_map(u64::from),
        Just(1 << 50)
    ];
    let wall = prop_oneof![Just(0), -2_000..2_000_i64, any::<i32>().prop_map(i64::from)];
    prop::collection::vec((forward, wall), 1..24)
}

proptest! {
    #[test]
    fn any_scheme_is_counted_here_or_at_the_gateway(scheme in scheme(), steps in steps()) {
        let listed = match &scheme {
            Value::Array(rules) => rules.len(),
            other => usize::from(!other.is_null()),
        };
        let rules = read(scheme).unwrap();
        // A rule that cannot be read must not make the scheme a laxer one.
        prop_assert_eq!(rules.len(), listed);
        for algorithm in ALGORITHMS {
            let limiter = Limiter::new(&Limits::local().algorithm(algorithm).capacity(4), None);
            let Some(specs) = limiter.specs(&rules) else {
                continue;
            };
            let mut now = START;
            let mut rules = limiter.ruleset(1, &app("shop"), &specs, None, now);
            let never = specs.iter().any(|spec| {
                spec.max_requests == 0 && spec.endpoints.as_deref().is_none_or(|paths| {
                    paths.iter().any(|path| matches!(&**path, "*" | "/"))
                })
            });
            for (place, (forward, wall)) in steps.iter().enumerate() {
                let wall = Duration::from_millis(wall.unsigned_abs());
                let forward = Duration::from_millis(*forward);
                now.monotonic = now.monotonic.saturating_add(forward);
                now.unix = match place % 2 {
                    0 => now.unix.saturating_add(wall),
                    _ => now.unix.saturating_sub(wall),
                };
                let caller = u32::try_from(place % 7).unwrap_or(0);
                match ask(&limiter, &rules, i64::from(caller), caller, "/", now) {
                    ChargeOutcome::Charged(states) => {
                        prop_assert!(!never);
                        let mut headers = HeaderMap::new();
                        rules.fields(&states, RateLimitHeaders::Both).write(&mut headers);
                    }
                    ChargeOutcome::Limited(refused) => {
                        prop_assert_eq!(refused.retry_after.is_none(), never);
                        let wait = refused.retry_after.unwrap_or(MINUTE);
                        prop_assert!(wait >= Duration::from_secs(1));
                        prop_assert_eq!(wait.subsec_nanos(), 0);
                        prop_assert!(!refused.violated.is_empty());
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                if place % 5 == 4 {
                    rules = limiter.ruleset(1, &app("shop"), &specs, Some(&rules), now);
                }
            }
        }
    }

    /// Of two rules, the second always passes: it has the first one looked at as all of several are.
    #[test]
    fn one_rule_alone_counts_as_it_does_among_others(
        mode in select(vec![Mode::App, Mode::Key, Mode::KeyAndIp, Mode::AppAndIp, Mode::Ip]),
        max_requests in 0..5_u32,
        window in prop_oneof![
            (1..5_000_u64).prop_map(|millis| Duration::from_millis(millis).into()),
            Just(Window::Calendar(CalendarUnit::Day)),
        ],
        algorithm in select(ALGORITHMS.to_vec()),
        capacity in select(vec![0, 1_000]),
        (per_resource, changes) in any::<(bool, bool)>(),
        listed in any::<bool>(),
        requests in prop::collection::vec((0..3_u32, 0..3_usize, 0..3_000_u64), 1..40),
    ) {
        let limits = Limits::local().algorithm(algorithm).capacity(capacity);
        let limits = if per_resource { limits.per_resource_counters() } else { limits };
        let rule = spec(mode, max_requests, window);
        let rule = if listed { only(&["/a", "/b"], rule) } else { rule };
        let passes = RuleSpec { priority: 1, ..spec(Mode::App, u32::MAX, Duration::from_millis(1)) };
        let before = RuleSpec { max_requests: 4, ..rule.clone() };
        let gates = [vec![], vec![passes]].map(|others| {
            let limiter = Limiter::new(&limits, None);
            let with = |rule: &RuleSpec| [std::slice::from_ref(rule), &*others].concat();
            let old = limiter.ruleset(1, &app("shop"), &with(&before), None, START);
            let before = changes.then_some(&old);
            let rules = limiter.ruleset(1, &app("shop"), &with(&rule), before, START);
            TestGate { limiter, rules }
        });
        let mut now = START;
        for (caller, resource, forward) in requests {
            now.monotonic += Duration::from_millis(forward);
            now.unix += Duration::from_millis(forward) * 10_000;
            let resource = ["/a", "/b", "/c"][resource];
            // Where all are counted by overflow counters, two callers may have one, and need not have
            // it in both gates.
            let caller = if capacity == 0 { 0 } else { caller };
            let [alone, among] = gates.each_ref().map(|gate| {
                let of_the_first = |states: RuleStates| {
                    states.iter().find(|state| state.place == 0).copied()
                };
                match gate.ask(caller.into(), caller, resource, now) {
                    ChargeOutcome::Charged(states) => (true, of_the_first(states), None),
                    ChargeOutcome::Limited(refused) => {
                        let why = (refused.retry_after, refused.violated, refused.mode);
                        (false, of_the_first(refused.states), Some(why))
                    }
                    _ => (false, None, None),
                }
            });
            prop_assert_eq!(alone, among);
        }
    }

    #[test]
    fn at_one_instant_no_scheme_admits_more_than_its_smallest_limit(
        unit in select(UNITS.to_vec()),
        limits in prop::collection::vec(-1..6_i32, 1..4),
        asked in 1..40_usize,
    ) {
        let scheme: Vec<Value> = limits
            .iter()
            .map(|max| json!({"unit": unit, "duration": 1, "max_requests": max, "mode": "per_key"}))
            .collect();
        let rules = read(Value::from(scheme)).unwrap();
        let smallest = limits.iter().map(|max| usize::try_from(*max).unwrap_or(0)).min();
        for algorithm in ALGORITHMS {
            let limiter = Limiter::new(&Limits::local().algorithm(algorithm), None);
            let specs = limiter.specs(&rules).unwrap();
            let rules = limiter.ruleset(1, &app("shop"), &specs, None, START);
            let admitted = (0..asked)
                .filter(|_| ask(&limiter, &rules, 1, 1, "/", START).is_charged())
                .count();
            prop_assert_eq!(Some(admitted), smallest.map(|smallest| smallest.min(asked)));
        }
    }
}
