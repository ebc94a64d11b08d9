//! The options of `Limits`, and rules in all of Wacht's units, through a real gate.

use std::num::NonZeroU32;
use std::time::Duration;

use wacht_auth::client::ConfigErrorKind;
use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
use wacht_auth::{Algorithm, Error, Limits, RejectionKind, WachtAuthLayer};

use crate::scene::{Echo, Met, Scene, eventually, get, landed};

const POLICY: &str = "ratelimit-policy";
const STATE: &str = "ratelimit";
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::SlidingWindow];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn replicas(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn rule(unit: RateLimitUnit, max_requests: i32, mode: RateLimitMode) -> RateLimit {
    RateLimit {
        unit,
        duration: 1,
        max_requests,
        mode: Some(mode),
    }
}

async fn scene_with(rules: impl IntoIterator<Item = DevRule>) -> Scene {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", rules);
    scene
}

/// A scene on 2028-02-28, 12:00 UTC, with one rule.
async fn leap_scene(rule: DevRule) -> Scene {
    let clock = ManualClock::at(seconds(1_835_352_000));
    let wacht = DevGateway::start().await.clock(&clock);
    wacht.app("orders").scheme([rule]);
    Scene { wacht, clock }
}

impl Echo {
    async fn admitted(&self, secret: &str, tries: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += usize::from(self.get(secret).await.kind().is_none());
        }
        admitted
    }

    async fn path(&self, secret: &str, path: &str) -> Met {
        let mut request = get(secret);
        *request.uri_mut() = path.parse().unwrap();
        self.call(request).await
    }
}

#[track_caller]
fn assert_limited(met: &Met, retry_after: u64) {
    met.assert_refused(RejectionKind::RateLimited);
    assert_eq!(met.retry_after(), retry_after, "{met:?}");
}

// --- algorithms and units ---

#[tokio::test]
async fn a_sliding_window_says_when_the_oldest_request_leaves_it() {
    for (unit, duration, window) in [
        ("second", 30, 30),
        ("minute", 1, 60),
        ("hour", 2, 7_200),
        ("day", 1, 86_400),
        ("month", 1, 2_592_000),
    ] {
        let scene = scene_with([DevRule::per_key(2, unit, duration)]).await;
        let limits = Limits::local().algorithm(Algorithm::SlidingWindow);
        let echo = Echo::behind(scene.builder().limits(limits).build().unwrap());
        let key = scene.key();
        let first = echo.get(key.secret()).await;
        let name = format!("\"per_key:2/{window}s\"");
        assert_eq!(first.header(POLICY), format!("{name};q=2;w={window}"));
        assert_eq!(first.header(STATE), format!("{name};r=1;t={window}"));
        scene.clock.advance(seconds(10));
        echo.get(key.secret()).await.assert_ok();
        assert_limited(&echo.get(key.secret()).await, window - 10);
        scene.clock.advance(seconds(window - 10));
        assert_eq!(echo.admitted(key.secret(), 3).await, 1);
        assert_limited(&echo.get(key.secret()).await, 10);
    }
}

#[tokio::test]
async fn calendar_days_begin_at_midnight_utc_also_on_a_leap_day() {
    for algorithm in ALGORITHMS {
        let scene = leap_scene(DevRule::per_key(2, "calendar_day", 1)).await;
        let echo = Echo::behind(
            scene
                .builder()
                .limits(Limits::local().algorithm(algorithm))
                .build()
                .unwrap(),
        );
        let (key, journal) = (scene.key(), scene.wacht.journal());
        let first = echo.get(key.secret()).await;
        let name = r#""per_key:2/calendar_day""#;
        assert_eq!(first.header(POLICY), format!("{name};q=2;w=86400"));
        assert_eq!(first.header(STATE), format!("{name};r=1;t=43200"));
        assert_eq!(echo.admitted(key.secret(), 5).await, 1);
        assert_eq!(journal.checks(), 1, "all of it is counted here");
        assert_limited(&echo.get(key.secret()).await, 43_200);
        scene.clock.advance(seconds(43_199));
        assert_limited(&echo.get(key.secret()).await, 1);
        for _ in ["29 February", "1 March"] {
            scene.clock.advance(seconds(1));
            assert_eq!(echo.admitted(key.secret(), 5).await, 2);
            assert_limited(&echo.get(key.secret()).await, 86_400);
            scene.clock.advance(seconds(86_399));
            assert_limited(&echo.get(key.secret()).await, 1);
        }
    }
}

