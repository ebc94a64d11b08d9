//! The rules of an app, and all rules that a gate has counters for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::counters::shared::{Counting, SharedCounter, Sharing};
use super::counters::{Calendars, ClockReading, LimitCounter, Moment, Window};
use super::fields::{Labels, RateLimitFields, RateLimitHeaders, RuleState};
use super::limits::Algorithm;
use super::rule::{Rule, RuleKey};

/// An app's rules, in order of priority. Two of them never share a counter.
#[derive(Debug)]
pub(crate) struct RuleSet {
    entries: Vec<RuleEntry>,
    /// All that have gone less than a window ago, whether anything is in their place or not.
    departed: Vec<DepartedRule>,
    labels: Labels,
    counts_by_address: bool,
    names_resources: bool,
    /// Whether the app's keys are judged by it now.
    is_in_force: AtomicBool,
}

/// A rule at its place in a set.
#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) rule: Arc<Rule>,
    /// Those in whose place it is, as long as they have a say.
    pub(super) departed: Vec<DepartedRule>,
}

/// A rule that has gone and still refuses what it would have refused.
#[derive(Clone, Debug)]
pub(super) struct DepartedRule {
    pub(super) rule: Arc<Rule>,
    /// One window after it went.
    pub(super) until: Moment,
}

/// The rules that any set holds, and those that none holds and that have something to remember.
pub(super) struct Registry {
    rules: HashMap<RuleKey, RegisteredRule>,
    algorithm: Algorithm,
    /// With whom they are counted, if with anybody.
    sharing: Option<Arc<Sharing>>,
    calendars: Calendars,
    next_number: u64,
    /// The size at which to look for rules that can go.
    prune_at: usize,
}

struct RegisteredRule {
    rule: Arc<Rule>,
    /// When it was first seen that no set holds the rule.
    unused_since: Option<Moment>,
}

// === impl RuleSet ===

impl RuleSet {
    /// Rules in order of priority; of equal ones, the first stands for all. Those of `before` that
    /// are not among them keep their say for one window, beside what is in their place.
    pub(super) fn new(
        rules: impl IntoIterator<Item = Arc<Rule>>,
        before: Option<&Self>,
        now: ClockReading,
    ) -> Self {
        let mut entries: Vec<RuleEntry> = Vec::new();
        for rule in rules {
            // A repeated rule would charge its own counter twice.
            if !entries.iter().any(|other| Arc::ptr_eq(&other.rule, &rule)) {
                entries.push(RuleEntry {
                    rule,
                    departed: Vec::new(),
                });
            }
        }
        let departed = before.map_or_else(Vec::new, |before| before.departed_from(&entries, now));
        for entry in &mut entries {
            let replaced = departed.iter().filter(|other| entry.replaces(&other.rule));
            entry.departed = replaced.cloned().collect();
        }
        let keys = || entries.iter().map(|entry| &entry.rule.key);
        let before = departed.iter().map(|departed| &departed.rule.key);
        Self {
            labels: Labels::new(keys().map(|key| (key.mode, key.max_requests, key.window))),
            counts_by_address: keys().any(|key| key.mode.counts_by_address()),
            names_resources: keys().chain(before).any(|key| key.endpoints.is_some()),
            is_in_force: AtomicBool::new(false),
            entries,
            departed,
        }
    }

    /// The rules of this set, and those that have gone before, which are not in the next one.
    fn departed_from(&self, next: &[RuleEntry], now: ClockReading) -> Vec<DepartedRule> {
        let earlier = self.departed.iter().cloned();
        let just_now = self.entries.iter().map(|entry| DepartedRule {
            rule: Arc::clone(&entry.rule),
            until: entry.rule.counter.one_window_on(now),
        });
        let has_a_say = |other: &DepartedRule| {
            let is_back = |entry: &RuleEntry| Arc::ptr_eq(&entry.rule, &other.rule);
            now.monotonic < other.until && !next.iter().any(is_back)
        };
        earlier.chain(just_now).filter(has_a_say).collect()
    }

    /// Whether any rule at all counts by address.
    pub(crate) fn counts_by_address(&self) -> bool {
        self.counts_by_address
    }

    /// Whether any rule is for some resources alone.
    pub(super) fn names_resources(&self) -> bool {
        self.names_resources
    }

