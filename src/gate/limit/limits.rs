//! Who counts requests, and which of Wacht's rules can be counted here.

use std::time::Duration;

use crate::gate::limit::{DEFAULT_CAPACITY, Mode, RuleSpec};
use crate::models::{RateLimitMode, RateLimitRule, RateLimitUnit};

/// Who applies the app's rate-limit scheme, and with how much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(crate) authority: Authority,
    pub(crate) capacity: usize,
}

/// Whose count decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    Local,
    Gateway,
    Nobody,
}

impl Limits {
    /// This process counts, by the app's scheme as Wacht documents it: the default.
    ///
    /// Limits are per process: two replicas admit up to twice as much. An app without rules gets
    /// the gateway's default of 1000 requests a minute per app. Apps with a rule that cannot be
    /// counted here have every request counted by the gateway instead, and a line in the log.
    pub fn local() -> Self {
        Self {
            authority: Authority::Local,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// The gateway counts: every request is a check of its own, and nothing is answered from the
    /// cache but what is known to be bad.
    ///
    /// It costs a round trip per request, and without the gateway no request passes. A
    /// requirement that is a plain list of permissions travels with the check, so the gateway
    /// refuses before it charges; any other is checked here, after it has charged.
    pub fn gateway() -> Self {
        Self {
            authority: Authority::Gateway,
            ..Self::local()
        }
    }

    /// Nobody counts.
    pub fn off() -> Self {
        Self {
            authority: Authority::Nobody,
            ..Self::local()
        }
    }

    /// How many keys and addresses are counted apart at the same time. Default: 100 000.
    ///
    /// Counters at rest are forgotten. When there is no room left, newcomers share one counter
    /// per rule rather than pushing out one that is in use.
    pub fn capacity(mut self, subjects: usize) -> Self {
        self.capacity = subjects;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::local()
    }
}

impl RuleSpec {
    /// The rule in the gate's own terms; `None` if it cannot be counted here, because its unit or
    /// mode is a calendar's or unknown, or its numbers make no sense.
    pub(crate) fn mirror(rule: &RateLimitRule) -> Option<Self> {
        let mode = match &rule.mode {
            // A rule without a mode is per app, as the gateway reads it.
            None | Some(RateLimitMode::PerApp) => Mode::App,
            Some(RateLimitMode::PerKey) => Mode::Key,
            Some(RateLimitMode::PerIp) => Mode::Ip,
            Some(RateLimitMode::PerKeyAndIp) => Mode::KeyAndIp,
            Some(RateLimitMode::PerAppAndIp) => Mode::AppAndIp,
            Some(RateLimitMode::Unknown(_)) => return None,
        };
        let milliseconds = match &rule.unit {
            RateLimitUnit::Millisecond => 1,
            RateLimitUnit::Second => 1_000,
            RateLimitUnit::Minute => 60_000,
            RateLimitUnit::Hour => 3_600_000,
            RateLimitUnit::Day => 86_400_000,
            RateLimitUnit::Month => 30 * 86_400_000,
            RateLimitUnit::CalendarDay
            | RateLimitUnit::CalendarMonth
            | RateLimitUnit::Unknown(_) => return None,
        };
        let duration = u64::try_from(rule.duration).ok().filter(|n| *n > 0)?;
        Some(Self {
            mode,
            window: Duration::from_millis(milliseconds * duration),
            // The gateway stores what it never accepts today: a limit below zero admits nothing.
            max_requests: u32::try_from(rule.max_requests).unwrap_or(0),
            endpoints: rule
                .endpoints
                .as_ref()
                .map(|endpoints| endpoints.iter().map(|e| e.as_str().into()).collect()),
            priority: rule.priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::RateLimit;

    fn rule(unit: RateLimitUnit, mode: Option<RateLimitMode>) -> RateLimitRule {
        RateLimit {
            unit,
            duration: 2,
            max_requests: 5,
            mode,
        }
        .into()
    }

    #[test]
    fn every_rolling_unit_has_its_window() {
        for (unit, seconds) in [
            (RateLimitUnit::Second, 2),
            (RateLimitUnit::Minute, 120),
            (RateLimitUnit::Hour, 7200),
            (RateLimitUnit::Day, 172_800),
            (RateLimitUnit::Month, 60 * 86_400),
        ] {
            let spec = RuleSpec::mirror(&rule(unit, None)).unwrap();
            assert_eq!(spec.window, Duration::from_secs(seconds));
            assert_eq!((spec.mode, spec.max_requests), (Mode::App, 5));
        }
        let spec = RuleSpec::mirror(&rule(RateLimitUnit::Millisecond, None)).unwrap();
        assert_eq!(spec.window, Duration::from_millis(2));
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
        assert_eq!(
            RuleSpec::mirror(&rule(RateLimitUnit::CalendarDay, None)),
            None
        );
        let mut endless = rule(RateLimitUnit::Minute, None);
        endless.duration = 0;
        assert_eq!(RuleSpec::mirror(&endless), None);
    }

    #[test]
    fn a_limit_of_zero_or_less_admits_nothing() {
        let mut shut = rule(RateLimitUnit::Minute, None);
        for max_requests in [0, -1, i32::MIN] {
            shut.max_requests = max_requests;
            assert_eq!(RuleSpec::mirror(&shut).unwrap().max_requests, 0);
        }
    }
}
