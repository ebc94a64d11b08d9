//! What the management API answered about the audit log.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use wacht_auth::models::{
    AuditInterval, AuditLog, AuditOutcome, GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery,
    ListApiAuditLogsQuery,
};
use wacht_auth::{Result, WachtClient};

use super::{Canned, assert_refused_as_recorded, lines, status};

/// The client cannot be brought to ask so: it has no such parameter, or only ones of another type.
/// Their answers are read as those of the same call without it.
const OTHER_REQUESTS: [(&str, &str); 16] = [
    ("audit_logs_limit_text", "a limit that is no number"),
    ("audit_logs_limit_negative", "a limit that is no number"),
    ("audit_logs_start_date_bad", "a date that is none"),
    ("audit_logs_start_date_naive", "a date without a zone"),
    ("audit_logs_unknown_parameter", "a parameter there is not"),
    ("audit_analytics_bool_bad", "a flag that is no word"),
    ("audit_logs_no_auth", "no management key"),
    ("audit_logs_post", "another method"),
    ("audit_logs_cursor_ts", "half a cursor"),
    ("audit_logs_cursor_ts_id", "a cursor in its parts"),
    ("audit_logs_start_and_cursor", "half a cursor"),
    ("audit_logs_cursor_ignores_offset", "half a cursor"),
    ("plain_audit_logs_cursor_ts", "half a cursor"),
    ("plain_audit_logs_start_and_cursor", "half a cursor"),
    ("audit_timeseries_year", "an interval there is not"),
    ("audit_timeseries_HOUR", "an interval there is not"),
];

#[tokio::test]
async fn every_recorded_audit_answer_decodes_as_documented() {
    let server = Canned::start().await;
    let client = server.client();
    let lines = lines(include_str!("../../wire/audit.jsonl"));
    let (mut decoded, mut refused) = (0, 0);
    for line in &lines {
        let name = line["name"].as_str().unwrap();
        let wire = &line["response"]["body"];
        server.answer_line(line);
        let result = send(&client, line).await;
        let asked = server.take_asked();
        assert_eq!(asked.len(), 1, "{name}");
        let is_other = OTHER_REQUESTS.iter().any(|(other, _)| *other == name);
        let expected = line["request"]["path"].as_str().unwrap();
        if !is_other && name != "plain_audit_timeseries_year" {
            let asked = asked[0].uri().to_string();
            assert_eq!(sorted(&asked), sorted(expected), "{name}");
        }
        match result {
            Ok(shown) => {
                assert!(status(line).is_success(), "{name}");
                assert_eq!(plain(shown), plain(wire.clone()), "{name}");
                decoded += 1;
            }
            Err(error) => {
                assert_refused_as_recorded(&error, line, name);
                assert_eq!(error.is_transient(), status(line) == 500, "{name}");
                refused += 1;
            }
        }
    }
    println!(
        "{} audit lines: {decoded} decoded, {refused} refused",
        lines.len()
    );
    assert_eq!((lines.len(), decoded, refused), (83, 51, 32));
}

