//! Units that the store has granted, to be spent from memory.
//!
//! Two leases at most: one that is being spent, and the next, which came before the first was used
//! up. To spend is one compare-and-swap; everything else happens under the lock of the subject.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::super::reading::Moment;

#[derive(Debug, Default)]
pub(super) struct Pool {
    leases: [Lease; 2],
    /// At so many units left, more are asked for behind the request; 0: not before there are none.
    low: AtomicU32,
    /// Whether that was done already.
    is_asking: AtomicBool,
}

#[derive(Debug, Default)]
struct Lease {
    /// The generation in the upper half, the units left in the lower: whoever spends of one
    /// generation spends within its time.
    word: AtomicU64,
    /// When it was there, and when it ends.
    from: AtomicU64,
    until: AtomicU64,
}

/// One lease, among all that the pool has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseId {
    place: u8,
    generation: u32,
}

impl Pool {
    /// Spends so many units of one lease.
    pub(super) fn take(&self, now: Moment, units: u32) -> Option<LeaseId> {
        self.in_order().into_iter().find_map(|place| {
            let generation = self.leases[place].take(now, units)?;
            Some(LeaseId {
                place: place as u8,
                generation,
            })
        })
    }

    pub(super) fn has(&self, now: Moment, units: u32) -> bool {
        let mut leases = self.leases.iter();
        leases.any(|lease| lease.left(now) >= units)
    }

    pub(super) fn left(&self, now: Moment) -> u32 {
        let [one, other] = &self.leases;
        one.left(now).saturating_add(other.left(now))
    }

    /// Puts back what was not spent after all. What came from a lease that has ended is lost.
    pub(super) fn put_back(&self, id: LeaseId, units: u32) {
        let more = |word: u64| {
            (generation_of(word) == id.generation)
                .then(|| word_of(id.generation, units_of(word).saturating_add(units)))
        };
        // Declined when it has ended.
        let word = &self.leases[usize::from(id.place)].word;
        let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// Whether units may be spent of it now.
    pub(super) fn is_good(&self, id: LeaseId, now: Moment) -> bool {
        let lease = &self.leases[usize::from(id.place)];
        generation_of(lease.word.load(Ordering::Acquire)) == id.generation && lease.covers(now)
    }

    /// Whether more should be asked for behind the request.
    pub(super) fn is_low(&self, now: Moment) -> bool {
        let low = self.low.load(Ordering::Relaxed);
        low > 0 && !self.is_asking.load(Ordering::Relaxed) && self.left(now) <= low
    }

    pub(super) fn set_low(&self, low: u32) {
        self.low.store(low, Ordering::Relaxed);
    }

    pub(super) fn set_asking(&self, is_asking: bool) {
        self.is_asking.store(is_asking, Ordering::Relaxed);
    }

    /// Which place is the better one for a new lease: that of the one that ends first.
    pub(super) fn next_place(&self) -> u8 {
        self.in_order()[0] as u8
    }

    /// Under the lock. The place has no lease.
    pub(super) fn put(&self, place: u8, from: Moment, until: Moment, units: u32) -> LeaseId {
        let lease = &self.leases[usize::from(place)];
        let generation = generation_of(lease.word.load(Ordering::Acquire)).wrapping_add(1);
        // Whoever reads the new time finds the old units gone.
        lease.word.store(word_of(generation, 0), Ordering::Release);
        lease.from.store(from.0, Ordering::Release);
        lease.until.store(until.0, Ordering::Release);
        lease
            .word
            .store(word_of(generation, units), Ordering::Release);
        LeaseId { place, generation }
    }

    /// Ends the lease, and returns what is left of it. Under the lock.
    pub(super) fn end(&self, id: LeaseId) -> u32 {
        let word = &self.leases[usize::from(id.place)].word;
        let ended = |word: u64| {
            (generation_of(word) == id.generation)
                .then(|| word_of(id.generation.wrapping_add(1), 0))
        };
        // Declined when it has ended before.
        let left = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, ended);
        left.map_or(0, units_of)
    }

    /// What is left of a lease that has not been ended, whether its time is over or not.
    pub(super) fn left_of(&self, id: LeaseId) -> u32 {
        let word = self.leases[usize::from(id.place)]
            .word
            .load(Ordering::Acquire);
        match generation_of(word) == id.generation {
            true => units_of(word),
            false => 0,
        }
    }

    /// The one that ends first comes first.
    fn in_order(&self) -> [usize; 2] {
        let [one, other] = &self.leases;
        let until = |lease: &Lease| lease.until.load(Ordering::Acquire);
        match until(one) <= until(other) {
            true => [0, 1],
            false => [1, 0],
        }
    }
}

impl LeaseId {
    pub(super) fn place(self) -> u8 {
        self.place
    }
}

impl Lease {
    fn take(&self, now: Moment, units: u32) -> Option<u32> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if units_of(word) < units || !self.covers(now) {
                return None;
            }
            // The word is that of the times that were looked at, or this fails.
            let next = self.word.compare_exchange_weak(
                word,
                word - u64::from(units),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match next {
                Ok(_) => return Some(generation_of(word)),
                Err(newer) => word = newer,
            }
        }
    }

    fn left(&self, now: Moment) -> u32 {
        match self.covers(now) {
            true => units_of(self.word.load(Ordering::Acquire)),
            false => 0,
        }
    }

    fn covers(&self, now: Moment) -> bool {
        // A request that has read the clock before the units were there was not granted them.
        self.from.load(Ordering::Acquire) <= now.0 && now.0 < self.until.load(Ordering::Acquire)
    }
}

fn word_of(generation: u32, units: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(units)
}

fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn units_of(word: u64) -> u32 {
    word as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_spent_within_their_time_and_the_oldest_first() {
        let pool = Pool::default();
        let first = pool.put(pool.next_place(), Moment(10), Moment(20), 2);
        let second = pool.put(pool.next_place(), Moment(15), Moment(25), 5);
        assert_eq!(pool.take(Moment(9), 1), None);
        assert_eq!(pool.take(Moment(15), 1), Some(first));
        assert_eq!(
            pool.take(Moment(15), 2),
            Some(second),
            "the first has too few"
        );
        assert_eq!(pool.take(Moment(19), 1), Some(first));
        assert_eq!(pool.take(Moment(20), 3), Some(second));
        assert_eq!(pool.take(Moment(24), 1), None);
    }

    #[test]
    fn what_a_lease_has_left_at_its_end_can_be_had_once() {
        let pool = Pool::default();
        let lease = pool.put(0, Moment(10), Moment(20), 5);
        pool.take(Moment(10), 2);
        assert_eq!(pool.end(lease), 3);
        assert_eq!(pool.end(lease), 0);
        pool.put_back(lease, 1);
        assert_eq!(pool.take(Moment(11), 1), None, "it has ended");
        let next = pool.put(0, Moment(10), Moment(20), 1);
        assert_eq!(pool.end(lease), 0);
        pool.put_back(next, 1);
        assert_eq!(pool.left(Moment(10)), 2);
    }

    #[test]
    fn threads_spend_no_unit_twice() {
        let pool = Pool::default();
        pool.put(0, Moment(0), Moment(100), 5_000);
        let spent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..2_000)
                            .filter(|_| pool.take(Moment(1), 1).is_some())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(spent, 5_000);
    }
}
