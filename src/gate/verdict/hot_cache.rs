//! The verdicts that were asked for last, in front of moka.
//!
//! moka keeps the verdicts. To find one there, a request pins an epoch, reads a clock and notes its
//! read in a queue that all threads share; here it loads a pointer and compares a digest.
//!
//! What is found here is what moka holds: whatever takes a verdict out of moka, be it a removal, a
//! newer verdict or want of room, marks the verdict itself ([`Verdict::mark_evicted`]), and one that
//! is marked is not found any more, whoever still points to it. Nor is it kept here: what moka does
//! not hold is no part of the weight that bounds it.

use std::fmt;
use std::iter::successors;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::clock::{Now, nanoseconds};
use crate::gate::verdict::verdict::{Verdict, VerdictKey};
use crate::sync;

/// Each verdict in one of the few slots of the bucket that its digest names.
pub(crate) struct HotCache {
    // Made when the first verdict comes that belongs there: a gate with few keys takes little, and
    // an `ArcSwap` is not free to drop.
    pages: Box<[OnceLock<Page>]>,
    /// How many of them are in use, a power of two. Of many verdicts each has a line to itself, which is
    /// in no cache of the processor when it is needed: so there are no more of them than it takes.
    used: AtomicUsize,
}

type Page = Box<[Bucket]>;

/// A line of the processor's caches: to find a verdict, a request looks at this, and then at the verdict.
#[derive(Default)]
#[repr(align(64))]
struct Bucket {
    /// A byte for each slot, from the digest of what was put there last, so that no verdict is looked
    /// at for nothing. Of two that are put there at once it may be the other's: then the verdict is not
    /// found.
    tags: AtomicU64,
    slots: [Slot; SLOTS_PER_BUCKET],
}

type Slot = sync::Slot<Verdict>;

// Std's in models, too: what they say is where to look, and never what is found.
type AtomicUsize = std::sync::atomic::AtomicUsize;
type AtomicU64 = std::sync::atomic::AtomicU64;

impl HotCache {
    /// With some slots to spare for a cache of this many bytes when it is full.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let pages = (capacity_bytes / BYTES_PER_PAGE).clamp(1, MOST_PAGES);
        Self {
            pages: (0..pages.next_power_of_two())
                .map(|_| OnceLock::new())
                .collect(),
            used: AtomicUsize::new(1),
        }
    }

    /// What `found` makes of a verdict of this key that moka still holds, if it is here.
    #[inline]
    pub(crate) fn with<T>(
        &self,
        key: &VerdictKey,
        found: impl FnOnce(&Arc<Verdict>) -> T,
    ) -> Option<T> {
        for slot in self.bucket(key)?.tagged(key) {
            let slot = slot.load();
            if let Some(verdict) = &*slot
                && verdict.is_of(key)
                && !verdict.is_evicted()
            {
                return Some(found(verdict));
            }
        }
        None
    }

    /// Remembers a verdict that moka has just handed out, of so many that it holds.
    ///
    /// More keys in use may share a bucket than it has slots, and a change of a pointer costs more than a
    /// look-up in moka: a newcomer takes the place of a verdict that is still good one time in eight.
    pub(crate) fn put(&self, key: &VerdictKey, verdict: &Arc<Verdict>, held: u64, now: Now) {
        let used = self.make_room(held);
        let page = self.pages.get(page_of(key, used));
        let page = page.map(|page| page.get_or_init(new_page));
        let Some(bucket) = page.and_then(|page| page.get(bucket_of(key))) else {
            return;
        };
        let is_free = |slot: &Slot| {
            slot.load().as_ref().is_none_or(|other| {
                let other_key = other.key();
                let has_moved = || page_of(&other_key, used) != page_of(key, used);
                other_key == *key || other.is_evicted() || has_moved()
            })
        };
        let place = bucket.slots.iter().position(is_free);
        let any = usize::from(key.digest.tag()) % SLOTS_PER_BUCKET;
        let Some(place) = place.or_else(|| one_in(8, now).then_some(any)) else {
            return;
        };
        if let Some(slot) = bucket.slots.get(place) {
            slot.store(Some(Arc::clone(verdict)));
            bucket.tag(place, key);
            // moka may have told before there was anything to let go of.
            if verdict.is_evicted() {
                bucket.evict(verdict);
            }
        }
    }

    /// Takes twice as many pages when those it has are full for the most part, and says how many it
    /// has. What is on the wrong page then is looked for in moka, once.
    fn make_room(&self, held: u64) -> usize {
        let used = self.used.load(Ordering::Relaxed);
        if held <= VERDICTS_PER_PAGE * used as u64 || used >= self.pages.len() {
            return used;
        }
        // In vain: then another has.
        let _ = self
            .used
            .compare_exchange(used, 2 * used, Ordering::Relaxed, Ordering::Relaxed);
        2 * used
    }

    /// Takes back for good what is here of a key.
    pub(crate) fn withdraw(&self, key: &VerdictKey) {
        for slot in self.buckets(key).flat_map(|bucket| &bucket.slots) {
            if let Some(verdict) = &*slot.load()
                && verdict.is_of(key)
            {
                verdict.withdraw();
            }
        }
    }

    /// Holds on to a verdict no longer. For moka, which does not hold it any more either, and may
    /// hold a lock as it says so.
    pub(crate) fn evict(&self, key: &VerdictKey, verdict: &Arc<Verdict>) {
        self.buckets(key).for_each(|bucket| bucket.evict(verdict));
    }

    /// How many verdicts it holds, marked or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let pages = self.pages.iter().filter_map(OnceLock::get);
        let slots = pages.flat_map(|page| page.iter().flat_map(|bucket| &bucket.slots));
        slots.filter(|slot| slot.load().is_some()).count()
    }

    /// The bucket of a key, unless its page has not been needed yet.
    #[inline]
    fn bucket(&self, key: &VerdictKey) -> Option<&Bucket> {
        let page = page_of(key, self.used.load(Ordering::Relaxed));
        self.pages.get(page)?.get()?.get(bucket_of(key))
    }

    /// All that ever were the key's, as what was put there then is there still.
    fn buckets(&self, key: &VerdictKey) -> impl Iterator<Item = &Bucket> {
        let mut last = None;
        let sizes = successors(Some(1), |pages| Some(2 * pages));
        let pages = sizes.take_while(|pages| *pages <= self.pages.len());
        pages
            .map(|pages| page_of(key, pages))
            .filter(move |page| last.replace(*page) != Some(*page))
            .filter_map(|page| self.pages.get(page)?.get()?.get(bucket_of(key)))
    }
}

