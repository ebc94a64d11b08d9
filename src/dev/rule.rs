//! Rate-limit rules as the gateway reads them, and their windows.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A rule that Wacht can read.
#[derive(Deserialize, Serialize)]
pub(super) struct Rule {
    unit: Unit,
    duration: i32,
    pub(super) max_requests: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<String>>,
    #[serde(default)]
    priority: i32,
}

#[derive(Clone, Copy, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    CalendarDay,
    Month,
    CalendarMonth,
}

#[derive(Clone, Copy, Deserialize, Serialize, PartialEq, Eq)]
pub(super) enum Mode {
    #[serde(rename = "per_app")]
    App,
    #[serde(rename = "per_key")]
    Key,
    #[serde(rename = "per_key_and_ip")]
    KeyAndIp,
    #[serde(rename = "per_app_and_ip")]
    AppAndIp,
}

impl Rule {
    /// What holds where no scheme is found: 1000 a minute for the whole app.
    pub(super) fn default_limit() -> Self {
        Self {
            unit: Unit::Minute,
            duration: 1,
            max_requests: 1000,
            mode: None,
            endpoints: None,
            priority: 0,
        }
    }

    /// The rules of a scheme that are for this resource, in the order they are looked at.
    ///
    /// One rule that cannot be read empties the whole scheme, as it does at the gateway.
    pub(super) fn matching(stored: &[Value], resource: &str) -> Vec<Self> {
        let rules: Result<Vec<Self>, _> = stored.iter().map(Self::deserialize).collect();
        let mut rules = rules.unwrap_or_default();
        rules.retain(|rule| match &rule.endpoints {
            None => true,
            Some(endpoints) => endpoints.iter().any(|e| e == "*" || e == resource),
        });
        rules.sort_by_key(|rule| rule.priority);
        rules
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode.unwrap_or(Mode::App)
    }

    pub(super) fn window_ms(&self) -> i64 {
        i64::from(self.duration).saturating_mul(self.unit.milliseconds())
    }

    /// Which window a moment belongs to. All but calendar months start at multiples of their
    /// length since 1970, which for a day is midnight UTC.
    pub(super) fn period(&self, now: DateTime<Utc>) -> i64 {
        match self.unit {
            Unit::CalendarMonth => i64::from(now.year()) * 12 + i64::from(now.month0()),
            _ => now.timestamp_millis().div_euclid(self.window_ms().max(1)),
        }
    }

    /// What the counter is named after beside the window's length.
    pub(super) fn counter_suffix(&self) -> &'static str {
        if self.unit == Unit::CalendarMonth {
            ":calendar"
        } else {
            ""
        }
    }

    /// `60s`, or `250ms` below one second: how header names and rule names state the window.
    pub(super) fn window_name(&self) -> String {
        match self.window_ms() {
            ms if ms < 1000 => format!("{ms}ms"),
            ms => format!("{}s", ms / 1000),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.max_requests, self.window_name())
    }

    /// What the management API answers 400 with, or `None` for a rule it stores.
    pub(super) fn objection(&self) -> Option<&'static str> {
        if self.duration <= 0 {
            return Some("Duration must be positive");
        }
        if self.max_requests <= 0 {
            return Some("Max requests must be positive");
        }
        if self.window_ms() > 30 * Unit::Day.milliseconds() {
            return Some("Rate limit window cannot exceed 30 days");
        }
        match self.unit {
            Unit::Millisecond if self.duration > 60_000 => {
                Some("Millisecond-based limits cannot exceed 60000 milliseconds (60 seconds)")
            }
            Unit::Second if self.duration > 1800 => {
                Some("Second-based limits cannot exceed 1800 seconds (30 minutes)")
            }
            Unit::Minute if self.duration > 1440 => {
                Some("Minute-based limits cannot exceed 1440 minutes (24 hours)")
            }
            Unit::Hour if self.duration > 720 => {
                Some("Hour-based limits cannot exceed 720 hours (30 days)")
            }
            Unit::CalendarDay if self.duration != 1 => {
                Some("Calendar day limits must be exactly 1 day")
            }
            _ => None,
        }
    }
}

impl Unit {
    fn milliseconds(self) -> i64 {
        match self {
            Self::Millisecond => 1,
            Self::Second => 1000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day | Self::CalendarDay => 86_400_000,
            Self::Month | Self::CalendarMonth => 30 * 86_400_000,
        }
    }
}
