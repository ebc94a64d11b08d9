//! Rate limits through a real gate: who is counted, what callers are told, and who counts when
//! this process cannot.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wacht_auth::dev::{DevRule, Fault, On};
use wacht_auth::{
    AuthContext, CachePolicy, ClientIp, Limits, PeerAddr, RateLimitHeaders, RejectionKind,
};

use crate::scene::{Echo, Met, Scene, eventually, get, made_up};

const POLICY: &str = "ratelimit-policy";
const STATE: &str = "ratelimit";

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

async fn scene_with(rules: impl IntoIterator<Item = DevRule>) -> Scene {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", rules);
    scene
}

/// `GET path` with this key, from this address.
fn request(secret: &str, path: &str, address: &str) -> Request<Full<Bytes>> {
    let mut request = get(secret);
    *request.uri_mut() = path.parse().unwrap();
    let address: IpAddr = address.parse().unwrap();
    let peer = PeerAddr((address, 40000).into());
    request.extensions_mut().insert(peer);
    request
}

impl Echo {
    async fn get_path(&self, secret: &str, path: &str) -> Met {
        self.call(request(secret, path, "198.51.100.7")).await
    }

    async fn get_from(&self, secret: &str, address: &str) -> Met {
        self.call(request(secret, "/items", address)).await
    }
}

#[track_caller]
fn assert_limited(met: &Met, retry_after: u64) {
    met.assert_refused(RejectionKind::RateLimited);
    assert_eq!(met.retry_after(), retry_after, "{met:?}");
    let refusal = met.refusal.as_ref().unwrap();
    assert_eq!(refusal.retry_after(), Some(seconds(retry_after)));
}

fn violated(met: &Met) -> Vec<String> {
    let refusal = met.refusal.as_ref().unwrap();
    refusal.violated_policies().map(str::to_owned).collect()
}

// --- one key ---

#[tokio::test]
async fn a_limit_of_three_admits_three_and_tells_the_fourth_when_to_come_back() {
    let scene = scene_with([DevRule::per_key(3, "minute", 1)]).await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let (key, other) = (scene.key(), scene.key());
    for _ in 0..3 {
        echo.get(key.secret()).await.assert_ok();
    }
    assert_limited(&echo.get(key.secret()).await, 20);
    echo.get(other.secret()).await.assert_ok();

    scene.clock.advance(Duration::from_millis(19_001));
    assert_limited(&echo.get(key.secret()).await, 1);
    scene.clock.advance(Duration::from_millis(999));
    echo.get(key.secret()).await.assert_ok();
    assert_limited(&echo.get(key.secret()).await, 20);

    // Refusals cost nothing, and a full window brings everything back.
    scene.clock.advance(seconds(60));
    for _ in 0..3 {
        echo.get(key.secret()).await.assert_ok();
    }
    assert_limited(&echo.get(key.secret()).await, 20);
    assert_eq!(echo.reached(), 8);
}

#[tokio::test]
async fn retry_after_is_right_for_every_rolling_unit() {
    for (unit, duration, wait) in [
        ("millisecond", 500, 1),
        ("second", 1, 1),
        ("second", 30, 15),
        ("minute", 2, 60),
        ("hour", 1, 1800),
        ("day", 1, 43_200),
        ("month", 1, 1_296_000),
    ] {
        let scene = scene_with([DevRule::per_key(2, unit, duration)]).await;
        let lasting = CachePolicy::default().fresh_for(seconds(1 << 32));
        let echo = Echo::behind(scene.builder().cache(lasting).build().unwrap());
        let key = scene.key();
        echo.get(key.secret()).await.assert_ok();
        echo.get(key.secret()).await.assert_ok();
        assert_limited(&echo.get(key.secret()).await, wait);
        scene.clock.advance(seconds(wait));
        let met = echo.get(key.secret()).await;
        assert_eq!(met.status, 200, "{unit}: {met:?}");
    }
}