#[tokio::test]
async fn calendar_months_are_as_long_as_the_calendar_says() {
    for algorithm in ALGORITHMS {
        let scene = leap_scene(DevRule::per_key(3, "calendar_month", 1)).await;
        let echo = Echo::behind(
            scene
                .builder()
                .limits(Limits::local().algorithm(algorithm))
                .build()
                .unwrap(),
        );
        let key = scene.key();
        let name = r#""per_key:3/calendar_month""#;
        let first = echo.get(key.secret()).await;
        assert_eq!(first.header(POLICY), format!("{name};q=3;w=2505600"));
        assert_eq!(echo.admitted(key.secret(), 5).await, 2);
        assert_limited(&echo.get(key.secret()).await, 129_600);
        scene.clock.advance(seconds(129_599));
        assert_limited(&echo.get(key.secret()).await, 1);
        scene.clock.advance(seconds(1));
        let march = echo.get(key.secret()).await;
        assert_eq!(march.header(POLICY), format!("{name};q=3;w=2678400"));
        assert_eq!(march.header(STATE), format!("{name};r=2;t=2678400"));
        assert_eq!(echo.admitted(key.secret(), 5).await, 2);
    }
}

#[tokio::test]
async fn a_wall_clock_that_steps_back_opens_no_calendar_rule() {
    let scene = leap_scene(DevRule::per_key(2, "calendar_day", 1)).await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    assert_eq!(echo.admitted(key.secret(), 5).await, 2);
    scene.clock.advance(seconds(86_400));
    assert_eq!(echo.admitted(key.secret(), 5).await, 2);
    let shown = scene.clock.unix_time();
    for back in [1, 43_201, 86_400, 40 * 86_400] {
        scene
            .clock
            .set_unix_time(shown.saturating_sub(seconds(back)));
        assert_eq!(echo.admitted(key.secret(), 5).await, 0);
        let fresh = scene.key();
        assert_eq!(echo.admitted(fresh.secret(), 5).await, 2);
        scene.clock.set_unix_time(shown);
        assert_eq!(echo.admitted(fresh.secret(), 5).await, 0);
    }
}

// --- replicas ---

#[tokio::test]
async fn replicas_together_admit_no_more_than_the_limit() {
    for algorithm in ALGORITHMS {
        let scene = scene_with([DevRule::per_key(10, "hour", 1)]).await;
        let limits = Limits::local().algorithm(algorithm).replicas(replicas(3));
        let gates =
            [(); 3].map(|()| Echo::behind(scene.builder().limits(limits.clone()).build().unwrap()));
        let key = scene.key();
        for gate in &gates {
            let first = gate.get(key.secret()).await;
            assert_eq!(first.header(POLICY), r#""per_key:3/3600s";q=3;w=3600"#);
            assert_eq!(gate.admitted(key.secret(), 20).await, 2);
        }
    }
}

#[tokio::test]
async fn a_limit_smaller_than_the_number_of_replicas_is_counted_by_the_gateway() {
    let scene = scene_with([DevRule::per_key(2, "hour", 1)]).await;
    let limits = Limits::local().replicas(replicas(3));
    let gates =
        [(); 3].map(|()| Echo::behind(scene.builder().limits(limits.clone()).build().unwrap()));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    let mut admitted = 0;
    for gate in &gates {
        admitted += gate.admitted(key.secret(), 2).await;
    }
    assert_eq!(admitted, 2);
    assert_eq!(journal.checks(), 6);
}

// --- fixed rules ---

#[tokio::test]
async fn fixed_rules_take_the_place_of_the_apps_scheme() {
    let scene = scene_with([DevRule::per_key(1, "day", 1)]).await;
    let rules = [
        rule(RateLimitUnit::Hour, 3, RateLimitMode::PerKey).with_priority(1),
        rule(RateLimitUnit::Hour, 1, RateLimitMode::PerKey).with_endpoints(["/export"]),
    ];
    let limits = Limits::local().rules(rules).unwrap();
    let layer = scene.builder().limits(limits).build().unwrap();
    let handle = layer.handle();
    let echo = Echo::behind(layer);
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.path(key.secret(), "/export").await.assert_ok();
    assert_limited(&echo.path(key.secret(), "/export").await, 3600);
    assert_eq!(echo.admitted(key.secret(), 10).await, 2);
    assert_eq!(journal.checks(), 1);
    // The gateway says `rate_limited` by now, and that is no reason to refuse.
    let other = scene.wacht.issue_key("billing").issue();
    assert_eq!(echo.admitted(other.secret(), 10).await, 3);
    handle.invalidate_all();
    assert_limited(&echo.get(key.secret()).await, 1200);
    // Its own scheme may be one that nobody can read.
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "fortnight", 1)]);
    handle.invalidate_all();
    assert_limited(&echo.get(key.secret()).await, 1200);
}

