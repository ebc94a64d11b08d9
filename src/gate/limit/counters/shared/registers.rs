//! Which server counts, and whether it has been told what this replica had spent before.
//!
//! A server that was restarted, or that has taken another's place, may know too little. It opens a
//! register, and grants nothing until all replicas have entered themselves: each of them after it has
//! told what its gates have spent. Until then limits are counted by shares.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Sharing;
use super::store::{Answer, NoGrant, SubjectId};

/// The register that a server has opened, by when it did so; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The one that was met last: a server whose own is older was away while another one counted.
    pub(crate) met: RegisterId,
    /// Whether that one has been told what was spent before; otherwise this is a look.
    pub(crate) is_told: bool,
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

struct Part {
    met: Mutex<Met>,
    turn: Mutex<Option<Turn>>,
    /// How many turns are over: the others wait for that.
    turns: watch::Sender<u64>,
}

/// Whose turn it is to tell and to enter.
#[derive(Clone, Copy, Debug)]
struct Turn {
    number: u64,
    /// A runtime that stands still does not keep the others from it.
    lapses_at: Instant,
}

/// Ends a turn, whatever becomes of it.
struct Claim {
    registers: Arc<Registers>,
    part: usize,
    number: u64,
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
    /// It has been followed by another one.
    Over,
    /// It was not.
    New,
}

impl Registers {
    pub(crate) fn new(parts: usize) -> Self {
        Self {
            parts: (0..parts.max(1)).map(|_| Part::new()).collect(),
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
        self.met(part).meet(answered, known)
    }

    /// Looks at all of them, and does what is to be done so that they are complete.
    pub(crate) async fn visit(self: &Arc<Self>, book: &dyn RegisterBook) {
        for part in 0..self.parts.len() {
            // Unless somebody is at it.
            if let Some(claim) = self.claim(part) {
                self.enter(part, book).await;
                drop(claim);
            }
        }
    }

    /// Has the server of this part told what was spent, and this replica entered, unless somebody is
    /// at it: in a task of its own, so that a caller who hangs up does not hold up the others. Comes
    /// back when that is over, with whether all have entered.
    pub(super) fn complete(
        self: &Arc<Self>,
        part: usize,
        book: Arc<dyn RegisterBook>,
    ) -> impl Future<Output = bool> + Send + use<> {
        let mut turns = self.parts[part].turns.subscribe();
        if let (Some(claim), Ok(runtime)) = (self.claim(part), Handle::try_current()) {
            runtime.spawn(async move {
                claim.registers.enter(part, &*book).await;
            });
        }
        let registers = Arc::clone(self);
        async move {
            let _ = turns.changed().await;
            registers.met(part).is_complete
        }
    }

    /// Takes the turn to tell and to enter, if it is nobody's.
    fn claim(self: &Arc<Self>, part: usize) -> Option<Claim> {
        let now = Instant::now();
        let mut turn = self.parts[part].turn();
        if turn.is_some_and(|turn| now < turn.lapses_at) {
            return None;
        }
        let number = turn.map_or(0, |turn| turn.number + 1);
        *turn = Some(Turn {
            number,
            lapses_at: now + LAPSES_AFTER,
        });
        drop(turn);
        Some(Claim {
            registers: Arc::clone(self),
            part,
            number,
        })
    }

    async fn enter(&self, part: usize, book: &dyn RegisterBook) {
        for _ in 0..MOST_TRIES {
            let met = *self.met(part);
            let is_known = met.register != RegisterId::default();
            if is_known && !met.is_told && !self.tell(part, met.register).await {
                return;
            }
            let entry = Entry {
                met: met.register,
                is_told: is_known && !met.is_complete,
                is_late: met.is_late,
            };
            let Ok(entered) = book.enter(part, entry).await else {
                return;
            };
            let mut now_met = self.met(part);
            if now_met.meet(entered.register, met.register) == Meeting::Known {
                now_met.is_told = true;
                now_met.is_complete = entered.is_complete;
                // Of a complete one nothing was entered, and it may not be complete any more.
                if entered.is_complete || entry.is_told {
                    return;
                }
            }
        }
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

impl Part {
    fn new() -> Self {
        Self {
            met: Mutex::default(),
            turn: Mutex::default(),
            turns: watch::Sender::new(0),
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Met {
    fn meet(&mut self, answered: RegisterId, known: RegisterId) -> Meeting {
        // Of two servers the one that counts by now has opened its register later.
        if answered < self.register {
            return Meeting::Over;
        }
        if self.register != answered {
            *self = Self {
                register: answered,
                is_late: self.register != RegisterId::default(),
                ..Self::default()
            };
        }
        match answered == known {
            true => Meeting::Known,
            false => Meeting::New,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let part = &self.registers.parts[self.part];
        let mut turn = part.turn();
        // Unless it has lapsed and is another's by now.
        if let Some(turn) = turn.as_mut().filter(|turn| turn.number == self.number) {
            turn.lapses_at = Instant::now();
        }
        drop(turn);
        part.turns.send_modify(|turns| *turns += 1);
    }
}

impl fmt::Debug for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registers")
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

/// All of a large service has been told within it, or the rest is when the next one is at it.
const LAPSES_AFTER: Duration = Duration::from_secs(5);
/// A server that is followed by another one while it is told has to be told again.
const MOST_TRIES: usize = 4;
