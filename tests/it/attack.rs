//! Hostile requests, hostile timing, hostile settings.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::{join_all, poll_immediate};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
use wacht_auth::{
    AuthContext, CachePolicy, CredentialSource, Limits, RejectionKind, WachtAuthLayer,
};

use crate::scene::{Echo, Scene, anonymous, eventually, get, made_up, met};

const SECOND: Duration = Duration::from_secs(1);
const POLICY: &str = "/api-auth/apps/orders";

/// A yes of the gateway, as it would be about a key of this deployment.
fn yes(deployment: impl Into<Value>, metadata: Value) -> Fault {
    let answer = json!({
        "request_id": "req_1", "allowed": true, "metadata": metadata,
        "identity": {
            "key_id": "9101", "deployment_id": deployment.into(), "app_slug": "orders",
            "key_name": "forged",
        },
    });
    Fault::body(200, "application/json", answer.to_string())
}

fn at(unix: Duration) -> DateTime<Utc> {
    DateTime::from_timestamp(unix.as_secs().cast_signed(), 0).unwrap()
}

/// A rule that only the gateway can count. The dev gateway cannot either, and applies its default.
fn counted_at_the_gateway() -> DevRule {
    DevRule::raw(json!({
        "unit": "fortnight", "duration": 1, "max_requests": 1, "mode": "per_key", "priority": 0,
    }))
}

// --- what must not come in ---

#[tokio::test]
async fn a_secret_revoked_while_its_check_is_in_flight_does_not_pass() {
    for limits in [Limits::local(), Limits::gateway()] {
        let scene = Scene::new().await;
        let key = scene.key();
        let layer = scene.builder().limits(limits).build().unwrap();
        let echo = Echo::behind(layer.clone());
        let held = scene.wacht.hold_checks();
        let waiting = echo.spawn_get(key.secret());
        scene.wacht.journal().wait_for_checks(1).await;
        layer.handle().revoke_secret(key.secret());
        held.release();
        let met = waiting.await.unwrap();
        met.assert_refused(RejectionKind::InvalidKey);
        assert_eq!(echo.reached(), 0);
    }
}