/// Where a key belongs while there are so many pages, a power of two.
#[inline]
fn page_of(key: &VerdictKey, pages: usize) -> usize {
    (key.digest.place() as usize / BUCKETS_PER_PAGE) & (pages - 1)
}

/// Where on its page.
#[inline]
fn bucket_of(key: &VerdictKey) -> usize {
    key.digest.place() as usize % BUCKETS_PER_PAGE
}

impl Bucket {
    /// The slots whose tag is this key's.
    #[inline]
    fn tagged(&self, key: &VerdictKey) -> impl Iterator<Item = &Slot> {
        let tag = key.digest.tag();
        let tags = self.tags.load(Ordering::Relaxed).to_le_bytes();
        let slots = self.slots.iter().zip(tags);
        slots
            .filter(move |(_, other)| *other == tag)
            .map(|(slot, _)| slot)
    }

    fn tag(&self, place: usize, key: &VerdictKey) {
        let with_tag = |tags: u64| {
            let mut tags = tags.to_le_bytes();
            *tags.get_mut(place)? = key.digest.tag();
            Some(u64::from_le_bytes(tags))
        };
        // In vain only for a slot that is not there.
        let _ = self
            .tags
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_tag);
    }

    fn evict(&self, verdict: &Arc<Verdict>) {
        for slot in &self.slots {
            // Most of them are another's, and to look is cheaper than to try.
            if slot
                .load()
                .as_ref()
                .is_some_and(|it| Arc::ptr_eq(it, verdict))
            {
                slot.compare_and_swap(Arc::as_ptr(verdict), None);
            }
        }
    }
}

fn new_page() -> Page {
    (0..BUCKETS_PER_PAGE).map(|_| Bucket::default()).collect()
}

impl fmt::Debug for HotCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotCache")
            .field("pages", &self.pages.len())
            .finish_non_exhaustive()
    }
}

/// True about once in `n` times: nothing that threads would have to share counts the times.
pub(crate) fn one_in(n: u64, now: Now) -> bool {
    const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
    let scattered = nanoseconds(now.monotonic).wrapping_mul(GOLDEN_RATIO) >> 32;
    scattered.is_multiple_of(n)
}

/// As many as there is room for in a line. In models, each would be a step.
const SLOTS_PER_BUCKET: usize = if cfg!(wacht_shuttle) { 2 } else { 7 };

/// Four kilobytes of them. In models, each would be steps.
const BUCKETS_PER_PAGE: usize = if cfg!(wacht_shuttle) { 2 } else { 64 };

/// Five in eight slots: then two verdicts in a hundred find none in their bucket.
const VERDICTS_PER_PAGE: u64 = (BUCKETS_PER_PAGE * SLOTS_PER_BUCKET * 5 / 8) as u64;

/// So that a full cache, of whose verdicts each takes about 600 bytes, has pages enough.
const BYTES_PER_PAGE: u64 = 500 * VERDICTS_PER_PAGE;

/// For four million verdicts.
const MOST_PAGES: u64 = 1 << 14;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests;
