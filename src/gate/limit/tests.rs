use std::cell::Cell;
use std::net::Ipv4Addr;

use http::HeaderMap;

use super::*;

mod changes;
mod schemes;
mod windows;

const START: Now = Now {
    monotonic: Duration::from_secs(1_000),
    unix: Duration::ZERO,
};
const MINUTE: Duration = Duration::from_secs(60);

fn later(by: Duration) -> Now {
    Now {
        monotonic: START.monotonic + by,
        ..START
    }
}

fn spec(mode: Mode, max_requests: u32, window: impl Into<Window>) -> RuleSpec {
    RuleSpec {
        mode,
        max_requests,
        window: window.into(),
        endpoints: None,
        priority: 0,
    }
}

fn only(endpoints: &[&str], rule: RuleSpec) -> RuleSpec {
    let endpoints = endpoints
        .iter()
        .map(|endpoint| Box::from(*endpoint))
        .collect();
    RuleSpec {
        endpoints: Some(endpoints),
        ..rule
    }
}

fn app(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// One request at a time, by whom and from where the test says.
struct Gate {
    limiter: Limiter,
    rules: RuleSet,
}

impl Gate {
    fn new(rules: &[RuleSpec]) -> Self {
        let limiter = Limiter::new(&Limits::local());
        let rules = limiter.ruleset(1, &app("shop"), rules, None, START);
        Self { limiter, rules }
    }

    fn ask(&self, key: i64, ip: u32, resource: &str, now: Now) -> Result<Charged, Denied> {
        ask(&self.limiter, &self.rules, key, ip, resource, now)
    }

    fn expect_admitted(&self, key: i64, ip: u32, resource: &str) -> Charged {
        self.ask(key, ip, resource, START)
            .expect("the request is admitted")
    }

    fn expect_refused(&self, key: i64, ip: u32, resource: &str) -> Refused {
        expect_limited(self.ask(key, ip, resource, START))
    }

    fn headers(&self, standings: &Standings, chosen: RateLimitHeaders) -> HeaderMap {
        let mut headers = HeaderMap::new();
        standings.fields(&self.rules, chosen).write(&mut headers);
        headers
    }
}

fn ask(
    limiter: &Limiter,
    rules: &RuleSet,
    key: i64,
    ip: u32,
    resource: &str,
    now: Now,
) -> Result<Charged, Denied> {
    let address = || Some(IpAddr::from(Ipv4Addr::from_bits(ip)));
    let caller = Caller {
        resource,
        key: KeySubject::ApiKey(key),
        address: &address,
    };
    limiter.admit(rules, &caller, now)
}

fn expect_limited(outcome: Result<Charged, Denied>) -> Refused {
    match outcome {
        Err(Denied::Limited(refused)) => *refused,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn three_pass_and_the_fourth_learns_when_to_come_back() {
    let gate = Gate::new(&[spec(Mode::Key, 3, MINUTE)]);
    for _ in 0..3 {
        gate.expect_admitted(1, 1, "/");
    }
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, Duration::from_secs(20));
    assert_eq!(refused.violated, [Arc::from("per_key:3/60s")]);

    let early = later(Duration::from_millis(18_500));
    let refused = expect_limited(gate.ask(1, 1, "/", early));
    assert_eq!(refused.retry_after, Duration::from_secs(2));
    let earlier_still = later(Duration::from_millis(19_999));
    let refused = expect_limited(gate.ask(1, 1, "/", earlier_still));
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert!(gate.ask(1, 1, "/", later(Duration::from_secs(20))).is_ok());
}

#[test]
fn per_app_is_one_counter_for_all_keys_and_addresses() {
    let gate = Gate::new(&[spec(Mode::App, 2, MINUTE)]);
    gate.expect_admitted(1, 1, "/a");
    gate.expect_admitted(2, 2, "/b");
    gate.expect_refused(3, 3, "/c");

    let other = gate
        .limiter
        .ruleset(1, &app("blog"), &[spec(Mode::App, 2, MINUTE)], None, START);
    assert!(ask(&gate.limiter, &other, 1, 1, "/", START).is_ok());
    let elsewhere =
        gate.limiter
            .ruleset(2, &app("shop"), &[spec(Mode::App, 2, MINUTE)], None, START);
    assert!(ask(&gate.limiter, &elsewhere, 1, 1, "/", START).is_ok());
    assert_eq!(gate.limiter.subjects(), 0);
}

#[test]
fn per_key_is_one_counter_per_key_over_all_resources() {
    let gate = Gate::new(&[spec(Mode::Key, 1, MINUTE)]);
    gate.expect_admitted(1, 1, "/a");
    gate.expect_refused(1, 2, "/b");
    gate.expect_admitted(2, 1, "/a");
}

#[test]
fn tokens_and_api_keys_are_counted_apart() {
    let gate = Gate::new(&[spec(Mode::Key, 1, MINUTE)]);
    let ask = |key| {
        let caller = Caller {
            resource: "/",
            key,
            address: &|| None,
        };
        gate.limiter.admit(&gate.rules, &caller, START).is_ok()
    };
    assert!(ask(KeySubject::ApiKey(0)));
    assert!(ask(KeySubject::Token(KeyDigest::of("one"))));
    assert!(ask(KeySubject::Token(KeyDigest::of("two"))));
    assert!(!ask(KeySubject::Token(KeyDigest::of("two"))));
}

#[test]
fn per_key_and_ip_counts_each_pair() {
    let gate = Gate::new(&[spec(Mode::KeyAndIp, 1, MINUTE)]);
    gate.expect_admitted(1, 1, "/");
    gate.expect_admitted(1, 2, "/");
    gate.expect_admitted(2, 1, "/");
    gate.expect_refused(1, 1, "/");
}

#[test]
fn per_app_and_ip_counts_each_address_of_an_app() {
    let rules = [spec(Mode::AppAndIp, 1, MINUTE)];
    let gate = Gate::new(&rules);
    gate.expect_admitted(1, 1, "/");
    gate.expect_refused(2, 1, "/");
    gate.expect_admitted(2, 2, "/");
    let other = gate.limiter.ruleset(1, &app("blog"), &rules, None, START);
    assert!(ask(&gate.limiter, &other, 1, 1, "/", START).is_ok());
}

#[test]
fn per_ip_is_shared_by_the_apps_of_a_deployment() {
    let rules = [spec(Mode::Ip, 1, MINUTE)];
    let gate = Gate::new(&rules);
    gate.expect_admitted(1, 1, "/");
    let other = gate.limiter.ruleset(1, &app("blog"), &rules, None, START);
    assert!(ask(&gate.limiter, &other, 9, 1, "/", START).is_err());
    assert!(ask(&gate.limiter, &other, 9, 2, "/", START).is_ok());
    let elsewhere = gate.limiter.ruleset(2, &app("blog"), &rules, None, START);
    assert!(ask(&gate.limiter, &elsewhere, 9, 1, "/", START).is_ok());
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
        let gate = Gate::new(&[wide, narrow]);
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
    let gate = Gate::new(&[
        spec(Mode::Key, 1, MINUTE),
        spec(Mode::App, 1, Duration::from_secs(3_600)),
        spec(Mode::Ip, 9, MINUTE),
    ]);
    gate.expect_admitted(1, 1, "/");
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, Duration::from_secs(3_600));
    assert_eq!(
        refused.violated,
        [Arc::from("per_key:1/60s"), Arc::from("per_app:1/3600s")]
    );
}

#[test]
fn endpoints_match_exactly_or_by_star() {
    let key = || spec(Mode::Key, 1, MINUTE);
    let gate = Gate::new(&[only(&["/pay", "/admin"], key())]);
    gate.expect_admitted(1, 1, "/pay");
    gate.expect_refused(1, 1, "/admin");
    for unmatched in ["/", "/pay/", "/Pay", "/pay/1", "pay", "*", ""] {
        assert_eq!(
            gate.expect_admitted(1, 1, unmatched).standings,
            Standings::default()
        );
    }

    let gate = Gate::new(&[only(&["/pay", "*"], key())]);
    gate.expect_admitted(1, 1, "/anything");
    gate.expect_refused(1, 1, "/else");

    let gate = Gate::new(&[only(&[], key())]);
    for _ in 0..5 {
        gate.expect_admitted(1, 1, "/");
    }
}

#[test]
fn rules_that_differ_only_in_endpoints_count_apart() {
    let gate = Gate::new(&[
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
    let gate = Gate::new(&[
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
    assert_eq!(gate.expect_refused(1, 1, "/").standings.0.len(), 1);
}

#[test]
fn an_app_without_rules_has_the_gateways_default() {
    let gate = Gate::new(&Limits::local().specs(&[]).unwrap());
    for key in 0..1_000 {
        gate.expect_admitted(key, 1, "/");
    }
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.violated, [Arc::from("per_app:1000/60s")]);
    assert_eq!(refused.retry_after, Duration::from_secs(1));
}

#[test]
fn unchanged_rules_keep_their_counters_and_changed_ones_start_afresh() {
    let mut gate = Gate::new(&[spec(Mode::App, 1, MINUTE), spec(Mode::Key, 5, MINUTE)]);
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
    let left: Vec<u32> = refused
        .standings
        .0
        .iter()
        .map(|left| left.remaining)
        .collect();
    assert_eq!(left, [4, 0]);

    let changed = [spec(Mode::App, 2, MINUTE), spec(Mode::Key, 5, MINUTE)];
    gate.rules = gate.limiter.ruleset(1, &app("shop"), &changed, None, START);
    let left = gate.expect_admitted(1, 1, "/").standings;
    let left: Vec<u32> = left.0.iter().map(|left| left.remaining).collect();
    assert_eq!(left, [1, 3]);
}

#[test]
fn rules_nobody_holds_are_remembered_until_they_are_idle() {
    for mode in [Mode::App, Mode::Key] {
        let limiter = Limiter::new(&Limits::local());
        let rules = limiter.ruleset(1, &app("shop"), &[spec(mode, 1, MINUTE)], None, START);
        assert!(ask(&limiter, &rules, 1, 1, "/", START).is_ok());
        drop(rules);
        let crowd = |from: u32, now| {
            for number in from..from + 1_000 {
                let other = [spec(Mode::App, number, Duration::from_millis(1))];
                drop(limiter.ruleset(1, &app("crowd"), &other, None, now));
            }
        };
        crowd(1, later(Duration::from_secs(59)));
        let again = limiter.ruleset(1, &app("shop"), &[spec(mode, 1, MINUTE)], None, START);
        assert!(ask(&limiter, &again, 1, 1, "/", START).is_err());
        drop(again);
        crowd(2_001, later(MINUTE));
        crowd(4_001, later(3 * MINUTE));
        crowd(6_001, later(5 * MINUTE));
        let remembered = limiter.registry.lock().unwrap().rules.len();
        assert!(remembered < 200, "{remembered}");
    }
}

#[test]
fn an_address_is_asked_for_once_and_only_when_a_rule_needs_it() {
    let asked = Cell::new(0);
    let address = || {
        asked.set(asked.get() + 1);
        Some(IpAddr::from(Ipv4Addr::LOCALHOST))
    };
    let gate = Gate::new(&[
        spec(Mode::Key, 9, MINUTE),
        only(&["/pay"], spec(Mode::Ip, 9, MINUTE)),
        only(&["/pay"], spec(Mode::AppAndIp, 9, MINUTE)),
    ]);
    assert!(gate.rules.counts_by_address());
    assert!(gate.rules.needs_address("/pay"));
    assert!(!gate.rules.needs_address("/"));
    for (resource, times) in [("/", 0), ("/pay", 1)] {
        let caller = Caller {
            resource,
            key: KeySubject::ApiKey(1),
            address: &address,
        };
        assert!(gate.limiter.admit(&gate.rules, &caller, START).is_ok());
        assert_eq!(asked.get(), times);
    }
}

#[test]
fn without_an_address_nothing_is_charged() {
    let gate = Gate::new(&[spec(Mode::App, 1, MINUTE), spec(Mode::Ip, 1, MINUTE)]);
    let caller = Caller {
        resource: "/",
        key: KeySubject::ApiKey(1),
        address: &|| None,
    };
    for _ in 0..3 {
        let outcome = gate.limiter.admit(&gate.rules, &caller, START);
        assert_eq!(outcome, Err(Denied::MissingAddress));
    }
    gate.expect_admitted(1, 1, "/");
}

#[test]
fn headers_of_an_admitted_request() {
    let gate = Gate::new(&[spec(Mode::Key, 3, MINUTE)]);
    let charged = gate.expect_admitted(1, 1, "/");
    let headers = gate.headers(&charged.standings, RateLimitHeaders::default());
    assert_eq!(headers["ratelimit-policy"], "\"per_key:3/60s\";q=3;w=60");
    assert_eq!(headers["ratelimit"], "\"per_key:3/60s\";r=2;t=20");
    assert_eq!(headers.len(), 2);

    let headers = gate.headers(&charged.standings, RateLimitHeaders::Wacht);
    assert_eq!(headers["x-ratelimit-60s-limit"], "3");
    assert_eq!(headers["x-ratelimit-60s-remaining"], "2");
    assert_eq!(headers["x-ratelimit-60s-reset"], "20");
    assert_eq!(headers.len(), 3);

    assert_eq!(
        gate.headers(&charged.standings, RateLimitHeaders::Both)
            .len(),
        5
    );
    assert!(
        gate.headers(&charged.standings, RateLimitHeaders::None)
            .is_empty()
    );
}

#[test]
fn headers_list_the_matching_rules_by_priority() {
    let gate = Gate::new(&[
        RuleSpec {
            priority: 7,
            ..spec(Mode::App, 100, MINUTE)
        },
        only(
            &["/pay"],
            RuleSpec {
                priority: -1,
                ..spec(Mode::Ip, 1, Duration::from_millis(250))
            },
        ),
        RuleSpec {
            priority: 7,
            ..spec(Mode::Key, 3, MINUTE)
        },
    ]);
    let charged = gate.expect_admitted(1, 1, "/pay");
    let headers = gate.headers(&charged.standings, RateLimitHeaders::Both);
    assert_eq!(
        headers["ratelimit-policy"],
        "\"per_ip:1/250ms\";q=1;w=1, \"per_app:100/60s\";q=100;w=60, \"per_key:3/60s\";q=3;w=60"
    );
    assert_eq!(
        headers["ratelimit"],
        "\"per_ip:1/250ms\";r=0;t=1, \"per_app:100/60s\";r=99;t=1, \"per_key:3/60s\";r=2;t=20"
    );
    // Two rules have the window; the tighter one shows.
    assert_eq!(headers["x-ratelimit-60s-limit"], "3");
    assert_eq!(headers["x-ratelimit-60s-remaining"], "2");
    assert_eq!(headers["x-ratelimit-250ms-remaining"], "0");

    let charged = gate.expect_admitted(1, 1, "/");
    let headers = gate.headers(&charged.standings, RateLimitHeaders::Draft);
    assert_eq!(
        headers["ratelimit-policy"],
        "\"per_app:100/60s\";q=100;w=60, \"per_key:3/60s\";q=3;w=60"
    );
    assert_eq!(
        headers["ratelimit"],
        "\"per_app:100/60s\";r=98;t=1, \"per_key:3/60s\";r=1;t=20"
    );
}

#[test]
fn headers_of_a_refusal_show_what_the_other_rules_still_have() {
    let gate = Gate::new(&[
        spec(Mode::Key, 1, MINUTE),
        spec(Mode::App, 4, MINUTE),
        spec(Mode::Ip, 6, MINUTE),
    ]);
    gate.expect_admitted(1, 1, "/");
    let refused = gate.expect_refused(1, 2, "/");
    let headers = gate.headers(&refused.standings, RateLimitHeaders::Draft);
    assert_eq!(
        headers["ratelimit"],
        "\"per_key:1/60s\";r=0;t=60, \"per_app:4/60s\";r=3;t=15, \"per_ip:6/60s\";r=6"
    );
}

#[test]
fn an_unlimited_resource_has_no_headers_and_a_services_own_stay() {
    let gate = Gate::new(&[only(&["/pay"], spec(Mode::Key, 1, MINUTE))]);
    let free = gate.expect_admitted(1, 1, "/");
    assert!(
        gate.headers(&free.standings, RateLimitHeaders::Both)
            .is_empty()
    );

    let charged = gate.expect_admitted(1, 1, "/pay");
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit", HeaderValue::from_static("\"mine\";r=1"));
    charged
        .standings
        .fields(&gate.rules, RateLimitHeaders::Draft)
        .write(&mut headers);
    assert_eq!(headers.get_all("ratelimit").iter().count(), 2);
}

#[test]
fn a_rule_of_zero_requests_refuses_for_its_window() {
    let gate = Gate::new(&[spec(Mode::Key, 0, MINUTE)]);
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, MINUTE);
    let headers = gate.headers(&refused.standings, RateLimitHeaders::Draft);
    assert_eq!(headers["ratelimit"], "\"per_key:0/60s\";r=0;t=60");
}

#[test]
fn a_flood_of_addresses_stays_within_capacity_and_frees_nobody() {
    const CAPACITY: usize = 1_000;
    let limiter = Limiter::new(&Limits::local().capacity(CAPACITY));
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    for _ in 0..2 {
        for ip in 0..10 {
            assert!(ask(&limiter, &rules, 1, ip, "/", START).is_ok());
        }
    }
    let mut admitted = 0;
    for ip in 10..1_000_000 {
        admitted += usize::from(ask(&limiter, &rules, 1, ip, "/", START).is_ok());
        if ip % 50_000 == 0 {
            assert!(limiter.subjects() <= CAPACITY);
        }
    }
    assert_eq!(limiter.subjects(), CAPACITY);
    // Everybody with a counter once, and twice through the one that all others share.
    assert_eq!(admitted, CAPACITY - 10 + 2);
    for ip in 0..10 {
        assert!(ask(&limiter, &rules, 1, ip, "/", START).is_err());
    }

    // A minute on, all are idle and newcomers take their places.
    let mut admitted = 0;
    for ip in 2_000_000..2_100_000 {
        admitted += usize::from(ask(&limiter, &rules, 1, ip, "/", later(2 * MINUTE)).is_ok());
    }
    assert!(limiter.subjects() <= CAPACITY);
    assert!(admitted > CAPACITY / 2, "{admitted}");
}

#[test]
fn room_found_later_does_not_refill_what_the_shared_counter_took() {
    let limiter = Limiter::new(&Limits::local().capacity(1));
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    assert!(ask(&limiter, &rules, 1, 1, "/", START).is_ok());
    // Address 2 finds no room at 29 s and room at 31 s, when address 1 has become idle.
    let before = later(Duration::from_secs(29));
    let after = later(Duration::from_secs(31));
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_ok());
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_ok());
    // Any shard forgets only its own, so address 1's is where room appears.
    for ip in 3..2_000 {
        assert!(ask(&limiter, &rules, 1, ip, "/", after).is_err());
    }
    assert!(ask(&limiter, &rules, 1, 2, "/", after).is_err());
}

