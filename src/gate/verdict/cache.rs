//! What is known about keys, good and bad, and how long it is kept.
//!
//! moka bounds the memory and chooses what to forget; how old a verdict may be is decided on the
//! gate's own clock, because moka's cannot be moved by hand.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;

use crate::clock::Now;
use crate::gate::verdict::hot_cache::{Front, one_in};
use crate::gate::verdict::revocations::Tombstones;
use crate::gate::verdict::{Verdict, VerdictKey};
use crate::sync::atomic::Ordering;
use crate::sync::{Cache, cache};

/// How long verdicts may be used, and how much memory they may take.
///
/// A verdict's age runs from the moment the check was *sent*. With the defaults a key that was
/// revoked elsewhere passes for at most 60 s (the gateway's own cache) + `fresh_for` +
/// `stale_while_revalidate` = 120 s, and through an outage of the gateway for at most
/// 60 s + `fresh_for` + `stale_if_error` = 390 s. Zero switches a span off.
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::{CachePolicy, WachtAuthLayer, WachtClient};
///
/// // Revocations elsewhere are seen within 60 + 5 s, outage or not.
/// let strict = CachePolicy::default()
///     .fresh_for(Duration::from_secs(5))
///     .stale_while_revalidate(Duration::ZERO)
///     .stale_if_error(Duration::ZERO)
///     .capacity_bytes(16 << 20);
/// assert_ne!(strict, CachePolicy::default());
/// let gate = WachtAuthLayer::new(WachtClient::new("wk_live_...")).cache(strict);
/// # let _ = gate;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CachePolicy {
    capacity_bytes: u64,
    pub(crate) fresh_for: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) negative_ttl: Duration,
}

impl CachePolicy {
    /// Asks the gateway for every request: nothing is kept, good or bad.
    ///
    /// Concurrent requests with the same key still share one check.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").cache(CachePolicy::disabled());
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// for _ in 0..3 {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// assert_eq!(wacht.journal().checks(), 3);
    /// # Ok(()) }
    /// ```
    pub fn disabled() -> Self {
        Self {
            capacity_bytes: 0,
            fresh_for: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
        }
    }

    /// Bounds the memory of known keys, by weight. Default: 64 MiB.
    ///
    /// A key weighs some 600 bytes, and what its name, permissions and metadata weigh:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let policy = CachePolicy::default().capacity_bytes(8 << 10);
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").cache(policy);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// for _ in 0..50 {
    ///     let key = wacht.issue_key("orders").issue();
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// assert!(gate.stats().cached_keys < 20, "8 KiB are full");
    /// # Ok(()) }
    /// ```
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// How long a verdict is used without asking again. Default: 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().fresh_for(Duration::from_secs(90));
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock).cache(policy);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// clock.advance(Duration::from_secs(89));
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// assert_eq!(wacht.journal().checks(), 1);
    /// # Ok(()) }
    /// ```
    pub fn fresh_for(mut self, span: Duration) -> Self {
        self.fresh_for = span;
        self
    }

    /// How long after that a verdict still answers at once while one refresh runs in the
    /// background. Default: 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().stale_while_revalidate(Duration::from_secs(10));
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock).cache(policy);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// let _held = wacht.hold_checks(); // no refresh is answered
    /// clock.advance(Duration::from_secs(39));
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok(), "without waiting for it");
    /// # Ok(()) }
    /// ```
    pub fn stale_while_revalidate(mut self, span: Duration) -> Self {
        self.stale_while_revalidate = span;
        self
    }

    /// How long after `fresh_for` a verdict is still used when the gateway cannot be reached.
    /// Default: 5 min.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, Fault, ManualClock, On};
    /// use wacht_auth::{AuthContext, CachePolicy, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().stale_if_error(Duration::from_secs(120));
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock).cache(policy);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// wacht.fault(On::Checks, Fault::Status(503));
    /// clock.advance(Duration::from_secs(149)); // 30 s fresh, 119 s of grace
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// clock.advance(Duration::from_secs(1));
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::Unavailable);
    /// # Ok(()) }
    /// ```
    pub fn stale_if_error(mut self, span: Duration) -> Self {
        self.stale_if_error = span;
        self
    }

    /// How long a key that the gateway does not know is refused without asking again.
    /// Default: 10 s. A key created in that span is refused until it ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let policy = CachePolicy::default().negative_ttl(Duration::from_secs(3));
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock).cache(policy);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    ///
    /// let secret = "sk_test_0000000000000000000000000000000000000000000";
    /// assert!(gate.authenticate_key(secret, &context).await.is_err());
    /// let _key = wacht.issue_key("orders").secret(secret).issue();
    /// assert!(gate.authenticate_key(secret, &context).await.is_err(), "too early");
    /// clock.advance(Duration::from_secs(3));
    /// assert!(gate.authenticate_key(secret, &context).await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn negative_ttl(mut self, span: Duration) -> Self {
        self.negative_ttl = span;
        self
    }
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            capacity_bytes: 64 << 20,
            fresh_for: Duration::from_secs(30),
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::from_secs(5 * 60),
            negative_ttl: Duration::from_secs(10),
        }
    }
}

