//! One yes of the gateway, and how far it may be used.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::clock::{Now, nanoseconds};
use crate::gate::directory::{App, KnownApp};
use crate::gate::limit::{KnownCounter, RuleSet};
use crate::gate::permission::Permissions;
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::identity::{Identity, PrincipalKind};
use crate::gate::verdict::policy::CachePolicy;
use crate::gate::verdict::revocations::{Contradiction, EventNumber, Revocations, Sent, Subject};
use crate::gate::waiting::Awaited;
use crate::memory;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a verdict is filed under: never the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VerdictKey {
    pub(crate) digest: KeyDigest,
    pub(crate) kind: PrincipalKind,
}

impl Hash for VerdictKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // One key is hardly ever asked about as both kinds.
        self.digest.hash(state);
    }
}

/// A yes of the gateway, about a key of our own deployment.
// In this order: what a hit looks at stands at the front, in the 128 bytes that begin with the counts
// of the `Arc`, and what few look at behind it.
#[repr(C)]
pub(crate) struct Verdict {
    digest: KeyDigest,
    // The identity's.
    kind: PrincipalKind,
    // A later check said no: whoever still holds the `Arc` must not use it.
    withdrawn: AtomicBool,
    // No longer in moka. A request that has found it before may use it, the hot cache may not hand
    // it out. Std's in models, too: moka sets it while it holds a lock.
    evicted: std::sync::atomic::AtomicBool,
    // The last refresh was answered, but not understood: the gateway is up, so the grace for
    // outages does not apply.
    indeterminate: AtomicBool,
    // Nanoseconds since 1970. A list of keys may say so later, or say otherwise.
    end: AtomicNanos,
    /// The app whose policy judges the key.
    pub(crate) app: Arc<App>,
    /// Those of the app when the verdict was made.
    rules: Option<Arc<RuleSet>>,
    counter: KnownCounter,
    subject: Subject,
    pub(crate) identity: Identity,
    // Of the state whose verdict it is, which this does not keep.
    revocations: Weak<Revocations>,
    // Nanoseconds of age from which on it is asked about again, if `end` is not `NO_END`.
    due: AtomicNanos,
    // Monotonic nanoseconds before which no refresh is sent: the deadline of the one that is under
    // way, or when the next may follow one that failed.
    refresh_at: AtomicU64,
}

// Not what a model of races puts in the place of an atomic: each stands for itself.
type AtomicNanos = std::sync::atomic::AtomicU64;

/// The right to send the one refresh of a verdict. It lapses at its deadline: the runtime that it
/// was sent on may stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshClaim(u64);

/// When the credential itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The gateway does not say so of API keys.
    Unknown,
    /// At this time since 1970.
    At(Duration),
    /// It should have been said and was not: the answer is good for those who wait for it.
    Now,
}

/// How far a verdict may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Use it.
    Fresh,
    /// Use it and ask again in the background.
    Stale,
    /// Use it only if asking again fails for want of a gateway.
    StaleIfError,
    /// Do not use it.
    Over,
}

impl Age {
    /// Whether a request may go on with it at once.
    pub(crate) fn is_usable(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale)
    }
}

impl Verdict {
    /// How many bytes a hit looks at.
    #[cfg(test)]
    pub(super) const END_OF_FRONT: usize =
        std::mem::offset_of!(Self, subject) + Subject::END_OF_FRONT;

    pub(crate) fn new(
        digest: KeyDigest,
        identity: Identity,
        app: Arc<App>,
        end: End,
        sent: Sent,
        revocations: &Arc<Revocations>,
    ) -> Self {
        Self {
            subject: Subject::new(sent),
            digest,
            kind: identity.kind,
            identity,
            rules: app.rules(),
            counter: KnownCounter::default(),
            app,
            revocations: Arc::downgrade(revocations),
            end: AtomicNanos::new(end.encoded()),
            due: AtomicNanos::new(NEVER_DUE),
            withdrawn: AtomicBool::new(false),
            evicted: std::sync::atomic::AtomicBool::new(false),
            indeterminate: AtomicBool::new(false),
            refresh_at: AtomicU64::new(0),
        }
    }

    /// What speaks against using it, whatever its age, for a request that came after the event
    /// `came`. To be looked at on every admission.
    #[inline]
    pub(crate) fn contradiction(
        &self,
        revocations: &Revocations,
        came: EventNumber,
        now: Now,
    ) -> Option<Contradiction> {
        match self.withdrawn.load(Ordering::Acquire) {
            true => Some(Contradiction::Withdrawn),
            false => revocations.contradiction(&self.subject, || self.awaited(), came, now),
        }
    }