#[tokio::test]
async fn under_fixed_rules_a_deactivated_app_is_refused_all_the_same() {
    let scene = Scene::new().await;
    let rules = [rule(RateLimitUnit::Hour, 1000, RateLimitMode::PerKey)];
    let layer = scene
        .builder()
        .limits(Limits::local().rules(rules).unwrap())
        .build()
        .unwrap();
    let handle = layer.handle();
    let echo = Echo::behind(layer);
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.app("orders").set_active(false);
    handle.invalidate_app("orders");
    eventually(async || echo.get(key.secret()).await.kind() == Some(RejectionKind::InvalidKey))
        .await;
}

#[tokio::test]
async fn fixed_rules_without_a_share_are_an_error_in_the_configuration() {
    let rules = [rule(RateLimitUnit::Hour, 2, RateLimitMode::PerKey)];
    let limits = Limits::local().rules(rules.clone()).unwrap();
    let late = limits.replicas(replicas(3));
    let scene = Scene::new().await;
    let Err(Error::Config(late)) = scene.builder().limits(late).build() else {
        panic!("no layer can apply it");
    };
    assert_eq!(late.kind(), ConfigErrorKind::RateLimits);
    assert!(late.to_string().contains("per_key:2/1 hour"), "{late}");

    let early = Limits::local().replicas(replicas(3)).rules(rules);
    let Err(Error::Config(early)) = early else {
        panic!("{early:?}");
    };
    assert_eq!(early.kind(), ConfigErrorKind::RateLimits);
    assert!(early.to_string().contains("per_key:2/1 hour"), "{early}");
}

// --- shadow ---

