//! What an error says, and what it does not.

use std::error::Error as StdError;

use super::*;

const SECRET: &str = "sk_SYNTHETIC-0123456789abcdefghijklmnopqrstuvwxyzAB";

fn answer(status: u16, body: &str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    Error::from_answer(status, &HeaderMap::new(), body.as_bytes(), SECRET)
}

fn message(body: &str) -> String {
    match answer(400, body) {
        Error::Api { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn message_is_found_wherever_it_stands() {
    assert_eq!(message(r#"{"errors":[{"message":"a","code":400}]}"#), "a");
    assert_eq!(message(r#"{"error":{"message":"b"}}"#), "b");
    assert_eq!(message(r#"{"message":"c"}"#), "c");
    assert_eq!(message(" Database error\n"), "Database error");
    assert_eq!(message(""), "Bad Request");
    assert_eq!(message(r#"{"errors":[]}"#), r#"{"errors":[]}"#);
    assert_eq!(message("two\nlines"), "two lines");
    assert_eq!(message(&"ü".repeat(2000)).chars().count(), 500);
}

#[test]
fn headers_say_how_long_to_wait_and_which_request_it_was() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    headers.insert("x-request-id", "abc".parse().unwrap());
    let error = Error::from_answer(StatusCode::TOO_MANY_REQUESTS, &headers, b"", SECRET);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert!(matches!(&error, Error::Api { request_id: Some(id), .. } if id == "abc"));
    assert!(error.is_rate_limited() && error.is_transient());
}

#[test]
fn an_invalid_key_is_said_in_two_ways_only() {
    let envelope = r#"{"allowed":false,"request_id":"req_1","reason":null}"#;
    assert!(answer(401, "Invalid API key").is_invalid_key());
    assert!(answer(401, "Invalid API key\n").is_invalid_key());
    assert!(answer(401, envelope).is_invalid_key());
    for (status, body) in [
        (403, "Invalid API key"),
        (500, envelope),
        (401, ""),
        (401, "Unauthorized"),
        (401, "<h1>Invalid API key</h1>"),
        (401, r#"{"allowed":false}"#),
        (401, r#"{"allowed":true,"request_id":"req_1"}"#),
        (401, r#"{"allowed":"false","request_id":"req_1"}"#),
        (401, r#"{"allowed":false,"request_id":1}"#),
        (401, r#"[{"allowed":false,"request_id":"req_1"}]"#),
    ] {
        assert!(!answer(status, body).is_invalid_key(), "{status} {body}");
    }
}

#[test]
fn an_app_is_gone_only_when_the_envelope_says_so() {
    let gone = r#"{"errors":[{"message":"API key app not found","code":404}]}"#;
    assert!(answer(404, gone).is_app_not_found());
    assert!(!answer(403, gone).is_app_not_found());
    assert!(!answer(404, "API key app not found").is_app_not_found());
    assert!(!answer(404, r#"{"errors":[{"message":"Not found"}]}"#).is_app_not_found());
    assert!(!answer(404, "").is_app_not_found());
}

#[test]
fn an_echoed_key_is_taken_out() {
    for body in [
        format!("cannot parse {SECRET}"),
        format!(r#"{{"message":"{SECRET}","request_id":"{SECRET}"}}"#),
    ] {
        let error = answer(422, &body);
        let shown = format!("{error} {error:?} {:?}", error.body());
        assert!(!shown.contains("SYNTHETIC"), "{shown}");
        assert!(shown.contains("[redacted]"), "{shown}");
    }
}

#[test]
fn a_refusal_says_what_to_do_where_wacht_does_not() {
    for (status, body, expected) in [
        (
            401,
            r#"{"message":"no"}"#,
            "no (is the management key right?",
        ),
        (429, "slow", "slow (all management keys"),
        (503, "", "Service Unavailable (try again later)"),
    ] {
        let text = answer(status, body).to_string();
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(
        answer(401, "Invalid API key").to_string(),
        "Wacht answered 401 Unauthorized: Invalid API key"
    );
    assert_eq!(
        answer(404, "gone").to_string(),
        "Wacht answered 404 Not Found: gone"
    );
}

#[test]
fn errors_cross_threads() {
    fn crosses<T: StdError + Send + Sync + 'static>() {}
    crosses::<Error>();
}
