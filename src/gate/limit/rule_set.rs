//! The rules of an app, and all rules that a gate has counters for.

use std::collections::HashMap;
use std::sync::Arc;

use super::counters::{Calendars, LimitCounter, Moment, Reading, Window};
use super::fields::{Labels, RateLimitFields, RateLimitHeaders, RuleStates};
use super::limits::Algorithm;
use super::rule::{Rule, RuleKey};

/// An app's rules, in order of priority. Two of them never share a counter.
#[derive(Debug)]
pub(crate) struct RuleSet {
    entries: Vec<RuleEntry>,
    labels: Labels,
    counts_by_address: bool,
}

/// A rule at its place in a set.
#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) rule: Arc<Rule>,
    /// Whose place it has taken, as long as they have a say.
    pub(super) replaced: Vec<ReplacedRule>,
}

/// A rule that has gone and still refuses what it would have refused.
#[derive(Clone, Debug)]
pub(super) struct ReplacedRule {
    pub(super) rule: Arc<Rule>,
    /// One window after it went.
    pub(super) until: Moment,
}

/// The rules that any set holds, and those that none holds and that have something to remember.
pub(super) struct Registry {
    rules: HashMap<RuleKey, RegisteredRule>,
    algorithm: Algorithm,
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
    /// are not among them stay beside those that take their place.
    pub(super) fn new(
        rules: impl IntoIterator<Item = Arc<Rule>>,
        before: Option<&Self>,
        now: Reading,
    ) -> Self {
        let mut entries: Vec<RuleEntry> = Vec::new();
        for rule in rules {
            // A repeated rule would charge its own counter twice.
            if !entries.iter().any(|other| Arc::ptr_eq(&other.rule, &rule)) {
                entries.push(RuleEntry {
                    rule,
                    replaced: Vec::new(),
                });
            }
        }
        let keys = || entries.iter().map(|entry| &entry.rule.key);
        let mut rules = Self {
            labels: Labels::new(keys().map(|key| (key.mode, key.max_requests, key.window))),
            counts_by_address: keys().any(|key| key.mode.counts_by_address()),
            entries,
        };
        if let Some(before) = before {
            rules.take_over(before, now);
        }
        rules
    }

    /// Leaves the rules of `before` that are not in this set beside those that take their place.
    fn take_over(&mut self, before: &Self, now: Reading) {
        let known: Vec<&Arc<Rule>> = before.rules().collect();
        let kept: Vec<Arc<Rule>> = self.entries.iter().map(|e| Arc::clone(&e.rule)).collect();
        let among = |rules: &[&Arc<Rule>], rule: &Arc<Rule>| {
            rules.iter().any(|other| Arc::ptr_eq(other, rule))
        };
        for entry in &mut self.entries {
            let gone = |rule: &Arc<Rule>| !kept.iter().any(|other| Arc::ptr_eq(other, rule));
            // Those replaced earlier, under whatever has come after them.
            for earlier in before.entries.iter().flat_map(|entry| &entry.replaced) {
                if now.monotonic < earlier.until && gone(&earlier.rule) {
                    entry.replace(earlier.clone());
                }
            }
            if among(&known, &entry.rule) {
                continue;
            }
            for old in before.entries.iter().map(|entry| &entry.rule) {
                if gone(old) {
                    entry.replace(ReplacedRule {
                        rule: Arc::clone(old),
                        until: old.counter.one_window_on(now),
                    });
                }
            }
        }
    }

    /// All rules that count, those replaced among them.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.entries.iter().flat_map(|entry| {
            let replaced = entry.replaced.iter().map(|replaced| &replaced.rule);
            std::iter::once(&entry.rule).chain(replaced)
        })
    }

    /// Whether any rule at all counts by address.
    pub(crate) fn counts_by_address(&self) -> bool {
        self.counts_by_address
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
    pub(crate) fn fields(&self, states: &RuleStates, chosen: RateLimitHeaders) -> RateLimitFields {
        self.labels.fields(states, chosen)
    }
}

// === impl RuleEntry ===

impl RuleEntry {
    /// Takes the other's place, where it is for the same callers and resources.
    fn replace(&mut self, other: ReplacedRule) {
        let alike =
            self.rule.key.mode == other.rule.key.mode && self.rule.key.overlaps(&other.rule.key);
        let known = |known: &ReplacedRule| Arc::ptr_eq(&known.rule, &other.rule);
        if alike && !self.replaced.iter().any(known) {
            self.replaced.push(other);
        }
    }
}

// === impl Registry ===

impl Registry {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            rules: HashMap::new(),
            algorithm,
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
        let counter = self.counter(key.max_requests, key.window);
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

    fn counter(&self, max_requests: u32, window: Window) -> LimitCounter {
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
    pub(super) fn prune_when_large(&mut self, now: Reading) {
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
