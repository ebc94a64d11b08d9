//! Who waits for the end of a caller.
//!
//! A future that waits has an entry here from the time that it was first pending until it is dropped,
//! and is woken by what may end its caller: an event finds its own entries by name, and nobody
//! else's. Whether the caller has ended is for the future to find out; what it could not find out
//! later is left in the entry.
//!
//! An event is made known first, and then told here; who waits is entered first, and looks then. As
//! both take the lock, one of them sees the other.

#[cfg(all(test, not(wacht_shuttle)))]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use smallvec::SmallVec;

use crate::clock::{Clock, Now};
use crate::gate::request::credential::KeyDigest;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name<'a> {
    /// One credential, of whatever kind.
    Digest(KeyDigest),
    /// One API key of an app. OAuth clients have another series of numbers.
    Key { app: &'a str, key_id: i64 },
    /// The API key with this id, whatever its app.
    KeyId(i64),
    /// All keys of an app, by its slug: tokens, too.
    App(&'a str),
}

/// Whose end is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) digest: KeyDigest,
    pub(crate) app: &'a Arc<str>,
    /// Of API keys alone.
    pub(crate) key_id: Option<i64>,
}

/// The futures of one state that wait.
pub(crate) struct Waiting {
    clock: Clock,
    seed: RandomState,
    index: Mutex<Index>,
    background: OnceLock<Weak<dyn Background>>,
}

