//! The dev gateway answers as the recorded instance did, and breaks on request.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use wacht_auth::dev::{DevGateway, DevKey, DevRule, Fault, ManualClock, On};

const PLAIN: &str = "dk_test_SYNTHETIC-plain-000000000000000000000000000";
const NOW: Duration = Duration::from_secs(1_800_000_000);

// === Recorded answers ===

#[tokio::test]
async fn gateway_answers_have_the_recorded_shapes() {
    let gateway = recorded_world().await;
    let lines = lines(include_str!("../wire/gateway.jsonl"));
    // Up to the OAuth tokens, every line needs no more than the world above.
    let replayed = lines
        .iter()
        .take_while(|line| line["name"] != "oauth_plain");
    let mut count = 0;
    for line in replayed {
        if line["request"]["body"]
            .as_str()
            .is_some_and(|body| body.contains("...<"))
        {
            continue;
        }
        assert_answers_as_recorded(&gateway, line).await;
        count += 1;
    }
    assert!(count > 100, "only {count} lines were replayed");
}

#[tokio::test]
async fn management_answers_have_the_recorded_shapes() {
    let gateway = recorded_world().await;
    let lines = lines(include_str!("../wire/management.jsonl"));
    let by_name: BTreeMap<&str, &Value> = lines
        .iter()
        .map(|line| (line["name"].as_str().unwrap(), line))
        .collect();
    for name in [
        "no_auth",
        "auth_lower_bearer",
        "auth_unknown",
        "auth_short",
        "not_found_route",
        "apps_list",
        "apps_list_inactive",
        "apps_search",
        "apps_search_partial",
        "apps_limit_bad",
        "apps_limit_0",
        "apps_limit_huge",
        "app_get",
        "app_get_missing",
        "app_create_min",
        "app_create_dup",
        "app_create_unknown_field",
        "app_create_missing",
        "app_create_empty_slug",
        "app_create_weird_slug",
        "app_create_bad_json",
        "app_create_unknown_scheme",
        "app_create_org_nouser",
        "app_patch",
        "app_patch_null",
        "app_patch_empty",
        "app_patch_missing",
        "scheme_create",
        "scheme_create_full",
        "scheme_dup",
        "scheme_norules",
        "scheme_emptyname",
        "scheme_missing_rules",
        "scheme_bad_unit",
        "scheme_bad_mode",
        "scheme_null_mode",
        "scheme_rule_dur0",
        "scheme_rule_durneg",
        "scheme_rule_max0",
        "scheme_rule_maxneg",
        "scheme_rule_max_over_i32",
        "scheme_rule_durfloat",
        "scheme_rule_durstr",
        "scheme_rule_ms60000",
        "scheme_rule_ms60001",
        "scheme_rule_sec1800",
        "scheme_rule_sec1801",
        "scheme_rule_min1440",
        "scheme_rule_hour720",
        "scheme_rule_day31",
        "scheme_rule_cday2",
        "scheme_rule_month2",
        "scheme_rule_month1",
        "scheme_rule_hour_over",
        "scheme_patch",
        "scheme_patch_empty_rules",
        "scheme_patch_emptyname",
        "scheme_patch_noop",
        "scheme_patch_slug_ignored",
        "scheme_patch_missing",
        "key_create_missing_app",
        "key_create_inactive_app",
        "keys_list_missing_app",
    ] {
        assert_answers_as_recorded(&gateway, by_name[name]).await;
    }

    // Keys of an app with a scheme, whose ids are ours.
    gateway
        .app("t-full")
        .scheme([DevRule::per_key(2, "second", 1)]);
    for name in [
        "key_create_min",
        "key_create_full",
        "key_create_past_expiry",
        "key_create_bad_expiry",
        "key_create_noname",
        "key_create_emptyname",
        "keys_list",
        "keys_list_inactive",
        "key_create_meta_string",
        "key_revoke_badid",
        "key_revoke_unknown",
    ] {
        assert_answers_as_recorded(&gateway, by_name[name]).await;
    }
    let key = gateway.issue_key("t-full").issue().key_id();
    for (name, path) in [
        (
            "key_revoke_nobody",
            format!("/api-auth/apps/t-full/keys/{key}/revoke"),
        ),
        (
            "key_revoke_wrong_app",
            format!("/api-auth/apps/billing-api/keys/{key}/revoke"),
        ),
        (
            "key_revoke",
            format!("/api-auth/apps/t-full/keys/{key}/revoke"),
        ),
        (
            "key_revoke_twice",
            format!("/api-auth/apps/t-full/keys/{key}/revoke"),
        ),
        (
            "key_rotate_again_on_old",
            format!("/api-auth/apps/t-full/keys/{key}/rotate"),
        ),
        (
            "scheme_delete_in_use",
            "/api-auth/rate-limit-schemes/t-full-limits".to_owned(),
        ),
        (
            "scheme_delete_again",
            "/api-auth/rate-limit-schemes/none".to_owned(),
        ),
        ("app_delete_with_keys", "/api-auth/apps/t-full".to_owned()),
    ] {
        let mut line = by_name[name].clone();
        line["request"]["path"] = json!(path);
        assert_answers_as_recorded(&gateway, &line).await;
    }
}

