//! The calls.

use chrono::{DateTime, SecondsFormat, Utc};

use super::model::{
    ApiAuditAnalytics, ApiAuditLogsPage, ApiAuditTimeseries, AuditInterval, AuditOutcome,
};
use super::query::{GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery};
use super::stream::ApiAuditLogsStream;
use crate::api::Call;
use crate::api::api_auth::ApiKeys;
use crate::client::{Error, Result, WachtClient};

/// Fetches rows of the audit log; made by [`ApiKeys::get_api_audit_logs`].
///
/// A query that Wacht would take for another one is refused unsent:
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::models::ListApiAuditLogsQuery;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// wacht.app("billing");
/// let query = ListApiAuditLogsQuery {
///     end_date: Some("2026-01-31T00:00:00Z".parse()?), // and no `start_date`
///     ..Default::default()
/// };
/// let call = client.api_keys().get_api_audit_logs("billing", query);
/// assert!(matches!(call.clone().send().await, Err(Error::InvalidRequest(_))));
/// assert!(call.unchecked().send().await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct GetApiAuditLogsBuilder {
    client: WachtClient,
    app_slug: String,
    query: ListApiAuditLogsQuery,
    unchecked: bool,
}

/// Fetches sums; made by [`ApiKeys::get_api_audit_analytics`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct GetApiAuditAnalyticsBuilder {
    client: WachtClient,
    app_slug: String,
    query: GetApiAuditAnalyticsQuery,
    unchecked: bool,
}

/// Fetches a time series; made by [`ApiKeys::get_api_audit_timeseries`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct GetApiAuditTimeseriesBuilder {
    client: WachtClient,
    app_slug: String,
    query: GetApiAuditTimeseriesQuery,
    unchecked: bool,
}

impl ApiKeys {
    /// Fetches what Wacht's gateway noted about checks of an app's keys, newest first.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::{AuditOutcome, ListApiAuditLogsQuery};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("billing").issue();
    /// let check = CheckRequest::api_key(key.secret()).required_permissions(["invoices:write"]);
    /// client.gateway().check(check).send().await?;
    ///
    /// let blocked = ListApiAuditLogsQuery {
    ///     outcome: Some(AuditOutcome::Blocked),
    ///     ..Default::default()
    /// };
    /// let page = client.api_keys().get_api_audit_logs("billing", blocked).send().await?;
    /// assert_eq!(page.items[0].path, "GET /");
    /// assert_eq!(page.items[0].blocked_by_rule.as_deref(), Some("permission_denied"));
    /// # Ok(()) }
    /// ```
    pub fn get_api_audit_logs(
        &self,
        app_slug: impl Into<String>,
        query: ListApiAuditLogsQuery,
    ) -> GetApiAuditLogsBuilder {
        GetApiAuditLogsBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            query,
            unchecked: false,
        }
    }

    /// Fetches sums over the checks of an app's keys.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::GetApiAuditAnalyticsQuery;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("billing").name("ci").issue();
    /// client.gateway().check(CheckRequest::api_key(key.secret())).send().await?;
    ///
    /// let query = GetApiAuditAnalyticsQuery { include_top_keys: Some(true), ..Default::default() };
    /// let sums = client.api_keys().get_api_audit_analytics("billing", query).send().await?;
    /// assert_eq!((sums.total_requests, sums.blocked_requests), (1, 0));
    /// assert_eq!(sums.top_keys.unwrap_or_default()[0].key_name, "ci");
    /// # Ok(()) }
    /// ```
    pub fn get_api_audit_analytics(
        &self,
        app_slug: impl Into<String>,
        query: GetApiAuditAnalyticsQuery,
    ) -> GetApiAuditAnalyticsBuilder {
        GetApiAuditAnalyticsBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            query,
            unchecked: false,
        }
    }

    /// Fetches sums over the checks of an app's keys, interval by interval.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::{AuditInterval, GetApiAuditTimeseriesQuery};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("billing").issue();
    /// client.gateway().check(CheckRequest::api_key(key.secret())).send().await?;
    ///
    /// let query = GetApiAuditTimeseriesQuery {
    ///     interval: Some(AuditInterval::Month),
    ///     ..Default::default()
    /// };
    /// let series = client.api_keys().get_api_audit_timeseries("billing", query).send().await?;
    /// assert_eq!(series.points.iter().map(|point| point.total_requests).sum::<i64>(), 1);
    /// # Ok(()) }
    /// ```
    pub fn get_api_audit_timeseries(
        &self,
        app_slug: impl Into<String>,
        query: GetApiAuditTimeseriesQuery,
    ) -> GetApiAuditTimeseriesBuilder {
        GetApiAuditTimeseriesBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            query,
            unchecked: false,
        }
    }
}

// === impl GetApiAuditLogsBuilder ===

