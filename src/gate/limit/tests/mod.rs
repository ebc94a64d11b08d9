//! The limiter as the pipeline meets it.

mod changes;
mod cost;
mod debt;
mod headers;
mod known;
mod limits;
mod lookups;
mod modes;
mod races;
mod room;
mod schemes;
#[cfg(feature = "redis")]
mod shared;
mod windows;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::admit::{ChargeOutcome, LimitRefusal, Limiter, charge_all};
use super::counters::{CalendarUnit, ClockReading, Window};
use super::fields::{RateLimitHeaders, RuleStates};
use super::limits::{Algorithm, Limits};
use super::rule::{Mode, RuleSpec};
use super::rule_set::RuleSet;
use super::subjects::{Caller, KeySubject};
use crate::clock::Now;
use crate::gate::request::credential::KeyDigest;

const START: Now = Now {
    monotonic: Duration::from_secs(1_000),
    unix: Duration::ZERO,
};
const MINUTE: Duration = Duration::from_secs(60);
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::SlidingWindow];

fn later(by: Duration) -> Now {
    Now {
        monotonic: START.monotonic + by,
        ..START
    }
}

fn spec(mode: Mode, max_requests: u32, window: impl Into<Window>) -> RuleSpec {
    RuleSpec {
        mode,
        max_requests,
        window: window.into(),
        endpoints: None,
        priority: 0,
    }
}

fn only(endpoints: &[&str], rule: RuleSpec) -> RuleSpec {
    let endpoints = endpoints
        .iter()
        .map(|endpoint| Box::from(*endpoint))
        .collect();
    RuleSpec {
        endpoints: Some(endpoints),
        ..rule
    }
}

fn app(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// One request at a time, by whom and from where the test says.
struct TestGate {
    limiter: Limiter,
    rules: RuleSet,
}

impl TestGate {
    fn new(rules: &[RuleSpec]) -> Self {
        let limiter = Limiter::new(&Limits::local(), None);
        let rules = limiter.ruleset(1, &app("shop"), rules, None, START);
        Self { limiter, rules }
    }

    fn ask(&self, key: i64, ip: u32, resource: &str, now: Now) -> ChargeOutcome {
        ask(&self.limiter, &self.rules, key, ip, resource, now)
    }

    /// A request of this cost, always by the same caller.
    fn ask_for(&self, cost: u32, now: Now) -> ChargeOutcome {
        ask_for(&self.limiter, &self.rules, (1, 1, "/"), cost, now)
    }

    /// Of two requests of one caller that have both looked before either is charged, the refusal of
    /// the second.
    fn refused_after_the_look(&self, cost: u32, now: Now) -> LimitRefusal {
        let now = ClockReading::from(now);
        let caller = Caller {
            key: KeySubject::ApiKey(1),
            resource: "/",
            address: Some(Ipv4Addr::LOCALHOST.into()),
            known: None,
        };
        let find = || self.limiter.find(&self.rules, &caller, now);
        let (winner, loser) = (find(), find());
        let mut all = winner.iter().chain(&loser);
        assert!(all.all(|rule| rule.look(now, cost, None).is_ok()));
        assert!(charge_all(&self.rules, &winner, cost, None, now).is_charged());
        expect_limited(charge_all(&self.rules, &loser, cost, None, now))
    }

    fn expect_admitted(&self, key: i64, ip: u32, resource: &str) -> RuleStates {
        expect_charged(self.ask(key, ip, resource, START))
    }

    fn expect_refused(&self, key: i64, ip: u32, resource: &str) -> LimitRefusal {
        expect_limited(self.ask(key, ip, resource, START))
    }

    fn headers(&self, states: &RuleStates, chosen: RateLimitHeaders) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.rules.fields(states, chosen).write(&mut headers);
        headers
    }
}

fn ask(
    limiter: &Limiter,
    rules: &RuleSet,
    key: i64,
    ip: u32,
    resource: &str,
    now: Now,
) -> ChargeOutcome {
    ask_for(limiter, rules, (key, ip, resource), 1, now)
}

/// A request of this cost, by whom and from where and for what.
fn ask_for(
    limiter: &Limiter,
    rules: &RuleSet,
    (key, ip, resource): (i64, u32, &str),
    cost: u32,
    now: Now,
) -> ChargeOutcome {
    let caller = Caller {
        key: KeySubject::ApiKey(key),
        resource,
        address: Some(IpAddr::from(Ipv4Addr::from_bits(ip))),
        known: None,
    };
    limiter.admit(rules, &caller, cost, None, now)
}

impl ChargeOutcome {
    fn is_charged(&self) -> bool {
        matches!(self, Self::Charged(_))
    }
}

fn expect_charged(outcome: ChargeOutcome) -> RuleStates {
    match outcome {
        ChargeOutcome::Charged(states) => states,
        other => panic!("expected to be admitted, got {other:?}"),
    }
}

fn expect_limited(outcome: ChargeOutcome) -> LimitRefusal {
    match outcome {
        ChargeOutcome::Limited(refusal) => *refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

const CALENDAR_DAY: Window = Window::Calendar(CalendarUnit::Day);
const CALENDAR_MONTH: Window = Window::Calendar(CalendarUnit::Month);

/// 2028-02-28, 12:00 UTC.
const LEAP: Now = Now {
    monotonic: Duration::from_secs(1_000),
    unix: Duration::from_secs(1_835_352_000),
};

fn leap(by: Duration) -> Now {
    Now {
        monotonic: LEAP.monotonic + by,
        unix: LEAP.unix + by,
    }
}

/// Every way to count, in every unit there is.
fn kinds() -> Vec<(Algorithm, Window)> {
    let rolling = [250, 1_000, 60_000, 3_600_000, 86_400_000, 30 * 86_400_000];
    let rolling = rolling.map(|millis| Window::Rolling(Duration::from_millis(millis)));
    let windows = rolling.into_iter().chain([CALENDAR_DAY, CALENDAR_MONTH]);
    windows
        .flat_map(|window| ALGORITHMS.map(|algorithm| (algorithm, window)))
        .collect()
}

/// The longest that such a window can be.
fn length(window: Window) -> Duration {
    match window {
        Window::Rolling(length) => length,
        Window::Calendar(unit) => unit.longest(),
    }
}

fn left(states: &RuleStates) -> Vec<u32> {
    states.iter().map(|state| state.remaining).collect()
}