#[tokio::test]
async fn what_the_gateway_still_says_of_a_revoked_key_does_not_outlive_the_memory_of_it() {
    let hour = 3600 * SECOND;
    // Through an outage, and with verdicts that last.
    for fresh_for in [30 * SECOND, hour] {
        let clock = ManualClock::new();
        let wacht = DevGateway::start().await.clock(&clock);
        let wacht = wacht.revocation_lag(60 * SECOND);
        let key = wacht.issue_key("orders").issue();
        let layer = WachtAuthLayer::builder(wacht.client())
            .clock(&clock)
            .cache(CachePolicy::default().fresh_for(fresh_for))
            .build()
            .unwrap();
        let echo = Echo::behind(layer.clone());
        echo.get(key.secret()).await.assert_ok();
        wacht.revoke(key.key_id());
        layer.handle().revoke_key_id(key.key_id());
        for _ in 0..2 {
            clock.advance(25 * SECOND);
            echo.get(key.secret())
                .await
                .assert_refused(RejectionKind::InvalidKey);
        }
        wacht.fault(On::Checks, Fault::Status(503));
        for _ in 0..5 {
            clock.advance(65 * SECOND);
            let met = echo.get(key.secret()).await;
            assert!(met.refusal.is_some(), "{met:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_asks_after_a_revocation_passes_however_many_race_it() {
    for round in 0..20 {
        let scene = Scene::new().await;
        let key = scene.key();
        let layer = scene.layer();
        let echo = Echo::behind(layer.clone());
        let revoked = Arc::new(AtomicBool::new(false));
        let racers: Vec<_> = (0..16)
            .map(|_| {
                let (echo, revoked) = (echo.clone(), Arc::clone(&revoked));
                let secret = key.secret().to_owned();
                tokio::spawn(async move {
                    for _ in 0..8 {
                        let too_late = revoked.load(Ordering::SeqCst);
                        let met = echo.get(&secret).await;
                        assert!(!(too_late && met.refusal.is_none()), "{met:?}");
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        match round % 2 {
            0 => layer.handle().revoke_secret(key.secret()),
            _ => layer.handle().revoke_key_id(key.key_id()),
        }
        revoked.store(true, Ordering::SeqCst);
        for racer in join_all(racers).await {
            racer.unwrap();
        }
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
}

#[tokio::test]
async fn a_token_that_an_outer_gate_took_is_not_taken_by_one_that_takes_no_tokens() {
    let scene = Scene::new().await;
    let token = scene.wacht.issue_token("orders").issue();
    let inner = scene.layer();
    let outer = inner.clone().accept_oauth_tokens();
    let service = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let both = outer.layer(inner.layer(service));
    met(both, get(token.secret()))
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(outer.handle().stats().invalid_keys.token, 1);
    let outside_alone = outer.layer(service);
    met(outside_alone, get(token.secret())).await.assert_ok();
}

#[tokio::test]
async fn a_token_past_its_end_is_refused_though_the_gateway_says_yes() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders").accept_oauth_tokens();
    let echo = Echo::behind(layer.clone());
    for past in [0, 1, 3600] {
        let end = scene.clock.unix_time() - past * SECOND;
        let metadata = json!({"expires_at": at(end).to_rfc3339()});
        let deployment = scene.wacht.deployment_id().to_string();
        scene.wacht.clear_faults();
        scene.wacht.fault(On::Checks, yes(deployment, metadata));
        let token = scene.wacht.issue_token("orders").issue();
        echo.get(token.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(layer.handle().stats().invalid_keys.expired, 3);
}

#[tokio::test]
async fn a_token_that_ends_between_two_gates_does_not_pass_the_second() {
    let scene = Scene::new().await;
    let end = at(scene.clock.unix_time() + 10 * SECOND);
    let token = scene.wacht.issue_token("orders").expires_at(end).issue();
    let layer = scene.layer().accept_oauth_tokens();
    let clock = scene.clock.clone();
    let inner = layer.layer(tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    // Something slow between them, such as a queue.
    let slow = tower::service_fn(move |request: Request<Full<Bytes>>| {
        clock.advance(10 * SECOND);
        inner.clone().oneshot(request)
    });
    met(layer.layer(slow), get(token.secret()))
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_wall_clock_that_steps_back_does_not_put_off_the_end_of_a_token() {
    let scene = Scene::new().await;
    let end = at(scene.clock.unix_time() + 20 * SECOND);
    let token = scene.wacht.issue_token("orders").expires_at(end).issue();
    let echo = Echo::behind(scene.layer().app("orders").accept_oauth_tokens());
    echo.get(token.secret()).await.assert_ok();
    scene.wacht.refuse_connections(true);
    scene
        .clock
        .set_unix_time(scene.clock.unix_time() - 3600 * SECOND);
    scene.clock.advance(19 * SECOND);
    echo.get(token.secret()).await.assert_ok();
    scene.clock.advance(SECOND);
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

#[tokio::test]
async fn an_answer_about_another_deployment_opens_nothing_whatever_number_it_names() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let ours = scene.wacht.deployment_id();
    let others = [
        json!(0),
        json!(-1),
        json!("-0"),
        json!(-ours),
        json!(i64::MIN),
        json!(i64::MAX),
    ];
    for (number, deployment) in others.into_iter().enumerate() {
        scene.wacht.clear_faults();
        scene.wacht.fault(On::Checks, yes(deployment, json!({})));
        echo.get(&made_up(number))
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    // What cannot be read is no stranger, and no friend.
    let unreadable = [Value::Null, json!(""), json!(1.0), json!(u64::MAX)];
    for (number, deployment) in unreadable.into_iter().enumerate() {
        scene.wacht.clear_faults();
        scene.wacht.fault(On::Checks, yes(deployment, json!({})));
        echo.get(&made_up(100 + number))
            .await
            .assert_refused(RejectionKind::Unavailable);
    }
    assert_eq!(echo.reached(), 0);
    assert_eq!(scene.wacht.journal().count("GET", POLICY), 0);
}

#[tokio::test]
async fn names_of_headers_that_resemble_the_gates_own_never_reach_the_service() {
    let scene = Scene::new().await;
    let layer = scene
        .layer()
        .optional()
        .skip(|parts| parts.uri.path() == "/skip");
    let key = scene.key();
    for mut request in [anonymous(), get(key.secret())] {
        for path in ["/skip", "/items"] {
            *request.uri_mut() = path.parse().unwrap();
            for name in [
                "x-wacht-key-id",
                "x_wacht_key_id",
                "x-wacht_app-slug",
                "x_wacht-",
            ] {
                let name = HeaderName::from_static(name);
                request.headers_mut().append(&name, "1".parse().unwrap());
                request.headers_mut().append(&name, "2".parse().unwrap());
            }
            let service = tower::service_fn(|request: Request<Full<Bytes>>| async move {
                let forged = request
                    .headers()
                    .keys()
                    .find(|name| name.as_str().contains("wacht"));
                assert_eq!(forged, None);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            });
            met(layer.layer(service), request.clone()).await.assert_ok();
        }
    }
}

// --- what must not be kept out ---

#[tokio::test]
async fn a_management_key_of_another_deployment_cannot_say_that_our_app_is_gone() {
    let scene = Scene::new().await;
    let (key, other) = (scene.key(), scene.wacht.other_deployment());
    let client = scene.wacht.client_with(other.management_key());
    let layer = WachtAuthLayer::builder(client)
        .clock(&scene.clock)
        .deployment(scene.wacht.deployment_id())
        .build()
        .unwrap();
    let echo = Echo::behind(layer);
    for _ in 0..2 {
        echo.get(key.secret()).await.assert_ok();
        scene.clock.advance(61 * SECOND);
    }
}

#[tokio::test]
async fn the_apps_own_404_is_believed_of_a_deployment_that_was_named() {
    let scene = Scene::new().await;
    let policy = CachePolicy::default().fresh_for(3600 * SECOND);
    let layer = scene
        .builder()
        .deployment(scene.wacht.deployment_id())
        .cache(policy)
        .build()
        .unwrap();
    let echo = Echo::behind(layer);
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.delete_app("orders");
    scene.clock.advance(73 * SECOND);
    let invalid = Some(RejectionKind::InvalidKey);
    eventually(async || echo.get(key.secret()).await.kind() == invalid).await;
    assert_eq!(scene.wacht.journal().count("GET", POLICY), 1);
}

// --- who counts what ---

#[tokio::test]
async fn a_stale_key_that_the_gateway_counts_is_charged_once() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", [counted_at_the_gateway()]);
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let (key, journal) = (scene.key(), scene.wacht.journal());
    for asked in 1..=3 {
        echo.get(key.secret()).await.assert_ok();
        eventually(async || layer.handle().stats().in_flight == 0).await;
        assert_eq!(journal.checks(), asked);
        // Stale, not over.
        scene.clock.advance(40 * SECOND);
    }
}

#[tokio::test]
async fn a_stale_key_without_a_policy_is_charged_once() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app(3, "day", 1)]);
    let layer = scene
        .builder()
        .deployment(scene.wacht.deployment_id())
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    scene.wacht.fault(On::Management, Fault::Status(503));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    for asked in 1..=3 {
        echo.get(key.secret()).await.assert_ok();
        eventually(async || layer.handle().stats().in_flight == 0).await;
        assert_eq!(journal.checks(), asked);
        scene.clock.advance(40 * SECOND);
    }
}

#[tokio::test]
async fn without_room_for_a_single_counter_limits_hold_all_the_same() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme(
        "orders",
        [
            DevRule::per_key(2, "hour", 1),
            DevRule::per_app_and_ip(2, "hour", 1).priority(1),
        ],
    );
    let layer = scene
        .builder()
        .limits(Limits::local().capacity(0))
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    for _ in 0..2 {
        echo.get(key.secret()).await.assert_ok();
    }
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::RateLimited);
    assert_eq!(layer.handle().stats().limiter_subjects, 0);
}

#[tokio::test]
async fn callers_who_hang_up_at_any_point_take_nothing_with_them() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", [counted_at_the_gateway()]);
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    // More than may be in flight at a time, so that a place that is not given back is missed.
    let held = scene.wacht.hold_checks();
    for _ in 0..3 {
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let (echo, secret) = (echo.clone(), key.secret().to_owned());
                tokio::spawn(async move { echo.get(&secret).await })
            })
            .collect();
        scene.wacht.journal().wait_for_checks(2).await;
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        join_all(callers).await;
        scene.wacht.journal().clear();
    }
    for polls in 0..50 {
        let mut call = Box::pin(echo.get(key.secret()));
        for _ in 0..polls {
            assert!(poll_immediate(&mut call).await.is_none());
            tokio::task::yield_now().await;
        }
    }
    held.release();
    let all = join_all((0..200).map(|_| echo.get(key.secret()))).await;
    all.iter().for_each(|met| met.assert_ok());
    assert_eq!(layer.handle().stats().in_flight, 0);
}

#[tokio::test]
async fn news_of_an_app_is_heeded_though_the_caller_who_went_for_it_hung_up() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.builder().limits(Limits::gateway()).build().unwrap();
    let echo = Echo::behind(layer.clone());
    let journal = scene.wacht.journal();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(journal.count("GET", POLICY), 0);
    layer.handle().invalidate_app("orders");
    let held = scene.wacht.hold(On::Path(POLICY.to_owned()));
    let caller = echo.spawn_get(key.secret());
    eventually(async || journal.count("GET", POLICY) == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    held.release();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(journal.count("GET", POLICY), 1, "it was heeded");
}

// --- panics ---

#[tokio::test]
async fn a_panic_in_the_services_own_closures_spoils_one_request_and_no_more() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(2, "hour", 1)]);
    let key = scene.key();
    let layer = scene.layer();
    let bad = |parts: &http::request::Parts| {
        assert!(!parts.headers.contains_key("x-bad"), "a bug of the service");
    };
    let layers = [
        layer.clone().skip(move |parts| {
            bad(parts);
            false
        }),
        layer.clone().resource(move |parts| {
            bad(parts);
            parts.uri.path().into()
        }),
        layer.clone().require_with(move |parts| {
            bad(parts);
            None
        }),
        layer
            .clone()
            .require("nobody-has-this")
            .unwrap()
            .on_reject(move |rejection, parts| {
                bad(parts);
                rejection.to_response(parts)
            }),
    ];
    for layer in &layers {
        // Cold, warm, stale and over.
        for seconds in [0, 0, 31, 400] {
            scene.clock.advance(seconds * SECOND);
            let mut request = get(key.secret());
            request.headers_mut().insert("x-bad", "1".parse().unwrap());
            let call = Echo::behind(layer.clone());
            let call = AssertUnwindSafe(call.call(request)).catch_unwind();
            assert!(call.await.is_err());
        }
    }
    eventually(async || layer.handle().stats().in_flight == 0).await;
    // The whole limit is still there.
    let echo = Echo::behind(layer.clone());
    for _ in 0..2 {
        echo.get(key.secret()).await.assert_ok();
    }
    // And what was claimed for a refresh has been given back.
    let before = layer.handle().stats().refreshes;
    scene.clock.advance(31 * SECOND);
    echo.get(key.secret()).await;
    assert_eq!(layer.handle().stats().refreshes, before + 1);
}

#[tokio::test]
async fn an_answer_that_has_no_room_for_another_header_goes_out_without() {
    let full = || {
        let mut headers = HeaderMap::new();
        for number in 0.. {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            if headers.try_insert(name, HeaderValue::from(number)).is_err() {
                break;
            }
        }
        headers
    };
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene
        .layer()
        .credentials(CredentialSource::header("x-api-key").unwrap())
        .on_reject(move |rejection, _| {
            let mut response = Response::new(Bytes::new());
            *response.headers_mut() = full();
            *response.status_mut() = rejection.kind().status();
            response
        });
    let service = tower::service_fn(move |_: Request<Full<Bytes>>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.headers_mut() = full();
        Ok::<_, Infallible>(response)
    });
    for (secret, status) in [(key.secret(), 200), (&made_up(1), 401), ("", 400)] {
        let mut request = anonymous();
        request
            .headers_mut()
            .insert("x-api-key", secret.parse().unwrap());
        assert_eq!(met(layer.layer(service), request).await.status, status);
    }
}