#[tokio::test]
async fn rate_limited_and_oauth_answers_have_the_recorded_shapes() {
    let gateway = DevGateway::start().await;
    gateway.app("a").scheme([
        DevRule::per_key(2, "day", 1).priority(1),
        DevRule::per_key(2, "minute", 1).priority(2),
    ]);
    let key = gateway.issue_key("a").issue();
    for _ in 0..2 {
        assert_eq!(check(&gateway, &key).await["allowed"], true);
    }
    let answer = check(&gateway, &key).await;
    let lines = lines(include_str!("../wire/gateway.jsonl"));
    let recorded =
        |name: &str| &lines.iter().find(|line| line["name"] == name).unwrap()["response"]["body"];
    assert_same_shape(
        "seq_multi_twoblock_4",
        recorded("seq_multi_twoblock_4"),
        &answer,
    );
    assert_eq!(answer["blocked_rule"], "2/86400s", "the first by priority");
    assert_eq!(answer["retry_after"], 60_000, "the shortest window");

    let token = gateway
        .app("t")
        .user_id(5001)
        .issue_token()
        .scopes(["read"])
        .mapped_permissions(["org:read"])
        .granted_resource("urn:wacht:organization:6001")
        .issue();
    gateway.app("t").scheme([DevRule::per_app(3, "minute", 1)]);
    let asked = json!({
        "principal": { "type": "oauth_access_token", "value": token.secret() },
        "resource": "/x", "method": "GET",
    });
    let (status, answer) = post_check(&gateway, &asked).await;
    assert_eq!(status, 200);
    assert_same_shape("oauth_org", recorded("oauth_org"), &answer);
    assert_eq!(answer["permissions"], json!(["org:read", "read"]));
    assert!(gateway.revoke_token(&token));
    let (status, answer) = post_check(&gateway, &asked).await;
    assert_eq!(status, 401);
    assert_same_shape("oauth_revoked", recorded("oauth_revoked"), &answer);
}

// === Keys, limits, time ===

#[tokio::test]
async fn a_key_passes_until_it_is_revoked_expired_or_its_app_is_gone() {
    let gateway = DevGateway::start().await;
    let issue = |app: &str| gateway.issue_key(app).issue();
    let (revoked, expired, paused, orphan) = (issue("a"), issue("a"), issue("b"), issue("c"));
    let stranger = gateway.other_deployment().issue_key("a").issue();
    for key in [&revoked, &expired, &paused, &orphan, &stranger] {
        assert_eq!(check(&gateway, key).await["allowed"], true);
    }
    let seen = check(&gateway, &stranger).await["identity"]["deployment_id"].clone();
    assert_ne!(seen, json!(gateway.deployment_id().to_string()));

    assert!(gateway.revoke(revoked.key_id()));
    assert!(!gateway.revoke(revoked.key_id()), "it is revoked already");
    assert!(gateway.expire(expired.key_id()));
    gateway.set_app_active("b", false);
    gateway.delete_app("c");
    gateway.app("c");
    for key in [&revoked, &paused, &orphan] {
        assert_eq!(check(&gateway, key).await, "Invalid API key");
    }
    assert_eq!(check(&gateway, &expired).await["allowed"], false);
    gateway.set_app_active("b", true);
    assert_eq!(check(&gateway, &paused).await["allowed"], true);
}

