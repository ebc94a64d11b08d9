//! The words of a rule: what its window is counted in, and who shares one count.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
