//! Who waits for the end of a caller, and what ends it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevKey, Fault, ManualClock, On};
use wacht_auth::models::{RevokeApiKeyRequest, UpdateApiAuthAppRequest};
use wacht_auth::{
    AuthContext, AuthHandle, CachePolicy, Limits, Principal, Rejection, RejectionKind,
    WachtAuthLayer, WachtClient,
};

use self::woken::Woken;
use crate::scene::{Echo, Scene, eventually, get, landed};

mod bodies;
mod many;
#[path = "../../src/sync/woken.rs"]
mod woken;

const SECOND: Duration = Duration::from_secs(1);

/// A future that waits, polled by hand.
struct Waiter<F> {
    ended: F,
    woken: Arc<Woken>,
}

fn waiter(caller: &Principal) -> Waiter<impl Future<Output = Rejection> + Send + Unpin + 'static> {
    let mut waiter = Waiter {
        ended: caller.ended(),
        woken: Arc::default(),
    };
    assert!(waiter.poll().is_pending(), "it has ended already");
    waiter
}

impl<F: Future<Output = Rejection> + Unpin> Waiter<F> {
    fn poll(&mut self) -> Poll<Rejection> {
        let waker = Arc::clone(&self.woken).into();
        Pin::new(&mut self.ended).poll(&mut Context::from_waker(&waker))
    }

    /// Nobody has woken it, and it would go on.
    #[track_caller]
    fn assert_pending(&mut self) {
        assert_eq!(self.woken.times(), 0, "woken for nothing");
        assert!(self.poll().is_pending());
    }

    /// It was woken once, and has ended.
    #[track_caller]
    fn assert_ended(&mut self) {
        assert_eq!(self.woken.times(), 1);
        match self.poll() {
            Poll::Ready(rejection) => assert_eq!(rejection.kind(), RejectionKind::InvalidKey),
            Poll::Pending => panic!("it goes on"),
        }
    }
}

async fn caller(handle: &AuthHandle, key: &DevKey) -> Principal {
    let context = AuthContext::new("/live");
    handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap()
}

/// A gate, and two callers that wait: what ends the first is nothing to the second.
struct Stage {
    scene: Scene,
    client: WachtClient,
    layer: WachtAuthLayer,
    key: DevKey,
    other: DevKey,
}

impl Stage {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let client = scene.wacht.client();
        let layer = WachtAuthLayer::builder(client.clone()).clock(&scene.clock);
        let layer = layer.build().unwrap();
        Self {
            layer: layer.app("orders").accept_oauth_tokens(),
            client,
            key: scene.key(),
            other: scene.key(),
            scene,
        }
    }

    fn handle(&self) -> AuthHandle {
        self.layer.handle()
    }

    async fn callers(&self) -> [Principal; 2] {
        let handle = self.handle();
        [
            caller(&handle, &self.key).await,
            caller(&handle, &self.other).await,
        ]
    }
}

#[tokio::test]
async fn what_the_handle_revokes_ends_its_own_caller_at_once_and_nobody_else() {
    let revocations: [fn(&AuthHandle, &DevKey); 2] = [
        |handle, key| handle.revoke_secret(key.secret()),
        |handle, key| handle.revoke_key_id(key.key_id()),
    ];
    for revoke in revocations {
        let stage = Stage::new().await;
        let callers = stage.callers().await;
        let [mut first, mut second] = callers.each_ref().map(waiter);
        revoke(&stage.handle(), &stage.key);
        first.assert_ended();
        second.assert_pending();
        // Who asks later is told at once.
        assert!(callers[0].ended().now_or_never().is_some());
    }
}

#[tokio::test]
async fn what_the_client_ends_ends_its_caller_when_the_call_is_sent() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut first, mut second] = callers.each_ref().map(waiter);
    let keys = stage.client.clone();
    // Nobody will hear what became of it: what is sent counts.
    stage.scene.wacht.fault(On::Management, Fault::Hang);
    let call = {
        let key_id = stage.key.key_id();
        tokio::spawn(async move {
            keys.api_keys()
                .revoke_api_key("orders", key_id, RevokeApiKeyRequest::default())
                .send()
                .await
        })
    };
    eventually(async || first.woken.times() == 1).await;
    first.assert_ended();
    second.assert_pending();
    call.abort();
}

