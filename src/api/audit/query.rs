//! What of the audit log is asked for.

use chrono::{DateTime, Utc};

use super::model::{AuditInterval, AuditOutcome};

/// Which rows of the audit log to fetch.
///
/// A page by itself:
///
/// ```
/// use wacht_auth::api::gateway::CheckRequest;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::models::ListApiAuditLogsQuery;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let key = wacht.issue_key("billing").issue();
/// for path in ["/a", "/b", "/c"] {
///     client.gateway().check(CheckRequest::api_key(key.secret()).resource(path)).send().await?;
/// }
/// let api_keys = client.api_keys();
/// let mut query = ListApiAuditLogsQuery { limit: Some(2), ..Default::default() };
/// let newest = api_keys.get_api_audit_logs("billing", query.clone()).send().await?;
/// assert_eq!((&*newest.items[0].path, newest.has_more), ("GET /c", true));
///
/// query.offset = Some(2);
/// let older = api_keys.get_api_audit_logs("billing", query).send().await?;
/// assert_eq!((&*older.items[0].path, older.has_more), ("GET /a", false));
/// # Ok(()) }
/// ```
///
/// Who wants all rows takes [`stream`](super::GetApiAuditLogsBuilder::stream).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListApiAuditLogsQuery {
    /// At most so many rows in one answer. Defaults to 100, at most 1000.
    pub limit: Option<u32>,
    /// Skips so many rows. Does nothing beside a cursor.
    pub offset: Option<u32>,
    /// Only rows with this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Only rows of this key.
    pub key_id: Option<i64>,
    /// Only rows from then on. Defaults to seven days ago. Wacht answers 500 to it where its
    /// ClickHouse does not compare times with text, as a stock one does not.
    pub start_date: Option<DateTime<Utc>>,
    /// Only rows until then. Wacht looks at it only beside a `start_date`.
    pub end_date: Option<DateTime<Utc>>,
    /// Goes on where a page ended: its
    /// [`next_cursor`](super::ApiAuditLogsPage::next_cursor). It counts in milliseconds, so that
    /// rows are left out that share one with that page's last; and like a `start_date` it may be
    /// answered with 500. An `offset` has neither fault.
    pub cursor: Option<String>,
}

/// What to sum up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetApiAuditAnalyticsQuery {
    /// Only checks from then on. Defaults to 30 days ago.
    pub start_date: Option<DateTime<Utc>>,
    /// Only checks until then. Wacht looks at it only beside a `start_date`.
    pub end_date: Option<DateTime<Utc>>,
    /// Only checks of this key.
    pub key_id: Option<i64>,
    /// Asks for the keys used most.
    pub include_top_keys: Option<bool>,
    /// Asks for the paths asked about most.
    pub include_top_paths: Option<bool>,
    /// Asks why requests were refused.
    pub include_blocked_reasons: Option<bool>,
    /// Asks for refusals by rate limits.
    pub include_rate_limits: Option<bool>,
    /// How long those lists are. Defaults to 10, at most 50.
    pub top_limit: Option<u32>,
}

/// What to sum up, interval by interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetApiAuditTimeseriesQuery {
    /// Only checks from then on. Defaults to 30 days ago.
    pub start_date: Option<DateTime<Utc>>,
    /// Only checks until then. Wacht looks at it only beside a `start_date`.
    pub end_date: Option<DateTime<Utc>>,
    /// How long an interval is. Defaults to an hour.
    pub interval: Option<AuditInterval>,
    /// Only checks of this key.
    pub key_id: Option<i64>,
}
