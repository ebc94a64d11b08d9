//! The body of a check's answer, with the headers the gateway suggests in it.

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::decision::{Decision, Evaluated, PERMISSION_DENIED};
use super::subject::{Kind, Subject};
use crate::dev::answer::Answer;

pub(super) fn verdict(request_id: &str, subject: &Subject, decision: &Decision) -> Value {
    let text = |id: Option<i64>| id.map(|id| id.to_string());
    let owner = &subject.owner;
    let rate_limits: Vec<Value> = decision
        .rules
        .iter()
        .map(
            |Evaluated {
                 rule, remaining, ..
             }| {
                json!({ "rule": rule.name(), "remaining": remaining, "limit": rule.max_requests })
            },
        )
        .collect();
    json!({
        "request_id": request_id,
        "allowed": decision.reason.is_none(),
        "reason": decision.reason,
        "blocked_rule": decision.blocked_rule,
        "identity": {
            "key_id": subject.key_id.to_string(),
            "deployment_id": subject.deployment.to_string(),
            "app_slug": subject.slug,
            "key_name": subject.name,
            "owner_user_id": text(owner.user),
            "organization_id": text(owner.organization),
            "workspace_id": text(owner.workspace),
            "organization_membership_id": text(owner.organization_membership),
            "workspace_membership_id": text(owner.workspace_membership),
        },
        "permissions": subject.permissions,
        "metadata": subject.metadata,
        "rate_limits": rate_limits,
        "retry_after": decision.retry_after,
        "headers": header_map(subject, decision),
    })
}

pub(super) fn blank(status: StatusCode, request_id: &str) -> Answer {
    Answer::json(
        status,
        &json!({
            "request_id": request_id,
            "allowed": false,
            "reason": null,
            "blocked_rule": null,
            "identity": null,
            "permissions": [],
            "metadata": null,
            "rate_limits": [],
            "retry_after": null,
            "headers": {},
        }),
    )
}

/// The headers the gateway suggests, names in lower case.
fn header_map(subject: &Subject, decision: &Decision) -> Value {
    let mut headers = Headers::default();
    headers.always("x-wacht-deployment-id", &subject.deployment.to_string());
    headers.always("x-wacht-app-slug", &subject.slug);
    match &subject.kind {
        Kind::ApiKey => {
            let owner = &subject.owner;
            headers.always("x-wacht-key-id", &subject.key_id.to_string());
            headers.always("x-wacht-key-name", &subject.name);
            for (name, id) in [
                ("x-wacht-organization-id", owner.organization),
                ("x-wacht-workspace-id", owner.workspace),
                (
                    "x-wacht-organization-membership-id",
                    owner.organization_membership,
                ),
                (
                    "x-wacht-workspace-membership-id",
                    owner.workspace_membership,
                ),
            ] {
                headers.if_safe(name, &id.map(|id| id.to_string()).unwrap_or_default());
            }
            let members: Vec<String> = subject
                .metadata
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
                .collect();
            headers.if_safe("x-wacht-metadata", &members.join(","));
        }
        Kind::AccessToken(token) => {
            headers.always("x-wacht-principal-type", "oauth_access_token");
            headers.always("x-wacht-oauth-client-id", &token.client_id);
            headers.always("x-wacht-oauth-issuer", "https://oauth.example.test");
            headers.if_safe("x-wacht-scopes", &token.scopes.join(","));
            let granted = token.granted_resource.as_deref().unwrap_or_default();
            headers.if_safe("x-wacht-granted-resource", granted);
            headers.if_safe("x-wacht-oauth-audience", granted);
            let resource = token.oauth_resource.as_deref().unwrap_or_default();
            headers.if_safe("x-wacht-oauth-resource", resource);
        }
    }
    headers.if_safe("x-wacht-permissions", &subject.permissions.join(","));
    if decision.reason == Some(PERMISSION_DENIED) {
        headers.always("x-wacht-permission-denied", "true");
    }
    for Evaluated {
        rule,
        remaining,
        blocked,
    } in &decision.rules
    {
        let window = rule.window_name();
        headers.always(
            &format!("x-ratelimit-{window}-limit"),
            &rule.max_requests.to_string(),
        );
        headers.always(
            &format!("x-ratelimit-{window}-remaining"),
            &remaining.to_string(),
        );
        if *blocked {
            let reset = rule.window_ms().to_string();
            headers.always(&format!("x-ratelimit-{window}-reset"), &reset);
        }
    }
    Value::Object(headers.0)
}

#[derive(Default)]
struct Headers(Map<String, Value>);

impl Headers {
    /// What is no header value becomes the word `invalid`; what is not ASCII is left out.
    fn always(&mut self, name: &str, value: &str) {
        match HeaderValue::from_str(value) {
            Err(_) => self.0.insert(name.to_owned(), json!("invalid")),
            Ok(_) if !value.is_ascii() => self.0.remove(name),
            Ok(_) => self.0.insert(name.to_owned(), json!(value)),
        };
    }

    /// Left out when empty or no ASCII header value.
    fn if_safe(&mut self, name: &str, value: &str) {
        if !value.is_empty() && value.is_ascii() && HeaderValue::from_str(value).is_ok() {
            self.0.insert(name.to_owned(), json!(value));
        }
    }
}
