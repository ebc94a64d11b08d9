//! Local rate limits: look at every matching rule, then charge them all.
//!
//! 1. An app's rules are compiled into a [`RuleSet`], in order of priority. A rule that has not
//!    changed keeps its counters; one that takes another's place has the other beside it for one
//!    window.
//! 2. [`Limiter::admit`] finds the counter of each rule that matches the resource.
//! 3. It looks at all of them. If one refuses, nothing is charged.
//! 4. It charges all of them. The look was advice: should a charge fail because another request
//!    came first, those before it are refunded.
//! 5. The answer carries what is left, for the response headers.

mod calendar;
mod counter;
mod fields;
mod gcra;
mod limits;
mod subjects;
mod unknown_keys;
mod window;

#[cfg(all(test, wacht_shuttle))]
mod interleavings;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::clock::Now;
use crate::gate::request::credential::KeyDigest;
use crate::models::RateLimitRule;
use crate::stripes::Stripes;

pub(crate) use self::calendar::CalendarUnit;
use self::counter::Bucket;
use self::counter::Calendars;
use self::counter::Meter;
use self::counter::Reading;
use self::counter::Receipt;
pub(crate) use self::counter::Window;
use self::fields::Label;
pub(crate) use self::fields::RateLimitFields;
pub use self::fields::RateLimitHeaders;
use self::gcra::Level;
use self::gcra::Moment;
pub use self::limits::Algorithm;
pub(crate) use self::limits::Authority;
pub use self::limits::Limits;
use self::subjects::Subject;
use self::subjects::Subjects;
pub(crate) use self::unknown_keys::FailedLookups;
pub(crate) use self::unknown_keys::Payer;
pub use self::unknown_keys::UnknownKeyLimit;

/// How many keys and addresses a gate counts at the same time unless told otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 100_000;

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

/// Who asks, and for what.
pub(crate) struct Caller<'a> {
    pub(crate) resource: &'a str,
    pub(crate) key: KeySubject,
    /// The client's address, canonical and cut to its prefix. Called at most once, and only if a
    /// matching rule needs it.
    pub(crate) address: &'a dyn Fn() -> Option<IpAddr>,
}

/// What a per-key rule counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeySubject {
    ApiKey(i64),
    /// An OAuth access token, by its digest.
    Token(KeyDigest),
}

/// All counters of one gate.
pub(crate) struct Limiter {
    limits: Limits,
    problem: Option<String>,
    /// The rules that every app has, whatever its scheme says.
    fixed: Option<Vec<RuleSpec>>,
    subjects: Subjects,
    registry: Mutex<Registry>,
}

/// An app's rules, in order of priority. Two of them never share a counter.
#[derive(Debug)]
pub(crate) struct RuleSet {
    entries: Vec<Entry>,
    /// `RateLimit-Policy` for a resource that all rules match, where it is always the same.
    policy: Option<Stripes<HeaderValue>>,
    /// Whether any rule at all counts by address.
    counts_by_address: bool,
}

/// A request that may go on: what it left in each counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) standings: Standings,
}

/// Why a request may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    Limited(Box<Refused>),
    /// A matching rule counts by address and there is none. Nothing was charged.
    MissingAddress,
}

/// A request that one or more rules refuse. It has consumed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Whole seconds, at least one, after which every rule that refuses would admit it.
    pub(crate) retry_after: Duration,
    /// The names of the rules that refuse, as in `RateLimit-Policy`.
    pub(crate) violated: Vec<Arc<str>>,
    /// Of the rule that decided it.
    pub(crate) mode: Mode,
    pub(crate) standings: Standings,
}

/// What the rules that matched have left, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standings(SmallVec<[Standing; INLINE_RULES]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// The rule's place in its set.
    entry: u32,
    remaining: u32,
    /// Whole seconds until there is more; 0 when the counter is full.
    more_in: u32,
    /// Whole seconds that the current day or month has; 0 for a rolling window.
    period: u32,
}

#[derive(Debug)]
struct Entry {
    rule: Arc<Rule>,
    label: Label,
    /// Whose place it has taken, as long as they have a say.
    replaced: Vec<Replaced>,
}