#[tokio::test]
async fn an_app_without_rules_gets_a_thousand_a_minute_for_all_its_keys() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    let keys = [scene.key(), scene.key()];
    let first = echo.get(keys[0].secret()).await;
    assert_eq!(first.header(POLICY), r#""per_app:1000/60s";q=1000;w=60"#);
    assert_eq!(first.header(STATE), r#""per_app:1000/60s";r=999;t=1"#);
    for count in 1..1000 {
        echo.get(keys[count % 2].secret()).await.assert_ok();
    }
    for key in &keys {
        assert_limited(&echo.get(key.secret()).await, 1);
    }
    // Another app has a thousand of its own.
    let key = scene.wacht.issue_key("billing").issue();
    echo.get(key.secret()).await.assert_ok();
}

#[tokio::test]
async fn what_is_refused_for_other_reasons_is_not_charged() {
    let scene = scene_with([DevRule::per_key(1, "hour", 1)]).await;
    let layer = scene.layer();
    let needy = Echo::behind(layer.clone().require("orders:delete").unwrap());
    let wrong_app = Echo::behind(layer.clone().app("billing"));
    let key = scene.key();
    for _ in 0..5 {
        needy
            .get(key.secret())
            .await
            .assert_refused(RejectionKind::PermissionDenied);
        wrong_app
            .get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    let echo = Echo::behind(layer);
    echo.get(key.secret()).await.assert_ok();
    assert_limited(&echo.get(key.secret()).await, 3600);
}

#[tokio::test]
async fn limits_hold_however_late_the_clock_says_it_is() {
    let centuries = seconds(1_000 * 365 * 86_400);
    for late in [centuries, Duration::MAX] {
        for mode in [
            DevRule::per_key(3, "hour", 1),
            DevRule::per_app(3, "calendar_month", 1),
        ] {
            let scene = scene_with([mode]).await;
            let layer = scene.builder().client_ip(ClientIp::peer()).build().unwrap();
            let echo = Echo::behind(layer);
            let key = scene.key();
            // Met before, and met after.
            echo.get(key.secret()).await.assert_ok();
            scene.clock.advance(late);
            for _ in 0..3 {
                echo.get(key.secret()).await.assert_ok();
            }
            let met = echo.get(key.secret()).await;
            met.assert_refused(RejectionKind::RateLimited);
            let met = echo.get(&made_up(1)).await;
            met.assert_refused(RejectionKind::InvalidKey);
            let fresh = scene.wacht.issue_key("billing").issue();
            echo.get(fresh.secret()).await.assert_ok();
        }
    }
}

// --- several rules ---

#[tokio::test]
async fn a_request_refused_by_one_rule_consumes_nothing_of_another() {
    let scene = scene_with([
        DevRule::per_app(5, "hour", 1).priority(1),
        DevRule::per_key(2, "hour", 1)
            .endpoints(["/export"])
            .priority(2),
        DevRule::per_app_and_ip(100, "hour", 1).priority(3),
    ])
    .await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    for _ in 0..2 {
        echo.get_path(key.secret(), "/export").await.assert_ok();
    }
    for _ in 0..10 {
        let met = echo.get_path(key.secret(), "/export").await;
        assert_limited(&met, 1800);
        assert_eq!(violated(&met), ["per_key:2/3600s"]);
    }
    let met = echo.get_path(key.secret(), "/items").await;
    let left: Vec<_> = met.header(STATE).split(", ").collect();
    assert_eq!(
        left,
        [
            r#""per_app:5/3600s";r=2;t=720"#,
            r#""per_app_and_ip:100/3600s";r=97;t=36"#
        ],
        "the ten refused requests left no trace"
    );
    for _ in 0..2 {
        echo.get_path(key.secret(), "/items").await.assert_ok();
    }
    // Two rules refuse: both are named, and the slower one says when.
    let met = echo.get_path(key.secret(), "/export").await;
    assert_limited(&met, 1800);
    assert_eq!(violated(&met), ["per_app:5/3600s", "per_key:2/3600s"]);
    let met = echo.get_path(key.secret(), "/items").await;
    assert_limited(&met, 720);
}

#[tokio::test]
async fn endpoints_are_compared_exactly_and_a_star_is_all() {
    let scene = scene_with([
        DevRule::per_key(2, "hour", 1).endpoints(["/a", "/b"]),
        DevRule::per_key(50, "hour", 1).endpoints(["/x", "*"]),
        DevRule::per_key(0, "hour", 1).endpoints(["/closed"]),
        DevRule::per_key(0, "hour", 1).endpoints(Vec::<String>::new()),
    ])
    .await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    for path in ["/a?with=query", "/b"] {
        echo.get_path(key.secret(), path).await.assert_ok();
    }
    for path in ["/a", "/b", "/a?other", "/%61"] {
        assert_limited(&echo.get_path(key.secret(), path).await, 1800);
    }
    for path in ["/a/", "/A", "/ab", "/a/b", "//a", "/%2Fa", "/"] {
        let met = echo.get_path(key.secret(), path).await;
        assert_eq!(met.status, 200, "{path}");
        assert_eq!(met.header(POLICY), r#""per_key:50/3600s";q=50;w=3600"#);
    }
    echo.get_path(key.secret(), "/closed")
        .await
        .assert_refused(RejectionKind::RateLimited);

    // What a request is about can be told otherwise than by its path.
    let all_a = Echo::behind(layer.resource(|_| "/a".into()));
    assert_limited(&all_a.get_path(key.secret(), "/items").await, 1800);
    // As the gateway is told it: with a slash.
    let all_b = Echo::behind(scene.layer().resource(|_| "b".into()));
    for status in [200, 200, 429] {
        assert_eq!(all_b.get_path(key.secret(), "/items").await.status, status);
    }
}

#[tokio::test]
async fn a_request_that_no_rule_matches_is_not_limited() {
    let scene = scene_with([DevRule::per_key(1, "hour", 1).endpoints(["/a"])]).await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    for _ in 0..50 {
        let met = echo.get_path(key.secret(), "/items").await;
        met.assert_ok();
        assert_eq!((met.header(POLICY), met.header(STATE)), ("", ""));
    }
}

// --- addresses ---

#[tokio::test]
async fn per_key_and_ip_counts_each_key_at_each_address() {
    let scene = scene_with([DevRule::per_key_and_ip(1, "hour", 1)]).await;
    let echo = Echo::behind(scene.layer());
    for key in [scene.key(), scene.key()] {
        for address in ["192.0.2.1", "192.0.2.2"] {
            echo.get_from(key.secret(), address).await.assert_ok();
            assert_limited(&echo.get_from(key.secret(), address).await, 3600);
        }
    }
}

#[tokio::test]
async fn per_app_and_ip_counts_each_address_over_all_keys_of_an_app() {
    let scene = scene_with([DevRule::per_app_and_ip(2, "hour", 1)]).await;
    scene
        .wacht
        .set_scheme("billing", [DevRule::per_app_and_ip(2, "hour", 1)]);
    let echo = Echo::behind(scene.layer());
    let keys = [scene.key(), scene.key(), scene.key()];
    for address in ["192.0.2.1", "192.0.2.2"] {
        for key in &keys[..2] {
            echo.get_from(key.secret(), address).await.assert_ok();
        }
        for key in &keys {
            assert_limited(&echo.get_from(key.secret(), address).await, 1800);
        }
    }
    let billing = scene.wacht.issue_key("billing").issue();
    echo.get_from(billing.secret(), "192.0.2.1")
        .await
        .assert_ok();
}

fn per_ip(max_requests: i32) -> DevRule {
    DevRule::raw(json!({
        "unit": "hour", "duration": 1, "max_requests": max_requests,
        "mode": "per_ip", "priority": 0,
    }))
}

#[tokio::test]
async fn per_ip_counts_whom_the_proxies_name_over_all_apps() {
    let scene = scene_with([per_ip(2)]).await;
    scene.wacht.set_scheme("billing", [per_ip(2)]);
    let proxies = ClientIp::trusted_proxies(["10.0.0.0/8"]).unwrap();
    let echo = Echo::behind(scene.builder().client_ip(proxies).build().unwrap());
    let orders = scene.key();
    let billing = scene.wacht.issue_key("billing").issue();
    let ask = async |secret: &str, peer: &str, forwarded: &str| {
        let mut request = request(secret, "/items", peer);
        let forwarded = forwarded.parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", forwarded);
        echo.call(request).await
    };
    // One caller, whatever it claims further left, through whichever proxy, at either app.
    let caller = "203.0.113.9";
    ask(orders.secret(), "10.0.0.1", caller).await.assert_ok();
    ask(
        billing.secret(),
        "10.0.0.2",
        "192.0.2.55, 203.0.113.9, 10.0.0.1",
    )
    .await
    .assert_ok();
    for key in [&orders, &billing] {
        let met = ask(key.secret(), "10.0.0.3", caller).await;
        assert_limited(&met, 1800);
        assert_eq!(violated(&met), ["per_ip:2/3600s"]);
    }
    ask(orders.secret(), "10.0.0.1", "203.0.113.10")
        .await
        .assert_ok();
    // A stranger may write what it likes into the header: it counts as itself.
    for spoofed in ["203.0.113.11", "203.0.113.12"] {
        let met = ask(orders.secret(), "198.51.100.1", spoofed).await;
        met.assert_ok();
    }
    let met = ask(orders.secret(), "198.51.100.1", "203.0.113.13").await;
    assert_limited(&met, 1800);
    let told = scene.wacht.journal().checks_asked();
    assert_eq!(told[0].client_ip.as_deref(), Some(caller));
}

#[tokio::test]
async fn ipv6_callers_count_per_network_and_ipv4_in_disguise_as_ipv4() {
    let scene = scene_with([DevRule::per_app_and_ip(1, "hour", 1)]).await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    for (first, alike) in [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
    ] {
        echo.get_from(key.secret(), first).await.assert_ok();
        assert_limited(&echo.get_from(key.secret(), alike).await, 3600);
    }
    echo.get_from(key.secret(), "2001:db8:1:3::1")
        .await
        .assert_ok();
}

#[tokio::test]
async fn without_an_address_a_rule_that_needs_one_neither_passes_nor_counts() {
    let scene = scene_with([
        DevRule::per_key(2, "hour", 1),
        DevRule::per_app_and_ip(100, "hour", 1).endpoints(["/a"]),
    ])
    .await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    let without = |path: &str| {
        let mut request = request(key.secret(), path, "192.0.2.1");
        request.extensions_mut().clear();
        request
    };
    for _ in 0..5 {
        let met = echo.call(without("/a")).await;
        met.assert_refused(RejectionKind::Misconfigured);
    }
    for _ in 0..2 {
        echo.call(without("/b")).await.assert_ok();
    }
    assert_limited(&echo.call(without("/b")).await, 1800);
}

// --- what callers are told ---

#[tokio::test]
async fn the_header_fields_say_what_is_left_by_which_rule() {
    let scene = scene_with([
        DevRule::per_key(3, "minute", 1).priority(1),
        DevRule::per_app(10, "hour", 1).priority(2),
    ])
    .await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    let policy = r#""per_key:3/60s";q=3;w=60, "per_app:10/3600s";q=10;w=3600"#;
    for state in [
        r#""per_key:3/60s";r=2;t=20, "per_app:10/3600s";r=9;t=360"#,
        r#""per_key:3/60s";r=1;t=20, "per_app:10/3600s";r=8;t=360"#,
        r#""per_key:3/60s";r=0;t=20, "per_app:10/3600s";r=7;t=360"#,
    ] {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        assert_eq!((met.header(POLICY), met.header(STATE)), (policy, state));
        assert_eq!(met.header("retry-after"), "");
    }
    scene.clock.advance(seconds(5));
    let met = echo.get(key.secret()).await;
    assert_limited(&met, 15);
    assert_eq!(met.header(POLICY), policy);
    assert_eq!(
        met.header(STATE),
        r#""per_key:3/60s";r=0;t=15, "per_app:10/3600s";r=7;t=355"#
    );
    let problem: Value = serde_json::from_str(&met.body).unwrap();
    assert_eq!(problem["violated-policies"], json!(["per_key:3/60s"]));
}

#[tokio::test]
async fn which_header_fields_are_sent_is_a_choice() {
    let scene = scene_with([DevRule::per_key(2, "minute", 1)]).await;
    let layer = scene.layer();
    let wachts = ["limit", "remaining", "reset"].map(|what| format!("x-ratelimit-60s-{what}"));
    for (choice, draft, wacht) in [
        (RateLimitHeaders::Draft, true, false),
        (RateLimitHeaders::Wacht, false, true),
        (RateLimitHeaders::Both, true, true),
        (RateLimitHeaders::None, false, false),
    ] {
        let echo = Echo::behind(layer.clone().rate_limit_headers(choice));
        let key = scene.key();
        for (remaining, reset) in [("1", "30"), ("0", "30"), ("0", "30")] {
            let met = echo.get(key.secret()).await;
            for field in [POLICY, STATE] {
                assert_eq!(
                    met.headers.contains_key(field),
                    draft,
                    "{choice:?}: {met:?}"
                );
            }
            let sent: Vec<_> = wachts.iter().map(|name| met.header(name)).collect();
            let expected = if wacht {
                ["2", remaining, reset]
            } else {
                ["", "", ""]
            };
            assert_eq!(sent, expected, "{choice:?}");
        }
        // The choice never costs the caller the one field it needs.
        assert_limited(&echo.get(key.secret()).await, 30);
    }
}

// --- whose state it is ---

#[tokio::test]
async fn counters_outlive_verdicts() {
    let scene = scene_with([DevRule::per_key(4, "day", 1)]).await;
    let layer = scene.layer();
    let handle = layer.handle();
    let echo = Echo::behind(layer);
    let key = scene.key();
    let left = async |expected: u32| {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        let text = format!(";r={expected};");
        assert!(met.header(STATE).contains(&text), "{met:?}");
    };
    left(3).await;
    scene.clock.advance(seconds(400));
    left(2).await;
    handle.invalidate_secret(key.secret());
    left(1).await;
    handle.invalidate_key_id(key.key_id());
    handle.invalidate_app("orders");
    handle.invalidate_all();
    left(0).await;
    assert_eq!(scene.wacht.journal().checks(), 4, "each was verified anew");
    handle.invalidate_all();
    assert_eq!(
        echo.get(key.secret()).await.kind(),
        Some(RejectionKind::RateLimited)
    );
}

#[tokio::test]
async fn clones_and_services_of_a_layer_share_their_counters_and_two_layers_do_not() {
    let scene = scene_with([DevRule::per_key(4, "day", 1)]).await;
    let layer = scene.layer();
    let key = scene.key();
    // Each call builds a service of its own, as axum does for each route.
    let one = Echo::behind(layer.clone().app("orders"));
    let two = Echo::behind(layer.clone().realm("two"));
    one.get_path(key.secret(), "/a").await.assert_ok();
    two.get_path(key.secret(), "/b").await.assert_ok();
    one.get_path(key.secret(), "/c").await.assert_ok();
    let context = AuthContext::new("/jobs");
    let handle = layer.handle();
    handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    for echo in [&one, &two] {
        assert_eq!(
            echo.get(key.secret()).await.kind(),
            Some(RejectionKind::RateLimited)
        );
    }
    let refused = handle.authenticate_key(key.secret(), &context).await;
    assert_eq!(refused.unwrap_err().kind(), RejectionKind::RateLimited);
    Echo::behind(scene.layer())
        .get(key.secret())
        .await
        .assert_ok();
}

#[tokio::test]
async fn many_at_once_with_a_cold_key_are_admitted_to_the_limit_exactly() {
    let scene = scene_with([DevRule::per_key(10, "hour", 1)]).await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    let mut asked = JoinSet::new();
    for _ in 0..50 {
        let (echo, key) = (echo.clone(), key.clone());
        asked.spawn(async move { echo.get(key.secret()).await.kind() });
    }
    let met = asked.join_all().await;
    let admitted = met.iter().filter(|kind| kind.is_none()).count();
    assert_eq!(admitted, 10);
    assert_eq!(echo.reached(), 10);
    assert_eq!(scene.wacht.journal().checks(), 1);
}

// --- who counts ---

#[tokio::test]
async fn a_rule_that_cannot_be_counted_here_is_counted_by_the_gateway() {
    let odd = |unit: &str, mode: &str| {
        DevRule::raw(json!({
            "unit": unit, "duration": 1, "max_requests": 1, "mode": mode, "priority": 0,
        }))
    };
    let countable = DevRule::per_key(1, "hour", 1);
    // The gateway takes a scheme with a rule that it cannot read for one without rules.
    for rules in [
        vec![odd("fortnight", "per_key")],
        vec![odd("minute", "per_moon")],
        vec![countable, odd("fortnight", "per_key")],
    ] {
        let scene = scene_with(rules).await;
        let echo = Echo::behind(scene.layer());
        let (key, journal) = (scene.key(), scene.wacht.journal());
        for checks in 1..=5 {
            let met = echo.get_path(key.secret(), "/items").await;
            met.assert_ok();
            assert_eq!((met.header(POLICY), met.header(STATE)), ("", ""));
            assert_eq!(journal.checks(), checks, "each request is its own check");
        }
    }
}

/// Of a limit below ten none of so many replicas has a share, so the gateway counts it.
fn one_of_ten() -> Limits {
    Limits::local().replicas(NonZeroU32::new(10).unwrap())
}

#[tokio::test]
async fn what_the_gateway_counts_is_charged_once_and_needs_the_gateway() {
    let scene = scene_with([DevRule::per_key(3, "hour", 1)]).await;
    let echo = Echo::behind(scene.builder().limits(one_of_ten()).build().unwrap());
    let (key, journal) = (scene.key(), scene.wacht.journal());
    for _ in 0..3 {
        echo.get(key.secret()).await.assert_ok();
    }
    for _ in 0..2 {
        let met = echo.get(key.secret()).await;
        assert_limited(&met, 60);
    }
    assert_eq!(journal.checks(), 5, "and no request is charged twice");
    for asked in journal.checks_asked() {
        assert_eq!(asked.resource, "/items");
        assert_eq!(asked.method, "GET");
        assert_eq!(asked.client_ip.as_deref(), Some("198.51.100.7"));
        assert!(asked.required_permissions.is_empty());
    }
    scene.wacht.refuse_connections(true);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

#[tokio::test]
async fn of_many_at_once_each_is_counted_once_by_the_gateway() {
    let scene = scene_with([DevRule::per_key(7, "hour", 1)]).await;
    let echo = Echo::behind(scene.builder().limits(one_of_ten()).build().unwrap());
    // The app is known and the key is not.
    echo.get(scene.key().secret()).await.assert_ok();
    let (key, journal) = (scene.key(), scene.wacht.journal());
    journal.clear();
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        let (echo, key) = (echo.clone(), key.clone());
        asked.spawn(async move { echo.get(key.secret()).await.kind() });
    }
    let met = asked.join_all().await;
    let admitted = met.iter().filter(|kind| kind.is_none()).count();
    assert_eq!(admitted, 7);
    assert_eq!(journal.checks(), 20);
}

#[tokio::test]
async fn a_scheme_becomes_countable_again() {
    let scene = scene_with([DevRule::per_key(9, "day", 1)]).await;
    let layer = scene.builder().limits(one_of_ten()).build().unwrap();
    let handle = layer.handle();
    let echo = Echo::behind(layer);
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1000, "day", 1)]);
    handle.invalidate_app("orders");
    eventually(async || {
        let before = journal.checks();
        echo.get(key.secret()).await.assert_ok();
        journal.checks() == before
    })
    .await;
}

