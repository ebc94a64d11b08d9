//! What Wacht would refuse about a scheme is refused unsent.

use super::limit::{RateLimitMode, RateLimitRule, RateLimitUnit};
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
mod tests {
    use super::super::RateLimit;
    use super::*;
    use crate::client::Error;

    fn refused(result: Result<()>) -> bool {
        match result {
            Ok(()) => false,
            Err(Error::InvalidRequest(_)) => true,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_are_judged_as_the_management_api_judges_them() {
        let rule = |unit: &str, duration, max_requests| {
            RateLimitRule::from(RateLimit {
                unit: unit.to_owned().into(),
                duration,
                max_requests,
                mode: None,
            })
        };
        for (unit, longest) in [
            ("millisecond", 60_000),
            ("second", 1800),
            ("minute", 1440),
            ("hour", 720),
            ("day", 30),
            ("calendar_day", 1),
            ("month", 1),
            ("calendar_month", 1),
        ] {
            assert!(!refused(rules(&[rule(unit, 1, 1)])), "{unit}");
            assert!(!refused(rules(&[rule(unit, longest, i32::MAX)])), "{unit}");
            for (duration, max) in [
                (longest + 1, 1),
                (0, 1),
                (-1, 1),
                (i32::MAX, 1),
                (1, 0),
                (1, -5),
            ] {
                assert!(
                    refused(rules(&[rule(unit, duration, max)])),
                    "{unit} {duration} {max}"
                );
            }
        }
        assert!(refused(rules(&[])));
        assert!(refused(rules(&[rule("week", 1, 1)])));
        let with_mode = |mode| {
            rules(&[RateLimitRule {
                mode: Some(mode),
                ..rule("minute", 1, 1)
            }])
        };
        assert!(refused(with_mode(RateLimitMode::PerIp)));
        assert!(refused(with_mode(RateLimitMode::Unknown(
            "per_user".to_owned()
        ))));
        assert!(!refused(with_mode(RateLimitMode::PerAppAndIp)));
        let message = rules(&[rule("minute", 1, 1), rule("minute", 0, 1)])
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with("rules[1]: Duration must be positive"),
            "{message}"
        );
    }
}