/// A rule that has gone and still refuses what it would have refused.
#[derive(Clone, Debug)]
struct Replaced {
    rule: Arc<Rule>,
    /// One window after it went.
    until: Moment,
}

/// A rule with its counter, alive as long as a set holds it or it has something to remember.
#[derive(Debug)]
struct Rule {
    number: u64,
    identity: Identity,
    meter: Meter,
    /// Per app: the counter. Otherwise the one for subjects that found no room.
    shared: Bucket,
}

/// Rules with equal identities are one rule and have the same counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    deployment: i64,
    app: Option<Arc<str>>,
    mode: Mode,
    window: Window,
    max_requests: u32,
    /// Sorted; `None` is all.
    endpoints: Option<Box<[Box<str>]>>,
}

struct Registry {
    rules: HashMap<Identity, Registered>,
    algorithm: Algorithm,
    calendars: Calendars,
    next_number: u64,
    /// The size at which to look for rules that can go.
    prune_at: usize,
}

struct Registered {
    rule: Arc<Rule>,
    /// When it was first seen that no set holds the rule.
    unused_since: Option<Moment>,
}

/// What the request at hand may be counted by.
#[derive(Clone, Copy)]
struct By {
    key: KeySubject,
    /// Only where a matching rule counts by it.
    address: Option<IpAddr>,
    /// The resource's fingerprint, where resources are counted apart, else 0.
    resource: u64,
}

/// One rule's counter for the request at hand.
struct Claim<'a> {
    entry: u32,
    rule: &'a Rule,
    bucket: Counter<'a>,
}