#[tokio::test]
async fn off_means_nobody_counts() {
    let scene = scene_with([DevRule::per_key(1, "day", 1), per_ip(1)]).await;
    let echo = Echo::behind(scene.builder().limits(Limits::off()).build().unwrap());
    let (key, journal) = (scene.key(), scene.wacht.journal());
    for _ in 0..50 {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        assert_eq!((met.header(POLICY), met.header(STATE)), ("", ""));
    }
    assert_eq!(journal.checks(), 1);
    // The gateway says `rate_limited` by now, and that is no reason to refuse.
    scene.clock.advance(seconds(400));
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(journal.checks(), 2);
}

#[tokio::test]
async fn under_the_gateways_limits_every_request_is_its_own_check() {
    let scene = scene_with([DevRule::per_key(6, "hour", 1)]).await;
    let layer = scene.builder().limits(Limits::gateway()).build().unwrap();
    let plain = layer.clone().require("orders:read AND orders:write");
    let plain = Echo::behind(plain.unwrap());
    let either = layer.clone().require("orders:read OR orders:write");
    let either = Echo::behind(either.unwrap());
    let journal = scene.wacht.journal();
    let key = scene.wacht.issue_key("orders");
    let key = key.permissions(["orders:read", "orders:write"]).issue();
    let mut asked = JoinSet::new();
    for _ in 0..4 {
        let (plain, key) = (plain.clone(), key.clone());
        asked.spawn(async move { plain.get(key.secret()).await.status });
    }
    assert!(asked.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(journal.checks(), 4, "nothing is joined");
    for asked in journal.checks_asked() {
        let mut required = asked.required_permissions;
        required.sort_unstable();
        assert_eq!(required, ["orders:read", "orders:write"]);
    }

    // What the gateway cannot be asked is decided here.
    journal.clear();
    either.get(key.secret()).await.assert_ok();
    assert!(journal.checks_asked()[0].required_permissions.is_empty());

    // Refused for a permission, by the gateway or here: nothing is charged by the former.
    let reader = scene.wacht.issue_key("orders");
    let reader = reader.permissions(["orders:read"]).issue();
    for _ in 0..10 {
        plain
            .get(reader.secret())
            .await
            .assert_refused(RejectionKind::PermissionDenied);
    }
    either.get(reader.secret()).await.assert_ok();

    plain.get(key.secret()).await.assert_ok();
    let met = plain.get(key.secret()).await;
    assert_limited(&met, 60);
    assert_eq!((met.header(POLICY), met.header(STATE)), ("", ""));
}

#[tokio::test]
async fn under_the_gateways_limits_nothing_passes_without_the_gateway() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.builder().limits(Limits::gateway()).build().unwrap());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.refuse_connections(true);
    for _ in 0..2 {
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::Unavailable);
    }
    scene.wacht.refuse_connections(false);
    echo.get(key.secret()).await.assert_ok();
    // Without an answer a check is sent once more.
    for (fault, times) in [
        (Fault::Status(500), 1),
        (Fault::Status(429), 1),
        (Fault::Drop, 2),
    ] {
        scene.wacht.fault_times(On::Checks, fault, times);
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::Unavailable);
        echo.get(key.secret()).await.assert_ok();
    }
    assert_eq!(echo.reached(), 5);
}

#[tokio::test]
async fn under_the_gateways_limits_what_is_known_to_be_bad_is_not_asked_again() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.builder().limits(Limits::gateway()).build().unwrap());
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    for _ in 0..3 {
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(journal.checks(), 2);
}