    /// Whether the app's keys are judged by it, for whoever has known it to be so before.
    pub(crate) fn is_in_force(&self) -> bool {
        self.is_in_force.load(Ordering::Acquire)
    }

    pub(crate) fn set_in_force(&self, is_in_force: bool) {
        self.is_in_force.store(is_in_force, Ordering::Release);
    }

    /// The rule that matches whatever a request is for, where there is but one.
    pub(super) fn only_rule(&self) -> Option<&RuleEntry> {
        match &*self.entries {
            [entry] if !self.names_resources => Some(entry),
            _ => None,
        }
    }

    /// The rules for this resource, each with its place in the set.
    pub(super) fn matching(&self, resource: &str) -> impl Iterator<Item = (u32, &RuleEntry)> {
        (0..)
            .zip(&self.entries)
            .filter(move |(_, entry)| entry.rule.key.matches(resource))
    }

    /// The name of the rule at this place, as in `RateLimit-Policy`.
    pub(super) fn name(&self, place: u32) -> Option<Arc<str>> {
        self.labels.name(place)
    }

    /// What is left, in the chosen header fields. The states must be those of this set.
    pub(crate) fn fields(&self, states: &[RuleState], chosen: RateLimitHeaders) -> RateLimitFields {
        self.labels.fields(states, chosen)
    }
}

// === impl RuleEntry ===

impl RuleEntry {
    /// Whether it is in the other's place: for the same callers and some of the same resources.
    fn replaces(&self, other: &Rule) -> bool {
        self.rule.key.mode == other.key.mode && self.rule.key.overlaps(&other.key)
    }
}

// === impl Registry ===

impl Registry {
    pub(super) fn new(algorithm: Algorithm, sharing: Option<Arc<Sharing>>) -> Self {
        Self {
            rules: HashMap::new(),
            algorithm,
            sharing,
            calendars: Calendars::default(),
            next_number: 0,
            prune_at: SMALL_REGISTRY,
        }
    }

    /// The rule of this key: the one there is, or a new one.
    pub(super) fn rule(&mut self, key: RuleKey) -> Arc<Rule> {
        if let Some(known) = self.rules.get_mut(&key) {
            known.unused_since = None;
            return Arc::clone(&known.rule);
        }
        let counter = self.counter(&key);
        let rule = Arc::new(Rule {
            number: self.next_number,
            key: key.clone(),
            shared: counter.unused(),
            counter,
        });
        self.next_number += 1;
        let registered = RegisteredRule {
            rule: Arc::clone(&rule),
            unused_since: None,
        };
        self.rules.insert(key, registered);
        rule
    }

    fn counter(&self, key: &RuleKey) -> LimitCounter {
        let RuleKey {
            max_requests,
            window,
            ..
        } = *key;
        if let Some(sharing) = &self.sharing {
            let rolling = match self.algorithm {
                Algorithm::Gcra => Counting::Gcra,
                Algorithm::SlidingWindow => Counting::Sliding,
            };
            let name = key.to_bytes(self.algorithm);
            let calendars = &self.calendars;
            let shared =
                SharedCounter::new(sharing, &name, max_requests, window, rolling, calendars);
            return LimitCounter::Shared(Arc::new(shared));
        }
        match (window, self.algorithm) {
            (Window::Calendar(unit), _) => {
                LimitCounter::calendar(max_requests, unit, &self.calendars)
            }
            (Window::Rolling(length), Algorithm::Gcra) => LimitCounter::gcra(max_requests, length),
            (Window::Rolling(length), Algorithm::SlidingWindow) => {
                LimitCounter::sliding(max_requests, length)
            }
        }
    }

    /// Drops rules that no set holds and that have nothing left to remember.
    pub(super) fn prune_when_large(&mut self, now: ClockReading) {
        if self.rules.len() < self.prune_at {
            return;
        }
        self.rules.retain(|_, registered| {
            if Arc::strong_count(&registered.rule) > 1 {
                registered.unused_since = None;
                return true;
            }
            let since = *registered.unused_since.get_or_insert(now.monotonic);
            !registered.rule.is_idle(since, now)
        });
        self.prune_at = SMALL_REGISTRY.max(2 * self.rules.len());
    }

    /// How many rules there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }
}

const SMALL_REGISTRY: usize = 64;
