//! The reader: what other replicas say, as soon as they have said it.
//!
//! It is a claim, which a request takes and a task on that request's runtime carries out, one step
//! after the other: a look at the store, and a read that waits for what is new. Each step ends by
//! itself, so a runtime that is dropped or stands still does not keep the others from reading.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{Cmd, cmd};
use tokio::runtime::Handle;

use super::answer::{Read, StreamId, entries};
use super::seen::Seen;
use super::{FORGOTTEN_AFTER, Replica, random};
use crate::log::{GATE, Notice};
use crate::store::error::StoreError;
use crate::store::link::Link;
use crate::store::script::{Arg, Script};
use crate::store::server::Wire;

/// How far the stream has been read.
pub(super) struct Reader {
    claim: Option<Claim>,
    claims: u64,
    place: Option<Place>,
    pub(super) seen: Seen,
    next_look: Duration,
    /// Entries that no replica can have made.
    garbage: u64,
    told_of_garbage: Notice,
    missed: u64,
    behind: u64,
}

struct Claim {
    id: u64,
    lapses_at: Duration,
}

/// A place in the stream, behind what has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Which stream it is.
    born: String,
    /// The number of the last entry; `None` before the first, where reading begins in the middle.
    seq: Option<u64>,
    id: StreamId,
}

/// What a look at the store says.
pub(super) struct Look {
    born: String,
    seq: u64,
    last: StreamId,
    now: u64,
}

/// The reader's task, on whichever runtime.
struct Task {
    replica: Weak<Replica>,
    claim: u64,
    link: Arc<Link>,
    wire: Option<Wire>,
    /// The number of the last entry at the last look, until that has been read.
    expected: Option<u64>,
}

/// What the reader says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    pub(super) garbage: u64,
    pub(super) missed: u64,
    pub(super) behind: u64,
}

// === impl Replica ===

impl Replica {
    /// Takes the claim, if nobody has it or it has lapsed, and starts reading on this runtime.
    pub(super) fn claim(&self) {
        let (Ok(runtime), Some(me)) = (Handle::try_current(), self.me.upgrade()) else {
            return;
        };
        let now = self.clock.now().monotonic;
        let mut reader = self.reader();
        if reader
            .claim
            .as_ref()
            .is_some_and(|held| now < held.lapses_at)
        {
            return;
        }
        reader.claims += 1;
        let claim = reader.claims;
        reader.claim = Some(Claim {
            id: claim,
            lapses_at: now + STEP,
        });
        self.is_idle.store(false, Ordering::Release);
        // A runtime that is shutting down drops the task at once, and its end takes the lock.
        drop(reader);
        let task = Task {
            replica: Arc::downgrade(&me),
            claim,
            link: Arc::clone(&self.link),
            wire: None,
            expected: None,
        };
        runtime.spawn(task.run());
    }

    /// Goes on with the claim, unless it is another's by now.
    fn renew(&self, claim: u64) -> bool {
        let now = self.clock.now().monotonic;
        let mut reader = self.reader();
        match &mut reader.claim {
            Some(held) if held.id == claim => {
                held.lapses_at = now + STEP;
                true
            }
            _ => false,
        }
    }

    fn abandoned(&self, claim: u64) {
        let mut reader = self.reader();
        if reader.claim.as_ref().is_some_and(|held| held.id == claim) {
            reader.claim = None;
            self.is_idle.store(true, Ordering::Release);
        }
    }

    /// Looks at the store if that is due: how far the stream is by now.
    async fn look(&self) -> Option<u64> {
        let now = self.clock.now().monotonic;
        {
            let mut reader = self.reader();
            if now < reader.next_look {
                return None;
            }
            reader.next_look = now + LOOKS;
        }
        match self.look_at_store(LOOK_WITHIN).await {
            Ok(look) => {
                self.visit_registers();
                self.looked(&look)
            }
            Err(_) => {
                // The link says so. Soon again: it may be back.
                self.reader().next_look = Duration::ZERO;
                None
            }
        }
    }

