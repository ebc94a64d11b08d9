//! The figures of a gate: every one moves as `docs/observability.md` says, for the recorder of the
//! `metrics` crate and in `AuthHandle::stats` alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString,
    Unit, set_default_local_recorder,
};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use wacht_auth::dev::{DevRule, Fault, On};
use wacht_auth::{
    AuthStats, CachePolicy, ClientIp, Limits, RejectionKind, RequirePermissionsLayer,
    UnknownKeyLimit, VerdictSource, WachtAuthLayer, WachtClient, Watch,
};

use crate::scene::{Echo, Scene, anonymous, eventually, get, landed, made_up, met};

const DOCS: &str = include_str!("../../docs/observability.md");

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What this thread's recorder heard since it was last asked.
struct Figures {
    heard: Snapshotter,
}

impl Figures {
    fn of(recorder: &DebuggingRecorder) -> (Self, LocalRecorderGuard<'_>) {
        let heard = recorder.snapshotter();
        (Self { heard }, set_default_local_recorder(recorder))
    }

    /// What has moved, by how much, and nothing that has not. A histogram moves by what was
    /// recorded in it.
    fn moved(&self) -> BTreeMap<String, Vec<f64>> {
        let mut moved = BTreeMap::new();
        for (key, _, _, value) in self.heard.snapshot().into_vec() {
            let by = match value {
                DebugValue::Counter(by) => vec![by as f64],
                DebugValue::Gauge(by) => vec![by.into_inner()],
                DebugValue::Histogram(values) => {
                    values.into_iter().map(|value| value.into_inner()).collect()
                }
            };
            if by.iter().any(|by| *by != 0.0) || key.kind() == MetricKind::Histogram {
                let labels = key.key().labels();
                let labels: Vec<_> = labels.map(|label| label.value().to_owned()).collect();
                let name = format!("{} {}", key.key().name(), labels.join(" "));
                if !by.is_empty() {
                    moved.insert(name.trim_end().to_owned(), by);
                }
            }
        }
        moved
    }

    /// The same of one metric alone; everything else is forgotten.
    fn moved_of(&self, metric: &str) -> Vec<(String, f64)> {
        let moved = self.moved().into_iter();
        moved
            .filter_map(|(name, by)| {
                let labels = name.strip_prefix(metric)?;
                let labels = match labels.is_empty() {
                    true => labels,
                    false => labels.strip_prefix(' ')?,
                };
                Some((labels.to_owned(), by.iter().sum()))
            })
            .collect()
    }

    #[track_caller]
    fn expect(&self, metric: &str, expected: &[(&str, f64)]) {
        let moved = self.moved_of(metric);
        let moved: Vec<(&str, f64)> = moved.iter().map(|(l, by)| (l.as_str(), *by)).collect();
        assert_eq!(moved, expected, "{metric}");
    }

    #[track_caller]
    fn expect_verdict(&self, verdict: &str) {
        self.expect("wacht_auth.verdicts", &[(verdict, 1.0)]);
    }
}

