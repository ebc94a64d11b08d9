//! The audit log of the dev gateway.

use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::{Value, json};

use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
use wacht_auth::models::{
    AuditLog, CheckRequest, GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery,
    ListApiAuditLogsQuery,
};

use crate::dev::{check, management, post_check};

const HOUR: Duration = Duration::from_secs(3600);
/// A Friday, 08:00 UTC.
const NOW: Duration = Duration::from_secs(1_800_000_000);

async fn logs(gateway: &DevGateway, query: &str) -> (u16, Value) {
    management(
        gateway,
        "GET",
        &format!("/api-auth/apps/a/audit/logs{query}"),
    )
    .await
}

fn paths(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap();
    rows.iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn every_verdict_leaves_a_row_and_nothing_else_does() {
    let gateway = DevGateway::start().await.clock(ManualClock::at(NOW));
    gateway.app("a").scheme([DevRule::per_app(2, "minute", 1)]);
    let key = gateway.issue_key("a").name("ci").issue();
    let other = gateway.issue_key("b").issue();
    for key in [&key, &key, &key, &other] {
        check(&gateway, key).await;
    }
    let token = gateway.issue_token("a").client_id("oc_me").issue();
    let asked = json!({
        "principal": { "type": "oauth_access_token", "value": token.secret() },
        "resource": "/x?y", "method": "post", "client_ip": "192.0.2.1", "user_agent": "me/1",
    });
    post_check(&gateway, &asked).await;
    gateway.revoke(key.key_id());
    check(&gateway, &key).await;

    let (status, page) = logs(&gateway, "").await;
    assert_eq!(status, 200);
    assert_eq!(
        paths(&page),
        ["POST /x", "GET /orders", "GET /orders", "GET /orders"]
    );
    assert_eq!(
        (page["limit"].as_i64(), page["has_more"].as_bool()),
        (Some(100), Some(false))
    );
    assert!(page["next_cursor"].is_string(), "also on the last page");
    let row = &page["data"][0];
    assert_eq!(
        (&row["key_id"], &row["key_name"]),
        (&json!("0"), &json!("oc_me"))
    );
    assert_eq!(
        (&row["client_ip"], &row["user_agent"]),
        (&json!("192.0.2.1"), &json!("me/1"))
    );
    let row = &page["data"][1];
    assert_eq!(
        (&row["outcome"], &row["blocked_by_rule"]),
        (&json!("BLOCKED"), &json!("2/60s"))
    );
    assert_eq!(
        row["rate_limits"],
        json!([{ "rule": "2/60s", "remaining": 0, "limit": 2 }])
    );
    assert_eq!(row["deployment_id"], gateway.deployment_id().to_string());
    assert_eq!(row["timestamp"], "2027-01-15T08:00:00Z");
    let row = &page["data"][2];
    assert_eq!(
        (&row["outcome"], &row["key_name"]),
        (&json!("VALID"), &json!("ci"))
    );

    assert_eq!(
        logs(&gateway, "?outcome=allowed").await.1["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        logs(&gateway, "?key_id=0").await.1["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    for (query, message) in [
        ("?cursor=zz", "invalid cursor"),
        ("?limit=x", "Bad request"),
    ] {
        let (status, body) = logs(&gateway, query).await;
        assert_eq!(
            (status, &body["errors"][0]["message"]),
            (400, &json!(message))
        );
    }
    let (status, body) = management(&gateway, "GET", "/api-auth/apps/none/audit/logs").await;
    assert_eq!(
        (status, &body["errors"][0]["message"]),
        (404, &json!("API key app not found"))
    );
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition() {
    let clock = ManualClock::at(NOW);
    let gateway = DevGateway::start().await.clock(&clock);
    let key = gateway.issue_key("a").issue();
    // Several in the same instant: the cursor alone must not lose any.
    for n in 0..7 {
        let asked = json!({
            "principal": { "type": "api_key", "value": key.secret() },
            "resource": format!("/{n}"), "method": "GET",
        });
        post_check(&gateway, &asked).await;
        if n % 3 == 0 {
            clock.advance(HOUR);
        }
    }
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let (_, page) = logs(&gateway, &query).await;
        seen.extend(paths(&page).iter().map(|path| (*path).to_owned()));
        if page["has_more"] == false {
            break;
        }
        query = format!("?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    let all: Vec<String> = (0..7).rev().map(|n| format!("GET /{n}")).collect();
    assert_eq!(seen, all);
    assert_eq!(
        paths(&logs(&gateway, "?offset=5").await.1),
        ["GET /1", "GET /0"]
    );
    let since = "?start_date=2027-01-15T09:00:00Z&end_date=2027-01-15T09:30:00Z";
    assert_eq!(
        paths(&logs(&gateway, since).await.1),
        ["GET /3", "GET /2", "GET /1"]
    );

    // Without a start, the last seven days and no end.
    clock.advance(HOUR * 24 * 7);
    let (_, page) = logs(&gateway, "?end_date=2000-01-01T00:00:00Z").await;
    assert!(paths(&page).is_empty());
}

/// A gateway with so many rows, of which several share each millisecond, and some each moment.
async fn busy(count: u64) -> (DevGateway, ManualClock, Vec<String>) {
    let clock = ManualClock::at(NOW);
    let gateway = DevGateway::start().await.clock(&clock);
    let key = gateway.issue_key("a").issue();
    let client = gateway.client();
    for n in 0..count {
        let asked = CheckRequest::api_key(key.secret()).resource(format!("/{n}"));
        client.gateway().check(asked).send().await.unwrap();
        clock.advance(Duration::from_micros(if n % 5 == 0 { 0 } else { 70 }));
    }
    let newest_first = (0..count).rev().map(|n| format!("GET /{n}")).collect();
    (gateway, clock, newest_first)
}

#[tokio::test]
async fn a_stream_has_every_row_of_a_crowded_millisecond() {
    let (gateway, _, all) = busy(120).await;
    let calls = gateway.client().api_keys();
    for limit in [1, 3, 7, 50, 500] {
        let query = ListApiAuditLogsQuery {
            limit: Some(limit),
            ..Default::default()
        };
        let rows = calls.get_api_audit_logs("a", query).stream();
        let rows: Vec<AuditLog> = rows.try_collect().await.unwrap();
        let paths: Vec<String> = rows.into_iter().map(|row| row.path).collect();
        assert_eq!(paths, all, "at {limit} a page");
    }
}

#[tokio::test]
async fn a_cursor_loses_rows_of_a_crowded_millisecond_as_wachts_does() {
    let (gateway, _, all) = busy(120).await;
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let (_, page) = logs(&gateway, &query).await;
        seen.extend(paths(&page).iter().map(|path| (*path).to_owned()));
        if page["has_more"] == false {
            break;
        }
        let cursor = page["next_cursor"].as_str().unwrap();
        assert!(!cursor.contains('='), "without padding");
        query = format!("?limit=3&cursor={cursor}");
    }
    assert!(
        seen.len() < all.len() / 2,
        "{} of {}",
        seen.len(),
        all.len()
    );
    let (status, _) = logs(&gateway, &format!("{query}=")).await;
    assert_eq!(status, 400, "a padded cursor is none");
    // One that Wacht gave.
    let cursor = "MTc5NTYyMjkwNDcwMXxyZXFfMTAwNTUxMzk5ODU0NTc5Mzgz";
    assert_eq!(logs(&gateway, &format!("?cursor={cursor}")).await.0, 200);
}

#[tokio::test]
async fn rows_that_are_written_while_a_stream_is_read_hide_and_repeat_none_from_before() {
    let (gateway, clock, all) = busy(20).await;
    let key = gateway.issue_key("a").issue();
    let calls = gateway.client().api_keys();
    let query = ListApiAuditLogsQuery {
        limit: Some(4),
        ..Default::default()
    };
    let mut rows = calls.get_api_audit_logs("a", query).stream();
    let mut seen = Vec::new();
    while let Some(row) = rows.try_next().await.unwrap() {
        seen.push(row.path);
        // Less than a page, a page, and more than all that has been read.
        let written = match seen.len() {
            3 => 2,
            7 => 4,
            9 => 30,
            _ => 0,
        };
        for _ in 0..written {
            check(&gateway, &key).await;
            clock.advance(Duration::from_micros(50));
        }
    }
    seen.retain(|path| path != "GET /orders");
    assert_eq!(seen, all);
}

#[tokio::test]
async fn figures_add_up_and_empty_hours_are_left_out() {
    let clock = ManualClock::at(NOW);
    let gateway = DevGateway::start().await.clock(&clock);
    gateway.app("a").scheme([DevRule::per_app(2, "minute", 1)]);
    let key = gateway.issue_key("a").name("ci").issue();
    for _ in 0..3 {
        check(&gateway, &key).await;
    }
    clock.advance(HOUR * 30);
    check(&gateway, &key).await;

    let at = "/api-auth/apps/a/audit/analytics";
    let (_, bare) = management(&gateway, "GET", at).await;
    assert_eq!(
        bare,
        json!({
            "total_requests": 4, "allowed_requests": 3, "blocked_requests": 1,
            "success_rate": 75.0, "keys_used_24h": 1,
        })
    );
    let asked = "include_top_keys=true&include_top_paths=true&include_blocked_reasons=true\
                 &include_rate_limits=true";
    let (_, full) = management(&gateway, "GET", &format!("{at}?{asked}")).await;
    let id = key.key_id().to_string();
    assert_eq!(
        full["top_keys"],
        json!([{ "key_id": id, "key_name": "ci", "total_requests": 4 }])
    );
    assert_eq!(
        full["top_paths"],
        json!([{ "path": "GET /orders", "total_requests": 4 }])
    );
    assert_eq!(
        full["blocked_reasons"],
        json!([{ "blocked_by_rule": "2/60s", "count": 1, "percentage": 100.0 }])
    );
    assert_eq!(full["rate_limit_stats"]["total_hits"], 0);

    for (interval, named, points) in [
        (
            "",
            "hour",
            [("2027-01-15T08:00:00Z", 3), ("2027-01-16T14:00:00Z", 1)].as_slice(),
        ),
        (
            "?interval=fortnight",
            "hour",
            &[("2027-01-15T08:00:00Z", 3), ("2027-01-16T14:00:00Z", 1)],
        ),
        (
            "?interval=day",
            "day",
            &[("2027-01-15T00:00:00Z", 3), ("2027-01-16T00:00:00Z", 1)],
        ),
        ("?interval=week", "week", &[("2027-01-11T00:00:00Z", 4)]),
        ("?interval=month", "month", &[("2027-01-01T00:00:00Z", 4)]),
    ] {
        let path = format!("/api-auth/apps/a/audit/timeseries{interval}");
        let (_, series) = management(&gateway, "GET", &path).await;
        assert_eq!(series["interval"], named);
        let found: Vec<(&str, u64)> = series["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|at| {
                (
                    at["timestamp"].as_str().unwrap(),
                    at["total_requests"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, points, "{interval}");
    }
}

#[tokio::test]
async fn the_client_reads_what_the_dev_gateway_writes() {
    let gateway = DevGateway::start().await.clock(ManualClock::at(NOW));
    gateway.app("a").scheme([DevRule::per_app(4, "minute", 1)]);
    let key = gateway.issue_key("a").name("ci").issue();
    for _ in 0..5 {
        check(&gateway, &key).await;
    }
    let client = gateway.client();
    let calls = client.api_keys();
    let query = ListApiAuditLogsQuery {
        limit: Some(2),
        ..Default::default()
    };
    let rows = calls.get_api_audit_logs("a", query).stream();
    let rows: Vec<AuditLog> = rows.try_collect().await.unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0].blocked_by_rule.as_deref(), Some("4/60s"));
    assert!(rows.iter().all(|row| row.key_id == key.key_id()));
    let at = "/api-auth/apps/a/audit/logs";
    assert_eq!(gateway.journal().count("GET", at), 3, "pages of two");

    let query = GetApiAuditAnalyticsQuery {
        include_top_keys: Some(true),
        include_top_paths: Some(true),
        include_blocked_reasons: Some(true),
        include_rate_limits: Some(true),
        ..Default::default()
    };
    let sums = calls
        .get_api_audit_analytics("a", query)
        .send()
        .await
        .unwrap();
    assert_eq!((sums.total_requests, sums.blocked_requests), (5, 1));
    assert_eq!(sums.top_keys.unwrap()[0].key_name, "ci");
    let series = calls.get_api_audit_timeseries("a", GetApiAuditTimeseriesQuery::default());
    assert_eq!(series.send().await.unwrap().points[0].total_requests, 5);
}
