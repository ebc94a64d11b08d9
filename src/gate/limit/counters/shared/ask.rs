//! One asking of the store for a subject.
//!
//! It is a task of its own: a caller who hangs up leaves what was granted to others. After the answer
//! it stays until the lease ends, and gives back what nobody has spent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::super::reading::ClockReading;
use super::answer::Filed;
use super::registers::{RegisterBook, RegisterId};
use super::state::{Known, SharedState};
use super::store::{LeaseRequest, SubjectId};
use super::waiting::{Answered, Asked, Reserved};
use super::{SHORTEST_LEASE, SharedCounter, Sharing, after};
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
        // One whose runtime stands still is nobody's to wait for.
        let is_out = now.monotonic.0 < after(known.asking_since, LONGEST_ASKING).0;
        if let Some(asking) = known.asking.as_ref().filter(|_| is_out) {
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
        known.asking = Some(asking.clone());
        known.asking_since = now.monotonic;
        known.waiting = 0;
        state.pool.set_asking(true);
        drop(known);
        let task = AskingTask {
            counter: Arc::clone(self),
            state: Arc::clone(state),
            request,
            errand,
            over: AskingOver {
                state: Arc::clone(state),
                asking,
            },
        };
        runtime.spawn(task.run(tx, answered));
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
        let period = self.spent_window.start(now);
        let registers = self.sharing.store.registers();
        let register = registers.current(registers.part_of(subject));
        if known.register != register {
            // Who counts by now is told of all that was spent of these, and has granted none of them.
            self.end_all(known, state, now);
            known.register = register;
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
            seen: known.seen,
            spent: spent.saturating_sub(told),
            recent: known.recent.until(known.seen),
            heard: known.told,
            period,
            debt: known.debt,
            register,
            leased: known.leased,
        }
    }
}

/// The asking that is out for a subject.
struct AskingTask {
    counter: Arc<SharedCounter>,
    state: Arc<SharedState>,
    request: LeaseRequest,
    errand: Errand,
    over: AskingOver,
}

impl AskingTask {
    async fn run(self, waits: oneshot::Sender<Answered>, answered: watch::Sender<()>) {
        let Self {
            counter,
            state,
            request,
            errand,
            over,
        } = self;
        let (counter, state, request) = (&counter, &state, &request);
        let answer = counter.sharing.store.ask(*request).await;
        let now = ClockReading::from(counter.sharing.clock.now());
        let put = match answer {
            // Late: another one has told and asked again.
            Ok(_) if !over.is_out() => Filed::Nothing,
            Ok(grant) => counter.put(state, request, &grant, now),
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
            Filed::Incomplete => Some(Answered::Incomplete(Arc::clone(counter))),
            Filed::Nothing => None,
        };
        match errand {
            Errand::Request(_) => {
                // Units go back into the pool where nobody waits any more.
                let _ = said.map(|said| waits.send(said));
            }
            Errand::Behind | Errand::Tell => {}
        }
        drop(over);
        drop(answered);
        if matches!((errand, &put), (Errand::Behind, Filed::Incomplete)) {
            let deadline = counter.sharing.store.deadline();
            let complete = counter.complete(request.subject);
            if tokio::time::timeout(deadline, complete).await != Ok(true) {
                counter.go_by_shares();
            }
        }
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

impl SharedCounter {
    /// Does what can be done so that the store grants units again. Whether it does.
    pub(super) fn complete(&self, subject: SubjectId) -> impl Future<Output = bool> + Send + use<> {
        let registers = self.sharing.store.registers();
        let book: Arc<dyn RegisterBook> = Arc::clone(&self.sharing.store) as _;
        registers.complete(registers.part_of(subject), book)
    }

    /// For a moment nobody waits for a store that has still to be told what was spent.
    pub(super) fn go_by_shares(&self) {
        let now = ClockReading::from(self.sharing.clock.now());
        let until = after(now.monotonic, self.lease.unwrap_or(SHORTEST_LEASE));
        self.incomplete_until.store(until.0, Ordering::Relaxed);
    }
}

impl Sharing {
    /// Tells the server that has opened this register what was spent of the subjects in this part.
    /// Whether it has heard all.
    pub(super) async fn tell(&self, part: usize, register: RegisterId) -> bool {
        let registers = self.store.registers();
        let mut spenders = self.spenders.all();
        spenders.retain(|spender| registers.part_of(spender.subject) == part);
        for spenders in spenders.chunks(AT_ONCE) {
            let mut untold: Vec<_> = spenders
                .iter()
                .filter_map(|spender| Some((spender.upgrade()?, spender.subject)))
                .collect();
            // An asking that is out already may have been written before something was spent.
            for _ in 0..MOST_TRIES {
                let now = ClockReading::from(self.clock.now());
                untold.retain(|((_, state), _)| !state.has_told(register, now));
                let mut askings: Vec<_> = untold
                    .iter()
                    .filter_map(|((counter, state), subject)| {
                        counter.ask(state, *subject, Errand::Tell, now)?;
                        state.known().asking.clone()
                    })
                    .collect();
                for asking in &mut askings {
                    // Its sender says nothing and goes, unless its runtime stands still.
                    if tokio::time::timeout(LONGEST_ASKING, asking.changed())
                        .await
                        .is_err()
                    {
                        return false;
                    }
                }
            }
            let now = ClockReading::from(self.clock.now());
            if untold
                .iter()
                .any(|((_, state), _)| !state.has_told(register, now))
            {
                return false;
            }
        }
        true
    }
}

/// Whatever becomes of the task, the next one may ask; also where its runtime ends before it begins.
struct AskingOver {
    state: Arc<SharedState>,
    asking: watch::Receiver<()>,
}

impl AskingOver {
    /// Whether it has not been given up.
    fn is_out(&self) -> bool {
        let known = self.state.known();
        let asking = known.asking.as_ref();
        asking.is_some_and(|asking| asking.same_channel(&self.asking))
    }
}

impl Drop for AskingOver {
    fn drop(&mut self) {
        if self.is_out() {
            self.state.known().asking = None;
            self.state.pool.set_asking(false);
        }
    }
}

/// Subjects that are told of at once.
const AT_ONCE: usize = 16;
const MOST_TRIES: usize = 3;
/// Longer than any call of the store.
const LONGEST_ASKING: Duration = Duration::from_secs(2);
