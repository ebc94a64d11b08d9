//! Who may have a counter of its own: the room there is, shared out.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Room for so many subjects, of which no owner gets more than a share, and for the overflow
/// counters of those that find none.
pub(crate) struct Room {
    capacity: usize,
    taken: AtomicUsize,
    /// How many each owner has, by its hash. Two owners of one place have one share: as seldom as
    /// there are many places.
    by_owner: Box<[AtomicU32]>,
    overflow_taken: AtomicUsize,
}

/// Who cannot have more than its share: a keyed hash of the rule, the key and the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) u64);

// === impl Room ===

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            taken: AtomicUsize::new(0),
            by_owner: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            overflow_taken: AtomicUsize::new(0),
        }
    }

    /// How many subjects have a counter of their own.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes room for one more subject of this owner, if there is any and its share is not used up.
    pub(crate) fn take(&self, owner: Owner) -> bool {
        let one_more = |taken: usize| (taken < self.capacity).then_some(taken + 1);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        let Ok(taken) = taken else { return false };
        let share = self.share(taken);
        let one_more = |has: u32| (u64::from(has) < share as u64).then(|| has.saturating_add(1));
        let has = self
            .of(owner)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if has.is_err() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        has.is_ok()
    }

    /// Whether more than three quarters of all are free, and of what this owner may have.
    pub(crate) fn is_plentiful(&self, owner: Owner) -> bool {
        let taken = self.taken();
        let has = self.of(owner).load(Ordering::Relaxed) as usize;
        taken < self.capacity.div_ceil(4) && has < self.share(taken).div_ceil(4)
    }

    /// How many subjects an owner may have when so many are there.
    fn share(&self, taken: usize) -> usize {
        self.capacity.saturating_sub(taken).div_ceil(SHARE_OF_FREE)
    }

    pub(crate) fn give_back(&self, owner: Owner) {
        self.of(owner).fetch_sub(1, Ordering::Relaxed);
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes room for one more overflow counter.
    pub(crate) fn take_overflow(&self) -> bool {
        let one_more = |taken: usize| (taken < PLACES).then_some(taken + 1);
        self.overflow_taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
    }

    pub(crate) fn give_overflow_back(&self) {
        self.overflow_taken.fetch_sub(1, Ordering::Relaxed);
    }

    fn of(&self, owner: Owner) -> &AtomicU32 {
        &self.by_owner[owner.0 as usize % PLACES]
    }
}

// === impl Owner ===

impl Owner {
    /// Which of a rule's overflow counters is its. Says nothing about whom it has a share with.
    pub(crate) fn overflow_place(self) -> u64 {
        (self.0 >> 32) % PLACES as u64
    }
}

/// An owner may have one in so many of what is free. So `n` of them that want everything leave
/// `(16/17)^n` of the room: of 1, 10 and 40 owners, 94, 55 and 9 per cent.
const SHARE_OF_FREE: usize = 16;

/// Of shares, of overflow counters that a rule has, and of those that there are: so a rule alone
/// never runs out of them. Two owners meet with a probability of one in as many.
pub(crate) const PLACES: usize = 16_384;
