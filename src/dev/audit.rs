//! What the gateway keeps of each check it answered.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::gateway_routes::{Decision, Kind, Subject};

pub(super) struct AuditRow {
    pub(super) request_id: String,
    pub(super) deployment: i64,
    pub(super) app_slug: String,
    /// Zero for access tokens.
    pub(super) key_id: i64,
    pub(super) key_name: String,
    pub(super) blocked: bool,
    pub(super) blocked_by_rule: Option<String>,
    pub(super) client_ip: String,
    /// Method and resource, such as `GET /orders`.
    pub(super) path: String,
    pub(super) user_agent: String,
    pub(super) rate_limits: Value,
    pub(super) timestamp: DateTime<Utc>,
}

/// What the check itself said, beyond who asks.
pub(super) struct Asked {
    pub(super) client_ip: String,
    pub(super) path: String,
    pub(super) user_agent: String,
    pub(super) timestamp: DateTime<Utc>,
}

impl AuditRow {
    pub(super) fn new(
        request_id: &str,
        subject: &Subject,
        decision: &Decision,
        asked: Asked,
    ) -> Self {
        let rate_limits = decision.rules.iter().map(|evaluated| {
            let (rule, remaining) = (&evaluated.rule, evaluated.remaining);
            json!({ "rule": rule.name(), "remaining": remaining, "limit": rule.max_requests })
        });
        Self {
            request_id: request_id.to_owned(),
            deployment: subject.deployment,
            app_slug: subject.slug.clone(),
            key_id: match subject.kind {
                Kind::ApiKey => subject.key_id,
                Kind::AccessToken(_) => 0,
            },
            key_name: subject.name.clone(),
            blocked: decision.reason.is_some(),
            blocked_by_rule: decision.blocked_rule.clone(),
            client_ip: asked.client_ip,
            path: asked.path,
            user_agent: asked.user_agent,
            rate_limits: rate_limits.collect(),
            timestamp: asked.timestamp,
        }
    }
}