#[tokio::test]
async fn windows_expiry_and_revocation_lag_follow_the_gateways_clock() {
    let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
    let gateway = DevGateway::start()
        .await
        .clock(&clock)
        .revocation_lag(Duration::from_secs(60));
    gateway.app("a").scheme([DevRule::per_app(1, "minute", 1)]);
    let key = gateway.issue_key("a").issue();
    assert_eq!(check(&gateway, &key).await["allowed"], true);
    assert_eq!(check(&gateway, &key).await["reason"], "rate_limited");
    assert!(gateway.revoke(key.key_id()));
    clock.advance(Duration::from_secs(59));
    assert_eq!(
        check(&gateway, &key).await["reason"],
        "rate_limited",
        "the yes still stands"
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(check(&gateway, &key).await, "Invalid API key");

    let end = chrono::DateTime::from_timestamp(1_800_000_000 + 120, 0).unwrap();
    let ending = gateway.issue_key("b").expires_at(end).issue();
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        check(&gateway, &ending).await["allowed"],
        true,
        "valid up to its last moment"
    );
    clock.advance(Duration::from_millis(1));
    assert_eq!(check(&gateway, &ending).await["allowed"], false);
}

#[tokio::test]
async fn counters_are_per_key_and_path_or_per_address_as_the_mode_says() {
    let gateway = DevGateway::start().await;
    gateway.app("a").scheme([DevRule::per_key(1, "hour", 1)]);
    let (one, two) = (
        gateway.issue_key("a").issue(),
        gateway.issue_key("a").issue(),
    );
    let asked = |key: &DevKey, resource: &str, ip: &str| {
        json!({
            "principal": { "type": "api_key", "value": key.secret() },
            "resource": resource, "method": "GET", "client_ip": ip,
        })
    };
    let allowed = async |body: Value| post_check(&gateway, &body).await.1["allowed"] == true;
    assert!(allowed(asked(&one, "/a", "::1")).await);
    assert!(!allowed(asked(&one, "/a?x", "::2")).await);
    assert!(allowed(asked(&one, "/b", "::1")).await);
    assert!(allowed(asked(&two, "/a", "::1")).await);

    gateway.set_scheme(
        "a",
        [DevRule::per_app_and_ip(1, "hour", 1).endpoints(["/limited"])],
    );
    assert!(allowed(asked(&one, "/limited", "::1")).await);
    assert!(!allowed(asked(&two, "/limited", "::1")).await);
    assert!(allowed(asked(&two, "/limited", "::2")).await);
    assert!(
        allowed(asked(&two, "/free", "::1")).await,
        "no rule is for this resource"
    );

    gateway.set_scheme("a", [DevRule::per_app(0, "fortnight", 1)]);
    assert!(
        allowed(asked(&one, "/a", "::1")).await,
        "a scheme nobody can read limits nothing"
    );
    let app = management(&gateway, "GET", "/api-auth/apps/a").await.1;
    assert_eq!(app["rate_limits"][0]["unit"], "fortnight");
}

#[tokio::test]
async fn a_management_key_sees_its_own_deployment_only() {
    let gateway = DevGateway::start().await;
    gateway.app("ours");
    let other = gateway.other_deployment();
    other.app("theirs");
    let (status, page) = management(&gateway, "GET", "/api-auth/apps").await;
    assert_eq!((status, page["data"].as_array().unwrap().len()), (200, 1));
    assert_eq!(page["data"][0]["app_slug"], "ours");
    let (status, _) = management(&gateway, "GET", "/api-auth/apps/theirs").await;
    assert_eq!(status, 404);
    gateway.app("a b/c");
    let (status, app) = management(&gateway, "GET", "/api-auth/apps/a%20b%2Fc").await;
    assert_eq!((status, &app["app_slug"]), (200, &json!("a b/c")));
}

