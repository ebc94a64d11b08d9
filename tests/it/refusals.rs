//! The whole table of refusals: what a stranger is told, to the last header.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use wacht_auth::dev::DevRule;
use wacht_auth::{
    CredentialSource, Rejection, RejectionKind, RequirePermissionsLayer, WachtAuthLayer,
    WachtClient,
};

use crate::scene::{Echo, Met, Scene, anonymous, get, met};

const KINDS: [RejectionKind; 7] = [
    RejectionKind::MissingCredential,
    RejectionKind::MalformedCredential,
    RejectionKind::InvalidKey,
    RejectionKind::PermissionDenied,
    RejectionKind::RateLimited,
    RejectionKind::Unavailable,
    RejectionKind::Misconfigured,
];

/// One row as a caller meets it.
struct Row {
    status: u16,
    grpc: &'static str,
    challenge: Option<&'static str>,
    retry_after: Option<&'static str>,
    limited: bool,
    title: &'static str,
    detail: &'static str,
}

fn row(kind: RejectionKind) -> Row {
    let row = |status, grpc, challenge, title, detail| Row {
        status,
        grpc,
        challenge,
        retry_after: None,
        limited: false,
        title,
        detail,
    };
    match kind {
        RejectionKind::MissingCredential => row(
            401,
            "16",
            Some(r#"Bearer realm="api""#),
            "Unauthorized",
            "This request carries no API key: send it as `Authorization: Bearer <key>`.",
        ),
        RejectionKind::MalformedCredential => row(
            400,
            "16",
            Some(r#"Bearer realm="api", error="invalid_request""#),
            "Bad Request",
            "The credentials of this request cannot be read: send exactly one API key, \
             as `Authorization: Bearer <key>`.",
        ),
        RejectionKind::InvalidKey => row(
            401,
            "16",
            Some(r#"Bearer realm="api", error="invalid_token""#),
            "Unauthorized",
            "This API key is not valid.",
        ),
        RejectionKind::PermissionDenied => row(
            403,
            "7",
            Some(r#"Bearer realm="api", error="insufficient_scope", scope="orders:write""#),
            "Forbidden",
            "This API key does not permit this request.",
        ),
        RejectionKind::RateLimited => Row {
            retry_after: Some("60"),
            limited: true,
            ..row(
                429,
                "8",
                None,
                "Too Many Requests",
                "A rate limit is reached: try again later.",
            )
        },
        RejectionKind::Unavailable => Row {
            retry_after: Some("1"),
            ..row(
                503,
                "14",
                None,
                "Service Unavailable",
                "API keys cannot be verified at the moment: try again later.",
            )
        },
        RejectionKind::Misconfigured => row(
            500,
            "13",
            None,
            "Internal Server Error",
            "This service is not set up to verify API keys.",
        ),
        other => panic!("no row for {other:?}"),
    }
}

type Options<'a> = &'a dyn Fn(WachtAuthLayer) -> WachtAuthLayer;

fn as_it_is(layer: WachtAuthLayer) -> WachtAuthLayer {
    layer
}

fn as_grpc(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let grpc = HeaderValue::from_static("application/grpc");
    request.headers_mut().insert(CONTENT_TYPE, grpc);
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    request
}

/// Provokes a refusal of this kind. `shape` is the last to touch the request.
async fn provoke(
    kind: RejectionKind,
    options: Options<'_>,
    shape: fn(Request<Full<Bytes>>) -> Request<Full<Bytes>>,
) -> Met {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = options(scene.layer());
    let (layer, request) = match kind {
        RejectionKind::MissingCredential => (layer, anonymous()),
        RejectionKind::MalformedCredential => {
            let mut twice = get(key.secret());
            let again = twice.headers()["authorization"].clone();
            twice.headers_mut().append("authorization", again);
            (layer, twice)
        }
        RejectionKind::InvalidKey => (layer, get(&unknown_key())),
        RejectionKind::PermissionDenied => {
            let layer = layer.require("orders:write").unwrap();
            (layer, get(key.secret()))
        }
        RejectionKind::RateLimited => {
            scene
                .wacht
                .set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
            Echo::behind(layer.clone())
                .get(key.secret())
                .await
                .assert_ok();
            (layer, get(key.secret()))
        }
        RejectionKind::Unavailable => {
            scene.wacht.refuse_connections(true);
            (layer, get(key.secret()))
        }
        RejectionKind::Misconfigured => {
            let unusable = WachtAuthLayer::new(WachtClient::new("a\nb"));
            (options(unusable), get(key.secret()))
        }
        other => panic!("{other:?} cannot be provoked"),
    };
    let echo = Echo::behind(layer);
    let met = echo.call(shape(request)).await;
    assert_eq!(echo.reached(), 0, "{kind:?}");
    assert_eq!(met.kind(), Some(kind), "{met:?}");
    met
}

async fn provoke_http(kind: RejectionKind, options: Options<'_>) -> Met {
    provoke(kind, options, |request| request).await
}

fn unknown_key() -> String {
    format!("sk_{}", "a".repeat(43))
}

fn fields(pairs: impl IntoIterator<Item = (HeaderName, &'static str)>) -> HeaderMap {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect()
}

#[tokio::test]
async fn every_http_refusal_has_its_row_and_no_header_beside_it() {
    for kind in KINDS {
        let met = provoke_http(kind, &as_it_is).await;
        let row = row(kind);
        let mut expected = fields([
            (CONTENT_TYPE, "application/problem+json"),
            (CACHE_CONTROL, "no-store"),
            (VARY, "authorization"),
        ]);
        expected.extend(fields(row.challenge.map(|text| (WWW_AUTHENTICATE, text))));
        expected.extend(fields(row.retry_after.map(|text| (RETRY_AFTER, text))));
        if row.limited {
            expected.extend(fields([
                (
                    HeaderName::from_static("ratelimit-policy"),
                    r#""per_key:1/60s";q=1;w=60"#,
                ),
                (
                    HeaderName::from_static("ratelimit"),
                    r#""per_key:1/60s";r=0;t=60"#,
                ),
            ]));
        }
        assert_eq!(met.headers, expected, "{kind:?}");
        assert_eq!(met.status.as_u16(), row.status, "{kind:?}");

        let mut problem = json!({
            "type": "about:blank",
            "title": row.title,
            "status": row.status,
            "detail": row.detail,
        });
        if row.limited {
            problem["type"] =
                "https://iana.org/assignments/http-problem-types#quota-exceeded".into();
            problem["violated-policies"] = json!(["per_key:1/60s"]);
        }
        let body: Value = serde_json::from_str(&met.body).unwrap();
        assert_eq!(body, problem, "{kind:?}");
    }
}

#[tokio::test]
async fn a_refusal_made_by_hand_answers_as_a_gate_does() {
    for kind in KINDS {
        let theirs = provoke_http(kind, &as_it_is).await;
        let made = wacht_auth::dev::rejection(kind).retry_after(Duration::from_secs(60));
        let made = made.build();
        let (parts, _) = anonymous().into_parts();
        let ours = Met::of(made.to_response(&parts).map(Full::new)).await;
        assert_eq!((made.kind(), ours.status), (kind, theirs.status));
        let waits = matches!(
            kind,
            RejectionKind::RateLimited | RejectionKind::Unavailable
        );
        assert_eq!(made.retry_after(), waits.then_some(Duration::from_secs(60)));
        // What only the gate and this very request decide: the wait, the limits, the scope.
        let told = |met: &Met| {
            let mut headers = met.headers.clone();
            let waits = headers.remove(RETRY_AFTER).is_some();
            headers.remove("ratelimit");
            headers.remove("ratelimit-policy");
            if kind == RejectionKind::PermissionDenied {
                headers.remove(WWW_AUTHENTICATE).unwrap();
            }
            (waits, headers)
        };
        assert_eq!(told(&ours), told(&theirs), "{kind:?}");
        if kind != RejectionKind::RateLimited {
            assert_eq!(ours.body, theirs.body);
        }
    }
}

#[tokio::test]
async fn every_grpc_refusal_has_its_row_and_no_body() {
    for kind in KINDS {
        let met = provoke(kind, &as_it_is, as_grpc).await;
        let row = row(kind);
        let mut expected = fields([
            (CONTENT_TYPE, "application/grpc"),
            (HeaderName::from_static("grpc-status"), row.grpc),
            (HeaderName::from_static("grpc-message"), row.detail),
            (CACHE_CONTROL, "no-store"),
            (VARY, "authorization"),
        ]);
        if let Some(seconds) = row.retry_after {
            let milliseconds = HeaderValue::try_from(format!("{seconds}000")).unwrap();
            expected.extend(fields([(RETRY_AFTER, seconds)]));
            expected.insert("grpc-retry-pushback-ms", milliseconds);
        }
        assert_eq!(met.headers, expected, "{kind:?}");
        assert_eq!(met.status, StatusCode::OK, "{kind:?}");
        assert_eq!(met.body, "", "{kind:?}");
    }
}

#[tokio::test]
async fn the_rejection_of_the_extensions_says_what_the_answer_says() {
    for kind in KINDS {
        let row = row(kind);
        for shape in [as_grpc, |request| request] {
            let met = provoke(kind, &as_it_is, shape).await;
            let rejection = met.refusal.unwrap();
            assert_eq!(rejection.kind().status().as_u16(), row.status);
            assert_eq!(rejection.kind().grpc_code().to_string(), row.grpc);
            assert_eq!(rejection.message(), row.detail);
            assert_eq!(rejection.to_string(), row.detail);
            let wait = rejection.retry_after();
            let told = row.retry_after.map(|text| text.parse().unwrap());
            assert_eq!(wait.is_some(), told.is_some(), "{kind:?}");
            if let (Some(wait), Some(told)) = (wait, told) {
                assert!(wait <= Duration::from_secs(told), "{kind:?}: {wait:?}");
                assert!(wait + Duration::from_secs(1) > Duration::from_secs(told));
            }
            let violated: Vec<_> = rejection.violated_policies().collect();
            assert_eq!(violated.is_empty(), !row.limited, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn why_a_key_is_invalid_shows_in_nothing() {
    let scene = Scene::new().await;
    let stranger = scene.wacht.other_deployment();
    stranger.app("orders");
    let stranger = stranger.issue_key("orders").issue();
    let elsewhere = scene.wacht.issue_key("invoices").issue();
    let revoked = scene.key();
    scene.wacht.revoke(revoked.key_id());
    let expired = scene.key();
    scene.wacht.expire(expired.key_id());
    let revoked_here = scene.key();
    let layer = scene.layer().app("orders");
    layer.handle().revoke_secret(revoked_here.secret());
    scene.wacht.app("closed").set_active(false);
    let of_closed_app = scene.wacht.issue_key("closed").issue();

    let echo = Echo::behind(layer);
    let unknown = unknown_key();
    let reference = echo.get(&unknown).await;
    reference.assert_refused(RejectionKind::InvalidKey);
    for (why, secret) in [
        ("known to be unknown", &*unknown),
        ("too short to be one", "short"),
        ("another customer's", stranger.secret()),
        ("another app's", elsewhere.secret()),
        ("revoked", revoked.secret()),
        ("revoked through the handle", revoked_here.secret()),
        ("expired", expired.secret()),
        ("of a deactivated app", of_closed_app.secret()),
    ] {
        // The second time the answer comes from what was remembered.
        for time in ["first", "second"] {
            let met = echo.get(secret).await;
            assert_eq!(met.kind(), Some(RejectionKind::InvalidKey), "{why}, {time}");
            assert_eq!(met.status, reference.status, "{why}, {time}");
            assert_eq!(met.headers, reference.headers, "{why}, {time}");
            assert_eq!(met.body, reference.body, "{why}, {time}");
            assert_eq!(
                format!("{:?}", met.refusal),
                format!("{:?}", reference.refusal),
                "{why}, {time}"
            );

            let met = echo.call(as_grpc(get(secret))).await;
            let told = |name| met.headers[name].to_str().unwrap();
            assert_eq!(told("grpc-status"), "16", "{why}, {time}");
            assert_eq!(
                told("grpc-message"),
                "This API key is not valid.",
                "{why}, {time}"
            );
        }
    }
    assert_eq!(echo.reached(), 0);
}

#[tokio::test]
async fn the_scope_is_named_only_where_a_list_of_scopes_can_say_it() {
    let scene = Scene::new().await;
    let key = scene.key();
    for (requirement, scope) in [
        ("orders:read", r#", scope="orders:read""#),
        (
            "orders:read AND orders:write",
            r#", scope="orders:read orders:write""#,
        ),
        ("orders:read OR orders:write", ""),
        ("orders:read AND (a OR b)", ""),
    ] {
        let echo = Echo::behind(scene.layer().require(requirement).unwrap());
        let met = echo.get(key.secret()).await;
        met.assert_refused(RejectionKind::PermissionDenied);
        assert_eq!(
            met.header("www-authenticate"),
            format!(r#"Bearer realm="api", error="insufficient_scope"{scope}"#)
        );
    }
    // Neither quotes nor backslashes are characters of a scope (RFC 6749, section 3.3).
    let requirement = [r#"say "please""#.replace(' ', "_")];
    let echo = Echo::behind(scene.layer().require(requirement).unwrap());
    let met = echo.get(key.secret()).await;
    assert_eq!(
        met.header("www-authenticate"),
        r#"Bearer realm="api", error="insufficient_scope""#
    );
}

#[tokio::test]
async fn a_realm_stays_within_its_quotes() {
    for (realm, quoted) in [
        ("shop", r#""shop""#),
        (r#"the "shop""#, r#""the \"shop\"""#),
        (r"back\slash", r#""back\\slash""#),
        (r#"", error="x"#, r#""\", error=\"x""#),
        ("two\r\nlines", r#""twolines""#),
        ("café", r#""caf""#),
        ("", r#""""#),
    ] {
        for kind in [RejectionKind::MissingCredential, RejectionKind::InvalidKey] {
            let met = provoke_http(kind, &|layer| layer.realm(realm)).await;
            let error = match kind {
                RejectionKind::InvalidKey => r#", error="invalid_token""#,
                _ => "",
            };
            assert_eq!(
                met.header("www-authenticate"),
                format!("Bearer realm={quoted}{error}")
            );
        }
        let met = provoke_http(RejectionKind::PermissionDenied, &|layer| layer.realm(realm)).await;
        assert_eq!(
            met.header("www-authenticate"),
            format!(r#"Bearer realm={quoted}, error="insufficient_scope", scope="orders:write""#)
        );
    }
}

#[tokio::test]
async fn a_house_answer_gets_the_headers_it_left_out() {
    let bare = |layer: WachtAuthLayer| {
        layer.on_reject(|rejection, parts| {
            let mut response = Response::new(Bytes::from(format!("no: {}", parts.uri)));
            *response.status_mut() = rejection.kind().status();
            response
        })
    };
    for kind in KINDS {
        let default = provoke_http(kind, &as_it_is).await;
        let met = provoke_http(kind, &bare).await;
        assert_eq!(met.body, "no: /items");
        let mut expected = default.headers;
        // What the body is, only its maker knows.
        expected.remove(CONTENT_TYPE);
        assert_eq!(met.headers, expected, "{kind:?}");
        assert_eq!(met.status, default.status);
    }
}

#[tokio::test]
async fn a_house_answer_keeps_the_headers_it_has_set() {
    let own = |layer: WachtAuthLayer| {
        layer.on_reject(|_, _| {
            let response = Response::builder()
                .status(StatusCode::IM_A_TEAPOT)
                .header(CACHE_CONTROL, "private, no-store")
                .header(WWW_AUTHENTICATE, "Key")
                .header(RETRY_AFTER, "7");
            response.body(Bytes::new()).unwrap()
        })
    };
    for kind in KINDS {
        let met = provoke_http(kind, &own).await;
        assert_eq!(met.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(met.header("cache-control"), "private, no-store");
        assert_eq!(met.header("www-authenticate"), "Key");
        assert_eq!(met.header("retry-after"), "7");
        let lines = met.headers.get_all(WWW_AUTHENTICATE).iter().count();
        assert_eq!(lines, 1);
    }
}

#[tokio::test]
async fn a_house_answer_that_varies_by_more_still_varies_by_the_credential() {
    for (own, expected) in [
        ("accept", &["accept", "authorization"][..]),
        ("accept, Authorization", &["accept, Authorization"][..]),
        ("*", &["*"][..]),
    ] {
        let layer = |layer: WachtAuthLayer| {
            layer.on_reject(move |rejection, parts| {
                let mut response = rejection.to_response(parts);
                let own = HeaderValue::from_static(own);
                response.headers_mut().insert(VARY, own);
                response
            })
        };
        let met = provoke_http(RejectionKind::InvalidKey, &layer).await;
        let lines: Vec<_> = met.headers.get_all(VARY).iter().collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn a_house_answer_is_not_for_grpc() {
    let own = |layer: WachtAuthLayer| {
        layer.on_reject(|_, _| Response::new(Bytes::from_static(b"not for you")))
    };
    for kind in KINDS {
        let default = provoke(kind, &as_it_is, as_grpc).await;
        let met = provoke(kind, &own, as_grpc).await;
        assert_eq!(met.headers, default.headers, "{kind:?}");
        assert_eq!(met.body, "", "{kind:?}");
    }
}

#[tokio::test]
async fn answers_vary_by_the_header_that_holds_the_key() {
    let scene = Scene::new().await;
    let key = scene.key();
    let in_header = || {
        let mut request = anonymous();
        let secret = HeaderValue::try_from(key.secret()).unwrap();
        request.headers_mut().insert("x-api-key", secret);
        request
    };

    let echo = Echo::behind(
        scene
            .layer()
            .credentials(CredentialSource::header("X-Api-Key").unwrap()),
    );
    let admitted = echo.call(in_header()).await;
    admitted.assert_ok();
    assert_eq!(admitted.header("vary"), "x-api-key");
    let refused = echo.call(anonymous()).await;
    refused.assert_refused(RejectionKind::MissingCredential);
    assert_eq!(refused.header("vary"), "x-api-key");

    let either = [
        CredentialSource::bearer(),
        CredentialSource::header("x-api-key").unwrap(),
    ];
    let echo = Echo::behind(scene.layer().credentials(either));
    for request in [in_header(), get(key.secret())] {
        let admitted = echo.call(request).await;
        admitted.assert_ok();
        assert_eq!(admitted.header("vary"), "authorization, x-api-key");
    }
    let refused = echo.call(anonymous()).await;
    assert_eq!(refused.header("vary"), "authorization, x-api-key");

    // Shared caches know about `Authorization` by themselves.
    let admitted = Echo::behind(scene.layer()).get(key.secret()).await;
    admitted.assert_ok();
    assert!(!admitted.headers.contains_key(VARY));
}

#[tokio::test]
async fn the_order_of_options_does_not_matter_to_the_answer() {
    let source = || CredentialSource::header("x-api-key").unwrap();
    let scene = Scene::new().await;
    for layer in [
        scene.layer().realm("shop").credentials(source()),
        scene.layer().credentials(source()).realm("shop"),
    ] {
        let met = Echo::behind(layer).call(anonymous()).await;
        let challenge = r#"ApiKey realm="shop", header="x-api-key""#;
        assert_eq!(met.header("www-authenticate"), challenge);
        assert_eq!(met.header("vary"), "x-api-key");
    }
}

#[tokio::test]
async fn a_guard_without_a_gate_answers_like_any_misconfigured_gate() {
    let guard = RequirePermissionsLayer::new("orders:read").unwrap();
    let inner = tower::service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let met = met(tower::Layer::layer(&guard, inner), anonymous()).await;
    let default = provoke_http(RejectionKind::Misconfigured, &as_it_is).await;
    assert_eq!(met.status, default.status);
    assert_eq!(met.headers, default.headers);
    assert_eq!(met.body, default.body);
    assert_eq!(met.kind(), Some(RejectionKind::Misconfigured));
}

#[tokio::test]
async fn no_refusal_repeats_the_key_or_the_words_of_the_gateway() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let secret = unknown_key();
    let canary = "canary-from-the-gateway";
    let answers = [
        (200, format!(r#"{{"allowed":false,"reason":"{canary}"}}"#)),
        (400, canary.to_owned()),
        (401, canary.to_owned()),
        (403, canary.to_owned()),
        (500, canary.to_owned()),
    ];
    for (status, text) in answers {
        let fault = wacht_auth::dev::Fault::body(status, "text/plain", text);
        scene
            .wacht
            .fault_times(wacht_auth::dev::On::Checks, fault, 1);
        for request in [get(&secret), as_grpc(get(&secret))] {
            layer.handle().invalidate_all();
            let met = Echo::behind(layer.clone()).call(request).await;
            let all = format!("{met:?}");
            assert!(met.refusal.is_some(), "{all}");
            assert!(!all.contains(canary), "{all}");
            assert!(!all.contains(&secret), "{all}");
        }
    }
}

#[tokio::test]
async fn the_answer_of_a_rejection_is_the_same_wherever_it_is_made() {
    let scene = Scene::new().await;
    let met = Echo::behind(scene.layer().realm("shop"))
        .call(anonymous())
        .await;
    let rejection: Rejection = met.refusal.unwrap();
    let (parts, _) = anonymous().into_parts();
    let again = rejection.to_response(&parts);
    assert_eq!(*again.headers(), met.headers);
    assert_eq!(again.status(), met.status);
    assert_eq!(again.body(), met.body.as_bytes());
}