enum Counter<'a> {
    Shared(&'a Bucket),
    Own(Arc<Bucket>),
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            problem: limits.problem(),
            fixed: limits
                .rules
                .as_deref()
                .and_then(|rules| limits.specs(rules)),
            subjects: Subjects::new(limits.capacity),
            registry: Mutex::new(Registry {
                rules: HashMap::new(),
                algorithm: limits.algorithm,
                calendars: Calendars::default(),
                next_number: 0,
                prune_at: SMALL_REGISTRY,
            }),
        }
    }

    /// Why nothing can be counted as configured.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// An app's scheme in the gate's own terms; `None` if it cannot be counted here.
    pub(crate) fn specs(&self, rules: &[RateLimitRule]) -> Option<Vec<RuleSpec>> {
        self.limits.specs(rules)
    }

    /// The rules that every app has, whatever its scheme says.
    pub(crate) fn fixed(&self) -> Option<&[RuleSpec]> {
        self.fixed.as_deref()
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

        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut compiled: Vec<Arc<Rule>> = Vec::with_capacity(rules.len());
        for spec in by_priority {
            let rule = registry.rule(Identity::new(deployment, app, spec));
            // A repeated rule would charge its own counter twice.
            if !compiled.iter().any(|other| Arc::ptr_eq(other, &rule)) {
                compiled.push(rule);
            }
        }
        let now = Reading::from(now);
        registry.prune_when_large(now);
        drop(registry);
        let mut rules = RuleSet::new(compiled);
        if let Some(before) = before {
            rules.take_over(before, now);
        }
        rules
    }

    /// Charges every rule that matches, or none of them.
    pub(crate) fn admit(
        &self,
        rules: &RuleSet,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<Charged, Denied> {
        let now = Reading::from(now);
        let by = self.by(rules, caller)?;
        if let Some(outcome) = self.charge_the_only(rules, caller.resource, by, now) {
            return outcome;
        }
        let claims = self.claims(rules, caller.resource, by, now);
        for (place, claim) in claims.iter().enumerate() {
            if let Err(wait) = claim.look(now) {
                return Err(refused(rules, &claims, (place, wait), now));
            }
        }
        charge_all(rules, &claims, now)
    }

    fn by(&self, rules: &RuleSet, caller: &Caller<'_>) -> Result<By, Denied> {
        Ok(By {
            key: caller.key,
            address: match rules.needs_address(caller.resource) {
                true => Some((caller.address)().ok_or(Denied::MissingAddress)?),
                false => None,
            },
            resource: match self.limits.per_resource {
                true => self.subjects.fingerprint(caller.resource),
                false => 0,
            },
        })
    }

    /// The usual case in short: where one rule is all that matches, its charge says as much as a
    /// look, and nobody has to hold on to its counter. `None` if there is more to it.
    fn charge_the_only(
        &self,
        rules: &RuleSet,
        resource: &str,
        by: By,
        now: Reading,
    ) -> Option<Result<Charged, Denied>> {
        let mut matching = rules.matching(resource);
        let (place, Entry { rule, replaced, .. }) = matching.next()?;
        if matching.next().is_some() || !replaced.is_empty() {
            return None;
        }
        let charged = match rule.subject(by) {
            None => rule.meter.charge(&rule.shared, now),
            Some(subject) => {
                let known = self
                    .subjects
                    .with_known(subject, |own| rule.meter.charge(own, now));
                known?
            }
        };
        Some(match charged {
            Ok((level, _)) => {
                let mut standings = Standings::default();
                standings.add(rule.standing(place, level, now));
                Ok(Charged { standings })
            }
            Err(more_in) => {
                let mut refused = Refused::by(rule);
                let level = refused.add(rules.name(place), more_in);
                refused.standings.add(rule.standing(place, level, now));
                Err(Denied::Limited(Box::new(refused)))
            }
        })
    }

    /// How many keys and addresses are being counted.
    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    fn claims<'a>(
        &self,
        rules: &'a RuleSet,
        resource: &str,
        by: By,
        now: Reading,
    ) -> SmallVec<[Claim<'a>; INLINE_RULES]> {
        let claim = |place, rule: &'a Rule| {
            let shared = Counter::Shared(&rule.shared);
            let bucket = match rule.subject(by) {
                None => shared,
                Some(subject) => self
                    .subjects
                    .bucket(subject, &rule.shared, now)
                    .map_or(shared, Counter::Own),
            };
            Claim {
                entry: place,
                rule,
                bucket,
            }
        };
        let mut claims = SmallVec::<[Claim<'a>; INLINE_RULES]>::new();
        for (place, entry) in rules.matching(resource) {
            claims.push(claim(place, &entry.rule));
            for Replaced { rule, until } in &entry.replaced {
                // It may have several successors, and is one limit all the same.
                let claimed = |other: &Claim<'_>| std::ptr::eq(other.rule, &**rule);
                if now.monotonic < *until
                    && rule.identity.matches(resource)
                    && !claims.iter().any(claimed)
                {
                    claims.push(claim(place, rule));
                }
            }
        }
        claims
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("subjects", &self.subjects())
            .finish_non_exhaustive()
    }
}

