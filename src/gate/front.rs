//! The verdicts that were asked for last, in front of moka.
//!
//! moka keeps the verdicts. To find one there, a request pins an epoch, reads a clock and notes its
//! read in a queue that all threads share; here it loads a pointer and compares a digest.
//!
//! What is found here is what moka holds: whatever takes a verdict out of moka, be it a removal, a
//! newer verdict or want of room, marks the verdict itself ([`Verdict::leave`]), and one that is
//! marked is not found any more, whoever still points to it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::clock::{Now, nanoseconds};
use crate::gate::cache::{Verdict, VerdictKey};

/// One verdict per slot, in the slot that its digest names.
pub(crate) struct Front {
    // Made when the first verdict comes that belongs there: a gate with few keys takes little, and
    // an `ArcSwap` is not free to drop.
    pages: Box<[OnceLock<Page>]>,
}

type Page = Box<[Slot; SLOTS_PER_PAGE]>;

type Slot = ArcSwapOption<Verdict>;

impl Front {
    /// With some slots to spare for a cache of this many bytes when it is full.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let pages = (capacity_bytes / BYTES_PER_PAGE).clamp(1, MOST_PAGES);
        Self {
            pages: (0..pages.next_power_of_two())
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    pub(crate) fn get(&self, key: &VerdictKey) -> Option<Arc<Verdict>> {
        let (page, slot) = self.place(key);
        let found = self.pages.get(page)?.get()?.get(slot)?.load();
        let verdict = found.as_ref()?;
        (verdict.is_of(key) && !verdict.has_left()).then(|| Arc::clone(verdict))
    }

    /// Remembers a verdict that moka has just handed out.
    ///
    /// Two keys in use may share a slot, and a change of the pointer costs more than a look-up
    /// in moka: a newcomer takes the place of a verdict that is still good one time in eight.
    pub(crate) fn put(&self, key: &VerdictKey, verdict: &Arc<Verdict>, now: Now) {
        let (page, slot) = self.place(key);
        let page = self.pages.get(page).map(|page| page.get_or_init(new_page));
        let Some(slot) = page.and_then(|page| page.get(slot)) else {
            return;
        };
        let taken = slot.load();
        let is_in_use = taken
            .as_ref()
            .is_some_and(|other| !other.is_of(key) && !other.has_left());
        if !is_in_use || one_in(8, now) {
            slot.store(Some(Arc::clone(verdict)));
        }
    }

    /// The verdict of a key, for good.
    pub(crate) fn kill(&self, key: &VerdictKey) {
        if let Some(verdict) = self.get(key) {
            verdict.kill();
        }
    }

    /// The page and the slot on it.
    fn place(&self, key: &VerdictKey) -> (usize, usize) {
        let place = key.digest.place() as usize;
        let pages = self.pages.len();
        // The number of pages is a power of two.
        let page = (place / SLOTS_PER_PAGE) & (pages - 1);
        (page, place % SLOTS_PER_PAGE)
    }
}

fn new_page() -> Page {
    Box::new(std::array::from_fn(|_| Slot::empty()))
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
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

const SLOTS_PER_PAGE: usize = 64;

/// A verdict with its place in moka takes about 600 bytes.
const BYTES_PER_PAGE: u64 = 512 * SLOTS_PER_PAGE as u64;

/// For four million verdicts.
const MOST_PAGES: u64 = 1 << 16;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests {
    use super::*;
    use crate::gate::cache::tests::{TTL, at, key, yes};
    use crate::gate::cache::{CachePolicy, VerdictCache};
    use crate::gate::tombstones::Tombstones;

    fn filed(cache: &VerdictCache, verdict: &Arc<Verdict>) {
        let tombstones = Tombstones::default();
        let epoch = tombstones.epoch();
        cache.admit(key(), verdict, &tombstones, epoch, at(1));
    }

    fn is_found(cache: &VerdictCache, verdict: &Arc<Verdict>) -> bool {
        let found = cache.look_up(&key(), at(1));
        found.is_some_and(|found| Arc::ptr_eq(&found, verdict))
    }

    #[test]
    fn a_verdict_is_found_until_a_newer_one_takes_its_place() {
        let cache = VerdictCache::new(CachePolicy::default());
        let (old, new) = (yes(at(1)), yes(at(1)));
        filed(&cache, &old);
        assert!(is_found(&cache, &old));
        assert!(is_found(&cache, &old), "the second time in front");
        filed(&cache, &new);
        assert!(is_found(&cache, &new));
        assert!(old.has_left() && !old.is_dead());
    }

    #[test]
    fn a_verdict_that_is_forgotten_or_refused_is_not_found() {
        let ends: [fn(&VerdictCache); 4] = [
            |cache| cache.forget(&key()),
            |cache| cache.forget_all(),
            |cache| cache.forget_if(|_| true),
            |cache| cache.refuse(key(), at(2), at(2), TTL),
        ];
        for end in ends {
            let cache = VerdictCache::new(CachePolicy::default());
            let verdict = yes(at(1));
            filed(&cache, &verdict);
            assert!(is_found(&cache, &verdict) && is_found(&cache, &verdict));
            end(&cache);
            assert!(!is_found(&cache, &verdict));
            assert!(verdict.is_dead());
        }
    }

    #[test]
    fn a_verdict_that_moka_pushed_out_is_not_found_nor_spared() {
        let front = Front::new(0);
        let verdict = yes(at(1));
        front.put(&key(), &verdict, at(1));
        assert!(front.get(&key()).is_some());
        front.kill(&key());
        assert!(verdict.is_dead() && front.get(&key()).is_none());

        let verdict = yes(at(1));
        front.put(&key(), &verdict, at(1));
        verdict.leave();
        assert!(front.get(&key()).is_none());
    }

    #[test]
    fn what_the_cache_has_no_room_for_leaves_the_front() {
        let cache = VerdictCache::new(CachePolicy::default().capacity_bytes(100));
        let verdict = yes(at(1));
        filed(&cache, &verdict);
        cache.look_up(&key(), at(1));
        cache.settle();
        assert!(verdict.has_left());
        assert!(cache.look_up(&key(), at(1)).is_none());
    }
}