impl GetApiAuditLogsBuilder {
    /// Sends the query also if it does not mean what it says, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Fetches one page.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors), and [`Error::InvalidRequest`] for an `end_date`
    /// without `start_date`, which Wacht would ignore. An unknown app
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<ApiAuditLogsPage> {
        let query = &self.query;
        if !self.unchecked {
            check_dates(query.start_date, query.end_date)?;
        }
        let offset = query.offset.filter(|_| query.cursor.is_none());
        Call::get(&self.client, &audit(&self.app_slug, "logs"))
            .query("limit", query.limit)
            .query("offset", offset)
            .query("outcome", query.outcome.as_ref().map(AuditOutcome::as_str))
            .query("key_id", query.key_id)
            .query("start_date", query.start_date.map(date))
            .query("end_date", query.end_date.map(date))
            .query("cursor", query.cursor.as_deref())
            .object("a page of audit logs")
            .await
    }

    /// Fetches all rows, page by page while they are read. Without a `limit`, a page has 500.
    ///
    /// Each row appears once. Those that are written meanwhile may appear, in any place, or not.
    ///
    /// # Errors
    ///
    /// Of the stream: those of [`send`](Self::send); [`Error::InvalidRequest`] for a query with a
    /// `cursor`, as pages are counted from the newest row; and [`Error::Decode`] when ten pages in a
    /// row repeat what was read, as they do where more rows are written than are read: a larger
    /// `limit`, or dates if Wacht takes them, is what helps.
    ///
    /// ```
    /// use futures_util::TryStreamExt;
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("billing").issue();
    /// for path in ["/a", "/b"] {
    ///     client.gateway().check(CheckRequest::api_key(key.secret()).resource(path)).send().await?;
    /// }
    /// let all = Default::default();
    /// let mut rows = client.api_keys().get_api_audit_logs("billing", all).stream();
    /// let mut seen = 0;
    /// while let Some(row) = rows.try_next().await? {
    ///     assert_eq!(row.app_slug, "billing");
    ///     seen += 1;
    /// }
    /// assert_eq!(seen, 2);
    /// # Ok(()) }
    /// ```
    #[must_use = "a stream does nothing until it is read"]
    pub fn stream(mut self) -> ApiAuditLogsStream {
        self.query.limit.get_or_insert(ROWS_OF_A_STREAM);
        let first = self.query.offset.unwrap_or(0);
        ApiAuditLogsStream::new(first, move |offset| {
            let mut page = self.clone();
            page.query.offset = Some(offset);
            async move {
                if page.query.cursor.is_some() {
                    let message = "a stream of audit logs begins at an offset, not at a cursor";
                    return Err(Error::InvalidRequest(message.to_owned()));
                }
                page.send().await
            }
        })
    }
}

// === impl GetApiAuditAnalyticsBuilder ===

impl GetApiAuditAnalyticsBuilder {
    /// Sends the query also if it does not mean what it says, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Fetches the sums.
    ///
    /// # Errors
    ///
    /// Those of [`GetApiAuditLogsBuilder::send`].
    pub async fn send(self) -> Result<ApiAuditAnalytics> {
        let query = &self.query;
        if !self.unchecked {
            check_dates(query.start_date, query.end_date)?;
        }
        Call::get(&self.client, &audit(&self.app_slug, "analytics"))
            .query("start_date", query.start_date.map(date))
            .query("end_date", query.end_date.map(date))
            .query("key_id", query.key_id)
            .query("include_top_keys", query.include_top_keys)
            .query("include_top_paths", query.include_top_paths)
            .query("include_blocked_reasons", query.include_blocked_reasons)
            .query("include_rate_limits", query.include_rate_limits)
            .query("top_limit", query.top_limit)
            .object("audit analytics")
            .await
    }
}

// === impl GetApiAuditTimeseriesBuilder ===

impl GetApiAuditTimeseriesBuilder {
    /// Sends the query also if it does not mean what it says, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Fetches the time series.
    ///
    /// # Errors
    ///
    /// Those of [`GetApiAuditLogsBuilder::send`].
    pub async fn send(self) -> Result<ApiAuditTimeseries> {
        let query = &self.query;
        if !self.unchecked {
            check_dates(query.start_date, query.end_date)?;
        }
        Call::get(&self.client, &audit(&self.app_slug, "timeseries"))
            .query("start_date", query.start_date.map(date))
            .query("end_date", query.end_date.map(date))
            .query("interval", query.interval.map(AuditInterval::as_str))
            .query("key_id", query.key_id)
            .object("an audit time series")
            .await
    }
}

fn audit<'a>(app_slug: &'a str, what: &'a str) -> [&'a str; 5] {
    ["api-auth", "apps", app_slug, "audit", what]
}

fn date(date: DateTime<Utc>) -> String {
    date.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn check_dates(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Result<()> {
    match (start, end) {
        (None, Some(_)) => Err(Error::InvalidRequest(
            "Wacht ignores an end_date without start_date: give both".to_owned(),
        )),
        _ => Ok(()),
    }
}

const ROWS_OF_A_STREAM: u32 = 500;
