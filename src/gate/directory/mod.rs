//! Whose key is it, and what does its app allow: tenancy, and the policy of an app.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::StatusCode;
use tokio::sync::Mutex;

use crate::client::Error;
use crate::client::WachtClient;
use crate::clock::{Clock, Monotonic, Now, nanoseconds};
use crate::gate::limit::{Limiter, RuleSet, RuleSpec};
use crate::gate::permission::PermissionSets;
use crate::log::GATE;
use crate::models::RateLimitRule;

/// How long a policy is used before it is asked for again, give or take a fifth.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// How long "this deployment has no apps" is believed.
const EMPTY_FOR: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Longer slugs are not asked about; no real one comes near.
const SLUG_MAX: usize = 255;

/// The gate's calls to the management API, within their budget.
///
/// The budget of 1000 a minute is shared with the customer's own calls, revocations among them,
/// so one gate spends at most 30 in any minute: 15 at once, and one every 4 s after that.
pub(crate) struct Management {
    client: WachtClient,
    clock: Clock,
    deadline: Duration,
    budget: RateLimiter<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Duration>>,
}

/// Why a management call brought no answer.
#[derive(Debug)]
enum NoAnswer {
    /// This minute's share is spent.
    OverBudget,
    TimedOut,
    Failed(Error),
}

impl NoAnswer {
    /// Says so in the log. A management key that is refused will not be accepted by waiting.
    fn report(&self, what: &str, app: Option<&str>) {
        match self {
            Self::Failed(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                tracing::error!(
                    target: GATE,
                    app,
                    hint = "the management API does not accept the key of the client (WACHT_API_KEY)",
                    "{what}"
                );
            }
            reason => tracing::warn!(target: GATE, app, ?reason, "{what}"),
        }
    }
}

impl Management {
    pub(crate) fn new(client: WachtClient, clock: Clock, deadline: Duration) -> Self {
        const BURST: std::num::NonZeroU32 = std::num::NonZeroU32::new(15).unwrap();
        Self {
            client,
            deadline,
            budget: RateLimiter::direct_with_clock(
                Quota::per_minute(BURST),
                Monotonic(clock.clone()),
            ),
            clock,
        }
    }

    /// Whether the management key has shown to be of this deployment.
    fn speaks_for(&self, deployment: i64) -> bool {
        self.client.deployment().get() == Some(&deployment)
    }

    async fn ask<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, NoAnswer> {
        self.budget.check().map_err(|_| NoAnswer::OverBudget)?;
        match tokio::time::timeout(self.deadline, call).await {
            Ok(answer) => answer.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::TimedOut),
        }
    }
}

/// The deployment whose keys are ours: the one configured, else the client's own.
///
/// The gateway says yes to any valid key of any Wacht customer, so no verdict is worth anything
/// before this is known.
pub(crate) struct Tenancy {
    configured: Option<i64>,
    learning: Mutex<Learning>,
}

#[derive(Default)]
struct Learning {
    backoff: Backoff,
    empty_until: Option<Duration>,
}

/// What is known of our deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    Deployment(i64),
    /// The deployment has no apps at all: no key is ours.
    NoApps,
    /// The management API has not said yet.
    Unknown,
}

impl Tenancy {
    pub(crate) fn new(configured: Option<i64>) -> Self {
        Self {
            configured,
            learning: Mutex::default(),
        }
    }

    /// Takes the deployment that the management key turned out to belong to; the one known
    /// already, where it differs.
    pub(crate) fn accept(&self, client: &WachtClient, deployment: i64) -> Result<(), i64> {
        let learned = *client.deployment().get_or_init(|| deployment);
        match self.configured.unwrap_or(learned) {
            ours if ours == deployment => Ok(()),
            ours => Err(ours),
        }
    }

    fn known(&self, client: &WachtClient) -> Option<i64> {
        self.configured
            .or_else(|| client.deployment().get().copied())
    }

