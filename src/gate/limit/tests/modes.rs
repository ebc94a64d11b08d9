//! Whom a rule counts, and which rules a request meets.

use super::*;

#[test]
fn three_pass_and_the_fourth_learns_when_to_come_back() {
    let gate = TestGate::new(&[spec(Mode::Key, 3, MINUTE)]);
    for _ in 0..3 {
        gate.expect_admitted(1, 1, "/");
    }
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(20)));
    assert_eq!(refused.violated, [Arc::from("per_key:3/60s")]);

    let early = later(Duration::from_millis(18_500));
    let refused = expect_limited(gate.ask(1, 1, "/", early));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(2)));
    let earlier_still = later(Duration::from_millis(19_999));
    let refused = expect_limited(gate.ask(1, 1, "/", earlier_still));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
    assert!(
        gate.ask(1, 1, "/", later(Duration::from_secs(20)))
            .is_charged()
    );
}

#[test]
fn per_app_is_one_counter_for_all_keys_and_addresses() {
    let gate = TestGate::new(&[spec(Mode::App, 2, MINUTE)]);
    gate.expect_admitted(1, 1, "/a");
    gate.expect_admitted(2, 2, "/b");
    gate.expect_refused(3, 3, "/c");

    let other = gate
        .limiter
        .ruleset(1, &app("blog"), &[spec(Mode::App, 2, MINUTE)], None, START);
    assert!(ask(&gate.limiter, &other, 1, 1, "/", START).is_charged());
    let elsewhere =
        gate.limiter
            .ruleset(2, &app("shop"), &[spec(Mode::App, 2, MINUTE)], None, START);
    assert!(ask(&gate.limiter, &elsewhere, 1, 1, "/", START).is_charged());
    assert_eq!(gate.limiter.subjects(), 0);
}

#[test]
fn per_key_is_one_counter_per_key_over_all_resources() {
    let gate = TestGate::new(&[spec(Mode::Key, 1, MINUTE)]);
    gate.expect_admitted(1, 1, "/a");
    gate.expect_refused(1, 2, "/b");
    gate.expect_admitted(2, 1, "/a");
}

#[test]
fn tokens_and_api_keys_are_counted_apart() {
    let gate = TestGate::new(&[spec(Mode::Key, 1, MINUTE)]);
    let ask = |key| {
        let caller = Caller {
            key,
            resource: "/",
            address: None,
            known: None,
        };
        gate.limiter
            .admit(&gate.rules, &caller, 1, None, START)
            .is_charged()
    };
    assert!(ask(KeySubject::ApiKey(0)));
    assert!(ask(KeySubject::token(&KeyDigest::of("one"))));
    assert!(ask(KeySubject::token(&KeyDigest::of("two"))));
    assert!(!ask(KeySubject::token(&KeyDigest::of("two"))));
}

#[test]
fn per_key_and_ip_counts_each_pair() {
    let gate = TestGate::new(&[spec(Mode::KeyAndIp, 1, MINUTE)]);
    gate.expect_admitted(1, 1, "/");
    gate.expect_admitted(1, 2, "/");
    gate.expect_admitted(2, 1, "/");
    gate.expect_refused(1, 1, "/");
}

#[test]
fn per_app_and_ip_counts_each_address_of_an_app() {
    let rules = [spec(Mode::AppAndIp, 1, MINUTE)];
    let gate = TestGate::new(&rules);
    gate.expect_admitted(1, 1, "/");
    gate.expect_refused(2, 1, "/");
    gate.expect_admitted(2, 2, "/");
    let other = gate.limiter.ruleset(1, &app("blog"), &rules, None, START);
    assert!(ask(&gate.limiter, &other, 1, 1, "/", START).is_charged());
}

#[test]
fn per_ip_is_shared_by_the_apps_of_a_deployment() {
    let rules = [spec(Mode::Ip, 1, MINUTE)];
    let gate = TestGate::new(&rules);
    gate.expect_admitted(1, 1, "/");
    let other = gate.limiter.ruleset(1, &app("blog"), &rules, None, START);
    assert!(!ask(&gate.limiter, &other, 9, 1, "/", START).is_charged());
    assert!(ask(&gate.limiter, &other, 9, 2, "/", START).is_charged());
    let elsewhere = gate.limiter.ruleset(2, &app("blog"), &rules, None, START);
    assert!(ask(&gate.limiter, &elsewhere, 9, 1, "/", START).is_charged());
}

#[test]
fn a_refused_request_consumes_nothing_of_any_rule() {
    for (first, second) in [(0, 1), (1, 0)] {
        let wide = RuleSpec {
            priority: first,
            ..spec(Mode::App, 10, MINUTE)
        };
        let narrow = RuleSpec {
            priority: second,
            ..spec(Mode::Key, 1, MINUTE)
        };
        let gate = TestGate::new(&[wide, narrow]);
        gate.expect_admitted(1, 1, "/");
        for _ in 0..100 {
            let refused = gate.expect_refused(1, 1, "/");
            assert_eq!(refused.violated, [Arc::from("per_key:1/60s")]);
        }
        for key in 2..=10 {
            gate.expect_admitted(key, 1, "/");
        }
        gate.expect_refused(11, 1, "/");
    }
}

