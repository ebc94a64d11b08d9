//! What the program is told: figures, and the words for what they count.

use std::fmt;
use std::time::Duration;

use crate::client::StoreStats;
use crate::gate::refusal::RejectionKind;

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
    /// Callers whose end is waited for: by [`Principal::ended`](crate::Principal::ended),
    /// [`until_ended`](crate::Principal::until_ended), or an answer under
    /// [`end_streams`](crate::WachtAuthLayer::end_streams).
    pub awaited_ends: usize,
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
    /// Requests refused for their key, by the reason that the caller is not told.
    pub invalid_keys: InvalidKeyStats,
    /// What was decided about requests, and from what.
    pub verdicts: VerdictStats,
    /// What the [`Watch`](crate::Watch) does; `None` where there is none.
    pub watch: Option<WatchStats>,
    /// What is shared with other replicas, if the client has a store.
    pub store: Option<StoreStats>,
}

/// What a [`Watch`](crate::Watch) has done, and how soon it sees now what ends elsewhere.
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{AuthContext, Watch, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let watch = Watch::every(Duration::from_secs(5));
/// let gate = WachtAuthLayer::builder(wacht.client()).watch(watch).build()?.app("orders").handle();
/// gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
///
/// let watch = gate.stats().watch.expect("there is one");
/// assert_eq!(watch.apps, 1);
/// assert!(watch.longest_unseen <= Duration::from_secs(6));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStats {
    /// The longest that a revocation elsewhere may go unseen now, but for the time that two calls take:
    /// of the apps in turn, the longest time from the list that was read last to the one that comes
    /// next. It grows while lists fail. It does not count the apps that are left out.
    pub longest_unseen: Duration,
    /// Apps in turn: a key of them may be used without asking.
    pub apps: u64,
    /// Of these, the ones that are [left out](crate::Watch::answer_limit).
    pub left_out: u64,
    /// Lists read, by calls of this gate.
    pub lists: u64,
    /// Lists that failed, or could not be understood.
    pub failed: u64,
    /// Lists that were read once more with the revoked keys, as a key was missing.
    pub confirmations: u64,
    /// Lists of both kinds that another replica had read, and that cost no call.
    pub shared: u64,
}

/// Requests refused for their key, by what is wrong with it. A caller reads one text, whatever it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidKeyStats {
    /// It cannot be one of Wacht's.
    pub malformed: u64,
    /// The gateway says no: nobody's, revoked elsewhere, expired, or of an app that is closed.
    pub unknown: u64,
    /// It was revoked by the gate's own client or handle, its app was closed so, or a later check has
    /// said no.
    pub revoked: u64,
    /// It is another customer's, or of another deployment.
    pub other_deployment: u64,
    /// It is good, and of an app that is not accepted here. The log names the app once.
    pub other_app: u64,
    /// It is an OAuth access token where none are accepted.
    pub token: u64,
    /// Its app is deleted or deactivated.
    pub app_inactive: u64,
    /// It is past the end that was stated for it.
    pub expired: u64,
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
    pub indeterminate: u64,
    /// No connection, a connection that broke, a 429 or a 5xx.
    pub failed: u64,
    /// No answer within the [`deadline`](crate::WachtAuthLayerBuilder::deadline).
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
pub struct VerdictStats(pub(super) [[u64; SOURCES]; OUTCOMES]);

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
pub(super) const SOURCES: usize = 6;
pub(super) const OUTCOMES: usize = 8;

// === impl VerdictSource ===

impl VerdictSource {
    pub(super) const ALL: [Self; SOURCES] = [
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
pub(super) const OUTCOME_KINDS: [Option<RejectionKind>; OUTCOMES] = [
    None,
    Some(RejectionKind::MissingCredential),
    Some(RejectionKind::MalformedCredential),
    Some(RejectionKind::InvalidKey),
    Some(RejectionKind::PermissionDenied),
    Some(RejectionKind::RateLimited),
    Some(RejectionKind::Unavailable),
    Some(RejectionKind::Misconfigured),
];

pub(super) fn outcome(refused: Option<RejectionKind>) -> usize {
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