fn charge_all(rules: &RuleSet, claims: &[Claim<'_>], now: Reading) -> Result<Charged, Denied> {
    let mut standings = Standings::default();
    let mut receipts = SmallVec::<[Receipt; INLINE_RULES]>::new();
    for (place, claim) in claims.iter().enumerate() {
        match claim.rule.meter.charge(&claim.bucket, now) {
            Ok((level, receipt)) => {
                standings.add(claim.standing(level, now));
                receipts.push(receipt);
            }
            Err(wait) => {
                for (earlier, receipt) in claims.iter().zip(receipts) {
                    earlier.rule.meter.refund(&earlier.bucket, receipt);
                }
                return Err(refused(rules, claims, (place, wait), now));
            }
        }
    }
    Ok(Charged { standings })
}

/// The refusal by the rule that decided it, and by every other that would refuse now.
fn refused(
    rules: &RuleSet,
    claims: &[Claim<'_>],
    (decided_by, wait): (usize, Duration),
    now: Reading,
) -> Denied {
    let mut refused = Refused::by(claims[decided_by].rule);
    for (place, claim) in claims.iter().enumerate() {
        // Not asked again: a refund in between must not leave a refusal without a rule.
        let wait = if place == decided_by {
            Some(wait)
        } else {
            claim.look(now).err()
        };
        let level = match wait {
            None => claim.rule.meter.level(&claim.bucket, now),
            Some(more_in) => refused.add(rules.name(claim.entry), more_in),
        };
        refused.standings.add(claim.standing(level, now));
    }
    Denied::Limited(Box::new(refused))
}

// === impl Refused ===

impl Refused {
    fn by(rule: &Rule) -> Self {
        Self {
            retry_after: Duration::from_secs(1),
            violated: Vec::new(),
            mode: rule.identity.mode,
            standings: Standings::default(),
        }
    }

    /// One more rule that refuses, and what there is in its counter.
    fn add(&mut self, name: Option<Arc<str>>, more_in: Duration) -> Level {
        let seconds = Duration::from_secs(seconds_up(more_in).into());
        self.retry_after = self.retry_after.max(seconds);
        // A rule and the one it has replaced go by one name.
        if self.violated.last() != name.as_ref() {
            self.violated.extend(name);
        }
        Level {
            remaining: 0,
            more_in,
        }
    }
}

fn seconds_up(time: Duration) -> u32 {
    let started = u64::from(time.subsec_nanos() > 0);
    let whole = time.as_secs().saturating_add(started);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

// === impl RuleSet ===

impl RuleSet {
    fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut labels = fields::Labels::default();
        let entries: Vec<Entry> = rules
            .into_iter()
            .map(|rule| {
                let Identity {
                    mode,
                    max_requests,
                    window,
                    ..
                } = rule.identity;
                Entry {
                    label: labels.next(mode, max_requests, window),
                    rule,
                    replaced: Vec::new(),
                }
            })
            .collect();
        Self {
            counts_by_address: entries
                .iter()
                .any(|entry| entry.rule.identity.mode.needs_address()),
            entries,
            policy: labels.policy(),
        }
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
                    entry.replace(Replaced {
                        rule: Arc::clone(old),
                        until: old.meter.one_window_on(now),
                    });
                }
            }
        }
    }

    /// All rules that count, those replaced among them.
    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.entries.iter().flat_map(|entry| {
            let replaced = entry.replaced.iter().map(|replaced| &replaced.rule);
            std::iter::once(&entry.rule).chain(replaced)
        })
    }

    /// Whether a rule that matches `resource` counts by address.
    fn needs_address(&self, resource: &str) -> bool {
        self.counts_by_address
            && self
                .matching(resource)
                .any(|(_, entry)| entry.rule.identity.mode.needs_address())
    }

    /// Whether any rule at all counts by address.
    pub(crate) fn counts_by_address(&self) -> bool {
        self.counts_by_address
    }

    fn matching(&self, resource: &str) -> impl Iterator<Item = (u32, &Entry)> {
        (0..)
            .zip(&self.entries)
            .filter(move |(_, entry)| entry.rule.identity.matches(resource))
    }

    fn label(&self, entry: u32) -> Option<&Label> {
        let entry = self.entries.get(usize::try_from(entry).ok()?)?;
        Some(&entry.label)
    }

    fn name(&self, entry: u32) -> Option<Arc<str>> {
        self.label(entry).map(|label| Arc::clone(&label.name))
    }
}

// === impl Entry ===

impl Entry {
    /// Takes the other's place, where it is for the same callers and resources.
    fn replace(&mut self, other: Replaced) {
        let alike = self.rule.identity.mode == other.rule.identity.mode
            && self.rule.identity.overlaps(&other.rule.identity);
        let known = |known: &Replaced| Arc::ptr_eq(&known.rule, &other.rule);
        if alike && !self.replaced.iter().any(known) {
            self.replaced.push(other);
        }
    }
}

// === impl Standings ===

impl Standings {
    /// Adds what a counter says. Of a rule and the one it has replaced, the one with less left
    /// speaks.
    fn add(&mut self, standing: Standing) {
        match self.0.last_mut() {
            Some(last) if last.entry == standing.entry => {
                let key = |standing: &Standing| (standing.remaining, u32::MAX - standing.more_in);
                if key(&standing) < key(last) {
                    last.remaining = standing.remaining;
                    last.more_in = standing.more_in;
                }
            }
            _ => self.0.push(standing),
        }
    }
}

