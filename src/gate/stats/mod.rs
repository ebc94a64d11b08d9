//! What a gate has done so far, in figures: for [`AuthStats`], and for the recorder of the
//! `metrics` crate where that feature is on.
//!
//! Whoever has something to count calls the one method named after it. It feeds both, so the two
//! cannot come apart, and nobody but this module knows whether there is a recorder.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::nanoseconds;
use crate::gate::limit::Mode;
use crate::gate::refusal::{Rejection, RejectionKind};
use crate::stripes::Stripes;

use self::recorder::Recorder;

#[cfg(feature = "metrics")]
mod recorder;
#[cfg(not(feature = "metrics"))]
#[path = "no_recorder.rs"]
mod recorder;

/// What a gate holds and what it has done so far, from
/// [`AuthHandle::stats`](crate::AuthHandle::stats).
///
/// Counts begin when the layer's state is made, and only grow. With the feature `metrics` the same
/// figures go to the recorder of the process.
///
/// ```
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{AuthContext, VerdictSource, WachtAuthLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders").handle();
///
/// let job = AuthContext::new("/jobs/import");
/// gate.authenticate_key(key.secret(), &job).await.unwrap();
/// gate.authenticate_key(key.secret(), &job).await.unwrap();
///
/// let stats = gate.stats();
/// assert_eq!(stats.verdicts.admitted(VerdictSource::Verified), 1);
/// assert_eq!(stats.verdicts.admitted(VerdictSource::Fresh), 1);
/// assert_eq!((stats.checks, stats.cached_keys), (1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthStats {
    /// Keys that were good when they were last asked about. One that was revoked or invalidated
    /// since is not used, and counts until it has to make room or is asked about again.
    pub cached_keys: u64,
    /// What the keys known to be good take in memory, in bytes, as
    /// [`capacity_bytes`](crate::CachePolicy::capacity_bytes) counts them.
    pub cached_bytes: u64,
    /// Keys refused without asking.
    pub refused_keys: u64,
    /// Good keys that were forgotten for want of room.
    pub evicted_keys: u64,
    /// Refused keys that were forgotten for want of room.
    pub evicted_refused_keys: u64,
    /// Verifications in flight.
    pub in_flight: usize,
    /// Checks sent to the gateway, whatever became of them.
    pub checks: u64,
    /// What became of the checks that are over.
    pub gateway: GatewayStats,
    /// Refreshes sent in the background.
    pub refreshes: u64,
    /// Whether checks are sent as they come. `false` after the gateway has failed too often: for
    /// some seconds nothing is sent but a probe, and unknown keys are answered 503 at once.
    pub gateway_trusted: bool,
    /// Keys and addresses being counted.
    pub limiter_subjects: usize,
    /// Requests that a limit refused, by its mode.
    pub limit_refusals: LimitRefusals,
    /// Requests that a limit would have refused, were it not for
    /// [`Limits::shadow`](crate::Limits::shadow).
    pub shadow_refusals: u64,
    /// The same, by the mode of the limit.
    pub shadow_refusals_by_mode: LimitRefusals,
    /// Requests refused for [`UnknownKeyLimit`](crate::UnknownKeyLimit).
    pub unknown_key_refusals: u64,
    /// What was decided about requests, and from what.
    pub verdicts: VerdictStats,
}

/// What became of the checks that were sent to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStats {
    /// The key is good.
    pub allowed: u64,
    /// The key is not: a definite no.
    pub denied: u64,
    /// The key is good, and the gateway counts it over a limit.
    pub rate_limited: u64,
    /// The key is good and lacks a permission that was asked about.
    pub permission_denied: u64,
    /// Answered by something that is neither yes nor no.
    pub undecided: u64,
    /// No connection, a connection that broke, a 429 or a 5xx.
    pub failed: u64,
    /// No answer within the [`deadline`](crate::WachtAuthLayer::deadline).
    pub timed_out: u64,
    /// How long all of these took together.
    pub time: Duration,
}