#[test]
fn a_runtime_that_cannot_tell_the_time_is_refused_by_and_does_not_panic() {
    let wacht = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(DevGateway::start());
    let key = wacht.issue_key("orders").issue();
    let timeless = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    for limits in [Limits::local(), Limits::gateway()] {
        let echo = Echo::behind(
            WachtAuthLayer::builder(wacht.client())
                .limits(limits)
                .build()
                .unwrap(),
        );
        let met = timeless.block_on(echo.get(key.secret()));
        assert!(met.status.is_server_error(), "{met:?}");
        // The task that verified the key has panicked, and left nothing behind it.
        let able = tokio::runtime::Runtime::new().unwrap();
        able.block_on(echo.get(key.secret())).assert_ok();
    }
}

#[tokio::test]
async fn a_flood_of_made_up_keys_pushes_out_no_good_one() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let good: Vec<_> = (0..50).map(|_| scene.key()).collect();
    for key in &good {
        echo.get(key.secret()).await.assert_ok();
    }
    for number in 0..3_000 {
        let met = echo.get(&made_up(number)).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    let checks = scene.wacht.journal().checks();
    for key in &good {
        echo.get(key.secret()).await.assert_ok();
    }
    assert_eq!(
        scene.wacht.journal().checks(),
        checks,
        "all are still known"
    );
    assert_eq!(layer.handle().stats().cached_keys, 50);
}

