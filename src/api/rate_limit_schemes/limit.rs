//! Rate limits: how many requests in how long, counted for whom.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::words::{RateLimitMode, RateLimitUnit};

/// At most `max_requests` in a window of `duration` times `unit`.
///
/// ```
/// use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
///
/// let limit = RateLimit {
///     unit: RateLimitUnit::Minute,
///     duration: 1,
///     max_requests: 100,
///     mode: Some(RateLimitMode::PerKey),
/// };
/// let rule = limit.with_endpoints(["/reports"]).with_priority(10);
/// assert_eq!(rule.max_requests, 100);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RateLimit {
    /// What `duration` counts.
    pub unit: RateLimitUnit,
    /// How many units the window is long.
    pub duration: i32,
    /// How many requests one window admits.
    pub max_requests: i32,
    /// Who shares one count. Without it, all callers of the app do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RateLimitMode>,
}

/// A [`RateLimit`] with the endpoints it is about and its place among others.
///
/// Rules that match a request all apply to it, so a tight one may stand beside a wide one:
///
/// ```
/// use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitRule, RateLimitUnit};
///
/// let everywhere = RateLimit {
///     unit: RateLimitUnit::Hour,
///     duration: 1,
///     max_requests: 10_000,
///     mode: Some(RateLimitMode::PerKey),
/// };
/// let reports = RateLimit { max_requests: 20, ..everywhere.clone() }.with_endpoints(["/reports"]);
/// let rules: [RateLimitRule; 2] = [everywhere.into(), reports.with_priority(1)];
/// assert_eq!(rules[0].endpoints, None);
/// assert_eq!(rules[1].endpoints.as_deref(), Some(&["/reports".to_owned()][..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RateLimitRule {
    /// What `duration` counts.
    pub unit: RateLimitUnit,
    /// How many units the window is long.
    pub duration: i32,
    /// How many requests one window admits.
    pub max_requests: i32,
    /// Who shares one count. Without it, all callers of the app do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RateLimitMode>,
    /// The paths the rule is about, compared exactly; `*` is every path, and so is `None`. An
    /// empty list is no path at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// Rules are looked at in ascending order of this number. Defaults to 0.
    #[serde(default)]
    pub priority: i32,
}

// === impl RateLimit ===

impl RateLimit {
    /// Makes a rule that is about these paths only.
    #[must_use]
    pub fn with_endpoints<I>(self, endpoints: I) -> RateLimitRule
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        RateLimitRule::from(self).with_endpoints(endpoints)
    }

    /// Makes a rule with this place among others.
    #[must_use]
    pub fn with_priority(self, priority: i32) -> RateLimitRule {
        RateLimitRule::from(self).with_priority(priority)
    }
}

// === impl RateLimitRule ===

impl RateLimitRule {
    /// Makes the rule be about these paths only.
    #[must_use]
    pub fn with_endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints = Some(endpoints.into_iter().map(Into::into).collect());
        self
    }

    /// Gives the rule this place among others.
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Stands for a rule that could not be read. No unit is of that name, so nobody can take it
    /// for a limit it knows how to apply.
    fn unreadable(rule: &Value) -> Self {
        let text: String = rule.to_string().chars().take(UNREADABLE_LIMIT).collect();
        Self {
            unit: RateLimitUnit::Unknown(text),
            duration: 0,
            max_requests: 0,
            mode: None,
            endpoints: None,
            priority: 0,
        }
    }
}

impl From<RateLimit> for RateLimitRule {
    fn from(limit: RateLimit) -> Self {
        Self {
            unit: limit.unit,
            duration: limit.duration,
            max_requests: limit.max_requests,
            mode: limit.mode,
            endpoints: None,
            priority: 0,
        }
    }
}

/// Reads rules one by one. One that cannot be read must not hide the others, nor may it vanish:
/// an app would then seem to have a laxer scheme than it has.
pub(crate) fn rules<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<RateLimitRule>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(rules) => rules
            .iter()
            .map(|rule| {
                RateLimitRule::deserialize(rule).unwrap_or_else(|_| RateLimitRule::unreadable(rule))
            })
            .collect(),
        other => vec![RateLimitRule::unreadable(&other)],
    })
}

/// In characters.
const UNREADABLE_LIMIT: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Vec<RateLimitRule> {
        rules(value).unwrap()
    }

    #[test]
    fn a_rule_that_cannot_be_read_keeps_its_place_and_takes_no_known_unit() {
        let good = json!({"unit": "minute", "duration": 1, "max_requests": 5, "priority": 2});
        let rules = read(json!([
            good,
            {"unit": "minute"},
            {"unit": "minute", "duration": 5_000_000_000_i64, "max_requests": 1},
            17,
        ]));
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].unit, RateLimitUnit::Minute);
        assert_eq!(rules[0].priority, 2);
        for rule in &rules[1..] {
            assert!(matches!(rule.unit, RateLimitUnit::Unknown(_)), "{rule:?}");
        }
        assert_eq!(read(json!({"unit": "minute"})).len(), 1);
        assert_eq!(read(Value::Null), []);
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        let rule = RateLimit {
            unit: RateLimitUnit::CalendarDay,
            duration: 1,
            max_requests: 7,
            mode: None,
        }
        .with_endpoints(["/a"])
        .with_priority(3);
        let wire = serde_json::to_value(&rule).unwrap();
        assert_eq!(
            wire,
            json!({
                "unit": "calendar_day", "duration": 1, "max_requests": 7,
                "endpoints": ["/a"], "priority": 3,
            })
        );
        assert_eq!(read(json!([wire])), [rule]);
    }
}
