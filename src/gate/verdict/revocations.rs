//! What was revoked here is refused here, at once and whatever the gateway still says; what was
//! invalidated here is asked about again.
//!
//! Both are *events* that name a key, an app, or everything. They are kept in a table by name,
//! never by verdict: to make one walks no cache, and a verdict is held against them when it is used.
//! Every event has a number, higher than those before it. A check notes the last one before it is
//! sent, so that its verdict is known to be older than an event that comes after.
//!
//! # What it costs
//!
//! A verdict remembers the last event at which it was looked up and nothing was found, so a hit
//! compares two numbers, however much stands. Only the first hit after an event hashes its names and
//! looks into the table, without a lock.
//!
//! Names are 64 bits of a hash whose seed is random and never leaves the process. With 10⁶ names
//! standing and 10⁶ keys in use, of which each has four names, one of each is the same with a
//! probability of 4·10¹² / 2⁶⁴, less than one in four million. Then one key is refused, or asked about once
//! more, until that event is forgotten. Nobody can choose names that meet, as nobody knows the seed.
//!
//! # How long it lasts
//!
//! An event is kept for at least the `lifetime`, within which every verdict that it might
//! contradict has come to its end, and for at most twice that. Events are kept in two generations of
//! one lifetime each, and forgotten a generation at a time.

mod table;
#[cfg(all(test, not(wacht_shuttle)))]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::client::events::{Order, RevocationId};
use crate::clock::{Now, nanoseconds};
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::policy::GATEWAY_LAG;
use crate::gate::verdict::revocations::table::{Entry, Fingerprint, Table};
use crate::gate::waiting::{Awaited, Name, Waiting};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError, Slot};

/// The number of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventNumber(u64);

impl EventNumber {
    /// After every event, for a verdict that was there before it was asked for.
    pub(crate) const LAST: Self = Self(u64::MAX);
}

/// When a check was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Now,
    /// The last event before that.
    pub(crate) after: EventNumber,
}

/// What a verdict is held against events by, beside its names.
// In the order in which a hit reads it, see `Verdict`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Subject {
    // The last event up to which none is known to speak against the verdict.
    cleared: AtomicU64,
    // Nanoseconds.
    sent_monotonic: u64,
    sent_unix: u64,
    after: EventNumber,
}

/// What speaks against a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// Its key is revoked.
    Revoked,
    /// A later check said no. Said by the verdict itself.
    Withdrawn,
    /// It is from before its key was invalidated: ask again.
    Forgotten,
}

/// The revocations and fences of one gate.
pub(crate) struct Revocations {
    lifetime: Duration,
    seed: RandomState,
    // Of the last event that is in the table.
    latest: AtomicU64,
    // Of the last fence that names everything.
    all: AtomicU64,
    // Monotonic nanoseconds at which all of them are over, so that nobody has to look further.
    over_at: AtomicU64,
    generations: Slot<Generations>,
    // Whoever writes. Readers never wait for it.
    ledgers: Mutex<Ledgers>,
    /// Who waits for the end of what is named here, and is told of revocations.
    pub(crate) waiting: Arc<Waiting>,
}

/// What readers see, the younger first.
#[derive(Clone, Default)]
struct Generations([Option<Arc<Generation>>; 2]);

/// The events of one lifetime.
struct Generation {
    /// Its last event is a lifetime old by then.
    until: Duration,
    table: Table,
}

/// What the writers know beside that, the younger first.
#[derive(Default)]
struct Ledgers([Option<Ledger>; 2]);

struct Ledger {
    generation: Arc<Generation>,
    /// From then on events go into the next one.
    full_at: Duration,
    names: usize,
    /// Names that came with a fence.
    fenced: usize,
    /// Calls that may still turn out to have revoked nothing, by their ids.
    undecided: HashMap<u64, Fingerprint>,
    /// When the last call that closed an app was answered.
    closed: HashMap<Fingerprint, Order>,
}