#[test]
fn who_loses_the_race_after_the_look_gets_everything_back() {
    let gate = Gate::new(&[
        spec(Mode::Key, 5, MINUTE),
        spec(Mode::Ip, 5, MINUTE),
        spec(Mode::App, 1, MINUTE),
        spec(Mode::AppAndIp, 5, MINUTE),
    ]);
    let now = Reading::from(START);
    let address = || Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    let caller = Caller {
        resource: "/",
        key: KeySubject::ApiKey(1),
        address: &address,
    };
    let by = gate.limiter.by(&gate.rules, &caller).unwrap();
    let claims = || gate.limiter.claims(&gate.rules, caller.resource, by, now);
    let (winner, loser) = (claims(), claims());
    assert!(
        winner
            .iter()
            .chain(&loser)
            .all(|claim| claim.look(now).is_ok())
    );

    assert!(charge_all(&gate.rules, &winner, now).is_ok());
    let refused = expect_limited(charge_all(&gate.rules, &loser, now));
    assert_eq!(refused.violated, [Arc::from("per_app:1/60s")]);
    assert_eq!(refused.retry_after, MINUTE);
    let left: Vec<u32> = refused
        .standings
        .0
        .iter()
        .map(|left| left.remaining)
        .collect();
    assert_eq!(left, [4, 4, 0, 4]);
}