#[tokio::test]
async fn a_rotation_ends_the_callers_of_the_old_key() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut first, mut second] = callers.each_ref().map(waiter);
    let client = stage.client.clone();
    let key_id = stage.key.key_id();
    client
        .api_keys()
        .rotate_api_key("orders", key_id)
        .send()
        .await
        .unwrap();
    first.assert_ended();
    second.assert_pending();
}

#[tokio::test]
async fn a_call_that_has_revoked_nothing_ends_nobody_who_has_not_looked_yet() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut looks, mut looks_not] = [&callers[0], &callers[0]].map(waiter);
    let wacht = &stage.scene.wacht;
    wacht.fault(On::Management, Fault::Hang);
    let client = stage.client.clone();
    let key_id = stage.key.key_id();
    let call = tokio::spawn(async move {
        client
            .api_keys()
            .revoke_api_key("orders", key_id, RevokeApiKeyRequest::default())
            .send()
            .await
    });
    eventually(async || looks.woken.times() == 1).await;
    looks.assert_ended();
    call.abort();
    let _ = call.await;
    // Nobody knows what became of that one: it has ended for good.
    looks_not.assert_ended();
    // Of the other key, Wacht says that nothing was revoked.
    let mut other = waiter(&callers[1]);
    wacht.clear_faults();
    let envelope = r#"{"status":400,"message":"","errors":[{"code":400,"message":"no"}]}"#;
    wacht.fault(
        On::Management,
        Fault::body(400, "application/json", envelope),
    );
    let key_id = stage.other.key_id();
    let call = stage.client.api_keys();
    let call = call.revoke_api_key("orders", key_id, RevokeApiKeyRequest::default());
    assert!(call.send().await.is_err());
    assert_eq!(other.woken.times(), 1, "woken when it was sent");
    match other.poll() {
        Poll::Pending => {}
        Poll::Ready(_) => panic!("nothing was revoked"),
    }
}

#[tokio::test]
async fn an_app_that_is_closed_ends_the_callers_of_all_its_keys() {
    for deletes in [true, false] {
        let stage = Stage::new().await;
        let wacht = &stage.scene.wacht;
        wacht.app("shop");
        let elsewhere = wacht.issue_key("shop").issue();
        let builder = WachtAuthLayer::builder(stage.client.clone());
        let all = builder.clock(&stage.scene.clock).build().unwrap();
        let handle = all.accept_oauth_tokens().handle();
        let token = wacht.issue_token("orders").issue();
        let context = AuthContext::new("/live");
        let token = handle
            .authenticate_key(token.secret(), &context)
            .await
            .unwrap();
        let callers = [
            caller(&handle, &stage.key).await,
            token,
            caller(&handle, &elsewhere).await,
        ];
        let [mut first, mut token, mut elsewhere] = callers.each_ref().map(waiter);
        let apps = stage.client.api_keys();
        match deletes {
            true => apps.delete_api_auth_app("orders").send().await.unwrap(),
            false => {
                let off = UpdateApiAuthAppRequest {
                    is_active: Some(false),
                    ..Default::default()
                };
                let update = apps.update_api_auth_app("orders", off);
                update.send().await.unwrap();
            }
        }
        first.assert_ended();
        token.assert_ended();
        elsewhere.assert_pending();
    }
}

#[tokio::test]
async fn an_app_that_the_directory_finds_closed_ends_its_callers() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut waiter, _] = callers.each_ref().map(waiter);
    stage.scene.wacht.app("orders").set_active(false);
    stage.scene.clock.advance(75 * SECOND);
    // Who waits counts as traffic: no request is needed for the next reading.
    eventually(async || waiter.woken.times() > 0).await;
    waiter.assert_ended();
}

async fn passes(stage: &Stage, key: &DevKey) -> bool {
    let (handle, context) = (stage.handle(), AuthContext::new("/live"));
    let answer = handle.authenticate_key(key.secret(), &context);
    answer.await.is_ok()
}

#[tokio::test]
async fn a_key_passes_again_when_its_app_is_opened_though_its_caller_was_seen_to_end() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut waiter, _] = callers.each_ref().map(waiter);
    let app = stage.scene.wacht.app("orders");
    app.set_active(false);
    stage.scene.clock.advance(75 * SECOND);
    eventually(async || waiter.woken.times() > 0).await;
    waiter.assert_ended();
    app.set_active(true);
    stage.scene.clock.advance(75 * SECOND);
    eventually(async || passes(&stage, &stage.other).await).await;
    assert!(passes(&stage, &stage.key).await);
    // A stream of today ends with the next closure, not with the one of then.
    let new = caller(&stage.handle(), &stage.key).await;
    assert!(new.ended().now_or_never().is_none());
}

