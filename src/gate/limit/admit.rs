//! One request: every rule that matches is looked at, then all are charged, or none.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::counters::{ClockReading, CounterState, Level, Receipt};
use super::fields::{INLINE_RULES, RuleState, RuleStates, seconds_up};
use super::limits::{Enforcement, Limits};
use super::rule::{Mode, Rule, RuleKey, RuleSpec};
use super::rule_set::{Registry, RuleEntry, RuleSet};
use super::subjects::{Caller, Subjects};
use crate::clock::Now;
use crate::models::RateLimitRule;

/// All counters of one gate.
pub(crate) struct Limiter {
    limits: Limits,
    /// The rules that every app has, whatever its scheme says.
    fixed: Option<Vec<RuleSpec>>,
    subjects: Subjects,
    registry: Mutex<Registry>,
}

/// Who counts the requests of an app's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CountedBy<'a> {
    Nobody,
    /// The gateway, each with a check of its own.
    Gateway,
    /// This process, by rules that are the same for all apps.
    FixedRules(&'a [RuleSpec]),
    /// This process, by the app's scheme.
    Scheme(&'a RuleSet),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChargeOutcome {
    /// It may go on, and has been charged. What every rule that matched has left.
    Charged(RuleStates),
    Limited(Box<LimitRefusal>),
    /// A matching rule counts by address and there is none. Nothing was charged.
    MissingAddress,
}

/// A request that one or more rules refuse. It has consumed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitRefusal {
    /// Whole seconds, at least one, after which every rule that refuses would admit it.
    pub(crate) retry_after: Duration,
    /// The names of the rules that refuse, as in `RateLimit-Policy`.
    pub(crate) violated: Vec<Arc<str>>,
    /// Of the rule that decided it.
    pub(crate) mode: Mode,
    pub(crate) states: RuleStates,
}

/// A rule that matches the request at hand, with what was counted for the caller.
pub(super) struct MatchedRule<'a> {
    place: u32,
    rule: &'a Rule,
    state: StateRef<'a>,
}

enum StateRef<'a> {
    Shared(&'a CounterState),
    Own(Arc<CounterState>),
}

/// The rules that match, each with its place in the set.
type Matching<'a> = SmallVec<[(u32, &'a RuleEntry); INLINE_RULES]>;

