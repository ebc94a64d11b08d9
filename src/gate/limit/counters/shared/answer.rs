//! What the store has answered, and what of it goes back.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::runtime::Handle;

use super::super::reading::{ClockReading, Moment};
use super::pool::LeaseId;
use super::registers::{Meeting, RegisterId};
use super::state::{Known, Lease, Refusal, SharedState};
use super::store::{Grant, GrantId, LeaseRequest, SubjectId};
use super::{SharedCounter, after};

/// What became of an answer.
pub(super) enum Filed {
    Lease(Put),
    Refused(Moment),
    /// Nobody is granted units before all replicas have told what they have spent.
    Incomplete,
    Nothing,
}

/// A lease that came.
pub(super) struct Put {
    pub(super) lease: LeaseId,
    pub(super) lasts: Duration,
    pub(super) units: u32,
    /// What was in its place, to be given back.
    pub(super) before: SmallVec<[(u32, GrantId); 2]>,
}

impl SharedCounter {
    /// Files what the store has said.
    pub(super) fn put(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        request: &LeaseRequest,
        grant: &Grant,
        now: ClockReading,
    ) -> Filed {
        let lease = request.lease;
        self.note_round_trip(grant.took, lease, now);
        let registers = self.sharing.store.registers();
        let part = registers.part_of(request.subject);
        let mut known = state.known();
        let meeting = registers.meet(part, grant.register, request.register);
        if meeting == Meeting::Over {
            // Who counts by now does not know of it.
            return Filed::Nothing;
        }
        known.untold = known.untold.saturating_sub(known.telling);
        known.debt = known.debt.saturating_sub(request.debt);
        let has_told = request.tells() || request.epoch == 0 || request.heard == grant.register;
        if !has_told {
            // Nothing is spent of it before it knows what was spent before.
            self.end_all(&mut known, state, now);
            known.register = grant.register;
            drop(known);
            if grant.units > 0 {
                self.give_back(state, request.subject, grant.units, grant.id);
            }
            return Filed::Incomplete;
        }
        let is_forgotten = known.epoch != 0 && !grant.id.is_of(known.epoch);
        known.told = grant.register;
        known.is_all_told = true;
        if meeting == Meeting::New || is_forgotten {
            // What was spent of older leases since it was asked has not been told. Of these no more
            // is spent.
            self.end_all(&mut known, state, now);
            let untold = known.leased.saturating_sub(request.leased);
            let untold = u32::try_from(untold).unwrap_or(u32::MAX);
            known.add_untold(untold, self.spent_window.start(now));
            known.is_all_told = untold == 0;
        }
        // What has just been told would be lost with the last seconds.
        let counted = match request.tells() && request.heard != grant.register {
            true => request.told.saturating_add(request.spent),
            false => request.told,
        };
        if counted > 0 {
            known.recent.note(counted, grant.id.at);
            known.seen = grant.id.at;
        }
        known.register = grant.register;
        known.epoch = grant.id.epoch;
        if grant.units > 0 {
            known.seen = grant.id.at;
        }
        let more_at = grant.more_in.map(|wait| after(now.monotonic, wait));
        let never = Moment(u64::MAX);
        state.said.set(grant.left, more_at.unwrap_or(never));
        if !grant.is_complete {
            return Filed::Incomplete;
        }
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
            units: grant.units,
            before,
        })
    }

    /// The lease has ended: what is left of it goes back to the store.
    pub(super) fn end(
        self: &Arc<Self>,
        state: &Arc<SharedState>,
        subject: SubjectId,
        lease: LeaseId,
    ) {
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

    /// Ends both leases, and says what is left of them.
    pub(super) fn end_all(
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

    pub(super) fn give_back(
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
            seen: 0,
            spent: 0,
            recent: 0,
            heard: RegisterId::default(),
            period: 0,
            debt: 0,
            register: RegisterId::default(),
            leased: 0,
        }
    }
}