// === Journal, faults, life ===

#[tokio::test]
async fn the_journal_shows_what_was_asked_and_no_secret() {
    let gateway = DevGateway::start().await;
    let key = gateway.issue_key("a").issue();
    check(&gateway, &key).await;
    management(&gateway, "GET", "/api-auth/apps?limit=1").await;
    let journal = gateway.journal();
    assert_eq!((journal.checks(), journal.management_calls()), (1, 1));
    assert_eq!(journal.count("GET", "/api-auth/apps"), 1);
    let entries = journal.entries();
    assert!(entries[0].header("authorization").is_none());
    let asked = entries[0].check.as_ref().unwrap();
    assert_eq!(
        (asked.resource.as_str(), &asked.key_sha256),
        ("/orders", &key.sha256())
    );
    assert_eq!(asked.members, ["method", "principal", "resource"]);
    assert_eq!(entries[1].query.as_deref(), Some("limit=1"));
    assert_eq!(entries[1].status, Some(200));
    let shown = format!(
        "{gateway:?} {journal:?} {key:?} {:?}",
        gateway.issue_key("a").secret(PLAIN)
    );
    for secret in [key.secret(), gateway.management_key(), PLAIN] {
        assert!(!shown.contains(secret), "{shown}");
    }
    journal.clear();
    assert_eq!(journal.checks(), 0);
}

#[tokio::test]
async fn faults_happen_in_order_where_they_were_set() {
    let gateway = DevGateway::start().await;
    let key = gateway.issue_key("a").issue();
    gateway.fault_times(On::Checks, Fault::Status(503), 2);
    gateway.fault_times(
        On::Checks,
        Fault::body(200, "application/json", "{\"allowed\":"),
        1,
    );
    gateway.fault_times(On::Checks, Fault::Redirect("http://127.0.0.1:9/".into()), 1);
    gateway.fault_times(On::Checks, Fault::Huge(100_000), 1);
    gateway.fault_times(On::Checks, Fault::SlowDrip(Duration::ZERO), 1);
    gateway.fault_times(On::Path("/api-auth/apps".into()), Fault::Status(500), 1);

    let mut answers = Vec::new();
    for _ in 0..6 {
        let response = send(&gateway, check_request(&gateway, &key)).await.unwrap();
        let location = response.headers().get("location").cloned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        answers.push((status, body.len(), location.is_some()));
    }
    assert_eq!(answers[..2], [(503, 19, false), (503, 19, false)]);
    assert_eq!(
        answers[2..5],
        [(200, 11, false), (307, 0, true), (200, 100_000, false)]
    );
    assert!(answers[5].1 > 300, "a whole answer, however slow");
    assert_eq!(management(&gateway, "GET", "/api-auth/apps/a").await.0, 200);
    let (status, error) = management(&gateway, "GET", "/api-auth/apps").await;
    assert_eq!((status, &error["errors"][0]["code"]), (500, &json!(500)));
    assert_eq!(
        check(&gateway, &key).await["allowed"],
        true,
        "all faults are used up"
    );
}

#[tokio::test]
async fn connections_are_dropped_halfway_or_refused() {
    let gateway = DevGateway::start().await;
    let key = gateway.issue_key("a").issue();
    gateway.fault_times(On::Checks, Fault::HalfAnswer, 1);
    let response = send(&gateway, check_request(&gateway, &key)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());

    gateway.fault_times(On::Checks, Fault::Drop, 1);
    assert!(send(&gateway, check_request(&gateway, &key)).await.is_err());
    assert_eq!(gateway.journal().entries()[1].status, None);

    gateway.refuse_connections(true);
    assert!(send(&gateway, check_request(&gateway, &key)).await.is_err());
    assert_eq!(
        gateway.journal().checks(),
        2,
        "the refused one never arrived"
    );
    gateway.refuse_connections(false);
    assert_eq!(check(&gateway, &key).await["allowed"], true);
}

