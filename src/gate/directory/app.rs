//! One API auth app, as the verdicts of its keys see it.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use arc_swap::Guard;

use crate::clock::Now;
use crate::gate::limit::Limiter;
use crate::gate::limit::RuleSet;
use crate::gate::limit::RuleSpec;
use crate::gate::permission::PermissionSets;

/// One API auth app of our deployment, from its making to its deletion.
///
/// The verdicts of its keys hold it, so that what becomes of the app is seen through all of them at
/// once. An app that is made again under the slug of a deleted one is another app.
pub(crate) struct App {
    /// No other app of this process has it.
    pub(crate) number: u64,
    slug: Arc<str>,
    /// Whether the slug is one of those that the platform keeps for itself.
    pub(crate) reserved: Option<Reserved>,
    deployment: i64,
    status: ArcSwap<AppStatus>,
    fixed: OnceLock<Arc<RuleSet>>,
    pub(crate) permission_sets: PermissionSets,
}

/// What the management API said of an app.
#[derive(Debug)]
pub(crate) enum AppStatus {
    /// Nothing yet: only the gateway can judge its keys.
    Unknown,
    /// Its keys are judged by these rules.
    Active(AppRules),
    /// Deactivated: its keys are refused.
    Inactive,
    /// Deleted: its keys are refused for good.
    Gone,
}

/// Who counts the requests of an app's keys.
#[derive(Debug)]
pub(crate) enum AppRules {
    /// This process.
    Local(Arc<RuleSet>),
    /// The gateway, on every request: some rule cannot be counted here.
    AtGateway,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// `aa_<digits>`: the app of a management key.
    Management,
    /// `oauth_<digits>`: the app of the access tokens that a user has consented to.
    OauthIdentity,
}

/// What is known of the app of a key now.
pub(crate) enum KnownApp<'a> {
    /// Active, with the rules that were there when the key was verified: to see that is one load
    /// from the rules themselves.
    Unchanged(&'a RuleSet),
    Loaded(Guard<Arc<AppStatus>>),
}

// === impl App ===

impl App {
    /// An app of which nothing is known yet.
    pub(crate) fn new(deployment: i64, slug: Arc<str>) -> Self {
        Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            reserved: Reserved::of(&slug),
            slug,
            deployment,
            status: ArcSwap::from_pointee(AppStatus::Unknown),
            fixed: OnceLock::new(),
            permission_sets: PermissionSets::default(),
        }
    }

    pub(crate) fn slug(&self) -> &Arc<str> {
        &self.slug
    }

    pub(super) fn deployment(&self) -> i64 {
        self.deployment
    }

    /// What is known of it now.
    pub(crate) fn status(&self) -> Guard<Arc<AppStatus>> {
        self.status.load()
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(**self.status.load(), AppStatus::Gone)
    }

    /// What is known of it, for a key that was verified when its app was judged by these rules.
    #[inline]
    pub(crate) fn known_by<'a>(&self, rules: Option<&'a RuleSet>) -> KnownApp<'a> {
        match rules {
            Some(rules) if rules.is_in_force() => KnownApp::Unchanged(rules),
            _ => KnownApp::Loaded(self.status.load()),
        }
    }

    /// The rules by which its keys are judged here and now, if they are.
    pub(crate) fn rules(&self) -> Option<Arc<RuleSet>> {
        self.status.load().rules().cloned()
    }

    /// For one caller at a time.
    pub(super) fn set_status(&self, status: AppStatus) {
        let rules = status.rules().cloned();
        let before = self.status.swap(Arc::new(status));
        // Who has looked before this has come before it.
        if let Some(rules) = before.rules() {
            rules.set_in_force(false);
        }
        if let Some(rules) = rules {
            rules.set_in_force(true);
        }
    }

    /// The rules that every app has, with this one's counters.
    pub(crate) fn fixed_rules(
        &self,
        rules: &[RuleSpec],
        limiter: &Limiter,
        now: Now,
    ) -> &Arc<RuleSet> {
        self.fixed.get_or_init(|| {
            let rules = limiter.ruleset(self.deployment, &self.slug, rules, None, now);
            Arc::new(rules)
        })
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("slug", &self.slug)
            .field("status", &**self.status())
            .finish_non_exhaustive()
    }
}

