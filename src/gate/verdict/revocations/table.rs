//! Names and what stands against them: any number of readers, one writer at a time.
//!
//! A change may be seen at any time while it is made. It has to be seen by those who know the number
//! of its event, and that is made known when the change is complete.

use std::num::NonZeroU64;

use crate::sync::atomic::{AtomicU64, Ordering};

/// A name as the table knows it: 64 bits of a keyed hash, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(NonZeroU64);

impl Fingerprint {
    /// Of a hash. 0 marks a free slot, so the one name in 2⁶⁴ that hashes to it shares another's.
    pub(super) fn of(hash: u64) -> Self {
        Self(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }
}

/// What stands against a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Revocations by calls whose outcome is not known.
    pub(super) undecided: u16,
    /// Whether there is one that was answered, or that no call stands behind.
    pub(super) is_revoked: bool,
    /// The number of the last fence, 0 for none.
    pub(super) fence: u64,
}

/// Open addressing over a power of two of slots. A name that has come stays until the table goes.
pub(super) struct Table {
    slots: Box<[TableSlot]>,
}

#[derive(Debug, Default)]
struct TableSlot {
    // 0 while it is free. Set once.
    name: AtomicU64,
    entry: AtomicU64,
}

impl Table {
    pub(super) fn with_slots(slots: usize) -> Self {
        let slots = slots.next_power_of_two();
        Self {
            slots: (0..slots).map(|_| TableSlot::default()).collect(),
        }
    }

    /// How many names it is made for: with more, a reader would pass by too many slots.
    pub(super) fn capacity(&self) -> usize {
        self.slots.len() - self.slots.len() / 4
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    #[cfg(all(test, not(wacht_shuttle)))]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    pub(super) fn get(&self, name: Fingerprint) -> Entry {
        match self.slot(name) {
            Some((slot, taken)) if taken == name.0.get() => {
                Entry::unpacked(slot.entry.load(Ordering::Acquire))
            }
            _ => Entry::default(),
        }
    }

    pub(super) fn has(&self, name: Fingerprint) -> bool {
        self.slot(name).is_some_and(|(_, taken)| taken != 0)
    }

    /// Puts an entry in the place of the name's. Says whether the name is new, and `None` if there
    /// is no slot left. For one writer at a time.
    pub(super) fn set(&self, name: Fingerprint, entry: Entry) -> Option<bool> {
        let (slot, taken) = self.slot(name)?;
        let is_new = taken == 0;
        if is_new {
            slot.name.store(name.0.get(), Ordering::Release);
        }
        slot.entry.store(entry.packed(), Ordering::Release);
        Some(is_new)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Fingerprint, Entry)> {
        self.slots.iter().filter_map(|slot| {
            let name = NonZeroU64::new(slot.name.load(Ordering::Acquire))?;
            let entry = slot.entry.load(Ordering::Acquire);
            Some((Fingerprint(name), Entry::unpacked(entry)))
        })
    }

    /// The slot of a name, or the free one where it belongs, and which name is in it.
    fn slot(&self, name: Fingerprint) -> Option<(&TableSlot, u64)> {
        // The number of slots is a power of two.
        let home = name.0.get() as usize & (self.slots.len() - 1);
        let (before, from_home) = self.slots.split_at_checked(home)?;
        from_home
            .iter()
            .chain(before)
            .map(|slot| (slot, slot.name.load(Ordering::Acquire)))
            .find(|(_, taken)| *taken == name.0.get() || *taken == 0)
    }
}

impl Entry {
    /// One that stays however many of the others are taken back.
    const MOST_UNDECIDED: u16 = (1 << 15) - 1;

    pub(super) fn stands(&self) -> bool {
        self.is_revoked || self.undecided > 0
    }

    /// What is in either.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            undecided: self.undecided.max(other.undecided),
            is_revoked: self.is_revoked || other.is_revoked,
            fence: self.fence.max(other.fence),
        }
    }

    pub(super) fn record(&mut self) {
        self.undecided = (self.undecided + 1).min(Self::MOST_UNDECIDED);
    }

    pub(super) fn undo(&mut self) {
        // So many that they could not be counted: they go with the table.
        if self.undecided < Self::MOST_UNDECIDED {
            self.undecided = self.undecided.saturating_sub(1);
        }
    }

    /// In one word, so that a reader sees all of it or nothing: 48 bits for the fence last for nine
    /// years of a million a second.
    fn packed(self) -> u64 {
        u64::from(self.undecided) << 49 | u64::from(self.is_revoked) << 48 | self.fence & FENCE
    }

    fn unpacked(word: u64) -> Self {
        Self {
            undecided: (word >> 49) as u16,
            is_revoked: word >> 48 & 1 == 1,
            fence: word & FENCE,
        }
    }
}

const FENCE: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> Fingerprint {
        Fingerprint::of(number)
    }

    #[test]
    fn an_entry_is_one_word() {
        for undecided in [0, 1, Entry::MOST_UNDECIDED] {
            for is_revoked in [false, true] {
                for fence in [0, 1, FENCE] {
                    let entry = Entry {
                        undecided,
                        is_revoked,
                        fence,
                    };
                    assert_eq!(Entry::unpacked(entry.packed()), entry);
                    let stands = is_revoked || undecided > 0;
                    assert_eq!(entry.stands(), stands);
                }
            }
        }
    }

    #[test]
    fn names_that_belong_in_one_slot_are_told_apart_and_run_on_at_the_front() {
        let table = Table::with_slots(8);
        // All of them at home in the last slot.
        let names = [7, 15, 23, 31].map(name);
        for (fence, name) in (1..).zip(names) {
            let entry = Entry {
                fence,
                ..Entry::default()
            };
            assert_eq!(table.get(name), Entry::default());
            assert_eq!(table.set(name, entry), Some(true));
            assert_eq!(table.set(name, entry), Some(false));
        }
        for (fence, name) in (1..).zip(names) {
            assert_eq!(table.get(name).fence, fence);
        }
        assert_eq!(table.get(name(39)), Entry::default());
        assert_eq!(table.iter().count(), 4);
    }

    #[test]
    fn a_full_table_says_so_and_goes_on_answering() {
        let table = Table::with_slots(4);
        let entry = Entry {
            is_revoked: true,
            ..Entry::default()
        };
        for number in 1..=4 {
            assert_eq!(table.set(name(number), entry), Some(true));
        }
        assert_eq!(table.set(name(5), entry), None);
        assert_eq!(table.get(name(5)), Entry::default());
        assert!(table.get(name(3)).is_revoked);
    }

    #[test]
    fn what_was_counted_too_often_to_count_stays() {
        let mut entry = Entry::default();
        entry.record();
        entry.undo();
        assert!(!entry.stands());
        for _ in 0..100_000 {
            entry.record();
        }
        for _ in 0..100_000 {
            entry.undo();
        }
        assert!(entry.stands());
    }
}
