//! The answers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

use crate::api::gateway::CheckRateLimit;
use crate::api::id;

/// One check that the gateway answered with yes or no. Keys that are unknown, revoked or expired
/// leave no trace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct AuditLog {
    /// The gateway's id of the check.
    pub request_id: String,
    /// The deployment the key belongs to.
    #[serde(deserialize_with = "id::required")]
    pub deployment_id: i64,
    /// The app the key belongs to.
    pub app_slug: String,
    /// The key; 0 for an OAuth access token.
    #[serde(deserialize_with = "id::required")]
    pub key_id: i64,
    /// The key's name; the client's id for an OAuth access token.
    pub key_name: String,
    /// What the gateway said.
    pub outcome: AuditOutcome,
    /// The rule that refused: `permission_denied`, or a rate limit such as `100/60s`.
    #[serde(default)]
    pub blocked_by_rule: Option<String>,
    /// The address of the caller, as it was told to the gateway.
    pub client_ip: String,
    /// Method and resource, such as `GET /orders`.
    pub path: String,
    /// The caller's user agent, as it was told to the gateway.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// What was left of each limit.
    #[serde(default, deserialize_with = "null_is_none")]
    pub rate_limits: Vec<CheckRateLimit>,
    /// When the check was answered.
    pub timestamp: DateTime<Utc>,
}

/// What the gateway said to a check.
///
/// ```
/// use wacht_auth::models::AuditOutcome;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert_eq!(AuditOutcome::Blocked.as_str(), "blocked");
/// # let json = serde_json::json!("THROTTLED");
/// let newer: AuditOutcome = serde_json::from_value(json)?; // a word of a newer Wacht
/// assert_eq!(newer, AuditOutcome::Unknown("THROTTLED".to_owned()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditOutcome {
    /// The request was let pass.
    Allowed,
    /// The request was refused.
    Blocked,
    /// A word this version does not know.
    Unknown(String),
}

/// A part of the rows, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ApiAuditLogsPage {
    /// The rows.
    #[serde(rename = "data", alias = "logs")]
    pub items: Vec<AuditLog>,
    /// Whether there are older rows.
    #[serde(default)]
    pub has_more: bool,
    /// How many rows were asked for, after Wacht had its say.
    #[serde(default)]
    pub limit: Option<i64>,
    /// Where older rows begin: goes into
    /// [`ListApiAuditLogsQuery::cursor`](super::ListApiAuditLogsQuery::cursor). Also there on the
    /// last page; only `has_more` says whether it leads anywhere.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Sums over a time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ApiAuditAnalytics {
    /// Checks answered.
    pub total_requests: i64,
    /// Those answered with yes.
    pub allowed_requests: i64,
    /// Those answered with no.
    pub blocked_requests: i64,
    /// Yes among all, in per cent; 0 when there are none.
    pub success_rate: f64,
    /// Keys seen in the last 24 hours, whatever was asked for.
    #[serde(default)]
    pub keys_used_24h: i64,
    /// The keys used most, if asked for.
    #[serde(default)]
    pub top_keys: Option<Vec<AuditTopKey>>,
    /// The paths asked about most, if asked for.
    #[serde(default)]
    pub top_paths: Option<Vec<AuditTopPath>>,
    /// Why requests were refused, if asked for.
    #[serde(default)]
    pub blocked_reasons: Option<Vec<AuditBlockedReason>>,
    /// Refusals by rate limits, if asked for. Wacht's figures are zero today whatever happened;
    /// [`blocked_reasons`](Self::blocked_reasons) has them.
    #[serde(default)]
    pub rate_limit_stats: Option<AuditRateLimitStats>,
}

/// A key among those used most.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct AuditTopKey {
    /// The key's id.
    #[serde(deserialize_with = "id::required")]
    pub key_id: i64,
    /// The key's name.
    pub key_name: String,
    /// Checks of this key.
    pub total_requests: i64,
}

/// A path among those asked about most.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct AuditTopPath {
    /// Method and resource.
    pub path: String,
    /// Checks about it.
    pub total_requests: i64,
}

/// Why requests were refused.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AuditBlockedReason {
    /// `permission_denied`, or a rate limit.
    #[serde(default)]
    pub blocked_by_rule: Option<String>,
    /// How many requests.
    pub count: i64,
    /// How many among the refused ones, in per cent.
    pub percentage: f64,
}

/// Refusals by rate limits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AuditRateLimitStats {
    /// How many requests.
    pub total_hits: i64,
    /// How many among the refused ones, in per cent.
    pub percentage_of_blocked: f64,
    /// The rules that refused most.
    #[serde(default)]
    pub top_rules: Option<Vec<AuditRuleHits>>,
}

/// A rule among those that refused most.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AuditRuleHits {
    /// The rule, such as `100/60s`.
    pub rule: String,
    /// How many requests it refused.
    pub hit_count: i64,
    /// How many among those refused by limits, in per cent.
    pub percentage: f64,
}

/// Sums over time, one per interval in which anything happened.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ApiAuditTimeseries {
    /// The sums, oldest first as Wacht sends them.
    #[serde(rename = "data")]
    pub points: Vec<AuditTimeseriesPoint>,
    /// The interval used.
    #[serde(default)]
    pub interval: Option<String>,
}

/// Sums over one interval.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AuditTimeseriesPoint {
    /// When the interval began.
    pub timestamp: DateTime<Utc>,
    /// Checks answered.
    pub total_requests: i64,
    /// Those answered with yes.
    pub allowed_requests: i64,
    /// Those answered with no.
    pub blocked_requests: i64,
    /// Yes among all, in per cent.
    pub success_rate: f64,
}

/// How long the intervals of a time series are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditInterval {
    /// A minute.
    Minute,
    /// An hour.
    #[default]
    Hour,
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
}

// === impl AuditOutcome ===

impl AuditOutcome {
    /// The word that asks for rows with this outcome.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Unknown(word) => word,
        }
    }
}

impl<'de> Deserialize<'de> for AuditOutcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        // Rows are written in capitals and asked for in other words.
        Ok(match word.as_str() {
            "VALID" | "allowed" => Self::Allowed,
            "BLOCKED" | "blocked" => Self::Blocked,
            _ => Self::Unknown(word),
        })
    }
}

// === impl AuditInterval ===

impl AuditInterval {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

fn null_is_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<CheckRateLimit>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
