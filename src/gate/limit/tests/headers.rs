//! What callers are told.

use super::*;

#[test]
fn headers_of_an_admitted_request() {
    let gate = TestGate::new(&[spec(Mode::Key, 3, MINUTE)]);
    let charged = gate.expect_admitted(1, 1, "/");
    let headers = gate.headers(&charged, RateLimitHeaders::default());
    assert_eq!(headers["ratelimit-policy"], "\"per_key:3/60s\";q=3;w=60");
    assert_eq!(headers["ratelimit"], "\"per_key:3/60s\";r=2;t=20");
    assert_eq!(headers.len(), 2);

    let headers = gate.headers(&charged, RateLimitHeaders::Wacht);
    assert_eq!(headers["x-ratelimit-60s-limit"], "3");
    assert_eq!(headers["x-ratelimit-60s-remaining"], "2");
    assert_eq!(headers["x-ratelimit-60s-reset"], "20");
    assert_eq!(headers.len(), 3);

    assert_eq!(gate.headers(&charged, RateLimitHeaders::Both).len(), 5);
    assert!(gate.headers(&charged, RateLimitHeaders::None).is_empty());
}

#[test]
fn headers_list_the_matching_rules_by_priority() {
    let gate = TestGate::new(&[
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
    let headers = gate.headers(&charged, RateLimitHeaders::Both);
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
    let headers = gate.headers(&charged, RateLimitHeaders::Draft);
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
    let gate = TestGate::new(&[
        spec(Mode::Key, 1, MINUTE),
        spec(Mode::App, 4, MINUTE),
        spec(Mode::Ip, 6, MINUTE),
    ]);
    gate.expect_admitted(1, 1, "/");
    let refused = gate.expect_refused(1, 2, "/");
    let headers = gate.headers(&refused.states, RateLimitHeaders::Draft);
    assert_eq!(
        headers["ratelimit"],
        "\"per_key:1/60s\";r=0;t=60, \"per_app:4/60s\";r=3;t=15, \"per_ip:6/60s\";r=6"
    );
}

#[test]
fn an_unlimited_resource_has_no_headers_and_a_services_own_stay() {
    let gate = TestGate::new(&[only(&["/pay"], spec(Mode::Key, 1, MINUTE))]);
    let free = gate.expect_admitted(1, 1, "/");
    assert!(gate.headers(&free, RateLimitHeaders::Both).is_empty());

    let charged = gate.expect_admitted(1, 1, "/pay");
    let mut headers = HeaderMap::new();
    headers.insert("ratelimit", HeaderValue::from_static("\"mine\";r=1"));
    gate.rules
        .fields(&charged, RateLimitHeaders::Draft)
        .write(&mut headers);
    assert_eq!(headers.get_all("ratelimit").iter().count(), 2);
}

#[test]
fn a_rule_of_zero_requests_names_no_time_at_which_one_would_pass() {
    let gate = TestGate::new(&[spec(Mode::Key, 0, MINUTE)]);
    let refused = gate.expect_refused(1, 1, "/");
    assert_eq!(refused.retry_after, None);
    let headers = gate.headers(&refused.states, RateLimitHeaders::Draft);
    assert_eq!(headers["ratelimit"], "\"per_key:0/60s\";r=0;t=60");
}
