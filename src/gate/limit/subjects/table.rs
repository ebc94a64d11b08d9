//! A bounded map from subjects to what was counted for them.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::RawEntryApiV1;

use super::super::counters::{ClockReading, CounterState, Moment};
use super::room::{Owner, Room};
use super::subject::LimitSubject;

/// As many subjects as there is [`Room`] for, each with its state.
///
/// A state that is idle says no more than none at all, so it is forgotten when somebody new comes:
/// at once where room is short, else after a minute, as most subjects come again. One that is not
/// idle is never pushed out: who finds no room is counted in an overflow state, which is shared by all
/// of one owner and with few others.
pub(crate) struct Subjects {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    room: Room,
}

struct Shard {
    states: IndexMap<LimitSubject, Arc<CounterState>, RandomState>,
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
            room: Room::new(capacity),
            hasher,
        }
    }

    /// What `read` makes of the subject's own state, if it has one already. Others who want a
    /// state nearby wait meanwhile.
    pub(crate) fn with_own<T>(
        &self,
        subject: &LimitSubject,
        read: impl FnOnce(&Arc<CounterState>) -> T,
    ) -> Option<T> {
        let hash = self.hasher.hash_one(subject);
        self.shard(hash).get(hash, subject).map(read)
    }

    /// The state that the subject is counted in, if there is one already.
    pub(crate) fn known(&self, subject: &LimitSubject) -> Option<Arc<CounterState>> {
        self.with_own(subject, Arc::clone).or_else(|| {
            let overflow = self.overflow(subject, self.owner(subject));
            self.with_own(&overflow, Arc::clone)
        })
    }

    /// The state to count the subject in: its own, a new one, or one that it shares for want of
    /// room. `None` when there is no room for that one, either.
    ///
    /// A new state starts with as much used as the one that it would have been counted in
    /// otherwise, as it may have been: an overflow state, or else `last`.
    pub(crate) fn state(
        &self,
        subject: &LimitSubject,
        last: &CounterState,
        now: ClockReading,
    ) -> Option<Arc<CounterState>> {
        self.with_own(subject, Arc::clone)
            .or_else(|| self.state_of_newcomer(subject, last, now))
    }

    #[cold]
    fn state_of_newcomer(
        &self,
        subject: &LimitSubject,
        last: &CounterState,
        now: ClockReading,
    ) -> Option<Arc<CounterState>> {
        let hash = self.hasher.hash_one(subject);
        let owner = self.owner(subject);
        let rest = match self.room.is_plentiful(owner) {
            true => LONGEST_AT_REST,
            false => Duration::ZERO,
        };
        self.forget_some(&mut self.shard(hash), rest, now);
        let overflow = self.overflow(subject, owner);
        let room = || self.room.take(owner);
        if room() || self.forget_next_door(hash, now) && room() {
            let (overflow, forgot_at) = self.find(&overflow);
            let parent = overflow.as_deref().unwrap_or(last);
            let mut home = self.shard(hash);
            if let Some(own) = home.get(hash, subject) {
                // Another request of this subject was faster.
                self.room.give_back(owner);
                return Some(Arc::clone(own));
            }
            return Some(home.insert(*subject, parent, forgot_at));
        }

        let hash = self.hasher.hash_one(overflow);
        let mut home = self.shard(hash);
        if let Some(shared) = home.get(hash, &overflow) {
            return Some(Arc::clone(shared));
        }
        self.room
            .take_overflow()
            .then(|| home.insert(overflow, last, Moment(0)))
    }

    /// The state of exactly this subject. Where there is none, the moment up to which it may have
    /// been forgotten: a request that has read the clock before must not gain by it.
    fn find(&self, subject: &LimitSubject) -> (Option<Arc<CounterState>>, Moment) {
        let hash = self.hasher.hash_one(subject);
        let shard = self.shard(hash);
        let state = shard.get(hash, subject).map(Arc::clone);
        (state, shard.forgot_at)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[self.home(hash)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn home(&self, hash: u64) -> usize {
        // The map uses the lowest and the highest bits itself.
        (hash >> 32) as usize % self.shards.len()
    }

    fn owner(&self, subject: &LimitSubject) -> Owner {
        Owner(self.hasher.hash_one(subject.owner()))
    }

    fn overflow(&self, subject: &LimitSubject, owner: Owner) -> LimitSubject {
        LimitSubject::overflow(subject.rule, owner.overflow_place())
    }

    /// Looks for idle states in the shards behind the one that this hash belongs to, and says
    /// whether that made room: who is turned away may find all of its owner's overflow used up.
    fn forget_next_door(&self, hash: u64, now: ClockReading) -> bool {
        let neighbours = self.shards.iter().cycle().skip(self.home(hash) + 1);
        neighbours.take(SHARDS_PER_NEWCOMER).any(|neighbour| {
            // Nobody waits for one that is in use.
            let neighbour = neighbour.try_lock();
            neighbour.is_ok_and(|mut it| self.forget_some(&mut it, Duration::ZERO, now))
        })
    }

    /// Drops a few states of the shard that have been idle for so long and gives their room back.
    /// Says whether there is more room now for a subject of its own: after a flood most idle states
    /// are overflow, which leaves none.
    fn forget_some(&self, shard: &mut Shard, rest: Duration, now: ClockReading) -> bool {
        let mut made_room = false;
        for _ in 0..LOOKS_PER_NEWCOMER {
            let Some(forgotten) = shard.forget_next(rest, now) else {
                continue;
            };
            if forgotten.is_overflow() {
                self.room.give_overflow_back();
            } else {
                self.room.give_back(self.owner(&forgotten));
                made_room = true;
            }
        }
        made_room
    }

    /// A number that tells resources apart. Nobody outside can find two with the same.
    pub(crate) fn fingerprint(&self, resource: &str) -> u64 {
        // 0 is for none.
        self.hasher.hash_one(resource) | 1
    }

    /// How many subjects have a state of their own.
    pub(crate) fn len(&self) -> usize {
        self.room.taken()
    }
}

// === impl Shard ===

impl Shard {
    fn get(&self, hash: u64, subject: &LimitSubject) -> Option<&Arc<CounterState>> {
        let entry = self
            .states
            .raw_entry_v1()
            .from_key_hashed_nocheck(hash, subject);
        entry.map(|(_, state)| state)
    }

    /// Adds a state that follows its parent, and that nobody comes to earlier than its own may
    /// have been forgotten, nor earlier than `forgot_at`.
    fn insert(
        &mut self,
        subject: LimitSubject,
        parent: &CounterState,
        forgot_at: Moment,
    ) -> Arc<CounterState> {
        let state = Arc::new(parent.successor(self.forgot_at.max(forgot_at)));
        self.states.insert(subject, Arc::clone(&state));
        state
    }

    /// Looks at the next state, and drops it if it has been idle for so long and nobody is about to
    /// charge it.
    fn forget_next(&mut self, rest: Duration, now: ClockReading) -> Option<LimitSubject> {
        if self.hand >= self.states.len() {
            self.hand = 0;
        }
        let (_, state) = self.states.get_index(self.hand)?;
        if Arc::strong_count(state) > 1 || !state.has_rested(rest, now) {
            self.hand += 1;
            return None;
        }
        let (subject, state) = self.states.swap_remove_index(self.hand)?;
        // Only if no request holds the state: then none gets hold of it any more, and what they have
        // written is seen here.
        let in_use = match Arc::try_unwrap(state) {
            Ok(state) if state.has_rested(rest, now) => {
                self.forgot_at = self.forgot_at.max(now.monotonic);
                return Some(subject);
            }
            Ok(state) => Arc::new(state),
            Err(state) => state,
        };
        self.states.insert(subject, in_use);
        None
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

/// As long as most who come again take to do so. A bucket that is hardly used is full a moment after each
/// request: forgotten then, it would be made anew for each.
const LONGEST_AT_REST: Duration = Duration::from_secs(60);

/// More than one, so that the idle ones are found faster than newcomers arrive.
const LOOKS_PER_NEWCOMER: usize = 4;

#[cfg(test)]
mod tests;