#[tokio::test]
async fn held_answers_wait_for_their_release_and_were_decided_before() {
    let gateway = DevGateway::start().await;
    let key = gateway.issue_key("a").issue();
    let held = gateway.hold_checks();
    let flights: Vec<_> = (0..3)
        .map(|_| tokio::spawn(send(&gateway, check_request(&gateway, &key))))
        .collect();
    gateway.journal().wait_for_checks(3).await;
    assert!(
        gateway
            .journal()
            .entries()
            .iter()
            .all(|entry| entry.status.is_none())
    );
    // Management is not held.
    assert_eq!(management(&gateway, "GET", "/api-auth/apps").await.0, 200);
    gateway.revoke(key.key_id());
    held.release();
    for flight in flights {
        assert_eq!(flight.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(check(&gateway, &key).await, "Invalid API key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_the_gateway_once_the_journal_has_a_request_is_too_late_for_it() {
    let gateway = DevGateway::start().await;
    // Faults for others, all of which are looked at first: a decision takes its time.
    for _ in 0..200_000 {
        gateway.fault(On::Path(String::new()), Fault::Drop);
    }
    for arrived in 1..=10 {
        let key = gateway.issue_key("a").issue();
        let flight = tokio::spawn(send(&gateway, check_request(&gateway, &key)));
        // Not `wait_for_checks`: a task that has to be woken first might come too late anyway.
        while gateway.journal().checks() < arrived {
            std::hint::spin_loop();
        }
        gateway.revoke(key.key_id());
        assert_eq!(flight.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge_works() {
    let gateway = DevGateway::start().await;
    let key = gateway.issue_key("a").issue();
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let response = client.request(check_request(&gateway, &key)).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.status(), 200);
}

#[test]
fn it_outlives_the_runtime_it_was_started_on_and_stops_when_dropped() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let gateway = runtime().block_on(DevGateway::start());
    let address = gateway.url().trim_start_matches("http://").to_owned();
    let key = gateway.issue_key("a").issue();
    runtime().block_on(async {
        assert_eq!(check(&gateway, &key).await["allowed"], true);
        gateway.fault(On::Everything, Fault::Hang);
        let hanging = tokio::spawn(send(&gateway, check_request(&gateway, &key)));
        gateway.journal().wait_for_checks(2).await;
        drop(gateway);
        assert!(
            hanging.await.unwrap().is_err(),
            "open connections are closed"
        );
    });
    assert!(std::net::TcpStream::connect(address).is_err());
}

// === Helpers ===

/// The apps and keys that the recorded requests name.
async fn recorded_world() -> DevGateway {
    let gateway = DevGateway::start().await.clock(ManualClock::at(NOW));
    let generous = || [DevRule::per_app(1_000_000_000, "minute", 1)];
    let secret = |name: &str| format!("dk_test_SYNTHETIC-{name:0<33}");
    // Lists show the newest first, and the recorded ones begin with plain apps.
    gateway.app("app-user").user_id(5001).scheme(generous());
    gateway.app("app-default");
    gateway.app("app-inactive").set_active(false);
    // The recorded app shows no scheme; its keys had one of their own.
    gateway.app("billing-api").scheme(generous());
    let make = |name: &str, app: &str| {
        gateway
            .issue_key(app)
            .name(name)
            .secret(&secret(&format!("{name}-")))
    };
    let now = chrono::DateTime::from_timestamp(NOW.as_secs().cast_signed(), 0).unwrap();
    let _ = make("plain", "billing-api").issue();
    let _ = make("expiring-soon", "billing-api")
        .expires_at(now + Duration::from_secs(900))
        .issue();
    let _ = make("expired", "billing-api")
        .expires_at(now - Duration::from_secs(9))
        .issue();
    let revoked = make("revoked", "billing-api").issue();
    gateway.revoke(revoked.key_id());
    let _ = make("on-inactive-app", "app-inactive").issue();
    let _ = make("no-scheme", "app-default").issue();
    let _ = make("unknown-scheme", "app-default").issue();
    let in_organization = |key: wacht_auth::dev::IssueKey| {
        key.owner_user_id(5001)
            .organization_id(6001)
            .organization_membership_id(6101)
    };
    let in_workspace =
        |key: wacht_auth::dev::IssueKey| key.workspace_id(6501).workspace_membership_id(6601);
    let _ = in_organization(make("org-only", "billing-api"))
        .permissions(["org:read"])
        .issue();
    let _ = in_workspace(make("ws-only", "billing-api"))
        .owner_user_id(5001)
        .organization_id(6001)
        .permissions(["ws:write"])
        .issue();
    let _ = in_workspace(in_organization(make("roles", "app-user")))
        .permissions(["items:read", "zeta"])
        .role_permissions(["org:read", "ws:write"])
        .issue();
    let meta = json!({ "nested": { "a": 1 }, "region": "eu", "seats": 5, "tier": "gold" });
    let _ = make("meta", "billing-api").metadata(meta).issue();
    let _ = make("meta-newline", "billing-api")
        .name("line\nbreak")
        .permissions(["p\nq", "r"])
        .metadata(json!({ "x": "a\nb" }))
        .issue();
    let _ = make("meta-array", "billing-api")
        .metadata(json!(["not", "object"]))
        .issue();
    let _ = make("null-meta", "billing-api").issue();
    let odd = ["B".repeat(46), format!("s k!_{}", "D".repeat(43))];
    for secret in odd {
        let _ = gateway.issue_key("billing-api").secret(&secret).issue();
    }
    gateway
        .app("app-with-scheme")
        .scheme([DevRule::per_app(3, "hour", 1)]);
    let _ = make("app-scheme", "app-with-scheme").issue();
    let _ = make("on-deleted-app", "app-deleted").issue();
    gateway.delete_app("app-deleted");
    let permissions = ["a", "b", "items:read", "items:write"];
    let _ = make("perms", "billing-api")
        .permissions(permissions)
        .issue();
    gateway
}

fn lines(file: &str) -> Vec<Value> {
    file.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) async fn assert_answers_as_recorded(gateway: &DevGateway, line: &Value) {
    let (name, request, recorded) = (&line["name"], &line["request"], &line["response"]);
    let mut sent = Request::builder()
        .method(request["method"].as_str().unwrap())
        .uri(format!(
            "{}{}",
            gateway.url(),
            request["path"].as_str().unwrap()
        ));
    for (header, value) in request["headers"].as_object().unwrap() {
        let mut value = value.as_str().unwrap().to_owned();
        if value.contains("<management key>") && name != "auth_lower_bearer" {
            value = format!("Bearer {}", gateway.management_key());
        } else if name == "auth_lower_bearer" {
            value = format!("bearer {}", gateway.management_key());
        }
        sent = sent.header(header, value);
    }
    let has_json = request["headers"]
        .as_object()
        .unwrap()
        .keys()
        .any(|k| k.eq_ignore_ascii_case("content-type"));
    let body = match &request["body"] {
        Value::Null if has_json => "null".to_owned(),
        Value::Null => String::new(),
        Value::String(raw) => raw.clone(),
        body => body.to_string(),
    };
    let response = send(gateway, sent.body(Full::from(body)).unwrap())
        .await
        .unwrap();

    assert_eq!(response.status().as_u16(), recorded["status"], "{name}");
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    for name_of in ["content-type", "allow"] {
        let expected = recorded["headers"][name_of].as_str().map(str::to_owned);
        assert_eq!(header(name_of), expected, "{name}: {name_of}");
    }
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    match &recorded["body"] {
        Value::String(text) => {
            // The texts of deserialisation errors begin alike; the rest is the library's.
            let answer = std::str::from_utf8(&answer).unwrap();
            let (expected, _) = text.split_once(": ").unwrap_or((text, ""));
            assert!(answer.starts_with(expected), "{name}: {answer}");
        }
        Value::Null => assert!(answer.is_empty(), "{name}"),
        expected => {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_same_shape(name.as_str().unwrap(), expected, &answer);
            for told in [
                "allowed",
                "reason",
                "blocked_rule",
                "permissions",
                "metadata",
                "errors",
            ] {
                if !expected[told].is_null() {
                    assert_eq!(answer[told], expected[told], "{name}: {told}");
                }
            }
        }
    }
}

/// The same members and the same types all the way down; of lists, the first items.
pub(crate) fn assert_same_shape(at: &str, expected: &Value, answer: &Value) {
    match (expected, answer) {
        (Value::Object(expected), Value::Object(answer)) => {
            // What hangs on the recorded app having no scheme of its own is left out.
            let names = |object: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = object.keys().cloned().collect();
                names.retain(|name| name != "rate_limit_scheme_slug");
                names.sort();
                names
            };
            assert_eq!(names(answer), names(expected), "{at}");
            for (name, expected) in expected {
                if let Some(answer) = answer.get(name) {
                    assert_same_shape(&format!("{at}.{name}"), expected, answer);
                }
            }
        }
        (Value::Array(expected), Value::Array(answer)) => {
            if let (Some(expected), Some(answer)) = (expected.first(), answer.first()) {
                assert_same_shape(&format!("{at}[0]"), expected, answer);
            }
        }
        (expected, answer) => assert_eq!(
            std::mem::discriminant(expected),
            std::mem::discriminant(answer),
            "{at}: {expected} against {answer}"
        ),
    }
}

fn check_request(gateway: &DevGateway, key: &DevKey) -> Request<Full<Bytes>> {
    let principal = json!({ "type": "api_key", "value": key.secret() });
    request_check(
        gateway,
        &json!({ "principal": principal, "resource": "/orders", "method": "GET" }),
    )
}

fn request_check(gateway: &DevGateway, body: &Value) -> Request<Full<Bytes>> {
    Request::post(format!("{}/v1/authz/check", gateway.url()))
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

pub(crate) async fn post_check(gateway: &DevGateway, body: &Value) -> (u16, Value) {
    read(send(gateway, request_check(gateway, body)).await.unwrap()).await
}

pub(crate) async fn check(gateway: &DevGateway, key: &DevKey) -> Value {
    read(send(gateway, check_request(gateway, key)).await.unwrap())
        .await
        .1
}

pub(crate) async fn management(gateway: &DevGateway, method: &str, path: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", gateway.url()))
        .header(
            "authorization",
            format!("Bearer {}", gateway.management_key()),
        )
        .body(Full::default())
        .unwrap();
    read(send(gateway, request).await.unwrap()).await
}

async fn read(response: Response<hyper::body::Incoming>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    (
        status,
        serde_json::from_slice(&body).unwrap_or_else(|_| text()),
    )
}

/// One connection for each request, so that none is found closed by an earlier fault.
fn send(
    _gateway: &DevGateway,
    request: Request<Full<Bytes>>,
) -> impl Future<Output = Result<Response<hyper::body::Incoming>, hyper_util::client::legacy::Error>>
+ Send
+ use<> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    async move { client.request(request).await }
}

#[tokio::test]
async fn its_client_speaks_to_it() {
    let gateway = DevGateway::start().await;
    for n in 0..120 {
        gateway.app(&format!("app-{n}"));
    }
    let apps = gateway
        .client()
        .api_keys()
        .list_api_auth_apps()
        .send()
        .await
        .unwrap();
    assert_eq!(apps.len(), 120);
    assert_eq!(
        gateway.journal().count("GET", "/api-auth/apps"),
        2,
        "pages of a hundred"
    );
    let stranger = gateway.client_with("sk_nobody");
    assert!(
        stranger
            .api_keys()
            .list_api_auth_apps()
            .send()
            .await
            .is_err()
    );
}
