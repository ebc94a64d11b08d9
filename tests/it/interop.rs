//! Beside the SDK: its configuration makes our client, and its types say what is known.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;
use wacht::WachtConfig;
use wacht::gateway::{
    GatewayAuthzOptions, GatewayCheckResponse, GatewayDenyReason, GatewayPrincipalIdentity,
    GatewayPrincipalType, GatewayTokenType, ResolvedGatewayPrincipalContext,
};
use wacht_auth::api::gateway::CheckRequest;
use wacht_auth::client::{ConfigErrorKind, WachtClientBuilder};
use wacht_auth::dev::{DevGateway, DevRule, Fault, On};
use wacht_auth::{Error, Principal, WachtAuthLayer, WachtClient};

fn config(wacht: &DevGateway) -> WachtConfig {
    let mut config = WachtConfig::new(wacht.management_key(), "https://shop.example");
    config.base_url = wacht.url().to_owned();
    config
}

fn client(wacht: &DevGateway) -> WachtClient {
    let builder = WachtClientBuilder::from(&config(wacht));
    builder.gateway_url(wacht.url()).build().unwrap()
}

async fn check(
    client: &WachtClient,
    kind: GatewayPrincipalType,
    secret: &str,
    options: GatewayAuthzOptions,
) -> Result<GatewayCheckResponse, Error> {
    let gateway = client.gateway();
    gateway
        .check_authz_with_principal_type(kind, secret, "POST", "/orders", options)
        .await
}

#[tokio::test]
async fn the_sdks_configuration_makes_a_client_of_the_management_api() {
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let mut config = config(&wacht);
    let client = WachtClient::try_from(&config).unwrap();
    let apps = client.api_keys().list_api_auth_apps().send().await.unwrap();
    assert_eq!(apps[0].app_slug, "orders");

    config.user_agent = "shop/7".to_owned();
    let client = WachtClient::try_from(&config).unwrap();
    client.api_keys().list_api_auth_apps().send().await.unwrap();
    let agents: Vec<_> = wacht
        .journal()
        .entries()
        .iter()
        .map(|entry| entry.header("user-agent").unwrap().to_owned())
        .collect();
    assert!(agents[0].starts_with("wacht-auth/"), "{agents:?}");
    assert_eq!(agents.last().unwrap(), "shop/7");
}

#[tokio::test]
async fn a_client_of_the_sdk_lends_its_configuration() {
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let sdk = wacht::WachtClient::new(config(&wacht)).unwrap();
    let client = WachtClient::try_from(sdk.config()).unwrap();
    let apps = client.api_keys().list_api_auth_apps().send().await.unwrap();
    assert_eq!(apps.len(), 1);
}