#[tokio::test]
async fn a_key_passes_again_when_its_own_client_has_opened_its_app() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut waiter, _] = callers.each_ref().map(waiter);
    let set_active = async |is_active: bool| {
        let update = UpdateApiAuthAppRequest {
            is_active: Some(is_active),
            ..Default::default()
        };
        let apps = stage.client.api_keys();
        apps.update_api_auth_app("orders", update)
            .send()
            .await
            .unwrap();
    };
    set_active(false).await;
    waiter.assert_ended();
    set_active(true).await;
    assert!(passes(&stage, &stage.key).await);
    let new = caller(&stage.handle(), &stage.key).await;
    assert!(new.ended().now_or_never().is_none());
}

#[tokio::test]
async fn a_no_to_anybody_ends_who_waits_with_the_key() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut first, mut second] = callers.each_ref().map(waiter);
    let echo = Echo::behind(stage.layer.clone());
    // The cache has gone on to another verdict of the same key.
    stage.scene.clock.advance(31 * SECOND);
    echo.get(stage.key.secret()).await.assert_ok();
    landed(&stage.layer).await;
    first.assert_pending();
    stage.scene.wacht.revoke(stage.key.key_id());
    stage.scene.clock.advance(31 * SECOND);
    echo.get(stage.key.secret()).await.assert_ok();
    landed(&stage.layer).await;
    first.assert_ended();
    second.assert_pending();
    // Known for good, long after the no itself is forgotten.
    stage.scene.clock.advance(3_600 * SECOND);
    assert!(callers[0].ended().now_or_never().is_some());
}

#[tokio::test]
async fn nobody_ends_of_age_alone_nor_by_an_outage_nor_because_he_is_forgotten() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let [mut first, mut second] = callers.each_ref().map(waiter);
    stage.scene.wacht.fault(On::Everything, Fault::Drop);
    stage.handle().invalidate_all();
    stage.handle().invalidate_key_id(stage.key.key_id());
    for _ in 0..10 {
        stage.scene.clock.advance(600 * SECOND);
        let refused = Echo::behind(stage.layer.clone())
            .get(stage.key.secret())
            .await;
        refused.assert_refused(RejectionKind::Unavailable);
        first.assert_pending();
        second.assert_pending();
    }
    stage.handle().revoke_key_id(stage.key.key_id());
    first.assert_ended();
}

