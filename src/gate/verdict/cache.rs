//! What is known about keys, good and bad.
//!
//! moka bounds the memory and chooses what to let go; how old a verdict may be is decided on the
//! gate's own clock, because moka's cannot be moved by hand. What was revoked or invalidated here
//! stays where it is, and is found out when it is looked up: see
//! [`revocations`](super::revocations).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;

use crate::clock::{Now, nanoseconds};
use crate::gate::refusal::InvalidKeyReason;
use crate::gate::verdict::hot_cache::{HotCache, one_in};
use crate::gate::verdict::identity::PrincipalKind;
use crate::gate::verdict::key_index::KeyIndex;
use crate::gate::verdict::open_checks::{OpenCheck, OpenChecks, OvertakenBy};
use crate::gate::verdict::policy::CachePolicy;
use crate::gate::verdict::revocations::{Contradiction, EventNumber, Revocations, Sent};
use crate::gate::verdict::seen_good::SeenGood;
use crate::gate::verdict::verdict::{Verdict, VerdictKey};
use crate::gate::waiting::Waiting;
use crate::sync::atomic::Ordering;
use crate::sync::{Cache, cache};

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Known {
    /// A yes against which nothing speaks, however old.
    Good(Arc<Verdict>),
    /// It is revoked here, or was refused this moment.
    Refused,
    /// Nothing that could be used.
    Nothing,
}

/// Why a key is not asked about again for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NegativeKind {
    /// The gateway said no, or the key is a stranger's.
    Invalid(InvalidKeyReason),
    /// The gateway answered, and what it said means neither yes nor no.
    Indeterminate,
}

#[derive(Clone, Copy, Debug)]
struct Negative {
    kind: NegativeKind,
    after: EventNumber,
    until: Duration,
}

/// Verdicts, positive and negative apart, so that made-up keys cannot push out good ones.
pub(crate) struct VerdictCache {
    pub(crate) policy: CachePolicy,
    pub(crate) revocations: Arc<Revocations>,
    hot: Arc<HotCache>,
    positive: Cache<VerdictKey, Arc<Verdict>>,
    negative: Cache<VerdictKey, Negative>,
    open_checks: OpenChecks,
    seen_good: SeenGood,
    /// Where lists of keys are read.
    index: Option<Arc<KeyIndex>>,
    evictions: Arc<Evictions>,
    /// Monotonic nanoseconds: what was asked before that is verified again.
    again: AtomicCount,
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

/// A yes as it was filed, and as whoever waited for it may use it.
pub(crate) struct Filed {
    /// Without what a list has taken from its key since the gateway looked.
    pub(crate) verdict: Arc<Verdict>,
    /// Whether it is the first of its app in the index.
    pub(crate) is_first: bool,
}

impl VerdictCache {
    /// For checks whose answers become verdicts within `deadline`. With an `index`, what the cache
    /// holds is in there, too.
    pub(crate) fn new(
        policy: CachePolicy,
        deadline: Duration,
        waiting: Arc<Waiting>,
        index: Option<Arc<KeyIndex>>,
    ) -> Self {
        let evictions = Arc::<Evictions>::default();
        let counted = Arc::clone(&evictions);
        let hot = Arc::new(HotCache::new(policy.capacity_bytes));
        let told = Arc::clone(&hot);
        let indexed = index.clone();
        let positive = moka::sync::Cache::builder()
            .max_capacity(policy.capacity_bytes)
            .weigher(|_, verdict: &Arc<Verdict>| verdict.weight())
            .eviction_listener(move |key: Arc<VerdictKey>, verdict: Arc<Verdict>, cause| {
                verdict.mark_evicted();
                told.evict(&key, &verdict);
                if let Some(index) = &indexed {
                    index.remove(&verdict);
                }
                count_eviction(&counted.good_keys, cause);
            })
            .build_with_hasher(RandomState::default());
        let counted = Arc::clone(&evictions);
        let negative = moka::sync::Cache::builder()
            .max_capacity(NEGATIVE_CAPACITY)
            .eviction_listener(move |_, _, cause| count_eviction(&counted.refused_keys, cause))
            .build_with_hasher(RandomState::default());
        Self {
            revocations: {
                let lifetime = policy.revocation_lifetime(deadline);
                Arc::new(Revocations::new(lifetime, waiting))
            },
            seen_good: SeenGood::new(policy.longest_use(), policy.capacity_bytes),
            hot,
            policy,
            positive: cache(positive),
            negative: cache(negative),
            open_checks: OpenChecks::default(),
            index,
            evictions,
            again: AtomicCount::new(0),
        }
    }

