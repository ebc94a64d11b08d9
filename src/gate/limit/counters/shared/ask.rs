//! One asking of the store for a subject, and who waits for it.
//!
//! It is a task of its own: a caller who hangs up leaves what was granted to others. After the answer
//! it stays until the lease ends, and gives back what nobody has spent.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::super::reading::{ClockReading, Moment};
use super::pool::LeaseId;
use super::state::{Known, Lease, Refusal, SharedState};
use super::store::{Grant, GrantId, LeaseRequest, SubjectId};
use super::{SharedCounter, Sharing, after};
use crate::clock::nanoseconds;

/// What a request waits for: the units of each rule that has none in memory.
pub(crate) struct Asking {
    subjects: SmallVec<[Asked; 2]>,
    held: Held,
}

enum Asked {
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
struct Reserved {
    state: Arc<SharedState>,
    subject: SubjectId,
    lease: LeaseId,
    units: u32,
}

/// What the store has said to a request that waits.
enum Answered {
    Units(Reserved),
    /// Remembered until then.
    Refused(Moment),
}

/// What an asking is for.
#[derive(Clone, Copy)]
pub(crate) enum Errand {
    /// A request that waits, of this cost.
    Request(u32),
    /// More units, or to see how the store is, behind a request.
    Behind,
    /// To tell what was spent or booked, and no more.
    Tell,
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
                until: Instant::now() + deadline,
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

// === impl SharedCounter ===

impl SharedCounter {
    /// Asks the store about a subject, or joins the asking that is out. `None` where nobody can ask.
    fn ask(
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

    /// Ends both leases, and says what is left of them.
    fn end_all(
        &self,
        known: &mut Known,
        state: &SharedState,
        now: ClockReading,
    ) -> SmallVec<[(u32, GrantId); 2]> {
        let mut left = SmallVec::new();
        for place in [0, 1] {
            left.extend(known.end(place, &state.pool, &self.spent_window, now));
        }
        left
    }

    fn give_back(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        units: u32,
        of: GrantId,
    ) {
        // Lost where nobody can send it.
        let (Ok(runtime), Some(lease)) = (Handle::try_current(), self.lease) else {
            return;
        };
        let epoch = state.known().epoch;
        let request = self.nothing(subject, lease, epoch);
        runtime.spawn(self.sharing.store.give_back(request, units, of));
    }

    fn nothing(&self, subject: SubjectId, lease: Duration, epoch: u64) -> LeaseRequest {
        LeaseRequest {
            subject,
            counting: self.counting,
            max: self.max,
            window: self.window,
            lease,
            need: 0,
            want: 0,
            told: 0,
            epoch,
            spent: 0,
            period: 0,
            debt: 0,
        }
    }
}

/// The asking that is out for a subject.
struct AskingTask {
    counter: Arc<SharedCounter>,
    state: Arc<SharedState>,
    request: LeaseRequest,
}

impl AskingTask {
    async fn run(self, waits: Option<oneshot::Sender<Answered>>, answered: watch::Sender<()>) {
        let Self {
            counter,
            state,
            request,
        } = &self;
        let over = AskingOver(state);
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

/// Whatever becomes of the task, the next one may ask.
struct AskingOver<'a>(&'a SharedState);

impl Drop for AskingOver<'_> {
    fn drop(&mut self) {
        self.0.known().asking = None;
        self.0.pool.set_asking(false);
    }
}

/// What became of an answer.
enum Filed {
    Lease(Put),
    Refused(Moment),
    Nothing,
}

/// A lease that came.
struct Put {
    lease: LeaseId,
    lasts: Duration,
    /// What was in its place, to be given back.
    before: SmallVec<[(u32, GrantId); 2]>,
}

impl SharedCounter {
    /// Files what the store has said.
    fn put(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        request: &LeaseRequest,
        grant: &Grant,
        now: ClockReading,
    ) -> Filed {
        let lease = request.lease;
        self.note_round_trip(grant.took, lease, now);
        let mut known = state.known();
        known.untold = known.untold.saturating_sub(known.telling);
        known.debt = known.debt.saturating_sub(request.debt);
        if known.epoch != grant.id.epoch {
            // What it has granted in another epoch it does not know of.
            if known.epoch != 0 {
                self.end_all(&mut known, state, now);
            }
            known.epoch = grant.id.epoch;
        }
        let more_at = grant.more_in.map(|wait| after(now.monotonic, wait));
        let never = Moment(u64::MAX);
        state.said.set(grant.left, more_at.unwrap_or(never));
        known.was_heard = true;
        let is_refused = grant.units < request.need;
        // A grant that was the last says as much as a refusal.
        let refused = match (is_refused, grant.left) {
            (true, _) => Some(request.need),
            (false, 0) if request.want > 0 => Some(1),
            _ => None,
        };
        known.refusal = refused.map(|need| {
            let told = more_at.unwrap_or(never);
            let told = after(told, self.jitter(lease));
            Refusal {
                need,
                until: told.max(after(now.monotonic, self.shortest_refusal())),
            }
        });
        if refused.is_some() {
            state.pool.set_low(0);
        }
        if grant.units == 0 {
            return match known.refusal {
                Some(refusal) if is_refused => Filed::Refused(refusal.until),
                _ => Filed::Nothing,
            };
        }
        let lasts = grant.lease.saturating_sub(grant.took);
        if lasts.is_zero() {
            // Dead on arrival. Who waits for it asks again, or goes by the share.
            drop(known);
            self.give_back(state, request.subject, grant.units, grant.id);
            return Filed::Nothing;
        }
        let place = state.pool.next_place();
        let mut before = SmallVec::new();
        before.extend(known.end(place, &state.pool, &self.spent_window, now));
        let until = after(now.monotonic, lasts);
        let free = grant.units.saturating_sub(request.need);
        let id = state.pool.put(place, now.monotonic, until, free);
        known.leases[usize::from(place)] = Some(Lease {
            id,
            grant: grant.id,
            units: grant.units,
            recorded: 0,
        });
        Filed::Lease(Put {
            lease: id,
            lasts,
            before,
        })
    }

    /// The lease has ended: what is left of it goes back to the store.
    fn end(self: &Arc<Self>, state: &Arc<SharedState>, subject: SubjectId, lease: LeaseId) {
        let now = ClockReading::from(self.sharing.clock.now());
        let mut known = state.known();
        let is_there = known.leases[usize::from(lease.place())].is_some_and(|it| it.id == lease);
        let left = match is_there {
            true => known.end(lease.place(), &state.pool, &self.spent_window, now),
            false => None,
        };
        drop(known);
        if let Some((left, of)) = left {
            self.give_back(state, subject, left, of);
        }
    }
}
