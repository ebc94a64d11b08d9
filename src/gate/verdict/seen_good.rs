//! Which keys have been good not long ago, whatever is known of them now.
//!
//! Whoever shows such a key waits in another queue than those who try made-up ones, and costs no
//! address anything. That must not end where a verdict does: when all is forgotten, or when many
//! verdicts come to their end at once, good keys need it most.

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasher;
use std::mem;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::clock::Now;
use crate::gate::verdict::verdict::VerdictKey;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The keys that had a yes within a span, or within twice that, as far as there is room.
///
/// They go by 64 bits of a hash whose seed is random and never leaves the process. A made-up key that
/// meets one of them is looked up as if it had been good, and is refused all the same.
pub(super) struct SeenGood {
    span: Duration,
    /// Of each generation.
    capacity: usize,
    seed: RandomState,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    recent: HashSet<u64, RandomState>,
    older: HashSet<u64, RandomState>,
    /// When `recent` is as old as a generation gets.
    until: Duration,
}

impl SeenGood {
    /// For the keys of a cache of so many bytes.
    pub(super) fn new(span: Duration, capacity_bytes: u64) -> Self {
        let keys = usize::try_from(capacity_bytes / BYTES_PER_KEY).unwrap_or(usize::MAX);
        Self {
            span,
            capacity: keys.clamp(1, MOST_KEYS),
            seed: RandomState::default(),
            generations: Mutex::default(),
        }
    }

    /// The gateway has said yes.
    pub(super) fn add(&self, key: &VerdictKey, now: Now) {
        if self.span.is_zero() {
            return;
        }
        let name = self.seed.hash_one(key);
        let mut generations = self.generations();
        generations.turn(now, self.span);
        if generations.recent.len() >= self.capacity && !generations.recent.contains(&name) {
            generations.begin(now, self.span);
        }
        generations.recent.insert(name);
    }

    /// The gateway has said no.
    pub(super) fn remove(&self, key: &VerdictKey) {
        let name = self.seed.hash_one(key);
        let mut generations = self.generations();
        generations.recent.remove(&name);
        generations.older.remove(&name);
    }

    pub(super) fn has(&self, key: &VerdictKey, now: Now) -> bool {
        let name = self.seed.hash_one(key);
        let mut generations = self.generations();
        generations.turn(now, self.span);
        generations.recent.contains(&name) || generations.older.contains(&name)
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn turn(&mut self, now: Now, span: Duration) {
        if now.monotonic < self.until {
            return;
        }
        if now.monotonic >= self.until.saturating_add(span) {
            self.recent.clear();
        }
        self.begin(now, span);
    }

    fn begin(&mut self, now: Now, span: Duration) {
        self.older = mem::take(&mut self.recent);
        self.until = now.monotonic.saturating_add(span);
    }
}

impl fmt::Debug for SeenGood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenGood")
            .field("span", &self.span)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// What a verdict takes in the cache, or more: each key that it holds has its place here.
const BYTES_PER_KEY: u64 = 512;
/// In each generation, which then takes some 20 MB.
const MOST_KEYS: usize = 1 << 20;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests {
    use super::*;
    use crate::gate::verdict::tests::{at, key, key_of};

    const SPAN: Duration = Duration::from_secs(100);

    fn seen_good() -> SeenGood {
        SeenGood::new(SPAN, 64 * BYTES_PER_KEY)
    }

    #[test]
    fn a_key_is_seen_good_for_the_span_and_at_most_twice_that() {
        for (added, asked) in [(0, 99), (50, 149), (99, 198)] {
            let seen = seen_good();
            seen.add(&key_of("the first of its generation"), at(0));
            seen.add(&key(), at(added));
            assert!(seen.has(&key(), at(asked)), "{added} {asked}");
            assert!(!seen.has(&key(), at(added + 200)), "{added}");
            assert!(!seen.has(&key_of("another"), at(asked)));
        }
    }

    #[test]
    fn a_no_ends_it() {
        let seen = seen_good();
        seen.add(&key(), at(0));
        seen.add(&key_of("the next generation"), at(150));
        seen.add(&key(), at(150));
        seen.remove(&key());
        assert!(!seen.has(&key(), at(150)));
    }

    #[test]
    fn with_more_keys_than_there_is_room_for_the_last_ones_stay() {
        let seen = seen_good();
        for number in 0..1_000 {
            seen.add(&key_of(&number.to_string()), at(1));
        }
        let stays = |number: u32| seen.has(&key_of(&number.to_string()), at(1));
        assert!((936..1_000).all(stays));
        assert!(!(0..800).any(stays));
    }

    #[test]
    fn without_a_span_nothing_is_kept() {
        let seen = SeenGood::new(Duration::ZERO, 1 << 20);
        seen.add(&key(), at(1));
        assert!(!seen.has(&key(), at(1)));
    }
}