/// Requests refused for a limit, by its mode: who shares its counter.
///
/// A request that several rules refuse counts once, for the first of them by priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitRefusals {
    /// All keys of the app share it.
    pub per_app: u64,
    /// Each key has its own.
    pub per_key: u64,
    /// Each key has its own for each client address.
    pub per_key_and_ip: u64,
    /// Each client address has its own in each app.
    pub per_app_and_ip: u64,
    /// Each client address has its own.
    pub per_ip: u64,
    /// The gateway counts and said so: [`Limits::gateway`](crate::Limits::gateway), and rules that
    /// cannot be counted here.
    pub gateway: u64,
}

/// How many requests were decided how, and from what.
///
/// Not counted are requests that nobody judged: those of [`skip`](crate::WachtAuthLayer::skip),
/// those that [`optional`](crate::WachtAuthLayer::optional) lets pass without a key, and those that
/// a gate further out has admitted and this one admits again. What
/// [`RequirePermissionsLayer`](crate::RequirePermissionsLayer) and
/// [`Principal::require`](crate::Principal::require) refuse is not in it either: the gate had
/// admitted it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerdictStats([[u64; SOURCES]; OUTCOMES]);

/// What a request was decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerdictSource {
    /// The request alone, before anything was looked up: no key, one that cannot be Wacht's, an
    /// address over its [`UnknownKeyLimit`](crate::UnknownKeyLimit), a gate that cannot judge. Also
    /// what a gate refuses of a caller whom one further out has admitted.
    Request,
    /// A fresh answer in memory: a plain hit.
    Fresh,
    /// A stale answer in memory, used while one refresh runs in the background.
    Stale,
    /// A stale answer in memory, used because the gateway does not answer.
    StaleOnError,
    /// A no in memory: a key that the gateway refused a moment ago, or that was revoked here.
    Negative,
    /// A verification, which the request waited for: the gateway's answer, or that there was none.
    Verified,
}

/// How many sources there are, and how many outcomes: admitted, and the kinds of rejection.
const SOURCES: usize = 6;
const OUTCOMES: usize = 8;

// === impl VerdictSource ===

impl VerdictSource {
    const ALL: [Self; SOURCES] = [
        Self::Request,
        Self::Fresh,
        Self::Stale,
        Self::StaleOnError,
        Self::Negative,
        Self::Verified,
    ];

    /// The word for it in metrics, such as `stale_on_error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::StaleOnError => "stale_on_error",
            Self::Negative => "negative",
            Self::Verified => "verified",
        }
    }
}

// === impl VerdictStats ===

impl VerdictStats {
    /// Requests admitted from this source.
    #[must_use]
    pub fn admitted(&self, source: VerdictSource) -> u64 {
        self.0[outcome(None)][source as usize]
    }

    /// Requests refused in this way from this source.
    #[must_use]
    pub fn refused(&self, kind: RejectionKind, source: VerdictSource) -> u64 {
        self.0[outcome(Some(kind))][source as usize]
    }

    /// All requests decided from this source.
    #[must_use]
    pub fn from_source(&self, source: VerdictSource) -> u64 {
        self.0.iter().map(|sources| sources[source as usize]).sum()
    }

    /// Every outcome and source with how often it came, 0 included: `None` for requests admitted,
    /// the kind of rejection for those refused.
    pub fn iter(&self) -> impl Iterator<Item = (Option<RejectionKind>, VerdictSource, u64)> {
        OUTCOME_KINDS.into_iter().flat_map(move |kind| {
            let counts = self.0[outcome(kind)];
            VerdictSource::ALL.map(|source| (kind, source, counts[source as usize]))
        })
    }

    /// All requests decided.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().flatten().sum()
    }
}

/// What has come at least once.
impl fmt::Debug for VerdictStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let come = self.iter().filter(|(.., count)| *count > 0);
        f.debug_map()
            .entries(come.map(|(refused, source, count)| {
                let outcome = refused.map_or("admitted", RejectionKind::as_str);
                ((outcome, source.as_str()), count)
            }))
            .finish()
    }
}

/// What can become of a request, in the order of their places.
const OUTCOME_KINDS: [Option<RejectionKind>; OUTCOMES] = [
    None,
    Some(RejectionKind::MissingCredential),
    Some(RejectionKind::MalformedCredential),
    Some(RejectionKind::InvalidKey),
    Some(RejectionKind::PermissionDenied),
    Some(RejectionKind::RateLimited),
    Some(RejectionKind::Unavailable),
    Some(RejectionKind::Misconfigured),
];

