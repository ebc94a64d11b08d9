//! The audit log of an app, and figures made of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Timelike, Utc};
use http::StatusCode;
use serde_json::{Value, json};

use super::query::{flag, query_value};
use super::refusal::{Result, bad_request};
use super::room::Room;
use super::shown::{add_if_some, timestamp};
use crate::dev::answer::Answer;
use crate::dev::records::AuditRow;
use crate::dev::state::utc;

type Query = Vec<(String, String)>;

impl Room<'_> {
    pub(super) fn audit_logs(&self, slug: &str) -> Result {
        let query = self.query()?;
        let limit = number(&query, "limit")?.unwrap_or(100).clamp(1, 1000);
        let outcome = query_value(&query, "outcome");
        let mut rows = self.audit_rows(slug, &query, TimeDelta::days(7))?;
        match outcome {
            Some("allowed") => rows.retain(|row| !row.blocked),
            Some("blocked") => rows.retain(|row| row.blocked),
            _ => {}
        }
        rows.reverse();
        let offset = match Cursor::read(&query)? {
            None => number(&query, "offset")?.unwrap_or(0),
            Some(cursor) => {
                rows.retain(|row| cursor.is_before(row));
                0
            }
        };
        let mut rows: Vec<&AuditRow> = rows.into_iter().skip(offset).take(limit + 1).collect();
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let data: Vec<Value> = rows.iter().map(|row| row_json(row)).collect();
        let answer = json!({
            "data": data,
            "limit": limit,
            "has_more": has_more,
            "next_cursor": rows.last().map(|row| Cursor::after(row)),
        });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    pub(super) fn audit_analytics(&self, slug: &str) -> Result {
        let query = self.query()?;
        let top = number(&query, "top_limit")?.unwrap_or(10).clamp(1, 50);
        let rows = self.audit_rows(slug, &query, TimeDelta::days(30))?;
        let day = utc(self.state.clock.now()) - TimeDelta::hours(24);
        let mut keys: Vec<i64> = self
            .rows_of(slug)
            .filter(|row| row.timestamp >= day)
            .map(|row| row.key_id)
            .collect();
        keys.sort_unstable();
        keys.dedup();

        let mut answer = counts(&rows);
        add_if_some(&mut answer, "keys_used_24h", Some(keys.len()));
        if flag(&query, "include_top_keys")? {
            let keys = ranked(rows.iter().map(|row| (row.key_id, row.key_name.as_str())));
            let keys = keys.into_iter().take(top).map(|((id, name), count)| {
                json!({ "key_id": id.to_string(), "key_name": name, "total_requests": count })
            });
            add_if_some(&mut answer, "top_keys", Some(keys.collect::<Vec<_>>()));
        }
        if flag(&query, "include_top_paths")? {
            let paths = ranked(rows.iter().map(|row| row.path.as_str()));
            let paths = paths
                .into_iter()
                .take(top)
                .map(|(path, count)| json!({ "path": path, "total_requests": count }));
            add_if_some(&mut answer, "top_paths", Some(paths.collect::<Vec<_>>()));
        }
        if flag(&query, "include_blocked_reasons")? {
            let blocked = rows.iter().filter(|row| row.blocked);
            let rules = ranked(blocked.map(|row| row.blocked_by_rule.as_deref().unwrap_or("")));
            let total: usize = rules.iter().map(|(_, count)| count).sum();
            let rules = rules.into_iter().take(top).map(|(rule, count)| {
                let percentage = percentage(count, total);
                json!({ "blocked_by_rule": rule, "count": count, "percentage": percentage })
            });
            add_if_some(
                &mut answer,
                "blocked_reasons",
                Some(rules.collect::<Vec<_>>()),
            );
        }
        if flag(&query, "include_rate_limits")? {
            // Wacht looks for a word here that its gateway never writes.
            let none = json!({ "total_hits": 0, "percentage_of_blocked": 0.0 });
            add_if_some(&mut answer, "rate_limit_stats", Some(none));
        }
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    pub(super) fn audit_timeseries(&self, slug: &str) -> Result {
        let query = self.query()?;
        let interval = query_value(&query, "interval")
            .filter(|word| ["minute", "hour", "day", "week", "month"].contains(word))
            .unwrap_or("hour");
        let mut buckets: BTreeMap<DateTime<Utc>, Vec<&AuditRow>> = BTreeMap::new();
        for row in self.audit_rows(slug, &query, TimeDelta::days(30))? {
            let start = bucket(row.timestamp, interval);
            buckets.entry(start).or_default().push(row);
        }
        let data: Vec<Value> = buckets
            .into_iter()
            .map(|(start, rows)| {
                let mut point = counts(&rows);
                add_if_some(&mut point, "timestamp", Some(timestamp(start)));
                point
            })
            .collect();
        let answer = json!({ "data": data, "interval": interval });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    /// The rows a query is about, oldest first.
    fn audit_rows(&self, slug: &str, query: &Query, back: TimeDelta) -> Result<Vec<&AuditRow>> {
        self.app(slug)?;
        let start = date(query, "start_date")?;
        let end = date(query, "end_date")?;
        let key = query_value(query, "key_id")
            .map(|text| text.parse::<i64>())
            .transpose()
            .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))?;
        // Without a start, the end is not looked at either.
        let (start, end) = match start {
            Some(start) => (start, end),
            None => (utc(self.state.clock.now()) - back, None),
        };
        let rows = self.rows_of(slug).filter(|row| {
            row.timestamp >= start
                && end.is_none_or(|end| row.timestamp <= end)
                && key.is_none_or(|key| row.key_id == key)
        });
        Ok(rows.collect())
    }

    fn rows_of(&self, slug: &str) -> impl Iterator<Item = &AuditRow> {
        self.state
            .audit
            .iter()
            .filter(move |row| row.deployment == self.deployment && row.app_slug == slug)
    }
}

