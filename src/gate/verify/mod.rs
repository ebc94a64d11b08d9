//! Asking the gateway: what is sent, what the answer means, and that N callers with one key ask
//! once.
//!
//! In comes a [`Check`], out goes a [`Verification`]; what is learned is filed under the key's digest
//! in the cache of [`verdict`](super::verdict). On the way, the [`directory`](super::directory) says
//! whose the key is. What waits for a verification is resumed in the [`pipeline`](super::pipeline).
//! `in_flight` has one verification per key, and `places` bounds how many checks are out at once.
//! `events` takes what the gate's own client revokes and changes, `watched` what lists of keys say.

pub(crate) mod check;
pub(crate) mod in_flight;

mod answer;
mod events;
mod places;
mod watched;

#[cfg(all(test, wacht_shuttle))]
mod interleavings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tracing::Span;

use crate::api::gateway::CheckResponse;
use crate::breaker::Breaker;
use crate::client::{Error, StoreStats, WachtClient};
use crate::clock::{Clock, Deadline, Now};
use crate::gate::directory::{Directory, Gateway, Ours, Reserved};
use crate::gate::limit::{FailedLookups, Limiter};
use crate::gate::refusal::InvalidKeyReason;
use crate::gate::stats::{AuthStats, GatewayResult, Levels, Metrics};
use crate::gate::verdict::cache::{Filed, STRANGER_TTL, VerdictCache};
use crate::gate::verdict::{End, Identity, OpenCheck, PrincipalKind, Verdict};
use crate::gate::waiting::{Awaited, Background};
use crate::log::{GATE, Notice, Said};

use self::answer::{GatewayAnswer, IndeterminateKind};
use self::check::Check;
use self::in_flight::{Errand, InFlight};

/// When to ask again where nobody could say.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// No limit of Wacht's makes a caller wait longer than this under `Limits::gateway()`: the
/// gateway names the whole window, not what is left of it.
const GATEWAY_RETRY_MAX: Duration = Duration::from_secs(60);

/// What a verification brought.
#[derive(Clone, Debug)]
pub(crate) enum Verification {
    Valid(Arc<Verdict>),
    /// A definite no.
    Invalid(InvalidKeyReason),
    /// The key is good; the gateway says its limit is reached. Only of a check of one's own.
    Limited(Arc<Verdict>, Duration),
    /// The key is good; the gateway says a permission is missing. Only of a check of one's own.
    Denied(Arc<Verdict>),
    /// The gateway failed. Try again after this long.
    Outage(Duration),
    /// Nobody knows, for want of something else than a gateway. Try again after this long.
    Unknown(Duration),
    /// Nobody will know before the program is changed.
    Misconfigured(&'static str),
}

impl Verification {
    /// The word for it in spans and events.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Invalid(_) => "invalid",
            Self::Limited(..) => "rate_limited",
            Self::Denied(_) => "permission_denied",
            Self::Outage(_) | Self::Unknown(_) => "unknown",
            Self::Misconfigured(_) => "misconfigured",
        }
    }
}

/// Everything a verification needs and everything it fills, shared by all clones of a layer.
pub(crate) struct Verifier {
    pub(crate) client: WachtClient,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) cache: VerdictCache,
    pub(crate) in_flight: InFlight,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) failed_lookups: FailedLookups,
    pub(crate) metrics: Metrics,
    /// Said once per outage.
    pub(crate) outage: Notice,
    pub(crate) indeterminate: Said<IndeterminateKind>,
}

