//! The calls about apps, keys, schemes and audit: what they send, refuse to send, and read.

use futures_util::{StreamExt, TryStreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::models::{
    AuditOutcome, CreateApiAuthAppRequest, CreateApiKeyRequest, CreateRateLimitSchemeRequest,
    GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery, RateLimit,
    RateLimitMode, RateLimitUnit, RevokeApiKeyRequest, UpdateApiAuthAppRequest,
    UpdateRateLimitSchemeRequest,
};
use wacht_auth::{Error, Result};

use super::{Canned, lines, recorded, with_status};

fn app_request(slug: &str) -> CreateApiAuthAppRequest {
    CreateApiAuthAppRequest {
        app_slug: slug.to_owned(),
        name: "Any".to_owned(),
        key_prefix: "sk_live".to_owned(),
        ..Default::default()
    }
}

fn limit() -> RateLimit {
    RateLimit {
        unit: RateLimitUnit::Minute,
        duration: 1,
        max_requests: 120,
        mode: Some(RateLimitMode::PerKey),
    }
}

fn scheme_request() -> CreateRateLimitSchemeRequest {
    CreateRateLimitSchemeRequest {
        slug: "internal-default".to_owned(),
        name: "Internal Default".to_owned(),
        description: None,
        rules: vec![limit()],
    }
}

fn key_request() -> CreateApiKeyRequest {
    CreateApiKeyRequest {
        name: "ci".to_owned(),
        ..Default::default()
    }
}

fn audit_row(request_id: &str) -> Value {
    json!({
        "request_id": request_id, "deployment_id": "7000000000000001", "app_slug": "billing",
        "key_id": "9007199254740993", "key_name": "ci", "outcome": "VALID",
        "blocked_by_rule": null, "client_ip": "203.0.113.9", "path": "GET /orders",
        "user_agent": null, "rate_limits": null, "timestamp": "2026-11-21T22:14:52.762229Z",
    })
}

#[tokio::test]
async fn all_seventeen_calls_about_keys_decode_their_answers() {
    let server = Canned::start().await;
    let client = server.client();
    let keys = client.api_keys();
    let lines = lines(include_str!("../../wire/management.jsonl"));
    let on_record = |name: &str| {
        let line = lines.iter().find(|line| line["name"] == name);
        line.unwrap_or_else(|| panic!("{name} is on record"))
    };
    let scheme = &on_record("scheme_get")["response"]["body"];
    let mut decoded = 0;

    macro_rules! decodes {
        ($answer:expr, $call:expr) => {{
            server.answer($answer);
            let answer = $call.send().await;
            assert!(answer.is_ok(), "{}: {answer:?}", stringify!($call));
            decoded += 1;
        }};
    }
    let from = |name| recorded(on_record(name));
    decodes!(from("apps_list"), keys.list_api_auth_apps().page(2, 0));
    decodes!(from("app_get"), keys.get_api_auth_app("a"));
    decodes!(
        from("app_create_min"),
        keys.create_api_auth_app(app_request("a"))
    );
    decodes!(
        from("app_patch"),
        keys.update_api_auth_app("a", UpdateApiAuthAppRequest::default())
    );
    decodes!(from("app_delete_with_keys"), keys.delete_api_auth_app("a"));
    decodes!(from("keys_list"), keys.list_api_keys("a"));
    decodes!(
        from("key_create_full"),
        keys.create_api_key("a", key_request())
    );
    decodes!(
        from("key_revoke"),
        keys.revoke_api_key("a", 1, RevokeApiKeyRequest::default())
    );
    decodes!(from("key_rotate"), keys.rotate_api_key("a", 1));
    decodes!(from("scheme_get"), keys.get_rate_limit_scheme("a"));
    decodes!(
        from("scheme_create_full"),
        keys.create_rate_limit_scheme(scheme_request())
    );
    decodes!(
        from("scheme_patch"),
        keys.update_rate_limit_scheme("a", UpdateRateLimitSchemeRequest::default())
    );
    // The recording has no list, no deletion that succeeds, and an instance without the database
    // of the audit: these are as documented.
    let list = json!({"schemes": [scheme], "total": 1});
    decodes!(
        with_status(200, list.to_string()),
        keys.list_rate_limit_schemes()
    );
    decodes!(with_status(204, ""), keys.delete_rate_limit_scheme("a"));
    let logs = json!({
        "data": [audit_row("req_1")], "limit": 100, "has_more": false, "next_cursor": "bmV4dA",
    });
    decodes!(
        with_status(200, logs.to_string()),
        keys.get_api_audit_logs("a", ListApiAuditLogsQuery::default())
    );
    let analytics = json!({
        "total_requests": 3, "allowed_requests": 2, "blocked_requests": 1, "success_rate": 66.7,
        "keys_used_24h": 1, "top_keys": [{"key_id": "1", "key_name": "ci", "total_requests": 3}],
        "blocked_reasons": [{"blocked_by_rule": "5/60s", "count": 1, "percentage": 100.0}],
        "rate_limit_stats": {"total_hits": 0, "percentage_of_blocked": 0},
    });
    decodes!(
        with_status(200, analytics.to_string()),
        keys.get_api_audit_analytics("a", GetApiAuditAnalyticsQuery::default())
    );
    let series = json!({
        "data": [{
            "timestamp": "2026-11-21T22:00:00Z", "total_requests": 3, "allowed_requests": 2,
            "blocked_requests": 1, "success_rate": 66.7,
        }],
        "interval": "hour",
    });
    decodes!(
        with_status(200, series.to_string()),
        keys.get_api_audit_timeseries("a", GetApiAuditTimeseriesQuery::default())
    );
    println!("{decoded} of 17 calls decode");
    assert_eq!(decoded, 17);
}

#[tokio::test]
async fn what_cannot_work_is_not_sent_unless_asked_for() {
    let server = Canned::start().await;
    let client = server.client();
    let keys = client.api_keys();
    server.answer(with_status(422, ""));
    let rules = |rules| CreateRateLimitSchemeRequest {
        rules,
        ..scheme_request()
    };
    let per_ip = RateLimit {
        mode: Some(RateLimitMode::PerIp),
        ..limit()
    };
    let short_prefix = CreateApiAuthAppRequest {
        key_prefix: "x".to_owned(),
        ..app_request("a")
    };
    let spaced_prefix = UpdateApiAuthAppRequest {
        key_prefix: Some(" sk".to_owned()),
        ..Default::default()
    };
    let comma = CreateApiKeyRequest {
        permissions: Some(vec!["a,b".to_owned()]),
        ..key_request()
    };
    let no_rules = UpdateRateLimitSchemeRequest {
        rules: Some(Vec::new()),
        ..Default::default()
    };
    let only_end = ListApiAuditLogsQuery {
        end_date: Some("2026-11-21T00:00:00Z".parse().unwrap()),
        ..Default::default()
    };

    macro_rules! refuses {
        ($call:expr) => {{
            let error = $call.send().await.unwrap_err();
            assert!(matches!(error, Error::InvalidRequest(_)), "{error:?}");
            assert!(server.take_asked().is_empty(), "{}", stringify!($call));
            let error = $call.unchecked().send().await.unwrap_err();
            assert_eq!(error.status(), Some(StatusCode::UNPROCESSABLE_ENTITY));
            assert_eq!(server.take_asked().len(), 1, "{}", stringify!($call));
        }};
    }
    refuses!(keys.create_api_auth_app(short_prefix.clone()));
    refuses!(keys.create_api_auth_app(app_request("aa_7000000000000001")));
    refuses!(keys.create_api_auth_app(app_request("oauth_5001")));
    refuses!(keys.create_api_auth_app(app_request("..")));
    refuses!(
        keys.create_api_auth_app(app_request("a"))
            .permissions(["a OR b"])
    );
    refuses!(keys.update_api_auth_app("a", spaced_prefix.clone()));
    refuses!(keys.create_api_key("a", comma.clone()));
    refuses!(keys.revoke_api_key("a", "key_123", RevokeApiKeyRequest::default()));
    refuses!(keys.rotate_api_key("a", "key_123"));
    refuses!(keys.create_rate_limit_scheme(rules(vec![per_ip.clone()])));
    refuses!(keys.create_rate_limit_scheme(rules(Vec::new())));
    refuses!(keys.update_rate_limit_scheme("a", no_rules.clone()));
    refuses!(keys.get_api_audit_logs("a", only_end.clone()));
}

#[tokio::test]
async fn a_segment_that_no_path_carries_is_never_sent() {
    let server = Canned::start().await;
    let keys = server.client().api_keys();
    for slug in ["", ".", ".."] {
        let request = RevokeApiKeyRequest::default();
        for result in [
            keys.delete_api_auth_app(slug).send().await,
            keys.delete_rate_limit_scheme(slug).send().await,
            keys.revoke_api_key(slug, 1, request.clone()).send().await,
            keys.revoke_api_key("a", slug, request)
                .unchecked()
                .send()
                .await,
        ] {
            assert!(matches!(result, Err(Error::InvalidRequest(_))), "{slug:?}");
        }
    }
    assert!(server.take_asked().is_empty());
}

#[tokio::test]
async fn a_request_says_only_what_it_was_told() {
    let server = Canned::start().await;
    server.answer(with_status(500, ""));
    let keys = server.client().api_keys();
    let sent = || -> Value { serde_json::from_slice(server.take_asked()[0].body()).unwrap() };

    let _ = keys
        .revoke_api_key("a", 1, RevokeApiKeyRequest::default())
        .send()
        .await;
    assert_eq!(
        sent(),
        json!({}),
        "Wacht wants a body even when there is nothing to say"
    );
    let _ = keys
        .update_api_auth_app("a", UpdateApiAuthAppRequest::default())
        .send()
        .await;
    assert_eq!(sent(), json!({}));
    let call = keys.create_api_auth_app(app_request("a"));
    let _ = call.user_id(5001).organization_id(6001).send().await;
    let members = json!({
        "app_slug": "a", "name": "Any", "key_prefix": "sk_live", "user_id": 5001,
        "organization_id": 6001,
    });
    assert_eq!(sent(), members);
    let ordered = CreateRateLimitSchemeRequest {
        slug: "s".to_owned(),
        name: "S".to_owned(),
        description: None,
        rules: vec![limit().with_endpoints(["/a"]).with_priority(2)],
    };
    let _ = keys.create_rate_limit_scheme(ordered).send().await;
    let rule = json!({
        "unit": "minute", "duration": 1, "max_requests": 120, "mode": "per_key",
        "endpoints": ["/a"], "priority": 2,
    });
    assert_eq!(sent(), json!({"slug": "s", "name": "S", "rules": [rule]}));
}

#[tokio::test]
async fn a_decode_error_names_the_member() {
    let server = Canned::start().await;
    let keys = server.client().api_keys();
    let mut bad = audit_row("req_2");
    bad["timestamp"] = json!("yesterday");
    let page = json!({"data": [audit_row("req_1"), bad], "has_more": false});
    server.answer(with_status(200, page.to_string()));
    let query = ListApiAuditLogsQuery::default();
    let Err(Error::Decode(error)) = keys.get_api_audit_logs("a", query).send().await else {
        panic!("an answer with a bad row must not decode");
    };
    assert_eq!(error.path(), Some("data[1].timestamp"));
    assert!(!error.to_string().contains("yesterday"), "{error}");

    let list = json!({"keys": [{"id": "x"}]});
    server.answer(with_status(200, list.to_string()));
    let Err(Error::Decode(error)) = keys.list_api_keys("a").send().await else {
        panic!("a list with a bad key must not decode, least of all to an empty list");
    };
    assert_eq!(error.path(), Some("keys[0].id"));
}

#[tokio::test]
async fn audit_logs_are_read_page_by_page_to_the_last_row() {
    let server = Canned::start().await;
    let keys = server.client().api_keys();
    let page = |rows: &[&str], has_more: bool| {
        let rows: Vec<Value> = rows.iter().map(|id| audit_row(id)).collect();
        let page = json!({
            "data": rows, "limit": 2, "has_more": has_more, "next_cursor": "bmV4dA",
        });
        with_status(200, page.to_string())
    };
    let query = ListApiAuditLogsQuery {
        outcome: Some(AuditOutcome::Blocked),
        offset: Some(1),
        ..Default::default()
    };
    server.answer(page(&["req_1", "req_2"], true));
    let mut rows = keys.get_api_audit_logs("a b", query).stream();
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(rows.try_next().await.unwrap().unwrap().request_id);
    }
    let asked = server.take_asked();
    assert_eq!(asked.len(), 1, "the next page is fetched when it is read");
    assert_eq!(
        asked[0].uri(),
        "/api-auth/apps/a%20b/audit/logs?limit=500&offset=1&outcome=blocked"
    );
    // A row was written meanwhile, so that one that was read has moved to this page. The last page
    // has a cursor too.
    server.answer(page(&["req_2", "req_3"], false));
    while let Some(row) = rows.try_next().await.unwrap() {
        assert_eq!(
            (row.outcome, row.key_id),
            (AuditOutcome::Allowed, 9_007_199_254_740_993)
        );
        ids.push(row.request_id);
    }
    assert_eq!(ids, ["req_1", "req_2", "req_3"]);
    let asked = server.take_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].uri(),
        "/api-auth/apps/a%20b/audit/logs?limit=500&offset=3&outcome=blocked"
    );
    assert!(rows.next().await.is_none());

    // A server that always promises more and never moves on.
    server.answer(page(&["req_1"], true));
    let mut rows = keys
        .get_api_audit_logs("a", ListApiAuditLogsQuery::default())
        .stream();
    assert!(matches!(rows.next().await, Some(Ok(_))));
    let Some(Err(Error::Decode(error))) = rows.next().await else {
        panic!("rows that are not all there must not look as if they were");
    };
    assert!(error.to_string().contains("larger `limit`"), "{error}");
    assert!(rows.next().await.is_none());
    assert_eq!(server.take_asked().len(), 11);

    server.answer(with_status(403, ""));
    let mut rows = keys
        .get_api_audit_logs("a", ListApiAuditLogsQuery::default())
        .stream();
    assert!(matches!(rows.next().await, Some(Err(Error::Api { .. }))));
    assert!(rows.next().await.is_none(), "nothing follows an error");

    // A cursor stands for no place that could be counted on from.
    server.take_asked();
    let query = ListApiAuditLogsQuery {
        cursor: Some("bmV4dA".to_owned()),
        ..Default::default()
    };
    let mut rows = keys.get_api_audit_logs("a", query).stream();
    let refused = rows.next().await;
    assert!(matches!(refused, Some(Err(Error::InvalidRequest(_)))));
    assert!(rows.next().await.is_none() && server.take_asked().is_empty());
}

