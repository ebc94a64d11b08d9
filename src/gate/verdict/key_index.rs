//! Which verdicts there are of the API keys of an app, for what is said of all its keys at once.
//!
//! Only where lists of keys are read: nothing else asks for verdicts by their app.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::clock::Now;
use crate::gate::directory::AcceptedApps;
use crate::gate::permission::Permissions;
use crate::gate::verdict::identity::PrincipalKind;
use crate::gate::verdict::policy::GATEWAY_LAG;
use crate::gate::verdict::verdict::Verdict;

/// The verdicts that the cache holds, by app and by the id of their key.
// Not what a model of races puts in the place of a lock: moka comes here while it holds one.
pub(crate) struct KeyIndex {
    accepted: AcceptedApps,
    apps: Mutex<HashMap<Arc<str>, AppKeys, RandomState>>,
    /// How many lists have been sent.
    lists: AtomicU32,
}

/// The keys of one app.
#[derive(Default)]
struct AppKeys {
    keys: BTreeMap<i64, Indexed>,
    /// When the last verdict was filed.
    filed_at: Duration,
    /// Keys that no list has, not even one with the revoked keys.
    unlisted: BTreeSet<i64>,
}

/// One key: some 50 bytes with its share of the tree.
struct Indexed {
    verdict: Weak<Verdict>,
    /// How many lists had been sent when the key came.
    first: u32,
    /// The same of its present verdict.
    last: u32,
    difference: Option<Box<Difference>>,
}

/// In what a list said otherwise than the gateway, which may do so for as long as it lags behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What the list lacked, and when it was sent.
    pub(crate) withdrawn: Option<(Permissions, Duration)>,
    /// When a list was sent that had more.
    pub(crate) added_at: Option<Duration>,
}

/// A key as the index has it.
pub(crate) struct KeyInUse {
    pub(crate) key_id: i64,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Whether neither list has it, and nobody has verified it since.
    pub(crate) is_unlisted: bool,
    pub(crate) difference: Difference,
}

impl KeyIndex {
    /// Of the keys of these apps.
    pub(crate) fn new(accepted: AcceptedApps) -> Self {
        Self {
            accepted,
            apps: Mutex::default(),
            lists: AtomicU32::new(0),
        }
    }

    /// Adds a verdict that the cache is about to hold. It keeps the end that is known of its key. Says
    /// whether its app is new.
    pub(crate) fn add(&self, verdict: &Arc<Verdict>, now: Now) -> bool {
        let identity = &verdict.identity;
        if identity.kind != PrincipalKind::ApiKey
            || !self.accepted.may_be_listed(&identity.app_slug)
        {
            return false;
        }
        let mut apps = self.apps();
        let slug = &identity.app_slug;
        let is_new = !apps.contains_key(slug);
        let app = apps.entry(Arc::clone(slug)).or_default();
        app.filed_at = now.monotonic;
        app.unlisted.remove(&identity.key_id);
        let last = self.lists.load(Ordering::SeqCst);
        let indexed = app.keys.entry(identity.key_id).or_insert(Indexed {
            verdict: Weak::new(),
            first: last,
            last,
            difference: None,
        });
        if let Some(before) = indexed.verdict.upgrade() {
            verdict.end_like(&before);
        }
        indexed.verdict = Arc::downgrade(verdict);
        indexed.last = last;
        is_new
    }

    /// Adds an app, as somebody waits for the end of a key of it. Says whether it is new.
    pub(crate) fn add_app(&self, slug: &Arc<str>, now: Now) -> bool {
        let mut apps = self.apps();
        if apps.contains_key(slug) || !self.accepted.may_be_listed(slug) {
            return false;
        }
        let app = apps.entry(Arc::clone(slug)).or_default();
        app.filed_at = now.monotonic;
        true
    }

    /// Takes out a verdict that the cache does not hold any more, unless another has taken its place.
    pub(crate) fn remove(&self, verdict: &Arc<Verdict>) {
        let identity = &verdict.identity;
        let is_held = |indexed: &Indexed| indexed.verdict.as_ptr() == Arc::as_ptr(verdict);
        let mut apps = self.apps();
        if let Some(app) = apps.get_mut(&identity.app_slug)
            && app.keys.get(&identity.key_id).is_some_and(is_held)
        {
            app.keys.remove(&identity.key_id);
        }
    }

    /// Another verdict takes the place of this one, which says the same but for what a list has said.
    pub(crate) fn replace(&self, verdict: &Verdict, by: &Arc<Verdict>, difference: Difference) {
        self.change(verdict, |indexed| {
            indexed.verdict = Arc::downgrade(by);
            indexed.difference = Some(Box::new(difference));
        });
    }

