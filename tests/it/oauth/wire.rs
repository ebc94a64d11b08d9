//! Every recorded answer, through the real client.

use http::StatusCode;
use serde_json::{Value, json};

use wacht_auth::models::{
    CheckRequest, CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthApp, OAuthClient,
    OAuthGrant, SetOAuthScopeMappingRequest, UpdateApiAuthAppRequest, UpdateOAuthAppRequest,
    UpdateOAuthClientRequest, UpdateOAuthScopeRequest,
};
use wacht_auth::{Error, Result, WachtClient};

use crate::wire::{Canned, lines, status};

#[tokio::test]
async fn every_recorded_oauth_answer_decodes_or_is_the_documented_error() {
    let server = Canned::start().await;
    let client = server.client();
    let lines = lines(include_str!("../../wire/oauth-management.jsonl"));
    let (mut answers, mut refusals) = (0, 0);
    for line in &lines {
        let name = line["name"].as_str().unwrap();
        let wire = &line["response"]["body"];
        server.answer_line(line);
        match make(&client, &line["request"]).await {
            Ok(understood) => {
                assert!(status(line).is_success(), "{name}");
                // A body that says nothing is not looked at.
                if understood != Value::Null {
                    assert_eq!(&understood, wire, "{name}");
                }
                answers += 1;
            }
            Err(error) => {
                assert_eq!(error.status(), Some(status(line)), "{name}: {error:?}");
                match &error {
                    Error::Api { .. } if error.is_invalid_key() => {
                        assert_eq!(name, "gw_after_grant_revoke");
                    }
                    Error::Api { message, .. } => {
                        assert_eq!(json!(message), wire["errors"][0]["message"], "{name}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
                let transient = status(line) == StatusCode::INTERNAL_SERVER_ERROR;
                assert_eq!(error.is_transient(), transient, "{name}");
                refusals += 1;
            }
        }
        assert_sent_as_recorded(&server, &line["request"], name);
    }
    println!(
        "{} OAuth lines: {answers} answers, {refusals} refusals",
        lines.len()
    );
    assert_eq!((lines.len(), answers, refusals), (52, 27, 25));
}

/// Makes the recorded call and gives what was understood, in the words of the wire.
async fn make(client: &WachtClient, request: &Value) -> Result<Value> {
    let method = request["method"].as_str().unwrap();
    let path = request["path"].as_str().unwrap();
    let body = &request["body"];
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let oauth = client.oauth();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    Ok(match (method, segments.as_slice()) {
        ("GET", ["oauth", "apps"]) => {
            let apps = oauth.list_oauth_apps().send().await?;
            json!({ "apps": apps.iter().map(app_json).collect::<Vec<_>>() })
        }
        ("POST", ["oauth", "apps"]) => {
            // What was recorded is how the backend reads forms; ours are looked at elsewhere.
            let new = CreateOAuthAppRequest::default();
            app_json(&oauth.create_oauth_app(new).unchecked().send().await?)
        }
        ("PATCH", ["oauth", "apps", app]) => {
            let update = UpdateOAuthAppRequest {
                name: text("name"),
                supported_scopes: texts(body, "supported_scopes"),
                ..Default::default()
            };
            let call = oauth.update_oauth_app(*app, update);
            app_json(&call.reset_scope_definitions().send().await?)
        }
        ("POST", ["oauth", "apps", app, "verify-domain"]) => {
            let domain = oauth.verify_oauth_app_domain(*app).send().await?;
            json!({
                "domain": domain.domain, "cname_target": domain.cname_target,
                "verified": domain.verified,
            })
        }
        ("PATCH", ["oauth", "apps", app, "scopes", scope]) => {
            let update = UpdateOAuthScopeRequest {
                display_name: text("display_name"),
                description: text("description"),
            };
            let call = oauth.update_oauth_scope(*app, *scope, update);
            app_json(&call.send().await?)
        }
        ("POST", ["oauth", "apps", app, "scopes", scope, "archive"]) => {
            app_json(&oauth.archive_oauth_scope(*app, *scope).send().await?)
        }
        ("POST", ["oauth", "apps", app, "scopes", scope, "unarchive"]) => {
            app_json(&oauth.unarchive_oauth_scope(*app, *scope).send().await?)
        }
        ("POST", ["oauth", "apps", app, "scopes", scope, "mapping"]) => {
            let mapping = SetOAuthScopeMappingRequest {
                category: body["category"].as_str().unwrap().into(),
                organization_permission: text("organization_permission"),
                workspace_permission: text("workspace_permission"),
            };
            let call = oauth.set_oauth_scope_mapping(*app, *scope, mapping);
            app_json(&call.unchecked().send().await?)
        }
        ("GET", ["oauth", "apps", app, "clients"]) => {
            let clients = oauth.list_oauth_clients(*app).send().await?;
            json!({ "clients": clients.iter().map(client_json).collect::<Vec<_>>() })
        }
        ("POST", ["oauth", "apps", app, "clients"]) => {
            let new = CreateOAuthClientRequest {
                client_auth_method: text("client_auth_method").unwrap_or_default().into(),
                grant_types: texts(body, "grant_types")
                    .into_iter()
                    .flatten()
                    .map(Into::into)
                    .collect(),
                redirect_uris: texts(body, "redirect_uris").unwrap_or_default(),
                client_name: text("client_name"),
                ..Default::default()
            };
            let mut call = oauth.create_oauth_client(*app, new).unchecked();
            if let Some(format) = text("access_token_format") {
                call = call.access_token_format(format.into());
            }
            if let Some(seconds) = body["access_token_ttl_seconds"].as_u64() {
                call = call.access_token_ttl_seconds(seconds.try_into().unwrap());
            }
            if let Some(skip) = body["skip_consent"].as_bool() {
                call = call.skip_consent(skip);
            }
            let made = call.send().await?;
            let mut shown = client_json(&made);
            if let Some(secret) = &made.client_secret {
                shown["client_secret"] = json!(secret);
            }
            shown
        }
        ("PATCH", ["oauth", "apps", app, "clients", id]) => {
            let update = UpdateOAuthClientRequest {
                client_name: text("client_name"),
                redirect_uris: texts(body, "redirect_uris"),
                ..Default::default()
            };
            let call = oauth.update_oauth_client(*app, *id, update);
            client_json(&call.unchecked().send().await?)
        }
        ("DELETE", ["oauth", "apps", app, "clients", id]) => {
            oauth.deactivate_oauth_client(*app, *id).send().await?;
            Value::Null
        }
        ("POST", ["oauth", "apps", app, "clients", id, "rotate-secret"]) => {
            let call = oauth.rotate_oauth_client_secret(*app, *id);
            json!({ "client_secret": call.send().await?.client_secret })
        }
        ("GET", ["oauth", "apps", app, "clients", id, "grants"]) => {
            let grants = oauth.list_oauth_grants(*app, *id).send().await?;
            json!({ "grants": grants.iter().map(grant_json).collect::<Vec<_>>() })
        }
        (
            "POST",
            [
                "oauth",
                "apps",
                app,
                "clients",
                id,
                "grants",
                grant,
                "revoke",
            ],
        ) => {
            let call = oauth.revoke_oauth_grant(*app, *id, *grant);
            call.send().await?;
            Value::Null
        }
        ("POST", ["v1", "authz", "check"]) => {
            let token = body["principal"]["value"].as_str().unwrap();
            let check = CheckRequest::oauth_access_token(token).resource("/v1/items");
            assert!(client.gateway().check(check).send().await?.allowed);
            Value::Null
        }
        ("PATCH", ["api-auth", "apps", app]) => {
            let update = UpdateApiAuthAppRequest {
                name: text("name"),
                ..Default::default()
            };
            let app = client.api_keys().update_api_auth_app(*app, update);
            assert_eq!(app.send().await?.name, text("name").unwrap());
            Value::Null
        }
        other => panic!("no call for {other:?}"),
    })
}

fn texts(body: &Value, name: &str) -> Option<Vec<String>> {
    serde_json::from_value(body[name].clone()).unwrap()
}

fn assert_sent_as_recorded(server: &Canned, recorded: &Value, name: &str) {
    let asked = server.take_asked();
    let [request] = asked.as_slice() else {
        panic!("{name}: {} requests", asked.len());
    };
    assert_eq!(request.uri(), recorded["path"].as_str().unwrap(), "{name}");
    assert_eq!(
        request.method().as_str(),
        recorded["method"].as_str().unwrap(),
        "{name}"
    );
    // A request without required members is none this client can make.
    if recorded["body"].is_object() && name != "client_create_missing" {
        if name != "oauth_app_create_json" {
            let sent: Value = serde_json::from_slice(request.body()).unwrap();
            assert_eq!(sent, recorded["body"], "{name}");
        }
    } else if recorded["body"].is_null() {
        assert!(request.body().is_empty(), "{name}");
    }
}

fn app_json(app: &OAuthApp) -> Value {
    json!({
        "id": app.id.to_string(), "slug": app.slug, "name": app.name,
        "description": app.description, "logo_url": app.logo_url, "fqdn": app.fqdn,
        "supported_scopes": app.supported_scopes, "scope_definitions": app.scope_definitions,
        "allow_dynamic_client_registration": app.allow_dynamic_client_registration,
        "is_active": app.is_active, "created_at": app.created_at, "updated_at": app.updated_at,
    })
}

fn client_json(client: &OAuthClient) -> Value {
    json!({
        "id": client.id.to_string(), "oauth_app_id": client.oauth_app_id.to_string(),
        "client_id": client.client_id, "client_auth_method": client.client_auth_method,
        "grant_types": client.grant_types, "redirect_uris": client.redirect_uris,
        "client_name": client.client_name, "client_uri": client.client_uri,
        "logo_uri": client.logo_uri, "tos_uri": client.tos_uri, "policy_uri": client.policy_uri,
        "contacts": client.contacts, "software_id": client.software_id,
        "software_version": client.software_version,
        "token_endpoint_auth_signing_alg": client.token_endpoint_auth_signing_alg,
        "jwks_uri": client.jwks_uri, "jwks": client.jwks,
        "public_key_pem": client.public_key_pem, "is_active": client.is_active,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "id_token_signing_alg": client.id_token_signing_alg,
        "access_token_format": client.access_token_format,
        "access_token_ttl_seconds": client.access_token_ttl_seconds,
        "skip_consent": client.skip_consent, "created_at": client.created_at,
        "updated_at": client.updated_at,
    })
}

fn grant_json(grant: &OAuthGrant) -> Value {
    let mut shown = json!({
        "id": grant.id.to_string(), "api_auth_app_slug": grant.api_auth_app_slug,
        "oauth_client_id": grant.oauth_client_id.to_string(), "resource": grant.resource,
        "scopes": grant.scopes, "status": grant.status, "granted_at": grant.granted_at,
        "expires_at": grant.expires_at, "revoked_at": grant.revoked_at,
        "created_at": grant.created_at, "updated_at": grant.updated_at,
    });
    if let Some(user) = grant.granted_by_user_id {
        shown["granted_by_user_id"] = json!(user.to_string());
    }
    shown
}
