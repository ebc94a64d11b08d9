//! What the management API answered about apps, keys and schemes.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use wacht_auth::models::{
    ApiAuthApp, ApiKey, CreateApiAuthAppRequest, CreateApiKeyRequest, CreateRateLimitSchemeRequest,
    ListApiAuditLogsQuery, RateLimitRule, RateLimitScheme, RevokeApiKeyRequest,
    UpdateApiAuthAppRequest, UpdateRateLimitSchemeRequest,
};
use wacht_auth::{Error, Result, WachtClient};

use super::{Canned, MANAGEMENT_KEY, assert_refused_as_recorded, check, lines, status};

/// These say nothing about a call of ours: they are answered as the call beside them all the
/// same, and nothing is compared with what was sent then.
const OTHER_REQUESTS: [(&str, &str); 6] = [
    (
        "health",
        "is no call of the client; any other is answered so",
    ),
    (
        "not_found_route",
        "is a path that the client has no call for",
    ),
    (
        "app_create_missing",
        "lacks members that a request always has",
    ),
    ("app_create_bad_json", "is no JSON"),
    (
        "scheme_missing_rules",
        "lacks members that a request always has",
    ),
    (
        "key_create_noname",
        "lacks members that a request always has",
    ),
];

/// The client cannot be brought to send these: the members are of another type. Their answers
/// are read as those of the same call with other members.
const OTHER_BODIES: [(&str, &str); 5] = [
    ("scheme_rule_max_over_i32", "a number out of range"),
    ("scheme_rule_durfloat", "a fraction"),
    ("scheme_rule_durstr", "a number as text"),
    ("key_create_bad_expiry", "a date as no date"),
    (
        "key_revoke_nobody",
        "no body, where the client always sends one",
    ),
];

#[tokio::test]
async fn every_recorded_management_answer_decodes_as_documented() {
    let server = Canned::start().await;
    let client = server.client();
    let lines = lines(include_str!("../../wire/management.jsonl"));
    let (mut decoded, mut refused) = (0, 0);
    for line in &lines {
        let name = line["name"].as_str().unwrap();
        server.answer_line(line);
        let result = send(&client, line).await;
        let asked = server.take_asked();
        assert_eq!(asked.len(), 1, "{name}");
        expect_sent(line, &asked[0]);
        match result {
            Ok(shown) => {
                assert!(status(line).is_success(), "{name}");
                assert_eq!(plain(shown), plain(expected(line)), "{name}");
                decoded += 1;
            }
            // `GET /health` answers with an object that is none of ours.
            Err(Error::Decode(error)) => {
                assert_eq!(name, "health", "{error}");
                refused += 1;
            }
            Err(error) => {
                assert_refused_as_recorded(&error, line, name);
                assert_eq!(error.is_rate_limited(), status(line) == 429, "{name}");
                refused += 1;
            }
        }
    }
    println!(
        "{} management lines: {decoded} decoded, {refused} refused",
        lines.len()
    );
    assert_eq!((lines.len(), decoded, refused), (103, 49, 54));
}