fn outcome(refused: Option<RejectionKind>) -> usize {
    refused.map_or(0, |kind| 1 + kind as usize)
}

// === impl LimitRefusals ===

impl LimitRefusals {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            per_app,
            per_key,
            per_key_and_ip,
            per_app_and_ip,
            per_ip,
            gateway,
        } = self;
        per_app + per_key + per_key_and_ip + per_app_and_ip + per_ip + gateway
    }
}

/// Everything that a gate counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    verdicts: Stripes<Verdicts>,
    checks: AtomicU64,
    gateway: [AtomicU64; GatewayResult::ALL.len()],
    gateway_time: AtomicU64,
    refreshes: AtomicU64,
    limit_refusals: [[AtomicU64; Effect::ALL.len()]; LimitedBy::ALL.len()],
    recorder: Recorder,
}

/// The verdicts of some threads.
type Verdicts = [[AtomicU64; SOURCES]; OUTCOMES];

/// What a check of the gateway came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GatewayResult {
    Allowed,
    Denied,
    RateLimited,
    PermissionDenied,
    Undecided,
    Failed,
    TimedOut,
}

/// Which limit refused a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LimitedBy {
    PerApp,
    PerKey,
    PerKeyAndIp,
    PerAppAndIp,
    PerIp,
    Gateway,
    UnknownKeys,
}

/// Whether the refusal was meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Refused,
    Shadow,
}

/// What a gate holds at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) cached_keys: u64,
    pub(crate) cached_bytes: u64,
    pub(crate) refused_keys: u64,
    pub(crate) evicted_keys: u64,
    pub(crate) evicted_refused_keys: u64,
    pub(crate) limiter_subjects: usize,
    pub(crate) is_breaker_open: bool,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn admitted(&self, source: VerdictSource) {
        self.verdict(outcome(None), source);
    }

    pub(crate) fn refused(&self, rejection: &Rejection, source: VerdictSource) {
        self.verdict(outcome(Some(rejection.kind())), source);
    }

    fn verdict(&self, outcome: usize, source: VerdictSource) {
        count(&self.verdicts.mine()[outcome][source as usize]);
        self.recorder.verdict(outcome, source);
    }

    /// A check is about to leave.
    pub(crate) fn check_sent(&self) {
        count(&self.checks);
    }

    /// A check is over, after this long.
    pub(crate) fn gateway_request(&self, result: GatewayResult, took: Duration) {
        count(&self.gateway[result as usize]);
        self.gateway_time
            .fetch_add(nanoseconds(took), Ordering::Relaxed);
        self.recorder.gateway_request(result, took);
    }

    pub(crate) fn refresh(&self) {
        count(&self.refreshes);
        self.recorder.refresh();
    }

    pub(crate) fn limit_refusal(&self, by: LimitedBy, effect: Effect) {
        count(&self.limit_refusals[by as usize][effect as usize]);
        self.recorder.limit_refusal(by, effect);
    }

    /// Tells the recorder what the gate holds.
    pub(crate) fn levels(&self, levels: &Levels) {
        self.recorder.levels(levels);
    }

    /// What was counted, with what the gate holds.
    pub(crate) fn stats(&self, levels: &Levels, in_flight: usize) -> AuthStats {
        self.levels(levels);
        let shadow_refusals_by_mode = self.limit_refusals(Effect::Shadow);
        AuthStats {
            cached_keys: levels.cached_keys,
            cached_bytes: levels.cached_bytes,
            refused_keys: levels.refused_keys,
            evicted_keys: levels.evicted_keys,
            evicted_refused_keys: levels.evicted_refused_keys,
            in_flight,
            checks: read(&self.checks),
            gateway: self.gateway(),
            refreshes: read(&self.refreshes),
            gateway_trusted: !levels.is_breaker_open,
            limiter_subjects: levels.limiter_subjects,
            limit_refusals: self.limit_refusals(Effect::Refused),
            shadow_refusals: shadow_refusals_by_mode.total(),
            shadow_refusals_by_mode,
            unknown_key_refusals: self.limited_by(LimitedBy::UnknownKeys, Effect::Refused),
            verdicts: self.verdicts(),
        }
    }

    fn gateway(&self) -> GatewayStats {
        let of = |result| read(&self.gateway[result as usize]);
        GatewayStats {
            allowed: of(GatewayResult::Allowed),
            denied: of(GatewayResult::Denied),
            rate_limited: of(GatewayResult::RateLimited),
            permission_denied: of(GatewayResult::PermissionDenied),
            undecided: of(GatewayResult::Undecided),
            failed: of(GatewayResult::Failed),
            timed_out: of(GatewayResult::TimedOut),
            time: Duration::from_nanos(read(&self.gateway_time)),
        }
    }

    fn limit_refusals(&self, effect: Effect) -> LimitRefusals {
        let by = |by| self.limited_by(by, effect);
        LimitRefusals {
            per_app: by(LimitedBy::PerApp),
            per_key: by(LimitedBy::PerKey),
            per_key_and_ip: by(LimitedBy::PerKeyAndIp),
            per_app_and_ip: by(LimitedBy::PerAppAndIp),
            per_ip: by(LimitedBy::PerIp),
            gateway: by(LimitedBy::Gateway),
        }
    }

    fn limited_by(&self, by: LimitedBy, effect: Effect) -> u64 {
        read(&self.limit_refusals[by as usize][effect as usize])
    }

    fn verdicts(&self) -> VerdictStats {
        let mut sums = [[0; SOURCES]; OUTCOMES];
        for counts in self.verdicts.iter() {
            for (sums, counts) in sums.iter_mut().zip(counts) {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += read(count);
                }
            }
        }
        VerdictStats(sums)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