#[tokio::test]
async fn every_verdict_is_counted_once_by_outcome_and_source() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(6, "day", 1)]);
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let key = scene.key();

    echo.get(key.secret()).await.assert_ok();
    figures.expect_verdict("admitted verified");
    echo.get(key.secret()).await.assert_ok();
    figures.expect_verdict("admitted fresh");
    scene.clock.advance(seconds(31));
    echo.get(key.secret()).await.assert_ok();
    landed(&layer).await;
    let moved = figures.moved();
    assert_eq!(moved["wacht_auth.verdicts admitted stale"], [1.0]);
    assert_eq!(moved["wacht_auth.refreshes"], [1.0]);

    echo.call(anonymous()).await;
    figures.expect_verdict("missing_credential request");
    let mut two = get(key.secret());
    let other = "Bearer another".parse().unwrap();
    two.headers_mut().append("authorization", other);
    echo.call(two).await;
    figures.expect_verdict("malformed_credential request");
    echo.get("not-a-key").await;
    figures.expect_verdict("invalid_key request");
    echo.get(&made_up(1)).await;
    figures.expect_verdict("invalid_key verified");
    echo.get(&made_up(1)).await;
    figures.expect_verdict("invalid_key negative");
    let strict = Echo::behind(layer.clone().require("orders:write").unwrap());
    strict.get(key.secret()).await;
    figures.expect_verdict("permission_denied fresh");

    // An outage: the first one waits and finds out, the next ones know.
    scene.wacht.fault(On::Checks, Fault::Status(503));
    scene.clock.advance(seconds(61));
    echo.get(key.secret()).await.assert_ok();
    figures.expect_verdict("admitted stale_on_error");
    echo.get(key.secret()).await.assert_ok();
    figures.expect_verdict("admitted stale_on_error");
    echo.get(&made_up(2)).await;
    figures.expect_verdict("unavailable verified");
    scene.wacht.clear_faults();
    scene.clock.advance(seconds(5));
    echo.get(key.secret()).await.assert_ok();
    landed(&layer).await;
    figures.moved();
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::RateLimited);
    figures.expect_verdict("rate_limited fresh");

    // An answer that is neither yes nor no is remembered, too.
    scene.wacht.fault(On::Checks, Fault::Status(404));
    echo.get(&made_up(3)).await;
    figures.expect_verdict("unavailable verified");
    echo.get(&made_up(3)).await;
    figures.expect_verdict("unavailable negative");

    let handle = layer.handle();
    handle.revoke_key_id(key.key_id());
    scene.wacht.clear_faults();
    echo.get(key.secret()).await;
    figures.expect_verdict("invalid_key negative");
    handle.revoke_secret(key.secret());
    echo.get(key.secret()).await;
    figures.expect_verdict("invalid_key negative");

    let client = WachtClient::new("no header value\n");
    Echo::behind(WachtAuthLayer::new(client))
        .get(&made_up(4))
        .await;
    figures.expect_verdict("misconfigured request");

    // The gate's own account, of its own requests alone.
    let verdicts = handle.stats().verdicts;
    assert_eq!(verdicts.admitted(VerdictSource::Fresh), 1);
    assert_eq!(verdicts.admitted(VerdictSource::Stale), 1);
    assert_eq!(verdicts.admitted(VerdictSource::StaleOnError), 3);
    let refused = |kind, source| verdicts.refused(kind, source);
    let negative = VerdictSource::Negative;
    assert_eq!(refused(RejectionKind::InvalidKey, negative), 3);
    assert_eq!(refused(RejectionKind::Unavailable, negative), 1);
    assert_eq!(verdicts.from_source(negative), 4);
    assert_eq!(verdicts.from_source(VerdictSource::Request), 3);
    assert_eq!(verdicts.total(), 18);
    assert_eq!(verdicts.iter().map(|(.., count)| count).sum::<u64>(), 18);
}