    /// Our deployment, learned at most once: whoever comes meanwhile waits for the same answer.
    pub(crate) async fn ours(&self, management: &Management) -> Ours {
        if let Some(ours) = self.known(&management.client) {
            return Ours::Deployment(ours);
        }
        let mut learning = self.learning.lock().await;
        if let Some(ours) = self.known(&management.client) {
            return Ours::Deployment(ours);
        }
        let now = management.clock.now();
        if learning
            .empty_until
            .is_some_and(|until| now.monotonic < until)
        {
            return Ours::NoApps;
        }
        if !learning.backoff.may_try(now) {
            return Ours::Unknown;
        }
        // No text of a caller is in this request.
        let list = management
            .client
            .api_keys()
            .list_api_auth_apps()
            .include_inactive(true)
            .page(1, 0)
            .without_retries()
            .send();
        match management.ask(list).await {
            Ok(page) => {
                learning.backoff.clear();
                let Some(app) = page.items.first() else {
                    learning.empty_until = Some(now.monotonic.saturating_add(EMPTY_FOR));
                    tracing::warn!(
                        target: GATE,
                        "this Wacht deployment has no API auth app, so no key is its own"
                    );
                    return Ours::NoApps;
                };
                tracing::debug!(
                    target: GATE,
                    deployment_id = app.deployment_id,
                    "learned the deployment"
                );
                let ours = management
                    .client
                    .deployment()
                    .get_or_init(|| app.deployment_id);
                Ours::Deployment(*ours)
            }
            Err(reason) => {
                learning.backoff.failed(management.clock.now());
                reason.report(
                    "could not learn the deployment: no key can be verified",
                    None,
                );
                Ours::Unknown
            }
        }
    }
}

/// One API auth app of our deployment.
pub(crate) struct App {
    slug: Arc<str>,
    pub(crate) reserved: Option<Reserved>,
    deployment: i64,
    policy: ArcSwapOption<Policy>,
    // How much news came of the app, and how much of it the policy heeds: where they differ, the
    // policy is due, whatever its age.
    news: AtomicU64,
    heeded: AtomicU64,
    // The rules last compiled, whatever has become of the app since: the next are to know what
    // they replace.
    rules: ArcSwapOption<RuleSet>,
    fixed: OnceLock<Arc<RuleSet>>,
    loading: Mutex<Backoff>,
    // Monotonic nanoseconds: what `loading` says, for those who only want to know whether to
    // start.
    retry_at: AtomicU64,
    refreshing: AtomicBool,
    pub(crate) permission_sets: PermissionSets,
}

/// What the management API said of an app.
#[derive(Debug)]
pub(crate) struct Policy {
    fresh_until: Duration,
    pub(crate) standing: Standing,
}

#[derive(Debug)]
pub(crate) enum Standing {
    /// Its keys are judged by these rules.
    Active(Rules),
    /// Deactivated: its keys are refused.
    Inactive,
    /// Deleted: its keys are refused.
    Gone,
}

/// Who counts the requests of an app's keys.
#[derive(Debug)]
pub(crate) enum Rules {
    /// This process.
    Local(Arc<RuleSet>),
    /// The gateway, on every request: some rule cannot be mirrored.
    AtGateway,
}

impl Policy {
    /// The rules of an active app, where this process can count by them.
    pub(crate) fn rules(&self) -> Option<&RuleSet> {
        match &self.standing {
            Standing::Active(Rules::Local(rules)) => Some(rules),
            Standing::Active(Rules::AtGateway) | Standing::Inactive | Standing::Gone => None,
        }
    }
}

impl App {
    pub(crate) fn slug(&self) -> &Arc<str> {
        &self.slug
    }

    /// The policy as last heard, fresh or not; `None` before the first answer.
    pub(crate) fn policy(&self) -> arc_swap::Guard<Option<Arc<Policy>>> {
        self.policy.load()
    }

    fn is_fresh(&self, policy: Option<&Policy>, now: Now) -> bool {
        self.heeded.load(Ordering::Acquire) == self.news.load(Ordering::Acquire)
            && policy.is_some_and(|policy| now.monotonic < policy.fresh_until)
    }

    /// Whether the policy should be asked for, and may be.
    fn is_due(&self, policy: Option<&Policy>, now: Now) -> bool {
        !self.is_fresh(policy, now)
            && self.retry_at.load(Ordering::Acquire) <= nanoseconds(now.monotonic)
    }