#[tokio::test]
async fn the_stated_end_of_a_token_comes_on_either_clock() {
    for by_wall_clock in [false, true] {
        let stage = Stage::new().await;
        let (wacht, clock) = (&stage.scene.wacht, &stage.scene.clock);
        let token = wacht.issue_token("orders").issue();
        let context = AuthContext::new("/live");
        let caller = stage.handle();
        let caller = caller
            .authenticate_key(token.secret(), &context)
            .await
            .unwrap();
        let mut ends = waiter(&caller);
        clock.advance(3_590 * SECOND);
        ends.assert_pending();
        match by_wall_clock {
            true => clock.set_unix_time(clock.unix_time() + 11 * SECOND),
            false => clock.advance(11 * SECOND),
        }
        ends.assert_ended();
        assert!(caller.ended().now_or_never().is_some());
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_or_has_ended_leaves_no_entry() {
    let stage = Stage::new().await;
    let callers = stage.callers().await;
    let waits = || stage.handle().stats().awaited_ends;
    let unpolled = callers[0].ended();
    assert_eq!(waits(), 0, "before it is polled");
    let [mut first, second] = callers.each_ref().map(waiter);
    assert_eq!(waits(), 2);
    drop((second, unpolled));
    assert_eq!(waits(), 1);
    stage.handle().revoke_secret(stage.key.secret());
    first.assert_ended();
    assert_eq!(waits(), 0);
}

#[tokio::test]
async fn the_refusal_is_answered_as_its_gate_answers() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer().app("orders").realm("live");
    let caller = caller(&layer.handle(), &key).await;
    layer.handle().revoke_secret(key.secret());
    let rejection = caller.ended().await;
    let (parts, ()) = Request::new(()).into_parts();
    let answer = rejection.to_response(&parts);
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"realm="live""#), "{challenge}");
}

#[tokio::test]
async fn two_states_of_one_client_both_hear_of_its_revocations_and_only_of_their_own_noes() {
    let stage = Stage::new().await;
    let client = stage.scene.wacht.client();
    let gates = [(); 2].map(|()| {
        let builder = WachtAuthLayer::builder(client.clone()).clock(&stage.scene.clock);
        builder.build().unwrap().app("orders")
    });
    let mut callers = Vec::new();
    for gate in &gates {
        callers.push(caller(&gate.handle(), &stage.key).await);
        callers.push(caller(&gate.handle(), &stage.other).await);
    }
    let mut waiters: Vec<_> = callers.iter().map(waiter).collect();
    stage.scene.wacht.revoke(stage.other.key_id());
    stage.scene.clock.advance(31 * SECOND);
    let echo = Echo::behind(gates[0].clone());
    echo.get(stage.other.secret()).await.assert_ok();
    landed(&gates[0]).await;
    waiters[1].assert_ended();
    waiters[3].assert_pending();
    gates[0].handle().revoke_key_id(stage.key.key_id());
    waiters[0].assert_ended();
    waiters[2].assert_ended();
}

#[tokio::test]
async fn a_gate_within_a_gate_and_a_guard_hand_on_a_caller_that_ends() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer().app("orders");
    let (sent, mut received) = mpsc::unbounded_channel();
    let inner = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let caller = request.extensions().get::<Principal>().unwrap().clone();
        sent.send(caller).unwrap();
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    let service = layer.layer(layer.clone().realm("inner").layer(inner));
    service.oneshot(get(key.secret())).await.unwrap();
    let caller = received.recv().await.unwrap();
    let mut waiter = waiter(&caller);
    layer.handle().revoke_secret(key.secret());
    waiter.assert_ended();
}

#[tokio::test]
async fn a_state_that_is_gone_leaves_who_waits_pending_and_holds_nothing() {
    let scene = Scene::new().await;
    let key = scene.key();
    let client = scene.wacht.client();
    let layer = WachtAuthLayer::builder(client.clone()).clock(&scene.clock);
    let layer = layer.build().unwrap().app("orders");
    let caller = caller(&layer.handle(), &key).await;
    let mut waiter = waiter(&caller);
    landed(&layer).await;
    let holders = Arc::strong_count(&waiter.woken);
    drop(layer);
    // A background reading may hold it for a moment.
    eventually(async || Arc::strong_count(&waiter.woken) < holders).await;
    scene.clock.advance(3_600 * SECOND);
    let gate = WachtAuthLayer::new(client);
    gate.handle().revoke_secret(key.secret());
    waiter.assert_pending();
    assert!(caller.ended().now_or_never().is_none());
}

#[tokio::test]
async fn an_end_that_came_before_the_state_went_is_still_told() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer().app("orders");
    let caller = caller(&layer.handle(), &key).await;
    let mut waiter = waiter(&caller);
    landed(&layer).await;
    let holders = Arc::strong_count(&waiter.woken);
    layer.handle().revoke_secret(key.secret());
    drop(layer);
    eventually(async || Arc::strong_count(&waiter.woken) < holders).await;
    waiter.assert_ended();
}

#[tokio::test]
async fn a_caller_made_by_hand_goes_on() {
    let caller = wacht_auth::dev::principal("orders").key_id(7).build();
    assert!(caller.ended().now_or_never().is_none());
    let items: Vec<_> = caller.until_ended(stream::iter(1..=3)).collect().await;
    assert_eq!(items, [1, 2, 3]);
}

#[test]
fn who_waits_goes_on_reading_when_the_runtime_is_dropped_that_another_read_on() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let stage = main.block_on(Stage::new());
    let callers = main.block_on(stage.callers());
    let waits = || stage.handle().stats().awaited_ends;
    let runtimes = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let mut waiting = Vec::new();
    for (number, runtime) in (1..).zip(&runtimes) {
        let ended = callers[0].ended();
        waiting.push(runtime.spawn(async move { ended.await.kind() }));
        while waits() < number {
            std::thread::yield_now();
        }
    }
    let [first, second] = runtimes;
    drop(first);
    stage.scene.wacht.app("orders").set_active(false);
    stage.scene.clock.advance(75 * SECOND);
    let kind = second.block_on(waiting.pop().unwrap()).unwrap();
    assert_eq!(kind, RejectionKind::InvalidKey);
}

