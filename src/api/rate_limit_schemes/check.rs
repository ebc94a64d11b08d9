//! What Wacht would refuse about a scheme is refused unsent.

use super::limit::RateLimitRule;
use super::words::{RateLimitMode, RateLimitUnit};
use crate::api::check::{refuse, url_name};
use crate::client::Result;

/// What a new scheme is called in URLs.
pub(super) fn slug(slug: &str) -> Result<()> {
    url_name("slug", slug)
}

/// What a scheme is called for people, if that is said.
pub(super) fn name(name: Option<&str>) -> Result<()> {
    match name {
        Some(name) if name.trim().is_empty() => refuse("the scheme's name is blank"),
        _ => Ok(()),
    }
}

/// The rules of a scheme, as the management API judges them and in its words.
pub(super) fn rules(rules: &[RateLimitRule]) -> Result<()> {
    if rules.is_empty() {
        return refuse("Rate limit scheme must include at least one rule");
    }
    rules.iter().enumerate().try_for_each(|(index, rule)| {
        objection(rule).map_or(Ok(()), |objection| {
            refuse(format!("rules[{index}]: {objection}"))
        })
    })
}

fn objection(rule: &RateLimitRule) -> Option<String> {
    let problem = |text: &str| Some(text.to_owned());
    let (unit, longest, too_long) = match &rule.unit {
        RateLimitUnit::Millisecond => (
            1,
            60_000,
            "Millisecond-based limits cannot exceed 60000 milliseconds (60 seconds)",
        ),
        RateLimitUnit::Second => (
            1000,
            1800,
            "Second-based limits cannot exceed 1800 seconds (30 minutes)",
        ),
        RateLimitUnit::Minute => (
            60_000,
            1440,
            "Minute-based limits cannot exceed 1440 minutes (24 hours)",
        ),
        RateLimitUnit::Hour => (HOUR, 720, WINDOW_TOO_LONG),
        RateLimitUnit::Day => (DAY, 30, WINDOW_TOO_LONG),
        RateLimitUnit::CalendarDay => (DAY, 1, "Calendar day limits must be exactly 1 day"),
        RateLimitUnit::Month | RateLimitUnit::CalendarMonth => (30 * DAY, 1, WINDOW_TOO_LONG),
        RateLimitUnit::Unknown(word) => {
            return Some(format!("`{}` is no unit", word.escape_debug()));
        }
    };
    if rule.duration <= 0 {
        return problem("Duration must be positive");
    }
    if rule.max_requests <= 0 {
        return problem("Max requests must be positive");
    }
    if i64::from(rule.duration) * unit > 30 * DAY {
        return problem(WINDOW_TOO_LONG);
    }
    if rule.duration > longest {
        return problem(too_long);
    }
    match &rule.mode {
        Some(RateLimitMode::PerIp) => problem(
            "the management API does not take the mode per_ip; per_app_and_ip or per_key_and_ip \
             limit by address too",
        ),
        Some(RateLimitMode::Unknown(word)) => Some(format!("`{}` is no mode", word.escape_debug())),
        _ => None,
    }
}

/// In milliseconds.
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const WINDOW_TOO_LONG: &str = "Rate limit window cannot exceed 30 days";

#[cfg(test)]
mod tests;
