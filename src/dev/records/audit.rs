//! What the gateway keeps of each check it answered.

use chrono::{DateTime, Utc};
use serde_json::Value;

pub(crate) struct AuditRow {
    pub(crate) request_id: String,
    pub(crate) deployment: i64,
    pub(crate) app_slug: String,
    /// Zero for access tokens.
    pub(crate) key_id: i64,
    pub(crate) key_name: String,
    pub(crate) blocked: bool,
    pub(crate) blocked_by_rule: Option<String>,
    pub(crate) client_ip: String,
    /// Method and resource, such as `GET /orders`.
    pub(crate) path: String,
    pub(crate) user_agent: String,
    pub(crate) rate_limits: Value,
    pub(crate) timestamp: DateTime<Utc>,
}
