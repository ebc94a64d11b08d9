//! The counters of keys and addresses: as many as fit, and no more.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::RawEntryApiV1;

use super::KeySubject;
use super::counter::Bucket;
use super::counter::Reading;
use super::gcra::Moment;

/// What one counter belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    /// The rule's number.
    pub(super) rule: u64,
    pub(super) key: Option<KeySubject>,
    pub(super) address: Option<IpAddr>,
    /// The fingerprint of the resource, where resources are counted apart, else 0.
    pub(super) resource: u64,
}

/// A bounded map from subjects to their buckets.
///
/// A bucket that is idle says no more than no bucket at all, so it is forgotten when
/// somebody new needs room. One that is not idle is never pushed out.
pub(super) struct Subjects {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    capacity: usize,
    count: AtomicUsize,
}

struct Shard {
    buckets: IndexMap<Subject, Arc<Bucket>, RandomState>,
    /// Where the search for idle buckets goes on.
    hand: usize,
    /// The latest moment at which one was forgotten.
    forgot_at: Moment,
}

// === impl Subjects ===

impl Subjects {
    pub(super) fn new(capacity: usize) -> Self {
        let hasher = RandomState::default();
        let shard = || {
            Mutex::new(Shard {
                buckets: IndexMap::with_hasher(hasher.clone()),
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

    /// The subject's bucket, if it has one already.
    pub(super) fn known(&self, subject: Subject) -> Option<Arc<Bucket>> {
        self.with_known(subject, Arc::clone)
    }

    /// What `read` makes of the subject's bucket, if it has one already. Others who want a bucket
    /// nearby wait meanwhile.
    pub(super) fn with_known<T>(
        &self,
        subject: Subject,
        read: impl FnOnce(&Arc<Bucket>) -> T,
    ) -> Option<T> {
        let hash = self.hasher.hash_one(subject);
        let shard = self.shards[self.home(hash)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = shard
            .buckets
            .raw_entry_v1()
            .from_key_hashed_nocheck(hash, &subject);
        known.map(|(_, bucket)| read(bucket))
    }

    /// The subject's bucket. `None` when there is no room for another subject.
    ///
    /// `overflow` is what those without room share. A new bucket starts with as much used
    /// as that one: the subject may have been charged there.
    pub(super) fn bucket(
        &self,
        subject: Subject,
        overflow: &Bucket,
        now: Reading,
    ) -> Option<Arc<Bucket>> {
        let hash = self.hasher.hash_one(subject);
        let home = self.home(hash);
        let mut shard = self.shards[home]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = shard
            .buckets
            .raw_entry_v1()
            .from_key_hashed_nocheck(hash, &subject);
        if let Some((_, bucket)) = known {
            return Some(Arc::clone(bucket));
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
        let bucket = Arc::new(overflow.successor(shard.forgot_at));
        shard.buckets.insert(subject, Arc::clone(&bucket));
        Some(bucket)
    }

    fn home(&self, hash: u64) -> usize {
        // The map uses the lowest and the highest bits itself.
        (hash >> 32) as usize % self.shards.len()
    }

    /// Looks for idle buckets in the shards behind `home`, which holds none: one newcomer who is
    /// turned away makes all after it start with what the shared bucket has used.
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
    pub(super) fn fingerprint(&self, resource: &str) -> u64 {
        // 0 is for none.
        self.hasher.hash_one(resource) | 1
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

// === impl Shard ===

impl Shard {
    /// Looks at the next few buckets, drops those that are idle and that nobody is about to
    /// charge, and returns how many that were.
    fn forget_some(&mut self, now: Reading) -> usize {
        let mut forgotten = 0;
        for _ in 0..LOOKS_PER_NEWCOMER {
            if self.hand >= self.buckets.len() {
                self.hand = 0;
            }
            let Some((_, bucket)) = self.buckets.get_index_mut(self.hand) else {
                break;
            };
            // `get_mut` succeeds only when no request holds the bucket, and sees all they wrote.
            if Arc::get_mut(bucket).is_some_and(|bucket| bucket.is_idle(now)) {
                self.buckets.swap_remove_index(self.hand);
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

/// Enough that a newcomer finds an idle bucket if there are not just a few.
const SHARDS_PER_NEWCOMER: usize = 16;

/// More than one, so that the idle ones are found faster than newcomers arrive.
const LOOKS_PER_NEWCOMER: usize = 4;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::super::Algorithm;
    use super::super::counter::Calendars;
    use super::super::counter::Meter;
    use super::*;

    fn subject(number: u32) -> Subject {
        Subject {
            rule: 1,
            key: None,
            address: Some(Ipv4Addr::from_bits(number).into()),
            resource: 0,
        }
    }

    fn meter(max_requests: u32, nanos: u64) -> Meter {
        let window = Duration::from_nanos(nanos).into();
        Meter::new(Algorithm::Gcra, max_requests, window, &Calendars::default())
    }

    fn at(nanos: u64) -> Reading {
        Reading {
            monotonic: Moment(nanos),
            unix: Duration::ZERO,
        }
    }

    #[test]
    fn a_subject_keeps_its_bucket() {
        let subjects = Subjects::new(10);
        let overflow = meter(1, 1).bucket();
        let first = subjects.bucket(subject(1), &overflow, at(1)).unwrap();
        let again = subjects.bucket(subject(1), &overflow, at(2)).unwrap();
        let other = subjects.bucket(subject(2), &overflow, at(3)).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(subjects.len(), 2);
    }

    #[test]
    fn idle_subjects_are_forgotten_and_limited_ones_are_not() {
        let subjects = Subjects::new(1_000_000);
        let overflow = meter(1, 1).bucket();
        let long = meter(1, 1_000_000_000_000_000);
        let short = meter(1, 10);
        for number in 0..1_000 {
            let bucket = subjects.bucket(subject(number), &overflow, at(1)).unwrap();
            let gcra = if number < 100 { &long } else { &short };
            gcra.charge(&bucket, at(1)).unwrap();
        }
        let later = at(1_000);
        for number in 1_000..20_000 {
            let bucket = subjects.bucket(subject(number), &overflow, later).unwrap();
            short
                .charge(&bucket, at(1_000 + u64::from(number)))
                .unwrap();
        }
        let remembered = subjects.len();
        let count: usize = subjects
            .shards
            .iter()
            .map(|s| s.lock().unwrap().buckets.len())
            .sum();
        assert_eq!(remembered, count);
        for number in 0..100 {
            let bucket = subjects.bucket(subject(number), &overflow, later).unwrap();
            assert!(long.look(&bucket, later).is_err(), "{number} was forgotten");
        }
        assert_eq!(subjects.len(), remembered);

        // Two looks that find something would do; a few rounds of newcomers shrink the rest.
        for number in 20_000..40_000 {
            let at = at(1_000_000 + u64::from(number));
            drop(subjects.bucket(subject(number), &overflow, at));
        }
        assert!(subjects.len() < 2_000, "{} left", subjects.len());
    }

    #[test]
    fn a_bucket_in_somebodys_hands_is_not_forgotten() {
        let subjects = Subjects::new(1_000_000);
        let overflow = meter(1, 1).bucket();
        let held = subjects.bucket(subject(1), &overflow, at(1)).unwrap();
        for number in 2..5_000 {
            drop(subjects.bucket(subject(number), &overflow, at(u64::from(number))));
        }
        let again = subjects.bucket(subject(1), &overflow, at(9_000)).unwrap();
        assert!(Arc::ptr_eq(&held, &again));
    }

    #[test]
    fn a_request_with_an_older_reading_of_the_clock_gains_nothing() {
        let subjects = Subjects::new(10_000);
        let overflow = meter(1, 1).bucket();
        let gcra = meter(1, 100);
        let first = subjects.bucket(subject(0), &overflow, at(1)).unwrap();
        gcra.charge(&first, at(1)).unwrap();
        drop(first);
        // Newcomers at 101 find the first one idle and have it forgotten.
        for number in 1..5_000 {
            drop(subjects.bucket(subject(number), &overflow, at(101)));
        }
        let back = subjects.bucket(subject(0), &overflow, at(100)).unwrap();
        assert_eq!(gcra.look(&back, at(100)), Err(Duration::from_nanos(1)));
    }

    #[test]
    fn a_newcomer_inherits_the_overflow_bucket() {
        let subjects = Subjects::new(1);
        let gcra = meter(1, 100);
        let overflow = meter(1, 1).bucket();
        gcra.charge(&overflow, at(1)).unwrap();
        let bucket = subjects.bucket(subject(1), &overflow, at(2)).unwrap();
        assert!(gcra.look(&bucket, at(2)).is_err());
        assert!(gcra.look(&bucket, at(101)).is_ok());
    }

    #[test]
    fn no_shard_of_a_large_map_is_much_larger_than_those_of_others() {
        for (capacity, expected) in [
            (0, 64),
            (1, 64),
            (100_000, 64),
            (1_000_000, 625),
            (usize::MAX, 16_384),
        ] {
            assert_eq!(shards(capacity), expected, "{capacity}");
            assert_eq!(Subjects::new(capacity).shards.len(), expected);
        }
    }

    #[test]
    fn without_room_there_is_no_bucket() {
        let subjects = Subjects::new(0);
        let overflow = meter(1, 1).bucket();
        assert!(subjects.bucket(subject(1), &overflow, at(1)).is_none());
        assert_eq!(subjects.len(), 0);
    }
}
