//! One limit of a scheme: in the gate's own terms, and with its counters.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::counters::shared::SubjectId;
use super::counters::{CalendarUnit, ClockReading, CounterState, LimitCounter, Moment, Window};
use super::limits::Algorithm;
use super::subjects::{Caller, KeySubject, LimitSubject};
use crate::gate::request::resource::normal_form;
use crate::models::{RateLimitMode, RateLimitRule, RateLimitUnit};

/// One limit, in the gate's own terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleSpec {
    pub(crate) mode: Mode,
    pub(crate) window: Window,
    /// How many requests may pass in a window; 0 lets none pass, ever.
    pub(crate) max_requests: u32,
    /// Resources the rule is for: `None`, or a list with `*` in it, is all of them.
    pub(crate) endpoints: Option<Arc<[Box<str>]>>,
    /// Lower comes first.
    pub(crate) priority: i32,
}

/// What a rule has one counter per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    App,
    Key,
    KeyAndIp,
    AppAndIp,
    /// Per deployment and address: shared by all apps that have the same rule.
    Ip,
}

/// A rule with its counter, alive as long as a set holds it or it has something to remember.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) number: u64,
    pub(super) key: RuleKey,
    pub(super) counter: LimitCounter,
    /// Per app: the counter's state. Otherwise the one for subjects that found no room.
    pub(super) shared: CounterState,
}

/// Rules with equal keys are one rule and have the same counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleKey {
    pub(super) deployment: i64,
    pub(super) app: Option<Arc<str>>,
    pub(super) mode: Mode,
    pub(super) window: Window,
    pub(super) max_requests: u32,
    /// In normal form, sorted; `None` is all.
    pub(super) endpoints: Option<Box<[Box<str>]>>,
}

// === impl RuleSpec ===

impl RuleSpec {
    /// The rule in the gate's own terms; `None` if it cannot be counted here, because its unit or
    /// mode is unknown or its numbers make no sense.
    pub(super) fn mirror(rule: &RateLimitRule) -> Option<Self> {
        let mode = match &rule.mode {
            // A rule without a mode is per app, as the gateway reads it.
            None | Some(RateLimitMode::PerApp) => Mode::App,
            Some(RateLimitMode::PerKey) => Mode::Key,
            Some(RateLimitMode::PerIp) => Mode::Ip,
            Some(RateLimitMode::PerKeyAndIp) => Mode::KeyAndIp,
            Some(RateLimitMode::PerAppAndIp) => Mode::AppAndIp,
            Some(RateLimitMode::Unknown(_)) => return None,
        };
        let duration = u64::try_from(rule.duration).ok().filter(|n| *n > 0)?;
        let rolling =
            |milliseconds| Window::Rolling(Duration::from_millis(milliseconds * duration));
        // Wacht takes no calendar limit over several days or months, and nobody has said when
        // those would begin.
        let calendar = |unit| (duration == 1).then_some(Window::Calendar(unit));
        let window = match &rule.unit {
            RateLimitUnit::Millisecond => rolling(1),
            RateLimitUnit::Second => rolling(1_000),
            RateLimitUnit::Minute => rolling(60_000),
            RateLimitUnit::Hour => rolling(3_600_000),
            RateLimitUnit::Day => rolling(86_400_000),
            RateLimitUnit::Month => rolling(30 * 86_400_000),
            RateLimitUnit::CalendarDay => calendar(CalendarUnit::Day)?,
            RateLimitUnit::CalendarMonth => calendar(CalendarUnit::Month)?,
            RateLimitUnit::Unknown(_) => return None,
        };
        Some(Self {
            mode,
            window,
            // The gateway stores what it never accepts today: a limit below zero admits nothing.
            max_requests: u32::try_from(rule.max_requests).unwrap_or(0),
            endpoints: rule
                .endpoints
                .as_ref()
                .map(|endpoints| endpoints.iter().map(|e| e.as_str().into()).collect()),
            priority: rule.priority,
        })
    }

    /// What one of `replicas` processes may admit. `None` when there is not one request for each:
    /// to round up would admit more than the limit, and to round down nothing at all.
    pub(super) fn share(self, replicas: NonZeroU32) -> Option<Self> {
        let share = self.max_requests / replicas;
        if share == 0 && self.max_requests > 0 {
            return None;
        }
        Some(Self {
            max_requests: share,
            ..self
        })
    }
}

impl Default for RuleSpec {
    /// What the gateway applies to an app without a scheme.
    fn default() -> Self {
        Self {
            mode: Mode::App,
            window: Duration::from_secs(60).into(),
            max_requests: 1000,
            endpoints: None,
            priority: 0,
        }
    }
}

// === impl Mode ===

impl Mode {
    pub(super) fn counts_by_address(self) -> bool {
        match self {
            Self::App | Self::Key => false,
            Self::KeyAndIp | Self::AppAndIp | Self::Ip => true,
        }
    }

    /// Wacht's word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::App => "per_app",
            Self::Key => "per_key",
            Self::KeyAndIp => "per_key_and_ip",
            Self::AppAndIp => "per_app_and_ip",
            Self::Ip => "per_ip",
        }
    }
}

// === impl Rule ===

