//! Rules that are taken and rules that are not.

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
