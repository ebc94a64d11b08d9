//! What the gateway answered.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use wacht_auth::Error;
use wacht_auth::models::{CheckResponse, DenyReason};

use super::{Canned, MANAGEMENT_KEY, body, check, lines, status};

fn number(id: &Value) -> Option<i64> {
    id.as_str().map(|id| id.parse().unwrap())
}

#[track_caller]
fn expect_documented(answer: &CheckResponse, wire: &Value, name: &str) {
    assert_eq!(
        answer.request_id,
        wire["request_id"].as_str().unwrap(),
        "{name}"
    );
    assert_eq!(answer.allowed, wire["allowed"].as_bool().unwrap(), "{name}");
    let reason = answer.reason.as_ref().map(DenyReason::as_str);
    assert_eq!(reason, wire["reason"].as_str(), "{name}");
    assert!(
        !matches!(answer.reason, Some(DenyReason::Other(_))),
        "{name}"
    );
    assert_eq!(
        answer.blocked_rule.as_deref(),
        wire["blocked_rule"].as_str(),
        "{name}"
    );

    let identity = answer
        .identity
        .as_ref()
        .expect("every recorded 200 has an identity");
    let of = &wire["identity"];
    assert_eq!(Some(identity.key_id), number(&of["key_id"]), "{name}");
    assert_eq!(
        Some(identity.deployment_id),
        number(&of["deployment_id"]),
        "{name}"
    );
    assert_eq!(
        identity.app_slug,
        of["app_slug"].as_str().unwrap(),
        "{name}"
    );
    assert_eq!(
        identity.key_name,
        of["key_name"].as_str().unwrap(),
        "{name}"
    );
    for (ours, theirs) in [
        (identity.owner_user_id, "owner_user_id"),
        (identity.organization_id, "organization_id"),
        (identity.workspace_id, "workspace_id"),
        (
            identity.organization_membership_id,
            "organization_membership_id",
        ),
        (identity.workspace_membership_id, "workspace_membership_id"),
    ] {
        assert_eq!(ours, number(&of[theirs]), "{name} {theirs}");
    }

    assert_eq!(json!(answer.permissions), wire["permissions"], "{name}");
    assert_eq!(answer.metadata, wire["metadata"], "{name}");
    assert_eq!(json!(answer.headers), wire["headers"], "{name}");
    let retry_after = wire["retry_after"].as_u64().map(Duration::from_millis);
    assert_eq!(answer.retry_after, retry_after, "{name}");
    let rate_limits: Vec<Value> = answer
        .rate_limits
        .iter()
        .map(|at| json!({"rule": at.rule, "remaining": at.remaining, "limit": at.limit}))
        .collect();
    assert_eq!(json!(rate_limits), wire["rate_limits"], "{name}");
}

#[tokio::test]
async fn every_recorded_gateway_answer_decodes_as_documented() {
    let server = Canned::start().await;
    let client = server.client();
    let lines = lines(include_str!("../../wire/gateway.jsonl"));
    let (mut answers, mut invalid_keys) = (0, 0);
    for line in &lines {
        let name = line["name"].as_str().unwrap();
        let wire = &line["response"]["body"];
        server.answer_line(line);
        match check(&client).await {
            Ok(answer) => {
                assert_eq!(status(line), StatusCode::OK, "{name}");
                expect_documented(&answer, wire, name);
                answers += 1;
            }
            // The one recorded 200 that is no answer to a check is that of `GET /health`.
            Err(Error::Decode(_)) => {
                assert_eq!(
                    (status(line), wire),
                    (StatusCode::OK, &json!("OK")),
                    "{name}"
                );
            }
            Err(error) => {
                assert!(matches!(error, Error::Api { .. }), "{name}: {error:?}");
                assert_eq!(error.status(), Some(status(line)), "{name}");
                assert_eq!(error.body(), Some(body(line).as_str()), "{name}");
                // Every 401 on record is the gateway's own, of one of its two forms.
                let definite = status(line) == StatusCode::UNAUTHORIZED;
                assert_eq!(error.is_invalid_key(), definite, "{name}");
                assert_eq!(
                    error.is_transient(),
                    status(line).is_server_error(),
                    "{name}"
                );
                if let Error::Api { request_id, .. } = &error {
                    assert_eq!(request_id.as_deref(), wire["request_id"].as_str(), "{name}");
                }
                invalid_keys += usize::from(definite);
            }
        }
    }
    println!(
        "{} gateway lines: {answers} answers, {invalid_keys} invalid keys",
        lines.len()
    );
    assert_eq!((lines.len(), answers, invalid_keys), (266, 193, 35));

    let asked = server.take_asked();
    assert_eq!(asked.len(), lines.len(), "each check is sent once");
    for request in asked {
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/v1/authz/check");
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        assert!(!request.headers().contains_key(AUTHORIZATION));
        assert!(!format!("{request:?}").contains(MANAGEMENT_KEY));
    }
}
