//! Who waits for the store, and what such a request holds.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::super::reading::{ClockReading, Moment};
use super::SharedCounter;
use super::ask::Errand;
use super::pool::LeaseId;
use super::state::SharedState;
use super::store::SubjectId;

/// What a request waits for: the units of each rule that has none in memory.
pub(crate) struct Asking {
    subjects: SmallVec<[Asked; 2]>,
    held: Held,
}

pub(super) enum Asked {
    /// By this request, which gets its units first.
    Own(SubjectId, oneshot::Receiver<Answered>),
    /// By another one.
    Joined(watch::Receiver<()>),
}

/// What a request that has waited holds.
pub(crate) struct Held {
    reserved: SmallVec<[Reserved; 2]>,
    /// Who was refused to it, and until when that is remembered.
    refused: SmallVec<[(SubjectId, Moment); 1]>,
    /// By then it is decided, whether the store has answered or not.
    until: Instant,
}

/// Units of one lease that are for one request. Dropped, they are for anybody.
pub(super) struct Reserved {
    pub(super) state: Arc<SharedState>,
    pub(super) subject: SubjectId,
    pub(super) lease: LeaseId,
    pub(super) units: u32,
}

/// What the store has said to a request that waits.
pub(super) enum Answered {
    Units(Reserved),
    /// Remembered until then.
    Refused(Moment),
    /// None are granted before all replicas have told what they have spent.
    Incomplete(Arc<SharedCounter>),
}

// === impl Asking ===

impl Asking {
    /// A request that waits for the store at most so long, all its askings together.
    pub(crate) fn new(held: Option<Held>, deadline: Duration) -> Self {
        Self {
            subjects: SmallVec::new(),
            held: held.unwrap_or_else(|| Held {
                reserved: SmallVec::new(),
                refused: SmallVec::new(),
                until: after(deadline),
            }),
        }
    }

    /// One rule more to ask about.
    pub(crate) fn add(
        &mut self,
        counter: &Arc<SharedCounter>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        cost: u32,
        now: ClockReading,
    ) {
        let asked = counter.ask(state, subject, Errand::Request(cost), now);
        self.subjects.extend(asked);
    }

    /// Comes back when all have been answered, or the time is over.
    pub(crate) async fn wait(mut self) -> Held {
        for asked in self.subjects {
            let until = self.held.until;
            match asked {
                Asked::Own(subject, answered) => {
                    match tokio::time::timeout_at(until, answered).await {
                        Ok(Ok(Answered::Units(units))) => self.held.reserved.push(units),
                        Ok(Ok(Answered::Refused(until))) => {
                            self.held.refused.push((subject, until));
                        }
                        Ok(Ok(Answered::Incomplete(counter))) => {
                            let complete = counter.complete(subject);
                            if tokio::time::timeout_at(until, complete).await != Ok(true) {
                                counter.go_by_shares();
                            }
                        }
                        // No answer.
                        Ok(Err(_)) | Err(_) => {}
                    }
                }
                Asked::Joined(mut answered) => {
                    // Its sender says nothing and goes.
                    let _ = tokio::time::timeout_at(until, answered.changed()).await;
                }
            }
        }
        self.held
    }
}

// === impl Held ===

impl Held {
    /// Whether there is time to ask once more.
    pub(crate) fn may_wait(&self) -> bool {
        Instant::now() < self.until
    }

    /// What it was told of this subject: that so many units may be spent now, or how long none are
    /// granted still. `None` if nothing.
    pub(crate) fn says(
        &self,
        subject: SubjectId,
        cost: u32,
        now: Moment,
    ) -> Option<Result<(), Duration>> {
        if self
            .reserved
            .iter()
            .any(|units| units.is_for(subject, cost, now))
        {
            return Some(Ok(()));
        }
        let mut refused = self.refused.iter();
        let (_, until) = refused.find(|(refused, _)| *refused == subject)?;
        let wait = until.0.checked_sub(now.0).filter(|wait| *wait > 0)?;
        Some(Err(Duration::from_nanos(wait)))
    }

    /// Spends what is reserved for this subject.
    pub(crate) fn spend(&mut self, subject: SubjectId, cost: u32, now: Moment) -> Option<LeaseId> {
        let mut all = self.reserved.iter();
        let place = all.position(|units| units.is_for(subject, cost, now))?;
        let mut units = self.reserved.swap_remove(place);
        units.units = 0;
        Some(units.lease)
    }
}

// === impl Reserved ===

impl Reserved {
    fn is_for(&self, subject: SubjectId, cost: u32, now: Moment) -> bool {
        self.subject == subject && self.units == cost && self.state.pool.is_good(self.lease, now)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.units > 0 {
            self.state.pool.put_back(self.lease, self.units);
        }
    }
}

fn after(deadline: Duration) -> Instant {
    let now = Instant::now();
    // What is no moment any more is longer than anybody waits.
    let latest = now.checked_add(deadline.min(LONGEST_WAIT));
    latest.unwrap_or(now)
}

const LONGEST_WAIT: Duration = Duration::from_secs(3600);