impl Revocations {
    /// With the time that an event is kept for at least.
    pub(crate) fn new(lifetime: Duration, waiting: Arc<Waiting>) -> Self {
        Self {
            lifetime,
            seed: RandomState::default(),
            latest: AtomicU64::new(0),
            all: AtomicU64::new(0),
            over_at: AtomicU64::new(0),
            generations: Slot::default(),
            ledgers: Mutex::default(),
            waiting,
        }
    }

    /// Refuses what is named, as a call is about to be sent that may revoke it.
    pub(crate) fn record(&self, name: Name<'_>, now: Now) -> RevocationId {
        let named = self.fingerprint(name);
        let id = self.write(now, |ledgers, number| {
            let id = RevocationId(number);
            ledgers.record(named, id);
            id
        });
        // It may be taken back before they have looked.
        self.waiting.look_again(name);
        id
    }

    /// The call was given up: nobody knows what it has done, or will do. It stands from now on for
    /// as long as if it had been sent now.
    pub(crate) fn keep(&self, name: Name<'_>, id: RevocationId, now: Now) {
        let named = self.fingerprint(name);
        self.write(now, |ledgers, _| ledgers.record(named, id));
        self.waiting.end(name);
    }

    /// The call has revoked what is named, and was answered then: nothing takes that back any more,
    /// but that an app is opened again.
    pub(crate) fn confirm(
        &self,
        name: Name<'_>,
        id: RevocationId,
        answered: Option<Order>,
        now: Now,
    ) {
        let named = self.fingerprint(name);
        self.write(now, |ledgers, _| {
            if let Some(recent) = ledgers.recent() {
                recent.change(named, |entry| entry.is_revoked = true);
                if let (Name::App(_), Some(answered)) = (name, answered) {
                    let last = recent.closed.entry(named).or_insert(answered);
                    *last = answered.max(*last);
                }
            }
        });
        // Not before that is an event, so that there is no gap.
        self.undo(id);
        self.waiting.end(name);
    }

    /// Takes back what was recorded for a call: it has revoked nothing.
    pub(crate) fn undo(&self, id: RevocationId) {
        self.ledgers().undo(id);
    }

    /// Takes back that an app was closed, if each call that closed it was answered before the one
    /// that has opened it was sent. A call that is not answered may be processed after that.
    pub(crate) fn reopen(&self, app: &str, sent: Order) {
        let name = self.fingerprint(Name::App(app));
        for ledger in self.ledgers().iter_mut() {
            if ledger
                .closed
                .get(&name)
                .is_some_and(|answered| *answered < sent)
            {
                ledger.closed.remove(&name);
                ledger.change(name, |entry| entry.is_revoked = false);
            }
        }
    }

    /// Has what is named asked about again: what was asked before now is forgotten.
    pub(crate) fn fence(&self, name: Name<'_>, now: Now) {
        let name = self.fingerprint(name);
        self.write(now, |ledgers, number| {
            let Some(recent) = ledgers.recent() else {
                return;
            };
            if recent.fenced >= MOST_FENCES && !recent.generation.table.has(name) {
                // Nobody invalidates so much but by mistake, and it must not take all memory.
                self.all.store(number, Ordering::SeqCst);
                recent.drop_fences();
            } else if recent.change(name, |entry| entry.fence = number) {
                recent.fenced += 1;
            }
        });
    }

    /// Has everything asked about again.
    pub(crate) fn fence_all(&self) {
        let _ledgers = self.ledgers();
        let number = self.latest.load(Ordering::SeqCst) + 1;
        self.all.store(number, Ordering::SeqCst);
        self.latest.store(number, Ordering::SeqCst);
    }

    /// The last event so far.
    pub(crate) fn latest(&self) -> EventNumber {
        EventNumber(self.latest.load(Ordering::SeqCst))
    }

