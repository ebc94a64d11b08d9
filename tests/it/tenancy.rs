//! Whose keys are accepted, what is asked of the management API for it, and what happens when it
//! does not say.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use wacht_auth::dev::{DevGateway, DevRule, Fault, Journal, ManualClock, On};
use wacht_auth::{CachePolicy, PrincipalKind, RejectionKind, WachtAuthLayer};

use crate::scene::{Echo, Scene, eventually, made_up};

const LIST: &str = "/api-auth/apps";
const ORDERS: &str = "/api-auth/apps/orders";
/// The latest time at which a policy is due: 60 s and a fifth.
const POLICY_DUE: Duration = Duration::from_secs(72);

/// A gate that keeps its yeses, so that only policies can end them.
fn with_lasting_verdicts(scene: &Scene) -> WachtAuthLayer {
    let lasting = CachePolicy::default().fresh_for(Duration::from_secs(24 * 3600));
    scene.layer().cache(lasting).app("orders")
}

/// Lets what the gate has sent in the background arrive: a question asked after it is answered.
async fn settle(scene: &Scene, echo: &Echo) {
    let checks = scene.wacht.journal().checks();
    echo.get(&made_up(checks))
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(scene.wacht.journal().checks(), checks + 1);
}

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
    assert_eq!(journal.management_calls(), 1);
}

#[tokio::test]
async fn a_deployment_that_is_named_is_not_asked_for() {
    let scene = Scene::new().await;
    let other = scene.wacht.other_deployment();
    let echo = Echo::behind(scene.layer().deployment(scene.wacht.deployment_id()));
    echo.get(scene.key().secret()).await.assert_ok();
    echo.get(other.issue_key("orders").issue().secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let journal = scene.wacht.journal();
    assert_eq!(journal.count("GET", LIST), 0);
    assert_eq!(journal.count("GET", ORDERS), 1);
}

#[tokio::test]
async fn the_deployment_is_learned_once_by_all_gates_of_a_client() {
    let scene = Scene::new().await;
    let client = scene.wacht.client();
    let held = scene.wacht.hold(On::Path(LIST.to_owned()));
    let mut asked = JoinSet::new();
    let one = Echo::behind(WachtAuthLayer::new(client.clone()).clock(&scene.clock));
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
    assert_eq!(journal.count("GET", ORDERS), 1);
    let asked = journal.entries();
    let list = asked.iter().find(|entry| entry.path == LIST).unwrap();
    let mut query: Vec<_> = list.query.as_deref().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["include_inactive=true", "limit=1", "offset=0"]);

    let another = Echo::behind(WachtAuthLayer::new(client).clock(&scene.clock));
    another.get(scene.key().secret()).await.assert_ok();
    assert_eq!(journal.count("GET", LIST), 1);
    assert_eq!(
        journal.count("GET", ORDERS),
        2,
        "policies are the gate's own"
    );
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
    let echo = Echo::behind(WachtAuthLayer::new(wacht.client()).clock(&clock));
    let key = other.issue_key("orders").issue();
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    // It gets its first app, and that it had none is believed for a minute.
    let ours = wacht.issue_key("orders").issue();
    for wait in [0, 30, 29] {
        clock.advance(Duration::from_secs(wait));
        echo.get(ours.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
        assert_eq!(journal.management_calls(), 1);
    }
    clock.advance(Duration::from_secs(10));
    echo.get(ours.secret()).await.assert_ok();
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(journal.count("GET", LIST), 2);
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
    let echo = Echo::behind(scene.layer().deadline(Duration::from_millis(300)));
    scene.wacht.fault(On::Management, Fault::Hang);
    echo.get(scene.key().secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
    assert_eq!(scene.wacht.journal().management_calls(), 1);
}

#[tokio::test]
async fn until_the_policy_is_known_the_gateway_is_asked_for_every_request() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app(4, "hour", 1)]);
    let echo = Echo::behind(scene.layer().deployment(scene.wacht.deployment_id()));
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
    // With the policy comes the count of this process, which has seen nothing yet. It decides
    // about the request that brought it, too, whatever the gateway's counters say.
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
async fn without_policy_and_gateway_nobody_is_let_in() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().deployment(scene.wacht.deployment_id()));
    let key = scene.key();
    scene.wacht.fault(On::Management, Fault::Status(500));
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(On::Checks, Fault::Status(500));
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::Unavailable);
}

