//! Limits that all replicas count together.
//!
//! In: what a request costs. Out: that it was spent from a lease, that it has to wait, or that the
//! store has to be asked first, which is the business of whoever may wait: see [`waiting`].
//!
//! 1. [`store`]: what is asked of the store, a trait that the room `store` implements;
//! 2. [`pool`]: granted units, spent from memory;
//! 3. [`state`]: what else is known of a subject: demand, what was spent, what was refused;
//! 4. [`waiting`], [`ask`], [`answer`]: who waits, one asking a subject at a time, and what came of it;
//! 5. [`spent`], [`demand`]: what was spent lately, and what can be expected;
//! 6. [`out`]: how many leases are out, for those who only want to know;
//! 7. [`registers`], [`spenders`]: whether who counts has been told what was spent before, and by whom.

mod answer;
mod ask;
mod demand;
mod out;
mod pool;
mod registers;
mod spenders;
mod spent;
mod state;
mod store;
mod subject;
mod waiting;

#[cfg(all(test, feature = "redis"))]
pub(in crate::gate::limit) mod tests;

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::reading::{ClockReading, Level, Moment, NEVER};
use super::{Calendars, Receipt, Shortage, Window};
use crate::clock::{Clock, nanoseconds};
use crate::gate::limit::limits::{Limits, WhenAway};
use crate::log::Notice;

use self::out::LeasesOut;
pub(crate) use self::pool::LeaseId;
#[cfg(feature = "redis")]
pub(crate) use self::registers::{Entered, Entry, RegisterBook, RegisterId, Registers};
use self::spenders::Spenders;
use self::spent::SpentWindow;
use self::state::Known;
pub(crate) use self::state::SharedState;
#[cfg(feature = "redis")]
pub(crate) use self::store::{Answer, Grant, GrantId, LeaseRequest, NoGrant};
pub(crate) use self::store::{Counting, LeaseStore, SubjectId};
pub(crate) use self::subject::SubjectSecret;
pub(crate) use self::waiting::{Asking, Held};

/// With whom a gate counts together, and how.
#[derive(Debug)]
pub(crate) struct Sharing {
    pub(in crate::gate::limit) store: Arc<dyn LeaseStore>,
    secret: SubjectSecret,
    clock: Clock,
    when_away: WhenAway,
    /// As many as there are, where the store has not said.
    replicas: Option<NonZeroU32>,
    no_share: Notice,
    spenders: Spenders,
    leases_out: Arc<LeasesOut>,
}

/// At most `max` units in a window, over all replicas.
#[derive(Debug)]
pub(crate) struct SharedCounter {
    sharing: Arc<Sharing>,
    /// The rule, as all replicas call it and nobody else can read it.
    name: [u8; 32],
    counting: Counting,
    max: u32,
    /// The longest one.
    window: Duration,
    spent_window: SpentWindow,
    /// For how long units are granted; `None` where the window is too short to be shared.
    lease: Option<Duration>,
    /// Since when every round trip took so long that leases are of little use; 0 where the last one
    /// did not.
    slow_since: AtomicU64,
    /// Until when requests do not wait for a store that grants nothing before it has been told what
    /// was spent.
    incomplete_until: AtomicU64,
    /// While nobody waits for the store: when it is asked the next time to see.
    probe_at: AtomicU64,
}

impl Sharing {
    pub(crate) fn new(
        store: Arc<dyn LeaseStore>,
        secret: SubjectSecret,
        limits: &Limits,
        clock: Clock,
    ) -> Arc<Self> {
        let sharing = Arc::new(Self {
            store,
            secret,
            clock,
            when_away: limits.when_away,
            replicas: limits.replicas,
            no_share: Notice::default(),
            spenders: Spenders::default(),
            leases_out: Arc::default(),
        });
        sharing.store.registers().add(&sharing);
        sharing
    }

    /// How many leases are out, and how many units they were granted.
    pub(in crate::gate::limit) fn leases_out(&self) -> (u64, u64) {
        self.leases_out.count()
    }
}

impl SharedCounter {
    pub(in crate::gate::limit) fn new(
        sharing: &Arc<Sharing>,
        rule: &[u8],
        max: u32,
        window: Window,
        rolling: Counting,
        calendars: &Calendars,
    ) -> Self {
        let (counting, longest, spent_window) = match window {
            Window::Rolling(length) => (rolling, length, SpentWindow::Rolling(length)),
            Window::Calendar(unit) => {
                let calendar = calendars.of(unit);
                let counting = match unit {
                    super::CalendarUnit::Day => Counting::Day,
                    super::CalendarUnit::Month => Counting::Month,
                };
                (counting, unit.longest(), SpentWindow::Calendar(calendar))
            }
        };
        Self {
            sharing: Arc::clone(sharing),
            name: sharing.secret.name(rule),
            counting,
            max,
            window: longest,
            spent_window,
            lease: (longest >= SHORTEST_SHARED)
                .then(|| (longest / 20).clamp(SHORTEST_LEASE, LONGEST_LEASE)),
            slow_since: AtomicU64::new(0),
            incomplete_until: AtomicU64::new(0),
            probe_at: AtomicU64::new(0),
        }
    }

