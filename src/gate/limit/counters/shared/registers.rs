//! Which server counts, and whether it has been told what this replica had spent before.
//!
//! A server that was restarted, or that has taken another's place, may know too little. It opens a
//! register, and grants nothing until all replicas have entered themselves: each of them after it has
//! told what its gates have spent. Until then limits are counted by shares.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Sharing;
use super::store::{Answer, NoGrant, SubjectId};

/// The register that a server has opened, by when it did so; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegisterId(pub(crate) u64);

/// What a look at a register says, or an entry in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    pub(crate) register: RegisterId,
    /// Whether all replicas have told what they had spent, so that units are granted.
    pub(crate) is_complete: bool,
}

/// What is to be entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Which one has been told what was spent before; 0 for a look.
    pub(crate) told: RegisterId,
    /// Whether anything may have been spent by another one before.
    pub(crate) is_late: bool,
}

/// Where replicas look at registers, and enter themselves.
pub(crate) trait RegisterBook: Send + Sync {
    /// Looks at the register of this part of the subjects, or enters this replica.
    fn enter(&self, part: usize, entry: Entry) -> Answer<Result<Entered, NoGrant>>;
}

/// The registers that one replica has met, for all its gates: of a cluster one for each part of the
/// subjects.
pub(crate) struct Registers {
    parts: Box<[Part]>,
    gates: Mutex<Vec<Weak<Sharing>>>,
}

#[derive(Default)]
struct Part {
    met: Mutex<Met>,
    /// Held while one tells and enters: the others wait for that.
    turn: tokio::sync::Mutex<()>,
    /// How often that was done.
    turns: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Met {
    register: RegisterId,
    /// Whether there was another one before.
    is_late: bool,
    is_told: bool,
    is_complete: bool,
}

/// How what a server says goes together with what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It is the one that was known when it was asked.
    Known,
    /// It was known then, and has been followed by another one meanwhile.
    Over,
    /// It was not.
    New,
}

impl Registers {
    pub(crate) fn new(parts: usize) -> Self {
        Self {
            parts: (0..parts.max(1)).map(|_| Part::default()).collect(),
            gates: Mutex::default(),
        }
    }

    /// Where a subject is counted.
    pub(crate) fn part_of(&self, SubjectId(id): SubjectId) -> usize {
        usize::from(id[0]) % self.parts.len()
    }

    /// Asks this gate, too, what it has spent.
    pub(super) fn add(&self, gate: &Arc<Sharing>) {
        let mut gates = self.gates();
        gates.retain(|gate| gate.strong_count() > 0);
        gates.push(Arc::downgrade(gate));
    }

    /// The one that was met last.
    pub(super) fn current(&self, part: usize) -> RegisterId {
        self.met(part).register
    }

    /// A server has answered what was asked when `known` was the one that was met last.
    pub(super) fn meet(&self, part: usize, answered: RegisterId, known: RegisterId) -> Meeting {
        let mut met = self.met(part);
        if met.register != answered {
            if answered == known {
                return Meeting::Over;
            }
            *met = Met {
                register: answered,
                is_late: met.register != RegisterId::default(),
                ..Met::default()
            };
        }
        match answered == known {
            true => Meeting::Known,
            false => Meeting::New,
        }
    }

    /// Looks at all of them, and does what is to be done so that they are complete.
    pub(crate) async fn visit(&self, book: &dyn RegisterBook) {
        for (number, part) in self.parts.iter().enumerate() {
            // Unless somebody is at it.
            if let Ok(_turn) = part.turn.try_lock() {
                self.enter(number, book).await;
            }
        }
    }

    /// Tells the server of this part what was spent, and enters itself. Whether all have by then.
    pub(super) async fn complete(&self, part: usize, book: &dyn RegisterBook) -> bool {
        let Part { turn, turns, .. } = &self.parts[part];
        let before = turns.load(Ordering::Acquire);
        let _turn = turn.lock().await;
        // Another one has done so meanwhile.
        if turns.load(Ordering::Acquire) != before {
            return self.met(part).is_complete;
        }
        let is_complete = self.enter(part, book).await;
        turns.fetch_add(1, Ordering::Release);
        is_complete
    }

    async fn enter(&self, part: usize, book: &dyn RegisterBook) -> bool {
        for _ in 0..MOST_TRIES {
            let met = *self.met(part);
            let is_known = met.register != RegisterId::default();
            if is_known && !met.is_told && !self.tell(part, met.register).await {
                return false;
            }
            let entry = Entry {
                told: match met.is_complete {
                    true => RegisterId::default(),
                    false => met.register,
                },
                is_late: met.is_late,
            };
            let Ok(entered) = book.enter(part, entry).await else {
                return false;
            };
            if self.meet(part, entered.register, met.register) == Meeting::Known {
                let mut met = self.met(part);
                met.is_told = true;
                met.is_complete = entered.is_complete;
                // Of a complete one nothing was entered, and it may not be complete any more.
                if entered.is_complete || entry.told == entered.register {
                    return entered.is_complete;
                }
            }
        }
        false
    }

    /// Whether all gates have told all that they have spent in this part.
    async fn tell(&self, part: usize, register: RegisterId) -> bool {
        let gates: Vec<_> = self.gates().iter().filter_map(Weak::upgrade).collect();
        for gate in gates {
            if !gate.tell(part, register).await {
                return false;
            }
        }
        true
    }

    fn met(&self, part: usize) -> MutexGuard<'_, Met> {
        let met = self.parts[part].met.lock();
        met.unwrap_or_else(PoisonError::into_inner)
    }

    fn gates(&self) -> MutexGuard<'_, Vec<Weak<Sharing>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers")
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

/// A server that is followed by another one while it is told has to be told again.
const MOST_TRIES: usize = 4;