#[tokio::test]
async fn what_nobody_judged_and_what_was_judged_before_is_no_verdict() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let key = scene.key();
    let open = layer
        .clone()
        .optional()
        .skip(|parts| parts.uri == "/health");
    Echo::behind(open.clone())
        .call(anonymous())
        .await
        .assert_ok();
    let mut health = get(key.secret());
    *health.uri_mut() = "/health".parse().unwrap();
    Echo::behind(open).call(health).await.assert_ok();
    assert_eq!(layer.handle().stats().verdicts.total(), 0);

    // A gate in a gate admits again, or refuses for conditions of its own.
    use tower::Layer;
    let inner = layer.clone().require("orders:write").unwrap();
    for (inner, kind) in [
        (layer.clone(), None),
        (inner, Some(RejectionKind::PermissionDenied)),
    ] {
        let echo = tower::service_fn(
            |_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<
                    bytes::Bytes,
                >::default()))
            },
        );
        let met = crate::scene::met(layer.layer(inner.layer(echo)), get(key.secret())).await;
        assert_eq!(met.kind(), kind);
    }
    let verdicts = layer.handle().stats().verdicts;
    let denied = verdicts.refused(RejectionKind::PermissionDenied, VerdictSource::Request);
    assert_eq!((verdicts.total(), denied), (3, 1));

    // Behind the gate, it has its say no more.
    let behind = RequirePermissionsLayer::new("orders:write").unwrap();
    let echo = tower::service_fn(
        |_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<
                bytes::Bytes,
            >::default()))
        },
    );
    let met = crate::scene::met(layer.layer(behind.layer(echo)), get(key.secret())).await;
    assert_eq!(met.kind(), Some(RejectionKind::PermissionDenied));
    let verdicts = layer.handle().stats().verdicts;
    assert_eq!(
        (verdicts.total(), verdicts.admitted(VerdictSource::Fresh)),
        (4, 2)
    );
}

#[tokio::test]
async fn the_handle_counts_like_the_service() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let handle = layer.handle();
    let key = scene.key();
    let context = wacht_auth::AuthContext::new("/jobs");
    handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    handle
        .authenticate_key("not-a-key", &context)
        .await
        .unwrap_err();
    handle
        .authenticate_key("no\u{fc}", &context)
        .await
        .unwrap_err();
    let (parts, _) = get(key.secret()).into_parts();
    handle.authenticate(&parts).await.unwrap();
    let (parts, _) = anonymous().into_parts();
    handle.authenticate(&parts).await.unwrap_err();
    let optional = layer.optional().handle();
    optional.authenticate(&parts).await.unwrap_err();

    let verdicts = handle.stats().verdicts;
    assert_eq!(verdicts.admitted(VerdictSource::Verified), 1);
    assert_eq!(verdicts.admitted(VerdictSource::Fresh), 2);
    let refused = |kind| verdicts.refused(kind, VerdictSource::Request);
    assert_eq!(refused(RejectionKind::InvalidKey), 1);
    assert_eq!(refused(RejectionKind::MalformedCredential), 1);
    assert_eq!(refused(RejectionKind::MissingCredential), 2);
    assert_eq!(verdicts.total(), 7);
}