#[tokio::test]
async fn a_shadow_refuses_nobody_and_counts_whom_it_would_have_refused() {
    for algorithm in ALGORITHMS {
        let scene = scene_with([DevRule::per_key(2, "hour", 1)]).await;
        let limits = Limits::local().algorithm(algorithm).shadow();
        let layer = scene.builder().limits(limits).build().unwrap();
        let handle = layer.handle();
        let echo = Echo::behind(layer);
        let key = scene.key();
        assert_eq!(echo.admitted(key.secret(), 2).await, 2);
        assert_eq!(handle.stats().shadow_refusals, 0);
        for count in 1..=3 {
            let met = echo.get(key.secret()).await;
            met.assert_ok();
            assert!(met.header(STATE).starts_with(r#""per_key:2/3600s";r=0;t="#));
            assert_eq!(met.header("retry-after"), "");
            assert_eq!(handle.stats().shadow_refusals, count);
        }
        // What would have been refused has used up nothing.
        scene.clock.advance(seconds(3600));
        assert_eq!(echo.admitted(key.secret(), 3).await, 3);
        assert_eq!(handle.stats().shadow_refusals, 4);
        assert_eq!(echo.reached(), 8);
    }
}

#[tokio::test]
async fn a_shadow_passes_what_it_cannot_count() {
    let odd = DevRule::per_key(1, "fortnight", 1);
    for rules in [vec![odd], vec![DevRule::per_app_and_ip(1, "hour", 1)]] {
        let scene = scene_with(rules).await;
        let layer = scene
            .builder()
            .limits(Limits::local().shadow())
            .build()
            .unwrap();
        let handle = layer.handle();
        let echo = Echo::behind(layer);
        let key = scene.key();
        for _ in 0..5 {
            let mut request = get(key.secret());
            request.extensions_mut().clear();
            echo.call(request).await.assert_ok();
        }
        assert_eq!(scene.wacht.journal().checks(), 1);
        assert_eq!(handle.stats().shadow_refusals, 0);
    }
}

#[tokio::test]
async fn a_shadow_of_fixed_rules_still_refuses_for_other_reasons() {
    let scene = Scene::new().await;
    let rules = [rule(RateLimitUnit::Hour, 0, RateLimitMode::PerKey)];
    let limits = Limits::local().rules(rules).unwrap().shadow();
    let layer = scene.builder().limits(limits).build().unwrap();
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    assert_eq!(echo.admitted(key.secret(), 3).await, 3);
    let needy = Echo::behind(layer.require("orders:delete").unwrap());
    needy
        .get(key.secret())
        .await
        .assert_refused(RejectionKind::PermissionDenied);
}

// --- per resource ---

#[tokio::test]
async fn per_resource_counters_give_each_resource_of_a_key_its_own_limit() {
    let scene = scene_with([
        DevRule::per_key(1, "hour", 1).priority(1),
        DevRule::per_app(5, "hour", 1).priority(2),
    ])
    .await;
    let layer = scene
        .builder()
        .limits(Limits::local().per_resource_counters())
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    for path in ["/a", "/b", "/c?x=1"] {
        echo.path(key.secret(), path).await.assert_ok();
        assert_limited(&echo.path(key.secret(), path).await, 3600);
    }
    assert_limited(&echo.path(key.secret(), "/c?x=2").await, 3600);
    // What a resource is, the option says.
    let routes = Echo::behind(layer.resource(|_| "/orders/{id}".into()));
    routes.path(key.secret(), "/orders/1").await.assert_ok();
    assert_limited(&routes.path(key.secret(), "/orders/2").await, 3600);
}

// --- changes ---

#[tokio::test]
async fn a_raised_limit_lets_no_burst_through() {
    for algorithm in ALGORITHMS {
        let scene = scene_with([DevRule::per_key(3, "minute", 10)]).await;
        let limits = Limits::local().algorithm(algorithm);
        let layer: WachtAuthLayer = scene.builder().limits(limits).build().unwrap();
        let handle = layer.handle();
        let echo = Echo::behind(layer);
        let key = scene.key();
        assert_eq!(echo.admitted(key.secret(), 5).await, 3);
        scene
            .wacht
            .set_scheme("orders", [DevRule::per_key(20, "minute", 10)]);
        handle.invalidate_app("orders");
        eventually(async || {
            let met = echo.get(key.secret()).await;
            met.assert_refused(RejectionKind::RateLimited);
            met.header(POLICY) == r#""per_key:20/600s";q=20;w=600"#
        })
        .await;
        scene.clock.advance(seconds(600));
        assert!(echo.admitted(key.secret(), 30).await >= 20);
    }
}

#[tokio::test]
async fn flipping_schemes_admits_no_more_than_the_strictest() {
    for algorithm in ALGORITHMS {
        let scene = scene_with([DevRule::per_key(10, "day", 1)]).await;
        let limits = Limits::local().algorithm(algorithm);
        let layer: WachtAuthLayer = scene.builder().limits(limits).build().unwrap();
        let handle = layer.handle();
        let echo = Echo::behind(layer);
        let key = scene.key();
        let mut admitted = echo.admitted(key.secret(), 20).await;
        for max in [11, 12, 10, 11, 12, 11, 10] {
            scene.clock.advance(seconds(60));
            scene
                .wacht
                .set_scheme("orders", [DevRule::per_key(max, "day", 1)]);
            handle.invalidate_app("orders");
            // A key of its own waits for the new scheme.
            let waiting = scene.key();
            let policy = format!(r#""per_key:{max}/86400s";q={max};w=86400"#);
            eventually(async || echo.get(waiting.secret()).await.header(POLICY) == policy).await;
            admitted += echo.admitted(key.secret(), 20).await;
        }
        assert_eq!(admitted, 10, "{algorithm:?}");
        // A day after the last change, the limit is what the scheme says and nothing else.
        scene.clock.advance(seconds(86_400));
        assert_eq!(echo.admitted(key.secret(), 20).await, 10);
    }
}

// --- who counts, where the scheme cannot be mirrored ---

/// Rules of the program's own, or a shadow, beside a scheme that only the gateway can count.
fn counted_here_whatever_the_scheme_says() -> [Limits; 3] {
    let rules = [rule(RateLimitUnit::Hour, 1_000, RateLimitMode::PerKey)];
    [
        Limits::local().rules(rules).unwrap(),
        Limits::local().shadow(),
        Limits::off(),
    ]
}

#[tokio::test]
async fn what_is_not_counted_by_the_gateway_is_refreshed_behind_the_request_and_not_its_own_check()
{
    for limits in counted_here_whatever_the_scheme_says() {
        let scene = scene_with([DevRule::per_key(1_000, "fortnight", 1)]).await;
        let key = scene.key();
        let layer = scene.builder().limits(limits).build().unwrap();
        let echo = Echo::behind(layer.clone());
        let journal = scene.wacht.journal();
        for _ in 0..5 {
            echo.get(key.secret()).await.assert_ok();
        }
        assert_eq!(journal.checks(), 1, "no request is a check of its own");

        scene.clock.advance(Duration::from_secs(31));
        let held = scene.wacht.hold_checks();
        echo.get(key.secret()).await.assert_ok();
        journal.wait_for_checks(2).await;
        held.release();
        landed(&layer).await;

        // The check that a request waits for says nothing that a caller chose, either.
        scene.clock.advance(Duration::from_secs(61));
        let mut odd = get(key.secret());
        *odd.method_mut() = http::Method::DELETE;
        odd.headers_mut()
            .insert("user-agent", "chosen".parse().unwrap());
        echo.call(odd).await.assert_ok();
        for check in &journal.checks_asked()[1..] {
            assert_eq!((&*check.method, &*check.resource), ("POST", "/"));
            assert_eq!(check.user_agent, None);
        }
    }
}

#[tokio::test]
async fn one_failure_buys_no_time_where_the_gateway_does_not_count() {
    for limits in counted_here_whatever_the_scheme_says() {
        let scene = scene_with([DevRule::per_key(1_000, "fortnight", 1)]).await;
        let key = scene.key();
        let layer = scene.builder().limits(limits).build().unwrap();
        let echo = Echo::behind(layer.clone());
        echo.get(key.secret()).await.assert_ok();
        scene.clock.advance(Duration::from_secs(35));
        scene.wacht.fault(On::Checks, Fault::Status(503));
        echo.get(key.secret()).await.assert_ok();
        landed(&layer).await;
        scene.wacht.clear_faults();
        scene.wacht.revoke(key.key_id());
        scene.clock.advance(Duration::from_secs(65));
        let met = echo.get(key.secret()).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
}

#[tokio::test]
async fn a_deleted_app_is_no_missing_key_where_the_gateway_counts() {
    let scene = Scene::new().await;
    let key = scene.key();
    let builder = scene.builder().limits(Limits::gateway());
    let echo = Echo::behind(builder.build().unwrap());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.delete_app("orders");
    scene.clock.advance(Duration::from_secs(20));
    let invalid = Some(RejectionKind::InvalidKey);
    for _ in 0..20 {
        scene.clock.advance(Duration::from_secs(5));
        let met = echo.get(key.secret()).await;
        assert!(met.kind() == invalid || met.kind().is_none(), "{met:?}");
    }
    assert_eq!(echo.get(key.secret()).await.kind(), invalid);
}