    /// Remembers in what a list and the gateway differ about the key of this verdict.
    pub(crate) fn set_difference(&self, verdict: &Verdict, difference: Difference) {
        let difference = Some(difference).filter(|difference| *difference != Difference::default());
        self.change(verdict, |indexed| {
            indexed.difference = difference.map(Box::new);
        });
    }

    fn change(&self, verdict: &Verdict, change: impl FnOnce(&mut Indexed)) {
        let identity = &verdict.identity;
        let mut apps = self.apps();
        let app = apps.get_mut(&identity.app_slug);
        let indexed = app.and_then(|app| app.keys.get_mut(&identity.key_id));
        if let Some(indexed) = indexed
            && std::ptr::eq(indexed.verdict.as_ptr(), verdict)
        {
            change(indexed);
        }
    }

    /// What the gateway says of a key, by a check that was sent then, but for what a list has taken
    /// from it since the gateway looked.
    pub(crate) fn still_held(
        &self,
        app: &str,
        key_id: i64,
        sent: Now,
        permissions: Permissions,
    ) -> Permissions {
        let apps = self.apps();
        let indexed = apps.get(app).and_then(|app| app.keys.get(&key_id));
        let difference = indexed.and_then(|indexed| indexed.difference.as_deref());
        match difference.and_then(|difference| difference.withdrawn.as_ref()) {
            Some((withdrawn, listed_at)) if sent.monotonic < seen_by_gateway(*listed_at) => {
                let held = permissions.iter().filter(|name| !withdrawn.contains(name));
                held.collect()
            }
            _ => permissions,
        }
    }

    /// A list is about to be sent: its number.
    pub(crate) fn list_begins(&self) -> u32 {
        self.lists.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// The keys of an app whose ids come after this one: so many that nobody has to wait long for the
    /// lock. Those that there are all along are among them in any case.
    pub(crate) fn keys_after(&self, app: &str, after: Option<i64>) -> Vec<KeyInUse> {
        let apps = self.apps();
        let Some(app) = apps.get(app) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = app.keys.range((from, Bound::Unbounded)).take(AT_ONCE);
        let keys = keys.filter_map(|(key_id, indexed)| {
            Some(KeyInUse {
                key_id: *key_id,
                verdict: indexed.verdict.upgrade()?,
                first: indexed.first,
                last: indexed.last,
                is_unlisted: app.unlisted.contains(key_id),
                difference: indexed.difference.as_deref().cloned().unwrap_or_default(),
            })
        });
        keys.collect()
    }

    /// No list has this key.
    pub(crate) fn set_unlisted(&self, app: &str, key_id: i64) {
        if let Some(app) = self.apps().get_mut(app) {
            app.unlisted.insert(key_id);
        }
    }

    /// The verdict of a key, if there is one.
    pub(crate) fn verdict(&self, app: &str, key_id: i64) -> Option<Arc<Verdict>> {
        let apps = self.apps();
        let indexed = apps.get(app)?.keys.get(&key_id)?;
        indexed.verdict.upgrade()
    }

    pub(crate) fn is_unlisted(&self, app: &str, key_id: i64) -> bool {
        let apps = self.apps();
        apps.get(app)
            .is_some_and(|app| app.unlisted.contains(&key_id))
    }

    /// Forgets an app whose last verdict was filed so long ago, unless somebody waits for the end of
    /// one of its keys. Says whether it did.
    pub(crate) fn drop_app(
        &self,
        slug: &str,
        unused_for: Duration,
        is_waited_for: impl FnOnce() -> bool,
        now: Now,
    ) -> bool {
        let mut apps = self.apps();
        let is_used = apps.get(slug).is_some_and(|app| {
            !app.keys.is_empty() && now.monotonic < app.filed_at.saturating_add(unused_for)
        });
        // Under the lock: who waits is entered first, and adds the app then.
        if is_used || is_waited_for() {
            return false;
        }
        apps.remove(slug);
        true
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<Arc<str>, AppKeys, RandomState>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyIndex")
            .field("apps", &self.apps().len())
            .finish_non_exhaustive()
    }
}

/// When a check is to be sent, so that the gateway knows by then what a list showed that was sent at
/// this time.
pub(crate) fn seen_by_gateway(listed_at: Duration) -> Duration {
    listed_at
        .saturating_add(GATEWAY_LAG)
        .saturating_add(Duration::from_secs(1))
}

/// How many keys are looked at under one lock.
const AT_ONCE: usize = 512;