pub(super) type MatchedRules<'a> = SmallVec<[MatchedRule<'a>; INLINE_RULES]>;

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            fixed: limits
                .rules
                .as_deref()
                .and_then(|rules| limits.specs(rules)),
            subjects: Subjects::new(limits.capacity),
            registry: Mutex::new(Registry::new(limits.algorithm)),
        }
    }

    /// Who counts the requests of an app's keys. `scheme` is the app's, as far as it is known and
    /// can be counted here.
    pub(crate) fn counted_by<'a>(&'a self, scheme: Option<&'a RuleSet>) -> CountedBy<'a> {
        match (self.limits.enforcement, &self.fixed, scheme) {
            (Enforcement::Off, ..) => CountedBy::Nobody,
            (Enforcement::Gateway, ..) => CountedBy::Gateway,
            (Enforcement::Local, Some(fixed), _) => CountedBy::FixedRules(fixed),
            (Enforcement::Local, None, Some(scheme)) => CountedBy::Scheme(scheme),
            // The gateway would refuse.
            (Enforcement::Local, None, None) if self.limits.shadow => CountedBy::Nobody,
            (Enforcement::Local, None, None) => CountedBy::Gateway,
        }
    }

    /// An app's scheme in the gate's own terms; `None` if it cannot be counted here.
    pub(crate) fn specs(&self, rules: &[RateLimitRule]) -> Option<Vec<RuleSpec>> {
        self.limits.specs(rules)
    }

    /// Compiles the rules of an app. Those it had `before` keep their counters, and those it has
    /// no more may stay on beside their successors.
    pub(crate) fn ruleset(
        &self,
        deployment: i64,
        app: &Arc<str>,
        rules: &[RuleSpec],
        before: Option<&RuleSet>,
        now: Now,
    ) -> RuleSet {
        let mut by_priority: Vec<&RuleSpec> = rules.iter().collect();
        by_priority.sort_by_key(|spec| spec.priority);
        let keys = by_priority
            .into_iter()
            .map(|spec| RuleKey::new(deployment, app, spec));

        let now = ClockReading::from(now);
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let rules: Vec<Arc<Rule>> = keys.map(|key| registry.rule(key)).collect();
        registry.prune_when_large(now);
        drop(registry);
        RuleSet::new(rules, before, now)
    }

    /// Charges every rule that matches, or none of them.
    pub(crate) fn admit(&self, rules: &RuleSet, caller: &Caller<'_>, now: Now) -> ChargeOutcome {
        let mut matching = rules.matching(caller.resource);
        let Some(first) = matching.next() else {
            return ChargeOutcome::Charged(RuleStates::default());
        };
        let now = ClockReading::from(now);
        let resource = self.fingerprint(caller);
        match matching.next() {
            None if first.1.departed.is_empty() => {
                if let Some(outcome) = self.charge_alone(rules, first, caller, resource, now) {
                    return outcome;
                }
                self.look_and_charge(rules, &[first], caller, resource, now)
            }
            second => {
                let all: Matching<'_> = [first].into_iter().chain(second).chain(matching).collect();
                self.look_and_charge(rules, &all, caller, resource, now)
            }
        }
    }

    /// Of the resource, where resources are counted apart, else 0.
    fn fingerprint(&self, caller: &Caller<'_>) -> u64 {
        match self.limits.per_resource {
            true => self.subjects.fingerprint(caller.resource),
            false => 0,
        }
    }

    /// The usual case in short: where one rule is all that matches, its charge says as much as a
    /// look, and nobody has to hold on to its state. `None` for a caller it has not met.
    fn charge_alone(
        &self,
        rules: &RuleSet,
        (place, RuleEntry { rule, .. }): (u32, &RuleEntry),
        caller: &Caller<'_>,
        resource: u64,
        now: ClockReading,
    ) -> Option<ChargeOutcome> {
        if rule.lacks_address(caller) {
            return Some(ChargeOutcome::MissingAddress);
        }
        let charged = match rule.subject(caller, resource) {
            None => rule.counter.charge(&rule.shared, now),
            Some(subject) => self
                .subjects
                .with_own(&subject, |state| rule.counter.charge(state, now))?,
        };
        Some(match charged {
            Ok((level, _)) => {
                let mut states = RuleStates::default();
                states.add(RuleState::new(place, level, rule.counter.period(now)));
                ChargeOutcome::Charged(states)
            }
            Err(more_in) => {
                let mut refusal = LimitRefusal::by(rule);
                let level = refusal.add(rules.name(place), more_in);
                let state = RuleState::new(place, level, rule.counter.period(now));
                refusal.states.add(state);
                ChargeOutcome::Limited(Box::new(refusal))
            }
        })
    }

    /// Looks at what was counted for the caller by each of these rules and, if none refuses,
    /// charges all of them.
    fn look_and_charge(
        &self,
        rules: &RuleSet,
        matching: &[(u32, &RuleEntry)],
        caller: &Caller<'_>,
        resource: u64,
        now: ClockReading,
    ) -> ChargeOutcome {
        if matching
            .iter()
            .any(|(_, entry)| entry.rule.lacks_address(caller))
        {
            return ChargeOutcome::MissingAddress;
        }
        let matched = self.find_states(matching, caller, resource, now);
        for (index, rule) in matched.iter().enumerate() {
            if let Err(wait) = rule.look(now) {
                return refuse(rules, &matched, (index, wait), now);
            }
        }
        charge_all(rules, &matched, now)
    }

    /// How many keys and addresses are being counted.
    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// What was counted for the caller, by every rule that matches and by those in whose place it is.
    fn find_states<'a>(
        &self,
        matching: &[(u32, &'a RuleEntry)],
        caller: &Caller<'_>,
        resource: u64,
        now: ClockReading,
    ) -> MatchedRules<'a> {
        let find = |place, rule: &'a Rule| {
            let shared = StateRef::Shared(&rule.shared);
            let state = match rule.subject(caller, resource) {
                None => shared,
                Some(subject) => self
                    .subjects
                    .state(&subject, &rule.shared, now)
                    .map_or(shared, StateRef::Own),
            };
            MatchedRule { place, rule, state }
        };
        let mut matched = MatchedRules::new();
        for (place, entry) in matching {
            matched.push(find(*place, &entry.rule));
            for departed in &entry.departed {
                // It may have several successors, and is one limit all the same.
                let found = |other: &MatchedRule<'_>| std::ptr::eq(other.rule, &*departed.rule);
                if now.monotonic < departed.until
                    && departed.rule.key.matches(caller.resource)
                    && !matched.iter().any(found)
                {
                    matched.push(find(*place, &departed.rule));
                }
            }
        }
        matched
    }

    /// What a request finds before it looks, for tests of what happens in between.
    #[cfg(test)]
    pub(super) fn find<'a>(
        &self,
        rules: &'a RuleSet,
        caller: &Caller<'_>,
        now: ClockReading,
    ) -> MatchedRules<'a> {
        let matching: Matching<'_> = rules.matching(caller.resource).collect();
        self.find_states(&matching, caller, self.fingerprint(caller), now)
    }

    /// How many rules are remembered.
    #[cfg(test)]
    pub(super) fn rules(&self) -> usize {
        self.registry.lock().unwrap().len()
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("subjects", &self.subjects())
            .finish_non_exhaustive()
    }
}

