//! Rate limits: how many requests in how long, counted for whom.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

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

/// What the length of a window is counted in.
///
/// A word of a newer Wacht is kept as it is, and written back as it came:
///
/// ```
/// use wacht_auth::models::RateLimitUnit;
///
/// assert_eq!(RateLimitUnit::from("calendar_day".to_owned()), RateLimitUnit::CalendarDay);
/// let newer = RateLimitUnit::from("fortnight".to_owned());
/// assert_eq!(newer, RateLimitUnit::Unknown("fortnight".to_owned()));
/// assert_eq!(newer.as_str(), "fortnight");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitUnit {
    /// A thousandth of a second.
    Millisecond,
    /// A second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// A day that begins at 00:00 UTC.
    CalendarDay,
    /// 30 days.
    Month,
    /// A month that begins on the 1st at 00:00 UTC.
    CalendarMonth,
    /// A word this version does not know, or the text of a rule that could not be read.
    Unknown(String),
}

/// Who shares one count.
///
/// A limit per address, whatever the key, is for fixed rules of a gate alone:
///
/// ```
/// use wacht_auth::models::{
///     CreateRateLimitSchemeRequest, RateLimit, RateLimitMode, RateLimitUnit,
/// };
/// use wacht_auth::{Error, Limits};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// let limit = RateLimit {
///     unit: RateLimitUnit::Minute,
///     duration: 1,
///     max_requests: 100,
///     mode: Some(RateLimitMode::PerIp),
/// };
/// assert!(Limits::local().rules([limit.clone()]).is_ok());
///
/// let scheme = CreateRateLimitSchemeRequest {
///     slug: "standard".to_owned(),
///     name: "Standard".to_owned(),
///     rules: vec![limit],
///     ..Default::default()
/// };
/// let answer = client.api_keys().create_rate_limit_scheme(scheme).send().await;
/// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitMode {
    /// All callers of an app.
    PerApp,
    /// All requests with a key.
    PerKey,
    /// All requests from an address. The management API refuses this mode today.
    PerIp,
    /// All requests with a key from an address.
    PerKeyAndIp,
    /// All requests to an app from an address.
    PerAppAndIp,
    /// A word this version does not know.
    Unknown(String),
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

// === impl RateLimitUnit ===

impl RateLimitUnit {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Millisecond => "millisecond",
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::CalendarDay => "calendar_day",
            Self::Month => "month",
            Self::CalendarMonth => "calendar_month",
            Self::Unknown(word) => word,
        }
    }
}

impl From<String> for RateLimitUnit {
    fn from(word: String) -> Self {
        match word.as_str() {
            "millisecond" => Self::Millisecond,
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "calendar_day" => Self::CalendarDay,
            "month" => Self::Month,
            "calendar_month" => Self::CalendarMonth,
            _ => Self::Unknown(word),
        }
    }
}

impl<'de> Deserialize<'de> for RateLimitUnit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for RateLimitUnit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// === impl RateLimitMode ===

impl RateLimitMode {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::PerApp => "per_app",
            Self::PerKey => "per_key",
            Self::PerIp => "per_ip",
            Self::PerKeyAndIp => "per_key_and_ip",
            Self::PerAppAndIp => "per_app_and_ip",
            Self::Unknown(word) => word,
        }
    }
}

impl From<String> for RateLimitMode {
    fn from(word: String) -> Self {
        match word.as_str() {
            "per_app" => Self::PerApp,
            "per_key" => Self::PerKey,
            "per_ip" => Self::PerIp,
            "per_key_and_ip" => Self::PerKeyAndIp,
            "per_app_and_ip" => Self::PerAppAndIp,
            _ => Self::Unknown(word),
        }
    }
}

impl<'de> Deserialize<'de> for RateLimitMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for RateLimitMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
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
    fn words_survive_the_round_trip() {
        for word in [
            "millisecond",
            "second",
            "minute",
            "hour",
            "day",
            "calendar_day",
            "month",
            "calendar_month",
        ] {
            let unit = RateLimitUnit::from(word.to_owned());
            assert!(!matches!(unit, RateLimitUnit::Unknown(_)), "{word}");
            assert_eq!(serde_json::to_value(&unit).unwrap(), word);
        }
        for word in [
            "per_app",
            "per_key",
            "per_ip",
            "per_key_and_ip",
            "per_app_and_ip",
        ] {
            let mode = RateLimitMode::from(word.to_owned());
            assert!(!matches!(mode, RateLimitMode::Unknown(_)), "{word}");
            assert_eq!(serde_json::to_value(&mode).unwrap(), word);
        }
        assert_eq!(
            RateLimitUnit::from("fortnight".to_owned()),
            RateLimitUnit::Unknown("fortnight".to_owned())
        );
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