    /// Asks the store how far the stream is, and says that this replica is alive.
    pub(super) async fn look_at_store(&self, within: Duration) -> Result<Look, StoreError> {
        let keys = [&self.keys.ledger, &self.keys.stream, &self.keys.members];
        let (id, born) = (self.id(), random());
        let args = [
            Arg::Bytes(id.as_bytes()),
            Arg::Int(ALIVE_FOR),
            Arg::Int(FORGOTTEN_AFTER),
            Arg::Bytes(born.as_bytes()),
        ];
        let answer = self.link.run_within(within, &LOOK, &keys, &args).await?;
        let (born, seq, last, now, alive): (String, u64, String, u64, u32) = answer.read()?;
        self.members.seen(alive, self.clock.now());
        let last = StreamId::parse(&last).unwrap_or_default();
        Ok(Look {
            born,
            seq,
            last,
            now,
        })
    }

    /// Holds what the store says against what has been read. Up to which number there is something
    /// to read.
    fn looked(&self, look: &Look) -> Option<u64> {
        let mut reader = self.reader();
        let beginning = |id| Place {
            born: look.born.clone(),
            seq: None,
            id,
        };
        let Some(place) = &reader.place else {
            let since = look.now.saturating_sub(LOOK_BACK);
            reader.place = Some(beginning(StreamId(since, 0)));
            return None;
        };
        let is_another = place.born != look.born;
        let went_back = look.last < place.id || place.seq.is_some_and(|seq| look.seq < seq);
        if is_another || went_back {
            // All that there is of it is read from the beginning; what was read before is known.
            reader.place = Some(beginning(StreamId::default()));
            self.missed(
                reader,
                "the stream of events is another one, or has lost its end",
            );
            return None;
        }
        if place.seq.is_none() && look.last <= place.id {
            // Nothing has been said for so long: whatever comes is the next.
            if let Some(place) = &mut reader.place {
                place.seq = Some(look.seq);
            }
        }
        reader.behind = match reader.place.as_ref().and_then(|place| place.seq) {
            Some(seq) => look.seq.saturating_sub(seq),
            None => 0,
        };
        Some(look.seq)
    }

    fn place(&self) -> Option<StreamId> {
        self.reader().place.as_ref().map(|place| place.id)
    }

    /// Takes what was read; `expected` is the number of the entry that was there before the read
    /// began, if that was looked for.
    fn take(&self, read: Vec<Read>, is_all: bool, expected: Option<u64>) {
        for Read { id, fields } in read {
            let mut reader = self.reader();
            let garbage = fields.as_ref().is_none_or(|fields| fields.entry.is_none());
            let Some(place) = &mut reader.place else {
                return;
            };
            place.id = id;
            let mut is_gap = false;
            if let Some(fields) = &fields {
                is_gap = fields.born != place.born
                    || place
                        .seq
                        .is_some_and(|seq| fields.seq != seq.wrapping_add(1));
                place.born.clone_from(&fields.born);
                place.seq = Some(fields.seq);
            }
            if garbage {
                reader.garbage += 1;
                if reader.told_of_garbage.is_first() {
                    tracing::warn!(
                        target: GATE,
                        "the store's stream of events has entries that no replica of this version \
                         makes: they are skipped"
                    );
                }
            }
            match is_gap {
                true => self.missed(reader, "entries are missing from the stream of events"),
                false => drop(reader),
            }
            if let Some(entry) = fields.and_then(|fields| fields.entry) {
                self.apply(entry);
            }
        }
        let mut reader = self.reader();
        let Some(place) = &mut reader.place else {
            return;
        };
        let Some(expected) = expected.filter(|_| is_all) else {
            return;
        };
        let is_short = place.seq.is_some_and(|seq| seq < expected);
        place.seq = place.seq.max(Some(expected));
        reader.behind = 0;
        if is_short {
            self.missed(
                reader,
                "entries were dropped from the stream of events unread",
            );
        }
    }

