//! What an error says, and what it does not.

use std::error::Error as StdError;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::prelude::*;

use super::*;
use crate::client::redact::redact;

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
fn an_echoed_key_is_taken_out_in_whatever_way_it_is_escaped() {
    let secret = r#"sk_"live"\SYNTHETIC%41&amp;0123456789abcdefghijklmnopqrstuvwxyzAB"#;
    for (name, escaped) in escapes(secret) {
        for body in bodies(&escaped) {
            let shown = everything_shown(&body, secret);
            for text in &shown {
                assert!(!text.contains("SYNTHETIC"), "{name} in {body}: {text}");
            }
            assert!(
                shown.iter().any(|text| text.contains("[redacted]")),
                "{name} in {body}"
            );
        }
    }
}

#[test]
fn a_piece_of_a_key_is_taken_out_where_the_answer_was_cut_off_or_splits_it() {
    let (first, second) = SECRET.split_at(26);
    let far = "x".repeat(64 * 1024 - 20);
    for body in [
        format!("{far}{}", &SECRET[..20]),
        format!("key {}…", &SECRET[..30]),
        format!("key …{}", &SECRET[SECRET.len() - 43..]),
        format!(r#"{{"message":"{first}","request_id":"{second}"}}"#),
        format!(r#"{{"message":"{first}","details":{{"{second}":[]}}}}"#),
    ] {
        for text in everything_shown(&body, SECRET) {
            for piece in [&SECRET[..20], &SECRET[4..20], &SECRET[30..]] {
                assert!(!text.contains(piece), "{text}");
            }
        }
    }
}

#[test]
fn what_an_answer_means_is_not_for_the_key_to_say() {
    // Its beginning is that of the answer, which does not repeat it.
    let envelope = r#"{"allowed":false,"request_id":"req_1","reason":null}"#;
    let secret = format!("{}{}", &envelope[..33], "x".repeat(43));
    let status = StatusCode::UNAUTHORIZED;
    let error = Error::from_answer(status, &HeaderMap::new(), envelope.as_bytes(), &secret);
    assert!(error.is_invalid_key(), "{:?}", error.body());

    let gone = r#"{"errors":[{"message":"API key app not found","code":404}]}"#;
    let secret = format!("{}{}", &gone[..22], "x".repeat(43));
    let status = StatusCode::NOT_FOUND;
    let error = Error::from_answer(status, &HeaderMap::new(), gone.as_bytes(), &secret);
    assert!(error.is_app_not_found(), "{:?}", error.body());
}

proptest! {
    #[test]
    fn no_key_is_shown_however_it_is_echoed(
        secret in any_secret(),
        escape in any::<prop::sample::Index>(),
        body in any::<prop::sample::Index>(),
    ) {
        let (name, escaped) = escape.get(&escapes(&secret)).clone();
        let body = body.get(&bodies(&escaped)).clone();
        for text in everything_shown(&body, &secret) {
            prop_assert!(!text.contains(&secret), "{} in {}: {}", name, body, text);
        }
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

/// Visible ASCII, with more than its share of what escapes are made of.
fn any_secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[!-~]{12,80}",
        r#"["\\%&;u0-9a-f/xq]{12,60}"#,
        r#"[!-~]{1,20}[A-Za-z0-9_-]{43}"#
    ]
}

/// The ways in which a text is written into another.
fn escapes(secret: &str) -> Vec<(&'static str, String)> {
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let each = |form: &dyn Fn(u8) -> String| secret.bytes().map(form).collect::<String>();
    let html = secret
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;");
    vec![
        ("nothing", secret.to_owned()),
        ("JSON", json(secret)),
        ("JSON in JSON", json(&json(secret))),
        ("JSON three times", json(&json(&json(secret)))),
        ("JSON with slashes", json(secret).replace('/', "\\/")),
        ("lower-case unicode", each(&|byte| format!("\\u{byte:04x}"))),
        ("upper-case unicode", each(&|byte| format!("\\u{byte:04X}"))),
        (
            "unicode in JSON",
            json(&each(&|byte| format!("\\u{byte:04x}"))),
        ),
        ("Debug", format!("{secret:?}")),
        ("bytes", secret.as_bytes().escape_ascii().to_string()),
        ("hexadecimal", each(&|byte| format!("\\x{byte:02x}"))),
        (
            "a URL",
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        ),
        ("all of a URL", each(&|byte| format!("%{byte:02X}"))),
        ("HTML", html.clone()),
        ("HTML in JSON", json(&html)),
        ("all of HTML", each(&|byte| format!("&#{byte};"))),
        (
            "all of HTML in hexadecimal",
            each(&|byte| format!("&#x{byte:X};")),
        ),
    ]
}

/// The places where an answer may have it.
fn bodies(escaped: &str) -> Vec<String> {
    vec![
        escaped.to_owned(),
        format!("cannot parse `{escaped}`\n"),
        format!("<pre>{escaped}</pre>{escaped}"),
        format!(r#"{{"message":"{escaped}"}}"#),
        format!(r#"{{"error":{{"message":"no {escaped}!"}}}}"#),
        format!(r#"{{"errors":[{{"message":"no","code":"{escaped}"}}],"request_id":"{escaped}"}}"#),
        format!(r#"{{"message":"no","details":{{"{escaped}":["{escaped}"]}}}}"#),
        format!("[\"{escaped}\""),
    ]
}

/// All texts of the error that comes of an answer, also as who reads them would unescape them.
fn everything_shown(body: &str, secret: &str) -> Vec<String> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = body.replace('\n', " ").parse() {
        headers.insert("x-request-id", value);
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let error = Error::from_answer(status, &headers, body.as_bytes(), secret);
    let mut shown = vec![
        error.to_string(),
        format!("{error:?}"),
        format!("{error:#?}"),
    ];
    let Error::Api {
        message,
        request_id,
        body,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    if let Ok(json) = serde_json::from_str::<Value>(&body) {
        strings(&json, &mut shown);
    }
    shown.extend([message, request_id.unwrap_or_default(), body]);
    for once in shown.clone() {
        if let Ok(text) = serde_json::from_str::<String>(&format!("\"{once}\"")) {
            shown.push(text);
        }
        shown.push(percent_decode_str(&once).decode_utf8_lossy().into_owned());
        shown.push(
            once.replace("&quot;", "\"")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&#39;", "'")
                .replace("&amp;", "&"),
        );
    }
    shown
}

fn strings(json: &Value, found: &mut Vec<String>) {
    match json {
        Value::String(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| strings(value, found)),
        Value::Object(members) => {
            for (name, value) in members {
                found.push(name.clone());
                strings(value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn an_answer_that_is_made_to_be_searched_for_long_is_not_shown() {
    let secret = "A".repeat(512);
    let echoed = "AAAAAAAAAAA/".repeat(5_000);
    for text in [&echoed, &format!(r#"{{"message":"{echoed}"}}"#)] {
        assert!(redact(text, &secret) == "[redacted]");
    }
    // Escaped over and over, there is an end to the ways of reading it.
    for (sign, escape) in [("%", "25"), ("&", "amp;")] {
        let secret = format!("{}{}", sign.repeat(469), "A".repeat(43));
        let echoed = format!("/{sign}{}", escape.repeat(1_000));
        assert!(redact(&echoed, &secret) == echoed);
    }
    // As long, and as it comes.
    let plain = "GET /orders/17?page=2 ".repeat(3_000);
    assert!(redact(&plain, &format!("sk_{}", "aB3-".repeat(11))) == plain);
}