    /// What speaks against a verdict, for a request that came after the event `came`.
    ///
    /// A check that was sent later than that is good for the request whatever was invalidated
    /// meanwhile, so that nobody has to ask twice for himself.
    #[inline]
    pub(crate) fn contradiction<'v>(
        &self,
        subject: &Subject,
        whose: impl FnOnce() -> Awaited<'v>,
        came: EventNumber,
        now: Now,
    ) -> Option<Contradiction> {
        match subject.cleared.load(Ordering::Relaxed) == self.latest.load(Ordering::SeqCst) {
            true => None,
            false => self.look_up_subject(subject, whose(), came, now),
        }
    }

    #[cold]
    fn look_up_subject(
        &self,
        subject: &Subject,
        whose: Awaited<'_>,
        came: EventNumber,
        now: Now,
    ) -> Option<Contradiction> {
        let names = self.fingerprints(whose);
        let (latest, found) = self.look_up(|| names.into_iter().flatten(), now);
        if found.stands() {
            return Some(Contradiction::Revoked);
        }
        if self.is_beyond_memory(subject, now) {
            return Some(Contradiction::Forgotten);
        }
        if found.fence > subject.after.0 {
            return (subject.after < came).then_some(Contradiction::Forgotten);
        }
        subject.cleared.store(latest, Ordering::Relaxed);
        None
    }

    /// Whether a credential is revoked as such.
    pub(crate) fn is_revoked(&self, digest: &KeyDigest, now: Now) -> bool {
        !self.is_over(now) && self.look_up_digest(digest, now).stands()
    }

    /// Whether a credential as such, or everything, was invalidated after an event.
    pub(crate) fn is_fenced(&self, digest: &KeyDigest, after: EventNumber, now: Now) -> bool {
        self.latest() != after && self.look_up_digest(digest, now).fence > after.0
    }

    fn look_up_digest(&self, digest: &KeyDigest, now: Now) -> Entry {
        let name = self.fingerprint(Name::Digest(*digest));
        let (_, found) = self.look_up(|| iter::once(name), now);
        found
    }

    /// All that is against some names, up to the event that comes with it.
    fn look_up<N>(&self, names: impl Fn() -> N, now: Now) -> (u64, Entry)
    where
        N: Iterator<Item = Fingerprint>,
    {
        loop {
            let latest = self.latest.load(Ordering::SeqCst);
            let mut found = Entry::default();
            if let Some(generations) = &*self.generations.load() {
                for name in names() {
                    found = generations.entries(name, now).fold(found, Entry::and);
                }
            }
            // After the table, from which fences go when everything is fenced in their place.
            found.fence = found.fence.max(self.all.load(Ordering::SeqCst));
            // A revocation may have gone on from where it was still to be found to where it had
            // been looked for already. Then an event has come in between.
            if found.stands() || self.latest.load(Ordering::SeqCst) == latest {
                return (latest, found);
            }
        }
    }

    /// Gives back the memory once all is forgotten. Not for a request: it may be much.
    pub(crate) fn expire(&self, now: Now) {
        if self.is_over(now) && self.generations.load().is_some() {
            let mut ledgers = self.ledgers();
            ledgers.turn(now);
            self.publish(&ledgers);
        }
    }

    /// Whether nothing is remembered any more.
    fn is_over(&self, now: Now) -> bool {
        self.over_at.load(Ordering::SeqCst) <= nanoseconds(now.monotonic)
    }

    /// Whether an event that contradicts the answer to a check may be forgotten already. No cached
    /// verdict is used for so long; the task of a check may have stood still.
    fn is_beyond_memory(&self, subject: &Subject, now: Now) -> bool {
        let age = Duration::from_nanos(subject.monotonic_age(now));
        age.saturating_add(GATEWAY_LAG) > self.lifetime
    }

    /// Whatever an event may name a key by.
    fn fingerprints(&self, whose: Awaited<'_>) -> [Option<Fingerprint>; 4] {
        let Awaited {
            digest,
            app,
            key_id,
        } = whose;
        let of_key = key_id.map(|key_id| [Name::Key { app, key_id }, Name::KeyId(key_id)]);
        let [key, key_id] = match of_key {
            Some(names) => names.map(Some),
            None => [None; 2],
        };
        [
            Some(Name::Digest(digest)),
            Some(Name::App(app)),
            key,
            key_id,
        ]
        .map(|name| Some(self.fingerprint(name?)))
    }

    fn fingerprint(&self, name: Name<'_>) -> Fingerprint {
        Fingerprint::of(self.seed.hash_one(name))
    }

    /// Makes one event.
    fn write<T>(&self, now: Now, change: impl FnOnce(&mut Ledgers, u64) -> T) -> T {
        let mut ledgers = self.ledgers();
        ledgers.turn(now);
        ledgers.open(now, self.lifetime);
        let number = self.latest.load(Ordering::SeqCst) + 1;
        let changed = change(&mut ledgers, number);
        self.publish(&ledgers);
        // At last: whoever sees the number finds the event.
        self.latest.store(number, Ordering::SeqCst);
        changed
    }

    /// Shows the readers the generations as they are, if they do not see them yet.
    fn publish(&self, ledgers: &Ledgers) {
        let generations = ledgers.0.each_ref().map(|ledger| {
            let generation = &ledger.as_ref()?.generation;
            Some(Arc::clone(generation))
        });
        let generations = Generations(generations);
        let is_seen = match &*self.generations.load() {
            Some(seen) => generations.are(seen),
            None => generations.over_at().is_none(),
        };
        if !is_seen {
            let over_at = generations.over_at();
            let none_are_left = over_at.is_none();
            self.over_at
                .store(over_at.map_or(0, nanoseconds), Ordering::SeqCst);
            self.generations
                .store((!none_are_left).then(|| Arc::new(generations)));
        }
    }

    fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory that the tables take.
    #[cfg(all(test, not(wacht_shuttle)))]
    fn bytes(&self) -> usize {
        let generations = self.generations.load();
        let generations = generations.as_deref().map(|Generations(of)| of);
        let generations = generations.into_iter().flatten().flatten();
        generations.map(|generation| generation.table.bytes()).sum()
    }
}