impl Verifier {
    /// Looks a key up, and charges who caused it if the key is bad. Here, in the task of the check:
    /// a caller who hangs up pays all the same.
    ///
    /// `is_wanted` is asked once more right before the check is sent.
    async fn verify(
        self: &Arc<Self>,
        check: &Check,
        errand: &Errand,
        is_wanted: impl Fn() -> bool,
    ) -> Verification {
        let verification = self.ask_and_file(check, errand, is_wanted).await;
        if let (Verification::Invalid(_), Some(source)) = (&verification, check.charged_to) {
            self.failed_lookups.charge(source, self.clock.now());
        }
        self.metrics.levels(&self.levels());
        Span::current().record(in_flight::RESULT, verification.as_str());
        tracing::debug!(target: GATE, result = verification.as_str(), "a verification is over");
        verification
    }

    /// Asks the gateway about one key and files what it says.
    async fn ask_and_file(
        self: &Arc<Self>,
        check: &Check,
        errand: &Errand,
        is_wanted: impl Fn() -> bool,
    ) -> Verification {
        // Looked at behind the cache: whom it turns away has nothing that could be used.
        if let Some(wait) = self.breaker.open_for(self.clock.now()) {
            return self.outage(check, wait);
        }
        // Too much in flight says nothing about the gateway.
        let place = self.in_flight.place(check.key, errand, &self.clock);
        let Some(place) = place.await else {
            return self.unknown(check, RETRY_AFTER);
        };
        if !is_wanted() {
            return Verification::Unknown(RETRY_AFTER);
        }
        // Those ahead in the queue may have found the gateway down.
        if let Err(wait) = self.breaker.try_acquire(self.clock.now()) {
            return self.outage(check, wait);
        }
        let sent = self.clock.now();
        // However long the queue was: a gateway is slow only if it had all this time. The caller has
        // its own deadline.
        let until = Deadline::after(sent, self.deadline);
        self.in_flight.sent(&check.key, errand, until);
        // Opened before the check is sent, so that whatever happens meanwhile is noticed.
        let open = self.cache.open_check(check.key, sent);
        let answer = self.ask_gateway(check, sent).await;
        // The calls that may follow go to the management API, and others need the place.
        drop(place);
        match answer {
            GatewayAnswer::Yes(response) => {
                let valid = Verification::Valid;
                self.file(check, *response, &open, until, valid).await
            }
            GatewayAnswer::RateLimited(response) => {
                let wait = response.retry_after.unwrap_or(GATEWAY_RETRY_MAX);
                let wait = wait.min(GATEWAY_RETRY_MAX);
                let limited = |verdict| Verification::Limited(verdict, wait);
                self.file(check, *response, &open, until, limited).await
            }
            GatewayAnswer::PermissionDenied(response) => {
                let denied = Verification::Denied;
                self.file(check, *response, &open, until, denied).await
            }
            GatewayAnswer::No => {
                let (now, ttl) = (self.clock.now(), self.cache.policy.negative_ttl);
                let reason = InvalidKeyReason::Unknown;
                self.cache.refuse(&open, reason, now, ttl);
                Verification::Invalid(reason)
            }
            GatewayAnswer::Indeterminate(reason) => {
                reason.tell(&self.indeterminate);
                let now = self.clock.now();
                let retry_at = now.monotonic.saturating_add(RETRY_AFTER);
                self.cache.indeterminate(&open, now, retry_at);
                Verification::Unknown(self.cache.policy.negative_ttl.max(RETRY_AFTER))
            }
            GatewayAnswer::Outage(error) => {
                self.tell_outage(Some(&error));
                self.outage(check, RETRY_AFTER)
            }
            GatewayAnswer::Unattended => self.unknown(check, RETRY_AFTER),
            GatewayAnswer::Misconfigured => {
                Verification::Misconfigured("the Wacht client cannot be used")
            }
        }
    }