/// What goes on behind the requests of a state, for as long as there are some or somebody waits.
pub(crate) trait Background: Send + Sync {
    /// Somebody waits on this runtime: what is due is started here, and what another runtime has
    /// left lying is taken over. Not for the lock of anybody who tells of an event.
    fn waited_for(&self, whose: Awaited<'_>, now: Now);
}

/// One future that waits.
pub(crate) struct Entry {
    // Its place among those that wait for the same credential. Under the lock of the index.
    place: AtomicUsize,
    state: Mutex<EntryState>,
}

#[derive(Default)]
struct EntryState {
    // Gone once it is woken, until it is polled again.
    waker: Option<Waker>,
    has_ended: bool,
    /// That is because the gateway has said no.
    was_refused: bool,
    /// It has just come, and nothing goes on for it yet.
    is_new: bool,
    /// It was woken to take over what was left lying, and has not looked yet.
    is_called: bool,
    /// When the caller ends, by what was said since it was let in.
    end: Option<End>,
}

/// Since 1970; `None` if it does not end by itself.
type End = Option<Duration>;

/// A credential, by 64 bits of a hash whose seed is random and never leaves the process.
type Fingerprint = u64;

/// The credentials of one app that are waited for, by the id of their key.
type AppCredentials = BTreeSet<(Option<i64>, Fingerprint)>;

#[derive(Default)]
struct Index {
    credentials: IndexMap<Fingerprint, SmallVec<[Arc<Entry>; 1]>, RandomState>,
    apps: HashMap<Arc<str>, AppCredentials, RandomState>,
    len: usize,
    /// Where the search for the next one to wake begins.
    next: usize,
}

// === impl Waiting ===

impl Waiting {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            seed: RandomState::default(),
            index: Mutex::default(),
            background: OnceLock::new(),
        }
    }

    /// The clock by which callers end.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What is to go on while somebody waits. Said once.
    pub(crate) fn keep_going(&self, background: Weak<dyn Background>) {
        let _ = self.background.set(background);
    }

    // === For who waits ===

    /// Enters a future that is pending. It has to look once more after that.
    pub(crate) fn enter(&self, whose: Awaited<'_>, waker: Waker) -> Arc<Entry> {
        let credential = self.fingerprint(whose.digest, whose.key_id.is_some());
        let mut index = self.index();
        let waiting = index.credentials.entry(credential).or_default();
        let entry = Arc::new(Entry {
            place: AtomicUsize::new(waiting.len()),
            state: Mutex::new(EntryState {
                waker: Some(waker),
                is_new: true,
                ..EntryState::default()
            }),
        });
        waiting.push(Arc::clone(&entry));
        if waiting.len() == 1 {
            let of_app = match index.apps.get_mut(whose.app) {
                Some(of_app) => of_app,
                None => index.apps.entry(Arc::clone(whose.app)).or_default(),
            };
            of_app.insert((whose.key_id, credential));
        }
        index.len += 1;
        entry
    }

    /// It waits no longer.
    pub(crate) fn leave(&self, whose: Awaited<'_>, entry: &Arc<Entry>) {
        let credential = self.fingerprint(whose.digest, whose.key_id.is_some());
        let mut index = self.index();
        let Some(waiting) = index.credentials.get_mut(&credential) else {
            return;
        };
        let place = entry.place.load(Ordering::Relaxed);
        if !waiting
            .get(place)
            .is_some_and(|here| Arc::ptr_eq(here, entry))
        {
            return;
        }
        waiting.swap_remove(place);
        if let Some(moved) = waiting.get(place) {
            moved.place.store(place, Ordering::Relaxed);
        }
        let was_last = waiting.is_empty();
        index.len -= 1;
        if was_last {
            index.remove(whose, credential);
        }
        drop(index);
        if entry.state().is_called {
            self.wake_one();
        }
    }

    /// This one has been pending on this runtime: for the first time, or since it was called.
    pub(crate) fn waited_for(&self, whose: Awaited<'_>, entry: &Entry, now: Now) {
        // Taken before it is done: who is called meanwhile does it once more.
        let is_due = {
            let mut state = entry.state();
            let (is_new, is_called) = (
                mem::take(&mut state.is_new),
                mem::take(&mut state.is_called),
            );
            is_new || is_called
        };
        if is_due && let Some(background) = self.background.get().and_then(Weak::upgrade) {
            background.waited_for(whose, now);
        }
    }

    // === For who tells of an event ===

    /// What is named may have ended: who waits for it is to look.
    pub(crate) fn look_again(&self, name: Name<'_>) {
        self.tell(name, |_| true);
    }

    /// What is named has ended, and nothing brings it back.
    pub(crate) fn end(&self, name: Name<'_>) {
        self.tell(name, EntryState::end);
    }

    /// The gateway has said no to this credential.
    pub(crate) fn refused(&self, digest: KeyDigest, is_api_key: bool) {
        let credential = self.fingerprint(digest, is_api_key);
        let mut wakers = Vec::new();
        self.index()
            .tell([credential], &EntryState::refuse, &mut wakers);
        wake(wakers);
    }

    /// This API key now ends at this time since 1970, or does not end by itself.
    pub(crate) fn ends_at(&self, app: &str, key_id: i64, end: Option<Duration>) {
        self.tell(Name::Key { app, key_id }, |state| {
            let is_news = state.end != Some(end);
            state.end = Some(end);
            is_news
        });
    }

    fn tell(&self, name: Name<'_>, change: impl Fn(&mut EntryState) -> bool) {
        let mut wakers = Vec::new();
        {
            let index = self.index();
            match name {
                Name::Digest(digest) => {
                    let kinds = [true, false];
                    let named = kinds.map(|is_api_key| self.fingerprint(digest, is_api_key));
                    index.tell(named, &change, &mut wakers);
                }
                Name::Key { app, key_id } => {
                    let of_app = index.apps.get(app).into_iter();
                    let named = of_app.flat_map(|of_app| api_key(of_app, key_id));
                    index.tell(named, &change, &mut wakers);
                }
                Name::KeyId(key_id) => {
                    let apps = index.apps.values();
                    let named = apps.flat_map(|of_app| api_key(of_app, key_id));
                    index.tell(named, &change, &mut wakers);
                }
                Name::App(app) => {
                    let of_app = index.apps.get(app).into_iter().flatten();
                    let named = of_app.map(|(_, credential)| *credential);
                    index.tell(named, &change, &mut wakers);
                }
            }
        }
        wake(wakers);
    }

    // === For who keeps something going ===

    /// Wakes one that waits, another each time, so that it takes over what was left lying. If it
    /// leaves without having looked, the next one is woken.
    pub(crate) fn wake_one(&self) {
        let waker = self.index().one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether an API key of this app is waited for.
    pub(crate) fn waits_for_key_of(&self, app: &str) -> bool {
        let index = self.index();
        let last = index.apps.get(app).and_then(BTreeSet::last);
        last.is_some_and(|(key_id, _)| key_id.is_some())
    }

    /// The ids of the API keys of this app that are waited for, in order.
    pub(crate) fn key_ids(&self, app: &str) -> Vec<i64> {
        let index = self.index();
        let of_app = index.apps.get(app).into_iter().flatten();
        let mut key_ids: Vec<i64> = of_app.filter_map(|(key_id, _)| *key_id).collect();
        key_ids.dedup();
        key_ids
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.index().len
    }

    fn fingerprint(&self, digest: KeyDigest, is_api_key: bool) -> Fingerprint {
        self.seed.hash_one((digest, is_api_key))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Nobody will wake them, and a waker may be what holds the future that holds it.
        let index = std::mem::take(&mut *self.index());
        for entry in index.credentials.into_values().flatten() {
            drop(entry.state().waker.take());
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Not under a lock: who is woken may be polled at once.
fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

/// The credentials of one API key: after a rotation, there may be two.
fn api_key(of_app: &AppCredentials, key_id: i64) -> impl Iterator<Item = Fingerprint> {
    let of_key = (Some(key_id), Fingerprint::MIN)..=(Some(key_id), Fingerprint::MAX);
    of_app.range(of_key).map(|(_, credential)| *credential)
}

// === impl Index ===

impl Index {
    fn tell(
        &self,
        credentials: impl IntoIterator<Item = Fingerprint>,
        change: &impl Fn(&mut EntryState) -> bool,
        wakers: &mut Vec<Waker>,
    ) {
        let named = credentials.into_iter();
        let waiting = named.filter_map(|credential| self.credentials.get(&credential));
        for entry in waiting.flatten() {
            let mut state = entry.state();
            if change(&mut state) {
                wakers.extend(state.waker.take());
            }
        }
    }

    /// The waker of one that has not been woken yet.
    fn one(&mut self) -> Option<Waker> {
        for _ in 0..self.credentials.len() {
            let next = self.next.checked_rem(self.credentials.len())?;
            self.next = next + 1;
            let (_, waiting) = self.credentials.get_index(next)?;
            let waker = waiting.iter().find_map(|entry| entry.state().call());
            if waker.is_some() {
                return waker;
            }
        }
        None
    }

    fn remove(&mut self, whose: Awaited<'_>, credential: Fingerprint) {
        self.credentials.swap_remove(&credential);
        if let Some(of_app) = self.apps.get_mut(whose.app) {
            of_app.remove(&(whose.key_id, credential));
            if of_app.is_empty() {
                self.apps.remove(whose.app);
            }
        }
        if self.credentials.is_empty() {
            // After a rush, its memory is given back.
            *self = Self::default();
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Whom to wake from now on.
    pub(crate) fn wait(&self, waker: &Waker) {
        let is_known = |state: &EntryState| {
            let known = state.waker.as_ref();
            known.is_some_and(|known| known.will_wake(waker))
        };
        if is_known(&self.state()) {
            return;
        }
        // A waker is cloned and dropped without the lock: it may do anything.
        let waker = Some(waker.clone());
        let before = mem::replace(&mut self.state().waker, waker);
        drop(before);
    }

    /// Whether an event has said that its caller has ended for good.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Whether that is because the gateway has said no to the key.
    pub(crate) fn was_refused(&self) -> bool {
        self.state().was_refused
    }

    /// When its caller ends, if that was said since it waits.
    pub(crate) fn end(&self) -> Option<Option<Duration>> {
        self.state().end
    }

    fn state(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntryState {
    fn call(&mut self) -> Option<Waker> {
        let waker = self.waker.take();
        self.is_called |= waker.is_some();
        waker
    }

    fn refuse(&mut self) -> bool {
        self.was_refused = true;
        self.end()
    }

    fn end(&mut self) -> bool {
        let is_news = !self.has_ended;
        self.has_ended = true;
        is_news
    }
}