#[test]
fn a_refusal_names_every_rule_that_refuses_and_waits_for_the_slowest() {
    let gate = TestGate::new(&[
        spec(Mode::Key, 1, MINUTE),
        spec(Mode::App, 1, Duration::from_secs(3_600)),
        spec(Mode::Ip, 9, MINUTE),
    ]);
    gate.expect_admitted(1, 1, "/");
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(3_600)));
    assert_eq!(
        refused.violated,
        [Arc::from("per_key:1/60s"), Arc::from("per_app:1/3600s")]
    );
}

#[test]
fn endpoints_match_exactly_or_by_star() {
    let key = || spec(Mode::Key, 1, MINUTE);
    let gate = TestGate::new(&[only(&["/pay", "/admin"], key())]);
    gate.expect_admitted(1, 1, "/pay");
    gate.expect_refused(1, 1, "/admin");
    for unmatched in ["/", "/pay/", "/Pay", "/pay/1", "pay", "*", ""] {
        let states = gate.expect_admitted(1, 1, unmatched);
        assert_eq!(states, RuleStates::default());
    }

    let gate = TestGate::new(&[only(&["/pay", "*"], key())]);
    gate.expect_admitted(1, 1, "/anything");
    gate.expect_refused(1, 1, "/else");

    let gate = TestGate::new(&[only(&[], key())]);
    for _ in 0..5 {
        gate.expect_admitted(1, 1, "/");
    }
}

#[test]
fn rules_that_differ_only_in_endpoints_count_apart() {
    let gate = TestGate::new(&[
        only(&["/a"], spec(Mode::Key, 1, MINUTE)),
        only(&["/b"], spec(Mode::Key, 1, MINUTE)),
    ]);
    gate.expect_admitted(1, 1, "/a");
    gate.expect_admitted(1, 1, "/b");
    let refused = gate.expect_refused(1, 1, "/b");
    assert_eq!(refused.violated, [Arc::from("per_key:1/60s#2")]);
}

#[test]
fn a_repeated_rule_counts_once() {
    let gate = TestGate::new(&[
        spec(Mode::Key, 2, MINUTE),
        only(
            &["*"],
            RuleSpec {
                priority: 5,
                ..spec(Mode::Key, 2, MINUTE)
            },
        ),
    ]);
    gate.expect_admitted(1, 1, "/");
    gate.expect_admitted(1, 1, "/");
    assert_eq!(left(&gate.expect_refused(1, 1, "/").states), [0]);
}

#[test]
fn an_app_without_rules_has_the_gateways_default() {
    let gate = TestGate::new(&Limits::local().specs(&[]).unwrap());
    for key in 0..1_000 {
        gate.expect_admitted(key, 1, "/");
    }
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.violated, [Arc::from("per_app:1000/60s")]);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
}

#[test]
fn unchanged_rules_keep_their_counters_and_changed_ones_start_afresh() {
    let mut gate = TestGate::new(&[spec(Mode::App, 1, MINUTE), spec(Mode::Key, 5, MINUTE)]);
    gate.expect_admitted(1, 1, "/");

    let reordered = [
        RuleSpec {
            priority: 3,
            ..spec(Mode::Key, 5, MINUTE)
        },
        RuleSpec {
            priority: 9,
            ..spec(Mode::App, 1, MINUTE)
        },
    ];
    gate.rules = gate
        .limiter
        .ruleset(1, &app("shop"), &reordered, None, START);
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.violated, [Arc::from("per_app:1/60s")]);
    assert_eq!(left(&refused.states), [4, 0]);

    let changed = [spec(Mode::App, 2, MINUTE), spec(Mode::Key, 5, MINUTE)];
    gate.rules = gate.limiter.ruleset(1, &app("shop"), &changed, None, START);
    let left = gate.expect_admitted(1, 1, "/");
    assert_eq!(self::left(&left), [1, 3]);
}

#[test]
fn an_address_is_needed_only_where_a_matching_rule_counts_by_it() {
    let gate = TestGate::new(&[
        spec(Mode::Key, 9, MINUTE),
        only(&["/pay"], spec(Mode::Ip, 9, MINUTE)),
        only(&["/pay"], spec(Mode::AppAndIp, 9, MINUTE)),
    ]);
    assert!(gate.rules.counts_by_address());
    assert!(
        !TestGate::new(&[spec(Mode::Key, 9, MINUTE)])
            .rules
            .counts_by_address()
    );
    let admit = |resource| {
        let caller = Caller {
            key: KeySubject::ApiKey(1),
            resource,
            address: None,
            known: None,
        };
        gate.limiter.admit(&gate.rules, &caller, 1, None, START)
    };
    assert!(admit("/").is_charged());
    assert_eq!(admit("/pay"), ChargeOutcome::MissingAddress);
    assert_eq!(
        left(&gate.expect_admitted(1, 1, "/")),
        [7],
        "nothing was charged"
    );
}

#[test]
fn without_an_address_nothing_is_charged() {
    let gate = TestGate::new(&[spec(Mode::App, 1, MINUTE), spec(Mode::Ip, 1, MINUTE)]);
    let caller = Caller {
        key: KeySubject::ApiKey(1),
        resource: "/",
        address: None,
        known: None,
    };
    for _ in 0..3 {
        let outcome = gate.limiter.admit(&gate.rules, &caller, 1, None, START);
        assert_eq!(outcome, ChargeOutcome::MissingAddress);
    }
    gate.expect_admitted(1, 1, "/");
}