#[test]
fn a_runtime_that_stands_still_does_not_hold_up_the_keys_of_another() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let wacht = main.block_on(DevGateway::start());
    let (first, second) = (
        wacht.issue_key("orders").issue(),
        wacht.issue_key("orders").issue(),
    );
    let layer = WachtAuthLayer::builder(wacht.client())
        .deadline(Duration::from_secs(6))
        .build()
        .unwrap();
    let echo = Echo::behind(layer);
    let held = wacht.hold(On::Management);
    let still = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // It learns the deployment for all of them, and is left in the middle of it.
    still.block_on(async {
        echo.spawn_get(first.secret());
        wacht.journal().wait_for_management_calls(1).await;
    });
    held.release();
    let answer = async { tokio::time::timeout(20 * SECOND, echo.get(second.secret())).await };
    // The half of the deadline later it asks itself.
    main.block_on(answer)
        .expect("the other runtime answers")
        .assert_ok();
    drop(still);
    main.block_on(echo.get(second.secret())).assert_ok();
}

#[tokio::test]
async fn every_form_of_request_target_is_judged() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", [counted_at_the_gateway()]);
    let echo = Echo::behind(scene.layer().app("orders"));
    let key = scene.key();
    let long = format!("/{}", "é".repeat(3000)).replace('é', "%C3%A9");
    let targets = [
        (Method::CONNECT, "example.com:443", "/"),
        (Method::OPTIONS, "*", "/*"),
        (Method::GET, "http://example.com", "/"),
        (Method::GET, "http://example.com?x", "/"),
        (Method::GET, "//", "//"),
        (Method::GET, "/?a=1", "/"),
        (Method::TRACE, "/a;b=c/../%00", "/a;b=c/../%00"),
        (Method::GET, &long, &long[..2048]),
    ];
    for (method, target, resource) in targets {
        let mut request = get(key.secret());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(target).unwrap();
        echo.call(request).await.assert_ok();
        let asked = scene.wacht.journal().checks_asked();
        assert_eq!(asked.last().unwrap().resource, resource);

        let mut request = anonymous();
        *request.uri_mut() = Uri::try_from(target).unwrap();
        echo.call(request)
            .await
            .assert_refused(RejectionKind::MissingCredential);
    }
}

