//! How a yes ends.

use std::time::Duration;

use wacht_auth::RejectionKind;
use wacht_auth::dev::{Fault, On};

use crate::scene::{Echo, Scene, landed};

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
    assert_eq!(layer.handle().stats().cached_keys, 0);
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
