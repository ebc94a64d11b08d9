//! How a yes ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tower::Layer;
use wacht_auth::dev::{DevGateway, DevKey, Fault, ManualClock, On};
use wacht_auth::{
    CachePolicy, Limits, RejectionKind, UnknownKeyLimit, WachtAuthLayer, WachtAuthLayerBuilder,
    WachtClient,
};

use crate::scene::{Echo, Scene, get, landed, made_up, met};

#[tokio::test]
async fn a_key_revoked_elsewhere_passes_for_fresh_and_stale_time_and_then_never_again() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(Duration::from_secs(29));
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(Duration::from_secs(2));
    // Stale: it still answers once, and asks behind.
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.journal().wait_for_checks(2).await;
    landed(&layer).await;
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(scene.wacht.journal().checks(), 2);
}

#[tokio::test]
async fn nothing_stale_is_served_after_the_hard_end() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(On::Checks, Fault::Status(500));
    // In the outage it goes on for `fresh_for` + `stale_if_error`, in a hit's own time after the
    // first failure.
    for seconds in [40, 100, 100, 80, 9] {
        scene.clock.advance(Duration::from_secs(seconds));
        echo.get(key.secret()).await.assert_ok();
    }
    scene.clock.advance(Duration::from_secs(1));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
    scene.wacht.clear_faults();
    // The gateway has failed often enough to be left alone for a moment.
    scene.clock.advance(Duration::from_secs(2));
    echo.get(key.secret()).await.assert_ok();
}

#[tokio::test]
async fn a_401_after_a_yes_ends_the_yes_even_if_the_gateway_then_goes_down() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(Duration::from_secs(31));
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.journal().wait_for_checks(2).await;
    landed(&layer).await;
    scene.wacht.fault(On::Everything, Fault::Drop);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    // When the memory of the no has gone, nobody knows; that is still not a yes.
    scene.clock.advance(Duration::from_secs(11));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_ahead_ends_a_verdict_too() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    // As after a suspended machine wakes up: the monotonic clock has not moved.
    let later = scene.clock.unix_time() + Duration::from_secs(3600);
    scene.clock.set_unix_time(later);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_wall_clock_that_steps_back_opens_nothing() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.set_unix_time(Duration::ZERO);
    scene.clock.advance(Duration::from_secs(31));
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(Duration::from_secs(600));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_revoked_secret_is_refused_at_once_while_the_gateway_still_says_yes() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    layer.handle().revoke_secret(key.secret());
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    scene.clock.advance(Duration::from_secs(179));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(
        scene.wacht.journal().checks(),
        1,
        "nobody needed to be asked"
    );
}

/// The span in which a revocation is remembered for certain, with default policy and this deadline.
fn remembered(deadline: Duration) -> Duration {
    Duration::from_secs(60 + 30 + 300 + 60) + 5 * deadline
}