    /// Sends the check and tells the breaker and the figures what came of it.
    async fn ask_gateway(&self, check: &Check, sent: Now) -> GatewayAnswer {
        self.metrics.check_sent();
        // By the time that the limit goes by, which no test's clock moves. It runs from here on, however
        // long the queue was: what runs out is the gateway's time alone.
        let asked_at = tokio::time::Instant::now();
        let asked = self.client.gateway().check(check.request());
        let answer = asked.within(self.deadline).send().await;
        let answered = self.clock.now();
        let took = answered.monotonic.saturating_sub(sent.monotonic);
        let is_timeout = answer.as_ref().is_err_and(Error::is_timeout);
        // Twice as long as it may take: nobody has looked after it.
        let is_unattended = is_timeout && asked_at.elapsed() >= self.deadline.saturating_mul(2);
        let answer = match is_unattended {
            true => GatewayAnswer::Unattended,
            false => GatewayAnswer::of(answer, !check.required_permissions.is_empty()),
        };
        match answer.result() {
            Some(_) if is_timeout => self.metrics.gateway_request(GatewayResult::TimedOut, took),
            Some(result) => self.metrics.gateway_request(result, took),
            None => {}
        }
        match answer {
            GatewayAnswer::Outage(_) => {
                if self.breaker.failed(answered) {
                    tracing::warn!(
                        target: GATE,
                        "the gateway fails too often: checks are held back, keys not known here are answered 503"
                    );
                }
                self.directory.gateway_heard(answered);
            }
            GatewayAnswer::Misconfigured | GatewayAnswer::Unattended => self.breaker.unsent(),
            // A caller may have brought it about, so it counts neither for nor against the gateway.
            GatewayAnswer::Indeterminate(_) => self.breaker.indeterminate(),
            _ => {
                if self.breaker.answered(answered) {
                    tracing::info!(target: GATE, "checks are sent to the gateway again");
                }
                self.directory.gateway_heard(answered);
            }
        }
        let is_silent = matches!(answer, GatewayAnswer::Outage(_) | GatewayAnswer::Unattended);
        if !is_silent && self.outage.is_over() {
            tracing::info!(target: GATE, "the gateway answers again");
        }
        answer
    }

    /// Says once why, for as long as it lasts.
    fn tell_outage(&self, error: Option<&Error>) {
        if self.outage.is_first() {
            tracing::warn!(
                target: GATE,
                error = error.map(display),
                cause = error.and_then(Error::cause).map(display),
                "the gateway does not answer"
            );
        }
    }

    /// The gateway said nothing that could be used, or is known to be down.
    fn outage(&self, check: &Check, wait: Duration) -> Verification {
        self.tell_outage(None);
        self.delay_refresh(check, wait);
        Verification::Outage(wait)
    }

    /// Nobody was asked, so what is known of the key stays as it is, and nothing is filed.
    fn unknown(&self, check: &Check, wait: Duration) -> Verification {
        self.delay_refresh(check, wait);
        Verification::Unknown(wait)
    }

    fn delay_refresh(&self, check: &Check, wait: Duration) {
        if let Some(verdict) = self.cache.positive(&check.key) {
            let now = self.clock.now();
            verdict.delay_refresh(now.monotonic.saturating_add(wait));
        }
    }

