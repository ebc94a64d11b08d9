//! What one replica knows of one subject that all replicas count.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::super::reading::{ClockReading, Moment};
use super::demand::Demand;
use super::pool::{LeaseId, Pool};
use super::registers::RegisterId;
use super::spent::{Recent, Spent, SpentWindow};
use super::store::GrantId;

#[derive(Debug)]
pub(crate) struct SharedState {
    pub(super) pool: Pool,
    pub(super) said: Said,
    window: SpentWindow,
    /// Where there is no room for one of its own: what its share is counted in.
    overflow: Option<Arc<Self>>,
    known: Mutex<Known>,
}

/// Behind a lock, because no hit needs it.
#[derive(Debug)]
pub(super) struct Known {
    /// Of each place of the pool.
    pub(super) leases: [Option<Lease>; 2],
    pub(super) demand: Demand,
    pub(super) spent: Spent,
    pub(super) recent: Recent,
    /// All units of leases that were spent so far.
    pub(super) leased: u64,
    /// Units spent without having been granted, which the store has not been told of.
    pub(super) untold: u32,
    /// How many of them the asking that is out tells.
    pub(super) telling: u32,
    /// The day or month in which that was.
    pub(super) untold_period: u64,
    /// Units booked after a request had passed, which the store has not been told of.
    pub(super) debt: u32,
    /// Of the store, as far as this subject goes; 0 before it has answered.
    pub(super) epoch: u64,
    /// When it granted units last, by its clock.
    pub(super) seen: u64,
    /// The register that leases are from, and the one that was told what was spent before it.
    pub(super) register: RegisterId,
    pub(super) told: RegisterId,
    /// Unless more was spent of older leases before it had answered.
    pub(super) is_all_told: bool,
    /// Whether it is among those who tell when the store is back.
    pub(super) is_spender: bool,
    pub(super) refusal: Option<Refusal>,
    /// Ends when the asking that is out has been answered.
    pub(super) asking: Option<watch::Receiver<()>>,
    pub(super) asking_since: Moment,
    /// How many requests wait for it.
    pub(super) waiting: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) grant: GrantId,
    pub(super) units: u32,
    /// How many of them have been recorded as spent.
    pub(super) recorded: u32,
}

/// What the store has refused, and until when it would again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) need: u32,
    pub(super) until: Moment,
}

/// What the store said last of all replicas. Two words, of which one may be newer than the other:
/// nothing is decided by them.
#[derive(Debug, Default)]
pub(super) struct Said {
    left: AtomicU32,
    more_at: AtomicU64,
}

impl SharedState {
    pub(super) fn new(window: &SpentWindow) -> Self {
        Self {
            pool: Pool::default(),
            said: Said::default(),
            window: window.clone(),
            overflow: None,
            known: Mutex::new(Known {
                leases: [None; 2],
                demand: Demand::default(),
                spent: window.nothing(),
                recent: Recent::default(),
                leased: 0,
                untold: 0,
                telling: 0,
                untold_period: 0,
                debt: 0,
                epoch: 0,
                seen: 0,
                register: RegisterId::default(),
                told: RegisterId::default(),
                is_all_told: true,
                is_spender: false,
                refusal: None,
                asking: None,
                asking_since: Moment(0),
                waiting: 0,
            }),
        }
    }

    /// Whether it says no more than a new one.
    pub(in super::super) fn is_idle(self: &Arc<Self>, now: ClockReading) -> bool {
        // An asking that is out, or a lease that has not ended, holds it.
        if Arc::strong_count(self) > 1 {
            return false;
        }
        let known = self.known();
        known.debt == 0
            && known.refused(now.monotonic, u32::MAX).is_none()
            && self.window.in_last(&known.spent, now) == 0
    }

    /// Whether who has opened this register knows all that was spent before.
    pub(super) fn has_told(&self, register: RegisterId, now: ClockReading) -> bool {
        let mut known = self.known();
        let has_leases = known.leases.iter().any(Option::is_some);
        if !has_leases && self.window.in_last(&known.spent, now) == 0 {
            (known.register, known.told) = (register, register);
            known.is_all_told = true;
        }
        known.told == register && known.is_all_told
    }

    /// A state for somebody whose share may have been counted in this one. What the store granted it
    /// knows.
    pub(in super::super) fn successor(&self, forgot_at: Moment) -> Self {
        let mut state = Self::new(&self.window);
        let spent = self.known().spent.successor(forgot_at);
        state
            .known
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .spent = spent;
        state
    }

    /// A state for one request, whose share is counted in this one.
    pub(in super::super) fn without_room(self: &Arc<Self>) -> Self {
        Self {
            overflow: Some(Arc::clone(self)),
            ..Self::new(&self.window)
        }
    }

    /// What its share is counted in.
    pub(super) fn of_share(&self) -> &Self {
        self.overflow.as_deref().unwrap_or(self)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    pub(super) fn set(&self, left: u32, more_at: Moment) {
        self.left.store(left, Ordering::Relaxed);
        self.more_at.store(more_at.0, Ordering::Relaxed);
    }

    pub(super) fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn more_at(&self) -> u64 {
        self.more_at.load(Ordering::Relaxed)
    }
}

impl Known {
    /// How long a request of this cost would be refused still.
    pub(super) fn refused(&self, now: Moment, cost: u32) -> Option<Duration> {
        let refusal = self.refusal.filter(|refusal| cost >= refusal.need)?;
        let wait = refusal
            .until
            .0
            .checked_sub(now.0)
            .filter(|wait| *wait > 0)?;
        Some(Duration::from_nanos(wait))
    }

    /// Records what has been spent of the leases since the last time.
    pub(super) fn record_spent(&mut self, pool: &Pool, window: &SpentWindow, now: ClockReading) {
        for lease in self.leases.iter_mut().flatten() {
            let spent = lease.units.saturating_sub(pool.left_of(lease.id));
            // What was put back meanwhile stays recorded: too much at most.
            let more = spent.saturating_sub(lease.recorded);
            lease.recorded = lease.recorded.max(spent);
            self.demand.note(more);
            self.recent.note(more, lease.grant.at);
            self.leased += u64::from(more);
            window.record(&mut self.spent, more, now);
        }
    }

    /// Ends the lease in this place. What is left of it, and who granted it.
    pub(super) fn end(
        &mut self,
        place: u8,
        pool: &Pool,
        window: &SpentWindow,
        now: ClockReading,
    ) -> Option<(u32, GrantId)> {
        let lease = self.leases[usize::from(place)].take()?;
        let left = pool.end(lease.id);
        let more = lease
            .units
            .saturating_sub(left)
            .saturating_sub(lease.recorded);
        self.demand.note(more);
        self.recent.note(more, lease.grant.at);
        self.leased += u64::from(more);
        window.record(&mut self.spent, more, now);
        (left > 0).then_some((left, lease.grant))
    }

    /// Units spent by a share in the current day or month, or the last window.
    pub(super) fn add_untold(&mut self, units: u32, period: u64) {
        if self.untold_period != period {
            (self.untold, self.telling, self.untold_period) = (0, 0, period);
        }
        self.untold = self.untold.saturating_add(units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_as_small_as_the_docs_say() {
        assert!(
            size_of::<SharedState>() <= 448,
            "{}",
            size_of::<SharedState>()
        );
    }
}