/// Why a key is not asked about again for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The gateway said no, or the key is a stranger's.
    Invalid,
    /// The gateway answered, and what it said means neither yes nor no.
    Undecided,
}

#[derive(Clone, Copy, Debug)]
struct Negative {
    refusal: Refusal,
    sent: Duration,
    until: Duration,
}

impl Negative {
    fn stands(&self, now: Now) -> bool {
        self.until > now.monotonic
    }

    /// Whether this no is the later word. At the same instant the no wins.
    fn contradicts(&self, verdict: &Verdict) -> bool {
        self.refusal == Refusal::Invalid && self.sent >= verdict.sent.monotonic
    }
}

/// What became of a yes on its way into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filed {
    /// It is in.
    Kept,
    /// Something was revoked or forgotten meanwhile. Who asked before may use it once, nobody
    /// else may.
    Overtaken,
    /// A younger check said no.
    Contradicted,
    /// Its key is revoked here. Kept, it might be used when the grave is no more.
    Buried,
}

/// Verdicts, positive and negative apart, so that made-up keys cannot push out good ones.
pub(crate) struct VerdictCache {
    pub(crate) policy: CachePolicy,
    front: Arc<Front>,
    positive: Cache<VerdictKey, Arc<Verdict>>,
    negative: Cache<VerdictKey, Negative>,
    evictions: Arc<Evictions>,
}

/// How many keys had to make room for others.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    good_keys: AtomicCount,
    refused_keys: AtomicCount,
}

// Not what a model of races puts in the place of an atomic: nothing is decided by it.
type AtomicCount = std::sync::atomic::AtomicU64;

impl Evictions {
    pub(crate) fn good_keys(&self) -> u64 {
        self.good_keys.load(Ordering::Relaxed)
    }

    pub(crate) fn refused_keys(&self) -> u64 {
        self.refused_keys.load(Ordering::Relaxed)
    }
}

/// How many refused keys are remembered: some 25 MB when full.
const NEGATIVE_CAPACITY: u64 = 65_536;

/// A stranger's key does not become ours by waiting.
pub(crate) const STRANGER_TTL: Duration = Duration::from_secs(5 * 60);

impl VerdictCache {
    pub(crate) fn new(policy: CachePolicy) -> Self {
        let evictions = Arc::<Evictions>::default();
        let counted = Arc::clone(&evictions);
        let front = Arc::new(Front::new(policy.capacity_bytes));
        let told = Arc::clone(&front);
        let positive = moka::sync::Cache::builder()
            .max_capacity(policy.capacity_bytes)
            .weigher(|_, verdict: &Arc<Verdict>| verdict.weight())
            .eviction_listener(move |key: Arc<VerdictKey>, verdict: Arc<Verdict>, cause| {
                verdict.leave();
                told.let_go(&key, &verdict);
                count_eviction(&counted.good_keys, cause);
            })
            .build_with_hasher(RandomState::default());
        let counted = Arc::clone(&evictions);
        let negative = moka::sync::Cache::builder()
            .max_capacity(NEGATIVE_CAPACITY)
            .eviction_listener(move |_, _, cause| count_eviction(&counted.refused_keys, cause))
            .build_with_hasher(RandomState::default());
        Self {
            front,
            policy,
            positive: cache(positive),
            negative: cache(negative),
            evictions,
        }
    }

    /// The yes about a key, however old, for a request that is about to use it.
    pub(crate) fn look_up(&self, key: &VerdictKey, now: Now) -> Option<Arc<Verdict>> {
        if let Some(verdict) = self.front.get(key) {
            // moka forgets first what is seldom asked for, so it hears of some of the reads.
            if one_in(16, now) {
                self.positive.get(key);
            }
            return Some(verdict);
        }
        let verdict = self.positive(key)?;
        self.front.put(key, &verdict, now);
        Some(verdict)
    }

