//! What a request says is found out once: no closure of the user's runs twice for one request.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wacht_auth::dev::{DevRule, Fault, On};
use wacht_auth::{CachePolicy, Limits, RejectionKind, Requirement, WachtAuthLayer};

use crate::scene::{Echo, Scene, anonymous, get, landed, made_up};

const SECOND: Duration = Duration::from_secs(1);

/// How often each closure ran since it was last asked.
#[derive(Clone, Default)]
struct Runs([Arc<AtomicUsize>; 5]);

impl Runs {
    fn count(&self, closure: usize) {
        self.0[closure].fetch_add(1, Ordering::SeqCst);
    }

    fn take(&self) -> [usize; 5] {
        [0, 1, 2, 3, 4].map(|closure| self.0[closure].swap(0, Ordering::SeqCst))
    }

    /// A layer with every closure that looks at a request.
    fn counted(&self, layer: WachtAuthLayer) -> WachtAuthLayer {
        let [skip, resource, first, second, cost] = [0, 1, 2, 3, 4].map(|closure| {
            let runs = self.clone();
            move || runs.count(closure)
        });
        layer
            .skip(move |_| {
                skip();
                false
            })
            .resource(move |parts| {
                resource();
                Cow::Owned(parts.uri.path().to_uppercase())
            })
            .require_with(move |_| {
                first();
                Some(Arc::new(Requirement::try_from("read").unwrap()))
            })
            .require_with(move |_| {
                second();
                None
            })
            .cost(move |_| {
                cost();
                1
            })
    }

    #[track_caller]
    fn assert_at_most_once(&self, what: &str) {
        let runs = self.take();
        assert_eq!(runs[0], 1, "{what}: skip");
        assert!(runs.iter().all(|runs| *runs <= 1), "{what}: {runs:?}");
    }
}

#[tokio::test]
async fn no_closure_runs_twice_for_one_request() {
    let scene = Scene::new().await;
    let rules = [
        DevRule::per_key(3, "minute", 1),
        DevRule::per_app_and_ip(9, "minute", 1).endpoints(["/ITEMS"]),
    ];
    scene.wacht.set_scheme("orders", rules);
    let runs = Runs::default();
    let layer = runs.counted(scene.layer().app("orders"));
    let echo = Echo::behind(layer.clone());
    let key = scene
        .wacht
        .issue_key("orders")
        .permissions(["read"])
        .issue();
    let poor = scene.wacht.issue_key("orders").issue();

    echo.get(key.secret()).await.assert_ok();
    runs.assert_at_most_once("a miss");
    assert_eq!(scene.wacht.journal().checks_asked()[0].resource, "/ITEMS");
    echo.get(key.secret()).await.assert_ok();
    assert_eq!(runs.take(), [1; 5], "a hit needs each of them");
    scene.clock.advance(31 * SECOND);
    echo.get(key.secret()).await.assert_ok();
    runs.assert_at_most_once("a stale hit");
    landed(&layer).await;
    assert_eq!(runs.take(), [0; 5], "its refresh");
    for _ in 0..3 {
        echo.get(key.secret()).await;
    }
    runs.take();
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::RateLimited);
    runs.assert_at_most_once("a refusal for a limit");
    let met = echo.get(poor.secret()).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    runs.assert_at_most_once("a miss without the permission");
    let met = echo.get(poor.secret()).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    runs.assert_at_most_once("a hit without the permission");
    let met = echo.get(&made_up(1)).await;
    met.assert_refused(RejectionKind::InvalidKey);
    runs.assert_at_most_once("a bad key");
    echo.call(anonymous()).await;
    runs.assert_at_most_once("no key");
    Echo::behind(layer.optional()).call(anonymous()).await;
    runs.assert_at_most_once("no key, where none is needed");
}

#[tokio::test]
async fn no_closure_runs_twice_where_the_gateway_counts() {
    let scene = Scene::new().await;
    let runs = Runs::default();
    let key = scene
        .wacht
        .issue_key("orders")
        .permissions(["read"])
        .issue();
    let echo = Echo::behind(
        runs.counted(
            scene
                .builder()
                .limits(Limits::gateway())
                .build()
                .unwrap()
                .app("orders"),
        ),
    );
    for _ in 0..3 {
        echo.get(key.secret()).await.assert_ok();
        runs.assert_at_most_once("a check of its own");
    }
    // A rule that cannot be counted here: the first answer says so, and a second check follows.
    let unknown = DevRule::per_key(9, "fortnight", 1);
    scene.wacht.set_scheme("orders", [unknown]);
    let echo = Echo::behind(runs.counted(scene.layer().app("orders")));
    for _ in 0..3 {
        echo.get(key.secret()).await;
        runs.assert_at_most_once("counted at the gateway");
    }
}

#[tokio::test]
async fn no_closure_runs_twice_in_an_outage() {
    let scene = Scene::new().await;
    let runs = Runs::default();
    let key = scene
        .wacht
        .issue_key("orders")
        .permissions(["read"])
        .issue();
    let policy = CachePolicy::default();
    let echo =
        Echo::behind(runs.counted(scene.builder().cache(policy).build().unwrap().app("orders")));
    echo.get(key.secret()).await.assert_ok();
    runs.take();
    scene.wacht.fault(On::Checks, Fault::Status(503));
    scene.clock.advance(61 * SECOND);
    echo.get(key.secret()).await.assert_ok();
    runs.assert_at_most_once("who waits for a gateway that is down");
    let other = scene.wacht.issue_key("orders").issue();
    let met = echo.get(other.secret()).await;
    met.assert_refused(RejectionKind::Unavailable);
    runs.assert_at_most_once("an unknown key");
}

#[tokio::test]
async fn require_with_said_twice_requires_both() {
    let scene = Scene::new().await;
    let needs = |permission: &'static str| {
        let requirement = Arc::new(Requirement::try_from(permission).unwrap());
        move |_: &http::request::Parts| Some(Arc::clone(&requirement))
    };
    let layer = scene.layer().app("orders");
    let layer = layer.require_with(needs("a")).require_with(needs("b"));
    let echo = Echo::behind(layer);
    for (permissions, passes) in [
        (vec!["a", "b"], true),
        (vec!["a"], false),
        (vec!["b"], false),
    ] {
        let key = scene.wacht.issue_key("orders");
        let key = key.permissions(permissions.clone()).issue();
        let met = echo.call(get(key.secret())).await;
        assert_eq!(met.kind().is_none(), passes, "{permissions:?}: {met:?}");
    }
}