pub(super) fn charge_all(
    rules: &RuleSet,
    matched: &[MatchedRule<'_>],
    now: ClockReading,
) -> ChargeOutcome {
    let mut states = RuleStates::default();
    let mut receipts = SmallVec::<[Receipt; INLINE_RULES]>::new();
    for (index, rule) in matched.iter().enumerate() {
        match rule.rule.counter.charge(&rule.state, now) {
            Ok((level, receipt)) => {
                states.add(rule.rule_state(level, now));
                receipts.push(receipt);
            }
            Err(wait) => {
                for (earlier, receipt) in matched.iter().zip(receipts) {
                    earlier.rule.counter.refund(&earlier.state, receipt);
                }
                return refuse(rules, matched, (index, wait), now);
            }
        }
    }
    ChargeOutcome::Charged(states)
}

/// The refusal by the rule that decided it, and by every other that would refuse now.
fn refuse(
    rules: &RuleSet,
    matched: &[MatchedRule<'_>],
    (decided_by, wait): (usize, Duration),
    now: ClockReading,
) -> ChargeOutcome {
    let mut refusal = LimitRefusal::by(matched[decided_by].rule);
    for (index, rule) in matched.iter().enumerate() {
        // Not asked again: a refund in between must not leave a refusal without a rule.
        let wait = if index == decided_by {
            Some(wait)
        } else {
            rule.look(now).err()
        };
        let level = match wait {
            None => rule.rule.counter.level(&rule.state, now),
            Some(more_in) => refusal.add(rules.name(rule.place), more_in),
        };
        refusal.states.add(rule.rule_state(level, now));
    }
    ChargeOutcome::Limited(Box::new(refusal))
}

// === impl LimitRefusal ===

impl LimitRefusal {
    fn by(rule: &Rule) -> Self {
        Self {
            retry_after: Duration::from_secs(1),
            violated: Vec::new(),
            mode: rule.key.mode,
            states: RuleStates::default(),
        }
    }

    /// One more rule that refuses, and what it has left.
    fn add(&mut self, name: Option<Arc<str>>, more_in: Duration) -> Level {
        let seconds = Duration::from_secs(seconds_up(more_in).into());
        self.retry_after = self.retry_after.max(seconds);
        // A rule and those in whose place it is go by one name.
        if self.violated.last() != name.as_ref() {
            self.violated.extend(name);
        }
        Level {
            remaining: 0,
            more_in,
        }
    }
}

// === impl MatchedRule ===

impl MatchedRule<'_> {
    pub(super) fn look(&self, now: ClockReading) -> Result<(), Duration> {
        self.rule.counter.look(&self.state, now)
    }

    fn rule_state(&self, level: Level, now: ClockReading) -> RuleState {
        RuleState::new(self.place, level, self.rule.counter.period(now))
    }
}

// === impl StateRef ===

impl Deref for StateRef<'_> {
    type Target = CounterState;

    fn deref(&self) -> &CounterState {
        match self {
            Self::Shared(state) => state,
            Self::Own(state) => state,
        }
    }
}