    /// Lets the policy count as due.
    pub(crate) fn expire(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets what was known, so that it is not even used while it is asked for.
    pub(crate) fn forget_policy(&self) {
        self.policy.store(None);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.policy
            .load()
            .as_ref()
            .is_some_and(|policy| matches!(policy.standing, Standing::Gone))
    }

    /// Whether the caller, who has this policy of the app, should send its one refresh.
    pub(crate) fn claim_refresh(&self, policy: Option<&Policy>, now: Now) -> bool {
        self.is_due(policy, now) && !self.refreshing.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn refresh_over(&self) {
        self.refreshing.store(false, Ordering::Release);
    }

    /// Brings the policy up to date if it is due. Whoever comes meanwhile waits for the same
    /// answer; a failure leaves what was known, and so does dropping the future.
    pub(crate) async fn refresh(&self, management: &Management, limits: &Limiter) {
        if !self.is_due(self.policy().as_deref(), management.clock.now()) {
            return;
        }
        let mut backoff = self.loading.lock().await;
        let now = management.clock.now();
        if !self.is_due(self.policy().as_deref(), now) {
            return;
        }
        // Before asking, so that news which comes meanwhile makes the answer due again.
        let heeded = self.news.load(Ordering::Acquire);
        let api_keys = management.client.api_keys();
        let answer = management
            .ask(
                api_keys
                    .get_api_auth_app(&*self.slug)
                    .without_retries()
                    .send(),
            )
            .await;
        if let Ok(app) = &answer {
            let deployment = management.client.deployment();
            deployment.get_or_init(|| app.deployment_id);
        }
        let standing = match answer {
            Ok(app) if app.deployment_id != self.deployment => {
                self.failed(&mut backoff, now);
                tracing::error!(
                    target: GATE,
                    app = &*self.slug,
                    "the management key belongs to another deployment than the gate"
                );
                return;
            }
            Ok(app) if app.is_active => {
                Standing::Active(self.compile(&app.rate_limits, limits, now))
            }
            Ok(_) => Standing::Inactive,
            // A key of another deployment does not find any of our apps.
            Err(NoAnswer::Failed(error))
                if error.is_app_not_found() && management.speaks_for(self.deployment) =>
            {
                Standing::Gone
            }
            Err(reason) => {
                self.failed(&mut backoff, now);
                reason.report("could not load the policy of an app", Some(&self.slug));
                return;
            }
        };
        backoff.clear();
        let fresh_for = FRESH_FOR.mul_f64(0.8 + 0.4 * fraction());
        self.policy.store(Some(Arc::new(Policy {
            fresh_until: now.monotonic.saturating_add(fresh_for),
            standing,
        })));
        self.heeded.store(heeded, Ordering::Release);
    }

    fn failed(&self, backoff: &mut Backoff, now: Now) {
        backoff.failed(now);
        let retry_at = nanoseconds(backoff.not_before);
        self.retry_at.store(retry_at, Ordering::Release);
    }

    /// The rules that every app has, with this one's counters.
    pub(crate) fn fixed_rules(
        &self,
        rules: &[RuleSpec],
        limits: &Limiter,
        now: Now,
    ) -> &Arc<RuleSet> {
        self.fixed
            .get_or_init(|| Arc::new(self.ruleset(rules, None, limits, now)))
    }

    fn ruleset(
        &self,
        rules: &[RuleSpec],
        before: Option<&RuleSet>,
        limits: &Limiter,
        now: Now,
    ) -> RuleSet {
        limits.ruleset(self.deployment, &self.slug, rules, before, now)
    }

    fn compile(&self, rules: &[RateLimitRule], limits: &Limiter, now: Now) -> Rules {
        match limits.specs(rules) {
            Some(specs) => {
                let before = self.rules.load();
                let rules = Arc::new(self.ruleset(&specs, before.as_deref(), limits, now));
                self.rules.store(Some(Arc::clone(&rules)));
                Rules::Local(rules)
            }
            None => {
                let known = self.policy();
                let already = known.as_ref().is_some_and(|policy| {
                    matches!(policy.standing, Standing::Active(Rules::AtGateway))
                });
                if !already {
                    tracing::warn!(
                        target: GATE,
                        app = &*self.slug,
                        "a rate-limit rule cannot be counted here: the gateway is asked on every request"
                    );
                }
                Rules::AtGateway
            }
        }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("slug", &self.slug)
            .field("policy", &self.policy())
            .finish_non_exhaustive()
    }
}

/// The apps of our deployment that keys were seen of.
///
/// Only a key that the gateway vouched for brings a slug here, so strangers cannot make it grow.
#[derive(Debug, Default)]
pub(crate) struct Apps(RwLock<HashMap<Arc<str>, Arc<App>>>);

impl Apps {
    pub(crate) fn of(&self, deployment: i64, slug: &str) -> Arc<App> {
        if let Some(app) = self.get(slug) {
            return app;
        }
        let mut apps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let slug: Arc<str> = slug.into();
        let app = apps.entry(Arc::clone(&slug)).or_insert_with(|| {
            let reserved = is_reserved(&slug);
            // A management key is nobody's API key here, and its app has no policy to ask for.
            let has_policy = may_stand_in_a_path(&slug) && reserved != Some(Reserved::Management);
            // One that can never be asked for is never due.
            let retry_at = if has_policy { 0 } else { u64::MAX };
            Arc::new(App {
                slug,
                reserved,
                retry_at: AtomicU64::new(retry_at),
                deployment,
                policy: ArcSwapOption::empty(),
                news: AtomicU64::new(0),
                heeded: AtomicU64::new(0),
                rules: ArcSwapOption::empty(),
                fixed: OnceLock::new(),
                loading: Mutex::default(),
                refreshing: AtomicBool::new(false),
                permission_sets: PermissionSets::default(),
            })
        });
        Arc::clone(app)
    }

    /// Lets every policy count as due.
    pub(crate) fn expire_all(&self) {
        let apps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        apps.values().for_each(|app| app.expire());
    }

    pub(crate) fn get(&self, slug: &str) -> Option<Arc<App>> {
        let apps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        apps.get(slug).cloned()
    }
}

/// Whether the slug is one of those that the platform keeps for itself: `aa_<digits>` for
/// management keys, `oauth_<digits>` for the identity apps of OAuth consent.
fn is_reserved(slug: &str) -> Option<Reserved> {
    let numbered = |prefix| {
        slug.strip_prefix(prefix).is_some_and(|number: &str| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    if numbered("aa_") {
        Some(Reserved::Management)
    } else if numbered("oauth_") {
        Some(Reserved::OauthIdentity)
    } else {
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    Management,
    OauthIdentity,
}

fn may_stand_in_a_path(slug: &str) -> bool {
    !matches!(slug, "" | "." | "..") && slug.len() <= SLUG_MAX
}

/// When a failing call may be tried again: after 1 s, then twice as long each time, up to 60 s.
#[derive(Debug, Default)]
struct Backoff {
    not_before: Duration,
    wait: Duration,
}

impl Backoff {
    fn may_try(&self, now: Now) -> bool {
        now.monotonic >= self.not_before
    }

    fn failed(&mut self, now: Now) {
        self.wait = (self.wait * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        self.not_before = now.monotonic.saturating_add(self.wait);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A number from 0 to 1 that differs between processes and calls, for jitter alone.
fn fraction() -> f64 {
    let random = RandomState::new().hash_one(());
    // The upper 53 bits: what an f64 holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_slugs_are_exactly_the_platforms_own() {
        assert_eq!(
            is_reserved("aa_7000000000000001"),
            Some(Reserved::Management)
        );
        assert_eq!(is_reserved("oauth_5001"), Some(Reserved::OauthIdentity));
        for ours in [
            "aa_", "aa_1x", "aa1", "oauth_", "oauth_x1", "my_aa_1", "AA_1",
        ] {
            assert_eq!(is_reserved(ours), None, "{ours}");
        }
    }

    #[test]
    fn some_slugs_never_go_into_a_path() {
        for slug in ["", ".", "..", &"a".repeat(256)] {
            assert!(!may_stand_in_a_path(slug), "{slug:?}");
        }
        for slug in ["a", "...", "a/b?c", &"a".repeat(255)] {
            assert!(may_stand_in_a_path(slug), "{slug:?}");
        }
    }

    #[test]
    fn back_off_doubles_from_one_second_to_a_minute() {
        let at = |seconds| Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::ZERO,
        };
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.failed(at(0));
            waits.push(backoff.not_before.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!backoff.may_try(at(59)));
        assert!(backoff.may_try(at(60)));
        backoff.clear();
        assert!(backoff.may_try(at(0)));
    }

    #[test]
    fn jitter_stays_between_zero_and_one() {
        assert!(
            (0..1000)
                .map(|_| fraction())
                .all(|f| (0.0..1.0).contains(&f))
        );
    }
}