#[test]
fn many_requests_at_one_instant_on_many_threads_admit_the_limit_exactly() {
    const LIMIT: usize = 500;
    let narrow = spec(Mode::App, LIMIT as u32, MINUTE);
    let wide = spec(Mode::Key, 100_000, MINUTE);
    for rules in [[narrow.clone(), wide.clone()], [wide, narrow]] {
        let gate = Gate::new(&rules);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let ask = || usize::from(gate.ask(1, 1, "/", START).is_ok());
                        (0..1_000).map(|_| ask()).sum::<usize>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, LIMIT);
        // The losers' charges of the wide rule were all given back.
        let refused = gate.expect_refused(1, 1, "/");
        let left: u32 = refused.standings.0.iter().map(|left| left.remaining).sum();
        assert_eq!(left, 100_000 - LIMIT as u32);
    }
}

#[test]
fn two_narrow_rules_racing_never_exceed_either() {
    let gate = Gate::new(&[spec(Mode::Key, 200, MINUTE), spec(Mode::App, 300, MINUTE)]);
    let admitted: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = [1, 2, 1, 2]
            .map(|key| {
                let gate = &gate;
                scope.spawn(move || {
                    (0..1_000)
                        .filter(|_| gate.ask(key, 1, "/", START).is_ok())
                        .count()
                })
            })
            .into_iter()
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let [a, b, c, d] = admitted[..] else {
        unreachable!()
    };
    assert!(a + c <= 200 && b + d <= 200, "{admitted:?}");
    assert_eq!(a + b + c + d, 300);
}