#[tokio::test]
async fn a_revocation_is_remembered_for_as_long_as_a_yes_from_before_it_may_be_about() {
    let scene = Scene::new().await;
    let (key, cold) = (scene.key(), scene.key());
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    for key in [&key, &cold] {
        layer.handle().revoke_secret(key.secret());
    }
    let span = remembered(Duration::from_secs(60));
    scene.clock.advance(span - Duration::from_millis(1));
    for key in [&key, &cold] {
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(scene.wacht.journal().checks(), 1);
    // In the end Wacht decides again: nothing was revoked there.
    scene.clock.advance(span + Duration::from_millis(1));
    for key in [&key, &cold] {
        echo.get(key.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn a_yes_that_takes_minutes_to_arrive_does_not_outlive_the_revocation() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene
        .builder()
        .deadline(Duration::from_secs(120))
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    // The deployment is known, and the app.
    echo.get(scene.key().secret()).await.assert_ok();
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let waiting = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    layer.handle().revoke_key_id(key.key_id());
    scene.clock.advance(Duration::from_secs(300));
    held.release();
    let met = waiting.await.unwrap();
    met.assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_yes_from_further_back_than_anything_is_remembered_is_not_used() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    // The deployment is known, and the app.
    echo.get(scene.key().secret()).await.assert_ok();
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let waiting = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    layer.handle().revoke_key_id(key.key_id());
    // As for a runtime that stood still. The revocation is forgotten by now.
    scene.clock.advance(3 * remembered(Duration::from_secs(60)));
    held.release();
    let met = waiting.await.unwrap();
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(scene.wacht.journal().checks(), 1, "its time is over");
    scene.wacht.revoke(key.key_id());
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::InvalidKey);
    assert_eq!(scene.wacht.journal().checks(), 2, "it is asked for again");
}

#[tokio::test]
async fn a_revoked_key_costs_one_check_and_nobodys_share_of_unknown_keys() {
    let clock = ManualClock::new();
    let lag = Duration::from_secs(60);
    let wacht = DevGateway::start().await.clock(&clock).revocation_lag(lag);
    wacht.app("orders");
    let scene = Scene { wacht, clock };
    let (by_id, by_secret, known) = (scene.key(), scene.key(), scene.key());
    for limits in [Limits::local(), Limits::gateway()] {
        let three = UnknownKeyLimit::per_second(1).burst(3);
        let layer = scene
            .builder()
            .limits(limits)
            .unknown_key_limit(three)
            .build()
            .unwrap();
        let echo = Echo::behind(layer.clone());
        scene.wacht.journal().clear();
        echo.get(known.secret()).await.assert_ok();
        layer.handle().revoke_key_id(known.key_id());
        layer.handle().revoke_key_id(by_id.key_id());
        layer.handle().revoke_secret(by_secret.secret());
        for _ in 0..20 {
            for key in [&by_id, &by_secret, &known] {
                echo.get(key.secret())
                    .await
                    .assert_refused(RejectionKind::InvalidKey);
            }
        }
        assert_eq!(
            scene.wacht.journal().checks(),
            2,
            "one for the key that was known, one to learn the id of the other"
        );
        // Long after the span of a definite no, and when the verdict would be due.
        scene.clock.advance(Duration::from_secs(100));
        for key in [&by_id, &by_secret, &known] {
            echo.get(key.secret())
                .await
                .assert_refused(RejectionKind::InvalidKey);
        }
        assert_eq!(scene.wacht.journal().checks(), 2);
        for number in 0..3 {
            echo.get(&made_up(number))
                .await
                .assert_refused(RejectionKind::InvalidKey);
        }
        echo.get(&made_up(3))
            .await
            .assert_refused(RejectionKind::RateLimited);
    }
}

#[tokio::test]
async fn what_names_other_keys_disturbs_no_check() {
    let scene = Scene::new().await;
    scene.wacht.app("billing");
    let (key, other) = (scene.key(), scene.key());
    let layer = scene.layer();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    let held = scene.wacht.hold_checks();
    let mut waiting = vec![echo.spawn_get(key.secret())];
    scene.wacht.journal().wait_for_checks(1).await;
    for _ in 0..30 {
        handle.invalidate_secret(other.secret());
        handle.invalidate_key_id(other.key_id());
        handle.invalidate_app("billing");
        handle.revoke_secret(other.secret());
        waiting.push(echo.spawn_get(key.secret()));
        tokio::task::yield_now().await;
    }
    held.release();
    for met in waiting {
        met.await.unwrap().assert_ok();
    }
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 1, "one for 32 requests");
}

#[tokio::test]
async fn who_asks_after_an_invalidation_by_id_or_app_is_not_answered_from_before_it() {
    for by_id in [true, false] {
        let scene = Scene::new().await;
        let key = scene.key();
        let layer = scene.layer();
        let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
        let held = scene.wacht.hold_checks();
        let before = echo.spawn_get(key.secret());
        scene.wacht.journal().wait_for_checks(1).await;
        scene.wacht.revoke(key.key_id());
        match by_id {
            true => handle.invalidate_key_id(key.key_id()),
            false => handle.invalidate_app("orders"),
        }
        // Nobody knows yet whose key it is.
        let after = [echo.spawn_get(key.secret()), echo.spawn_get(key.secret())];
        tokio::task::yield_now().await;
        held.release();
        before.await.unwrap().assert_ok();
        for after in after {
            let met = after.await.unwrap();
            met.assert_refused(RejectionKind::InvalidKey);
        }
        assert_eq!(scene.wacht.journal().checks(), 2);
    }
}

#[tokio::test]
async fn a_no_that_was_asked_for_before_an_invalidation_is_not_remembered_after_it() {
    let scene = Scene::new().await;
    let secret = made_up(1);
    let layer = scene.layer();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    let held = scene.wacht.hold_checks();
    let waiting = echo.spawn_get(&secret);
    scene.wacht.journal().wait_for_checks(1).await;
    let _key = scene.wacht.issue_key("orders").secret(&secret).issue();
    handle.invalidate_secret(&secret);
    held.release();
    let met = waiting.await.unwrap();
    met.assert_refused(RejectionKind::InvalidKey);
    echo.get(&secret).await.assert_ok();
}

#[tokio::test]
async fn a_key_that_is_revoked_between_two_gates_is_refused_by_the_inner_one() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let handle = layer.handle();
    let inner = tower::service_fn(async |request: Request<Full<Bytes>>| {
        Ok(http::Response::new(request.into_body()))
    });
    let inner = layer.clone().layer(inner);
    let revoked = key.key_id();
    let between = tower::util::MapRequest::new(inner, move |request: Request<Full<Bytes>>| {
        handle.revoke_key_id(revoked);
        request
    });
    let met = met(layer.layer(between), get(key.secret())).await;
    met.assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn of_two_answers_the_one_that_was_asked_for_later_stands() {
    for negative_ttl in [Duration::ZERO, Duration::from_secs(10)] {
        for later_is_yes in [false, true] {
            let mut wacht = InAnyOrder::start().await;
            let policy = CachePolicy::default().negative_ttl(negative_ttl);
            // Every request is a check of its own.
            let layer = wacht
                .builder()
                .cache(policy)
                .limits(Limits::gateway())
                .build()
                .unwrap();
            let echo = Echo::behind(layer);
            let secret = wacht.key.secret().to_owned();
            let earlier = echo.spawn_get(&secret);
            let asked_earlier = wacht.asked().await;
            wacht.scene.clock.advance(Duration::from_secs(1));
            let later = echo.spawn_get(&secret);
            let asked_later = wacht.asked().await;

            wacht.answer(asked_later, later_is_yes);
            let later = later.await.unwrap();
            assert_eq!(later.refusal.is_none(), later_is_yes);
            wacht.answer(asked_earlier, !later_is_yes);
            let earlier = earlier.await.unwrap();
            earlier.assert_refused(RejectionKind::InvalidKey);

            // A no is remembered for its time, and only if it is the last word.
            let third = echo.spawn_get(&secret);
            if !later_is_yes && !negative_ttl.is_zero() {
                let third = third.await.unwrap();
                third.assert_refused(RejectionKind::InvalidKey);
            } else {
                let asked = wacht.asked().await;
                wacht.answer(asked, true);
                third.await.unwrap().assert_ok();
            }
        }
    }
}

/// A gateway whose checks are answered by hand, before a Wacht that says whose the key is.
struct InAnyOrder {
    scene: Scene,
    key: DevKey,
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
}

type Asked = oneshot::Sender<(StatusCode, Json<Value>)>;

impl InAnyOrder {
    async fn start() -> Self {
        let scene = Scene::new().await;
        let (tell, asked) = mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let check = async |State(tell): State<mpsc::UnboundedSender<Asked>>| {
            let (answer, answered) = oneshot::channel();
            tell.send(answer).unwrap();
            answered.await.unwrap()
        };
        let router = Router::new().route("/v1/authz/check", post(check));
        let server = axum::serve(listener, router.with_state(tell));
        tokio::spawn(server.into_future());
        let key = scene.key();
        Self {
            scene,
            key,
            address,
            asked,
        }
    }

    fn builder(&self) -> WachtAuthLayerBuilder {
        let client = WachtClient::builder(self.scene.wacht.management_key())
            .api_url(self.scene.wacht.url())
            .gateway_url(format!("http://{}", self.address))
            .build()
            .unwrap();
        WachtAuthLayer::builder(client)
            .clock(&self.scene.clock)
            .deadline(Duration::from_secs(60))
    }

    async fn asked(&mut self) -> Asked {
        self.asked.recv().await.unwrap()
    }

    fn answer(&self, asked: Asked, is_yes: bool) {
        let no = json!({"allowed": false, "request_id": "req_1"});
        let yes = json!({
            "request_id": "req_1", "allowed": true, "permissions": [], "metadata": {},
            "identity": {
                "key_id": self.key.key_id().to_string(), "key_name": "ci",
                "deployment_id": self.scene.wacht.deployment_id().to_string(),
                "app_slug": "orders",
            },
        });
        let answer = match is_yes {
            true => (StatusCode::OK, Json(yes)),
            false => (StatusCode::UNAUTHORIZED, Json(no)),
        };
        asked.send(answer).unwrap();
    }
}

#[tokio::test]
async fn a_revoked_key_id_is_refused_after_hits_and_after_flights() {
    let scene = Scene::new().await;
    let (known, cold) = (scene.key(), scene.key());
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(known.secret()).await.assert_ok();
    layer.handle().revoke_key_id(known.key_id());
    layer.handle().revoke_key_id(cold.key_id().to_string());
    for key in [&known, &cold] {
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    echo.get(scene.key().secret()).await.assert_ok();
}

#[tokio::test]
async fn a_yes_in_flight_when_the_key_is_revoked_opens_nothing() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    let waiting = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    layer.handle().revoke_key_id(key.key_id());
    held.release();
    waiting
        .await
        .unwrap()
        .assert_refused(RejectionKind::InvalidKey);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn who_asks_after_an_invalidation_is_not_answered_from_before_it() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    let before = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    layer.handle().invalidate_secret(key.secret());
    let after = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(2).await;
    held.release();
    before.await.unwrap().assert_ok();
    after.await.unwrap().assert_ok();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 2, "the younger yes stayed");
}

