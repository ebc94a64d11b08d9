//! axum's own ways: where a gate may stand, what it sees from there, and who asks it for a caller.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::routing::{any, get};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ALLOW, AUTHORIZATION, ORIGIN, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_http::cors::{Any, CorsLayer};
use wacht_auth::dev::{DevGateway, DevKey, DevRule};
use wacht_auth::{
    CachePolicy, ClientIp, CredentialSource, Principal, Rejection, RejectionKind,
    RequirePermissionsLayer, Requirement, WachtAuthLayer,
};

use crate::scene::{Met, Scene};

// --- where the layer stands ---

#[tokio::test]
async fn under_layer_a_stranger_cannot_tell_which_paths_exist() {
    let scene = Scene::new().await;
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer());

    let unknown_path = ask(&app, request("GET", "/nowhere", None)).await;
    unknown_path.assert_refused(RejectionKind::MissingCredential);
    let wrong_method = ask(&app, request("POST", "/items", None)).await;
    wrong_method.assert_refused(RejectionKind::MissingCredential);

    let unknown_path = ask(&app, request("GET", "/nowhere", Some(&key))).await;
    assert_eq!(unknown_path.status, StatusCode::NOT_FOUND);
    let wrong_method = ask(&app, request("POST", "/items", Some(&key))).await;
    assert_eq!(wrong_method.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn under_route_layer_only_routes_are_gated() {
    let scene = Scene::new().await;
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .route_layer(scene.layer());

    let unknown_path = ask(&app, request("GET", "/nowhere", None)).await;
    assert_eq!(unknown_path.status, StatusCode::NOT_FOUND);
    assert!(unknown_path.refusal.is_none());
    let wrong_method = ask(&app, request("POST", "/items", None)).await;
    wrong_method.assert_refused(RejectionKind::MissingCredential);

    let wrong_method = ask(&app, request("POST", "/items", Some(&key))).await;
    assert_eq!(wrong_method.status, StatusCode::METHOD_NOT_ALLOWED);
    ask(&app, request("GET", "/items", Some(&key)))
        .await
        .assert_ok();
}

#[tokio::test]
async fn routes_added_after_the_layer_are_not_behind_it() {
    let scene = Scene::new().await;
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer())
        .route("/health", get(|| async { "up" }));
    ask(&app, request("GET", "/health", None)).await.assert_ok();
    ask(&app, request("GET", "/items", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
}

#[tokio::test]
async fn inside_nest_endpoint_rules_see_the_path_the_caller_asked_for() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme(
        "orders",
        [
            DevRule::per_key(1, "minute", 1).endpoints(["/api/items"]),
            // What is left of the path inside `nest`. It must never match.
            DevRule::per_key(1, "hour", 1).endpoints(["/items", "/others"]),
        ],
    );
    let key = scene.key();
    let nested = Router::new()
        .route("/items", get(caller_name))
        .route("/others", get(caller_name))
        .layer(scene.layer());
    let app = Router::new().nest("/api", nested);

    let items = || request("GET", "/api/items", Some(&key));
    ask(&app, items()).await.assert_ok();
    ask(&app, items())
        .await
        .assert_refused(RejectionKind::RateLimited);
    for _ in 0..3 {
        ask(&app, request("GET", "/api/others", Some(&key)))
            .await
            .assert_ok();
    }
    assert_eq!(
        scene.wacht.journal().checks_asked()[0].resource,
        "/api/items"
    );
}

#[tokio::test]
async fn the_matched_route_can_be_the_resource_of_endpoint_rules() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1).endpoints(["/api/items/{id}"]);
    scene.wacht.set_scheme("orders", [rule]);
    let routes = || Router::new().route("/items/{id}", get(caller_name));
    let by_route = || scene.layer().resource(wacht_auth::axum::matched_path);
    let inside_nest = Router::new().nest("/api", routes().layer(by_route()));
    let outside_nest = Router::new().nest("/api", routes()).layer(by_route());

    for app in [inside_nest, outside_nest] {
        let key = scene.key();
        ask(&app, request("GET", "/api/items/1", Some(&key)))
            .await
            .assert_ok();
        ask(&app, request("GET", "/api/items/2", Some(&key)))
            .await
            .assert_refused(RejectionKind::RateLimited);
        let asked = scene.wacht.journal().checks_asked();
        assert_eq!(asked.last().unwrap().resource, "/api/items/{id}");
    }

    let key = scene.key();
    let by_path = Router::new().nest("/api", routes()).layer(scene.layer());
    for id in 1..4 {
        ask(
            &by_path,
            request("GET", &format!("/api/items/{id}"), Some(&key)),
        )
        .await
        .assert_ok();
    }
}

