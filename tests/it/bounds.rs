//! How long a key that is no good any more may still pass. These are the figures in the README.

use std::time::Duration;

use wacht_auth::dev::{DevGateway, Fault, ManualClock, On};
use wacht_auth::{CachePolicy, RejectionKind};

use crate::scene::{Echo, Scene, landed};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

/// A Wacht that repeats a yes for 60 s whatever is revoked meanwhile, as the real one does.
async fn lagging_scene() -> Scene {
    let clock = ManualClock::new();
    let wacht = DevGateway::start().await.clock(&clock);
    let wacht = wacht.revocation_lag(60 * SECOND);
    wacht.app("orders");
    Scene { wacht, clock }
}

#[tokio::test]
async fn a_key_revoked_elsewhere_passes_for_120_s_and_no_longer() {
    let scene = lagging_scene().await;
    let key = scene.key();
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());

    // The worst case: the gateway says yes, and the key is revoked right after.
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    // Just before the gateway forgets its yes, this process asks again.
    scene.clock.advance(60 * SECOND - MOMENT);
    echo.get(key.secret()).await.assert_ok();
    landed(&layer).await;
    assert_eq!(scene.wacht.journal().checks(), 2);

    scene.clock.advance(60 * SECOND - MOMENT);
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(MOMENT);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_key_that_nobody_used_meanwhile_is_asked_about_before_it_passes_again() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer().app("orders"));
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(60 * SECOND);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn in_an_outage_a_revoked_key_passes_for_390_s_and_no_longer() {
    let scene = lagging_scene().await;
    let key = scene.key();
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());

    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    scene.clock.advance(60 * SECOND - MOMENT);
    echo.get(key.secret()).await.assert_ok();
    landed(&layer).await;

    scene.wacht.fault(On::Everything, Fault::Status(503));
    scene.clock.advance(330 * SECOND - MOMENT);
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(MOMENT);
    let refused = echo.get(key.secret()).await;
    refused.assert_refused(RejectionKind::Unavailable);
    assert_eq!(refused.header("retry-after"), "1");
}

#[tokio::test]
async fn an_expired_key_passes_for_60_s_and_in_an_outage_for_330_s() {
    for (outage, bound) in [(false, 60 * SECOND), (true, 330 * SECOND)] {
        let scene = lagging_scene().await;
        let key = scene.key();
        let echo = Echo::behind(scene.layer().app("orders"));
        echo.get(key.secret()).await.assert_ok();
        scene.wacht.expire(key.key_id());
        if outage {
            scene.wacht.fault(On::Everything, Fault::Status(503));
        }
        scene.clock.advance(bound - MOMENT);
        echo.get(key.secret()).await.assert_ok();
        scene.clock.advance(MOMENT);
        let refused = echo.get(key.secret()).await;
        refused.assert_refused(match outage {
            false => RejectionKind::InvalidKey,
            true => RejectionKind::Unavailable,
        });
    }
}

#[tokio::test]
async fn without_grace_an_outage_lengthens_nothing() {
    let scene = Scene::new().await;
    let key = scene.key();
    let policy = CachePolicy::default().stale_if_error(Duration::ZERO);
    let echo = Echo::behind(scene.builder().cache(policy).build().unwrap().app("orders"));
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(On::Everything, Fault::Status(503));
    scene.clock.advance(60 * SECOND - MOMENT);
    echo.get(key.secret()).await.assert_ok();
    scene.clock.advance(MOMENT);
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

#[tokio::test]
async fn an_access_token_ends_when_it_ends() {
    let scene = Scene::new().await;
    let end = chrono::DateTime::from_timestamp_millis(
        i64::try_from((scene.clock.unix_time() + 10 * SECOND).as_millis()).unwrap(),
    );
    let token = scene.wacht.issue_token("orders").expires_at(end.unwrap());
    let token = token.issue();
    let echo = Echo::behind(scene.layer().app("orders").accept_oauth_tokens());
    echo.get(token.secret()).await.assert_ok();
    scene.wacht.fault(On::Everything, Fault::Status(503));
    scene.clock.advance(10 * SECOND);
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

#[tokio::test]
async fn a_key_asked_about_before_it_existed_is_refused_for_10_s_more() {
    let scene = Scene::new().await;
    let secret = format!("sk_test_{}", "b".repeat(43));
    let echo = Echo::behind(scene.layer().app("orders"));
    echo.get(&secret)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let key = scene.wacht.issue_key("orders").secret(&secret).issue();
    scene.clock.advance(10 * SECOND - MOMENT);
    echo.get(&secret)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    scene.clock.advance(MOMENT);
    echo.get(key.secret()).await.assert_ok();
}