/// Makes the call that a line is about and shows its answer as it was on the wire.
async fn send(client: &WachtClient, line: &Value) -> Result<Value> {
    let request = &line["request"];
    let path = request["path"].as_str().unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let body = &request["body"];
    let keys = client.api_keys();
    let inactive = query.contains("include_inactive=true");
    Ok(
        match (request["method"].as_str().unwrap(), segments.as_slice()) {
            ("POST", ["v1", "authz", "check"]) => {
                let answer = check(client).await?;
                json!({"allowed": answer.allowed, "request_id": answer.request_id})
            }
            ("GET", ["api-auth", "apps"]) => {
                let page = keys
                    .list_api_auth_apps()
                    .include_inactive(inactive)
                    .page(2, 1)
                    .send()
                    .await?;
                let data: Vec<Value> = page.items.iter().map(app).collect();
                json!({
                    "data": data, "has_more": page.has_more, "limit": page.limit,
                    "offset": page.offset,
                })
            }
            ("GET", ["health"]) => app(&keys.get_api_auth_app("health").send().await?),
            ("GET", ["api-auth", "nope"]) => app(&keys.get_api_auth_app("nope").send().await?),
            ("GET", ["api-auth", "apps", slug]) => {
                app(&keys.get_api_auth_app(*slug).send().await?)
            }
            ("POST", ["api-auth", "apps"]) => app(&create_app(client, body).await?),
            ("PATCH", ["api-auth", "apps", slug]) => app(&update_app(client, slug, body).await?),
            ("DELETE", ["api-auth", "apps", slug]) => {
                keys.delete_api_auth_app(*slug).send().await?;
                json!({})
            }
            ("GET", ["api-auth", "apps", slug, "keys"]) => {
                let list = keys
                    .list_api_keys(*slug)
                    .include_inactive(inactive)
                    .send()
                    .await?;
                json!({"keys": list.iter().map(key).collect::<Vec<_>>()})
            }
            ("POST", ["api-auth", "apps", slug, "keys"]) => {
                let new = CreateApiKeyRequest {
                    name: text(body, "name").unwrap_or_default(),
                    permissions: words(body, "permissions"),
                    expires_at: text(body, "expires_at").and_then(|date| date.parse().ok()),
                    metadata: body.get("metadata").cloned(),
                    ..Default::default()
                };
                let made = keys.create_api_key(*slug, new).unchecked().send().await?;
                with_secret(&made.key, &made.secret)
            }
            ("POST", ["api-auth", "apps", slug, "keys", id, "revoke"]) => {
                let reason = text(body, "reason");
                let request = RevokeApiKeyRequest { reason };
                keys.revoke_api_key(*slug, *id, request)
                    .unchecked()
                    .send()
                    .await?;
                json!({})
            }
            ("POST", ["api-auth", "apps", slug, "keys", id, "rotate"]) => {
                let made = keys.rotate_api_key(*slug, *id).send().await?;
                with_secret(&made.key, &made.secret)
            }
            ("GET", ["api-auth", "apps", slug, "audit", "logs"]) => {
                let cursor = query.strip_prefix("cursor=").map(str::to_owned);
                let query = ListApiAuditLogsQuery {
                    cursor,
                    ..Default::default()
                };
                let page = keys.get_api_audit_logs(*slug, query).send().await?;
                panic!("no audit log is on record: {page:?}");
            }
            ("GET", ["api-auth", "rate-limit-schemes", slug]) => {
                scheme(&keys.get_rate_limit_scheme(*slug).send().await?)
            }
            ("POST", ["api-auth", "rate-limit-schemes"]) => {
                let request = CreateRateLimitSchemeRequest {
                    slug: text(body, "slug").unwrap(),
                    name: text(body, "name").unwrap(),
                    description: text(body, "description"),
                    rules: rules(body).unwrap_or_default(),
                };
                scheme(
                    &keys
                        .create_rate_limit_scheme(request)
                        .unchecked()
                        .send()
                        .await?,
                )
            }
            ("PATCH", ["api-auth", "rate-limit-schemes", slug]) => {
                let request = UpdateRateLimitSchemeRequest {
                    name: text(body, "name"),
                    description: text(body, "description"),
                    rules: rules(body),
                };
                scheme(
                    &keys
                        .update_rate_limit_scheme(*slug, request)
                        .unchecked()
                        .send()
                        .await?,
                )
            }
            ("DELETE", ["api-auth", "rate-limit-schemes", slug]) => {
                keys.delete_rate_limit_scheme(*slug).send().await?;
                json!({})
            }
            other => panic!("no call for {other:?}"),
        },
    )
}

async fn create_app(client: &WachtClient, body: &Value) -> Result<ApiAuthApp> {
    let request = CreateApiAuthAppRequest {
        app_slug: text(body, "app_slug").unwrap_or_default(),
        name: text(body, "name").unwrap_or_default(),
        key_prefix: text(body, "key_prefix").unwrap_or_default(),
        description: text(body, "description"),
        rate_limit_scheme_slug: text(body, "rate_limit_scheme_slug"),
    };
    let mut call = client.api_keys().create_api_auth_app(request).unchecked();
    if let Some(permissions) = words(body, "permissions") {
        call = call.permissions(permissions);
    }
    if let Some(resources) = words(body, "resources") {
        call = call.resources(resources);
    }
    if let Some(id) = body["user_id"].as_i64() {
        call = call.user_id(id);
    }
    if let Some(id) = body["organization_id"].as_i64() {
        call = call.organization_id(id);
    }
    if let Some(id) = body["workspace_id"].as_i64() {
        call = call.workspace_id(id);
    }
    call.send().await
}

async fn update_app(client: &WachtClient, slug: &str, body: &Value) -> Result<ApiAuthApp> {
    let request = UpdateApiAuthAppRequest {
        name: text(body, "name"),
        key_prefix: text(body, "key_prefix"),
        description: text(body, "description"),
        is_active: body["is_active"].as_bool(),
        rate_limit_scheme_slug: text(body, "rate_limit_scheme_slug"),
    };
    let mut call = client
        .api_keys()
        .update_api_auth_app(slug, request)
        .unchecked();
    if let Some(permissions) = words(body, "permissions") {
        call = call.permissions(permissions);
    }
    if let Some(id) = body["organization_id"].as_i64() {
        call = call.organization_id(id);
    }
    call.send().await
}

