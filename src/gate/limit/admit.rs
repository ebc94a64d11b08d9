//! One request: every rule that matches is looked at, then all are charged, or none.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use smallvec::SmallVec;

use super::counters::shared::{Asking, Held, SharedState, Sharing, SubjectId};
use super::counters::{ClockReading, CounterState, Level, LimitCounter, NEVER, Receipt, Shortage};
use super::fields::{INLINE_RULES, RuleState, RuleStates, seconds_up};
use super::limits::{Enforcement, Limits};
use super::rule::{Mode, Rule, RuleKey, RuleSpec};
use super::rule_set::{Registry, RuleEntry, RuleSet};
use super::subjects::{Caller, KnownCounter, LimitSubject, Subjects};
use crate::clock::Now;
use crate::models::RateLimitRule;

/// All counters of one gate.
pub(crate) struct Limiter {
    limits: Limits,
    /// The rules that every app has, whatever its scheme says.
    fixed: Option<Vec<RuleSpec>>,
    subjects: Subjects,
    registry: Mutex<Registry>,
    /// With whom all this is counted, if with anybody.
    sharing: Option<Arc<Sharing>>,
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
    /// A store has to be [asked](Limiter::ask) first. Nothing was charged.
    Ask,
    /// A store would have to be asked, and cannot. Nothing was charged.
    Unavailable,
}

/// A request that one or more rules refuse. It has consumed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitRefusal {
    /// Whole seconds, at least one, after which every rule that refuses would admit it. `None` where
    /// one of them never would.
    pub(crate) retry_after: Option<Duration>,
    /// The names of the rules that refuse, as in `RateLimit-Policy`.
    pub(crate) violated: Vec<Arc<str>>,
    /// Of the rule that decided it.
    pub(crate) mode: Mode,
    pub(crate) states: RuleStates,
}

/// A rule that matches the request at hand, with what was counted for the caller.
pub(super) struct MatchedRule<'a> {
    place: u32,
    rule: &'a Arc<Rule>,
    state: StateRef<'a>,
    /// Of a request that has waited for a store: what the store calls the subject.
    shared: Option<SubjectId>,
}

/// A rule that a request was charged by, and as whom. Keeps neither the rule nor its counters.
pub(super) struct ChargedRule {
    rule: Weak<Rule>,
    /// `None` for the rule's own counter.
    subject: Option<LimitSubject>,
    /// What a store calls it.
    shared: Option<SubjectId>,
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
    pub(crate) fn new(limits: &Limits, sharing: Option<Arc<Sharing>>) -> Self {
        Self {
            limits: limits.clone(),
            fixed: limits
                .rules
                .as_deref()
                .and_then(|rules| limits.specs(rules)),
            subjects: Subjects::new(limits.capacity),
            registry: Mutex::new(Registry::new(limits.algorithm, sharing.clone())),
            sharing,
        }
    }