#[tokio::test]
async fn checks_are_counted_by_result_and_timed() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let key = scene.key();

    // The gate's clock is what times a check.
    let held = scene.wacht.hold_checks();
    let asking = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    scene.clock.advance(Duration::from_millis(250));
    held.release();
    asking.await.unwrap().assert_ok();
    let moved = figures.moved();
    assert_eq!(moved["wacht_auth.gateway.requests allowed"], [1.0]);
    assert_eq!(moved["wacht_auth.gateway.request.duration allowed"], [0.25]);

    let requests = "wacht_auth.gateway.requests";
    echo.get(&made_up(1)).await;
    figures.expect(requests, &[("denied", 1.0)]);
    scene.wacht.fault_times(On::Checks, Fault::Status(404), 1);
    echo.get(&made_up(2)).await;
    figures.expect(requests, &[("indeterminate", 1.0)]);
    scene.wacht.fault_times(On::Checks, Fault::Status(503), 1);
    echo.get(&made_up(3)).await;
    figures.expect(requests, &[("failed", 1.0)]);
    let stats = layer.handle().stats();
    let gateway = stats.gateway;
    let results = (
        gateway.allowed,
        gateway.denied,
        gateway.indeterminate,
        gateway.failed,
    );
    assert_eq!(results, (1, 1, 1, 1));
    assert_eq!(
        (stats.checks, gateway.time),
        (4, Duration::from_millis(250))
    );

    // Both time-outs are one result: the gate's, and the client's own.
    let hasty = WachtClient::builder(scene.wacht.management_key())
        .api_url(scene.wacht.url())
        .gateway_url(scene.wacht.url())
        .timeout(Duration::from_millis(50));
    for layer in [
        scene
            .builder()
            .deadline(Duration::from_millis(50))
            .build()
            .unwrap(),
        WachtAuthLayer::builder(hasty.build().unwrap())
            .clock(&scene.clock)
            .build()
            .unwrap(),
    ] {
        scene.wacht.fault_times(On::Checks, Fault::Hang, 1);
        Echo::behind(layer.clone()).get(&made_up(4)).await;
        figures.expect(requests, &[("timed_out", 1.0)]);
        assert_eq!(layer.handle().stats().gateway.timed_out, 1);
    }

    scene.wacht.clear_faults();

    // What only the gateway says when it counts.
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "hour", 1)]);
    let asks = scene.builder().limits(Limits::gateway()).build().unwrap();
    let echo = Echo::behind(asks.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    figures.moved();
    echo.get(key.secret()).await;
    let moved = figures.moved();
    assert_eq!(moved["wacht_auth.gateway.requests rate_limited"], [1.0]);
    assert_eq!(moved["wacht_auth.limiter.refusals gateway refused"], [1.0]);
    let strict = Echo::behind(asks.clone().require("orders:write").unwrap());
    strict.get(scene.key().secret()).await;
    let moved = figures.moved();
    assert_eq!(
        moved["wacht_auth.gateway.requests permission_denied"],
        [1.0]
    );
    assert_eq!(
        moved["wacht_auth.verdicts permission_denied verified"],
        [1.0]
    );
    // A known key that only the gateway may let pass, and it does not answer.
    scene.wacht.fault_times(On::Checks, Fault::Status(503), 1);
    Echo::behind(asks.clone()).get(key.secret()).await;
    figures.expect_verdict("unavailable verified");
    let stats = asks.handle().stats();
    assert_eq!(stats.gateway.rate_limited, 1);
    assert_eq!(stats.gateway.permission_denied, 1);
    assert_eq!(stats.limit_refusals.gateway, 1);
}

#[tokio::test]
async fn refusals_of_limits_are_counted_by_mode() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let refusals = "wacht_auth.limiter.refusals";
    type Count = fn(&AuthStats) -> u64;
    let modes: [(DevRule, &str, Count); 4] = [
        (DevRule::per_app(1, "hour", 1), "per_app", |s| {
            s.limit_refusals.per_app
        }),
        (DevRule::per_key(1, "hour", 1), "per_key", |s| {
            s.limit_refusals.per_key
        }),
        (
            DevRule::per_key_and_ip(1, "hour", 1),
            "per_key_and_ip",
            |s| s.limit_refusals.per_key_and_ip,
        ),
        (
            DevRule::per_app_and_ip(1, "hour", 1),
            "per_app_and_ip",
            |s| s.limit_refusals.per_app_and_ip,
        ),
    ];
    for (rule, mode, count) in modes {
        let scene = Scene::new().await;
        scene.wacht.set_scheme("orders", [rule]);
        let layer = scene.layer().app("orders");
        let echo = Echo::behind(layer.clone());
        let key = scene.key();
        echo.get(key.secret()).await.assert_ok();
        figures.moved();
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::RateLimited);
        figures.expect(refusals, &[(&format!("{mode} refused"), 1.0)]);
        let stats = layer.handle().stats();
        assert_eq!(
            (count(&stats), stats.limit_refusals.total()),
            (1, 1),
            "{mode}"
        );
    }

    // Of two rules that refuse, the first by priority: one request, one refusal.
    let scene = Scene::new().await;
    let rules = [
        DevRule::per_app(1, "hour", 1).priority(2),
        DevRule::per_key(1, "hour", 1).priority(1),
    ];
    scene.wacht.set_scheme("orders", rules);
    let shadow = scene
        .builder()
        .limits(Limits::local().shadow())
        .build()
        .unwrap();
    let echo = Echo::behind(shadow.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    figures.moved();
    echo.get(key.secret()).await.assert_ok();
    figures.expect(refusals, &[("per_key shadow", 1.0)]);
    let stats = shadow.handle().stats();
    assert_eq!(stats.shadow_refusals_by_mode.per_key, 1);
    assert_eq!(
        (stats.shadow_refusals, stats.limit_refusals.total()),
        (1, 0)
    );

    // No rule of an app's scheme has this mode yet; one of the gate's own may.
    let per_ip = wacht_auth::models::RateLimit {
        unit: wacht_auth::models::RateLimitUnit::Hour,
        duration: 1,
        max_requests: 1,
        mode: Some(wacht_auth::models::RateLimitMode::PerIp),
    };
    let layer = scene
        .builder()
        .limits(Limits::local().rules([per_ip]).unwrap())
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    figures.moved();
    echo.get(key.secret()).await;
    figures.expect(refusals, &[("per_ip refused", 1.0)]);
    assert_eq!(layer.handle().stats().limit_refusals.per_ip, 1);

    let layer = scene
        .builder()
        .client_ip(ClientIp::peer())
        .unknown_key_limit(UnknownKeyLimit::per_second(1).burst(1))
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    echo.get(&made_up(1)).await;
    figures.moved();
    echo.get(&made_up(2))
        .await
        .assert_refused(RejectionKind::RateLimited);
    let moved = figures.moved();
    assert_eq!(
        moved["wacht_auth.limiter.refusals unknown_keys refused"],
        [1.0]
    );
    assert_eq!(moved["wacht_auth.verdicts rate_limited request"], [1.0]);
    let stats = layer.handle().stats();
    assert_eq!(
        (stats.unknown_key_refusals, stats.limit_refusals.total()),
        (1, 0)
    );
}

