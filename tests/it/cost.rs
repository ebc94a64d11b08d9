//! Requests that cost more or less than one unit, known before or only afterwards.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::DevRule;
use wacht_auth::{Algorithm, AuthContext, Charge, Limits, RejectionKind, WachtAuthLayer};

use crate::scene::{Echo, Met, Scene, anonymous, get, met};

const SECOND: Duration = Duration::from_secs(1);

async fn scene_with(rules: impl IntoIterator<Item = DevRule>) -> Scene {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", rules);
    scene
}

/// What the header `x-cost` says.
fn told(parts: &Parts) -> u32 {
    let cost = parts.headers.get("x-cost");
    cost.map_or(1, |cost| cost.to_str().unwrap().parse().unwrap())
}

fn costing(secret: &str, cost: u32) -> Request<Full<Bytes>> {
    let mut request = get(secret);
    request.headers_mut().insert("x-cost", cost.into());
    request
}

/// Units left, as the first rule says.
fn left(met: &Met) -> u32 {
    let (_, left) = met.header("ratelimit").split_once("r=").unwrap();
    left.split([';', ',']).next().unwrap().parse().unwrap()
}

/// A service behind a gate that hands out the charge of the last request that came to it.
#[derive(Clone)]
struct Till {
    layer: WachtAuthLayer,
    charge: Arc<Mutex<Option<Charge>>>,
}

impl Till {
    fn behind(layer: WachtAuthLayer) -> Self {
        Self {
            layer,
            charge: Arc::default(),
        }
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Met {
        let till = Arc::clone(&self.charge);
        let inner = tower::service_fn(move |request: Request<Full<Bytes>>| {
            *till.lock().unwrap() = request.extensions().get().cloned();
            ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))))
        });
        met(self.layer.layer(inner), request).await
    }

    fn take(&self) -> Option<Charge> {
        self.charge.lock().unwrap().take()
    }
}

#[tokio::test]
async fn a_request_is_charged_what_it_costs_after_a_miss_and_after_a_hit() {
    let rules = [
        DevRule::per_key(10, "minute", 1).priority(1),
        DevRule::per_app(12, "minute", 1).priority(2),
    ];
    for algorithm in [Algorithm::Gcra, Algorithm::SlidingWindow] {
        let scene = scene_with(rules.clone()).await;
        let limits = Limits::local().algorithm(algorithm);
        let layer = scene.builder().limits(limits).build().unwrap();
        let echo = Echo::behind(layer.cost(told));
        let key = scene.key();
        let met = echo.call(costing(key.secret(), 4)).await;
        assert_eq!((met.status, left(&met)), (StatusCode::OK, 6), "a miss");
        let met = echo.call(costing(key.secret(), 5)).await;
        assert_eq!((met.status, left(&met)), (StatusCode::OK, 1), "a hit");
        let met = echo.call(costing(key.secret(), 2)).await;
        met.assert_refused(RejectionKind::RateLimited);
        assert_eq!(left(&met), 1, "it was not charged in part");
        let met = echo.call(costing(key.secret(), 0)).await;
        assert_eq!((met.status, left(&met)), (StatusCode::OK, 1));
        let met = echo.get(key.secret()).await;
        assert_eq!((met.status, left(&met)), (StatusCode::OK, 0));
        let met = echo.call(costing(key.secret(), 0)).await;
        met.assert_refused(RejectionKind::RateLimited);
        scene.clock.advance(Duration::from_secs(met.retry_after()));
        echo.call(costing(key.secret(), 0)).await.assert_ok();
    }
}

