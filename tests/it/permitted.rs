//! A permission as part of a handler's signature.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::ServiceExt;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::dev::{DevKey, DevRule};
use wacht_auth::{Principal, RejectionKind, WachtAuthLayer};

use crate::scene::{Met, Scene};
use crate::secrets::Log;

struct ReadItems;

impl Permission for ReadItems {
    const REQUIREMENT: &'static str = "items:read OR items:audit";
}

/// Two permissions that are one text are still two types.
struct ListItems;

impl Permission for ListItems {
    const REQUIREMENT: &'static str = "items:read OR items:audit";
}

struct WriteItems;

impl Permission for WriteItems {
    const REQUIREMENT: &'static str = "items:read AND items:write";
}

/// What only the parser sees: a name with a zero-width space in it.
struct Unseen;

impl Permission for Unseen {
    const REQUIREMENT: &'static str = "items:read OR items:\u{200b}read";
}

struct Umlaut;

impl Permission for Umlaut {
    const REQUIREMENT: &'static str = "größe:lesen";
}

async fn read(caller: Permitted<ReadItems>, _: Permitted<ListItems>) -> String {
    caller.key_name().to_owned()
}

async fn write(caller: Permitted<WriteItems>) -> String {
    Principal::from(caller).key_name().to_owned()
}

async fn maybe(caller: Option<Permitted<WriteItems>>) -> &'static str {
    match caller {
        Some(_) => "everything",
        None => "what everybody sees",
    }
}

fn routes() -> Router {
    Router::new()
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/maybe", get(maybe))
        .route("/unseen", get(|_: Permitted<Unseen>| async {}))
        .route("/umlaut", get(|_: Permitted<Umlaut>| async {}))
}

fn holder(scene: &Scene, permissions: &[&str]) -> DevKey {
    let permissions = permissions.iter().copied();
    let key = scene.wacht.issue_key("orders").name("ci");
    key.permissions(permissions).issue()
}

