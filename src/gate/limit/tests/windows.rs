//! Rules of different kinds in one set.

use super::super::counters::CounterState;
use super::super::subjects::LimitSubject;
use super::*;

const DAY: Duration = Duration::from_secs(86_400);
fn gate(limits: &Limits, rules: &[RuleSpec], now: Now) -> TestGate {
    let limiter = Limiter::new(limits, None);
    let rules = limiter.ruleset(1, &app("shop"), rules, None, now);
    TestGate { limiter, rules }
}

#[test]
fn a_sliding_window_gives_back_at_the_end_of_it_and_gcra_one_by_one() {
    for (algorithm, wait) in [(Algorithm::Gcra, 20), (Algorithm::SlidingWindow, 60)] {
        let limits = Limits::local().algorithm(algorithm);
        let gate = gate(&limits, &[spec(Mode::Key, 3, MINUTE)], START);
        for _ in 0..3 {
            gate.expect_admitted(1, 1, "/");
        }
        let refused = gate.expect_refused(1, 1, "/");
        assert_eq!(refused.retry_after, Some(Duration::from_secs(wait)));
        assert!(
            gate.ask(1, 1, "/", later(refused.retry_after.unwrap()))
                .is_charged()
        );
    }
}

#[test]
fn a_request_refused_by_a_calendar_rule_consumes_nothing_of_a_rolling_one() {
    for algorithm in ALGORITHMS {
        let limits = Limits::local().algorithm(algorithm);
        let rules = [
            spec(Mode::App, 10, DAY),
            spec(Mode::Key, 1, CALENDAR_DAY),
            spec(Mode::Key, 2, CALENDAR_MONTH),
            spec(Mode::Ip, 5, MINUTE),
        ];
        let gate = gate(&limits, &rules, LEAP);
        assert!(gate.ask(1, 1, "/", LEAP).is_charged());
        for _ in 0..20 {
            let refused = expect_limited(gate.ask(1, 1, "/", LEAP));
            assert_eq!(refused.violated, [Arc::from("per_key:1/calendar_day")]);
            assert_eq!(refused.retry_after, Some(DAY / 2));
            assert_eq!(left(&refused.states), [9, 0, 1, 4]);
        }
        let leap_day = leap(DAY / 2);
        assert!(gate.ask(1, 1, "/", leap_day).is_charged());
        let refused = expect_limited(gate.ask(1, 1, "/", leap_day));
        assert_eq!(refused.retry_after, Some(DAY));
        assert_eq!(refused.violated.len(), 2);
        let march = leap(DAY / 2 + DAY);
        let charged = expect_charged(gate.ask(1, 1, "/", march));
        assert_eq!(left(&charged)[1..3], [0, 1]);
    }
}

#[test]
fn who_loses_the_race_gets_everything_back_from_counters_of_every_kind() {
    for algorithm in ALGORITHMS {
        let limits = Limits::local().algorithm(algorithm);
        let rules = [
            spec(Mode::Key, 5, MINUTE),
            spec(Mode::Key, 5, CALENDAR_DAY),
            spec(Mode::Ip, 50, MINUTE),
            spec(Mode::App, 1, CALENDAR_MONTH),
            spec(Mode::AppAndIp, 5, MINUTE),
        ];
        let gate = gate(&limits, &rules, LEAP);
        let refused = gate.refused_after_the_look(1, LEAP);
        assert_eq!(refused.violated, [Arc::from("per_app:1/calendar_month")]);
        assert_eq!(left(&refused.states), [4, 4, 49, 0, 4]);
    }
}