// --- the policy of an app ---

#[tokio::test]
async fn a_policy_is_asked_for_again_behind_the_requests() {
    let scene = Scene::new().await;
    let echo = Echo::behind(with_lasting_verdicts(&scene));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(journal.count("GET", ORDERS), 1);
    scene.clock.advance(Duration::from_secs(47));
    echo.get(key.secret()).await.assert_ok();
    settle(&scene, &echo).await;
    assert_eq!(journal.count("GET", ORDERS), 1, "fresh for 48 s at least");

    scene.clock.advance(POLICY_DUE - Duration::from_secs(47));
    let held = scene.wacht.hold(On::Path(ORDERS.to_owned()));
    for _ in 0..10 {
        // Nobody waits for it, and it is sent once.
        echo.get(key.secret()).await.assert_ok();
    }
    journal.wait_for_management_calls(3).await;
    settle(&scene, &echo).await;
    assert_eq!(journal.count("GET", ORDERS), 2);
    held.release();
}

#[tokio::test]
async fn gates_do_not_ask_for_policies_at_the_same_moment() {
    const GATES: usize = 20;
    let scene = Scene::new().await;
    let client = scene.wacht.client();
    let lasting = CachePolicy::default().fresh_for(Duration::from_secs(3600));
    let gates: Vec<Echo> = (0..GATES)
        .map(|_| WachtAuthLayer::new(client.clone()).cache(lasting.clone()))
        .map(|layer| Echo::behind(layer.clock(&scene.clock)))
        .collect();
    let (key, journal) = (scene.key(), scene.wacht.journal());
    for echo in &gates {
        echo.get(key.secret()).await.assert_ok();
    }
    assert_eq!(journal.count("GET", ORDERS), GATES);
    scene.clock.advance(Duration::from_secs(60));
    for echo in &gates {
        echo.get(key.secret()).await.assert_ok();
    }
    settle(&scene, &gates[0]).await;
    let early = journal.count("GET", ORDERS) - GATES;
    // A fair coin falls on one side 20 times in a row twice in a million runs.
    assert!((1..GATES).contains(&early), "{early} of {GATES}");
}

