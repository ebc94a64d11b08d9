//! The gateway: `POST /v1/authz/check` and `GET /health`.

use chrono::SecondsFormat;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::{Asked, AuditRow};
use super::permission;
use super::rule::{Mode, Rule};
use super::server::{Answer, Call, Unread};
use super::state::{Counter, Digest, Key, Owner, State, Token, digest, utc};
use super::verdict::{blank, verdict};
use crate::clock::Now;

pub(super) const CHECK: &str = "/v1/authz/check";

pub(super) fn route(state: &mut State, call: &Call) -> Answer {
    match (call.uri.path(), &call.method) {
        (CHECK, &Method::POST) => check(state, call),
        (CHECK, _) => Answer::empty(StatusCode::METHOD_NOT_ALLOWED).allowing("POST"),
        ("/health", &Method::GET | &Method::HEAD) => Answer::text(StatusCode::OK, "OK"),
        ("/health", _) => Answer::empty(StatusCode::METHOD_NOT_ALLOWED).allowing("GET,HEAD"),
        _ => Answer::empty(StatusCode::NOT_FOUND),
    }
}

// The name of the type is part of the recorded error texts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthzCheckRequest {
    principal: Principal,
    resource: String,
    method: String,
    client_ip: Option<String>,
    user_agent: Option<String>,
    required_permissions: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Principal {
    r#type: PrincipalType,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PrincipalType {
    ApiKey,
    OauthAccessToken,
}

fn check(state: &mut State, call: &Call) -> Answer {
    let request = match read(call) {
        Ok(request) => request,
        Err(answer) => return answer,
    };
    let request_id = state.new_request_id();
    let method = request.method.trim().to_ascii_uppercase();
    let resource = normalised(&request.resource);
    let (true, Some(resource)) = (METHODS.contains(&method.as_str()), resource) else {
        return blank(StatusCode::BAD_REQUEST, &request_id);
    };
    let now = state.clock.now();
    let subject = match request.principal.r#type {
        PrincipalType::ApiKey => api_key(state, &request.principal.value, now),
        PrincipalType::OauthAccessToken => access_token(state, &request.principal.value, now),
    };
    let subject = match subject {
        Ok(subject) => subject,
        Err(Refused::Unusable) => return blank(StatusCode::UNAUTHORIZED, &request_id),
        Err(Refused::Unknown) => return Answer::text(StatusCode::UNAUTHORIZED, "Invalid API key"),
    };
    let address = request
        .client_ip
        .map(|address| address.trim().to_owned())
        .filter(|address| !address.is_empty())
        .or_else(|| {
            call.header("x-original-client-ip")
                .map(|address| address.trim().to_owned())
        })
        .unwrap_or_else(|| call.peer.to_string());

    let required = request.required_permissions.unwrap_or_default();
    let decision = if permission::satisfied(&subject.permissions, &required) {
        limited(state, &subject, &resource, &address, now)
    } else {
        Decision {
            reason: Some(PERMISSION_DENIED),
            blocked_rule: Some(PERMISSION_DENIED.into()),
            ..Decision::default()
        }
    };
    let user_agent = request
        .user_agent
        .map(|agent| agent.trim().to_owned())
        .filter(|agent| !agent.is_empty())
        .or_else(|| call.header("x-original-user-agent").map(str::to_owned))
        .or_else(|| call.header("user-agent").map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned());
    let asked = Asked {
        client_ip: address,
        path: format!("{method} {resource}"),
        user_agent,
        timestamp: utc(now),
    };
    let row = AuditRow::new(&request_id, &subject, &decision, asked);
    state.audit.push(row);
    Answer::json(StatusCode::OK, &verdict(&request_id, &subject, &decision))
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
pub(super) const PERMISSION_DENIED: &str = "permission_denied";

fn read(call: &Call) -> Result<AuthzCheckRequest, Answer> {
    if !call.is_json() {
        let text = "Expected request with `Content-Type: application/json`";
        return Err(Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let body = call.body.as_ref().map_err(|unread| match unread {
        Unread::TooLarge => Answer::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Failed to buffer the request body: length limit exceeded",
        ),
        Unread::Broken => {
            Answer::text(StatusCode::BAD_REQUEST, "Failed to buffer the request body")
        }
    })?;
    // Text after the JSON value is not looked at.
    AuthzCheckRequest::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(
        |error| {
            if error.is_data() {
                let text = "Failed to deserialize the JSON body into the target type";
                Answer::text(StatusCode::UNPROCESSABLE_ENTITY, format!("{text}: {error}"))
            } else {
                let text = "Failed to parse the request body as JSON";
                Answer::text(StatusCode::BAD_REQUEST, format!("{text}: {error}"))
            }
        },
    )
}

fn normalised(resource: &str) -> Option<String> {
    let path = resource
        .trim()
        .split(['#', '?'])
        .next()
        .unwrap_or_default()
        .trim();
    match path {
        "" => None,
        path if path.starts_with('/') => Some(path.to_owned()),
        path => Some(format!("/{path}")),
    }
}

/// Whoever asks, once known.
pub(super) struct Subject {
    pub(super) kind: Kind,
    pub(super) key_id: i64,
    pub(super) deployment: i64,
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) owner: Owner,
    pub(super) permissions: Vec<String>,
    pub(super) metadata: Value,
    pub(super) scheme: Option<String>,
}

pub(super) enum Kind {
    ApiKey,
    AccessToken(Token),
}

