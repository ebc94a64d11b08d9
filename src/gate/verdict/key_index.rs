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
pub(super) struct AppKeys {
    keys: BTreeMap<i64, Indexed>,
    /// What is known of keys whose verdicts the cache does not hold any more, for the next one.
    pub(super) gone: BTreeMap<i64, Box<Difference>>,
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

/// What lists have said of a key that the gateway does not say: when it ends, which it never says of API
/// keys, and what it may do, for as long as it lags behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// What the list lacked, and when it was sent.
    pub(crate) withdrawn: Option<(Permissions, Duration)>,
    /// When a list was sent that had more.
    pub(crate) added_at: Option<Duration>,
    /// When the key ends, since 1970, and when the list was sent that said so.
    pub(crate) end: Option<(Duration, Duration)>,
}

/// Some of the keys of an app.
pub(crate) struct SomeKeys {
    pub(crate) keys: Vec<KeyInUse>,
    /// The last that was looked at; `None` if there are no more.
    pub(crate) last: Option<i64>,
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
        let indexed = app.indexed(identity.key_id, last);
        let difference = indexed.difference.as_deref();
        if let Some(end) = difference.and_then(|difference| difference.end_of(verdict)) {
            verdict.set_end(Some(end));
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
            let difference = app.keys.remove(&identity.key_id);
            let difference = difference.and_then(|indexed| indexed.difference);
            app.keep(identity.key_id, difference);
        }
    }

    /// Another verdict takes the place of the present one of a key, and says the same but for what lists
    /// have taken from the key.
    pub(crate) fn replace(&self, by: &Arc<Verdict>) {
        let lists = self.lists.load(Ordering::SeqCst);
        let identity = &by.identity;
        if let Some(app) = self.apps().get_mut(&identity.app_slug) {
            // The cache may have let go of the one before.
            let indexed = app.indexed(identity.key_id, lists);
            indexed.verdict = Arc::downgrade(by);
        }
    }

    /// Remembers what a list has said of a key, for its verdicts from now on.
    pub(crate) fn set_difference(&self, app: &str, key_id: i64, difference: Difference) {
        let mut apps = self.apps();
        let Some(app) = apps.get_mut(app) else {
            return;
        };
        let end = difference.end.map(|(end, _)| end);
        let difference = Some(difference).filter(|difference| *difference != Difference::default());
        let difference = difference.map(Box::new);
        match app.keys.get_mut(&key_id) {
            Some(indexed) => {
                indexed.difference = difference;
                // A younger one than the list was held against may have come.
                if let Some(verdict) = indexed.verdict.upgrade() {
                    verdict.set_end(end);
                }
            }
            None => app.keep(key_id, difference),
        }
    }

    /// What the gateway says of a key, by a check that was sent then, but for what a list has taken
    /// from it since the gateway looked; `None` if that is all.
    pub(crate) fn still_held(
        &self,
        app: &str,
        key_id: i64,
        sent: Now,
        permissions: &Permissions,
    ) -> Option<Permissions> {
        let apps = self.apps();
        let app = apps.get(app)?;
        let indexed = app.keys.get(&key_id);
        let difference = indexed.and_then(|indexed| indexed.difference.as_deref());
        let difference = difference.or_else(|| app.gone.get(&key_id).map(|gone| &**gone))?;
        let (withdrawn, listed_at) = difference.withdrawn.as_ref()?;
        let is_gone = |name: &&str| withdrawn.contains(name);
        let strips =
            sent.monotonic < seen_by_gateway(*listed_at) && permissions.iter().any(|n| is_gone(&n));
        strips.then(|| permissions.iter().filter(|name| !is_gone(name)).collect())
    }

    /// A list is about to be sent: its number.
    pub(crate) fn list_begins(&self) -> u32 {
        self.lists.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    /// The keys of an app whose ids come after this one: so many that nobody has to wait long for the
    /// lock. Those that there are all along are among them in any case.
    pub(crate) fn keys_after(&self, app: &str, after: Option<i64>) -> SomeKeys {
        let mut some = SomeKeys {
            keys: Vec::new(),
            last: None,
        };
        let apps = self.apps();
        let Some(app) = apps.get(app) else {
            return some;
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key_id, indexed) in app.keys.range((from, Bound::Unbounded)).take(AT_ONCE) {
            some.last = Some(*key_id);
            // The cache lets go of it this moment.
            let Some(verdict) = indexed.verdict.upgrade() else {
                continue;
            };
            some.keys.push(KeyInUse {
                key_id: *key_id,
                verdict,
                first: indexed.first,
                last: indexed.last,
                is_unlisted: app.unlisted.contains(key_id),
                difference: indexed.difference.as_deref().cloned().unwrap_or_default(),
            });
        }
        some
    }

    /// No list has this key.
    pub(crate) fn set_unlisted(&self, app: &str, key_id: i64) {
        if let Some(app) = self.apps().get_mut(app) {
            app.unlisted.insert(key_id);
        }
    }

    /// Forgets that no list has a key, unless the cache holds its verdict or somebody waits for its end.
    pub(crate) fn keep_unlisted(&self, app: &str, waited_for: &[i64]) {
        if let Some(AppKeys { keys, unlisted, .. }) = self.apps().get_mut(app) {
            unlisted.retain(|key_id| keys.contains_key(key_id) || waited_for.contains(key_id));
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
        let is_used = apps.get_mut(slug).is_some_and(|app| {
            app.forget_gone(now);
            let is_young = now.monotonic < app.filed_at.saturating_add(unused_for);
            (!app.keys.is_empty() && is_young) || app.contradicts_gateway(now)
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

// === impl AppKeys ===

impl AppKeys {
    /// The entry of a key, which has come after so many lists if it is not there.
    fn indexed(&mut self, key_id: i64, lists: u32) -> &mut Indexed {
        let gone = &mut self.gone;
        self.keys.entry(key_id).or_insert_with(|| Indexed {
            verdict: Weak::new(),
            first: lists,
            last: lists,
            difference: gone.remove(&key_id),
        })
    }

    /// Keeps what is known of a key whose verdict is gone.
    pub(super) fn keep(&mut self, key_id: i64, difference: Option<Box<Difference>>) {
        match difference {
            Some(difference) if self.gone.len() < MOST_GONE => {
                self.gone.insert(key_id, difference);
            }
            _ => {
                self.gone.remove(&key_id);
            }
        }
    }

    pub(super) fn forget_gone(&mut self, now: Now) {
        let is_known = |end: Duration| end.saturating_add(GATEWAY_LAG) <= now.unix;
        self.gone.retain(|_, difference| {
            let end = difference.end.filter(|(end, _)| !is_known(*end));
            end.is_some() || difference.contradicts_gateway(now)
        });
    }

    /// Whether the next verdict of a key that is gone may say what a list has contradicted.
    pub(super) fn contradicts_gateway(&self, now: Now) -> bool {
        let mut gone = self.gone.values();
        gone.any(|difference| difference.contradicts_gateway(now))
    }
}

// === impl Difference ===

impl Difference {
    fn contradicts_gateway(&self, now: Now) -> bool {
        let withdrawn_at = self.withdrawn.as_ref().map(|(_, listed_at)| *listed_at);
        let ended_at = self.end.map(|(_, listed_at)| listed_at);
        let last = withdrawn_at.max(ended_at);
        last.is_some_and(|listed_at| now.monotonic < seen_by_gateway(listed_at))
    }

    /// When the key of this verdict ends. Not if the gateway has said yes so long after that end and
    /// after the list that it knows better: the end was moved since.
    fn end_of(&self, verdict: &Verdict) -> Option<Duration> {
        let (end, listed_at) = self.end?;
        let sent = verdict.sent();
        let is_known =
            sent.monotonic >= seen_by_gateway(listed_at) && sent.unix >= seen_by_gateway(end);
        (!is_known).then_some(end)
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
/// Of how many keys of an app something is known while the cache does not hold them: a few hundred bytes
/// each.
pub(super) const MOST_GONE: usize = 4096;
