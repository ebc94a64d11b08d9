//! One asking of the store for a subject.
//!
//! It is a task of its own: a caller who hangs up leaves what was granted to others. After the answer
//! it stays until the lease ends, and gives back what nobody has spent.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::super::reading::ClockReading;
use super::answer::Filed;
use super::state::{Known, SharedState};
use super::store::{LeaseRequest, SubjectId};
use super::waiting::{Answered, Asked, Reserved};
use super::{SharedCounter, Sharing};
use crate::clock::nanoseconds;

/// What an asking is for.
#[derive(Clone, Copy)]
pub(super) enum Errand {
    /// A request that waits, of this cost.
    Request(u32),
    /// More units, or to see how the store is, behind a request.
    Behind,
    /// To tell what was spent or booked, and no more.
    Tell,
}

impl SharedCounter {
    /// Asks the store about a subject, or joins the asking that is out. `None` where nobody can ask.
    pub(super) fn ask(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        errand: Errand,
        now: ClockReading,
    ) -> Option<Asked> {
        let lease = self.lease?;
        let runtime = Handle::try_current().ok()?;
        let mut known = state.known();
        if let Some(asking) = &known.asking {
            let joined = Asked::Joined(asking.clone());
            known.waiting = known.waiting.saturating_add(1);
            return Some(joined);
        }
        if !known.is_spender {
            known.is_spender = true;
            self.sharing.spenders.add(self, state, subject);
        }
        let request = self.request(&mut known, state, subject, errand, lease, now);
        let (answered, asking) = watch::channel(());
        let (tx, rx) = oneshot::channel();
        known.asking = Some(asking);
        known.waiting = 0;
        state.pool.set_asking(true);
        drop(known);
        let task = AskingTask {
            counter: Arc::clone(self),
            state: Arc::clone(state),
            request,
            over: AskingOver(Arc::clone(state)),
        };
        let waits = match errand {
            Errand::Request(_) => Some(tx),
            Errand::Behind | Errand::Tell => None,
        };
        runtime.spawn(task.run(waits, answered));
        Some(Asked::Own(subject, rx))
    }

    /// Asks behind a request: nobody waits for it.
    pub(in crate::gate::limit) fn ask_behind(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        now: ClockReading,
    ) {
        let _ = self.ask(state, subject, Errand::Behind, now);
    }

    /// Books units that a request has turned out to cost. Nothing more is spent of what was granted
    /// before, so that they are paid for first.
    pub(in crate::gate::limit) fn book_debt(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        units: u32,
        now: ClockReading,
    ) {
        let mut known = state.known();
        known.debt = known.debt.saturating_add(units).min(self.max);
        let ended = self.end_all(&mut known, state, now);
        drop(known);
        for (left, of) in ended {
            self.give_back(state, subject, left, of);
        }
        let _ = self.ask(state, subject, Errand::Tell, now);
    }

    fn request(
        &self,
        known: &mut Known,
        state: &SharedState,
        subject: SubjectId,
        errand: Errand,
        lease: Duration,
        now: ClockReading,
    ) -> LeaseRequest {
        known.record_spent(&state.pool, &self.spent_window, now);
        let breaks = self.sharing.store.breaks();
        let period = self.spent_window.start(now);
        if known.breaks != breaks.count {
            // Another server may answer now, and may not know of the last second.
            if known.was_heard {
                let lost = known.last_second.before(breaks.last());
                known.add_untold(lost, period);
                self.end_all(known, state, now);
            }
            known.breaks = breaks.count;
            known.was_heard = false;
        }
        let expected = known.demand.expected(now.monotonic, nanoseconds(lease));
        let (need, waiting) = match errand {
            Errand::Request(cost) => (cost, known.waiting),
            Errand::Behind | Errand::Tell => (0, 0),
        };
        let at_once = self.max.div_ceil(8);
        let pooled = state.pool.left(now.monotonic);
        let room = self.max.div_ceil(2).saturating_sub(pooled);
        let ahead = match errand {
            Errand::Request(_) | Errand::Behind if expected / 2.0 >= 1.0 => {
                (expected * 3.0 / 4.0).ceil() as u32
            }
            _ => 0,
        };
        state.pool.set_low(ahead / 4);
        let want = ahead
            .saturating_sub(pooled)
            .max(need.saturating_add(waiting))
            .min(at_once)
            .min(room)
            .max(need);
        let spent = self.spent_window.in_last(&known.spent, now);
        // Of what was spent while nobody could be told, the last window counts.
        let told = match known.untold_period == period {
            true => known.untold.min(spent),
            false => 0,
        };
        known.telling = known.untold;
        LeaseRequest {
            subject,
            counting: self.counting,
            max: self.max,
            window: self.window,
            lease,
            need,
            want,
            told,
            epoch: known.epoch,
            spent: spent.saturating_sub(told),
            period,
            debt: known.debt,
        }
    }
}

/// The asking that is out for a subject.
struct AskingTask {
    counter: Arc<SharedCounter>,
    state: Arc<SharedState>,
    request: LeaseRequest,
    over: AskingOver,
}

impl AskingTask {
    async fn run(self, waits: Option<oneshot::Sender<Answered>>, answered: watch::Sender<()>) {
        let Self {
            counter,
            state,
            request,
            over,
        } = self;
        let (counter, state, request) = (&counter, &state, &request);
        let answer = counter.sharing.store.ask(*request).await;
        let now = ClockReading::from(counter.sharing.clock.now());
        let put = match answer {
            Ok(grant) => {
                counter.sharing.tell_after_break(now);
                counter.put(state, request, &grant, now)
            }
            Err(no_grant) => {
                let mut known = state.known();
                if no_grant.may_have_counted {
                    // Booked at most once: nobody pays twice for it.
                    known.debt = known.debt.saturating_sub(request.debt);
                }
                Filed::Nothing
            }
        };
        let said = match &put {
            Filed::Lease(put) => Some(Answered::Units(Reserved {
                state: Arc::clone(state),
                subject: request.subject,
                lease: put.lease,
                units: request.need,
            })),
            Filed::Refused(until) => Some(Answered::Refused(*until)),
            Filed::Nothing => None,
        };
        if let (Some(waits), Some(said)) = (waits, said) {
            // Units go back into the pool where nobody waits any more.
            let _ = waits.send(said);
        }
        drop(over);
        drop(answered);
        if let Filed::Lease(put) = put {
            let _out = counter.sharing.leases_out.add(put.units);
            for (left, of) in put.before {
                counter.give_back(state, request.subject, left, of);
            }
            tokio::time::sleep(put.lasts).await;
            counter.end(state, request.subject, put.lease);
        }
    }
}

impl Sharing {
    /// The store answers. If that is for the first time since a break, it may have forgotten, and all
    /// tell what they have spent before others are granted it again.
    fn tell_after_break(&self, now: ClockReading) {
        let breaks = self.store.breaks();
        let Some(spenders) = self.spenders.after_break(breaks.count) else {
            return;
        };
        for spender in spenders {
            if let Some((counter, state)) = spender.upgrade()
                && state.known().breaks != breaks.count
            {
                let _ = counter.ask(&state, spender.subject, Errand::Tell, now);
            }
        }
    }
}

/// Whatever becomes of the task, the next one may ask; also where its runtime ends before it begins.
struct AskingOver(Arc<SharedState>);

impl Drop for AskingOver {
    fn drop(&mut self) {
        self.0.known().asking = None;
        self.0.pool.set_asking(false);
    }
}
