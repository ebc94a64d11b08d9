use std::num::NonZeroU32;
use std::time::Duration;

use super::super::counters::{CalendarUnit, Window};
use super::super::limits::Limits;
use super::super::rule::{Mode, RuleSpec};
use crate::models::{RateLimit, RateLimitMode, RateLimitRule, RateLimitUnit};

fn rule(unit: RateLimitUnit, mode: Option<RateLimitMode>) -> RateLimitRule {
    RateLimit {
        unit,
        duration: 2,
        max_requests: 5,
        mode,
    }
    .into()
}

fn replicas(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

#[test]
fn every_rolling_unit_has_its_window() {
    for (unit, milliseconds) in [
        (RateLimitUnit::Millisecond, 2),
        (RateLimitUnit::Second, 2_000),
        (RateLimitUnit::Minute, 120_000),
        (RateLimitUnit::Hour, 7_200_000),
        (RateLimitUnit::Day, 172_800_000),
        (RateLimitUnit::Month, 60 * 86_400_000),
    ] {
        let spec = RuleSpec::mirror(&rule(unit, None)).unwrap();
        assert_eq!(spec.window, Duration::from_millis(milliseconds).into());
        assert_eq!((spec.mode, spec.max_requests), (Mode::App, 5));
    }
}

#[test]
fn calendar_units_are_one_day_or_one_month() {
    for (unit, window) in [
        (RateLimitUnit::CalendarDay, CalendarUnit::Day),
        (RateLimitUnit::CalendarMonth, CalendarUnit::Month),
    ] {
        let mut calendar = rule(unit, None);
        assert_eq!(RuleSpec::mirror(&calendar), None);
        calendar.duration = 1;
        let spec = RuleSpec::mirror(&calendar).unwrap();
        assert_eq!(spec.window, Window::Calendar(window));
    }
}

#[test]
fn what_cannot_be_counted_here_is_left_to_the_gateway() {
    let odd_unit = RateLimitUnit::Unknown("fortnight".into());
    let odd_mode = RateLimitMode::Unknown("per_moon".into());
    assert_eq!(RuleSpec::mirror(&rule(odd_unit, None)), None);
    assert_eq!(
        RuleSpec::mirror(&rule(RateLimitUnit::Minute, Some(odd_mode))),
        None
    );
    for duration in [0, -1, i32::MIN] {
        let mut endless = rule(RateLimitUnit::Minute, None);
        endless.duration = duration;
        assert_eq!(RuleSpec::mirror(&endless), None);
    }
}

#[test]
fn a_limit_of_zero_or_less_admits_nothing() {
    let mut shut = rule(RateLimitUnit::Minute, None);
    for max_requests in [0, -1, i32::MIN] {
        shut.max_requests = max_requests;
        let limits = Limits::local().replicas(replicas(3));
        let specs = limits.specs(std::slice::from_ref(&shut)).unwrap();
        assert_eq!(specs[0].max_requests, 0);
    }
}

#[test]
fn shares_never_add_up_to_more_than_the_limit() {
    let minute = rule(RateLimitUnit::Minute, None);
    for count in 1..=5 {
        let limits = Limits::local().replicas(replicas(count));
        let share = limits.specs(std::slice::from_ref(&minute)).unwrap()[0].max_requests;
        assert!(share >= 1 && share * count <= 5 && (share + 1) * count > 5);
    }
    let six = Limits::local().replicas(replicas(6));
    assert_eq!(six.specs(&[minute]), None);
    assert_eq!(six.specs(&[]).unwrap()[0].max_requests, 166);
    assert_eq!(six.replicas(replicas(1_001)).specs(&[]), None);
}

#[test]
fn a_fixed_rule_that_cannot_be_counted_is_named() {
    let good = rule(RateLimitUnit::Minute, None);
    let odd = rule(
        RateLimitUnit::Unknown("fortnight".into()),
        Some(RateLimitMode::PerKey),
    );
    let local = Limits::local();
    assert!(local.clone().rules([good.clone()]).is_ok());
    let error = local.clone().rules([good.clone(), odd]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration: the fixed rate-limit rule `per_key:5/2 fortnight` cannot be counted"
    );
    let error = local
        .clone()
        .replicas(replicas(6))
        .rules([good.clone()])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration: the fixed rate-limit rule `per_app:5/2 minute` is smaller than the \
         number of replicas"
    );
    assert!(local.rules::<[RateLimitRule; 0]>([]).is_err());
    let late = Limits::local().rules([good]).unwrap();
    assert_eq!(late.problem(), None);
    assert!(late.replicas(replicas(6)).problem().is_some());
}