    /// How far it may be used now; `is_failing` says whether the gateway is known to fail now.
    #[inline]
    pub(crate) fn age(&self, policy: &CachePolicy, is_failing: bool, now: Now) -> Age {
        let age = self.elapsed(now);
        let mut is_due = false;
        // One load for a key of which nothing is known but that it is good.
        if self.end.load(Ordering::Relaxed) != NO_END {
            if self.is_for_once() || self.has_passed_its_end(now) {
                return Age::Over;
            }
            is_due = self.is_due(now);
        }
        if age < policy.fresh_for && !is_due {
            return Age::Fresh;
        }
        let stale = age.saturating_sub(policy.fresh_for);
        let in_grace = stale < policy.stale_if_error && !self.indeterminate.load(Ordering::Acquire);
        if stale < policy.stale_while_revalidate || (in_grace && is_failing) {
            // In a known outage nobody waits for another failure: one probe is sent behind.
            Age::Stale
        } else if in_grace {
            Age::StaleIfError
        } else {
            Age::Over
        }
    }

    /// Whether it may not be used any more even in an outage. The request for which it was made may
    /// use it for `at_least` so long, whatever the policy.
    pub(crate) fn is_over_for_good(
        &self,
        policy: &CachePolicy,
        at_least: Duration,
        now: Now,
    ) -> bool {
        self.age(policy, true, now) == Age::Over
            && (self.has_ended(now) || self.elapsed(now) >= at_least)
    }

    /// Whether it is past the time in which a refresh behind it is all that is due: what makes it
    /// usable still is that the gateway fails.
    pub(crate) fn is_past_revalidation(&self, policy: &CachePolicy, now: Now) -> bool {
        let span = policy
            .fresh_for
            .saturating_add(policy.stale_while_revalidate);
        self.elapsed(now) >= span
    }

    /// Whether the end that the gateway or a list has stated has come.
    #[inline]
    pub(crate) fn has_ended(&self, now: Now) -> bool {
        // First, as it is so of most keys.
        self.end.load(Ordering::Relaxed) != NO_END && self.has_passed_its_end(now)
    }

    fn has_passed_its_end(&self, now: Now) -> bool {
        let end = self.end();
        end.is_some_and(|end| end.saturating_sub(self.sent().unix) <= self.elapsed(now))
    }

    /// When the credential ends, since 1970, where that is known.
    pub(crate) fn end(&self) -> Option<Duration> {
        match self.end.load(Ordering::Relaxed) {
            NO_END | NO_END_BUT_DUE | FOR_ONCE => None,
            end => Some(Duration::from_nanos(end)),
        }
    }

    fn is_for_once(&self) -> bool {
        self.end.load(Ordering::Relaxed) == FOR_ONCE
    }

    /// A list says when the credential ends, if ever.
    pub(super) fn set_end(&self, end: Option<Duration>) {
        let is_due = self.due.load(Ordering::Relaxed) != NEVER_DUE;
        let end = match end {
            Some(end) => End::At(end).encoded(),
            None if is_due => NO_END_BUT_DUE,
            None => NO_END,
        };
        self.end.store(end, Ordering::Relaxed);
    }

    /// Has it asked about again from this age on, or from an earlier one that was set before.
    pub(super) fn set_due(&self, age: Duration) {
        self.due.fetch_min(nanoseconds(age), Ordering::Relaxed);
        let no_end = (NO_END, NO_END_BUT_DUE);
        // In vain: then it has an end, and is looked at all the same.
        let _ = self
            .end
            .compare_exchange(no_end.0, no_end.1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether it is to be asked about again, however young it is.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.due.load(Ordering::Relaxed) <= nanoseconds(self.elapsed(now))
    }

    /// The same yes with other permissions.
    pub(super) fn with_permissions(&self, permissions: Permissions) -> Self {
        let identity = Identity {
            permissions,
            ..self.identity.clone()
        };
        let load = |value: &AtomicNanos| AtomicNanos::new(value.load(Ordering::Relaxed));
        Self {
            digest: self.digest,
            kind: self.kind,
            identity,
            app: Arc::clone(&self.app),
            rules: self.rules.clone(),
            counter: KnownCounter::default(),
            revocations: Weak::clone(&self.revocations),
            end: load(&self.end),
            due: load(&self.due),
            subject: self.subject.as_new(),
            withdrawn: AtomicBool::new(self.withdrawn.load(Ordering::Acquire)),
            evicted: std::sync::atomic::AtomicBool::new(false),
            indeterminate: AtomicBool::new(self.indeterminate.load(Ordering::Acquire)),
            refresh_at: AtomicU64::new(self.refresh_at.load(Ordering::Acquire)),
        }
    }

    /// What is known of its app now.
    pub(crate) fn known_app(&self) -> KnownApp<'_> {
        self.app.known_by(self.rules.as_deref())
    }

    /// Where its key is counted.
    pub(crate) fn counter(&self) -> &KnownCounter {
        &self.counter
    }

    /// When its check was sent.
    pub(crate) fn sent(&self) -> Now {
        self.subject.sent().at
    }