    /// The yes about a key, however old.
    pub(crate) fn positive(&self, key: &VerdictKey) -> Option<Arc<Verdict>> {
        self.positive.get(key)
    }

    /// What speaks against asking about a key now, and until when.
    pub(crate) fn negative(&self, key: &VerdictKey, now: Now) -> Option<(Refusal, Duration)> {
        let negative = self.negative.get(key)?;
        if negative.stands(now) {
            return Some((negative.refusal, negative.until - now.monotonic));
        }
        // A newer one may have come in its place since.
        self.negative
            .entry(*key)
            .and_compute_with(|entry| match entry {
                Some(entry) if !entry.value().stands(now) => Op::Remove,
                _ => Op::Nop,
            });
        None
    }

    /// Files a yes, unless news or a younger no came while it was on its way.
    ///
    /// `epoch` is that of the moment the check was sent. All questions are asked again *after* the
    /// insert: what comes before it is seen here, and what comes after it finds the entry.
    pub(crate) fn admit(
        &self,
        key: VerdictKey,
        verdict: &Arc<Verdict>,
        tombstones: &Tombstones,
        epoch: u64,
        now: Now,
    ) -> Filed {
        if tombstones.epoch() != epoch {
            // Not even for a moment: a younger yes may be in its place.
            verdict.kill();
            let no = self.negative.get(&key);
            return match no.is_some_and(|no| no.contradicts(verdict)) {
                true => Filed::Contradicted,
                false => Filed::Overtaken,
            };
        }
        let is_buried = || {
            tombstones.covers_secret(&key, now)
                || tombstones.covers_identity(&verdict.identity, now)
        };
        if is_buried() {
            verdict.kill();
            return Filed::Buried;
        }
        if self.policy.capacity_bytes > 0 {
            self.positive.insert(key, Arc::clone(verdict));
        }
        let mut filed = Filed::Kept;
        if tombstones.epoch() != epoch {
            filed = Filed::Overtaken;
        }
        if is_buried() {
            filed = Filed::Buried;
        }
        self.negative
            .entry(key)
            .and_compute_with(|entry| match entry {
                Some(entry) if entry.value().contradicts(verdict) => {
                    filed = Filed::Contradicted;
                    Op::Nop
                }
                Some(_) => Op::Remove,
                None => Op::Nop,
            });
        if filed != Filed::Kept {
            verdict.kill();
            self.positive.invalidate(&key);
        }
        filed
    }

    /// Files a definite no. The yes goes first, for good: not even an outage brings it back.
    pub(crate) fn refuse(&self, key: VerdictKey, sent: Now, now: Now, ttl: Duration) {
        self.forget_yes(&key);
        self.remember(key, Refusal::Invalid, sent, now, ttl);
        // A yes that was sent earlier and filed in between would outlive the no.
        let late = self.positive.get(&key);
        if late.is_some_and(|verdict| verdict.sent.monotonic <= sent.monotonic) {
            self.forget_yes(&key);
        }
    }

    /// Remembers an answer that means nothing, so that it is not asked for on every request.
    pub(crate) fn undecided(&self, key: VerdictKey, sent: Now, now: Now) {
        // A no that still stands says more.
        let no = self.negative(&key, now);
        if no.is_none_or(|(refusal, _)| refusal == Refusal::Undecided) {
            self.remember(key, Refusal::Undecided, sent, now, self.policy.negative_ttl);
        }
    }

    fn remember(&self, key: VerdictKey, refusal: Refusal, sent: Now, now: Now, ttl: Duration) {
        if self.policy.negative_ttl.is_zero() {
            return;
        }
        let negative = Negative {
            refusal,
            sent: sent.monotonic,
            until: now.monotonic.saturating_add(ttl),
        };
        self.negative.insert(key, negative);
    }

    /// Forgets one key, good or bad.
    pub(crate) fn forget(&self, key: &VerdictKey) {
        self.forget_yes(key);
        self.negative.invalidate(key);
    }

    fn forget_yes(&self, key: &VerdictKey) {
        if let Some(verdict) = self.positive.remove(key) {
            verdict.kill();
        }
        // moka may have pushed it out without having said so yet.
        self.front.kill(key);
    }

