//! `POST /v1/authz/check`.

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::decision::{Decision, PERMISSION_DENIED, limited};
use super::permission;
use super::subject::{Kind, Refused, Subject, access_token, api_key};
use super::verdict::{blank, verdict};
use crate::dev::answer::Answer;
use crate::dev::call::{Call, Unread};
use crate::dev::records::AuditRow;
use crate::dev::state::{State, utc};

pub(super) fn check(state: &mut State, call: &Call) -> Answer {
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
    let row = audit_row(&request_id, &subject, &decision, asked);
    state.keep_audit_row(row);
    Answer::json(StatusCode::OK, &verdict(&request_id, &subject, &decision))
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

/// What the check itself said, beyond who asks.
struct Asked {
    client_ip: String,
    path: String,
    user_agent: String,
    timestamp: DateTime<Utc>,
}

/// What is kept of the check.
fn audit_row(request_id: &str, subject: &Subject, decision: &Decision, asked: Asked) -> AuditRow {
    let rate_limits = decision.rules.iter().map(|evaluated| {
        let (rule, remaining) = (&evaluated.rule, evaluated.remaining);
        json!({ "rule": rule.name(), "remaining": remaining, "limit": rule.max_requests })
    });
    AuditRow {
        request_id: request_id.to_owned(),
        deployment: subject.deployment,
        app_slug: subject.slug.clone(),
        key_id: match subject.kind {
            Kind::ApiKey => subject.key_id,
            Kind::AccessToken(_) => 0,
        },
        key_name: subject.name.clone(),
        blocked: decision.reason.is_some(),
        blocked_by_rule: decision.blocked_rule.clone(),
        client_ip: asked.client_ip,
        path: asked.path,
        user_agent: asked.user_agent,
        rate_limits: rate_limits.collect(),
        timestamp: asked.timestamp,
    }
}

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