    /// Who counts the requests of an app's keys. `scheme` is the app's, as far as it is known and
    /// can be counted here.
    pub(crate) fn counted_by<'a>(&'a self, scheme: Option<&'a RuleSet>) -> CountedBy<'a> {
        match (self.limits.enforcement, &self.fixed, scheme) {
            (Enforcement::Off, ..) => CountedBy::Nobody,
            (Enforcement::Gateway, ..) => CountedBy::Gateway,
            (Enforcement::Local | Enforcement::Shared, Some(fixed), _) => {
                CountedBy::FixedRules(fixed)
            }
            (Enforcement::Local | Enforcement::Shared, None, Some(scheme)) => {
                CountedBy::Scheme(scheme)
            }
            // The gateway would refuse.
            (_, None, None) if self.limits.shadow => CountedBy::Nobody,
            (_, None, None) => CountedBy::Gateway,
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

    /// Whether it matters what resource a request is for.
    pub(crate) fn counts_by_resource(&self, rules: &RuleSet) -> bool {
        self.limits.per_resource || rules.names_resources()
    }

    /// The usual case in short: what a key has left of the only rule, after it was charged. `None` if it
    /// is not known where the key is counted, if not so much is left, or if a store counts.
    pub(crate) fn charge_known(
        &self,
        rules: &RuleSet,
        known: &KnownCounter,
        cost: u32,
        now: Now,
    ) -> Option<RuleState> {
        let RuleEntry { rule, departed } = rules.only_rule()?;
        if cost == 0 || !departed.is_empty() || !self.is_per_key_alone(rule) {
            return None;
        }
        let state = known.get(rule.number)?;
        let now = ClockReading::from(now);
        let level = rule.counter.charge_here(&state, now, cost)?;
        Some(RuleState::new(0, level, rule.counter.period(now)))
    }

    /// Charges every rule that matches what the request costs, or none of them anything. A request
    /// that costs nothing passes where one that costs a unit would. `held` is what it has waited for,
    /// if it has.
    pub(crate) fn admit(
        &self,
        rules: &RuleSet,
        caller: &Caller<'_>,
        cost: u32,
        held: Option<&mut Held>,
        now: Now,
    ) -> ChargeOutcome {
        let now = ClockReading::from(now);
        let matching: Matching<'_> = match rules.only_rule() {
            Some(entry) => [(0, entry)].as_slice().into(),
            None => rules.matching(caller.resource).collect(),
        };
        match &*matching {
            [] => ChargeOutcome::Charged(RuleStates::default()),
            [alone @ (_, entry)] if entry.departed.is_empty() && cost > 0 && held.is_none() => {
                let outcome = self.charge_alone(rules, *alone, caller, cost, now);
                outcome.unwrap_or_else(|| {
                    let outcome = self.look_and_charge(rules, &matching, caller, cost, held, now);
                    self.remember(&entry.rule, caller);
                    outcome
                })
            }
            _ => self.look_and_charge(rules, &matching, caller, cost, held, now),
        }
    }

    /// Where a caller that came new is counted by this rule from now on, if it found room.
    fn remember(&self, rule: &Rule, caller: &Caller<'_>) {
        if let Some(known) = caller.known
            && self.is_per_key_alone(rule)
            && let Some(subject) = rule.subject(caller, 0)
        {
            let remember = |state: &Arc<CounterState>| known.set(rule.number, state);
            self.subjects.with_own(&subject, remember);
        }
    }

    /// Whether a rule has one counter for each key, and no more.
    fn is_per_key_alone(&self, rule: &Rule) -> bool {
        rule.key.mode == Mode::Key && !self.limits.per_resource
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
        cost: u32,
        now: ClockReading,
    ) -> Option<ChargeOutcome> {
        if rule.lacks_address(caller) {
            return Some(ChargeOutcome::MissingAddress);
        }
        let subject = || rule.subject(caller, self.fingerprint(caller));
        let charge = |state: &CounterState| {
            let charged = rule.counter.charge(state, now, cost, true);
            // A request that waits asks for itself.
            let behind = match charged {
                Err(Shortage::Ask) => None,
                _ => behind(rule, state, now),
            };
            (charged, behind)
        };
        let known = caller.known.filter(|_| self.is_per_key_alone(rule));
        let (charged, behind) = match known.and_then(|known| known.get(rule.number)) {
            Some(state) => charge(&state),
            None => match subject() {
                None => charge(&rule.shared),
                Some(subject) => self.subjects.with_own(&subject, |state| {
                    if let Some(known) = known {
                        known.set(rule.number, state);
                    }
                    charge(state)
                })?,
            },
        };
        if let Some(state) = behind {
            self.ask_behind(rule, &state, caller, now);
        }
        Some(match charged {
            Ok((level, _)) => {
                let mut states = RuleStates::default();
                states.add(RuleState::new(place, level, rule.counter.period(now)));
                ChargeOutcome::Charged(states)
            }
            Err(Shortage::Ask) => ChargeOutcome::Ask,
            Err(Shortage::Unavailable) => ChargeOutcome::Unavailable,
            Err(Shortage::Wait(wait)) => {
                let level = || {
                    let own = subject().and_then(|subject| self.subjects.known(&subject));
                    let state = own.as_deref().unwrap_or(&rule.shared);
                    rule.counter.level(state, now)
                };
                let mut refusal = LimitRefusal::by(rule);
                let level = refusal.add(rules.name(place), wait, level, cost);
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
        cost: u32,
        held: Option<&mut Held>,
        now: ClockReading,
    ) -> ChargeOutcome {
        if matching
            .iter()
            .any(|(_, entry)| entry.rule.lacks_address(caller))
        {
            return ChargeOutcome::MissingAddress;
        }
        let resource = self.fingerprint(caller);
        let matched = self.find_states(matching, caller, resource, held.is_some(), now);
        let outcome = look_and_charge(rules, &matched, cost, held, now);
        // A request that waits asks for itself.
        if self.sharing.is_some() && !matches!(outcome, ChargeOutcome::Ask) {
            for MatchedRule { rule, state, .. } in &matched {
                if let Some(state) = behind(rule, state, now) {
                    self.ask_behind(rule, &state, caller, now);
                }
            }
        }
        outcome
    }

    /// Asks the store for what such a request lacks. It has waited before where something is `held`.
    pub(crate) fn ask(
        &self,
        rules: &RuleSet,
        caller: &Caller<'_>,
        cost: u32,
        held: Option<Held>,
        now: Now,
    ) -> Asking {
        let now = ClockReading::from(now);
        let matching: Matching<'_> = rules.matching(caller.resource).collect();
        let matched = self.find_states(&matching, caller, self.fingerprint(caller), true, now);
        let needed = cost.max(1);
        let missing = matched
            .iter()
            .filter(|rule| rule.look(now, needed, held.as_ref()) == Err(Shortage::Ask));
        let missing: SmallVec<[_; INLINE_RULES]> = missing.collect();
        let deadline = match &self.sharing {
            Some(sharing) => sharing.store.deadline(),
            None => Duration::ZERO,
        };
        let mut asking = Asking::new(held, deadline);
        for rule in missing {
            if let (Some((counter, state)), Some(subject)) =
                (rule.rule.counter.shared_with(&rule.state), rule.shared)
            {
                asking.add(counter, state, subject, needed, now);
            }
        }
        asking
    }

    /// Asks the store for more, or how it is, for nobody in particular.
    #[cold]
    fn ask_behind(
        &self,
        rule: &Rule,
        state: &Arc<SharedState>,
        caller: &Caller<'_>,
        now: ClockReading,
    ) {
        let subject = rule.shared_subject(caller, self.limits.per_resource);
        if let (LimitCounter::Shared(counter), Some(subject)) = (&rule.counter, subject) {
            counter.ask_behind(state, subject, now);
        }
    }

    /// The rules that charge such a request now.
    pub(super) fn charged_by(
        &self,
        rules: &RuleSet,
        caller: &Caller<'_>,
        now: Now,
    ) -> Vec<ChargedRule> {
        let matching: Matching<'_> = rules.matching(caller.resource).collect();
        let resource = self.fingerprint(caller);
        let matched = self.find_states(&matching, caller, resource, true, now.into());
        let charged = matched
            .iter()
            .map(|MatchedRule { rule, shared, .. }| ChargedRule {
                rule: Arc::downgrade(rule),
                subject: rule.subject(caller, resource),
                shared: *shared,
            });
        charged.collect()
    }

    /// Charges rules that have charged a request before, whether so much is left or not.
    pub(super) fn book_debt(&self, charged: &[ChargedRule], units: u32, now: Now) {
        let now = ClockReading::from(now);
        for ChargedRule {
            rule,
            subject,
            shared,
        } in charged
        {
            // Where it is gone, so is all that it has counted.
            let Some(rule) = rule.upgrade() else { continue };
            let own = subject.and_then(|subject| self.state(&rule, &subject, now));
            let state = own.as_deref().unwrap_or(&rule.shared);
            match (rule.counter.shared_with(state), *shared) {
                (Some((counter, state)), Some(subject)) => {
                    counter.book_debt(state, subject, units, now);
                }
                _ => rule.counter.book_debt(state, now, units),
            }
        }
    }

    /// How many keys and addresses are being counted.
    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// How many leases of a store are out, and how many units they were granted.
    pub(crate) fn leases_out(&self) -> (u64, u64) {
        let sharing = self.sharing.as_ref();
        sharing.map_or((0, 0), |sharing| sharing.leases_out())
    }

    /// What to count this subject in. One that finds no room has a state for this request alone where
    /// a store counts: the store knows what was counted of it, and of no other. Only its share is that
    /// of all who find none.
    fn state(
        &self,
        rule: &Rule,
        subject: &LimitSubject,
        now: ClockReading,
    ) -> Option<Arc<CounterState>> {
        let state = self.subjects.state(subject, &rule.shared, now);
        match rule.counter {
            LimitCounter::Shared(_) if self.subjects.with_own(subject, |_| ()).is_none() => {
                let overflow = state.as_deref().unwrap_or(&rule.shared);
                Some(Arc::new(overflow.without_room()))
            }
            _ => state,
        }
    }

    /// What was counted for the caller, by every rule that matches and by those in whose place it is.
    fn find_states<'a>(
        &self,
        matching: &[(u32, &'a RuleEntry)],
        caller: &Caller<'_>,
        resource: u64,
        named: bool,
        now: ClockReading,
    ) -> MatchedRules<'a> {
        let per_resource = self.limits.per_resource;
        let find = |place, rule: &'a Arc<Rule>| {
            let shared = StateRef::Shared(&rule.shared);
            let state = match rule.subject(caller, resource) {
                None => shared,
                Some(subject) => self
                    .state(rule, &subject, now)
                    .map_or(shared, StateRef::Own),
            };
            let shared = match named {
                true => rule.shared_subject(caller, per_resource),
                false => None,
            };
            MatchedRule {
                place,
                rule,
                state,
                shared,
            }
        };
        let mut matched = MatchedRules::new();
        for (place, entry) in matching {
            matched.push(find(*place, &entry.rule));
            for departed in &entry.departed {
                // It may have several successors, and is one limit all the same.
                let found = |other: &MatchedRule<'_>| Arc::ptr_eq(other.rule, &departed.rule);
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
        self.find_states(&matching, caller, self.fingerprint(caller), false, now)
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

/// What each has left, where nothing is charged.
fn levels(matched: &[MatchedRule<'_>], now: ClockReading) -> RuleStates {
    let mut states = RuleStates::default();
    for rule in matched {
        states.add(rule.rule_state(rule.level(now), now));
    }
    states
}

/// What stands in a store's place is looked at before any store is asked.
fn look_and_charge(
    rules: &RuleSet,
    matched: &[MatchedRule<'_>],
    cost: u32,
    held: Option<&mut Held>,
    now: ClockReading,
) -> ChargeOutcome {
    let needed = cost.max(1);
    let mut missing = None;
    for (index, rule) in matched.iter().enumerate() {
        match (rule.look(now, needed, held.as_deref()), &missing) {
            (Ok(()), _) => {}
            (Err(Shortage::Wait(wait)), _) => {
                return refuse(rules, matched, (index, wait), needed, now);
            }
            (Err(Shortage::Unavailable), _) => missing = Some(ChargeOutcome::Unavailable),
            (Err(Shortage::Ask), None) => missing = Some(ChargeOutcome::Ask),
            (Err(Shortage::Ask), Some(_)) => {}
        }
    }
    match (missing, cost) {
        (Some(missing), _) => missing,
        (None, 0) => ChargeOutcome::Charged(levels(matched, now)),
        (None, _) => charge_all(rules, matched, cost, held, now),
    }
}

/// The state of a rule for which a store should be asked behind the request.
fn behind(rule: &Rule, state: &CounterState, now: ClockReading) -> Option<Arc<SharedState>> {
    let (counter, state) = rule.counter.shared_with(state)?;
    counter.asks_behind(state, now).then(|| Arc::clone(state))
}

/// Charges all of them, or gives back what the first of them were charged. `cost` is not 0.
pub(super) fn charge_all(
    rules: &RuleSet,
    matched: &[MatchedRule<'_>],
    cost: u32,
    mut held: Option<&mut Held>,
    now: ClockReading,
) -> ChargeOutcome {
    let mut states = RuleStates::default();
    let mut receipts = SmallVec::<[Receipt; INLINE_RULES]>::new();
    for (index, rule) in matched.iter().enumerate() {
        match rule.charge(now, cost, held.as_deref_mut()) {
            Ok((level, receipt)) => {
                states.add(rule.rule_state(level, now));
                receipts.push(receipt);
            }
            Err(shortage) => {
                for (earlier, receipt) in matched.iter().zip(receipts) {
                    earlier.rule.counter.refund(&earlier.state, receipt, cost);
                }
                return match shortage {
                    Shortage::Wait(wait) => refuse(rules, matched, (index, wait), cost, now),
                    Shortage::Ask => ChargeOutcome::Ask,
                    Shortage::Unavailable => ChargeOutcome::Unavailable,
                };
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
    cost: u32,
    now: ClockReading,
) -> ChargeOutcome {
    let mut refusal = LimitRefusal::by(matched[decided_by].rule);
    for (index, rule) in matched.iter().enumerate() {
        // Not asked again: a refund in between must not leave a refusal without a rule.
        let wait = if index == decided_by {
            Some(wait)
        } else {
            match rule.look(now, cost, None) {
                Err(Shortage::Wait(wait)) => Some(wait),
                _ => None,
            }
        };
        let level = match wait {
            None => rule.level(now),
            Some(wait) => refusal.add(rules.name(rule.place), wait, || rule.level(now), cost),
        };
        refusal.states.add(rule.rule_state(level, now));
    }
    ChargeOutcome::Limited(Box::new(refusal))
}

// === impl LimitRefusal ===

impl LimitRefusal {
    fn by(rule: &Rule) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            violated: Vec::new(),
            mode: rule.key.mode,
            states: RuleStates::default(),
        }
    }

    /// One more rule that refuses a request of this cost, and what it has left. `level` is read after
    /// it has refused, and may be of a moment at which it no longer would.
    fn add(
        &mut self,
        name: Option<Arc<str>>,
        wait: Duration,
        level: impl FnOnce() -> Level,
        cost: u32,
    ) -> Level {
        let seconds = (wait != NEVER).then(|| Duration::from_secs(seconds_up(wait).into()));
        self.retry_after = self
            .retry_after
            .zip(seconds)
            .map(|(most, wait)| most.max(wait));
        // A rule and those in whose place it is go by one name.
        if self.violated.last() != name.as_ref() {
            self.violated.extend(name);
        }
        if cost == 1 && wait != NEVER {
            // What the request waits for is the next unit.
            return Level {
                remaining: 0,
                more_in: wait,
            };
        }
        let Level { remaining, more_in } = level();
        Level {
            remaining: remaining.min(cost - 1),
            more_in,
        }
    }
}

// === impl MatchedRule ===

impl MatchedRule<'_> {
    /// Whether a request of this cost would pass, with what it holds if it has waited.
    pub(super) fn look(
        &self,
        now: ClockReading,
        cost: u32,
        held: Option<&Held>,
    ) -> Result<(), Shortage> {
        if let (Some(held), Some(subject)) = (held, self.shared)
            && let Some(said) = held.says(subject, cost, now.monotonic)
        {
            return said.map_err(Shortage::Wait);
        }
        let waits = held.is_none_or(Held::may_wait);
        self.rule.counter.look(&self.state, now, cost, waits)
    }

    fn charge(
        &self,
        now: ClockReading,
        cost: u32,
        held: Option<&mut Held>,
    ) -> Result<(Level, Receipt), Shortage> {
        let waits = held.as_deref().is_none_or(Held::may_wait);
        if let (Some(held), Some(subject)) = (held, self.shared)
            && let Some(lease) = held.spend(subject, cost, now.monotonic)
        {
            return Ok((self.level(now), Receipt::Of(lease)));
        }
        self.rule.counter.charge(&self.state, now, cost, waits)
    }

    fn level(&self, now: ClockReading) -> Level {
        self.rule.counter.level(&self.state, now)
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