    // === What is asked on behalf of a request ===

    /// The yes about a key, for a request that is about to use it.
    #[inline]
    pub(crate) fn look_up(&self, key: &VerdictKey, now: Now) -> Known {
        // Looked at before it is counted once more: what is not in the processor's caches is then
        // fetched all at once.
        let judge = |verdict: &Arc<Verdict>| match verdict.contradiction(
            &self.revocations,
            EventNumber::LAST,
            now,
        ) {
            None => Known::Good(Arc::clone(verdict)),
            Some(Contradiction::Revoked | Contradiction::Withdrawn) => Known::Refused,
            Some(Contradiction::Forgotten) => Known::Nothing,
        };
        if let Some(known) = self.hot.with(key, judge) {
            // moka lets go first what is seldom asked for, so it hears of some of the reads as soon as
            // it may have to.
            if one_in(16, now) && self.is_half_full() {
                self.positive.get(key);
            }
            return known;
        }
        if let Some(verdict) = self.positive(key) {
            let held = self.positive.entry_count();
            self.hot.put(key, &verdict, held, now);
            return judge(&verdict);
        }
        match self.revocations.is_revoked(&key.digest, now) {
            true => Known::Refused,
            false => Known::Nothing,
        }
    }

    fn is_half_full(&self) -> bool {
        self.positive.weighted_size() >= self.policy.capacity_bytes / 2
    }

    /// The last yes about a key, whatever has become of it since. To use it, ask
    /// [`look_up`](Self::look_up).
    pub(crate) fn positive(&self, key: &VerdictKey) -> Option<Arc<Verdict>> {
        self.positive.get(key)
    }

    /// Whether a key had a yes within the longest time that one is used, or that is still held. Neither
    /// an invalidation nor want of room ends that; a no does.
    pub(crate) fn is_seen_good(&self, key: &VerdictKey, now: Now) -> bool {
        self.positive(key).is_some() || self.seen_good.has(key, now)
    }

    /// What speaks against asking about a key now, and for how long.
    pub(crate) fn negative(&self, key: &VerdictKey, now: Now) -> Option<(NegativeKind, Duration)> {
        let negative = self.negative.get(key)?;
        if self.stands(&negative, key, now) {
            return Some((negative.kind, negative.until - now.monotonic));
        }
        // A newer one may have come in its place since.
        self.negative
            .entry(*key)
            .and_compute_with(|entry| match entry {
                Some(entry) if !self.stands(entry.value(), key, now) => Op::Remove,
                _ => Op::Nop,
            });
        None
    }

    fn stands(&self, negative: &Negative, key: &VerdictKey, now: Now) -> bool {
        negative.until > now.monotonic
            && !self.revocations.is_fenced(&key.digest, negative.after, now)
    }

    // === What a check brings ===

    /// A check that is about to be sent.
    pub(crate) fn open_check(&self, key: VerdictKey, now: Now) -> OpenCheck<'_> {
        let sent = Sent {
            at: now,
            after: self.revocations.latest(),
        };
        self.open_checks.open(key, sent)
    }

    /// Files a yes, unless a younger no was filed while it was on its way. Whoever uses it then
    /// has to look for a [`contradiction`](Verdict::contradiction) all the same.
    pub(crate) fn insert(&self, check: &OpenCheck<'_>, verdict: Arc<Verdict>, now: Now) -> Filed {
        self.revocations.expire(now);
        let mut filing = check.file();
        // A list may have been taken since the gateway looked, and none is taken meanwhile.
        let verdict = self.with_less(&verdict).unwrap_or(verdict);
        let is_first = match filing.yes() {
            OvertakenBy::Nothing => self.file(check, &verdict, now),
            OvertakenBy::Yes => false,
            OvertakenBy::No => {
                verdict.withdraw();
                false
            }
        };
        Filed { verdict, is_first }
    }

    fn file(&self, check: &OpenCheck<'_>, verdict: &Arc<Verdict>, now: Now) -> bool {
        self.seen_good.add(&check.key, now);
        // One that is revoked is kept: while it is, nobody needs to ask, and if that is taken back
        // it is good again.
        let contradiction = verdict.contradiction(&self.revocations, EventNumber::LAST, now);
        if contradiction == Some(Contradiction::Forgotten) {
            return false;
        }
        let mut is_first = false;
        if nanoseconds(check.sent().at.monotonic) < self.again.load(Ordering::Relaxed) {
            verdict.verify_again(now.monotonic);
        }
        if self.policy.capacity_bytes > 0 {
            // Before moka has it, which may let go of it at once.
            let index = self.index.as_ref();
            is_first = index.is_some_and(|index| index.add(verdict, now));
            self.positive.insert(check.key, Arc::clone(verdict));
        }
        match verdict.has_ended(now) {
            // The gateway will go on saying yes for a while.
            true => {
                let ended = NegativeKind::Invalid(InvalidKeyReason::Expired);
                self.remember(check, ended, now, self.policy.negative_ttl);
            }
            false => self.negative.invalidate(&check.key),
        }
        is_first
    }

