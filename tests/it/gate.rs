//! The straight path: what goes in, what comes out, and what the gateway was asked.

use wacht_auth::RejectionKind;

use crate::scene::{Echo, Scene, anonymous};

#[tokio::test]
async fn a_known_key_is_asked_about_once_and_its_caller_reaches_the_handler() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer().app("orders"));
    for _ in 0..5 {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        assert_eq!(met.body, "ci");
    }
    let journal = scene.wacht.journal();
    assert_eq!(journal.checks(), 1);
    assert_eq!(journal.count("GET", "/api-auth/apps"), 1);
    assert_eq!(journal.count("GET", "/api-auth/apps/orders"), 1);
}

#[tokio::test]
async fn no_key_and_a_wrong_key_never_reach_the_handler() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    echo.call(anonymous())
        .await
        .assert_refused(RejectionKind::MissingCredential);
    let unknown = format!("sk_{}", "a".repeat(43));
    echo.get(&unknown)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    echo.get("short")
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(echo.reached(), 0);
    assert_eq!(
        scene.wacht.journal().checks(),
        1,
        "only the well-formed key was worth asking about"
    );
}
