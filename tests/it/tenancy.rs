//! Whose keys are accepted, what is asked of the management API for it, and what happens when it
//! does not say.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
use wacht_auth::models::CreateApiAuthAppRequest;
use wacht_auth::{PrincipalKind, RejectionKind, WachtAuthLayer};

use crate::scene::{Echo, Scene, made_up};

const LIST: &str = "/api-auth/apps";
const ORDERS: &str = "/api-auth/apps/orders";

// --- strangers ---

#[tokio::test]
async fn a_strangers_key_is_refused_as_one_that_nobody_has() {
    let scene = Scene::new().await;
    let other = scene.wacht.other_deployment();
    let journal = scene.wacht.journal();
    for layer in [scene.layer(), scene.layer().app("orders")] {
        journal.clear();
        let echo = Echo::behind(layer);
        let unknown = echo.get(&made_up(1)).await;
        unknown.assert_refused(RejectionKind::InvalidKey);
        // Apps that are called as ours are, and apps that only the stranger has.
        for slug in ["orders", "theirs"] {
            for _ in 0..20 {
                let key = other.issue_key(slug).issue();
                let met = echo.get(key.secret()).await;
                met.assert_refused(RejectionKind::InvalidKey);
                assert_eq!(met.headers, unknown.headers);
                assert_eq!(met.body, unknown.body);
            }
        }
        assert_eq!(echo.reached(), 0);
        assert_eq!(journal.checks(), 41);
        assert_eq!(journal.count("GET", LIST), 1, "our deployment is learned");
        assert_eq!(journal.management_calls(), 1, "and no more than that");
        echo.get(scene.key().secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn a_stranger_is_remembered_for_five_minutes() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    let journal = scene.wacht.journal();
    let key = scene.wacht.other_deployment().issue_key("orders").issue();
    for (wait, checks) in [(0, 1), (299, 1), (1, 2), (299, 2), (1, 3)] {
        scene.clock.advance(Duration::from_secs(wait));
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
        assert_eq!(journal.checks(), checks);
    }
    assert_eq!(journal.count("GET", ORDERS), 0);
}

#[tokio::test]
async fn a_deployment_that_is_named_needs_no_management_api() {
    let scene = Scene::new().await;
    let other = scene.wacht.other_deployment();
    let echo = Echo::behind(
        scene
            .builder()
            .deployment(scene.wacht.deployment_id())
            .build()
            .unwrap(),
    );
    echo.get(scene.key().secret()).await.assert_ok();
    echo.get(other.issue_key("orders").issue().secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let journal = scene.wacht.journal();
    assert_eq!(journal.count("GET", LIST), 1, "for the apps");
    assert_eq!(journal.management_calls(), 1);
    // And what the gate waits for is not the list.
    scene.wacht.fault(On::Management, Fault::Status(500));
    let gate = scene
        .builder()
        .deployment(scene.wacht.deployment_id())
        .build()
        .unwrap();
    Echo::behind(gate)
        .get(other.issue_key("orders").issue().secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn the_deployment_is_learned_once_by_all_gates_of_a_client() {
    let scene = Scene::new().await;
    let client = scene.wacht.client();
    let held = scene.wacht.hold(On::Path(LIST.to_owned()));
    let mut asked = JoinSet::new();
    let one = Echo::behind(
        WachtAuthLayer::builder(client.clone())
            .clock(&scene.clock)
            .build()
            .unwrap(),
    );
    for _ in 0..100 {
        let (echo, key) = (one.clone(), scene.key());
        asked.spawn(async move { echo.get(key.secret()).await });
    }
    scene.wacht.journal().wait_for_checks(100).await;
    held.release();
    for met in asked.join_all().await {
        met.assert_ok();
    }
    let journal = scene.wacht.journal();
    assert_eq!(journal.count("GET", LIST), 1);
    assert_eq!(journal.management_calls(), 1);
    let asked = journal.entries();
    let list = asked.iter().find(|entry| entry.path == LIST).unwrap();
    let mut query: Vec<_> = list.query.as_deref().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["include_inactive=true", "limit=500", "offset=0"]);

    // It holds for every gate of the client, also if Wacht does not say it again.
    scene.wacht.fault(On::Management, Fault::Status(500));
    let another = Echo::behind(
        WachtAuthLayer::builder(client)
            .clock(&scene.clock)
            .build()
            .unwrap(),
    );
    another.get(scene.key().secret()).await.assert_ok();
    assert_eq!(journal.count("GET", LIST), 2, "its apps are its own");
}

// --- apps ---

#[tokio::test]
async fn another_app_is_refused_without_being_remembered_as_a_no() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let orders = Echo::behind(layer.clone().app("orders"));
    let both = Echo::behind(layer.clone().apps(["orders", "billing"]));
    let any = Echo::behind(layer);
    let key = scene.wacht.issue_key("billing").issue();
    let unknown = orders.get(&made_up(1)).await;
    for _ in 0..2 {
        let met = orders.get(key.secret()).await;
        met.assert_refused(RejectionKind::InvalidKey);
        assert_eq!(
            (met.headers, &met.body),
            (unknown.headers.clone(), &unknown.body)
        );
        both.get(key.secret()).await.assert_ok();
        any.get(key.secret()).await.assert_ok();
    }
    // Slugs are compared as they are.
    for slug in ["Billing", "billing ", "bill", ""] {
        Echo::behind(scene.layer().app(slug))
            .get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
}

#[tokio::test]
async fn a_gate_for_no_apps_at_all_accepts_nobody() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().apps(Vec::<String>::new()));
    echo.get(scene.key().secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn keys_of_the_platforms_own_apps_are_refused_though_they_are_valid() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().accept_oauth_tokens());
    let journal = scene.wacht.journal();
    let management = scene.wacht.management_key().to_owned();
    echo.get(&management)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let console = format!("aa_{}", scene.wacht.deployment_id());
    for slug in [&*console, "aa_1", "oauth_5001"] {
        let key = scene.wacht.issue_key(slug).issue();
        echo.get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(journal.checks(), 4, "the gateway let all of them pass");
    for slug in [&*console, "aa_1"] {
        assert_eq!(journal.count("GET", &format!("{LIST}/{slug}")), 0);
    }
    for slug in ["aa_", "aa_1x", "aa1", "oauth_", "oauth_x"] {
        let key = scene.wacht.issue_key(slug).issue();
        echo.get(key.secret()).await.assert_ok();
    }
    // Access tokens that a user has consented to belong to such an app.
    let token = scene.wacht.issue_token("oauth_5001").issue();
    let met = echo.get(token.secret()).await;
    met.assert_ok();
    assert_eq!(met.caller.unwrap().kind(), PrincipalKind::OauthAccessToken);
}

#[tokio::test]
async fn a_slug_that_would_leave_its_place_in_a_path_is_never_asked_about() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    // Before they are made, so that none is in the list.
    echo.get(scene.key().secret()).await.assert_ok();
    let long = "a".repeat(256);
    let slugs = ["..", ".", &long, "../billing", "a b?c#d", "ü"];
    for slug in slugs {
        let key = scene.wacht.issue_key(slug).issue();
        echo.get(key.secret()).await.assert_ok();
    }
    let asked: HashSet<String> = scene
        .wacht
        .journal()
        .entries()
        .into_iter()
        .filter(|entry| entry.is_management())
        .map(|entry| entry.path)
        .collect();
    let expected = [
        LIST,
        "/api-auth/apps/..%2Fbilling",
        "/api-auth/apps/a%20b%3Fc%23d",
        "/api-auth/apps/%C3%BC",
    ];
    assert_eq!(asked, expected.map(str::to_owned).into());
}

#[tokio::test]
async fn a_deployment_without_apps_has_no_keys() {
    let clock = ManualClock::new();
    let wacht = DevGateway::start().await.clock(&clock);
    let journal = wacht.journal();
    let other = wacht.other_deployment();
    let echo = Echo::behind(
        WachtAuthLayer::builder(wacht.client())
            .clock(&clock)
            .build()
            .unwrap(),
    );
    let key = other.issue_key("orders").issue();
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    // It gets its first app, and that it had none is believed for a minute, less a fifth.
    let ours = wacht.issue_key("orders").issue();
    for wait in [0, 30, 17] {
        clock.advance(Duration::from_secs(wait));
        echo.get(ours.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
        assert_eq!(journal.management_calls(), 1);
    }
    clock.advance(Duration::from_secs(25));
    echo.get(ours.secret()).await.assert_ok();
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(journal.count("GET", LIST), 2);
}

#[tokio::test]
async fn the_first_app_that_our_own_client_makes_opens_the_gate_at_once() {
    let clock = ManualClock::new();
    let wacht = DevGateway::start().await.clock(&clock);
    let client = wacht.client();
    let echo = Echo::behind(
        WachtAuthLayer::builder(client.clone())
            .clock(&clock)
            .build()
            .unwrap(),
    );
    let made = |slug: &str| CreateApiAuthAppRequest {
        app_slug: slug.to_owned(),
        name: slug.to_owned(),
        key_prefix: "sk".to_owned(),
        ..Default::default()
    };
    // A key that Wacht knows before its app is listed, as one is that is made elsewhere.
    let stranger = wacht.other_deployment().issue_key("orders").issue();
    echo.get(stranger.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let early = wacht.issue_key("early").issue();
    echo.get(early.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let api_keys = client.api_keys();
    api_keys
        .create_api_auth_app(made("orders"))
        .send()
        .await
        .unwrap();
    for key in [&wacht.issue_key("orders").issue(), &early] {
        echo.get(key.secret()).await.assert_ok();
    }
    echo.get(stranger.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

// --- the management API is down ---

#[tokio::test]
async fn without_the_management_api_nobody_is_let_in_and_nothing_is_remembered() {
    for fault in [Fault::Status(500), Fault::Status(401), Fault::Status(404)] {
        let scene = Scene::new().await;
        let layer = scene.layer();
        let handle = layer.handle();
        let echo = Echo::behind(layer);
        let key = scene.key();
        let journal = scene.wacht.journal();
        scene.wacht.fault(On::Management, fault);
        // Tried at once, then 1 s, 2 s and 4 s later, and not in between.
        let mut requests = 0;
        for (wait, calls) in [(0, 1), (0, 1), (1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
            scene.clock.advance(Duration::from_secs(wait));
            let met = echo.get(key.secret()).await;
            requests += 1;
            met.assert_refused(RejectionKind::Unavailable);
            assert_eq!(met.retry_after(), 1);
            assert_eq!(journal.management_calls(), calls, "request {requests}");
            assert_eq!(journal.checks(), requests);
            let stats = handle.stats();
            assert_eq!((stats.cached_keys, stats.refused_keys), (0, 0));
        }
        scene.wacht.clear_faults();
        scene.clock.advance(Duration::from_secs(8));
        echo.get(key.secret()).await.assert_ok();
        assert_eq!(echo.reached(), 1);
    }
}

#[tokio::test]
async fn a_management_api_that_hangs_is_given_up() {
    let scene = Scene::new().await;
    let echo = Echo::behind(
        scene
            .builder()
            .deadline(Duration::from_millis(300))
            .build()
            .unwrap(),
    );
    scene.wacht.fault(On::Management, Fault::Hang);
    echo.get(scene.key().secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
    // Once more after half of the time, as the first might be in a runtime that stands still.
    assert_eq!(scene.wacht.journal().management_calls(), 2);
}

#[tokio::test]
async fn until_the_app_is_known_the_gateway_is_asked_for_every_request() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app(4, "hour", 1)]);
    let echo = Echo::behind(
        scene
            .builder()
            .deployment(scene.wacht.deployment_id())
            .build()
            .unwrap(),
    );
    let (key, journal) = (scene.key(), scene.wacht.journal());
    scene.wacht.fault(On::Management, Fault::Status(500));
    for checks in 1..=4 {
        echo.get(key.secret()).await.assert_ok();
        assert_eq!(journal.checks(), checks);
    }
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::RateLimited);
    assert_eq!(met.retry_after(), 60, "the gateway's own word");
    assert_eq!(journal.checks(), 5);
    assert_eq!(journal.management_calls(), 1, "it is not asked every time");

    scene.wacht.clear_faults();
    scene.clock.advance(Duration::from_secs(1));
    // With the rules comes the count of this process, which has seen nothing yet. It decides
    // about the request that brought them, too, whatever the gateway's counters say.
    for left in [3, 2, 1, 0] {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        assert!(met.header("ratelimit").contains(&format!(";r={left}")));
    }
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::RateLimited);
    assert_eq!(journal.checks(), 6);
}

#[tokio::test]
async fn without_rules_and_gateway_nobody_is_let_in() {
    let scene = Scene::new().await;
    let echo = Echo::behind(
        scene
            .builder()
            .deployment(scene.wacht.deployment_id())
            .build()
            .unwrap(),
    );
    let key = scene.key();
    scene.wacht.fault(On::Management, Fault::Status(500));
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(On::Checks, Fault::Status(500));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}
