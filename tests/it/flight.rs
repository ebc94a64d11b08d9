//! Many callers, one question.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use wacht_auth::dev::{Fault, On};
use wacht_auth::{CachePolicy, RejectionKind};

use crate::scene::{Echo, Scene, get, landed};

#[tokio::test]
async fn a_thousand_callers_with_one_cold_key_ask_once() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer().app("orders"));
    let held = scene.wacht.hold_checks();
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (echo, secret) = (echo.clone(), key.secret().to_owned());
            tokio::spawn(async move { echo.get(&secret).await })
        })
        .collect();
    scene.wacht.journal().wait_for_checks(1).await;
    held.release();
    for met in join_all(callers).await {
        met.unwrap().assert_ok();
    }
    let journal = scene.wacht.journal();
    assert_eq!(echo.reached(), 1000);
    assert_eq!(journal.checks(), 1);
    assert_eq!(journal.count("GET", "/api-auth/apps"), 1, "the deployment");
    assert_eq!(journal.management_calls(), 1, "and the app with it");
}

#[tokio::test]
async fn many_cold_keys_of_one_app_learn_of_it_once() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    let callers = (0..100).map(|_| {
        let (echo, key) = (echo.clone(), scene.key());
        async move { echo.get(key.secret()).await }
    });
    for met in join_all(callers).await {
        met.assert_ok();
    }
    assert_eq!(scene.wacht.journal().checks(), 100);
    assert_eq!(scene.wacht.journal().management_calls(), 1);
}

#[tokio::test]
async fn the_first_caller_hanging_up_changes_nothing_for_the_rest() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    let held = scene.wacht.hold_checks();
    let first = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    let second = echo.spawn_get(key.secret());
    // Let the second one join before the first one goes.
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    held.release();
    second.await.unwrap().assert_ok();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 1);
    assert_eq!(echo.reached(), 2);
}

#[tokio::test]
async fn a_flight_whose_callers_have_all_hung_up_still_fills_the_cache() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    let only = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    only.abort();
    let _ = only.await;
    held.release();
    scene.wacht.journal().wait_for_management_calls(1).await;
    landed(&layer).await;
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn a_flight_lost_with_its_runtime_is_started_again_by_who_has_waited() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    let held = scene.wacht.hold_checks();
    let doomed = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let started = doomed.spawn({
        let (echo, secret) = (echo.clone(), key.secret().to_owned());
        async move { echo.get(&secret).await }
    });
    scene.wacht.journal().wait_for_checks(1).await;
    let follower = echo.spawn_get(key.secret());
    tokio::task::yield_now().await;
    doomed.shutdown_background();
    assert!(started.await.is_err());
    held.release();
    follower.await.unwrap().assert_ok();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 2);
}

#[tokio::test]
async fn an_expired_hot_key_is_refreshed_once_and_nobody_waits() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(Duration::from_secs(31));
    let held = scene.wacht.hold_checks();
    // Nobody waits: the answer is held, and all of these come back.
    for _ in 0..100 {
        echo.get(key.secret()).await.assert_ok();
    }
    scene.wacht.journal().wait_for_checks(2).await;
    assert_eq!(scene.wacht.journal().checks(), 2);
    held.release();
    landed(&layer).await;
    scene.clock.advance(Duration::from_secs(29));
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(
        scene.wacht.journal().checks(),
        2,
        "the refresh made it fresh again"
    );
}

#[tokio::test]
async fn a_refresh_tells_the_gateway_nothing_a_caller_could_choose() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(Duration::from_secs(31));
    let mut odd = get(key.secret());
    *odd.method_mut() = http::Method::from_bytes(b"BREW").unwrap();
    *odd.uri_mut() = "/chosen-by-the-caller".parse().unwrap();
    odd.headers_mut()
        .insert("user-agent", "chosen-by-the-caller".parse().unwrap());
    echo.call(odd).await.assert_ok();
    scene.wacht.journal().wait_for_checks(2).await;
    let checks = scene.wacht.journal().checks_asked();
    let refresh = checks.last().unwrap();
    assert_eq!(refresh.method, "POST");
    assert_eq!(refresh.resource, "/");
    assert_eq!(refresh.client_ip, None);
    assert_eq!(refresh.user_agent, None);
}

#[tokio::test]
async fn without_a_runtime_the_answer_is_misconfigured_and_not_a_panic() {
    let scene = Arc::new(Scene::new().await);
    let key = scene.key();
    let echo = Echo::behind(scene.layer());
    let met = std::thread::spawn(move || {
        futures_util::future::FutureExt::now_or_never(echo.get(key.secret())).unwrap()
    });
    met.join()
        .unwrap()
        .assert_refused(RejectionKind::Misconfigured);
}

#[tokio::test]
async fn a_hanging_gateway_costs_no_more_than_the_deadline() {
    let scene = Scene::new().await;
    let key = scene.key();
    scene.wacht.fault(On::Checks, Fault::Hang);
    let echo = Echo::behind(
        scene
            .builder()
            .deadline(Duration::from_millis(20))
            .build()
            .unwrap(),
    );
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(met.header("retry-after"), "1");
}

#[tokio::test]
async fn with_the_cache_off_every_request_asks_and_concurrent_ones_share() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(
        scene
            .builder()
            .cache(CachePolicy::disabled())
            .build()
            .unwrap(),
    );
    for _ in 0..3 {
        echo.get(key.secret()).await.assert_ok();
    }
    assert_eq!(scene.wacht.journal().checks(), 3);
    let held = scene.wacht.hold_checks();
    let both = tokio::spawn({
        let (echo, secret) = (echo.clone(), key.secret().to_owned());
        async move { tokio::join!(echo.get(&secret), echo.get(&secret)) }
    });
    scene.wacht.journal().wait_for_checks(4).await;
    held.release();
    let (one, other) = both.await.unwrap();
    one.assert_ok();
    other.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 4);
}

#[tokio::test]
async fn a_management_api_that_hangs_takes_no_place_of_a_check() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let echo = Echo::behind(layer.clone());
    echo.get(scene.key().secret()).await.assert_ok();
    // An app made since the list was read: its keys wait for a look-up that is not answered.
    scene.wacht.app("new");
    let held = scene.wacht.hold(On::Path("/api-auth/apps/new".to_owned()));
    let waiting: Vec<_> = (0..200)
        .map(|_| echo.spawn_get(scene.wacht.issue_key("new").issue().secret()))
        .collect();
    // More than there are places: each is given back when the gateway has answered.
    scene.wacht.journal().wait_for_checks(201).await;
    echo.get(scene.key().secret()).await.assert_ok();
    held.release();
    for waiting in waiting {
        waiting.await.unwrap().assert_ok();
    }
}