// === impl RuleSpec ===

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
    fn needs_address(self) -> bool {
        match self {
            Self::App | Self::Key => false,
            Self::KeyAndIp | Self::AppAndIp | Self::Ip => true,
        }
    }

    /// Wacht's word for it.
    fn word(self) -> &'static str {
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
    /// Whose counter it is, `None` for the rule's own.
    fn subject(&self, by: By) -> Option<Subject> {
        let By {
            key,
            address,
            resource,
        } = by;
        let (key, address, resource) = match self.identity.mode {
            Mode::App => return None,
            Mode::Key => (Some(key), None, resource),
            Mode::KeyAndIp => (Some(key), address, resource),
            Mode::AppAndIp | Mode::Ip => (None, address, 0),
        };
        Some(Subject {
            rule: self.number,
            key,
            address,
            resource,
        })
    }

    /// What its counter says, where it has this place in its set.
    fn standing(&self, entry: u32, level: Level, now: Reading) -> Standing {
        Standing {
            entry,
            remaining: level.remaining,
            more_in: seconds_up(level.more_in),
            period: self.meter.period(now).map_or(0, seconds_up),
        }
    }

    /// Whether all that a rule unused since `since` has counted is certainly forgotten.
    fn is_idle(&self, since: Moment, now: Reading) -> bool {
        match self.identity.mode {
            Mode::App => self.shared.is_idle(now),
            _ => since.0.saturating_add(self.meter.memory()) <= now.monotonic.0,
        }
    }
}

// === impl Identity ===

impl Identity {
    fn new(deployment: i64, app: &Arc<str>, spec: &RuleSpec) -> Self {
        let listed = spec.endpoints.as_deref();
        let endpoints = listed
            .filter(|listed| !listed.iter().any(|endpoint| &**endpoint == "*"))
            .map(|listed| {
                let mut sorted = listed.to_vec();
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

    /// Whether there may be a resource that both are for.
    fn overlaps(&self, other: &Self) -> bool {
        match (&self.endpoints, &other.endpoints) {
            (Some(ours), Some(_)) => ours.iter().any(|endpoint| other.matches(endpoint)),
            _ => true,
        }
    }

    fn matches(&self, resource: &str) -> bool {
        self.endpoints.as_deref().is_none_or(|listed| {
            listed
                .binary_search_by(|endpoint| (**endpoint).cmp(resource))
                .is_ok()
        })
    }
}

// === impl Registry ===

impl Registry {
    fn rule(&mut self, identity: Identity) -> Arc<Rule> {
        if let Some(known) = self.rules.get_mut(&identity) {
            known.unused_since = None;
            return Arc::clone(&known.rule);
        }
        let Identity {
            max_requests,
            window,
            ..
        } = identity;
        let meter = Meter::new(self.algorithm, max_requests, window, &self.calendars);
        let rule = Arc::new(Rule {
            number: self.next_number,
            identity: identity.clone(),
            shared: meter.bucket(),
            meter,
        });
        self.next_number += 1;
        let registered = Registered {
            rule: Arc::clone(&rule),
            unused_since: None,
        };
        self.rules.insert(identity, registered);
        rule
    }

    /// Drops rules that no set holds and that have nothing left to remember.
    fn prune_when_large(&mut self, now: Reading) {
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
}

// === impl Claim ===

impl Claim<'_> {
    fn look(&self, now: Reading) -> Result<(), Duration> {
        self.rule.meter.look(&self.bucket, now)
    }

    fn standing(&self, level: Level, now: Reading) -> Standing {
        self.rule.standing(self.entry, level, now)
    }
}

// === impl Counter ===

impl Deref for Counter<'_> {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        match self {
            Self::Shared(bucket) => bucket,
            Self::Own(bucket) => bucket,
        }
    }
}

/// Up to this many matching rules, admitting allocates nothing.
const INLINE_RULES: usize = 4;

const SMALL_REGISTRY: usize = 64;

#[cfg(test)]
mod tests;
