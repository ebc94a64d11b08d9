//! Local rate limits: look at every matching rule, then charge them all.
//!
//! 1. An app's rules are compiled into a [`RuleSet`], in order of priority. A rule that has not
//!    changed keeps its counters.
//! 2. [`Limiter::admit`] finds the counter of each rule that matches the resource.
//! 3. It looks at all of them. If one refuses, nothing is charged.
//! 4. It charges all of them. The look was advice: should a charge fail because another request
//!    came first, those before it are refunded.
//! 5. The answer carries what is left, for the response headers.

mod gcra;
mod headers;
mod limits;
mod subjects;

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
use crate::gate::credential::KeyDigest;

use self::gcra::Bucket;
use self::gcra::Gcra;
use self::gcra::Level;
use self::gcra::Moment;
use self::headers::Label;
pub use self::headers::RateLimitHeaders;
pub(crate) use self::limits::Authority;
pub use self::limits::Limits;
use self::subjects::Subject;
use self::subjects::Subjects;

/// How many keys and addresses a gate counts at the same time unless told otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 100_000;

/// One limit, in the gate's own terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RuleSpec {
    pub(crate) mode: Mode,
    pub(crate) window: Duration,
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
    subjects: Subjects,
    registry: Mutex<Registry>,
}

/// An app's rules, in order of priority. Two of them never share a counter.
#[derive(Debug)]
pub(crate) struct RuleSet {
    entries: Vec<Entry>,
    /// `RateLimit-Policy` for a resource that all rules match.
    policy: HeaderValue,
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
}

#[derive(Debug)]
struct Entry {
    rule: Arc<Rule>,
    label: Label,
}

/// A rule with its counter, alive as long as a set holds it or it has something to remember.
#[derive(Debug)]
struct Rule {
    number: u64,
    identity: Identity,
    gcra: Gcra,
    /// Per app: the counter. Otherwise the one for subjects that found no room.
    shared: Bucket,
}

/// Rules with equal identities are one rule and have the same counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    deployment: i64,
    app: Option<Arc<str>>,
    mode: Mode,
    window: Duration,
    max_requests: u32,
    /// Sorted; `None` is all.
    endpoints: Option<Box<[Box<str>]>>,
}

struct Registry {
    rules: HashMap<Identity, Registered>,
    next_number: u64,
    /// The size at which to look for rules that can go.
    prune_at: usize,
}

struct Registered {
    rule: Arc<Rule>,
    /// When it was first seen that no set holds the rule.
    unused_since: Option<Moment>,
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
    /// Counts for at most `capacity` keys and addresses apart; more of them share a counter per
    /// rule.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            subjects: Subjects::new(capacity),
            registry: Mutex::new(Registry {
                rules: HashMap::new(),
                next_number: 0,
                prune_at: SMALL_REGISTRY,
            }),
        }
    }

    /// Compiles the rules of an app. Those it had before keep their counters; with no rules at
    /// all, the gateway's default of 1000 requests a minute per app applies.
    pub(crate) fn ruleset(
        &self,
        deployment: i64,
        app: &Arc<str>,
        rules: &[RuleSpec],
        now: Now,
    ) -> RuleSet {
        let default = [RuleSpec::default()];
        let rules = if rules.is_empty() { &default } else { rules };
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
        registry.prune_when_large(now.into());
        drop(registry);
        RuleSet::new(compiled)
    }

    /// Charges every rule that matches, or none of them.
    pub(crate) fn admit(
        &self,
        rules: &RuleSet,
        caller: &Caller<'_>,
        now: Now,
    ) -> Result<Charged, Denied> {
        let now = Moment::from(now);
        let claims = self.claims(rules, caller, now)?;
        let refusing = |claim: &Claim<'_>| Some((claim.entry, claim.look(now).err()?));
        if let Some(first) = claims.iter().find_map(refusing) {
            return Err(refused(rules, &claims, first, now));
        }
        charge_all(rules, &claims, now)
    }

    /// How many keys and addresses are being counted.
    pub(crate) fn subjects(&self) -> usize {
        self.subjects.len()
    }

    fn claims<'a>(
        &self,
        rules: &'a RuleSet,
        caller: &Caller<'_>,
        now: Moment,
    ) -> Result<SmallVec<[Claim<'a>; INLINE_RULES]>, Denied> {
        let address = if rules.needs_address(caller.resource) {
            Some((caller.address)().ok_or(Denied::MissingAddress)?)
        } else {
            None
        };
        let claims = rules.matching(caller.resource).map(|(entry, rule)| {
            let shared = Counter::Shared(&rule.shared);
            let bucket = match rule.subject(caller.key, address) {
                None => shared,
                Some(subject) => self
                    .subjects
                    .bucket(subject, &rule.shared, now)
                    .map_or(shared, Counter::Own),
            };
            Claim {
                entry,
                rule,
                bucket,
            }
        });
        Ok(claims.collect())
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("subjects", &self.subjects())
            .finish_non_exhaustive()
    }
}