    fn missed(&self, mut reader: MutexGuard<'_, Reader>, why: &'static str) {
        reader.missed += 1;
        drop(reader);
        tracing::warn!(
            target: GATE,
            why,
            "revocations of other replicas may have been missed: all keys are verified again"
        );
        if let Some(events) = self.events.upgrade() {
            events.missed();
        }
    }

    /// What the reader has seen so far.
    pub(super) fn reading(&self) -> Reading {
        let reader = self.reader();
        Reading {
            garbage: reader.garbage,
            missed: reader.missed,
            behind: reader.behind,
        }
    }

    pub(super) fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            claim: None,
            claims: 0,
            place: None,
            seen: Seen::default(),
            next_look: Duration::ZERO,
            garbage: 0,
            told_of_garbage: Notice::new(),
            missed: 0,
            behind: 0,
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        // Whoever dropped the client needs no news any more.
        while self.is_wanted() {
            if !self.step().await {
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let Some(replica) = self.replica.upgrade() else {
            return false;
        };
        // What was said where there was no runtime.
        if replica.outbox.len() > 0 {
            replica.tell_in_background();
        }
        replica.renew(self.claim)
    }

    /// One look and one read. Whether the store had an answer.
    async fn step(&mut self) -> bool {
        let Some(mut wire) = self.connect().await else {
            return false;
        };
        let Some(read) = self.next_read().await else {
            return false;
        };
        let answer = tokio::time::timeout(READ_WITHIN, wire.send(&read)).await;
        let Some(replica) = self.replica.upgrade() else {
            return true;
        };
        // In vain, if the claim was lost on the way: another reads from the same place.
        if !replica.renew(self.claim) {
            return true;
        }
        let Ok(Ok(answer)) = answer else {
            self.wire = None;
            return false;
        };
        let read = entries(answer);
        let is_all = read.len() < AT_ONCE;
        replica.take(read, is_all, self.expected);
        if is_all {
            self.expected = None;
        }
        replica.settle_overdue();
        true
    }

    /// A connection of the reader's own: on any other one, calls would wait behind the read.
    async fn connect(&mut self) -> Option<Wire> {
        if self.wire.is_none() {
            let connecting = tokio::time::timeout(CONNECT_WITHIN, self.link.wire());
            self.wire = Some(connecting.await.ok()?.ok()?);
            // It may have gone by a server that has lost everything.
            if let Some(replica) = self.replica.upgrade() {
                replica.reader().next_look = Duration::ZERO;
            }
        }
        self.wire.clone()
    }

    /// The read that is next; `None` until it is known where to begin.
    async fn next_read(&mut self) -> Option<Cmd> {
        let replica = self.replica.upgrade()?;
        if let Some(seq) = replica.look().await {
            self.expected = Some(seq);
        }
        let StreamId(milliseconds, number) = replica.place()?;
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(AT_ONCE).arg("BLOCK").arg(READ_WAITS);
        read.arg("STREAMS").arg(replica.keys.stream.name());
        read.arg(format!("{milliseconds}-{number}"));
        Some(read)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(replica) = self.replica.upgrade() {
            replica.abandoned(self.claim);
        }
    }
}

static LOOK: Script = Script::new(include_str!("../scripts/step.lua"));

/// How often the store is looked at, and told that this replica is alive.
const LOOKS: Duration = Duration::from_secs(1);
/// In milliseconds.
const ALIVE_FOR: i64 = 5_000;
/// In milliseconds: as long as a verdict can be used by default. A replica that starts has none yet,
/// so all that it has to know of is what the gateway may not have heard of, which is the last minute.
const LOOK_BACK: u64 = 460_000;
const LOOK_WITHIN: Duration = Duration::from_millis(500);
/// In milliseconds.
const READ_WAITS: u64 = 1_000;
const READ_WITHIN: Duration = Duration::from_millis(2_000);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// All of that, and a margin.
const STEP: Duration = Duration::from_secs(6);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// Entries in one read.
const AT_ONCE: usize = 256;