#[tokio::test]
async fn a_key_lives_from_its_scheme_to_the_end_of_its_app() -> Result<()> {
    let gateway = DevGateway::start().await;
    let client = gateway.client();
    let keys = client.api_keys();

    let scheme = keys
        .create_rate_limit_scheme(scheme_request())
        .send()
        .await?;
    let rules = keys.list_rate_limit_schemes().send().await?.remove(0).rules;
    assert_eq!((rules.len(), rules[0].max_requests), (1, 120));
    let request = CreateApiAuthAppRequest {
        rate_limit_scheme_slug: Some(scheme.slug.clone()),
        ..app_request("my-integration")
    };
    let app = keys
        .create_api_auth_app(request)
        .permissions(["users:read"])
        .send()
        .await?;
    assert_eq!(app.rate_limits, rules);
    assert_eq!(app.permissions, ["users:read"]);
    let taken = keys
        .create_api_auth_app(app_request("my-integration"))
        .send()
        .await;
    assert_eq!(taken.unwrap_err().status(), Some(StatusCode::CONFLICT));

    let request = CreateApiKeyRequest {
        permissions: Some(vec!["users:read".to_owned()]),
        expires_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
        metadata: Some(json!({"environment": "production"})),
        ..key_request()
    };
    let key = keys.create_api_key(&app.app_slug, request).send().await?;
    let rotated = keys
        .rotate_api_key(&app.app_slug, key.key.id)
        .send()
        .await?;
    assert_ne!(rotated.secret, key.secret);
    assert_eq!(rotated.key.expires_at, key.key.expires_at);
    let reason = Some("no longer needed".to_owned());
    let request = RevokeApiKeyRequest { reason };
    let id = rotated.key.id.to_string();
    keys.revoke_api_key(&app.app_slug, &id, request.clone())
        .send()
        .await?;
    let twice = keys
        .revoke_api_key(&app.app_slug, &id, request)
        .send()
        .await;
    assert!(twice.unwrap_err().is_not_found());
    assert!(keys.list_api_keys(&app.app_slug).send().await?.is_empty());
    let all = keys
        .list_api_keys(&app.app_slug)
        .include_inactive(true)
        .send()
        .await?;
    let reasons: Vec<_> = all
        .iter()
        .filter_map(|key| key.revoked_reason.as_deref())
        .collect();
    assert_eq!(reasons, ["no longer needed", "Rotated"]);

    let in_use = keys.delete_rate_limit_scheme(&scheme.slug).send().await;
    assert_eq!(in_use.unwrap_err().status(), Some(StatusCode::BAD_REQUEST));
    let off = UpdateApiAuthAppRequest {
        is_active: Some(false),
        ..Default::default()
    };
    assert!(
        !keys
            .update_api_auth_app(&app.app_slug, off)
            .send()
            .await?
            .is_active
    );
    keys.delete_api_auth_app(&app.app_slug).send().await?;
    assert!(
        keys.get_api_auth_app(&app.app_slug)
            .send()
            .await
            .unwrap_err()
            .is_not_found()
    );
    let update = UpdateRateLimitSchemeRequest {
        name: Some("Other".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        keys.update_rate_limit_scheme(&scheme.slug, update)
            .send()
            .await?
            .name,
        "Other"
    );
    keys.delete_rate_limit_scheme(&scheme.slug).send().await?;
    assert!(
        keys.get_rate_limit_scheme(&scheme.slug)
            .send()
            .await
            .unwrap_err()
            .is_not_found()
    );
    Ok(())
}

#[tokio::test]
async fn the_words_of_the_local_checks_are_those_of_the_management_api() {
    let gateway = DevGateway::start().await;
    gateway.app("a").scheme([DevRule::per_key(1, "minute", 1)]);
    let keys = gateway.client().api_keys();
    for (unit, duration, max_requests) in [
        (RateLimitUnit::Minute, 0, 5),
        (RateLimitUnit::Minute, 1, 0),
        (RateLimitUnit::Millisecond, 60_001, 5),
        (RateLimitUnit::Second, 1801, 5),
        (RateLimitUnit::Minute, 1441, 5),
        (RateLimitUnit::Hour, 721, 5),
        (RateLimitUnit::Day, 31, 5),
        (RateLimitUnit::CalendarDay, 2, 5),
        (RateLimitUnit::Month, 2, 5),
        (RateLimitUnit::CalendarMonth, 2, 5),
        (RateLimitUnit::Minute, i32::MAX, 5),
        (RateLimitUnit::CalendarDay, 31, 5),
    ] {
        let rule = RateLimit {
            unit,
            duration,
            max_requests,
            mode: None,
        };
        let call = keys.create_rate_limit_scheme(CreateRateLimitSchemeRequest {
            rules: vec![rule.clone()],
            ..scheme_request()
        });
        let ours = call.clone().send().await.unwrap_err().to_string();
        let Err(Error::Api { message, .. }) = call.unchecked().send().await else {
            panic!("{rule:?} must be refused");
        };
        assert_eq!(
            ours,
            format!("invalid request: rules[0]: {message}"),
            "{rule:?}"
        );
    }
    assert_eq!(
        gateway
            .journal()
            .count(Method::POST.as_str(), "/api-auth/rate-limit-schemes"),
        12
    );
}