fn charge_all(rules: &RuleSet, claims: &[Claim<'_>], now: Moment) -> Result<Charged, Denied> {
    let mut standings = Standings::default();
    for (charged, claim) in claims.iter().enumerate() {
        match claim.rule.gcra.charge(&claim.bucket, now) {
            Ok(level) => standings.0.push(claim.standing(level)),
            Err(wait) => {
                for earlier in claims.iter().take(charged) {
                    earlier.rule.gcra.refund(&earlier.bucket, now);
                }
                return Err(refused(rules, claims, (claim.entry, wait), now));
            }
        }
    }
    Ok(Charged { standings })
}

/// The refusal by the rule that decided it, and by every other that would refuse now.
fn refused(
    rules: &RuleSet,
    claims: &[Claim<'_>],
    (decided_by, wait): (u32, Duration),
    now: Moment,
) -> Denied {
    let mut refused = Refused {
        retry_after: Duration::from_secs(1),
        violated: Vec::new(),
        standings: Standings::default(),
    };
    for claim in claims {
        // Not asked again: a refund in between must not leave a refusal without a rule.
        let wait = if claim.entry == decided_by {
            Some(wait)
        } else {
            claim.look(now).err()
        };
        let level = match wait {
            None => claim.rule.gcra.level(&claim.bucket, now),
            Some(more_in) => {
                let seconds = Duration::from_secs(seconds_up(more_in).into());
                refused.retry_after = refused.retry_after.max(seconds);
                refused.violated.extend(rules.name(claim.entry));
                Level {
                    remaining: 0,
                    more_in,
                }
            }
        };
        refused.standings.0.push(claim.standing(level));
    }
    Denied::Limited(Box::new(refused))
}

fn seconds_up(time: Duration) -> u32 {
    let started = u64::from(time.subsec_nanos() > 0);
    let whole = time.as_secs().saturating_add(started);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

// === impl RuleSet ===

impl RuleSet {
    fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut labels = headers::Labels::default();
        let entries = rules
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
                }
            })
            .collect();
        Self {
            entries,
            policy: labels.policy(),
        }
    }

    /// Whether a rule that matches `resource` counts by address.
    pub(crate) fn needs_address(&self, resource: &str) -> bool {
        self.matching(resource)
            .any(|(_, rule)| rule.identity.mode.needs_address())
    }

    /// Whether any rule at all counts by address.
    pub(crate) fn may_need_address(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.rule.identity.mode.needs_address())
    }

    fn matching(&self, resource: &str) -> impl Iterator<Item = (u32, &Rule)> {
        (0..)
            .zip(&self.entries)
            .map(|(place, entry)| (place, &*entry.rule))
            .filter(move |(_, rule)| rule.identity.matches(resource))
    }

    fn label(&self, entry: u32) -> Option<&Label> {
        let entry = self.entries.get(usize::try_from(entry).ok()?)?;
        Some(&entry.label)
    }

    fn name(&self, entry: u32) -> Option<Arc<str>> {
        self.label(entry).map(|label| Arc::clone(&label.name))
    }
}

// === impl RuleSpec ===

impl Default for RuleSpec {
    /// What the gateway applies to an app without a scheme.
    fn default() -> Self {
        Self {
            mode: Mode::App,
            window: Duration::from_secs(60),
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
    fn subject(&self, key: KeySubject, address: Option<IpAddr>) -> Option<Subject> {
        let (key, address) = match self.identity.mode {
            Mode::App => return None,
            Mode::Key => (Some(key), None),
            Mode::KeyAndIp => (Some(key), address),
            Mode::AppAndIp | Mode::Ip => (None, address),
        };
        Some(Subject {
            rule: self.number,
            key,
            address,
        })
    }

    /// When everything a rule unused since `since` has counted is certainly forgotten.
    fn idle_from(&self, since: Moment) -> Moment {
        match self.identity.mode {
            Mode::App => self.shared.when_full(),
            _ => Moment(since.0.saturating_add(self.gcra.refill())),
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
        let rule = Arc::new(Rule {
            number: self.next_number,
            identity: identity.clone(),
            gcra: Gcra::new(identity.max_requests, identity.window),
            shared: Bucket::default(),
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
    fn prune_when_large(&mut self, now: Moment) {
        if self.rules.len() < self.prune_at {
            return;
        }
        self.rules.retain(|_, registered| {
            if Arc::strong_count(&registered.rule) > 1 {
                registered.unused_since = None;
                return true;
            }
            let since = *registered.unused_since.get_or_insert(now);
            registered.rule.idle_from(since) > now
        });
        self.prune_at = SMALL_REGISTRY.max(2 * self.rules.len());
    }
}

// === impl Claim ===

impl Claim<'_> {
    fn look(&self, now: Moment) -> Result<(), Duration> {
        self.rule.gcra.look(&self.bucket, now)
    }

    fn standing(&self, level: Level) -> Standing {
        Standing {
            entry: self.entry,
            remaining: level.remaining,
            more_in: seconds_up(level.more_in),
        }
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
const INLINE_RULES: usize = 8;

const SMALL_REGISTRY: usize = 64;

#[cfg(test)]
mod tests;