    /// Forgets every verdict that `which` chooses. Walks the whole cache: not for a request.
    pub(crate) fn forget_if(&self, which: impl Fn(&Verdict) -> bool) {
        for (key, verdict) in self.positive.iter() {
            if which(&verdict) {
                verdict.kill();
                self.positive.invalidate(&*key);
            }
        }
        // What moka has pushed out without having said so yet.
        self.front.kill_if(which);
    }

    /// Forgets everything, what was refused too.
    pub(crate) fn forget_all(&self) {
        self.forget_if(|_| true);
        self.negative.invalidate_all();
    }

    /// Does what moka has put off, so that the figures below are exact.
    pub(crate) fn settle(&self) {
        self.positive.run_pending_tasks();
        self.negative.run_pending_tasks();
    }

    pub(crate) fn good_keys(&self) -> u64 {
        self.positive.entry_count()
    }

    pub(crate) fn good_bytes(&self) -> u64 {
        self.positive.weighted_size()
    }

    pub(crate) fn refused_keys(&self) -> u64 {
        self.negative.entry_count()
    }

    pub(crate) fn evictions(&self) -> &Evictions {
        &self.evictions
    }
}

fn count_eviction(counter: &AtomicCount, cause: RemovalCause) {
    if cause == RemovalCause::Size {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for VerdictCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerdictCache")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::gate::directory::App;
    use crate::gate::permission::Permissions;
    use crate::gate::request::credential::KeyDigest;
    use crate::gate::verdict::{End, Identity, PrincipalKind, StateId};

    pub(crate) fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::from_secs(seconds),
        }
    }

    pub(crate) fn key() -> VerdictKey {
        key_of("a key")
    }

    pub(crate) fn key_of(secret: &str) -> VerdictKey {
        VerdictKey {
            digest: KeyDigest::of(secret),
            kind: PrincipalKind::ApiKey,
        }
    }

    pub(crate) fn front(cache: &VerdictCache) -> &Front {
        &cache.front
    }

    pub(crate) fn yes(sent: Now) -> Arc<Verdict> {
        yes_of(key(), sent)
    }

    pub(crate) fn yes_of(key: VerdictKey, sent: Now) -> Arc<Verdict> {
        let app = Arc::new(App::new(1, "orders".into()));
        let identity = Identity {
            kind: PrincipalKind::ApiKey,
            key_id: 7,
            key_name: Box::default(),
            app_slug: Arc::clone(app.slug()),
            deployment_id: 1,
            owner_user_id: None,
            organization_id: None,
            workspace_id: None,
            organization_membership_id: None,
            workspace_membership_id: None,
            permissions: Permissions::default(),
            metadata: serde_json::Value::Null,
        };
        let state = StateId::unique();
        Arc::new(Verdict::new(
            key.digest,
            identity,
            app,
            state,
            sent,
            End::Unknown,
        ))
    }

    pub(crate) const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn a_yes_that_a_younger_no_contradicts_is_worth_nothing_with_or_without_news() {
        for news in [false, true] {
            let cache = VerdictCache::new(CachePolicy::default());
            let tombstones = Tombstones::default();
            let epoch = tombstones.epoch();
            cache.refuse(key(), at(2), at(3), TTL);
            if news {
                tombstones.announce();
            }
            let verdict = yes(at(1));
            let filed = cache.admit(key(), &verdict, &tombstones, epoch, at(4));
            assert_eq!(filed, Filed::Contradicted);
            assert!(verdict.is_dead() && cache.positive(&key()).is_none());
        }
    }

    #[test]
    fn a_younger_yes_ends_a_no() {
        let cache = VerdictCache::new(CachePolicy::default());
        let tombstones = Tombstones::default();
        cache.refuse(key(), at(2), at(3), TTL);
        let filed = cache.admit(key(), &yes(at(4)), &tombstones, tombstones.epoch(), at(4));
        assert_eq!(filed, Filed::Kept);
        assert_eq!(cache.negative(&key(), at(4)), None);
    }

    #[test]
    fn an_answer_that_means_nothing_does_not_take_the_place_of_a_no() {
        let cache = VerdictCache::new(CachePolicy::default());
        cache.refuse(key(), at(1), at(1), TTL);
        cache.undecided(key(), at(2), at(2));
        let left = Duration::from_secs(9);
        assert_eq!(
            cache.negative(&key(), at(2)),
            Some((Refusal::Invalid, left))
        );
        cache.undecided(key(), at(11), at(11));
        assert_eq!(
            cache.negative(&key(), at(11)),
            Some((Refusal::Undecided, TTL))
        );
    }
}