/// The client asks as the recording did: the same method, path and members.
fn expect_sent(line: &Value, sent: &http::Request<bytes::Bytes>) {
    let (name, request) = (line["name"].as_str().unwrap(), &line["request"]);
    let is = |list: &[(&str, &str)]| list.iter().any(|(other, _)| *other == name);
    assert_eq!(json!(sent.method().as_str()), request["method"], "{name}");
    let path = request["path"].as_str().unwrap().split('?').next().unwrap();
    if path.starts_with("/v1/") || name == "health" || name == "not_found_route" {
        return;
    }
    assert_eq!(sent.uri().path(), path, "{name}");
    let authorization = sent.headers()[AUTHORIZATION].to_str().unwrap();
    assert_eq!(authorization, format!("Bearer {MANAGEMENT_KEY}"), "{name}");
    if is(&OTHER_REQUESTS) || is(&OTHER_BODIES) {
        return;
    }
    if request["body"].is_null() {
        assert!(sent.body().is_empty(), "{name}");
        return;
    }
    assert_eq!(sent.headers()[CONTENT_TYPE], "application/json", "{name}");
    let sent: Value = serde_json::from_slice(sent.body()).unwrap();
    let mut asked = request["body"].clone();
    // What the recording tried beside the members there are.
    let extra = match name {
        "app_create_unknown_field" => "zzz",
        "key_create_unknown" => "rate_limit_scheme_slug",
        "scheme_patch_slug_ignored" => "slug",
        _ => "",
    };
    asked.as_object_mut().unwrap().remove(extra);
    assert_eq!(plain(sent), plain(asked), "{name}");
}

/// What an answer must decode to, as far as the client shows it.
fn expected(line: &Value) -> Value {
    let wire = &line["response"]["body"];
    match line["request"]["path"].as_str().unwrap() {
        "/v1/authz/check" => json!({
            "allowed": wire["allowed"], "request_id": wire["request_id"],
        }),
        _ => wire.clone(),
    }
}

/// Absent and null are the same, and so are the defaults of a rule.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let is_rule = members.contains_key("max_requests");
            let members: Map<String, Value> = members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .filter(|(name, value)| !(is_rule && name == "priority" && *value == 0))
                .map(|(name, value)| (name, plain(value)))
                .collect();
            members.into()
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

fn text(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().map(str::to_owned)
}

fn words(body: &Value, name: &str) -> Option<Vec<String>> {
    serde_json::from_value(body.get(name)?.clone()).unwrap()
}

fn rules(body: &Value) -> Option<Vec<RateLimitRule>> {
    serde_json::from_value(body.get("rules")?.clone()).ok()
}

fn id(id: Option<i64>) -> Value {
    id.map_or(Value::Null, |id| json!(id.to_string()))
}

fn app(app: &ApiAuthApp) -> Value {
    assert_eq!(app.id, app.app_slug);
    json!({
        "deployment_id": app.deployment_id.to_string(), "user_id": id(app.user_id),
        "organization_id": id(app.organization_id), "workspace_id": id(app.workspace_id),
        "app_slug": app.app_slug, "name": app.name, "key_prefix": app.key_prefix,
        "description": app.description, "is_active": app.is_active,
        "permissions": app.permissions, "resources": app.resources,
        "rate_limits": app.rate_limits, "rate_limit_scheme_slug": app.rate_limit_scheme_slug,
        "created_at": app.created_at, "updated_at": app.updated_at, "deleted_at": app.deleted_at,
    })
}

fn key(key: &ApiKey) -> Value {
    json!({
        "id": key.id.to_string(), "deployment_id": key.deployment_id.to_string(),
        "app_slug": key.app_slug, "name": key.name, "key_prefix": key.key_prefix,
        "key_suffix": key.key_suffix, "permissions": key.permissions, "metadata": key.metadata,
        "rate_limits": key.rate_limits, "rate_limit_scheme_slug": key.rate_limit_scheme_slug,
        "owner_user_id": id(key.owner_user_id), "organization_id": id(key.organization_id),
        "workspace_id": id(key.workspace_id),
        "organization_membership_id": id(key.organization_membership_id),
        "workspace_membership_id": id(key.workspace_membership_id),
        "org_role_permissions": key.org_role_permissions,
        "workspace_role_permissions": key.workspace_role_permissions,
        "expires_at": key.expires_at, "last_used_at": key.last_used_at,
        "is_active": key.is_active, "created_at": key.created_at, "updated_at": key.updated_at,
        "revoked_at": key.revoked_at, "revoked_reason": key.revoked_reason,
    })
}

fn with_secret(made: &ApiKey, secret: &str) -> Value {
    let mut shown = key(made);
    shown["secret"] = json!(secret);
    shown
}

fn scheme(scheme: &RateLimitScheme) -> Value {
    json!({
        "id": scheme.id, "deployment_id": scheme.deployment_id, "slug": scheme.slug,
        "name": scheme.name, "description": scheme.description, "rules": scheme.rules,
        "created_at": scheme.created_at, "updated_at": scheme.updated_at,
    })
}