    /// The time since the check was sent.
    #[inline]
    pub(super) fn elapsed(&self, now: Now) -> Duration {
        self.subject.elapsed(now)
    }

    /// Has it checked again at the key's next request from then on; it is used meanwhile.
    pub(super) fn verify_again(&self, at: Duration) {
        let age = at.saturating_sub(self.sent().monotonic);
        if nanoseconds(age) < self.due.load(Ordering::Relaxed) {
            self.set_due(age);
        }
    }

    /// The right to send the one refresh of this verdict, for so long, if nobody has it.
    pub(crate) fn claim_refresh(&self, now: Now, lapses_after: Duration) -> Option<RefreshClaim> {
        let due_at = self.refresh_at.load(Ordering::Acquire);
        let now = nanoseconds(now.monotonic);
        if due_at > now {
            return None;
        }
        // Never zero, nor what was there before.
        let claim = now.saturating_add(nanoseconds(lapses_after).max(1));
        self.refresh_at
            .compare_exchange(due_at, claim, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
            .then_some(RefreshClaim(claim))
    }

    /// Nothing was heard of the key: the next refresh is not sent before this.
    pub(crate) fn delay_refresh(&self, until: Duration) {
        self.refresh_at.store(nanoseconds(until), Ordering::Release);
    }

    /// The refresh was answered by something that is neither yes nor no.
    pub(crate) fn refresh_indeterminate(&self, retry_at: Duration) {
        self.indeterminate.store(true, Ordering::Release);
        self.delay_refresh(retry_at);
    }

    /// Gives the claim back, if it has not lapsed and nothing has been said of the next refresh.
    pub(crate) fn refresh_over(&self, RefreshClaim(claim): RefreshClaim) {
        // In vain: then it is somebody else's.
        let _ = self
            .refresh_at
            .compare_exchange(claim, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// What it is filed under.
    pub(crate) fn key(&self) -> VerdictKey {
        VerdictKey {
            digest: self.digest,
            kind: self.kind,
        }
    }

    /// Whether it is a verdict of the state that has these revocations.
    pub(crate) fn is_of_state(&self, revocations: &Arc<Revocations>) -> bool {
        self.revocations.as_ptr() == Arc::as_ptr(revocations)
    }

    /// What ends verdicts in its state; `None` if that is gone.
    pub(crate) fn revocations(&self) -> Option<Arc<Revocations>> {
        self.revocations.upgrade()
    }

    /// As whom those go by that wait for its end.
    pub(crate) fn awaited(&self) -> Awaited<'_> {
        let Identity { kind, key_id, .. } = self.identity;
        Awaited {
            digest: self.digest,
            app: &self.identity.app_slug,
            key_id: (kind == PrincipalKind::ApiKey).then_some(key_id),
        }
    }

    /// When it ends by what was stated, on both clocks. `told` is what was said since it was filed.
    pub(crate) fn ends_at(&self, told: Option<Option<Duration>>) -> Option<Now> {
        let unix = told.unwrap_or_else(|| self.end())?;
        let sent = self.sent();
        let left = unix.saturating_sub(sent.unix);
        Some(Now {
            monotonic: sent.monotonic.saturating_add(left),
            unix,
        })
    }

    /// Whether it is what the gateway said of this key.
    #[inline]
    pub(super) fn is_of(&self, key: &VerdictKey) -> bool {
        self.digest == key.digest && self.kind == key.kind
    }

    /// Tells whoever points to it that moka does not hold it any more.
    pub(super) fn mark_evicted(&self) {
        self.evicted
            .store(true, std::sync::atomic::Ordering::SeqCst);
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Takes it back for good: a later check said no.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// Bytes that an entry takes, to bound the cache by.
    pub(super) fn weight(&self) -> u32 {
        // The verdict, its `Arc`, its key and moka's own bookkeeping.
        const FIXED: usize = size_of::<Verdict>() + 16 + size_of::<VerdictKey>() + 256;
        let identity = &self.identity;
        let bytes = FIXED
            + memory::allocated(identity.key_name.len())
            + identity.permissions.share_of_weight()
            + memory::of_json(&identity.metadata);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl End {
    /// As an atomic can hold it.
    fn encoded(self) -> u64 {
        match self {
            Self::Unknown => NO_END,
            Self::At(end) => nanoseconds(end).max(FOR_ONCE + 1),
            Self::Now => FOR_ONCE,
        }
    }
}

/// No end is known, and nothing else that would have to be looked at.
const NO_END: u64 = u64::MAX;
/// No end is known. When it is due is.
const NO_END_BUT_DUE: u64 = u64::MAX - 1;
/// [`End::Now`].
const FOR_ONCE: u64 = 0;
const NEVER_DUE: u64 = u64::MAX;

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verdict")
            .field("key_id", &self.identity.key_id)
            .field("sent", &self.sent().monotonic)
            .finish_non_exhaustive()
    }
}
