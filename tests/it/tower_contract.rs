//! What tower asks of a middleware: the instance polled ready is the one called, and what it set
//! aside is given back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt};
use wacht_auth::dev::DevKey;
use wacht_auth::{
    Principal, Rejection, RejectionKind, RequirePermissionsLayer, ResponseBody, WachtAuth,
    WachtAuthLayer,
};

use crate::scene::{Scene, anonymous, get};

type Ask = Request<Full<Bytes>>;
type Answer = Response<Full<Bytes>>;

#[tokio::test]
async fn the_instance_polled_ready_is_the_one_called_with_a_cold_key_and_a_warm_one() {
    let scene = Scene::new().await;
    let key = scene.key();
    // The mock panics when an instance is called that has not been polled ready, as a clone has
    // not; and it lets only so many be ready as it is told.
    let (mock, mut handle) = tower_test::mock::pair::<Ask, Answer>();
    let mut gate = scene.layer().layer(mock);
    for checks in [1, 1] {
        handle.allow(1);
        let gate = gate.ready().await.unwrap();
        let call = gate.call(get(key.secret()));
        let answer = async {
            let (request, answer) = handle.next_request().await.unwrap();
            assert!(request.extensions().get::<Principal>().is_some());
            answer.send_response(Response::default());
        };
        let (response, ()) = tokio::join!(call, answer);
        assert_eq!(response.unwrap().status(), 200);
        assert_eq!(scene.wacht.journal().checks(), checks);
    }
}

#[tokio::test]
async fn the_gate_is_ready_when_its_inner_service_is() {
    let scene = Scene::new().await;
    let (mock, mut handle) = tower_test::mock::pair::<Ask, Answer>();
    let mut gate = tower_test::mock::Spawn::new(scene.layer().layer(mock));
    handle.allow(0);
    assert!(matches!(gate.poll_ready::<Ask>(), Poll::Pending));
    handle.allow(1);
    assert!(matches!(gate.poll_ready::<Ask>(), Poll::Ready(Ok(()))));
    handle.send_error("broken");
    let error = gate.into_inner().oneshot(anonymous()).await.err();
    let error = error.map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("broken"),
        "the error is the inner one"
    );
}

/// An echo that works on as many requests at a time as it is told, and counts the most it had.
#[derive(Clone)]
struct Counted {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Service<Ask> for Counted {
    type Response = Answer;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        let Self { now, most } = self.clone();
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Response::default())
        })
    }
}

type Gated = WachtAuth<ConcurrencyLimit<Counted>>;

fn gated(layer: &WachtAuthLayer, at_a_time: usize) -> (Gated, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let inner = Counted {
        now: Arc::default(),
        most: Arc::clone(&most),
    };
    (layer.layer(ConcurrencyLimit::new(inner, at_a_time)), most)
}

/// Eight requests at once, each with its own clone of the service, by turns with these keys.
async fn eight_at_once(gate: &Gated, keys: &[DevKey]) {
    let mut calls = JoinSet::new();
    for key in keys.iter().cycle().take(8) {
        let mut gate = gate.clone();
        let request = get(key.secret());
        calls.spawn(async move { gate.ready().await.unwrap().call(request).await });
    }
    while let Some(response) = not_stuck(calls.join_next()).await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
}

/// Turns a deadlock into a failure. However long it takes is fine.
async fn not_stuck<T>(work: impl Future<Output = T>) -> T {
    let long = Duration::from_secs(60);
    tokio::time::timeout(long, work).await.expect("a deadlock")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrency_limit_inside_holds_with_cold_keys_and_with_warm_ones() {
    for at_a_time in [1, 3] {
        let scene = Scene::new().await;
        let keys = [scene.key(), scene.key(), scene.key()];
        let (gate, most) = gated(&scene.layer(), at_a_time);
        eight_at_once(&gate, &keys).await;
        assert_eq!(scene.wacht.journal().checks(), keys.len(), "cold");
        eight_at_once(&gate, &keys).await;
        assert_eq!(scene.wacht.journal().checks(), keys.len(), "warm");
        assert!((1..=at_a_time).contains(&most.load(Ordering::SeqCst)));
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_while_a_key_is_verified_gives_its_place_back() {
    let scene = Scene::new().await;
    let key = scene.key();
    let (mut gate, _) = gated(&scene.layer(), 1);
    let held = scene.wacht.hold_checks();
    let call = gate.ready().await.unwrap().call(get(key.secret()));
    let call = tokio::spawn(call);
    scene.wacht.journal().wait_for_checks(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(held);
    let next = not_stuck(gate.ready()).await.unwrap();
    let response = not_stuck(next.call(get(key.secret()))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(scene.wacht.journal().checks(), 1, "the flight went on");
}

#[tokio::test]
async fn a_refused_request_gives_its_place_back() {
    let scene = Scene::new().await;
    let key = scene.key();
    let unknown = format!("sk_{}", "a".repeat(43));
    let (mut stays, _) = gated(&scene.layer(), 1);
    let mut other = stays.clone();
    // The instance that refused is kept, as a server does that has one for each connection.
    for (request, kind) in [
        (anonymous(), RejectionKind::MissingCredential),
        (get(&unknown), RejectionKind::InvalidKey),
        (get(&unknown), RejectionKind::InvalidKey),
    ] {
        let refused = stays.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(kind_of(&refused), Some(kind));
        let other = not_stuck(other.ready()).await.unwrap();
        let admitted = other.call(get(key.secret())).await.unwrap();
        assert_eq!(admitted.status(), 200);
    }
}

#[tokio::test]
async fn a_request_refused_by_a_guard_gives_its_place_back() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = tower::service_fn(|_: Ask| async { Ok::<_, Infallible>(Answer::default()) });
    let guard = RequirePermissionsLayer::new("items:read").unwrap();
    let guarded = guard.layer(ConcurrencyLimit::new(echo, 1));
    let mut stays = scene.layer().layer(guarded);
    let mut other = stays.clone();
    for _cold_then_warm in 0..2 {
        for gate in [&mut stays, &mut other] {
            let gate = not_stuck(gate.ready()).await.unwrap();
            let refused = gate.call(get(key.secret())).await.unwrap();
            assert_eq!(kind_of(&refused), Some(RejectionKind::PermissionDenied));
        }
    }
}

#[tokio::test]
async fn the_inner_service_can_be_seen_changed_and_taken_out() {
    let scene = Scene::new().await;
    let guard = RequirePermissionsLayer::new("items:read").unwrap();
    let mut service = scene.layer().layer(guard.layer(1));
    assert_eq!(*service.get_ref().get_ref(), 1);
    *service.get_mut().get_mut() = 2;
    assert_eq!(service.into_inner().into_inner(), 2);
}

fn kind_of<B>(response: &Response<ResponseBody<B>>) -> Option<RejectionKind> {
    response.extensions().get().map(Rejection::kind)
}