#[tokio::test]
async fn what_gates_hold_adds_up_and_goes_with_them() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(9, "hour", 1)]);
    let mut levels: BTreeMap<String, f64> = BTreeMap::new();
    let mut level = |name: &str| {
        for (name, by) in figures.moved() {
            *levels.entry(name).or_default() += by.iter().sum::<f64>();
        }
        levels.get(name).copied().unwrap_or_default()
    };
    let layers = [scene.layer(), scene.layer()];
    for layer in &layers {
        let echo = Echo::behind(layer.clone());
        echo.get(scene.key().secret()).await.assert_ok();
        echo.get(scene.key().secret()).await.assert_ok();
        echo.get(&made_up(1)).await;
    }
    let stats = layers.each_ref().map(|layer| layer.handle().stats());
    for stats in &stats {
        assert_eq!((stats.cached_keys, stats.refused_keys), (2, 1));
        assert_eq!(stats.limiter_subjects, 2);
    }
    assert_eq!(level("wacht_auth.cache.entries good_keys"), 4.0);
    assert_eq!(level("wacht_auth.cache.entries refused_keys"), 2.0);
    assert_eq!(level("wacht_auth.limiter.subjects"), 4.0);
    let bytes: u64 = stats.iter().map(|stats| stats.cached_bytes).sum();
    assert!(bytes > 4 * 256, "{bytes}");
    assert_eq!(level("wacht_auth.cache.size"), bytes as f64);

    let [first, second] = layers;
    drop(first);
    assert_eq!(level("wacht_auth.cache.entries good_keys"), 2.0);
    assert_eq!(level("wacht_auth.cache.entries refused_keys"), 1.0);
    assert_eq!(level("wacht_auth.limiter.subjects"), 2.0);
    second.handle().invalidate_all();
    let stats = second.handle().stats();
    assert_eq!(
        (stats.cached_keys, stats.cached_bytes, stats.refused_keys),
        (0, 0, 0)
    );
    assert_eq!(level("wacht_auth.cache.entries good_keys"), 0.0);
    assert_eq!(level("wacht_auth.cache.size"), 0.0);
    assert_eq!(level("wacht_auth.limiter.subjects"), 2.0, "counters stay");
}