// === impl AppStatus ===

impl AppStatus {
    fn rules(&self) -> Option<&Arc<RuleSet>> {
        match self {
            Self::Active(AppRules::Local(rules)) => Some(rules),
            _ => None,
        }
    }
}

// === impl KnownApp ===

impl KnownApp<'_> {
    /// Whether its keys are refused.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Unchanged(_) => false,
            Self::Loaded(status) => matches!(***status, AppStatus::Inactive | AppStatus::Gone),
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Unchanged(_) => false,
            Self::Loaded(status) => matches!(***status, AppStatus::Gone),
        }
    }

    /// The rules, if this process can count by them.
    pub(crate) fn rules(&self) -> Option<&RuleSet> {
        match self {
            Self::Unchanged(rules) => Some(rules),
            Self::Loaded(status) => status.rules().map(|rules| &**rules),
        }
    }
}

// === impl Reserved ===

impl Reserved {
    /// Whether a slug is one of those, and which.
    pub(crate) fn of(slug: &str) -> Option<Self> {
        let is_numbered = |prefix| {
            slug.strip_prefix(prefix).is_some_and(|number: &str| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        if is_numbered("aa_") {
            Some(Self::Management)
        } else if is_numbered("oauth_") {
            Some(Self::OauthIdentity)
        } else {
            None
        }
    }
}

/// Whether the management API can be asked for the app with this slug. A management key's app is
/// none of our deployment, and some slugs would name another place in a path.
pub(super) fn may_be_looked_up(slug: &str) -> bool {
    !matches!(slug, "" | "." | "..")
        && slug.len() <= SLUG_MAX
        && Reserved::of(slug) != Some(Reserved::Management)
}

/// In bytes. No real slug comes near.
const SLUG_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::limit::Limits;

    #[test]
    fn rules_are_in_force_until_something_else_is_known() {
        let now = Now {
            monotonic: Duration::ZERO,
            unix: Duration::ZERO,
        };
        let app = App::new(1, "orders".into());
        let limiter = Limiter::new(&Limits::local(), None);
        let rules = || {
            let specs = [RuleSpec::default()];
            Arc::new(limiter.ruleset(1, app.slug(), &specs, None, now))
        };
        let judge_by = |rules: &Arc<RuleSet>| {
            let rules = AppRules::Local(Arc::clone(rules));
            app.set_status(AppStatus::Active(rules));
        };
        let is_unchanged =
            |rules: &Arc<RuleSet>| matches!(app.known_by(Some(rules)), KnownApp::Unchanged(_));

        let (first, second) = (rules(), rules());
        assert!(app.rules().is_none() && !is_unchanged(&first));
        judge_by(&first);
        assert!(is_unchanged(&first) && !is_unchanged(&second));
        judge_by(&second);
        assert!(is_unchanged(&second) && !is_unchanged(&first));
        let known = app.known_by(Some(&first));
        assert!(
            known
                .rules()
                .is_some_and(|rules| std::ptr::eq(rules, &*second))
        );

        app.set_status(AppStatus::Inactive);
        assert!(app.known_by(Some(&second)).is_closed() && app.rules().is_none());
        judge_by(&second);
        assert!(is_unchanged(&second));
        app.set_status(AppStatus::Gone);
        assert!(app.known_by(Some(&second)).is_gone());
    }

    #[test]
    fn reserved_slugs_are_exactly_the_platforms_own() {
        assert_eq!(
            Reserved::of("aa_7000000000000001"),
            Some(Reserved::Management)
        );
        assert_eq!(Reserved::of("oauth_5001"), Some(Reserved::OauthIdentity));
        for ours in [
            "aa_", "aa_1x", "aa1", "oauth_", "oauth_x1", "my_aa_1", "AA_1",
        ] {
            assert_eq!(Reserved::of(ours), None, "{ours}");
        }
    }

    #[test]
    fn some_slugs_never_go_into_a_path() {
        for slug in ["", ".", "..", &"a".repeat(256), "aa_7000000000000001"] {
            assert!(!may_be_looked_up(slug), "{slug:?}");
        }
        for slug in ["a", "...", "a/b?c", "oauth_5001", &"a".repeat(255)] {
            assert!(may_be_looked_up(slug), "{slug:?}");
        }
    }
}
