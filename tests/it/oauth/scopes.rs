//! An update of an app keeps what its scopes mean.

use serde_json::{Value, json};

use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::models::{
    OAuthApp, OAuthScopeCategory, OAuthScopeDefinition, SetOAuthScopeMappingRequest,
    UpdateOAuthAppRequest, UpdateOAuthScopeRequest,
};
use wacht_auth::{Error, WachtClient};

use super::{acme, definitions};
use crate::wire::{Canned, with_status};

async fn with_acme() -> (DevGateway, WachtClient) {
    let gateway = DevGateway::start().await;
    let client = gateway.client();
    let made = client
        .oauth()
        .create_oauth_app(acme())
        .send()
        .await
        .unwrap();
    assert_eq!(made.scope_definitions, definitions());
    gateway.journal().clear();
    (gateway, client)
}

fn rename() -> UpdateOAuthAppRequest {
    UpdateOAuthAppRequest {
        name: Some("Acme v2".to_owned()),
        ..Default::default()
    }
}

fn definition<'a>(app: &'a OAuthApp, scope: &str) -> &'a OAuthScopeDefinition {
    let mut definitions = app.scope_definitions.iter();
    definitions.find(|known| known.scope == scope).unwrap()
}

#[tokio::test]
async fn a_new_name_leaves_every_definition_as_it_was() {
    let (_gateway, client) = with_acme().await;
    let app = client
        .oauth()
        .update_oauth_app("acme", rename())
        .send()
        .await
        .unwrap();
    assert_eq!(app.name, "Acme v2");
    assert_eq!(app.scope_definitions, definitions());
}

#[tokio::test]
async fn a_scope_that_stays_keeps_its_definition_and_one_that_goes_takes_it_along() {
    let (gateway, client) = with_acme().await;
    let update = UpdateOAuthAppRequest {
        supported_scopes: Some(["read", "extra"].map(str::to_owned).to_vec()),
        ..Default::default()
    };
    let app = client
        .oauth()
        .update_oauth_app("acme", update)
        .send()
        .await
        .unwrap();
    assert_eq!(app.supported_scopes, ["extra", "read"]);
    assert_eq!(definition(&app, "read"), &definitions()[1]);
    assert_eq!(definition(&app, "extra").description, "Allows extra access");
    let entries = gateway.journal().entries();
    let sent: Value = serde_json::from_str(&entries.last().unwrap().body).unwrap();
    assert_eq!(sent["scope_definitions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_reset_is_one_call_and_has_to_be_asked_for() {
    let (gateway, client) = with_acme().await;
    let call = client.oauth().update_oauth_app("acme", rename());
    let app = call.reset_scope_definitions().send().await.unwrap();
    assert_eq!(definition(&app, "read").category, OAuthScopeCategory::Unset);
    assert_eq!(definition(&app, "read").display_name, "read");
    assert_eq!(gateway.journal().management_calls(), 1);
}

#[tokio::test]
async fn definitions_that_are_given_are_sent_as_given() {
    let (gateway, client) = with_acme().await;
    let update = UpdateOAuthAppRequest {
        scope_definitions: Some(definitions()[..1].to_vec()),
        ..Default::default()
    };
    let app = client
        .oauth()
        .update_oauth_app("acme", update)
        .send()
        .await
        .unwrap();
    assert_eq!(definition(&app, "profile"), &definitions()[0]);
    assert_eq!(definition(&app, "read").display_name, "read");
    assert_eq!(gateway.journal().management_calls(), 1);
}

#[tokio::test]
async fn members_this_version_does_not_know_are_sent_back_too() {
    let server = Canned::start().await;
    let current = json!([{ "scope": "read", "display_name": "Read", "icon": "eye", "n": 1 }]);
    let list = json!({ "apps": [{ "slug": "acme", "scope_definitions": current }] });
    server.answer(with_status(200, list.to_string()));
    let result = server
        .client()
        .oauth()
        .update_oauth_app("acme", rename())
        .send()
        .await;
    assert!(
        matches!(result, Err(Error::Decode(_))),
        "the list is no app"
    );
    let asked = server.take_asked();
    let sent: Value = serde_json::from_slice(asked[1].body()).unwrap();
    assert_eq!(
        sent,
        json!({ "name": "Acme v2", "scope_definitions": current })
    );
}

#[tokio::test]
async fn nothing_is_changed_when_the_definitions_cannot_be_fetched() {
    let (gateway, _) = with_acme().await;
    let client = WachtClient::builder(gateway.management_key())
        .api_url(gateway.url())
        .gateway_url(gateway.url())
        .no_retries()
        .build()
        .unwrap();
    gateway.fault_times(On::Management, Fault::Status(500), 1);
    let result = client
        .oauth()
        .update_oauth_app("acme", rename())
        .send()
        .await;
    assert!(result.unwrap_err().is_transient());
    assert_eq!(gateway.journal().count("PATCH", "/oauth/apps/acme"), 0);

    let missing = client
        .oauth()
        .update_oauth_app("none", rename())
        .send()
        .await;
    assert!(missing.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_scope_is_one_segment_whatever_is_in_its_name() {
    let server = Canned::start().await;
    server.answer(with_status(404, ""));
    let oauth = server.client().oauth();
    let scope = "https://a.example/read all?x#y";
    let encoded = "https%3A%2F%2Fa.example%2Fread%20all%3Fx%23y";
    let words = UpdateOAuthScopeRequest::default();
    let mapping = SetOAuthScopeMappingRequest {
        category: OAuthScopeCategory::Personal,
        ..Default::default()
    };
    for result in [
        oauth.update_oauth_scope("a/b", scope, words).send().await,
        oauth.archive_oauth_scope("a/b", scope).send().await,
        oauth.unarchive_oauth_scope("a/b", scope).send().await,
        oauth
            .set_oauth_scope_mapping("a/b", scope, mapping)
            .send()
            .await,
    ] {
        assert!(result.unwrap_err().is_not_found());
    }
    let asked = server.take_asked();
    let asked: Vec<String> = asked.iter().map(|asked| asked.uri().to_string()).collect();
    let at = format!("/oauth/apps/a%2Fb/scopes/{encoded}");
    assert_eq!(
        asked,
        ["", "/archive", "/unarchive", "/mapping"].map(|verb| format!("{at}{verb}"))
    );
}

#[tokio::test]
async fn a_mapping_is_set_once() {
    let (_gateway, client) = with_acme().await;
    let add = UpdateOAuthAppRequest {
        supported_scopes: Some(["read", "a/b"].map(str::to_owned).to_vec()),
        ..Default::default()
    };
    client
        .oauth()
        .update_oauth_app("acme", add)
        .send()
        .await
        .unwrap();
    let mapping = |permission: Option<&str>| SetOAuthScopeMappingRequest {
        category: OAuthScopeCategory::Organization,
        organization_permission: permission.map(str::to_owned),
        workspace_permission: None,
    };
    let map = |permission| {
        let call = client
            .oauth()
            .set_oauth_scope_mapping("acme", "a/b", mapping(permission));
        call.send()
    };
    let app = map(Some("org:read")).await.unwrap();
    let mapped = definition(&app, "a/b").organization_permission.as_deref();
    assert_eq!(mapped, Some("org:read"));
    map(Some("org:read")).await.unwrap();
    for other in [Some("org:write"), None] {
        let error = map(other).await.unwrap_err();
        assert!(error.to_string().contains("immutable once set"), "{error}");
    }
}