#[tokio::test]
async fn where_no_route_matched_the_resource_is_the_path() {
    let scene = Scene::new().await;
    let key = scene.key();
    let app = Router::new()
        .route("/items/{id}", get(caller_name))
        .layer(scene.layer().resource(wacht_auth::axum::matched_path));
    let met = ask(&app, request("GET", "/nowhere?x=1", Some(&key))).await;
    assert_eq!(met.status, StatusCode::NOT_FOUND);
    assert_eq!(scene.wacht.journal().checks_asked()[0].resource, "/nowhere");
}

// --- a gate within a gate ---

#[tokio::test]
async fn a_gate_within_its_own_clone_verifies_and_charges_once() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(2, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let key = scene.key();
    let gate = scene.layer();
    let app = Router::new()
        .nest(
            "/api",
            Router::new()
                .route("/items", get(caller_name).layer(gate.clone()))
                .layer(gate.clone()),
        )
        .layer(gate);

    let items = || request("GET", "/api/items", Some(&key));
    for remaining in [1, 0] {
        let met = ask(&app, items()).await;
        met.assert_ok();
        assert_eq!(met.body, "ci");
        let standings = all(&met.headers, "ratelimit");
        assert_eq!(
            standings.len(),
            1,
            "one gate speaks of limits: {standings:?}"
        );
        assert!(standings[0].contains(&format!(";r={remaining}")), "{met:?}");
    }
    ask(&app, items())
        .await
        .assert_refused(RejectionKind::RateLimited);
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn a_gate_within_its_own_clone_charges_once_without_a_cache_too() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(2, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let key = scene.key();
    let builder = scene.builder().cache(CachePolicy::disabled());
    let gate = builder.build().unwrap();
    let app = Router::new()
        .route("/items", get(caller_name).layer(gate.clone()))
        .layer(gate);
    for checks in [1, 2] {
        ask(&app, request("GET", "/items", Some(&key)))
            .await
            .assert_ok();
        assert_eq!(scene.wacht.journal().checks(), checks, "the outer gate's");
    }
    ask(&app, request("GET", "/items", Some(&key)))
        .await
        .assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn an_inner_clone_still_holds_callers_to_its_own_conditions() {
    let scene = Scene::new().await;
    scene.wacht.app("billing");
    let reader = scene.wacht.issue_key("orders").issue();
    let permissions = ["items:write"];
    let writer = scene.wacht.issue_key("orders").permissions(permissions);
    let writer = writer.issue();
    let gate = scene.layer();
    let writing = gate.clone().require("items:write").unwrap();
    let of_billing = gate.clone().app("billing");
    let of_request = Arc::new(Requirement::try_from("items:write").unwrap());
    let by_route = gate
        .clone()
        .require_with(move |_| Some(Arc::clone(&of_request)));
    let app = Router::new()
        .route("/write", any(caller_name).layer(writing))
        .route("/by-route", any(caller_name).layer(by_route))
        .route("/billing", any(caller_name).layer(of_billing))
        .route("/read", any(caller_name))
        .layer(gate);

    for path in ["/write", "/by-route"] {
        ask(&app, request("GET", path, Some(&writer)))
            .await
            .assert_ok();
        ask(&app, request("GET", path, Some(&reader)))
            .await
            .assert_refused(RejectionKind::PermissionDenied);
    }
    ask(&app, request("GET", "/read", Some(&reader)))
        .await
        .assert_ok();
    ask(&app, request("GET", "/billing", Some(&writer)))
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn an_inner_gate_that_skips_leaves_what_the_outer_one_has_found() {
    let scene = Scene::new().await;
    let key = scene.key();
    let gate = scene.layer();
    let guard = RequirePermissionsLayer::new("items:write").unwrap();
    let app = Router::new()
        .route("/items", get(caller_name))
        .route("/guarded", get(caller_name).route_layer(guard))
        .route("/maybe", get(caller_name_or_none))
        .layer(gate.clone().skip(|_| true))
        .layer(gate.optional());
    let met = ask(&app, request("GET", "/items", Some(&key))).await;
    assert_eq!(met.body, "ci");
    let met = ask(&app, request("GET", "/maybe", None)).await;
    assert_eq!(met.body, "none");
    ask(&app, request("GET", "/guarded", Some(&key)))
        .await
        .assert_refused(RejectionKind::PermissionDenied);
    ask(&app, request("GET", "/guarded", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
}

#[tokio::test]
async fn a_key_that_ends_between_two_gates_does_not_pass_one_that_skips() {
    let scene = Scene::new().await;
    let key = scene.key();
    let gate = scene.layer();
    let handle = gate.handle();
    let key_id = key.key_id();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(gate.clone().skip(|_| true))
        .layer(tower::util::MapRequestLayer::new(
            move |request: Request<Body>| {
                handle.revoke_key_id(key_id);
                request
            },
        ))
        .layer(gate);
    ask(&app, request("GET", "/items", Some(&key)))
        .await
        .assert_refused(RejectionKind::MissingCredential);
}

#[tokio::test]
async fn a_key_that_ends_between_two_gates_does_not_pass_the_second() {
    let scene = Scene::new().await;
    let (revoked, secret, old) = (scene.key(), scene.key(), scene.key());
    let gate = scene.layer();
    let (handle, clock) = (gate.handle(), scene.clock.clone());
    let (key_id, ended) = (revoked.key_id(), secret.secret().to_owned());
    // What happens while the request is on its way from the outer gate to the inner one.
    let meanwhile = move |request: Request<Body>| {
        match request.uri().path() {
            "/revoked" => handle.revoke_key_id(key_id),
            "/secret" => handle.revoke_secret(&ended),
            _ => clock.advance(std::time::Duration::from_secs(400)),
        }
        request
    };
    let app = Router::new()
        .route("/{*any}", get(caller_name))
        .layer(gate.clone())
        .layer(tower::util::MapRequestLayer::new(meanwhile))
        .layer(gate);
    for (path, key) in [("/revoked", &revoked), ("/secret", &secret)] {
        ask(&app, request("GET", path, Some(key)))
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    let checks = scene.wacht.journal().checks();
    ask(&app, request("GET", "/old", Some(&old)))
        .await
        .assert_ok();
    assert_eq!(scene.wacht.journal().checks(), checks + 2, "verified anew");
}

#[tokio::test]
async fn a_caller_kept_in_the_parts_of_a_request_is_never_believed() {
    let scene = Scene::new().await;
    let key = scene.key();
    let gate = scene.layer();
    let (mut parts, _) = request("GET", "/items", Some(&key)).into_parts();
    let caller = gate.handle().authenticate(&parts).await.unwrap();
    parts.extensions.insert(caller);
    gate.handle().revoke_key_id(key.key_id());
    let refused = gate.handle().authenticate(&parts).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::InvalidKey);
    parts.headers.remove(AUTHORIZATION);
    let refused = gate.handle().authenticate(&parts).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::MissingCredential);
}

#[tokio::test]
async fn an_inner_gate_can_ask_for_a_key_where_the_outer_one_does_not() {
    let scene = Scene::new().await;
    let key = scene.key();
    let gate = scene.layer();
    let app = Router::new()
        .route("/closed", get(caller_name).layer(gate.clone()))
        .route("/open", get(caller_name_or_none))
        .layer(gate.optional());
    ask(&app, request("GET", "/closed", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    let met = ask(&app, request("GET", "/closed", Some(&key))).await;
    assert_eq!(met.body, "ci");
    let met = ask(&app, request("GET", "/open", None)).await;
    assert_eq!(met.body, "none");
}

#[tokio::test]
async fn an_inner_gate_of_its_own_replaces_the_outer_caller() {
    let scene = Scene::new().await;
    let other = DevGateway::start().await.clock(&scene.clock);
    let outer_key = scene.wacht.issue_key("orders").name("outer").issue();
    let inner_key = other.issue_key("partners").name("inner").issue();
    let outer = scene
        .layer()
        .credentials([CredentialSource::header("x-api-key").unwrap()]);
    let inner = WachtAuthLayer::builder(other.client())
        .clock(&scene.clock)
        .build()
        .unwrap();
    let app = Router::new()
        .route("/inner", get(caller_name).layer(inner.clone()))
        .route("/maybe", get(caller_name_or_none).layer(inner.optional()))
        .route("/outer", get(caller_name))
        .layer(outer);

    let with_both = |path| {
        let mut request = request("GET", path, Some(&inner_key));
        let outer_key = outer_key.secret().parse().unwrap();
        request.headers_mut().insert("x-api-key", outer_key);
        request
    };
    assert_eq!(ask(&app, with_both("/inner")).await.body, "inner");
    assert_eq!(ask(&app, with_both("/outer")).await.body, "outer");

    // Without a key for it, the inner gate does not take the outer one's word.
    let without_inner = |path| {
        let mut request = with_both(path);
        request.headers_mut().remove(AUTHORIZATION);
        request
    };
    ask(&app, without_inner("/inner"))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    assert_eq!(ask(&app, without_inner("/maybe")).await.body, "none");
    assert_eq!(ask(&app, without_inner("/outer")).await.body, "outer");
}

// --- CORS, HEAD, OPTIONS ---

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION])
        .expose_headers([
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            RETRY_AFTER,
        ])
}

fn from_origin(mut request: Request<Body>) -> Request<Body> {
    let origin = "https://app.example".parse().unwrap();
    request.headers_mut().insert(ORIGIN, origin);
    request
}

fn preflight() -> Request<Body> {
    let mut request = from_origin(request("OPTIONS", "/items", None));
    let method = "GET".parse().unwrap();
    request
        .headers_mut()
        .insert(ACCESS_CONTROL_REQUEST_METHOD, method);
    request
}

#[tokio::test]
async fn with_cors_outside_preflights_pass_and_refusals_can_be_read() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer())
        .layer(cors());

    let met = ask(&app, preflight()).await;
    met.assert_ok();
    assert_eq!(met.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");
    assert_eq!(scene.wacht.journal().checks(), 0);

    let refused = ask(&app, from_origin(request("GET", "/items", None))).await;
    refused.assert_refused(RejectionKind::MissingCredential);
    assert_eq!(refused.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");
    assert!(!refused.header("www-authenticate").is_empty());

    let with_key = || from_origin(request("GET", "/items", Some(&key)));
    ask(&app, with_key()).await.assert_ok();
    let limited = ask(&app, with_key()).await;
    limited.assert_refused(RejectionKind::RateLimited);
    let exposed = limited.header(ACCESS_CONTROL_EXPOSE_HEADERS.as_str());
    assert_eq!(exposed, "ratelimit,ratelimit-policy,retry-after");
    for name in exposed.split(',') {
        assert!(!limited.header(name).is_empty(), "{name} of {limited:?}");
    }
    let vary = all(&limited.headers, "vary").join(",").to_lowercase();
    assert!(vary.contains("authorization"), "{vary}");
}

#[tokio::test]
async fn with_cors_inside_a_preflight_needs_the_key_it_cannot_have() {
    let scene = Scene::new().await;
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(cors())
        .layer(scene.layer());
    ask(&app, preflight())
        .await
        .assert_refused(RejectionKind::MissingCredential);
}

#[tokio::test]
async fn options_is_gated_like_any_other_method() {
    let scene = Scene::new().await;
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer());
    ask(&app, request("OPTIONS", "/items", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    let met = ask(&app, request("OPTIONS", "/items", Some(&key))).await;
    assert_eq!(met.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(met.header(ALLOW.as_str()), "GET,HEAD");
    assert_eq!(scene.wacht.journal().checks_asked()[0].method, "OPTIONS");
}

#[tokio::test]
async fn a_refused_head_has_no_body_and_leaves_the_connection_usable() {
    let scene = Scene::new().await;
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer());
    let server = Server::with_peer_addresses(app).await;

    let refused = server.ask(request("HEAD", "/items", None)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.body, "");
    let admitted = server.ask(request("HEAD", "/items", Some(&key))).await;
    admitted.assert_ok();
    assert_eq!(admitted.body, "");
    let refused = server.ask(request("GET", "/items", None)).await;
    assert!(refused.body.contains("no API key"), "{refused:?}");
    let admitted = server.ask(request("GET", "/items", Some(&key))).await;
    assert_eq!(admitted.body, "ci");
    assert_eq!(scene.wacht.journal().checks_asked()[0].method, "HEAD");
}

// --- extractors ---

fn both_extractors() -> Router {
    Router::new()
        .route("/caller", get(caller_name))
        .route("/maybe", get(caller_name_or_none))
}

#[tokio::test]
async fn without_a_gate_both_extractors_are_a_500() {
    let app = both_extractors();
    for path in ["/caller", "/maybe"] {
        let met = ask(&app, request("GET", path, None)).await;
        met.assert_refused(RejectionKind::Misconfigured);
        assert!(!met.body.contains("Layer"), "the hint is for the log");
    }
}

#[tokio::test]
async fn a_request_let_pass_without_a_key_is_a_401_or_none() {
    let scene = Scene::new().await;
    let key = scene.key();
    let optional = both_extractors().layer(scene.layer().optional());
    let skipped = both_extractors().layer(scene.layer().skip(|_| true));
    for app in [&optional, &skipped] {
        ask(app, request("GET", "/caller", None))
            .await
            .assert_refused(RejectionKind::MissingCredential);
        let met = ask(app, request("GET", "/maybe", None)).await;
        met.assert_ok();
        assert_eq!(met.body, "none");
    }
    assert_eq!(scene.wacht.journal().checks(), 0);

    for path in ["/caller", "/maybe"] {
        let met = ask(&optional, request("GET", path, Some(&key))).await;
        assert_eq!(met.body, "ci");
    }
    // Skipped means unseen, whatever it carries.
    ask(&skipped, request("GET", "/caller", Some(&key)))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    assert_eq!(
        ask(&skipped, request("GET", "/maybe", Some(&key)))
            .await
            .body,
        "none"
    );
}

#[tokio::test]
async fn optional_does_not_let_a_bad_key_pass() {
    let scene = Scene::new().await;
    let app = both_extractors().layer(scene.layer().optional());
    let revoked = scene.key();
    scene.wacht.revoke(revoked.key_id());
    ask(&app, request("GET", "/maybe", Some(&revoked)))
        .await
        .assert_refused(RejectionKind::InvalidKey);
}

#[tokio::test]
async fn optional_lets_nobody_pass_where_permissions_are_required() {
    let scene = Scene::new().await;
    let permissions = ["items:write"];
    let key = scene.wacht.issue_key("orders").permissions(permissions);
    let key = key.issue();
    let always = scene.layer().optional().require("items:write").unwrap();
    let write = Arc::new(Requirement::try_from("items:write").unwrap());
    let for_posts = scene
        .layer()
        .optional()
        .require_with(move |parts| (parts.method == Method::POST).then(|| Arc::clone(&write)));
    let app = |layer| {
        Router::new()
            .route("/maybe", any(caller_name_or_none))
            .layer(layer)
    };

    let always = app(always);
    ask(&always, request("GET", "/maybe", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    ask(&always, request("GET", "/maybe", Some(&key)))
        .await
        .assert_ok();
    let for_posts = app(for_posts);
    ask(&for_posts, request("POST", "/maybe", None))
        .await
        .assert_refused(RejectionKind::MissingCredential);
    assert_eq!(
        ask(&for_posts, request("GET", "/maybe", None)).await.body,
        "none"
    );
}

// --- guards ---

#[tokio::test]
async fn a_guard_tells_a_missing_permission_from_a_missing_caller_from_a_missing_gate() {
    let scene = Scene::new().await;
    let issue = |permissions: &[&str]| {
        let permissions = permissions.iter().copied();
        let key = scene.wacht.issue_key("orders").permissions(permissions);
        key.issue()
    };
    let reader = issue(&["items:read"]);
    let auditor = issue(&["items:audit"]);
    let nobody = issue(&[]);
    let guarded = || {
        let guard = RequirePermissionsLayer::new("items:read OR items:audit").unwrap();
        Router::new().route("/items", get(|| async { "items" }).route_layer(guard))
    };
    let app = guarded().layer(scene.layer());
    for key in [&reader, &auditor] {
        ask(&app, request("GET", "/items", Some(key)))
            .await
            .assert_ok();
    }
    ask(&app, request("GET", "/items", Some(&nobody)))
        .await
        .assert_refused(RejectionKind::PermissionDenied);

    let optional = guarded().layer(scene.layer().optional());
    let skipped = guarded().layer(scene.layer().skip(|_| true));
    for app in [&optional, &skipped] {
        ask(app, request("GET", "/items", None))
            .await
            .assert_refused(RejectionKind::MissingCredential);
    }
    ask(&guarded(), request("GET", "/items", Some(&reader)))
        .await
        .assert_refused(RejectionKind::Misconfigured);
}

#[tokio::test]
async fn a_guard_outside_its_gate_is_a_500_not_a_pass() {
    let scene = Scene::new().await;
    let permissions = ["items:read"];
    let key = scene.wacht.issue_key("orders").permissions(permissions);
    let key = key.issue();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer())
        .layer(RequirePermissionsLayer::new("items:read").unwrap());
    ask(&app, request("GET", "/items", Some(&key)))
        .await
        .assert_refused(RejectionKind::Misconfigured);
}

#[tokio::test]
async fn guards_extractors_and_handlers_refuse_in_the_words_of_their_gate() {
    let scene = Scene::new().await;
    let key = scene.key();
    let guard = RequirePermissionsLayer::new("items:read").unwrap();
    let gate = scene
        .layer()
        .optional()
        .realm("house")
        .on_reject(|rejection, parts| {
            let mut response = rejection.to_response(parts);
            let path = parts.uri.path().parse().unwrap();
            response.headers_mut().insert("x-refused", path);
            response
        });
    let app = Router::new()
        .route("/guarded", get(|| async {}).route_layer(guard))
        .route("/extracted", get(caller_name))
        .layer(gate);

    let met = ask(&app, request("GET", "/guarded", Some(&key))).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert_eq!(met.header("x-refused"), "/guarded");
    assert_eq!(
        met.header("www-authenticate"),
        r#"Bearer realm="house", error="insufficient_scope", scope="items:read""#
    );
    for path in ["/guarded", "/extracted"] {
        let met = ask(&app, request("GET", path, None)).await;
        met.assert_refused(RejectionKind::MissingCredential);
        assert_eq!(met.header("x-refused"), path);
        assert_eq!(met.header("www-authenticate"), r#"Bearer realm="house""#);
    }
}

#[tokio::test]
async fn a_handler_can_refuse_for_a_permission_it_asks_for_itself() {
    async fn handler(caller: Principal, parts: http::request::Parts) -> axum::response::Response {
        let needed = Requirement::try_from("items:secret").unwrap();
        match caller.require(&needed) {
            Ok(()) => axum::response::Response::default(),
            Err(rejection) => rejection.to_response(&parts).map(Body::from),
        }
    }
    let scene = Scene::new().await;
    let key = scene.key();
    let permissions = ["items:secret"];
    let insider = scene.wacht.issue_key("orders").permissions(permissions);
    let insider = insider.issue();
    let app = Router::new()
        .route("/items", get(handler))
        .layer(scene.layer().realm("house"));
    ask(&app, request("GET", "/items", Some(&insider)))
        .await
        .assert_ok();
    let met = ask(&app, request("GET", "/items", Some(&key))).await;
    assert_eq!(met.status, StatusCode::FORBIDDEN);
    assert_eq!(
        met.header("www-authenticate"),
        r#"Bearer realm="house", error="insufficient_scope", scope="items:secret""#
    );
}

#[tokio::test]
async fn the_layers_own_requirements_refuse_before_limits_are_charged_and_guards_after() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let gate = scene.layer();
    let always = gate.clone().require("items:write").unwrap();
    let write = Arc::new(Requirement::try_from("items:write").unwrap());
    let by_route = gate.clone().require_with(move |_| Some(Arc::clone(&write)));
    let guard = RequirePermissionsLayer::new("items:write").unwrap();
    let app = Router::new()
        .route("/always", get(caller_name).layer(always))
        .route("/by-route", get(caller_name).layer(by_route))
        .merge(
            Router::new()
                .route("/guarded", get(caller_name).route_layer(guard))
                .route("/open", get(caller_name))
                .layer(gate),
        );

    let uncharged = scene.key();
    for path in ["/always", "/by-route", "/always", "/by-route"] {
        let met = ask(&app, request("GET", path, Some(&uncharged))).await;
        met.assert_refused(RejectionKind::PermissionDenied);
        assert_eq!(met.header("ratelimit"), "", "nothing was counted");
    }
    ask(&app, request("GET", "/open", Some(&uncharged)))
        .await
        .assert_ok();

    let charged = scene.key();
    let met = ask(&app, request("GET", "/guarded", Some(&charged))).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert!(met.header("ratelimit").contains(";r=0"), "{met:?}");
    ask(&app, request("GET", "/open", Some(&charged)))
        .await
        .assert_refused(RejectionKind::RateLimited);
}

// --- the caller's address ---

/// A scheme that counts by address, and by nothing else.
fn one_a_minute_per_address() -> [DevRule; 1] {
    [DevRule::per_app_and_ip(1, "minute", 1)]
}

fn forwarded_for(key: &DevKey, addresses: &str) -> Request<Body> {
    let mut request = request("GET", "/items", Some(key));
    let addresses = addresses.parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", addresses);
    request
}

#[tokio::test]
async fn the_peer_that_axum_records_is_what_address_rules_count() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", one_a_minute_per_address());
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer());
    let server = Server::with_peer_addresses(app).await;

    server
        .ask(request("GET", "/items", Some(&scene.key())))
        .await
        .assert_ok();
    let check = &scene.wacht.journal().checks_asked()[0];
    assert_eq!(check.client_ip.as_deref(), Some("127.0.0.1"));
    // Another key, and another port: the same address.
    let again = server
        .ask(request("GET", "/items", Some(&scene.key())))
        .await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(again.body.contains("per_app_and_ip"), "{again:?}");
}

#[tokio::test]
async fn callers_at_different_addresses_do_not_share_a_counter() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", one_a_minute_per_address());
    let key = scene.key();
    let routes = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.layer());
    let at = |peer: &str| {
        let peer: SocketAddr = peer.parse().unwrap();
        routes.clone().layer(MockConnectInfo(peer))
    };
    let items = || request("GET", "/items", Some(&key));
    ask(&at("192.0.2.1:1"), items()).await.assert_ok();
    ask(&at("192.0.2.2:1"), items()).await.assert_ok();
    ask(&at("192.0.2.1:2"), items())
        .await
        .assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn without_a_peer_an_address_rule_is_a_500_and_other_paths_go_on() {
    let scene = Scene::new().await;
    let [rule] = one_a_minute_per_address();
    scene
        .wacht
        .set_scheme("orders", [rule.endpoints(["/items"])]);
    let key = scene.key();
    let app = Router::new()
        .route("/items", get(caller_name))
        .route("/others", get(caller_name))
        .layer(scene.layer());
    let server = Server::without_peer_addresses(app).await;
    for _ in 0..2 {
        let met = server.ask(request("GET", "/items", Some(&key))).await;
        assert_eq!(met.status, StatusCode::INTERNAL_SERVER_ERROR, "{met:?}");
        assert!(
            !met.body.contains("connect_info"),
            "the hint is for the log"
        );
    }
    server
        .ask(request("GET", "/others", Some(&key)))
        .await
        .assert_ok();
}

#[tokio::test]
async fn a_forwarded_address_is_believed_from_trusted_proxies_alone() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", one_a_minute_per_address());
    let not_this_peer = ClientIp::trusted_proxies(["10.0.0.0/8"]).unwrap();
    for unbelieving in [ClientIp::peer(), not_this_peer] {
        let key = scene.key();
        let app = Router::new()
            .route("/items", get(caller_name))
            .layer(scene.builder().client_ip(unbelieving).build().unwrap());
        let server = Server::with_peer_addresses(app).await;
        server
            .ask(forwarded_for(&key, "203.0.113.1"))
            .await
            .assert_ok();
        let met = server.ask(forwarded_for(&key, "203.0.113.2")).await;
        assert_eq!(met.status, StatusCode::TOO_MANY_REQUESTS, "{met:?}");
    }
    for check in scene.wacht.journal().checks_asked() {
        assert_eq!(check.client_ip.as_deref(), Some("127.0.0.1"));
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_forwarded_address_counts_for_itself() {
    let scene = Scene::new().await;
    scene.wacht.set_scheme("orders", one_a_minute_per_address());
    let key = scene.key();
    let proxies = ClientIp::trusted_proxies(["127.0.0.0/8"]).unwrap();
    let app = Router::new()
        .route("/items", get(caller_name))
        .layer(scene.builder().client_ip(proxies).build().unwrap());
    let server = Server::with_peer_addresses(app).await;
    for address in ["203.0.113.1", "203.0.113.2"] {
        server.ask(forwarded_for(&key, address)).await.assert_ok();
        // What stands left of it is what the caller wrote.
        let spoofed = forwarded_for(&key, &format!("203.0.113.99, {address}"));
        let met = server.ask(spoofed).await;
        assert_eq!(met.status, StatusCode::TOO_MANY_REQUESTS, "{met:?}");
    }
    let check = &scene.wacht.journal().checks_asked()[0];
    assert_eq!(check.client_ip.as_deref(), Some("203.0.113.1"));
}

// --- what the tests stand on ---

async fn caller_name(caller: Principal) -> String {
    caller.key_name().to_owned()
}

async fn caller_name_or_none(caller: Option<Principal>) -> String {
    let name = caller.as_ref().map_or("none", Principal::key_name);
    name.to_owned()
}

fn request(method: &str, path: &str, key: Option<&DevKey>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.secret()));
    }
    request.body(Body::empty()).unwrap()
}

/// Sends one request through a router, without a socket.
async fn ask(app: &Router, request: Request<Body>) -> Met {
    let response = app.clone().oneshot(request).await.unwrap();
    let (mut parts, body) = response.into_parts();
    let refusal = parts.extensions.remove::<Rejection>();
    met(parts, refusal, body).await
}

async fn met<B>(parts: http::response::Parts, refusal: Option<Rejection>, body: B) -> Met
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let body = body.collect().await.unwrap().to_bytes();
    Met {
        status: parts.status,
        refusal,
        caller: parts.extensions.get().cloned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

/// A router behind a real socket, and a client that keeps its connection.
struct Server {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn with_peer_addresses(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        Self::of(address, async { axum::serve(listener, app).await.unwrap() })
    }

    async fn without_peer_addresses(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::of(address, async { axum::serve(listener, app).await.unwrap() })
    }

    fn of(address: SocketAddr, serving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            serving: tokio::spawn(serving),
        }
    }

    async fn ask(&self, request: Request<Body>) -> Met {
        let (mut parts, _) = request.into_parts();
        parts.uri = format!("http://{}{}", self.address, parts.uri)
            .parse()
            .unwrap();
        let request = Request::from_parts(parts, Full::default());
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        met(parts, None, body).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