#[tokio::test]
async fn what_the_watch_does_is_counted_and_goes_with_its_gate() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::lagging(seconds(60)).await;
    let watch = Watch::every(seconds(5));
    let layer = scene.builder().watch(watch).build().unwrap();
    let key = scene.key();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    let mut levels: BTreeMap<String, f64> = BTreeMap::new();
    let mut level = |name: &str| {
        for (name, by) in figures.moved() {
            *levels.entry(name).or_default() += by.iter().sum::<f64>();
        }
        levels.get(name).copied().unwrap_or_default()
    };
    let list = On::Path("/api-auth/apps/orders/keys".to_owned());
    let stats = || layer.handle().stats().watch.unwrap();
    eventually(async || stats().lists == 1).await;
    scene.wacht.fault_times(list, Fault::Status(500), 1);
    scene.clock.advance(seconds(5));
    eventually(async || stats().failed == 1).await;
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(seconds(5));
    eventually(async || stats().confirmations == 1).await;
    eventually(async || stats().longest_unseen == seconds(5)).await;
    assert_eq!(level("wacht_auth.watch.lists read"), 2.0);
    assert_eq!(level("wacht_auth.watch.lists failed"), 1.0);
    assert_eq!(level("wacht_auth.watch.lists confirmed"), 1.0);
    assert_eq!(level("wacht_auth.watch.apps in_turn"), 1.0);
    assert_eq!(level("wacht_auth.watch.apps left_out"), 0.0);
    assert_eq!(level("wacht_auth.watch.longest_unseen"), 5.0);
    drop((echo, layer));
    // The list under way may still hold it.
    eventually(async || level("wacht_auth.watch.apps in_turn") == 0.0).await;
    assert_eq!(level("wacht_auth.watch.longest_unseen"), 0.0);
    assert_eq!(level("wacht_auth.watch.lists read"), 2.0);
}

#[tokio::test]
async fn keys_that_make_room_are_counted_and_keys_that_are_forgotten_are_not() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    let evictions = "wacht_auth.cache.evictions";
    let layer = scene
        .builder()
        .cache(CachePolicy::default().capacity_bytes(10_000))
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    for _ in 0..5 {
        echo.get(scene.key().secret()).await.assert_ok();
    }
    layer.handle().invalidate_all();
    assert_eq!(layer.handle().stats().evicted_keys, 0);
    figures.expect(evictions, &[]);
    for _ in 0..50 {
        echo.get(scene.key().secret()).await.assert_ok();
    }
    let stats = layer.handle().stats();
    assert!(stats.cached_bytes <= 10_000);
    assert_eq!(stats.evicted_keys + stats.cached_keys, 50);
    assert!(stats.evicted_keys > 0);
    figures.expect(evictions, &[("good_keys", stats.evicted_keys as f64)]);
    assert_eq!(layer.handle().stats(), stats);
    figures.expect(evictions, &[]);
}

#[tokio::test]
async fn an_open_breaker_shows_until_it_closes() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let open = "wacht_auth.gateway.breaker.open";
    let scene = Scene::new().await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    scene.wacht.fault(On::Checks, Fault::Status(503));
    for number in 0..4 {
        echo.get(&made_up(number)).await;
    }
    assert!(layer.handle().stats().gateway_trusted);
    figures.expect(open, &[]);
    echo.get(&made_up(4)).await;
    figures.expect(open, &[("", 1.0)]);
    assert!(!layer.handle().stats().gateway_trusted);
    scene.wacht.clear_faults();
    scene.clock.advance(seconds(2));
    echo.get(&made_up(5)).await;
    figures.expect(open, &[("", -1.0)]);
    assert!(layer.handle().stats().gateway_trusted);
}

