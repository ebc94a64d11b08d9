//! A bounded map from subjects to what was counted for them.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::RawEntryApiV1;

use super::super::counters::{CounterState, Moment, Reading};
use super::subject::Subject;

/// As many subjects as fit, each with its state.
///
/// A state that is idle says no more than none at all, so it is forgotten when somebody new needs
/// room. One that is not idle is never pushed out.
pub(crate) struct Subjects {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    capacity: usize,
    count: AtomicUsize,
}

struct Shard {
    states: IndexMap<Subject, Arc<CounterState>, RandomState>,
    /// Where the search for idle states goes on.
    hand: usize,
    /// The latest moment at which one was forgotten.
    forgot_at: Moment,
}

// === impl Subjects ===

impl Subjects {
    pub(crate) fn new(capacity: usize) -> Self {
        let hasher = RandomState::default();
        let shard = || {
            Mutex::new(Shard {
                states: IndexMap::with_hasher(hasher.clone()),
                hand: 0,
                forgot_at: Moment(0),
            })
        };
        Self {
            shards: (0..shards(capacity)).map(|_| shard()).collect(),
            capacity,
            count: AtomicUsize::new(0),
            hasher,
        }
    }

    /// The subject's state, if it has one already.
    pub(crate) fn known(&self, subject: Subject) -> Option<Arc<CounterState>> {
        self.with_known(subject, Arc::clone)
    }

    /// What `read` makes of the subject's state, if it has one already. Others who want a state
    /// nearby wait meanwhile.
    pub(crate) fn with_known<T>(
        &self,
        subject: Subject,
        read: impl FnOnce(&Arc<CounterState>) -> T,
    ) -> Option<T> {
        let hash = self.hasher.hash_one(subject);
        let shard = self.shards[self.home(hash)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = shard
            .states
            .raw_entry_v1()
            .from_key_hashed_nocheck(hash, &subject);
        known.map(|(_, state)| read(state))
    }

    /// The subject's state. `None` when there is no room for another subject.
    ///
    /// `overflow` is what those without room share. A new state starts with as much used
    /// as that one: the subject may have been charged there.
    pub(crate) fn state(
        &self,
        subject: Subject,
        overflow: &CounterState,
        now: Reading,
    ) -> Option<Arc<CounterState>> {
        let hash = self.hasher.hash_one(subject);
        let home = self.home(hash);
        let mut shard = self.shards[home]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = shard
            .states
            .raw_entry_v1()
            .from_key_hashed_nocheck(hash, &subject);
        if let Some((_, state)) = known {
            return Some(Arc::clone(state));
        }

        let forgotten = shard.forget_some(now);
        self.count.fetch_sub(forgotten, Ordering::Relaxed);
        if self.count.load(Ordering::Relaxed) >= self.capacity {
            self.forget_next_door(home, now);
        }
        let room = |count: usize| (count < self.capacity).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .ok()?;
        // A request that read the clock before the forgetful one did must not gain by it.
        let state = Arc::new(overflow.successor(shard.forgot_at));
        shard.states.insert(subject, Arc::clone(&state));
        Some(state)
    }

    fn home(&self, hash: u64) -> usize {
        // The map uses the lowest and the highest bits itself.
        (hash >> 32) as usize % self.shards.len()
    }

    /// Looks for idle states in the shards behind `home`, which holds none: one newcomer who is
    /// turned away makes all after it start with what the shared state has used.
    fn forget_next_door(&self, home: usize, now: Reading) {
        let neighbours = self.shards.iter().cycle().skip(home + 1);
        for neighbour in neighbours.take(SHARDS_PER_NEWCOMER) {
            // Never waited for: the caller holds its own shard.
            let Ok(mut neighbour) = neighbour.try_lock() else {
                continue;
            };
            let forgotten = neighbour.forget_some(now);
            self.count.fetch_sub(forgotten, Ordering::Relaxed);
            if forgotten > 0 {
                return;
            }
        }
    }

    /// A number that tells resources apart. Nobody outside can find two with the same.
    pub(crate) fn fingerprint(&self, resource: &str) -> u64 {
        // 0 is for none.
        self.hasher.hash_one(resource) | 1
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

// === impl Shard ===

impl Shard {
    /// Looks at the next few states, drops those that are idle and that nobody is about to
    /// charge, and returns how many that were.
    fn forget_some(&mut self, now: Reading) -> usize {
        let mut forgotten = 0;
        for _ in 0..LOOKS_PER_NEWCOMER {
            if self.hand >= self.states.len() {
                self.hand = 0;
            }
            let Some((_, state)) = self.states.get_index_mut(self.hand) else {
                break;
            };
            // `get_mut` succeeds only when no request holds the state, and sees all they wrote.
            if Arc::get_mut(state).is_some_and(|state| state.is_idle(now)) {
                self.states.swap_remove_index(self.hand);
                forgotten += 1;
            } else {
                self.hand += 1;
            }
        }
        if forgotten > 0 {
            self.forgot_at = self.forgot_at.max(now.monotonic);
        }
        forgotten
    }
}

/// How many shards a map of this capacity has.
///
/// When a shard outgrows its memory it moves while a request waits: some twenty microseconds for a
/// thousand subjects, a millisecond for sixteen thousand. So large maps have more shards rather
/// than larger ones.
fn shards(capacity: usize) -> usize {
    capacity
        .div_ceil(SUBJECTS_A_SHARD)
        .clamp(FEWEST_SHARDS, MOST_SHARDS)
}

/// Of a full map. A little less than the 1792 that a shard has memory for after having moved a few
/// times: with a little more, it would have moved once more, and half of that would stay empty.
const SUBJECTS_A_SHARD: usize = 1_600;

/// So that requests at the same time seldom wait for each other.
const FEWEST_SHARDS: usize = 64;

/// Enough for 26 million subjects.
const MOST_SHARDS: usize = 16_384;

/// Enough that a newcomer finds an idle state if there are not just a few.
const SHARDS_PER_NEWCOMER: usize = 16;

/// More than one, so that the idle ones are found faster than newcomers arrive.
const LOOKS_PER_NEWCOMER: usize = 4;

#[cfg(test)]
mod tests;
