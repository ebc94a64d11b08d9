//! The verdicts that were asked for last, in front of moka.
//!
//! moka keeps the verdicts. To find one there, a request pins an epoch, reads a clock and notes its
//! read in a queue that all threads share; here it loads a pointer and compares a digest.
//!
//! What is found here is what moka holds: whatever takes a verdict out of moka, be it a removal, a
//! newer verdict or want of room, marks the verdict itself ([`Verdict::leave`]), and one that is
//! marked is not found any more, whoever still points to it. Nor is it kept here: what moka does not
//! hold is no part of the weight that bounds it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use crate::clock::{Now, nanoseconds};
use crate::gate::verdict::{Verdict, VerdictKey};
use crate::sync::{self, without_a_stop};

/// One verdict per slot, in the slot that its digest names.
pub(crate) struct Front {
    // Made when the first verdict comes that belongs there: a gate with few keys takes little, and
    // an `ArcSwap` is not free to drop.
    pages: Box<[OnceLock<Page>]>,
}

type Page = Box<[Slot; SLOTS_PER_PAGE]>;

type Slot = sync::Slot<Verdict>;

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
        let found = self.slot(key)?.load();
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
            // moka may have told before there was anything to let go of.
            if verdict.has_left() {
                let_go(slot, verdict);
            }
        }
    }

    /// Holds on to a verdict no longer. For moka, which does not hold it any more either, and may
    /// hold a lock as it says so.
    pub(crate) fn let_go(&self, key: &VerdictKey, verdict: &Arc<Verdict>) {
        if let Some(slot) = self.slot(key) {
            let_go(without_a_stop(slot), verdict);
        }
    }

    /// The verdict of a key, for good.
    pub(crate) fn kill(&self, key: &VerdictKey) {
        if let Some(verdict) = self.get(key) {
            verdict.kill();
        }
    }

    /// The verdicts that `which` chooses, for good. Walks the whole front: not for a request.
    pub(crate) fn kill_if(&self, which: impl Fn(&Verdict) -> bool) {
        let slots = self
            .pages
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|page| page.iter());
        for slot in slots {
            if let Some(verdict) = &*slot.load()
                && which(verdict)
            {
                verdict.kill();
            }
        }
    }

    /// How many verdicts it holds, marked or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let pages = self.pages.iter().filter_map(OnceLock::get);
        pages
            .flat_map(|page| page.iter())
            .filter(|slot| without_a_stop(slot).load().is_some())
            .count()
    }

    /// The slot of a key, unless its page has not been needed yet.
    fn slot(&self, key: &VerdictKey) -> Option<&Slot> {
        let (page, slot) = self.place(key);
        self.pages.get(page)?.get()?.get(slot)
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
    Box::new(std::array::from_fn(|_| Slot::default()))
}

fn let_go(slot: &ArcSwapOption<Verdict>, verdict: &Arc<Verdict>) {
    slot.compare_and_swap(Arc::as_ptr(verdict), None);
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

/// In models, each slot of a walk would be a step.
const SLOTS_PER_PAGE: usize = if cfg!(wacht_shuttle) { 2 } else { 64 };

/// A verdict with its place in moka takes about 600 bytes.
const BYTES_PER_PAGE: u64 = 512 * SLOTS_PER_PAGE as u64;

/// For four million verdicts.
const MOST_PAGES: u64 = 1 << 16;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests {
    use super::*;
    use crate::gate::verdict::PrincipalKind;
    use crate::gate::verdict::cache::tests::{TTL, at, front, key, key_of, yes, yes_of};
    use crate::gate::verdict::cache::{CachePolicy, VerdictCache};
    use crate::gate::verdict::revocations::Tombstones;

    /// Every way in which a verdict ends.
    const ENDS: [fn(&VerdictCache); 4] = [
        |cache| cache.forget(&key()),
        |cache| cache.forget_all(),
        |cache| cache.forget_if(|_| true),
        |cache| cache.refuse(key(), at(2), at(2), TTL),
    ];

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
        for end in ENDS {
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
    fn a_verdict_that_moka_has_pushed_out_and_not_said_so_yet_is_forgotten_with_the_others() {
        for end in ENDS {
            let cache = VerdictCache::new(CachePolicy::default());
            let verdict = yes(at(1));
            front(&cache).put(&key(), &verdict, at(1));
            assert!(is_found(&cache, &verdict));
            end(&cache);
            assert!(!is_found(&cache, &verdict) && verdict.is_dead());
        }
    }

    #[test]
    fn the_front_holds_nothing_that_the_cache_does_not() {
        let cache = VerdictCache::new(CachePolicy::default().capacity_bytes(8 << 10));
        let tombstones = Tombstones::default();
        for number in 0..500 {
            let key = key_of(&format!("key {number}"));
            let verdict = yes_of(key, at(1));
            cache.admit(key, &verdict, &tombstones, tombstones.epoch(), at(1));
            cache.look_up(&key, at(1));
            cache.settle();
        }
        let kept = usize::try_from(cache.good_keys()).unwrap();
        assert!((1..20).contains(&kept), "8 KiB are full");
        assert!(front(&cache).len() <= kept);
        let again = (0..500).filter(|number| {
            let key = key_of(&format!("key {number}"));
            cache.look_up(&key, at(1)).is_some()
        });
        assert_eq!(again.count(), kept);
        assert!((1..=kept).contains(&front(&cache).len()));
        cache.forget_all();
        assert_eq!(front(&cache).len(), 0);
    }

    #[test]
    fn a_verdict_that_has_left_is_not_held_on_to_again() {
        let front = Front::new(0);
        let verdict = yes(at(1));
        verdict.leave();
        front.put(&key(), &verdict, at(1));
        assert_eq!(front.len(), 0);
    }

    #[test]
    fn a_newer_verdict_stays_when_moka_lets_go_of_the_one_before() {
        let front = Front::new(0);
        let (old, new) = (yes(at(1)), yes(at(2)));
        front.put(&key(), &new, at(2));
        front.let_go(&key(), &old);
        assert!(
            front
                .get(&key())
                .is_some_and(|found| Arc::ptr_eq(&found, &new))
        );
    }

    #[test]
    fn two_kinds_of_one_key_are_two_keys() {
        let front = Front::new(0);
        let token = VerdictKey {
            kind: PrincipalKind::OauthAccessToken,
            ..key()
        };
        let verdict = yes(at(1));
        front.put(&key(), &verdict, at(1));
        assert!(front.get(&token).is_none());
        front.kill(&token);
        assert!(!verdict.is_dead() && front.get(&key()).is_some());
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