/// Where a page begins: behind the row of this id, at this time.
///
/// As Wacht has it, the time is cut to milliseconds, so that rows of the same one are left out that
/// stand behind it.
struct Cursor {
    time: DateTime<Utc>,
    id: String,
}

impl Cursor {
    fn after(row: &AuditRow) -> String {
        let text = format!("{}|{}", row.timestamp.timestamp_millis(), row.request_id);
        base64_of(text.as_bytes())
    }

    fn read(query: &Query) -> Result<Option<Self>> {
        if let Some(text) = query_value(query, "cursor") {
            let cursor = Self::parse(text).ok_or_else(|| bad_request("invalid cursor"))?;
            return Ok(Some(cursor));
        }
        let id = query_value(query, "cursor_id")
            .unwrap_or_default()
            .to_owned();
        Ok(date(query, "cursor_ts")?.map(|time| Self { time, id }))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = String::from_utf8(from_base64(text)?).ok()?;
        let (milliseconds, id) = text.split_once('|')?;
        let time = DateTime::from_timestamp_millis(milliseconds.parse().ok()?)?;
        Some(Self {
            time,
            id: id.to_owned(),
        })
    }

    fn is_before(&self, row: &AuditRow) -> bool {
        (row.timestamp, &row.request_id) < (self.time, &self.id)
    }
}

/// URL-safe, without padding.
fn base64_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk
            .iter()
            .fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        let all = all << (8 * (3 - chunk.len()));
        let digits = [18, 12, 6, 0].map(|shift| char::from(BASE64[all >> shift & 63]));
        text.extend(&digits[..=chunk.len()]);
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| BASE64.iter().position(|other| *other == byte);
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut all = 0;
        for byte in chunk {
            all = all << 6 | u32::try_from(digit(*byte)?).ok()?;
        }
        let all = all << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(all.to_be_bytes().get(1..chunk.len())?);
    }
    Some(bytes)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn number(query: &Query, name: &str) -> Result<Option<usize>> {
    query_value(query, name)
        .map(|text| text.parse::<u32>())
        .transpose()
        .map(|number| number.and_then(|number| usize::try_from(number).ok()))
        .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))
}

fn date(query: &Query, name: &str) -> Result<Option<DateTime<Utc>>> {
    query_value(query, name)
        .map(DateTime::parse_from_rfc3339)
        .transpose()
        .map(|date| date.map(|date| date.with_timezone(&Utc)))
        .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))
}

fn bucket(time: DateTime<Utc>, interval: &str) -> DateTime<Utc> {
    let midnight = time.with_time(NaiveTime::MIN).single().unwrap_or(time);
    let days = |count: u32| TimeDelta::days(i64::from(count));
    match interval {
        "minute" => midnight + TimeDelta::minutes(i64::from(time.num_seconds_from_midnight() / 60)),
        "hour" => midnight + TimeDelta::hours(i64::from(time.hour())),
        "week" => midnight - days(time.weekday().num_days_from_monday()),
        "month" => midnight - days(time.day0()),
        _ => midnight,
    }
}

/// How often each occurs, the most frequent first.
fn ranked<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    let mut ranked: Vec<(T, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|(_, count)| Reverse(*count));
    ranked
}

fn counts(rows: &[&AuditRow]) -> Value {
    let (total, blocked) = (rows.len(), rows.iter().filter(|row| row.blocked).count());
    json!({
        "total_requests": total,
        "allowed_requests": total - blocked,
        "blocked_requests": blocked,
        "success_rate": percentage(total - blocked, total),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "fewer rows than an f64 can count"
)]
fn percentage(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 * 100.0 / whole as f64,
    }
}

fn row_json(row: &AuditRow) -> Value {
    json!({
        "request_id": row.request_id,
        "deployment_id": row.deployment.to_string(),
        "app_slug": row.app_slug,
        "key_id": row.key_id.to_string(),
        "key_name": row.key_name,
        "outcome": if row.blocked { "BLOCKED" } else { "VALID" },
        "blocked_by_rule": row.blocked_by_rule,
        "client_ip": row.client_ip,
        "path": row.path,
        "user_agent": row.user_agent,
        "rate_limits": row.rate_limits,
        "timestamp": timestamp(row.timestamp),
    })
}