#[test]
fn who_waits_on_a_runtime_that_is_dropped_is_gone_and_another_runtimes_go_on() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let stage = main.block_on(Stage::new());
    let callers = main.block_on(stage.callers());
    let waits = || stage.handle().stats().awaited_ends;
    let dropped = tokio::runtime::Runtime::new().unwrap();
    let ended = callers[0].ended();
    dropped.spawn(ended);
    while waits() < 1 {
        std::thread::yield_now();
    }
    let other = tokio::runtime::Runtime::new().unwrap();
    let ended = callers[0].ended();
    let goes_on = other.spawn(async move { ended.await.kind() });
    while waits() < 2 {
        std::thread::yield_now();
    }
    drop(dropped);
    assert_eq!(waits(), 1);
    stage.handle().revoke_secret(stage.key.secret());
    let kind = other.block_on(goes_on).unwrap();
    assert_eq!(kind, RejectionKind::InvalidKey);
    assert_eq!(waits(), 0);
}

#[tokio::test]
async fn on_the_systems_clock_a_stated_end_wakes_by_the_timer_of_the_runtime() {
    let wacht = wacht_auth::dev::DevGateway::start().await;
    wacht.app("orders");
    let gate = WachtAuthLayer::new(wacht.client())
        .app("orders")
        .accept_oauth_tokens();
    // As of the system: this clock is made for its time alone.
    let now = || ManualClock::new().unix_time().as_millis() as i64;
    let soon = now() + 1_500;
    let ends = chrono::DateTime::from_timestamp_millis(soon).unwrap();
    let token = wacht.issue_token("orders").expires_at(ends).issue();
    let context = AuthContext::new("/live");
    let caller = gate
        .handle()
        .authenticate_key(token.secret(), &context)
        .await
        .unwrap();
    assert_eq!(caller.ended().await.kind(), RejectionKind::InvalidKey);
    assert!(now() >= soon);
}

#[tokio::test]
async fn a_stream_ends_with_its_caller_and_lets_go_of_what_it_held() {
    let stage = Stage::new().await;
    let [caller, _] = stage.callers().await;
    let (sender, receiver) = mpsc::unbounded_channel();
    let items = stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    let mut items = pin!(caller.until_ended(items));
    sender.send(1).unwrap();
    assert_eq!(items.next().await, Some(1));
    assert!(items.next().now_or_never().is_none());
    stage.handle().revoke_secret(stage.key.secret());
    // Also what was there before the end, but after the last look.
    sender.send(2).unwrap();
    assert_eq!(items.next().await, None);
    assert!(sender.is_closed());
    assert_eq!(items.next().await, None);
    assert_eq!(caller.ended().await.kind(), RejectionKind::InvalidKey);
    assert_eq!(stage.handle().stats().awaited_ends, 0);
}

#[tokio::test]
async fn a_stream_that_is_always_ready_ends_too() {
    let stage = Stage::new().await;
    let [caller, _] = stage.callers().await;
    let handle = stage.handle();
    let secret = stage.key.secret().to_owned();
    let items = stream::iter(0..).inspect(move |item| {
        if *item == 10 {
            handle.revoke_secret(&secret);
        }
    });
    let seen: Vec<u64> = caller.until_ended(items).collect().await;
    assert_eq!(seen.last(), Some(&10));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_for_long_ends_all_the_same() {
    let stage = Stage::new().await;
    let [caller, _] = stage.callers().await;
    let mut items = pin!(caller.until_ended(stream::iter(0..)));
    assert_eq!(items.next().await, Some(0));
    stage.handle().revoke_secret(stage.key.secret());
    // By then the revocation itself is forgotten.
    for _ in 0..4 {
        stage.scene.clock.advance(600 * SECOND);
        stage.handle().revoke_key_id(1);
    }
    assert_eq!(items.next().await, None);
}

#[tokio::test]
async fn without_a_cache_a_no_ends_who_waits() {
    let scene = Scene::new().await;
    let key = scene.key();
    let builder = scene.builder().cache(CachePolicy::disabled());
    let layer = builder.build().unwrap().app("orders");
    let caller = caller(&layer.handle(), &key).await;
    let mut waiter = waiter(&caller);
    scene.wacht.revoke(key.key_id());
    let echo = Echo::behind(layer);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    waiter.assert_ended();
}
