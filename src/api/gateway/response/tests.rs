//! Answers in every shape.

use serde_json::json;

use super::*;
use crate::api::named::Named;
use crate::client::{Result, decode};

fn read(answer: Value) -> Result<CheckResponse> {
    let Named(answer) = decode("a check", answer.to_string().as_bytes())?;
    Ok(answer)
}

#[test]
fn the_smallest_answer_is_understood() {
    let answer = read(json!({"allowed": true})).unwrap();
    assert!(answer.allowed && answer.identity.is_none() && answer.permissions.is_empty());
    assert!(read(json!({"request_id": "req_1"})).is_err());
}

#[test]
fn absent_and_null_are_the_same() {
    let nulls = json!({
        "request_id": null, "allowed": false, "reason": null, "blocked_rule": null,
        "identity": null, "permissions": null, "metadata": null, "rate_limits": null,
        "retry_after": null, "headers": null, "new": 1,
    });
    assert_eq!(
        read(nulls).unwrap(),
        read(json!({"allowed": false})).unwrap()
    );
}

#[test]
fn a_member_that_decides_nothing_cannot_spoil_the_answer() {
    let answer = read(json!({
        "allowed": true, "request_id": 7, "blocked_rule": {}, "rate_limits": [{"rule": 1}],
        "retry_after": -1.5, "headers": {"a": 1},
    }))
    .unwrap();
    assert_eq!(answer, read(json!({"allowed": true})).unwrap());
}

#[test]
fn a_member_that_decides_must_be_of_its_shape() {
    let identity = json!({"key_id": "1", "deployment_id": 2, "app_slug": "app"});
    assert!(read(json!({"allowed": true, "identity": identity})).is_ok());
    for answer in [
        json!({"allowed": "true"}),
        json!({"allowed": null}),
        json!({"allowed": true, "permissions": "all"}),
        json!({"allowed": true, "permissions": [1]}),
        json!({"allowed": false, "reason": 1}),
        json!({"allowed": true, "identity": {"key_id": "x", "deployment_id": 2, "app_slug": ""}}),
        json!({"allowed": true, "identity": {"key_id": 1.0, "deployment_id": 2, "app_slug": ""}}),
        json!({"allowed": true, "identity": {"key_id": 1, "app_slug": "app"}}),
        json!({"allowed": true, "identity": {"key_id": 1, "deployment_id": 2}}),
        json!({"allowed": true, "identity": ["1", 2, "app"]}),
        json!(["req_1", true, null, null, identity, [], null]),
    ] {
        assert!(read(answer.clone()).is_err(), "{answer}");
    }
}

#[test]
fn a_new_reason_is_kept() {
    let answer = read(json!({"allowed": false, "reason": "moon_phase"})).unwrap();
    assert_eq!(
        answer.reason,
        Some(DenyReason::Other("moon_phase".to_owned()))
    );
}