#[tokio::test]
async fn each_invalidation_forgets_what_it_names_and_nothing_else() {
    let scene = Scene::new().await;
    scene.wacht.app("billing");
    let orders = scene.key();
    let billing = scene.wacht.issue_key("billing").issue();
    let layer = scene.layer();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    let checks = || scene.wacht.journal().checks();
    let ask_both = async || {
        let before = checks();
        echo.get(orders.secret()).await.assert_ok();
        let orders_asked = checks() - before;
        echo.get(billing.secret()).await.assert_ok();
        (orders_asked, checks() - before - orders_asked)
    };
    assert_eq!(ask_both().await, (1, 1));
    assert_eq!(ask_both().await, (0, 0));
    handle.invalidate_secret(orders.secret());
    assert_eq!(ask_both().await, (1, 0));
    handle.invalidate_key_id(billing.key_id());
    assert_eq!(ask_both().await, (0, 1));
    handle.invalidate_app("orders");
    assert_eq!(ask_both().await, (1, 0));
    handle.invalidate_all();
    assert_eq!(ask_both().await, (1, 1));
    handle.invalidate_key_id("key_123");
    assert_eq!(
        ask_both().await,
        (0, 0),
        "an id that is no number is nobody's"
    );
}

#[tokio::test]
async fn a_key_that_was_unknown_is_refused_from_memory_until_the_negative_ttl_ends() {
    let scene = Scene::new().await;
    let secret = format!("sk_{}", "b".repeat(43));
    let echo = Echo::behind(scene.layer());
    for _ in 0..3 {
        echo.get(&secret)
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(scene.wacht.journal().checks(), 1);
    let _ = scene.wacht.issue_key("orders").secret(&secret).issue();
    echo.get(&secret)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    scene.clock.advance(Duration::from_secs(10));
    echo.get(&secret).await.assert_ok();
}

/// Whatever is revoked by hand: what no key looks like was none before.
#[tokio::test]
async fn a_text_that_is_no_key_is_told_so_though_it_was_revoked() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let tail = "A".repeat(42);
    let (ends_badly, two) = (format!("sk_{tail}="), format!("sk_{tail},sk_{tail}"));
    layer.handle().revoke_secret(&ends_badly);
    layer.handle().revoke_secret(&two);
    let answer = echo.get(&two).await;
    answer.assert_refused(RejectionKind::MalformedCredential);
    let answer = echo.get(&ends_badly).await;
    answer.assert_refused(RejectionKind::InvalidKey);
    let stats = layer.handle().stats().invalid_keys;
    assert_eq!((stats.malformed, stats.revoked), (1, 0));
}
