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
use std::sync::{Arc, OnceLock};

use crate::clock::{Now, nanoseconds};
use crate::gate::verdict::verdict::{Verdict, VerdictKey};
use crate::sync;

/// One verdict per slot, in the slot that its digest names.
pub(crate) struct HotCache {
    // Made when the first verdict comes that belongs there: a gate with few keys takes little, and
    // an `ArcSwap` is not free to drop.
    pages: Box<[OnceLock<Page>]>,
}

type Page = Box<[Slot; SLOTS_PER_PAGE]>;

type Slot = sync::Slot<Verdict>;

impl HotCache {
    /// With some slots to spare for a cache of this many bytes when it is full.
    pub(crate) fn new(capacity_bytes: u64) -> Self {
        let pages = (capacity_bytes / BYTES_PER_PAGE).clamp(1, MOST_PAGES);
        Self {
            pages: (0..pages.next_power_of_two())
                .map(|_| OnceLock::new())
                .collect(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &VerdictKey) -> Option<Arc<Verdict>> {
        let found = self.slot(key)?.load();
        let verdict = found.as_ref()?;
        (verdict.is_of(key) && !verdict.is_evicted()).then(|| Arc::clone(verdict))
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
            .is_some_and(|other| !other.is_of(key) && !other.is_evicted());
        if !is_in_use || one_in(8, now) {
            slot.store(Some(Arc::clone(verdict)));
            // moka may have told before there was anything to let go of.
            if verdict.is_evicted() {
                evict(slot, verdict);
            }
        }
    }

    /// Holds on to a verdict no longer. For moka, which does not hold it any more either, and may
    /// hold a lock as it says so.
    pub(crate) fn evict(&self, key: &VerdictKey, verdict: &Arc<Verdict>) {
        if let Some(slot) = self.slot(key) {
            evict(slot, verdict);
        }
    }

    /// How many verdicts it holds, marked or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let pages = self.pages.iter().filter_map(OnceLock::get);
        pages
            .flat_map(|page| page.iter())
            .filter(|slot| slot.load().is_some())
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

fn evict(slot: &Slot, verdict: &Arc<Verdict>) {
    slot.compare_and_swap(Arc::as_ptr(verdict), None);
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

/// In models, each slot of a walk would be a step.
const SLOTS_PER_PAGE: usize = if cfg!(wacht_shuttle) { 2 } else { 64 };

/// A verdict with its place in moka takes about 600 bytes.
const BYTES_PER_PAGE: u64 = 512 * SLOTS_PER_PAGE as u64;

/// For four million verdicts.
const MOST_PAGES: u64 = 1 << 16;

#[cfg(all(test, not(wacht_shuttle)))]
mod tests;