    /// The key is somebody's: is it ours, and what does its app say? Then its verdict is filed.
    async fn file(
        self: &Arc<Self>,
        check: &Check,
        response: CheckResponse,
        open: &OpenCheck<'_>,
        until: Deadline,
        verification: impl FnOnce(Arc<Verdict>) -> Verification,
    ) -> Verification {
        let Some(identity) = response.identity else {
            return Verification::Unknown(RETRY_AFTER);
        };
        let left = || until.left(self.clock.now());
        let deployment = match self.directory.ours(left()).await {
            Ours::Deployment(deployment) => deployment,
            // Not remembered: it ends with the first app that is made.
            Ours::NoApps => return Verification::Invalid(InvalidKeyReason::OtherDeployment),
            Ours::Unknown => return Verification::Unknown(RETRY_AFTER),
        };
        if deployment != identity.deployment_id {
            let now = self.clock.now();
            let reason = InvalidKeyReason::OtherDeployment;
            self.cache.refuse(open, reason, now, STRANGER_TTL);
            return Verification::Invalid(reason);
        }
        let slug = &*identity.app_slug;
        let is_token = check.key.kind == PrincipalKind::OauthAccessToken;
        let app = match check.accepted.accept(slug, Reserved::of(slug), is_token) {
            true => {
                // Those who have joined may have to ask for themselves if the app's rules do not come.
                self.directory.resolve(deployment, slug, left() / 2).await
            }
            // Of a key that is refused whatever its app says, nothing more is asked.
            false => self.directory.app(deployment, slug),
        };
        let permissions = response.permissions.into_iter().collect();
        let end = match check.key.kind {
            PrincipalKind::ApiKey => End::Unknown,
            PrincipalKind::OauthAccessToken => {
                token_expiry(&response.metadata).map_or(End::Now, End::At)
            }
        };
        let verdict = Arc::new(Verdict::new(
            check.key.digest,
            Identity {
                kind: check.key.kind,
                key_id: identity.key_id,
                key_name: identity.key_name.into(),
                app_slug: Arc::clone(app.slug()),
                deployment_id: identity.deployment_id,
                owner_user_id: identity.owner_user_id.into(),
                organization_id: identity.organization_id.into(),
                workspace_id: identity.workspace_id.into(),
                organization_membership_id: identity.organization_membership_id.into(),
                workspace_membership_id: identity.workspace_membership_id.into(),
                permissions: app.permission_sets.share(permissions),
                metadata: response.metadata,
            },
            app,
            end,
            open.sent(),
            &self.cache.revocations,
        ));
        let Filed { verdict, is_first } = self.cache.insert(open, verdict, self.clock.now());
        self.directory.key_filed();
        if is_first {
            self.directory.app_in_use(verdict.app.slug());
        }
        // Whoever uses it looks for what speaks against it.
        verification(verdict)
    }

    /// What is held and has been done so far, the cache settled first.
    pub(crate) fn stats(&self) -> AuthStats {
        self.cache.settle();
        self.directory.settle_watch_figures();
        let awaited_ends = self.cache.revocations.waiting.len();
        self.metrics
            .stats(&self.levels(), self.in_flight.len(), awaited_ends)
    }

    /// What is held, as far as that can be had at no cost: the cache may still have to settle.
    fn levels(&self) -> Levels {
        let evictions = self.cache.evictions();
        let (leases, leased_units) = self.limiter.leases_out();
        let store = self.client.events().sink().map(|sink| StoreStats {
            leases,
            leased_units,
            ..sink.stats()
        });
        Levels {
            cached_keys: self.cache.good_keys(),
            cached_bytes: self.cache.good_bytes(),
            refused_keys: self.cache.refused_keys(),
            evicted_keys: evictions.good_keys(),
            evicted_refused_keys: evictions.refused_keys(),
            limiter_subjects: self.limiter.subjects(),
            is_breaker_open: !self.breaker.is_closed(),
            watch: self.directory.watch_figures(),
            store,
        }
    }
}

impl Background for Verifier {
    fn waited_for(&self, whose: Awaited<'_>, now: Now) {
        if whose.key_id.is_some()
            && let Some(index) = self.cache.index()
            && index.add_app(whose.app, now)
        {
            self.directory.app_in_use(whose.app);
        }
        self.directory.waited_for(now);
    }
}

impl Gateway for Breaker {
    fn is_failing(&self, now: Now) -> bool {
        self.is_failing(now)
    }

    fn has_answered_since(&self, since: Duration) -> bool {
        self.has_answered_since(since)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("cache", &self.cache)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

fn token_expiry(metadata: &serde_json::Value) -> Option<Duration> {
    let end = DateTime::parse_from_rfc3339(metadata.get("expires_at")?.as_str()?).ok()?;
    // A time before 1970 is as over as 1970 itself.
    let millis = u64::try_from(end.timestamp_millis()).unwrap_or(0);
    Some(Duration::from_millis(millis))
}