/// Waits until the policy that is due has been asked for, and the answer was read: only after
/// that is it asked for again.
async fn policy_read(scene: &Scene, echo: &Echo, key: &str, journal: &Journal) {
    let before = journal.count("GET", ORDERS);
    scene.clock.advance(POLICY_DUE);
    eventually(async || {
        echo.get(key).await;
        journal.count("GET", ORDERS) > before
    })
    .await;
    eventually(async || {
        scene.clock.advance(POLICY_DUE);
        echo.get(key).await;
        journal.count("GET", ORDERS) > before + 1
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_app_loses_its_keys_with_its_next_policy() {
    let scene = Scene::new().await;
    let echo = Echo::behind(with_lasting_verdicts(&scene));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();
    for (active, kind) in [
        (false, Some(RejectionKind::InvalidKey)),
        (true, None),
        (false, Some(RejectionKind::InvalidKey)),
    ] {
        scene.wacht.set_app_active("orders", active);
        policy_read(&scene, &echo, key.secret(), &journal).await;
        assert_eq!(echo.get(key.secret()).await.kind(), kind);
    }
    assert_eq!(journal.checks(), 1, "the gateway was not asked for that");
}

#[tokio::test]
async fn a_deleted_app_loses_its_keys_and_they_are_forgotten() {
    let scene = Scene::new().await;
    let layer = with_lasting_verdicts(&scene);
    let handle = layer.handle();
    let echo = Echo::behind(layer);
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(handle.stats().cached_keys, 1);
    scene.wacht.delete_app("orders");
    scene.clock.advance(POLICY_DUE);
    let invalid = Some(RejectionKind::InvalidKey);
    eventually(async || echo.get(key.secret()).await.kind() == invalid).await;
    eventually(async || handle.stats().cached_keys == 0).await;
    // An app with the same name starts afresh.
    let new = scene.key();
    scene.clock.advance(POLICY_DUE);
    eventually(async || echo.get(new.secret()).await.kind().is_none()).await;
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn only_the_apps_own_404_says_that_it_is_gone() {
    let envelope = |message: &str| {
        let text = format!(r#"{{"errors":[{{"message":"{message}","code":404}}]}}"#);
        Fault::body(404, "application/json", text)
    };
    let faults = [
        Fault::Status(404),
        Fault::body(404, "text/plain", ""),
        Fault::body(404, "text/plain", "API key app not found"),
        envelope("Not found"),
        envelope("API key not found"),
        Fault::Status(400),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(410),
        Fault::Status(414),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
        Fault::Drop,
        Fault::body(200, "application/json", "{}"),
        Fault::body(200, "text/html", "<p>Log in to the hotel's network</p>"),
        Fault::Redirect("http://127.0.0.1:1/".to_owned()),
    ];
    for fault in faults {
        let scene = Scene::new().await;
        scene
            .wacht
            .set_scheme("orders", [DevRule::per_key(1_000_000, "day", 1)]);
        let echo = Echo::behind(with_lasting_verdicts(&scene));
        let (key, journal) = (scene.key(), scene.wacht.journal());
        let limit = echo.get(key.secret()).await;
        limit.assert_ok();
        scene.wacht.fault(On::Management, fault.clone());
        policy_read(&scene, &echo, key.secret(), &journal).await;
        let met = echo.get(key.secret()).await;
        assert_eq!(met.status, 200, "{fault:?}: {met:?}");
        assert_eq!(
            met.header("ratelimit-policy"),
            limit.header("ratelimit-policy"),
            "{fault:?}: the rules stay too"
        );
        assert_eq!(journal.checks(), 1, "{fault:?}");
    }
    // And the one that does.
    let scene = Scene::new().await;
    let echo = Echo::behind(with_lasting_verdicts(&scene));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();
    scene
        .wacht
        .fault(On::Management, envelope("API key app not found"));
    policy_read(&scene, &echo, key.secret(), &journal).await;
    echo.get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn changed_rules_arrive_with_the_policy_and_unchanged_ones_keep_their_counts() {
    let scene = Scene::new().await;
    let kept = || DevRule::per_key(1, "month", 1);
    scene
        .wacht
        .set_scheme("orders", [kept(), DevRule::per_app(500, "day", 1)]);
    let echo = Echo::behind(with_lasting_verdicts(&scene));
    let (key, journal) = (scene.key(), scene.wacht.journal());
    echo.get(key.secret()).await.assert_ok();

    scene
        .wacht
        .set_scheme("orders", [kept(), DevRule::per_app(7, "minute", 1)]);
    policy_read(&scene, &echo, key.secret(), &journal).await;
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::RateLimited);
    let violated: Vec<_> = met.refusal.as_ref().unwrap().violated_policies().collect();
    assert_eq!(violated, ["per_key:1/2592000s"]);
    let other = echo.get(scene.key().secret()).await;
    other.assert_ok();
    for met in [met, other] {
        assert_eq!(
            met.header("ratelimit-policy"),
            r#""per_key:1/2592000s";q=1;w=2592000, "per_app:7/60s";q=7;w=60"#
        );
    }
}

#[tokio::test]
async fn a_hundred_apps_stay_within_the_budget_of_management_calls() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    let journal = scene.wacht.journal();
    let keys: Vec<_> = (0..100)
        .map(|app| scene.wacht.issue_key(&format!("app-{app}")).issue())
        .collect();
    let mut spent = Vec::new();
    // Two minutes and a half, in steps of 5 s, with a request for each app in each.
    for _ in 0..30 {
        for key in &keys {
            echo.get(key.secret()).await.assert_ok();
        }
        spent.push(journal.management_calls());
        scene.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(spent[0], 15);
    let in_a_minute = spent.windows(13).map(|minute| minute[12] - minute[0]);
    for calls in in_a_minute.chain([spent[11]]) {
        assert!((10..=30).contains(&calls), "{calls}: {spent:?}");
    }
}