    /// Whom the rule counts, by what tells subjects of one rule apart.
    pub(in crate::gate::limit) fn subject(&self, of: &[u8]) -> SubjectId {
        subject::id(&self.name, of)
    }

    pub(in crate::gate::limit) fn unused(&self) -> Arc<SharedState> {
        Arc::new(SharedState::new(&self.spent_window))
    }

    /// Whether a request of this cost would pass now. `waits` is whether it may wait for the store.
    pub(in crate::gate::limit) fn look(
        &self,
        state: &SharedState,
        now: ClockReading,
        cost: u32,
        waits: bool,
    ) -> Result<(), Shortage> {
        if state.pool.has(now.monotonic, cost) {
            return Ok(());
        }
        self.may_go_by_share(state, now, cost, waits)?;
        self.look_at_share(&state.of_share().known(), state.of_share(), now, cost)
    }

    /// Spends what a request costs.
    pub(in crate::gate::limit) fn charge(
        &self,
        state: &SharedState,
        now: ClockReading,
        cost: u32,
        waits: bool,
    ) -> Result<(Level, Receipt), Shortage> {
        if let Some(lease) = state.pool.take(now.monotonic, cost) {
            return Ok((self.leased_level(state, now), Receipt::Of(lease)));
        }
        self.may_go_by_share(state, now, cost, waits)?;
        let counted = state.of_share();
        let mut known = counted.known();
        self.look_at_share(&known, counted, now, cost)?;
        let period = self.spent_window.start(now);
        self.spent_window.record(&mut known.spent, cost, now);
        known.add_untold(cost, period);
        drop(known);
        Ok((self.level(state, now), Receipt::At(now.monotonic)))
    }

    /// Gives back what another rule has refused.
    pub(in crate::gate::limit) fn refund(&self, state: &SharedState, receipt: Receipt, cost: u32) {
        match receipt {
            Receipt::Of(lease) => state.pool.put_back(lease, cost),
            // Counted by share: it stays counted here, and is not told.
            Receipt::At(_) => {
                let mut known = state.of_share().known();
                known.untold = known.untold.saturating_sub(cost);
            }
            Receipt::In(_) => {}
        }
    }

    /// What is left: of the share where there is one to go by.
    pub(in crate::gate::limit) fn level(&self, state: &SharedState, now: ClockReading) -> Level {
        if !self.is_on_shares(now) {
            return self.leased_level(state, now);
        }
        let share = self.share().unwrap_or(0);
        let counted = state.of_share();
        let left = share.saturating_sub(self.spent(&counted.known(), counted, now));
        self.level_of(left.max(state.pool.left(now.monotonic)), state, now)
    }

    /// What the store has said, less what was spent here since.
    fn leased_level(&self, state: &SharedState, now: ClockReading) -> Level {
        let pooled = state.pool.left(now.monotonic);
        self.level_of(state.said.left().saturating_add(pooled), state, now)
    }

    fn level_of(&self, remaining: u32, state: &SharedState, now: ClockReading) -> Level {
        let remaining = remaining.min(self.max);
        let more_in = state.said.more_at().saturating_sub(now.monotonic.0);
        Level {
            remaining,
            more_in: match remaining == self.max && self.max > 0 {
                true => Duration::ZERO,
                false => Duration::from_nanos(more_in.max(1)),
            },
        }
    }