#[tokio::test]
async fn a_handler_is_reached_with_its_permission_alone() {
    let scene = Scene::new().await;
    let app = routes().layer(scene.layer());
    let reader = holder(&scene, &["items:read"]);
    let auditor = holder(&scene, &["items:audit"]);
    let writer = holder(&scene, &["items:write", "items:read"]);
    let nobody = holder(&scene, &[]);

    // Twice: a text is parsed at its first use and remembered.
    for _ in 0..2 {
        for key in [&reader, &auditor, &writer] {
            let met = ask(&app, "/read", Some(key)).await;
            met.assert_ok();
            assert_eq!(met.body, "ci");
        }
        ask(&app, "/write", Some(&writer)).await.assert_ok();
        for (path, key) in [
            ("/read", &nobody),
            ("/write", &reader),
            ("/write", &auditor),
        ] {
            ask(&app, path, Some(key))
                .await
                .assert_refused(RejectionKind::PermissionDenied);
        }
    }
    let met = ask(&app, "/write", Some(&reader)).await;
    let challenge = met.header("www-authenticate");
    assert!(
        challenge.contains(r#"scope="items:read items:write""#),
        "{challenge}"
    );
}

#[tokio::test]
async fn a_missing_caller_and_a_missing_gate_are_told_apart() {
    let scene = Scene::new().await;
    let key = holder(&scene, &["items:read", "items:write"]);
    for gate in [
        scene.layer().optional(),
        scene
            .layer()
            .skip(|parts| !parts.headers.contains_key("authorization")),
    ] {
        let app = routes().layer(gate);
        ask(&app, "/read", None)
            .await
            .assert_refused(RejectionKind::MissingCredential);
        ask(&app, "/read", Some(&key)).await.assert_ok();
    }
    for path in ["/read", "/maybe"] {
        ask(&routes(), path, Some(&key))
            .await
            .assert_refused(RejectionKind::Misconfigured);
    }
}

#[tokio::test]
async fn the_optional_form_refuses_nobody_whom_the_gate_lets_pass() {
    let scene = Scene::new().await;
    let app = routes().layer(scene.layer().optional());
    let writer = holder(&scene, &["items:read", "items:write"]);
    let reader = holder(&scene, &["items:read"]);
    for (key, seen) in [
        (Some(&writer), "everything"),
        (Some(&reader), "what everybody sees"),
        (None, "what everybody sees"),
    ] {
        let met = ask(&app, "/maybe", key).await;
        met.assert_ok();
        assert_eq!(met.body, seen);
    }
    scene.wacht.revoke(writer.key_id());
    let fresh = routes().layer(scene.layer().optional());
    ask(&fresh, "/maybe", Some(&writer))
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn it_refuses_in_the_words_of_its_gate() {
    let scene = Scene::new().await;
    let key = holder(&scene, &[]);
    let gate = scene.layer().realm("shop").on_reject(|rejection, _| {
        let mut response = Response::new(Bytes::from("{\"error\":\"house\"}"));
        *response.status_mut() = rejection.kind().status();
        response
    });
    let app = routes().layer(gate.clone());
    let met = ask(&app, "/read", Some(&key)).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert_eq!(met.body, "{\"error\":\"house\"}");
    assert!(met.header("www-authenticate").contains(r#"realm="shop""#));

    let anonymous = ask(&routes().layer(gate.optional()), "/read", None).await;
    anonymous.assert_refused(RejectionKind::MissingCredential);
    assert_eq!(anonymous.body, "{\"error\":\"house\"}");
}

#[tokio::test]
async fn it_is_decided_after_the_charge() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let app = routes().layer(scene.layer());
    let key = holder(&scene, &[]);
    ask(&app, "/read", Some(&key))
        .await
        .assert_refused(RejectionKind::PermissionDenied);
    ask(&app, "/read", Some(&key))
        .await
        .assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn a_text_that_only_the_parser_refuses_is_a_500_and_never_a_pass() {
    let scene = Scene::new().await;
    let app = routes().layer(scene.layer());
    let key = holder(&scene, &["items:read", "items:\u{200b}read"]);
    for _ in 0..2 {
        let met = ask(&app, "/unseen", Some(&key)).await;
        met.assert_refused(RejectionKind::Misconfigured);
        assert!(!met.body.contains("items"), "the hint is for the log");
    }
    let key = holder(&scene, &["größe:lesen"]);
    ask(&app, "/umlaut", Some(&key)).await.assert_ok();
    let key = holder(&scene, &["groesse:lesen"]);
    ask(&app, "/umlaut", Some(&key))
        .await
        .assert_refused(RejectionKind::PermissionDenied);
}

struct UnseenAndLogged;

impl Permission for UnseenAndLogged {
    const REQUIREMENT: &'static str = "items:\u{200b}logged";
}

#[tokio::test]
async fn the_log_says_at_the_first_request_what_is_wrong_with_a_text() {
    let (log, _logging) = Log::begin();
    let scene = Scene::new().await;
    let key = holder(&scene, &[]);
    let logged = get(|_: Permitted<UnseenAndLogged>| async {});
    let app = Router::new().route("/", logged).layer(scene.layer());
    for _ in 0..2 {
        ask(&app, "/", Some(&key))
            .await
            .assert_refused(RejectionKind::Misconfigured);
    }
    let log = log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("UnseenAndLogged"), "{log}");
    assert!(lines[0].contains("only visible characters"), "{log}");
}

/// Counts the handlers' runs: a refusal must come before the handler, not from it.
#[tokio::test]
async fn a_refused_request_does_not_run_the_handler() {
    let scene = Scene::new().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let app = Router::new()
        .route(
            "/read",
            get(move |_: Permitted<ReadItems>| async move {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        )
        .layer(scene.layer());
    ask(&app, "/read", Some(&holder(&scene, &[])))
        .await
        .assert_refused(RejectionKind::PermissionDenied);
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    ask(&app, "/read", Some(&holder(&scene, &["items:read"])))
        .await
        .assert_ok();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// Extractors of one's own build on it.
struct Staff(Permitted<WriteItems>);

impl<S: Sync> FromRequestParts<S> for Staff {
    type Rejection = Response<Body>;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        state: &S,
    ) -> Result<Self, Response<Body>> {
        let permitted = <Permitted<_> as FromRequestParts<S>>::from_request_parts(parts, state);
        permitted.await.map(Self)
    }
}

#[tokio::test]
async fn an_extractor_of_ones_own_can_build_on_it() {
    let scene = Scene::new().await;
    let show = |Staff(caller): Staff| async move { format!("{:?}", caller.clone()) };
    let app = Router::new()
        .route("/staff", get(show))
        .layer(scene.layer());
    let writer = holder(&scene, &["items:read", "items:write"]);
    let met = ask(&app, "/staff", Some(&writer)).await;
    met.assert_ok();
    assert!(met.body.starts_with("Permitted(Principal"), "{met:?}");
    assert!(!met.body.contains(writer.secret()));
    ask(&app, "/staff", Some(&holder(&scene, &[])))
        .await
        .assert_refused(RejectionKind::PermissionDenied);
}

#[tokio::test]
async fn gates_of_other_views_share_what_was_parsed_but_not_their_words() {
    let scene = Scene::new().await;
    let key = holder(&scene, &[]);
    let gate: WachtAuthLayer = scene.layer();
    for realm in ["one", "two"] {
        let app = routes().layer(gate.clone().realm(realm));
        let met = ask(&app, "/read", Some(&key)).await;
        met.assert_refused(RejectionKind::PermissionDenied);
        let challenge = met.header("www-authenticate");
        assert!(challenge.contains(&format!(r#"realm="{realm}""#)));
    }
}

async fn ask(app: &Router, path: &str, key: Option<&DevKey>) -> Met {
    let mut request = Request::get(path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {}", key.secret()));
    }
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_ne!(response.status(), StatusCode::NOT_FOUND);
    Met::of(response).await
}
