//! Callers and refusals that a test has made: they are like a gate's wherever a gate is not asked.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use serde_json::json;
use tower::ServiceExt;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::{Principal, PrincipalKind, RejectionKind, RequirePermissionsLayer, dev};

use crate::scene::{Echo, Met, Scene, anonymous as without_key};

#[test]
fn a_caller_is_who_the_test_says() {
    let caller = dev::principal("orders")
        .key_id(7)
        .name("ci")
        .deployment_id(42)
        .owner_user_id(1)
        .organization_id(2)
        .workspace_id(3)
        .organization_membership_id(4)
        .workspace_membership_id(5)
        .permissions(["orders:write", "orders:read"])
        .metadata(json!({"plan": "trial"}))
        .build();
    assert_eq!(caller.kind(), PrincipalKind::ApiKey);
    assert_eq!((caller.key_id(), caller.key_name()), (7, "ci"));
    assert_eq!((caller.app_slug(), caller.deployment_id()), ("orders", 42));
    assert_eq!(caller.client_id(), None);
    let ids = [
        caller.owner_user_id(),
        caller.organization_id(),
        caller.workspace_id(),
        caller.organization_membership_id(),
        caller.workspace_membership_id(),
    ];
    assert_eq!(ids, [1, 2, 3, 4, 5].map(Some));
    assert!(
        caller
            .permissions()
            .iter()
            .eq(["orders:read", "orders:write"])
    );
    assert_eq!(caller.metadata()["plan"], "trial");

    let token = dev::principal("orders").client_id("oc_partner").build();
    assert_eq!(token.kind(), PrincipalKind::OauthAccessToken);
    assert_eq!(token.client_id(), Some("oc_partner"));
    assert_eq!(token.key_name(), "oc_partner");
    assert_eq!(
        (token.owner_user_id(), token.metadata()),
        (None, &json!({}))
    );
}

#[derive(Debug)]
struct Read;

impl Permission for Read {
    const REQUIREMENT: &'static str = "orders:read";
}

fn routes() -> Router {
    let guard = RequirePermissionsLayer::new("orders:read").unwrap();
    let optional = async |caller: Option<Principal>| caller.is_some().to_string();
    Router::new()
        .route("/caller", get(async |_: Principal| "true"))
        .route("/optional", get(optional))
        .route("/permitted", get(async |_: Permitted<Read>| "true"))
        .route("/guarded", get(async || "true").route_layer(guard))
}

async fn ask(path: &str, put: impl FnOnce(&mut http::Extensions)) -> Met {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    put(request.extensions_mut());
    Met::of(routes().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn extractors_and_guards_take_a_caller_as_from_a_gate() {
    let reader = dev::principal("orders")
        .permissions(["orders:read"])
        .build();
    let other = dev::principal("orders")
        .permissions(["orders:write"])
        .build();
    for path in ["/caller", "/optional", "/permitted", "/guarded"] {
        let met = ask(path, |extensions| drop(extensions.insert(reader.clone()))).await;
        assert_eq!((met.status, &*met.body), (StatusCode::OK, "true"), "{path}");
    }
    for path in ["/permitted", "/guarded"] {
        let met = ask(path, |extensions| drop(extensions.insert(other.clone()))).await;
        met.assert_refused(RejectionKind::PermissionDenied);
    }
    assert!(reader.require("orders:read").is_ok());
    let refused = reader.require("orders:read AND admin").unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::PermissionDenied);
}

#[tokio::test]
async fn extractors_and_guards_know_a_request_without_a_caller_from_one_without_a_gate() {
    for path in ["/caller", "/permitted", "/guarded"] {
        let met = ask(path, |extensions| drop(extensions.insert(dev::anonymous()))).await;
        met.assert_refused(RejectionKind::MissingCredential);
        let met = ask(path, |_| {}).await;
        met.assert_refused(RejectionKind::Misconfigured);
    }
    let met = ask("/optional", |extensions| {
        drop(extensions.insert(dev::anonymous()))
    })
    .await;
    assert_eq!((met.status, &*met.body), (StatusCode::OK, "false"));
}

#[tokio::test]
async fn a_gate_does_not_take_it_for_its_own() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    let mut request = without_key();
    let forged = dev::principal("orders")
        .permissions(["orders:read"])
        .build();
    request.extensions_mut().insert(forged);
    request.extensions_mut().insert(dev::anonymous());
    echo.call(request)
        .await
        .assert_refused(RejectionKind::MissingCredential);
}
