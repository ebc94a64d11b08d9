//! What other replicas have to be told yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Keys;
use super::entry::{Entry, Event, EventId, Stage};
use crate::clock::Now;
use crate::log::{GATE, Notice};
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::link::Link;
use crate::store::script::{Arg, Script};

/// Entries on their way into the stream, in the order of what they are about.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Changes when entries have left the queue, or are left to others.
    changed: watch::Sender<u64>,
    failing: Notice,
}

#[derive(Default)]
struct Queue {
    last: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    entry: Entry,
    since: Duration,
    is_out: bool,
}

/// Entries that one call has taken. Those that it has not brought in are left to the next.
struct Taken<'a> {
    outbox: &'a Outbox,
    numbers: Vec<u64>,
    are_in: bool,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            changed: watch::Sender::new(0),
            failing: Notice::new(),
        }
    }

    pub(super) fn push(&self, id: EventId, stage: Stage, event: Event, now: Now) {
        let mut queue = self.queue();
        if queue.waiting.len() >= MOST {
            queue.waiting.pop_front();
        }
        queue.last += 1;
        let waiting = Waiting {
            number: queue.last,
            entry: Entry { id, stage, event },
            since: now.monotonic,
            is_out: false,
        };
        queue.waiting.push_back(waiting);
    }

    /// How many entries the others have not been told of.
    pub(super) fn len(&self) -> usize {
        self.queue().waiting.len()
    }

    /// Brings in what is in the queue now, with who else is at it.
    ///
    /// One that is brought in twice, as its first call seemed to fail, is told from others by its id.
    ///
    /// # Errors
    ///
    /// Some of it is not in.
    pub(super) async fn flush(
        &self,
        link: &Arc<Link>,
        keys: &Keys,
        deadline: Duration,
    ) -> Result<(), StoreError> {
        let last = self.queue().last;
        let until = tokio::time::Instant::now() + deadline;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (taken, entries) = self.take(last);
            if entries.is_empty() {
                if self.is_in(last) {
                    return Ok(());
                }
                // Others are at it.
                let in_time = tokio::time::timeout_at(until, changed.changed()).await;
                if in_time.is_err() {
                    return Err(StoreError {
                        kind: StoreErrorKind::TimedOut,
                        sent_over: None,
                    });
                }
                continue;
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            self.bring_in(taken, &entries, link, keys, left).await?;
        }
    }

    async fn bring_in(
        &self,
        mut taken: Taken<'_>,
        entries: &[Vec<u8>],
        link: &Arc<Link>,
        keys: &Keys,
        deadline: Duration,
    ) -> Result<(), StoreError> {
        let born = super::random();
        let settings = [
            Arg::Int(KEPT_FOR),
            Arg::Int(KEPT_AT_MOST),
            Arg::Int(super::FORGOTTEN_AFTER),
            Arg::Bytes(born.as_bytes()),
        ];
        let entries = entries.iter().map(|entry| Arg::Bytes(entry));
        let args: Vec<_> = settings.into_iter().chain(entries).collect();
        let of_stream = [&keys.ledger, &keys.stream];
        let answer = link.run_within(deadline, &PUBLISH, &of_stream, &args).await;
        match answer {
            Ok(_) => {
                taken.are_in = true;
                if self.failing.is_over() {
                    tracing::info!(target: GATE, "other replicas are told of revocations again");
                }
                Ok(())
            }
            Err(error) => {
                if self.failing.is_first() {
                    tracing::warn!(
                        target: GATE,
                        reason = %error,
                        "other replicas could not be told of a revocation or a change: \
                         it is tried again, and until then their stated bounds hold"
                    );
                }
                Err(error)
            }
        }
    }

    /// The next entries up to that number that nobody has taken.
    fn take(&self, last: u64) -> (Taken<'_>, Vec<Vec<u8>>) {
        let mut queue = self.queue();
        let of_now = queue.waiting.iter_mut();
        let (numbers, entries) = of_now
            .filter(|waiting| !waiting.is_out && waiting.number <= last)
            .take(AT_ONCE)
            .map(|waiting| {
                waiting.is_out = true;
                (waiting.number, waiting.entry.to_bytes())
            })
            .unzip();
        let taken = Taken {
            outbox: self,
            numbers,
            are_in: false,
        };
        (taken, entries)
    }

    fn is_in(&self, last: u64) -> bool {
        let queue = self.queue();
        queue
            .waiting
            .front()
            .is_none_or(|first| first.number > last)
    }

    /// Lets go of what is too old to be of use.
    pub(super) fn forget_old(&self, now: Now) {
        let mut queue = self.queue();
        let old = Duration::from_millis(KEPT_FOR.unsigned_abs());
        while queue
            .waiting
            .front()
            .is_some_and(|first| now.monotonic.saturating_sub(first.since) > old)
        {
            queue.waiting.pop_front();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.numbers.is_empty() {
            return;
        }
        let mut queue = self.outbox.queue();
        if self.are_in {
            queue
                .waiting
                .retain(|waiting| !self.numbers.contains(&waiting.number));
        } else {
            let of_this = queue.waiting.iter_mut();
            of_this
                .filter(|waiting| self.numbers.contains(&waiting.number))
                .for_each(|waiting| waiting.is_out = false);
        }
        drop(queue);
        self.outbox.changed.send_modify(|changes| *changes += 1);
    }
}

static PUBLISH: Script = Script::new(include_str!("../scripts/publish.lua"));

/// Of entries in the stream, in milliseconds. Who has missed more than that verifies all again.
const KEPT_FOR: i64 = 15 * 60 * 1000;
/// About 30 MB of them.
const KEPT_AT_MOST: i64 = 100_000;
/// In one call.
const AT_ONCE: usize = 64;
/// Entries that wait for a store that is away: some 3 MB.
const MOST: usize = 10_000;