pub(super) enum Refused {
    /// Malformed, empty or expired; for a token also unknown or revoked.
    Unusable,
    /// Unknown, revoked, or of an app that is inactive or gone.
    Unknown,
}

pub(super) fn api_key(state: &mut State, secret: &str, now: Now) -> Result<Subject, Refused> {
    let secret = secret.trim();
    if !is_well_formed(secret) {
        return Err(Refused::Unusable);
    }
    let key: Key = state.usable_key(secret, now).ok_or(Refused::Unknown)?;
    if key
        .expires_at
        .is_some_and(|expires_at| expires_at < utc(now))
    {
        return Err(Refused::Unusable);
    }
    let mut permissions = [key.permissions, key.role_permissions].concat();
    permissions.sort_unstable();
    permissions.dedup();
    Ok(Subject {
        kind: Kind::ApiKey,
        key_id: key.id,
        deployment: key.deployment,
        slug: key.slug,
        name: key.name,
        owner: key.owner,
        permissions,
        metadata: key.metadata,
        scheme: key.scheme,
    })
}

/// Any three bytes or more, then 43 of the URL-safe alphabet.
fn is_well_formed(secret: &str) -> bool {
    let Some(start) = secret.len().checked_sub(43).filter(|start| *start >= 3) else {
        return false;
    };
    secret.get(start..).is_some_and(|random| {
        random
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

fn access_token(state: &State, secret: &str, now: Now) -> Result<Subject, Refused> {
    let digest: Digest = digest(secret.trim());
    let token = state.tokens.get(&digest).ok_or(Refused::Unusable)?;
    let app = state.apps.get(&token.app).ok_or(Refused::Unusable)?;
    if token.revoked
        || token.expires_at < utc(now)
        || !state.app_is_live(token.app)
        || !state.grant_stands(token.grant)
    {
        return Err(Refused::Unusable);
    }
    let mut permissions = [token.scopes.clone(), token.mapped_permissions.clone()].concat();
    permissions.sort_unstable();
    permissions.dedup();
    Ok(Subject {
        key_id: token.client_record,
        deployment: app.deployment,
        slug: app.slug.clone(),
        name: token.client_id.clone(),
        owner: Owner {
            user: app.owner.user,
            ..Owner::default()
        },
        permissions,
        metadata: json!({
            "principal_type": "oauth_access_token",
            "scopes": token.scopes,
            "oauth_resource": token.oauth_resource,
            "granted_resource": token.granted_resource,
            "expires_at": token.expires_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        }),
        scheme: app.scheme.clone(),
        kind: Kind::AccessToken(token.clone()),
    })
}

/// The outcome for a subject that is known.
#[derive(Default)]
pub(super) struct Decision {
    /// Why not, if not.
    pub(super) reason: Option<&'static str>,
    pub(super) blocked_rule: Option<String>,
    /// The whole window of the shortest rule that blocked, in milliseconds.
    pub(super) retry_after: Option<i64>,
    pub(super) rules: Vec<Evaluated>,
}

pub(super) struct Evaluated {
    pub(super) rule: Rule,
    pub(super) remaining: i64,
    pub(super) blocked: bool,
}

/// Looks at every rule and charges each that has room, also when another one blocks.
pub(super) fn limited(
    state: &mut State,
    subject: &Subject,
    resource: &str,
    address: &str,
    now: Now,
) -> Decision {
    let scheme = subject
        .scheme
        .as_deref()
        .and_then(|slug| state.scheme(subject.deployment, slug));
    let rules = match scheme {
        Some(scheme) => Rule::matching(&scheme.rules, resource),
        None => vec![Rule::default_limit()],
    };
    let mut decision = Decision::default();
    for rule in rules {
        let name = counter_name(subject, &rule, resource, address);
        let period = rule.period(utc(now));
        let counter = state
            .counters
            .entry(name)
            .or_insert(Counter { period, count: 0 });
        if counter.period != period {
            *counter = Counter { period, count: 0 };
        }
        let limit = i64::from(rule.max_requests);
        let blocked = counter.count >= limit;
        if blocked {
            decision.reason = Some("rate_limited");
            decision.blocked_rule.get_or_insert_with(|| rule.name());
            let window = rule.window_ms();
            decision.retry_after = Some(decision.retry_after.unwrap_or(window).min(window));
        } else {
            counter.count += 1;
        }
        let remaining = if blocked { 0 } else { limit - counter.count };
        decision.rules.push(Evaluated {
            rule,
            remaining,
            blocked,
        });
    }
    decision
}

fn counter_name(subject: &Subject, rule: &Rule, resource: &str, address: &str) -> String {
    let Subject {
        deployment,
        slug,
        key_id,
        ..
    } = subject;
    let window = rule.window_ms();
    let suffix = rule.counter_suffix();
    let key = match &subject.kind {
        Kind::ApiKey => format!("key:{key_id}"),
        Kind::AccessToken(token) => format!("oauth:grant:{}", token.grant),
    };
    match rule.mode() {
        Mode::App => format!("app:{deployment}:{slug}:{window}{suffix}"),
        Mode::AppAndIp => format!("app_ip:{deployment}:{slug}:{address}:{window}{suffix}"),
        Mode::Key => format!("{key}:{resource}:{window}{suffix}"),
        Mode::KeyAndIp => format!("ip:{key}:{address}:{resource}:{window}{suffix}"),
    }
}