    /// Puts a verdict into the place of the one that the cache holds, if a list has taken from its key
    /// what that one says.
    pub(super) fn replace_by_less(&self, key: &VerdictKey) {
        let _held_back = self.open_checks.hold_back(key);
        let held = self.positive(key);
        let less = held.and_then(|held| self.with_less(&held));
        if let (Some(less), Some(index)) = (less, &self.index) {
            // Before others find it.
            index.replace(&less);
            self.positive.insert(*key, less);
        }
    }

    /// Files a definite no, unless a younger yes was filed. An older yes goes for good: not even an
    /// outage brings it back.
    pub(crate) fn refuse(
        &self,
        check: &OpenCheck<'_>,
        reason: InvalidKeyReason,
        now: Now,
        ttl: Duration,
    ) {
        let mut filing = check.file();
        if filing.no() == OvertakenBy::Yes {
            return;
        }
        if let Some(yes) = self.positive(&check.key) {
            yes.withdraw();
        }
        // Then the hot ones: moka may have let go of one without having said so yet.
        self.hot.withdraw(&check.key);
        self.seen_good.remove(&check.key);
        self.positive.invalidate(&check.key);
        self.remember(check, NegativeKind::Invalid(reason), now, ttl);
        drop(filing);
        let is_api_key = check.key.kind == PrincipalKind::ApiKey;
        let waiting = &self.revocations.waiting;
        waiting.refused(check.key.digest, is_api_key);
    }

    /// Remembers an answer that means nothing, so that it is not asked for on every request, nor
    /// before `retry_at`, and that the yes from before it has no grace. Of a younger yes it says
    /// nothing.
    pub(crate) fn indeterminate(&self, check: &OpenCheck<'_>, now: Now, retry_at: Duration) {
        let filing = check.file();
        if filing.indeterminate() == OvertakenBy::Yes {
            return;
        }
        if let Some(verdict) = self.positive(&check.key) {
            verdict.refresh_indeterminate(retry_at);
        }
        // A no that still stands says more.
        let no = self.negative(&check.key, now);
        if no.is_none_or(|(kind, _)| kind == NegativeKind::Indeterminate) {
            let ttl = self.policy.negative_ttl;
            self.remember(check, NegativeKind::Indeterminate, now, ttl);
        }
    }

    fn remember(&self, check: &OpenCheck<'_>, kind: NegativeKind, now: Now, ttl: Duration) {
        if self.policy.negative_ttl.is_zero() {
            return;
        }
        let negative = Negative {
            kind,
            after: check.sent().after,
            until: now.monotonic.saturating_add(ttl),
        };
        self.negative.insert(check.key, negative);
    }

    /// Something that speaks against any of them may have been missed: every key is checked again
    /// at its next request, and used meanwhile. They come due one after the other, within the time
    /// in which a verdict is used while it is refreshed.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn verify_all_again(&self, now: Now) {
        self.again
            .fetch_max(nanoseconds(now.monotonic), Ordering::SeqCst);
        for (key, verdict) in self.positive.iter() {
            let share = key.digest.place() as f64 / u64::MAX as f64;
            let later = self.policy.stale_while_revalidate.mul_f64(share);
            verdict.verify_again(now.monotonic.saturating_add(later));
        }
    }

    // === What it holds ===

    /// Lets a key be asked about again, and gives back the memory.
    pub(crate) fn forget(&self, key: &VerdictKey) {
        self.positive.invalidate(key);
    }

    /// Has every key asked about again, and gives back the memory.
    pub(crate) fn forget_all(&self) {
        self.revocations.fence_all();
        self.positive.invalidate_all();
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

    pub(crate) fn index(&self) -> Option<&KeyIndex> {
        self.index.as_deref()
    }

    pub(crate) fn evictions(&self) -> &Evictions {
        &self.evictions
    }

    #[cfg(test)]
    pub(super) fn hot(&self) -> &HotCache {
        &self.hot
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