#[test]
fn threads_are_admitted_to_the_narrowest_limit_exactly_whatever_its_kind() {
    const LIMIT: u32 = 400;
    let windows = [MINUTE.into(), CALENDAR_DAY, CALENDAR_MONTH];
    for algorithm in ALGORITHMS {
        for narrow in windows {
            for wide in windows {
                let limits = Limits::local().algorithm(algorithm);
                let rules = [
                    spec(Mode::Key, 100_000, wide),
                    spec(Mode::App, LIMIT, narrow),
                    spec(Mode::Ip, 50_000, wide),
                ];
                let gate = gate(&limits, &rules, LEAP);
                let ask = || u32::from(gate.ask(1, 1, "/", LEAP).is_charged());
                let admitted: u32 = std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..4)
                        .map(|_| scope.spawn(|| (0..500).map(|_| ask()).sum::<u32>()))
                        .collect();
                    threads
                        .into_iter()
                        .map(|thread| thread.join().unwrap())
                        .sum()
                });
                assert_eq!(admitted, LIMIT);
                let refused = expect_limited(gate.ask(1, 1, "/", LEAP));
                let expected = [100_000 - LIMIT, 0, 50_000 - LIMIT];
                assert_eq!(left(&refused.states), expected, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn headers_state_the_length_of_the_current_month() {
    let rules = [
        spec(Mode::Key, 3, CALENDAR_MONTH),
        spec(Mode::Key, 2, CALENDAR_DAY),
    ];
    let gate = gate(&Limits::local(), &rules, LEAP);
    let headers = |now| {
        let charged = expect_charged(gate.ask(1, 1, "/", now));
        gate.headers(&charged, RateLimitHeaders::Both)
    };
    let february = headers(LEAP);
    assert_eq!(
        february["ratelimit-policy"],
        "\"per_key:3/calendar_month\";q=3;w=2505600, \"per_key:2/calendar_day\";q=2;w=86400"
    );
    assert_eq!(
        february["ratelimit"],
        "\"per_key:3/calendar_month\";r=2;t=129600, \"per_key:2/calendar_day\";r=1;t=43200"
    );
    assert_eq!(february["x-ratelimit-86400s-remaining"], "1");
    assert_eq!(february["x-ratelimit-2592000s-reset"], "129600");
    let march = headers(leap(2 * DAY));
    assert_eq!(
        march["ratelimit-policy"],
        "\"per_key:3/calendar_month\";q=3;w=2678400, \"per_key:2/calendar_day\";q=2;w=86400"
    );
}

#[test]
fn a_flood_stays_within_capacity_and_frees_nobody_under_any_kind() {
    const CAPACITY: usize = 500;
    for (algorithm, window) in [
        (Algorithm::SlidingWindow, MINUTE.into()),
        (Algorithm::Gcra, CALENDAR_DAY),
        (Algorithm::SlidingWindow, CALENDAR_MONTH),
    ] {
        let limits = Limits::local().algorithm(algorithm).capacity(CAPACITY);
        let gate = gate(&limits, &[spec(Mode::Ip, 2, window)], LEAP);
        let admits = |ip, now| usize::from(gate.ask(1, ip, "/", now).is_charged());
        for ip in 0..10 {
            assert_eq!(admits(ip, LEAP) + admits(ip, LEAP), 2);
        }
        for network in 1..10_000 {
            admits(network << 8, LEAP);
        }
        assert_eq!(gate.limiter.subjects(), CAPACITY);
        assert!((0..10).all(|ip| admits(ip, LEAP) == 0));

        let then = leap(40 * DAY);
        let admitted: usize = (20_000..30_000)
            .map(|network| admits(network << 8, then))
            .sum();
        assert!(gate.limiter.subjects() <= CAPACITY);
        assert!(admitted > CAPACITY / 2, "{admitted}");
    }
}

#[test]
fn room_found_later_does_not_give_back_what_the_shared_counter_took() {
    let limits = Limits::local()
        .algorithm(Algorithm::SlidingWindow)
        .capacity(1);
    let gate = gate(&limits, &[spec(Mode::Ip, 2, MINUTE)], START);
    assert!(gate.ask(1, 1, "/", START).is_charged());
    // Address 2 finds no room at 59 s and room at 61 s, when address 1 has become idle.
    let before = later(Duration::from_secs(59));
    assert!(gate.ask(1, 2, "/", before).is_charged());
    assert!(gate.ask(1, 2, "/", before).is_charged());
    let after = later(Duration::from_secs(61));
    assert!((2..200).all(|ip| !gate.ask(1, ip, "/", after).is_charged()));
}

#[test]
fn resources_are_counted_apart_for_keys_alone_and_only_on_request() {
    let rules = [
        spec(Mode::Key, 2, MINUTE),
        spec(Mode::KeyAndIp, 2, MINUTE),
        spec(Mode::App, 4, MINUTE),
        spec(Mode::Ip, 5, MINUTE),
    ];
    let apart = gate(&Limits::local().per_resource_counters(), &rules, START);
    for path in ["/a", "/a", "/b"] {
        apart.expect_admitted(1, 1, path);
    }
    let violated = apart.expect_refused(1, 1, "/a").violated;
    let both: [Arc<str>; 2] = ["per_key:2/60s".into(), "per_key_and_ip:2/60s".into()];
    assert_eq!(violated, both);
    apart.expect_admitted(1, 1, "/b");
    let violated = apart.expect_refused(1, 1, "/c").violated;
    assert_eq!(violated, [Arc::from("per_app:4/60s")]);

    let together = gate(&Limits::local(), &rules, START);
    together.expect_admitted(1, 1, "/a");
    together.expect_admitted(1, 1, "/b");
    together.expect_refused(1, 1, "/c");
}

#[test]
fn counters_are_as_small_as_the_docs_say() {
    assert!(
        size_of::<CounterState>() <= 24,
        "{}",
        size_of::<CounterState>()
    );
    // The entry that finds a counter, with the counts of its references.
    let entry = size_of::<(u64, LimitSubject, Arc<CounterState>)>() + 2 * size_of::<usize>();
    assert!(entry <= 136, "{entry}");
}