/// Makes the call that a line is about and shows its answer as it was on the wire.
async fn send(client: &WachtClient, line: &Value) -> Result<Value> {
    let path = line["request"]["path"].as_str().unwrap();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let ["api-auth", "apps", slug, "audit", what] = segments[..] else {
        panic!("no call for {path}");
    };
    let asked = Asked(query);
    let keys = client.api_keys();
    Ok(match what {
        "logs" => {
            let query = ListApiAuditLogsQuery {
                limit: asked.parsed("limit"),
                offset: asked.parsed("offset"),
                outcome: asked.value("outcome").map(|word| match &*word {
                    "blocked" => AuditOutcome::Blocked,
                    _ => AuditOutcome::Unknown(word),
                }),
                key_id: asked.parsed("key_id"),
                start_date: asked.parsed("start_date"),
                end_date: asked.parsed("end_date"),
                cursor: asked.value("cursor"),
            };
            let page = keys.get_api_audit_logs(slug, query).send().await?;
            json!({
                "data": page.items.iter().map(row).collect::<Vec<_>>(),
                "limit": page.limit, "has_more": page.has_more, "next_cursor": page.next_cursor,
            })
        }
        "analytics" => {
            let query = GetApiAuditAnalyticsQuery {
                start_date: asked.parsed("start_date"),
                end_date: asked.parsed("end_date"),
                key_id: asked.parsed("key_id"),
                include_top_keys: asked.parsed("include_top_keys"),
                include_top_paths: asked.parsed("include_top_paths"),
                include_blocked_reasons: asked.parsed("include_blocked_reasons"),
                include_rate_limits: asked.parsed("include_rate_limits"),
                top_limit: asked.parsed("top_limit"),
            };
            let sums = keys.get_api_audit_analytics(slug, query).send().await?;
            json!({
                "total_requests": sums.total_requests, "allowed_requests": sums.allowed_requests,
                "blocked_requests": sums.blocked_requests, "success_rate": sums.success_rate,
                "keys_used_24h": sums.keys_used_24h,
                "top_keys": sums.top_keys.map(|keys| shown(&keys, |key| json!({
                    "key_id": key.key_id.to_string(), "key_name": key.key_name,
                    "total_requests": key.total_requests,
                }))),
                "top_paths": sums.top_paths.map(|paths| shown(&paths, |path| json!({
                    "path": path.path, "total_requests": path.total_requests,
                }))),
                "blocked_reasons": sums.blocked_reasons.map(|reasons| shown(&reasons, |reason| json!({
                    "blocked_by_rule": reason.blocked_by_rule, "count": reason.count,
                    "percentage": reason.percentage,
                }))),
                "rate_limit_stats": sums.rate_limit_stats.map(|stats| json!({
                    "total_hits": stats.total_hits,
                    "percentage_of_blocked": stats.percentage_of_blocked,
                    "top_rules": stats.top_rules.map(|rules| rules.len()),
                })),
            })
        }
        "timeseries" => {
            let query = GetApiAuditTimeseriesQuery {
                start_date: asked.parsed("start_date"),
                end_date: asked.parsed("end_date"),
                interval: asked.value("interval").map(|word| match &*word {
                    "minute" => AuditInterval::Minute,
                    "day" => AuditInterval::Day,
                    "week" => AuditInterval::Week,
                    "month" => AuditInterval::Month,
                    _ => AuditInterval::Hour,
                }),
                key_id: asked.parsed("key_id"),
            };
            let series = keys.get_api_audit_timeseries(slug, query).send().await?;
            json!({
                "data": shown(&series.points, |point| json!({
                    "timestamp": point.timestamp, "total_requests": point.total_requests,
                    "allowed_requests": point.allowed_requests,
                    "blocked_requests": point.blocked_requests, "success_rate": point.success_rate,
                })),
                "interval": series.interval,
            })
        }
        other => panic!("no call for {other}"),
    })
}

/// The query of a recorded request.
struct Asked<'a>(&'a str);

impl Asked<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let mut fields = self.0.split('&').filter_map(|field| field.split_once('='));
        let (_, value) = fields.find(|(other, _)| *other == name)?;
        Some(value.replace("%3A", ":"))
    }

    /// What cannot be read is not asked for.
    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)?.parse().ok()
    }
}

fn shown<T>(list: &[T], show: impl Fn(&T) -> Value) -> Vec<Value> {
    list.iter().map(show).collect()
}

fn row(row: &AuditLog) -> Value {
    let outcome = match &row.outcome {
        AuditOutcome::Allowed => "VALID",
        AuditOutcome::Blocked => "BLOCKED",
        other => panic!("{other:?}"),
    };
    json!({
        "request_id": row.request_id, "deployment_id": row.deployment_id.to_string(),
        "app_slug": row.app_slug, "key_id": row.key_id.to_string(), "key_name": row.key_name,
        "outcome": outcome, "blocked_by_rule": row.blocked_by_rule, "client_ip": row.client_ip,
        "path": row.path, "user_agent": row.user_agent,
        "rate_limits": shown(&row.rate_limits, |limit| json!({
            "rule": limit.rule, "remaining": limit.remaining, "limit": limit.limit,
        })),
        "timestamp": row.timestamp,
    })
}

/// Absent and null are the same, and so are two ways of writing a time.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: Map<String, Value> = members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, plain(value)))
                .collect();
            members.into()
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::String(text) => match text.parse::<DateTime<Utc>>() {
            Ok(time) => json!(time.timestamp_micros()),
            Err(_) => text.into(),
        },
        other => other,
    }
}

/// A path with its query in a fixed order, and in one way of escaping.
fn sorted(uri: &str) -> (String, Vec<String>) {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut fields: Vec<String> = query.split('&').map(|f| f.replace("%3A", ":")).collect();
    fields.sort_unstable();
    (path.to_owned(), fields)
}
