//! One resource however its path is spelt, for limits; and what `require_with` has to go by.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Path};
use axum::routing::get;
use http::request::Parts;
use wacht_auth::dev::{DevKey, DevRule};
use wacht_auth::{AuthContext, Limits, RejectionKind, Requirement};

use crate::raw::{send, serve};
use crate::scene::Scene;

async fn statuses(address: std::net::SocketAddr, key: &DevKey, paths: &[&str]) -> Vec<u16> {
    let bearer = format!("authorization: Bearer {}", key.secret());
    let mut statuses = Vec::new();
    for path in paths {
        let line = format!("GET {path} HTTP/1.1");
        statuses.push(send(address, &line, &[&bearer]).await.status);
    }
    statuses
}

/// Any path is a file.
fn files(layer: wacht_auth::WachtAuthLayer) -> Router {
    let file = async |Path(path): Path<String>| path;
    Router::new().route("/{*path}", get(file)).layer(layer)
}

#[tokio::test]
async fn an_endpoint_rule_holds_for_every_spelling_of_its_path_and_for_no_other() {
    let scene = Scene::new().await;
    let rules = [
        DevRule::per_key(1, "minute", 1).endpoints(["/orders"]),
        // As somebody has typed it into the dashboard.
        DevRule::per_key(1, "hour", 1).endpoints(["/c%61f%c3%a9"]),
    ];
    scene.wacht.set_scheme("orders", rules);
    let key = scene.key();
    let address = serve(files(scene.layer().app("orders"))).await;
    let orders = ["/orders", "/%6frders", "/%6F%72ders", "/order%73?x=%6f"];
    let met = statuses(address, &key, &orders).await;
    assert_eq!(met, [200, 429, 429, 429]);
    let cafe = ["/caf%C3%A9", "/caf%c3%a9", "/%63af%C3%a9"];
    assert_eq!(statuses(address, &key, &cafe).await, [200, 429, 429]);
    // A router runs something else for these, so they are something else here.
    let others = [
        "/orders/",
        "//orders",
        "/Orders",
        "/x/../orders",
        "/./orders",
        "/orders%2F",
        "/orders%20",
        "/%2561",
        "/orders%",
    ];
    let met = statuses(address, &key, &others).await;
    assert_eq!(met, [200; 9]);

    let checks = scene.wacht.journal().checks_asked();
    assert_eq!(checks[0].resource, "/orders");
}

#[tokio::test]
async fn counters_per_resource_count_spellings_together_and_other_segments_apart() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
    let key = scene.key();
    let limits = Limits::local().per_resource_counters();
    let layer = scene.builder().limits(limits).build().unwrap();
    let address = serve(files(layer.app("orders"))).await;
    let spellings = ["/files/%61%2fb", "/files/a%2Fb", "/%66iles/a%2fb"];
    assert_eq!(statuses(address, &key, &spellings).await, [200, 429, 429]);
    let apart = [
        "/files/a/b",
        "/files/a%252Fb",
        "/files/a%2F%62/",
        "/files/a%5cb",
    ];
    assert_eq!(statuses(address, &key, &apart).await, [200; 4]);
}

#[tokio::test]
async fn the_gateway_is_told_the_normal_form_of_requests_closures_and_contexts() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let address = serve(files(layer.clone())).await;
    let asked = || scene.wacht.journal().checks_asked().pop().unwrap().resource;
    statuses(address, &scene.key(), &["/%6frders/%e2%82%ac"]).await;
    assert_eq!(asked(), "/orders/%E2%82%AC");

    let by_hand = layer
        .clone()
        .resource(|parts| format!("/by-hand{}", parts.uri.path()).into());
    let address = serve(files(by_hand)).await;
    statuses(address, &scene.key(), &["/%6frders"]).await;
    assert_eq!(asked(), "/by-hand/orders");

    let context = AuthContext::new("jobs/%69mport");
    let key = scene.key();
    let caller = layer
        .handle()
        .authenticate_key(key.secret(), &context)
        .await;
    assert!(caller.is_ok());
    assert_eq!(asked(), "/jobs/import");
}

#[tokio::test]
async fn an_endpoint_rule_counts_what_comes_with_a_context_in_normal_form_too() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1).endpoints(["/jobs/import"]);
    scene.wacht.set_scheme("orders", [rule]);
    let (key, handle) = (scene.key(), scene.layer().app("orders").handle());
    let with = async |resource: &str| {
        let context = AuthContext::new(resource);
        handle.authenticate_key(key.secret(), &context).await
    };
    assert!(with("/jobs/import").await.is_ok());
    let refused = with("/%6Aobs/import").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::RateLimited);
}

/// The example of `require_with`.
fn admin_by_route(parts: &Parts, requirements: &[Arc<Requirement>; 2]) -> Option<Arc<Requirement>> {
    let [read, write] = requirements;
    let route = parts.extensions.get::<MatchedPath>()?;
    let requirement = if parts.method.is_safe() { read } else { write };
    route
        .as_str()
        .starts_with("/admin/")
        .then(|| Arc::clone(requirement))
}

#[tokio::test]
async fn require_with_by_route_holds_where_the_path_resembles_another() {
    let scene = Scene::new().await;
    let [reader, nobody] = [vec!["admin:read"], vec![]].map(|permissions: Vec<&str>| {
        let key = scene.wacht.issue_key("orders");
        key.permissions(permissions).issue()
    });
    let requirements =
        ["admin:read", "admin:write"].map(|text| Arc::new(Requirement::try_from(text).unwrap()));
    let layer = scene.layer().app("orders");
    let layer = layer.require_with(move |parts| admin_by_route(parts, &requirements));
    let admin = async |Path((a, b)): Path<(String, String)>| format!("admin {a} {b}");
    let app = Router::new()
        .route("/admin/{a}/{b}", get(admin).delete(admin))
        .route("/reports", get(async || "reports"))
        .layer(layer);
    let address = serve(app).await;
    let met = async |method: &str, path: &str, key: &DevKey| {
        let bearer = format!("authorization: Bearer {}", key.secret());
        send(address, &format!("{method} {path} HTTP/1.1"), &[&bearer]).await
    };
    // Whoever folds dots sees `/reports` here. axum runs the admin's route.
    for path in [
        "/admin/../reports",
        "/admin/%2e%2E/reports",
        "/admin/users/1",
    ] {
        assert_eq!(met("GET", path, &nobody).await.status, 403, "{path}");
        assert_eq!(met("HEAD", path, &nobody).await.status, 403, "{path}");
        let answer = met("GET", path, &reader).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.starts_with("admin "), "{answer:?}");
        assert_eq!(met("HEAD", path, &reader).await.status, 200, "{path}");
        assert_eq!(met("DELETE", path, &reader).await.status, 403, "{path}");
    }
    assert_eq!(met("GET", "/reports", &nobody).await.status, 200);
}