#[tokio::test]
async fn a_recorder_may_come_after_the_layer_but_not_after_its_first_request() {
    let scene = Scene::new().await;
    let (early, late) = (scene.layer(), scene.layer());
    let key = scene.key();
    Echo::behind(early.clone())
        .get(key.secret())
        .await
        .assert_ok();
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    Echo::behind(late).get(key.secret()).await.assert_ok();
    figures.expect_verdict("admitted verified");
    Echo::behind(early.clone())
        .get(key.secret())
        .await
        .assert_ok();
    figures.expect("wacht_auth.verdicts", &[]);
    assert_eq!(early.handle().stats().verdicts.total(), 2);
}

#[tokio::test]
async fn guards_that_can_judge_nobody_are_counted_on_every_request() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let metric = "wacht_auth.guard.misconfigured";
    let guard = RequirePermissionsLayer::new("orders:read").unwrap();
    let inner = || {
        tower::service_fn(
            async |_: http::Request<http_body_util::Full<bytes::Bytes>>| {
                let body = http_body_util::Full::<bytes::Bytes>::default();
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            },
        )
    };
    for _ in 0..3 {
        met(tower::Layer::layer(&guard, inner()), anonymous()).await;
    }
    figures.expect(metric, &[("no_gate", 3.0)]);

    let scene = Scene::new().await;
    let handle = scene.layer().handle();
    let context = wacht_auth::AuthContext::new("/jobs");
    let key = scene.key();
    let caller = handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    for _ in 0..2 {
        caller.require("orders:read,").unwrap_err();
    }
    caller.require("orders:read").unwrap_err();
    figures.expect(metric, &[("no_requirement", 2.0)]);
}

/// Counts how often handles are asked for.
#[derive(Clone, Default)]
struct Registrations(Arc<AtomicUsize>);

impl Registrations {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Registrations {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.add();
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.add();
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.add();
        Histogram::noop()
    }
}

#[tokio::test]
async fn handles_are_made_once() {
    let registrations = Registrations::default();
    let _guard = set_default_local_recorder(&registrations);
    let scene = Scene::new().await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    assert_eq!(registrations.count(), 0, "none before it is needed");
    echo.get("not-a-key").await;
    let made = registrations.count();
    assert!(made > 50, "{made}");
    let key = scene.key();
    for wait in [0, 0, 31, 61] {
        scene.clock.advance(seconds(wait));
        echo.get(key.secret()).await.assert_ok();
        echo.get(&made_up(1)).await;
    }
    landed(&layer).await;
    assert_eq!(registrations.count(), made);
}

/// A row of the table of metrics: kind, unit, and its labels with all their values.
#[tokio::test]
async fn what_cannot_come_is_no_series() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    echo.get(scene.key().secret()).await.assert_ok();
    let series = figures.heard.snapshot().into_vec().into_iter();
    let series: Vec<String> = series.map(|(key, ..)| key.key().to_string()).collect();
    let count = |name: &str| series.iter().filter(|key| key.contains(name)).count();
    assert_eq!(count("wacht_auth.verdicts"), 33);
    assert_eq!(count("wacht_auth.limiter.refusals"), 12);
    for (name, label) in [
        ("admitted", "negative"),
        ("missing_credential", "fresh"),
        ("unknown_keys", "shadow"),
    ] {
        let is_it = |key: &&String| key.contains(name) && key.contains(label);
        assert_eq!(series.iter().find(is_it), None);
    }
}