impl Rule {
    /// Whether the caller cannot be counted, for want of an address.
    pub(super) fn lacks_address(&self, caller: &Caller<'_>) -> bool {
        caller.address.is_none() && self.key.mode.counts_by_address()
    }

    /// Whom the caller is counted as, `None` for the rule's own counter. `resource` is the
    /// fingerprint of the caller's, where resources are counted apart, else 0.
    pub(super) fn subject(&self, caller: &Caller<'_>, resource: u64) -> Option<LimitSubject> {
        let (key, address, resource) = match self.key.mode {
            Mode::App => return None,
            Mode::Key => (Some(caller.key), None, resource),
            Mode::KeyAndIp => (Some(caller.key), caller.address, resource),
            Mode::AppAndIp | Mode::Ip => (None, caller.address, 0),
        };
        Some(LimitSubject {
            rule: self.number,
            key,
            address,
            resource,
        })
    }

    /// Whom the caller is counted as by all replicas, where a store counts.
    pub(super) fn shared_subject(
        &self,
        caller: &Caller<'_>,
        per_resource: bool,
    ) -> Option<SubjectId> {
        let LimitCounter::Shared(counter) = &self.counter else {
            return None;
        };
        let (key, address, resource) = match self.key.mode {
            Mode::App => (None, None, None),
            Mode::Key => (Some(caller.key), None, Some(caller.resource)),
            Mode::KeyAndIp => (Some(caller.key), caller.address, Some(caller.resource)),
            Mode::AppAndIp | Mode::Ip => (None, caller.address, None),
        };
        // Each part of a length of its own kind but the last, so no two callers are alike.
        let mut text = Vec::with_capacity(96);
        match key {
            None => {}
            Some(KeySubject::ApiKey(id)) => {
                text.push(b'k');
                text.extend(id.to_be_bytes());
            }
            Some(KeySubject::Token(half)) => {
                text.push(b't');
                text.extend(half);
            }
        }
        match address {
            None => {}
            Some(IpAddr::V4(address)) => {
                text.push(b'4');
                text.extend(address.octets());
            }
            Some(IpAddr::V6(address)) => {
                text.push(b'6');
                text.extend(address.octets());
            }
        }
        if let Some(resource) = resource.filter(|_| per_resource) {
            text.push(b'r');
            text.extend(resource.as_bytes());
        }
        Some(counter.subject(&text))
    }

    /// Whether all that a rule unused since `since` has counted is certainly forgotten.
    pub(super) fn is_idle(&self, since: Moment, now: ClockReading) -> bool {
        match self.key.mode {
            Mode::App => self.shared.is_idle(now),
            _ => since.0.saturating_add(self.counter.idle_after()) <= now.monotonic.0,
        }
    }
}

// === impl RuleKey ===

impl RuleKey {
    pub(super) fn new(deployment: i64, app: &Arc<str>, spec: &RuleSpec) -> Self {
        let listed = spec.endpoints.as_deref();
        let endpoints = listed
            .filter(|listed| !listed.iter().any(|endpoint| &**endpoint == "*"))
            .map(|listed| {
                // As the resources that they are compared with.
                let normal = |endpoint: &str| Box::from(&*normal_form(endpoint));
                let mut sorted: Vec<Box<str>> =
                    listed.iter().map(|endpoint| normal(endpoint)).collect();
                sorted.sort_unstable();
                sorted.dedup();
                sorted.into_boxed_slice()
            });
        Self {
            deployment,
            app: (spec.mode != Mode::Ip).then(|| Arc::clone(app)),
            mode: spec.mode,
            window: spec.window,
            max_requests: spec.max_requests,
            endpoints,
        }
    }

    /// The rule in bytes, the same in all replicas, and of no other rule.
    pub(super) fn to_bytes(&self, algorithm: Algorithm) -> Vec<u8> {
        let mut text = Vec::with_capacity(64);
        text.extend(self.deployment.to_be_bytes());
        let mut word = |word: &str| {
            text.extend((word.len() as u64).to_be_bytes());
            text.extend(word.as_bytes());
        };
        word(self.app.as_deref().unwrap_or(""));
        word(self.mode.as_str());
        match self.window {
            Window::Rolling(length) => {
                word(match algorithm {
                    Algorithm::Gcra => "gcra",
                    Algorithm::SlidingWindow => "sliding",
                });
                word(&length.as_nanos().to_string());
            }
            Window::Calendar(CalendarUnit::Day) => word("day"),
            Window::Calendar(CalendarUnit::Month) => word("month"),
        }
        word(&self.max_requests.to_string());
        match &self.endpoints {
            None => word("*"),
            Some(endpoints) => {
                for endpoint in endpoints {
                    word("only");
                    word(endpoint);
                }
            }
        }
        text
    }

    pub(super) fn matches(&self, resource: &str) -> bool {
        self.endpoints.as_deref().is_none_or(|listed| {
            listed
                .binary_search_by(|endpoint| (**endpoint).cmp(resource))
                .is_ok()
        })
    }

    /// Whether there may be a resource that both are for.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (&self.endpoints, &other.endpoints) {
            (Some(ours), Some(_)) => ours.iter().any(|endpoint| other.matches(endpoint)),
            _ => true,
        }
    }
}