#[tokio::test]
async fn what_never_passes_is_told_no_time_to_come_back() {
    let scene = scene_with([DevRule::per_key(10, "minute", 1)]).await;
    let echo = Echo::behind(scene.layer().cost(told));
    let key = scene.key();
    let met = echo.call(costing(key.secret(), 11)).await;
    met.assert_refused(RejectionKind::RateLimited);
    assert!(met.headers.get("retry-after").is_none(), "{met:?}");
    assert_eq!(met.refusal.as_ref().unwrap().retry_after(), None);
    assert_eq!(met.header("ratelimit"), r#""per_key:10/60s";r=10"#);
    echo.call(costing(key.secret(), 10)).await.assert_ok();
}

#[tokio::test]
async fn a_key_without_a_request_costs_one_unit() {
    let scene = scene_with([DevRule::per_key(5, "minute", 1)]).await;
    let layer = scene.layer().cost(|_| 3);
    let (key, handle) = (scene.key(), layer.handle());
    let context = AuthContext::new("/items");
    for _ in 0..2 {
        handle
            .authenticate_key(key.secret(), &context)
            .await
            .unwrap();
    }
    // One with a request costs what the request says.
    let (parts, _) = get(key.secret()).into_parts();
    handle.authenticate(&parts).await.unwrap();
    let refused = handle.authenticate_key(key.secret(), &context).await;
    assert_eq!(refused.unwrap_err().kind(), RejectionKind::RateLimited);
}

#[tokio::test]
async fn nobody_asks_for_a_cost_where_nothing_is_counted_here() {
    for limits in [Limits::off(), Limits::gateway()] {
        let scene = scene_with([DevRule::per_key(5, "minute", 1)]).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let layer = scene.builder().limits(limits).build().unwrap();
        let echo = Echo::behind(layer.cost(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            9
        }));
        let key = scene.key();
        for _ in 0..3 {
            echo.get(key.secret()).await.assert_ok();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn the_outermost_gate_charges_its_own_cost() {
    let scene = scene_with([DevRule::per_key(10, "minute", 1)]).await;
    let layer = scene.layer();
    let (outer, inner) = (layer.clone().cost(|_| 2), layer.cost(|_| 7));
    let service = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let met = met(outer.layer(inner.layer(service)), get(scene.key().secret())).await;
    assert_eq!((met.status, left(&met)), (StatusCode::OK, 8));
}

#[tokio::test]
async fn what_is_booked_is_paid_off_before_the_next_request_passes() {
    // Of 6 a minute, 1 is charged, and 9 are booked: 4 are owed.
    for (algorithm, wait, then) in [(Algorithm::Gcra, 50, 0), (Algorithm::SlidingWindow, 60, 1)] {
        let scene = scene_with([DevRule::per_key(6, "minute", 1)]).await;
        let limits = Limits::local().algorithm(algorithm);
        let layer = scene.builder().limits(limits).build().unwrap();
        let till = Till::behind(layer.charge_later());
        let key = scene.key();
        till.call(get(key.secret())).await.assert_ok();
        let charge = till.take().unwrap();
        charge.book(4);
        // A clone is the same charge, and each call books anew.
        charge.clone().book(5);
        drop(charge);
        let met = till.call(get(key.secret())).await;
        met.assert_refused(RejectionKind::RateLimited);
        assert_eq!(met.retry_after(), wait, "{algorithm:?}");
        scene.clock.advance(Duration::from_secs(wait - 1));
        let met = till.call(get(key.secret())).await;
        met.assert_refused(RejectionKind::RateLimited);
        scene.clock.advance(SECOND);
        let met = till.call(get(key.secret())).await;
        assert_eq!((met.status, left(&met)), (StatusCode::OK, then));
    }
}

#[tokio::test]
async fn a_charge_is_of_the_rules_and_the_caller_of_its_request() {
    let rules = [
        DevRule::per_key(5, "minute", 1).endpoints(["/items"]),
        DevRule::per_key(4, "hour", 1).endpoints(["/other"]),
    ];
    let scene = scene_with(rules).await;
    let till = Till::behind(scene.layer().charge_later());
    let (key, other) = (scene.key(), scene.key());
    let elsewhere = |secret: &str| {
        let mut request = get(secret);
        *request.uri_mut() = "/other".parse().unwrap();
        request
    };
    till.call(get(key.secret())).await.assert_ok();
    till.take().unwrap().book(4);
    let met = till.call(get(key.secret())).await;
    met.assert_refused(RejectionKind::RateLimited);
    assert_eq!(left(&till.call(elsewhere(key.secret())).await), 3);
    assert_eq!(left(&till.call(get(other.secret())).await), 4);
}

#[tokio::test]
async fn a_charge_that_is_dropped_books_nothing_more() {
    let scene = scene_with([DevRule::per_key(6, "minute", 1)]).await;
    let till = Till::behind(scene.layer().charge_later());
    let key = scene.key();
    for expected in [5, 4, 3] {
        let met = till.call(get(key.secret())).await;
        assert_eq!(left(&met), expected);
        let charge = till.take().unwrap();
        charge.book(0);
    }
}

#[tokio::test]
async fn where_nothing_was_charged_a_charge_books_nothing() {
    let one = || DevRule::per_key(1, "minute", 1);
    for (limits, rule) in [
        (Limits::off(), one()),
        (Limits::gateway(), DevRule::per_key(99, "minute", 1)),
        (Limits::local(), one().endpoints(["/elsewhere"])),
    ] {
        let scene = scene_with([rule]).await;
        let layer = scene.builder().limits(limits).build().unwrap();
        let till = Till::behind(layer.charge_later());
        let key = scene.key();
        for _ in 0..2 {
            till.call(get(key.secret())).await.assert_ok();
            till.take().expect("there is one all the same").book(1_000);
        }
    }
    let scene = scene_with([one()]).await;
    let layer = scene.layer().charge_later();
    let nobody = Till::behind(layer.clone().optional());
    nobody.call(anonymous()).await.assert_ok();
    nobody.take().unwrap().book(1_000);
    let skipped = Till::behind(layer.skip(|_| true));
    skipped.call(get(scene.key().secret())).await.assert_ok();
    skipped.take().unwrap().book(1_000);
}

#[tokio::test]
async fn a_shadow_books_what_it_has_charged_and_refuses_nobody() {
    let scene = scene_with([DevRule::per_key(5, "minute", 1)]).await;
    let limits = Limits::local().shadow();
    let layer = scene.builder().limits(limits).build().unwrap();
    let till = Till::behind(layer.clone().cost(told).charge_later());
    let key = scene.key();
    till.call(get(key.secret())).await.assert_ok();
    till.take().unwrap().book(7);
    // It would have been refused, and then had no work to book.
    let met = till.call(get(key.secret())).await;
    assert_eq!((met.status, left(&met)), (StatusCode::OK, 0));
    till.take().unwrap().book(1_000);
    assert_eq!(layer.handle().stats().shadow_refusals, 1);
    scene.clock.advance(48 * SECOND);
    till.call(get(key.secret())).await.assert_ok();
    assert_eq!(layer.handle().stats().shadow_refusals, 1, "3 were owed");
}

#[tokio::test]
async fn a_charge_survives_its_gate_and_then_books_nothing() {
    let scene = scene_with([DevRule::per_key(5, "minute", 1)]).await;
    let till = Till::behind(scene.layer().charge_later());
    till.call(get(scene.key().secret())).await.assert_ok();
    let charge = till.take().unwrap();
    drop(till);
    charge.book(3);
    assert_eq!(format!("{charge:?}"), "Charge { rules: 1 }");
}

#[tokio::test]
async fn a_handler_that_asks_for_a_charge_needs_a_gate_that_gives_one() {
    let scene = scene_with([DevRule::per_key(5, "minute", 1)]).await;
    let key = scene.key();
    let layer = scene.layer();
    let book = async |charge: Charge| charge.book(2);
    for (layer, status, left) in [
        (layer.clone(), StatusCode::INTERNAL_SERVER_ERROR, 4),
        (layer.clone().charge_later(), StatusCode::OK, 3),
        (layer.charge_later(), StatusCode::OK, 0),
    ] {
        let app = Router::new().route("/", routing::get(book)).layer(layer);
        let request = Request::get("/").header("authorization", format!("Bearer {}", key.secret()));
        let answer = app.oneshot(request.body(Body::empty()).unwrap()).await;
        let met = Met::of(answer.unwrap()).await;
        assert_eq!((met.status, self::left(&met)), (status, left), "{met:?}");
    }
}
