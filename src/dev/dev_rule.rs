//! Rate-limit rules as a test writes them.

use serde_json::{Map, Value, json};

/// One rule of a rate-limit scheme, for [`DevApp::scheme`](super::DevApp::scheme).
///
/// Units are Wacht's words: `millisecond`, `second`, `minute`, `hour`, `day`, `calendar_day`,
/// `month`, `calendar_month`. Nothing is validated: a unit or mode that Wacht does not know is
/// stored as given, which is how a test finds out what its subject makes of one.
///
/// ```
/// use wacht_auth::api::gateway::{CheckRequest, DenyReason};
/// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new();
/// # let wacht = DevGateway::start().await.clock(&clock);
/// let client = wacht.client();
/// let reports = DevRule::per_key(1, "minute", 1).endpoints(["/reports"]);
/// wacht.app("orders").scheme([DevRule::per_key(100, "hour", 1), reports.priority(1)]);
///
/// let key = wacht.issue_key("orders").issue();
/// let check = || CheckRequest::api_key(key.secret()).resource("/reports");
/// assert!(client.gateway().check(check()).send().await?.allowed);
/// let second = client.gateway().check(check()).send().await?;
/// assert_eq!(second.reason, Some(DenyReason::RateLimited));
/// assert_eq!(second.blocked_rule.as_deref(), Some("1/60s"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DevRule(Value);

impl DevRule {
    /// At most `max_requests` in `duration` units for all keys of the app together.
    pub fn per_app(max_requests: i32, unit: &str, duration: i32) -> Self {
        Self::with_mode("per_app", max_requests, unit, duration)
    }

    /// At most `max_requests` in `duration` units for each key and path: this is how the gateway
    /// counts. A layer counts a key over all paths, unless
    /// [`Limits::per_resource_counters`](crate::Limits::per_resource_counters) says otherwise.
    pub fn per_key(max_requests: i32, unit: &str, duration: i32) -> Self {
        Self::with_mode("per_key", max_requests, unit, duration)
    }

    /// At most `max_requests` in `duration` units for each key, client address and path, as
    /// [`per_key`](Self::per_key).
    pub fn per_key_and_ip(max_requests: i32, unit: &str, duration: i32) -> Self {
        Self::with_mode("per_key_and_ip", max_requests, unit, duration)
    }

    /// At most `max_requests` in `duration` units for each client address, over all keys.
    pub fn per_app_and_ip(max_requests: i32, unit: &str, duration: i32) -> Self {
        Self::with_mode("per_app_and_ip", max_requests, unit, duration)
    }

    /// A rule that names no mode; Wacht then counts per app.
    pub fn without_mode(max_requests: i32, unit: &str, duration: i32) -> Self {
        Self(json!({
            "unit": unit, "duration": duration, "max_requests": max_requests, "priority": 0,
        }))
    }

    /// Any JSON, stored as it is.
    ///
    /// A scheme with a rule that Wacht cannot read limits nothing at the gateway, and is still
    /// listed by the management API.
    ///
    /// What becomes of a unit that this version does not know:
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule};
    /// use wacht_auth::models::RateLimitUnit;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let rule = serde_json::json!({"unit": "fortnight", "duration": 1, "max_requests": 9});
    /// wacht.app("orders").scheme([DevRule::raw(rule)]);
    ///
    /// let app = client.api_keys().get_api_auth_app("orders").send().await?;
    /// assert_eq!(app.rate_limits[0].unit, RateLimitUnit::Unknown("fortnight".to_owned()));
    /// # Ok(()) }
    /// ```
    pub fn raw(rule: Value) -> Self {
        Self(rule)
    }

    /// The resources the rule is for, compared exactly; `*` stands for all. Default: all.
    pub fn endpoints<I>(self, endpoints: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let endpoints: Vec<String> = endpoints.into_iter().map(Into::into).collect();
        self.with("endpoints", json!(endpoints))
    }

    /// Where the rule stands among the others, lowest first. Default: 0.
    pub fn priority(self, priority: i32) -> Self {
        self.with("priority", json!(priority))
    }

    fn with_mode(mode: &str, max_requests: i32, unit: &str, duration: i32) -> Self {
        Self::without_mode(max_requests, unit, duration).with("mode", json!(mode))
    }

    fn with(mut self, member: &str, value: Value) -> Self {
        if let Some(rule) = self.0.as_object_mut() {
            rule.insert(member.to_owned(), value);
        } else {
            self.0 = Value::Object(Map::from_iter([(member.to_owned(), value)]));
        }
        self
    }

    pub(super) fn into_json(self) -> Value {
        self.0
    }
}