    /// Whether the store should be asked behind the request: for more, or to see how it is.
    pub(in crate::gate::limit) fn asks_behind(
        &self,
        state: &SharedState,
        now: ClockReading,
    ) -> bool {
        if state.pool.is_low(now.monotonic) {
            return true;
        }
        // Who has units to spend has heard of the store.
        let is_empty = state.pool.left(now.monotonic) == 0;
        let Some(lease) = self.lease.filter(|_| is_empty && self.is_on_shares(now)) else {
            return false;
        };
        let at = self.probe_at.load(Ordering::Relaxed);
        let next = now.monotonic.0.saturating_add(nanoseconds(lease));
        at <= now.monotonic.0
            && self
                .probe_at
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    pub(in crate::gate::limit) fn window(&self) -> Duration {
        self.window
    }

    /// Of a calendar's rule, the length of the current day or month.
    pub(in crate::gate::limit) fn period(&self, now: ClockReading) -> Option<Duration> {
        match &self.spent_window {
            SpentWindow::Rolling(_) => None,
            SpentWindow::Calendar(calendar) => Some(calendar.period(now).length()),
        }
    }

    /// How long the current window lasts still.
    pub(in crate::gate::limit) fn rest(&self, now: ClockReading) -> Duration {
        match &self.spent_window {
            SpentWindow::Rolling(_) => self.window,
            SpentWindow::Calendar(calendar) => calendar.period(now).rest(now),
        }
    }

    /// Whether a request for which there are no granted units may go by this replica's share.
    fn may_go_by_share(
        &self,
        state: &SharedState,
        now: ClockReading,
        cost: u32,
        waits: bool,
    ) -> Result<(), Shortage> {
        if cost > self.max {
            return Err(Shortage::Wait(NEVER));
        }
        // What the store has refused it would refuse again, away or not.
        if let Some(wait) = state.known().refused(now.monotonic, cost) {
            return Err(Shortage::Wait(wait));
        }
        match waits && !self.is_on_shares(now) {
            true => Err(Shortage::Ask),
            false => Ok(()),
        }
    }

    fn look_at_share(
        &self,
        known: &Known,
        state: &SharedState,
        now: ClockReading,
        cost: u32,
    ) -> Result<(), Shortage> {
        match self.sharing.when_away {
            WhenAway::Admit if self.sharing.store.is_away() => return Ok(()),
            WhenAway::Refuse if self.sharing.store.is_away() => return Err(Shortage::Unavailable),
            _ => {}
        }
        let Some(share) = self.share().filter(|share| cost <= *share) else {
            self.sharing.no_share.warn_once(
                "a rate limit has no share for each replica, and the store cannot be waited for: \
                 requests are answered 503",
            );
            return Err(Shortage::Unavailable);
        };
        let spent = self.spent(known, state, now);
        if spent.saturating_add(cost) <= share {
            return Ok(());
        }
        let wait = self.spent_window.wait(&known.spent, share, cost, now);
        // What was spent of a lease that has not ended is not in there yet.
        Err(Shortage::Wait(wait.max(SHORTEST_LEASE)))
    }

    /// Whether requests of this rule do not wait for the store now.
    fn is_on_shares(&self, now: ClockReading) -> bool {
        let slow_since = self.slow_since.load(Ordering::Relaxed);
        let slow_for = now.monotonic.0.saturating_sub(slow_since);
        self.lease.is_none()
            || slow_since != 0 && slow_for >= SLOW_FOR
            || now.monotonic.0 < self.incomplete_until.load(Ordering::Relaxed)
            || self.sharing.store.is_away()
    }

    /// A round trip was over.
    fn note_round_trip(&self, took: Duration, lease: Duration, now: ClockReading) {
        if took.saturating_mul(2) <= lease {
            self.slow_since.store(0, Ordering::Relaxed);
        } else {
            // Of several in a row the first counts.
            let (since, relaxed) = (now.monotonic.0.max(1), Ordering::Relaxed);
            let _ = self.slow_since.compare_exchange(0, since, relaxed, relaxed);
        }
    }

    /// What this replica may spend in a window where it does not ask.
    fn share(&self) -> Option<u32> {
        let seen = self.sharing.store.replicas();
        seen.or(self.sharing.replicas)
            .map(|replicas| self.max / replicas)
    }

    /// What this replica has spent in the last window, of leases or not.
    fn spent(&self, known: &Known, state: &SharedState, now: ClockReading) -> u32 {
        let unrecorded = known.leases.iter().flatten().map(|lease| {
            let spent = lease.units.saturating_sub(state.pool.left_of(lease.id));
            spent.saturating_sub(lease.recorded)
        });
        let recorded = self.spent_window.in_last(&known.spent, now);
        unrecorded.fold(recorded, u32::saturating_add)
    }

    /// How long a refusal is remembered beyond the time the store has told: some replicas ask sooner,
    /// some later.
    fn jitter(&self, lease: Duration) -> Duration {
        let chance = RandomState::new().hash_one(self.max) % 1_024;
        lease / 5 + lease * 4 / 5 * u32::try_from(chance).unwrap_or(0) / 1_024
    }

    /// No refusal is forgotten sooner.
    fn shortest_refusal(&self) -> Duration {
        (self.window / 50).min(Duration::from_millis(100))
    }
}

/// Shorter windows are counted by shares: a round trip would take too much of them.
const SHORTEST_SHARED: Duration = Duration::from_secs(1);
const SHORTEST_LEASE: Duration = Duration::from_millis(50);
const LONGEST_LEASE: Duration = Duration::from_millis(250);
/// What is spent by shares is not known to others, so a moment's delay is waited for. In nanoseconds.
const SLOW_FOR: u64 = 500_000_000;

fn after(moment: Moment, wait: Duration) -> Moment {
    Moment(moment.0.saturating_add(nanoseconds(wait)))
}