/// What callers are not told, and those who run the service are.
#[tokio::test]
async fn every_refused_key_is_counted_by_its_reason() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    let policy = CachePolicy::default().fresh_for(seconds(3600));
    let layer = scene.builder().cache(policy).build().unwrap();
    let layer = layer.app("orders");
    let echo = Echo::behind(layer.clone());
    let (wacht, key) = (&scene.wacht, scene.key());
    echo.get(key.secret()).await.assert_ok();
    figures.moved();

    let refused = async |echo: &Echo, secret: &str, reason: &str| {
        for _ in 0..2 {
            echo.get(secret)
                .await
                .assert_refused(RejectionKind::InvalidKey);
            figures.expect("wacht_auth.invalid_keys", &[(reason, 1.0)]);
        }
    };
    refused(&echo, "not-a-key", "malformed").await;
    refused(&echo, &made_up(1), "unknown").await;
    let stranger = wacht.other_deployment().issue_key("orders").issue();
    refused(&echo, stranger.secret(), "other_deployment").await;
    let of_another = wacht.issue_key("invoices").issue();
    refused(&echo, of_another.secret(), "other_app").await;
    let revoked = scene.key();
    layer.handle().revoke_key_id(revoked.key_id());
    refused(&echo, revoked.secret(), "revoked").await;
    // Of a yes that is known already.
    wacht.app("orders").set_active(false);
    scene.clock.advance(seconds(75));
    eventually(async || echo.get(key.secret()).await.status == 401).await;
    figures.expect("wacht_auth.invalid_keys", &[("app_inactive", 1.0)]);
    let stats = layer.handle().stats().invalid_keys;
    let told = [
        stats.malformed,
        stats.unknown,
        stats.other_deployment,
        stats.other_app,
        stats.revoked,
        stats.app_inactive,
    ];
    assert_eq!(told, [2, 2, 2, 2, 2, 1]);
}

type Documented = BTreeMap<String, (String, String, BTreeMap<String, Vec<String>>)>;

/// What the page says: a table row for each metric, and one for each attribute.
fn documented() -> Documented {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    let code = |cell: &str| -> Vec<String> {
        let pieces = cell.split('`').skip(1).step_by(2);
        pieces.map(str::to_owned).collect()
    };
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut metrics = Vec::new();
    for line in DOCS
        .lines()
        .filter(|line| line.starts_with("| `wacht_auth."))
        .filter(|line| cfg!(feature = "redis") || !line.starts_with("| `wacht_auth.store."))
    {
        let cells = cells(line);
        let name = code(&cells[0]).remove(0);
        match cells.get(1).map(String::as_str) {
            Some("counter" | "gauge" | "histogram") => metrics.push((name, cells)),
            _ => {
                let mut listed = code(&cells[1]);
                listed.sort();
                values.insert(name, listed);
            }
        }
    }
    let with_values = |name: String| (name.clone(), values[&name].clone());
    metrics
        .into_iter()
        .map(|(name, cells)| {
            let labels = code(&cells[3]).into_iter().map(with_values).collect();
            (name, (cells[1].clone(), cells[2].clone(), labels))
        })
        .collect()
}

#[tokio::test]
async fn the_documented_metrics_are_all_there_are_with_no_other_labels() {
    let recorder = DebuggingRecorder::new();
    let (figures, _guard) = Figures::of(&recorder);
    let scene = Scene::new().await;
    let builder = scene.builder();
    // Nobody listens there: its figures are there all the same.
    #[cfg(feature = "redis")]
    let builder = {
        let store = wacht_auth::store::RedisStore::connect("redis://127.0.0.1:1");
        builder.store(store.unwrap())
    };
    Echo::behind(builder.build().unwrap().app("orders"))
        .get(scene.key().secret())
        .await
        .assert_ok();
    let mut registered = Documented::new();
    for (key, unit, description, _) in figures.heard.snapshot().into_vec() {
        let kind = match key.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let unit = match unit.expect("every metric has a unit") {
            Unit::Count => "1",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            other => panic!("{other:?}"),
        };
        assert!(description.is_some(), "{key:?}");
        let entry = registered
            .entry(key.key().name().to_owned())
            .or_insert_with(|| (kind.to_owned(), unit.to_owned(), BTreeMap::new()));
        for label in key.key().labels() {
            let values = entry.2.entry(label.key().to_owned()).or_default();
            let value = label.value().to_owned();
            if let Err(place) = values.binary_search(&value) {
                values.insert(place, value);
            }
        }
    }
    assert_eq!(registered, documented());
}