impl Subject {
    /// Up to the event after which the check was sent, which only few look at.
    #[cfg(test)]
    pub(super) const END_OF_FRONT: usize = std::mem::offset_of!(Self, after);

    pub(crate) fn new(sent: Sent) -> Self {
        Self {
            cleared: AtomicU64::new(NEVER),
            sent_monotonic: whole_nanoseconds(sent.at.monotonic),
            sent_unix: whole_nanoseconds(sent.at.unix),
            after: sent.after,
        }
    }

    /// The same, of which nothing has been looked up yet.
    pub(crate) fn as_new(&self) -> Self {
        Self {
            cleared: AtomicU64::new(NEVER),
            ..*self
        }
    }

    pub(crate) fn sent(&self) -> Sent {
        Sent {
            at: Now {
                monotonic: Duration::from_nanos(self.sent_monotonic),
                unix: Duration::from_nanos(self.sent_unix),
            },
            after: self.after,
        }
    }

    /// Nanoseconds since then, on the monotonic clock alone. Both readings are cut to what is kept.
    fn monotonic_age(&self, now: Now) -> u64 {
        whole_nanoseconds(now.monotonic).saturating_sub(self.sent_monotonic)
    }

    /// The time since then.
    pub(crate) fn elapsed(&self, now: Now) -> Duration {
        let monotonic = self.monotonic_age(now);
        let unix = whole_nanoseconds(now.unix).saturating_sub(self.sent_unix);
        // A suspended machine stops the monotonic clock; an administrator sets the wall clock
        // back. Whichever says that it was longer ago is believed.
        Duration::from_nanos(monotonic.max(unix))
    }
}

/// As many as a word holds: up to the year 2554.
fn whole_nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Generations {
    /// What stands against a name in those that are not over.
    fn entries(&self, name: Fingerprint, now: Now) -> impl Iterator<Item = Entry> {
        let generations = self.0.iter().flatten();
        generations
            .filter(move |generation| now.monotonic < generation.until)
            .map(move |generation| generation.table.get(name))
    }

    fn are(&self, others: &Self) -> bool {
        self.0.iter().zip(&others.0).all(|pair| match pair {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        })
    }

    /// When the last of them is over; `None` if there are none.
    fn over_at(&self) -> Option<Duration> {
        let generations = self.0.iter().flatten();
        generations.map(|generation| generation.until).max()
    }
}