// --- edges of settings and clocks ---

#[tokio::test]
async fn spans_at_their_extremes_are_spans() {
    let extremes = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    for span in extremes {
        for bytes in [0, 1, u64::MAX] {
            let scene = Scene::new().await;
            let policy = CachePolicy::default()
                .capacity_bytes(bytes)
                .fresh_for(span)
                .stale_while_revalidate(span)
                .stale_if_error(span)
                .negative_ttl(span);
            let layer = scene
                .builder()
                .cache(policy)
                .deadline(Duration::MAX)
                .build()
                .unwrap();
            let echo = Echo::behind(layer.clone());
            let key = scene.key();
            for _ in 0..3 {
                echo.get(key.secret()).await.assert_ok();
                echo.get(&made_up(1))
                    .await
                    .assert_refused(RejectionKind::InvalidKey);
                scene.clock.advance(SECOND);
            }
            scene.wacht.fault(On::Checks, Fault::Status(400));
            for _ in 0..2 {
                let met = echo.get(&made_up(2)).await;
                met.assert_refused(RejectionKind::Unavailable);
                assert!(met.retry_after() >= 1);
            }
            eventually(async || layer.handle().stats().in_flight == 0).await;
        }
    }
}

#[tokio::test]
async fn clocks_at_their_ends_are_clocks() {
    let far = Duration::from_secs(u64::MAX >> 1);
    for start in [Duration::ZERO, SECOND, far, Duration::MAX] {
        let clock = ManualClock::at(start);
        // The gateway keeps a clock of its own, which shows the present.
        let wacht = DevGateway::start().await;
        let key = wacht.issue_key("orders").issue();
        let token = wacht.issue_token("orders").issue();
        let layer = WachtAuthLayer::builder(wacht.client())
            .clock(&clock)
            .build()
            .unwrap()
            .accept_oauth_tokens();
        let echo = Echo::behind(layer.clone());
        for _ in 0..3 {
            echo.get(key.secret()).await.assert_ok();
            let met = echo.get(token.secret()).await;
            let ended = start > 10 * 365 * 86_400 * 10 * SECOND;
            assert_eq!(met.refusal.is_some(), ended, "{start:?}: {met:?}");
            clock.advance(SECOND);
        }
        layer.handle().revoke_key_id(key.key_id());
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
}

#[tokio::test]
async fn a_caller_of_another_gate_is_nobody_here() {
    let scene = Scene::new().await;
    let (ours, theirs) = (scene.layer().app("orders"), scene.layer());
    let other = scene.wacht.issue_key("billing").issue();
    let (handle, context) = (theirs.handle(), AuthContext::new("/"));
    let stranger = handle.authenticate_key(other.secret(), &context).await;
    let stranger = stranger.unwrap();
    for layer in [ours.clone(), ours.clone().optional(), ours.skip(|_| true)] {
        let mut request = anonymous();
        request.extensions_mut().insert(stranger.clone());
        let met = Echo::behind(layer).call(request).await;
        assert!(met.caller.is_none(), "{met:?}");
    }
}