#[tokio::test]
async fn the_sdks_timeout_is_kept() {
    let wacht = DevGateway::start().await;
    wacht.fault(On::Management, Fault::Hang);
    let mut config = config(&wacht);
    config.timeout = Duration::from_millis(50);
    let client = WachtClientBuilder::from(&config).no_retries();
    let client = client.build().unwrap();
    let error = client.api_keys().list_api_auth_apps().send().await;
    assert!(error.unwrap_err().is_timeout());
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_at_once() {
    type Spoil = fn(&mut WachtConfig);
    let cases: [(Spoil, _); 3] = [
        (
            |config| config.base_url = "http://api.example".to_owned(),
            ConfigErrorKind::Plaintext,
        ),
        (
            |config| config.base_url = "api".to_owned(),
            ConfigErrorKind::Url,
        ),
        (
            |config| config.auth.token = "SYNTHETIC\n".to_owned(),
            ConfigErrorKind::ManagementKey,
        ),
    ];
    for (spoil, kind) in cases {
        let mut config = WachtConfig::new("wk_SYNTHETIC", "https://shop.example");
        assert!(WachtClient::try_from(&config).is_ok());
        spoil(&mut config);
        let error = WachtClient::try_from(&config).unwrap_err();
        assert!(
            matches!(&error, Error::Config(error) if error.kind() == kind),
            "{error}"
        );
        assert!(!error.to_string().contains("SYNTHETIC"), "{error}");
        let shown = format!("{:?}", WachtClientBuilder::from(&config));
        assert!(!shown.contains("SYNTHETIC"), "{shown}");
    }
}

#[tokio::test]
async fn a_check_in_the_sdks_types_has_what_its_users_read() {
    let wacht = DevGateway::start().await;
    let rule = DevRule::per_key(2, "minute", 1);
    wacht.app("orders").scheme([rule]);
    let client = client(&wacht);
    let key = wacht.issue_key("orders").name("ci").owner_user_id(5);
    let key = key.organization_id(6).workspace_id(7);
    let key = key.organization_membership_id(8).workspace_membership_id(9);
    let key = key.permissions(["orders:write"]).issue();
    let options = || GatewayAuthzOptions {
        client_ip: Some("192.0.2.7".to_owned()),
        user_agent: Some("curl".to_owned()),
        required_permissions: Some(vec!["orders:write".to_owned()]),
    };

    let kind = GatewayPrincipalType::ApiKey;
    let answer = check(&client, kind, key.secret(), options()).await.unwrap();
    assert!(answer.allowed && answer.reason.is_none() && answer.retry_after.is_none());
    assert!(!answer.request_id.is_empty());
    assert_eq!(answer.principal_type, GatewayPrincipalType::ApiKey);
    assert_eq!(answer.key_id, key.key_id());
    assert_eq!(answer.deployment_id, wacht.deployment_id());
    assert_eq!((&*answer.app_slug, &*answer.key_name), ("orders", "ci"));
    assert_eq!(answer.owner_user_id, Some(5));
    assert_eq!(
        (answer.organization_id, answer.workspace_id),
        (Some(6), Some(7))
    );
    let memberships = (
        answer.organization_membership_id,
        answer.workspace_membership_id,
    );
    assert_eq!(memberships, (Some(8), Some(9)));
    assert_eq!(answer.permissions, ["orders:write"]);
    assert_eq!(
        (answer.rate_limits[0].limit, answer.rate_limits[0].remaining),
        (2, 1)
    );
    let asked = &wacht.journal().checks_asked()[0];
    assert_eq!((&*asked.method, &*asked.resource), ("POST", "/orders"));
    assert_eq!(asked.client_ip.as_deref(), Some("192.0.2.7"));

    check(&client, kind, key.secret(), options()).await.unwrap();
    let limited = check(&client, kind, key.secret(), options()).await.unwrap();
    assert!(!limited.allowed);
    assert_eq!(limited.reason, Some(GatewayDenyReason::RateLimited));
    assert_eq!(limited.retry_after, Some(60_000), "in milliseconds");
    assert!(limited.blocked_rule.is_some() && !limited.headers.is_empty());

    let clerk = wacht.issue_key("orders").issue();
    let denied = check(&client, kind, clerk.secret(), options())
        .await
        .unwrap();
    assert_eq!(denied.reason, Some(GatewayDenyReason::PermissionDenied));
}

#[tokio::test]
async fn what_the_sdk_cannot_say_is_an_error() {
    let wacht = DevGateway::start().await;
    let client = client(&wacht);
    let kind = GatewayPrincipalType::ApiKey;
    let key = wacht.issue_key("orders").issue();

    let options = GatewayAuthzOptions {
        client_ip: Some("localhost".to_owned()),
        ..Default::default()
    };
    let error = check(&client, kind, key.secret(), options).await;
    assert!(matches!(error, Err(Error::InvalidRequest(_))), "{error:?}");
    assert_eq!(wacht.journal().checks(), 0, "nothing was sent");

    let identity = json!({"key_id": "1", "deployment_id": "2", "app_slug": "orders"});
    for answer in [
        json!({"allowed": true}),
        json!({"allowed": false, "reason": "moon_phase", "identity": identity}),
    ] {
        let fault = Fault::body(200, "application/json", answer.to_string());
        wacht.fault_times(On::Checks, fault, 1);
        let error = check(&client, kind, key.secret(), Default::default()).await;
        assert!(matches!(error, Err(Error::InvalidRequest(_))), "{error:?}");
    }

    wacht.revoke(key.key_id());
    let error = check(&client, kind, key.secret(), Default::default()).await;
    assert!(error.unwrap_err().is_invalid_key());
}

#[tokio::test]
async fn numbers_too_large_for_the_sdk_become_its_largest() {
    let wacht = DevGateway::start().await;
    let client = client(&wacht);
    let answer = json!({
        "allowed": false, "reason": "rate_limited", "retry_after": u64::MAX,
        "identity": {"key_id": "1", "deployment_id": "2", "app_slug": "orders"},
        "rate_limits": [{"rule": "r", "remaining": i64::MIN, "limit": i64::MAX}],
    });
    let fault = Fault::body(200, "application/json", answer.to_string());
    wacht.fault(On::Checks, fault);
    let request = CheckRequest::api_key("sk_test_0000000000000000000000000000000000000000000");
    let answer = client.gateway().check(request).send().await.unwrap();
    let answer = answer.into_sdk(GatewayPrincipalType::ApiKey).unwrap();
    assert_eq!(answer.retry_after, Some(u32::MAX));
    let state = &answer.rate_limits[0];
    assert_eq!((state.remaining, state.limit), (i32::MIN, i32::MAX));
}

// --- behind a gate ---

/// Shows the caller in the SDK's types, both of them.
async fn show(caller: Principal) -> String {
    let identity = GatewayPrincipalIdentity::from(&caller);
    let context = ResolvedGatewayPrincipalContext::from(&caller);
    json!({"identity": identity, "context": context}).to_string()
}

async fn shown(wacht: &DevGateway, secret: &str) -> serde_json::Value {
    let gate = WachtAuthLayer::new(client(wacht)).accept_oauth_tokens();
    let app = Router::new().route("/show", get(show)).layer(gate);
    let request = Request::get("/show").header("authorization", format!("Bearer {secret}"));
    let request = request.body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn the_caller_behind_a_gate_comes_in_the_sdks_types() {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("orders").name("ci").organization_id(6);
    let key = key
        .permissions(["orders:read"])
        .metadata(json!({"team": "a"}));
    let key = key.issue();
    let shown = shown(&wacht, key.secret()).await;

    let identity: GatewayPrincipalIdentity =
        serde_json::from_value(shown["identity"].clone()).unwrap();
    assert_eq!(identity.principal_type, GatewayPrincipalType::ApiKey);
    assert_eq!(identity.key_id, key.key_id());
    assert_eq!(identity.deployment_id, wacht.deployment_id());
    assert_eq!((&*identity.app_slug, &*identity.key_name), ("orders", "ci"));

    let context: ResolvedGatewayPrincipalContext =
        serde_json::from_value(shown["context"].clone()).unwrap();
    assert_eq!(context.token_type, GatewayTokenType::ApiKey);
    assert_eq!(context.organization_id, Some(6));
    assert_eq!(context.permissions, ["orders:read"]);
    assert_eq!(context.metadata.organization_permissions, ["orders:read"]);
    assert_eq!(context.metadata.raw, json!({"team": "a"}));
}

#[tokio::test]
async fn the_metadata_of_a_key_does_not_make_it_an_access_token() {
    let wacht = DevGateway::start().await;
    let pretence = json!({
        "principal_type": "oauth_access_token", "scopes": ["admin"], "oauth_resource": "r",
        "granted_resource": "g", "expires_at": "2999-01-01T00:00:00Z",
    });
    let key = wacht.issue_key("orders").metadata(pretence.clone()).issue();
    let context = &shown(&wacht, key.secret()).await["context"];
    assert_eq!(context["token_type"], "api_key");
    assert_eq!(context["metadata"]["scopes"], json!([]));
    for member in ["oauth_resource", "granted_resource", "expires_at"] {
        assert!(context["metadata"][member].is_null(), "{member}");
    }
    assert_eq!(context["metadata"]["raw"], pretence);

    let kind = GatewayPrincipalType::ApiKey;
    let client = client(&wacht);
    let answer = check(&client, kind, key.secret(), Default::default()).await;
    assert_eq!(answer.unwrap().principal_type, GatewayPrincipalType::ApiKey);
}

#[tokio::test]
async fn an_access_token_keeps_its_scopes() {
    let wacht = DevGateway::start().await;
    let token = wacht.issue_token("orders").scopes(["orders"]).issue();
    let shown = shown(&wacht, token.secret()).await;
    assert_eq!(shown["identity"]["principal_type"], "oauth_access_token");
    assert_eq!(shown["context"]["token_type"], "oauth_token");
    assert_eq!(shown["context"]["metadata"]["scopes"], json!(["orders"]));
    assert!(shown["context"]["metadata"]["expires_at"].is_string());

    let kind = GatewayPrincipalType::OauthAccessToken;
    let client = client(&wacht);
    let answer = check(&client, kind, token.secret(), Default::default()).await;
    assert_eq!(answer.unwrap().principal_type, kind);
}