impl Ledgers {
    /// Begins a generation if there is none for new events.
    fn open(&mut self, now: Now, lifetime: Duration) {
        let [recent, _] = &mut self.0;
        recent.get_or_insert_with(|| {
            let full_at = now.monotonic.saturating_add(lifetime);
            Ledger::new(full_at, full_at.saturating_add(lifetime))
        });
    }

    /// Lets the generations grow older.
    fn turn(&mut self, now: Now) {
        let [recent, older] = &mut self.0;
        if let Some(full) = recent.take_if(|ledger| ledger.full_at <= now.monotonic) {
            *older = Some(full);
        }
        older.take_if(|ledger| ledger.generation.until <= now.monotonic);
    }

    /// The one for new events.
    fn recent(&mut self) -> Option<&mut Ledger> {
        let [recent, _] = &mut self.0;
        recent.as_mut()
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Ledger> {
        self.0.iter_mut().flatten()
    }

    fn record(&mut self, name: Fingerprint, id: RevocationId) {
        if let Some(recent) = self.recent()
            && recent.undecided.insert(id.0, name).is_none()
        {
            recent.change(name, Entry::record);
        }
    }

    fn undo(&mut self, id: RevocationId) {
        for ledger in self.iter_mut() {
            if let Some(name) = ledger.undecided.remove(&id.0) {
                ledger.change(name, Entry::undo);
            }
        }
    }
}

impl Ledger {
    fn new(full_at: Duration, until: Duration) -> Self {
        let table = Table::with_slots(FIRST_SLOTS);
        Self {
            generation: Arc::new(Generation { until, table }),
            full_at,
            names: 0,
            fenced: 0,
            undecided: HashMap::new(),
            closed: HashMap::new(),
        }
    }

    /// Changes what stands against a name. Says whether the name is new.
    fn change(&mut self, name: Fingerprint, change: impl FnOnce(&mut Entry)) -> bool {
        let table = &self.generation.table;
        if self.names >= table.capacity() && !table.has(name) {
            let slots = table.slots().saturating_mul(2);
            self.copy(slots, |_| true);
        }
        let table = &self.generation.table;
        let mut entry = table.get(name);
        change(&mut entry);
        let is_new = table.set(name, entry) == Some(true);
        self.names += usize::from(is_new);
        is_new
    }

    /// Keeps the revocations alone.
    fn drop_fences(&mut self) {
        let table = &self.generation.table;
        let standing = table.iter().filter(|(_, entry)| entry.stands()).count();
        self.copy((standing * 2).max(FIRST_SLOTS), |entry| entry.stands());
        self.fenced = 0;
    }

    /// Goes on with a table of its own, which readers do not see before it is published.
    fn copy(&mut self, slots: usize, keeps: impl Fn(&Entry) -> bool) {
        let table = Table::with_slots(slots);
        let kept = self.generation.table.iter();
        self.names = kept
            .filter(|(_, entry)| keeps(entry))
            .filter(|(name, entry)| table.set(*name, *entry) == Some(true))
            .count();
        let until = self.generation.until;
        self.generation = Arc::new(Generation { until, table });
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("lifetime", &self.lifetime)
            .field("latest", &self.latest())
            .finish_non_exhaustive()
    }
}

/// No event has this number.
const NEVER: u64 = u64::MAX;

/// In models, as few as can be outgrown.
const FIRST_SLOTS: usize = if cfg!(wacht_shuttle) { 2 } else { 64 };

/// Names of fences that a generation keeps: 1000 a second with the default bounds, in 16 MiB.
const MOST_FENCES: usize = if cfg!(wacht_shuttle) { 2 } else { 1 << 19 };