// === impl GatewayResult ===

impl GatewayResult {
    pub(crate) const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Denied,
        Self::RateLimited,
        Self::PermissionDenied,
        Self::Undecided,
        Self::Failed,
        Self::TimedOut,
    ];
}

// === impl LimitedBy ===

impl LimitedBy {
    pub(crate) const ALL: [Self; 7] = [
        Self::PerApp,
        Self::PerKey,
        Self::PerKeyAndIp,
        Self::PerAppAndIp,
        Self::PerIp,
        Self::Gateway,
        Self::UnknownKeys,
    ];
}

impl From<Mode> for LimitedBy {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::App => Self::PerApp,
            Mode::Key => Self::PerKey,
            Mode::KeyAndIp => Self::PerKeyAndIp,
            Mode::AppAndIp => Self::PerAppAndIp,
            Mode::Ip => Self::PerIp,
        }
    }
}

// === impl Effect ===

impl Effect {
    pub(crate) const ALL: [Self; 2] = [Self::Refused, Self::Shadow];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places in the tables above are the variants' own numbers.
    #[test]
    fn every_variant_has_a_place_of_its_own() {
        let outcomes = OUTCOME_KINDS.map(outcome);
        assert_eq!(outcomes, std::array::from_fn(|place| place));
        let sources = VerdictSource::ALL.map(|source| source as usize);
        assert_eq!(sources, std::array::from_fn(|place| place));
        let results = GatewayResult::ALL.map(|result| result as usize);
        assert_eq!(results, std::array::from_fn(|place| place));
        let limits = LimitedBy::ALL.map(|by| by as usize);
        assert_eq!(limits, std::array::from_fn(|place| place));
        let effects = Effect::ALL.map(|effect| effect as usize);
        assert_eq!(effects, std::array::from_fn(|place| place));
    }

    #[test]
    fn what_has_not_come_is_not_shown() {
        let metrics = Metrics::default();
        metrics.admitted(VerdictSource::Fresh);
        metrics.refused(&Rejection::invalid_key(), VerdictSource::Negative);
        let shown = format!("{:?}", metrics.verdicts());
        let expected = r#"{("admitted", "fresh"): 1, ("invalid_key", "negative"): 1}"#;
        assert_eq!(shown, expected);
    }

    #[test]
    fn threads_that_count_at_the_same_time_lose_nothing() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        metrics.admitted(VerdictSource::Fresh);
                    }
                });
            }
        });
        let verdicts = metrics.verdicts();
        let expected = 16 * 1_000;
        assert_eq!(verdicts.admitted(VerdictSource::Fresh), expected);
        assert_eq!(verdicts.total(), expected);
    }
}
