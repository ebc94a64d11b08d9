//! One counter, as governor's GCRA sees it.
//!
//! governor can only check and charge in one step. Its state store is a trait, though: over one
//! [`GcraState`], a store that reads and a store that writes give a look and a charge.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::NotUntil;
use governor::Quota;
use governor::RateLimiter;
use governor::clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::NotKeyed;
use governor::state::StateStore;

use super::reading::{Level, Moment, NEVER};
use crate::clock::{LONGEST, nanoseconds};
use crate::sync::atomic::{AtomicU64, Ordering};

/// `max_requests` units at once, refilled evenly over the window.
///
/// Admits at most `2 * max_requests - 1` in any window, and `max_requests` per window sustained.
#[derive(Debug)]
pub(crate) struct GcraCounter {
    /// `None` where nothing may ever pass.
    quota: Option<Quota>,
    burst: u64,
    interval: u64,
    window: u64,
}

/// What one counter has used up.
#[derive(Debug, Default)]
pub(crate) struct GcraState {
    /// When the bucket will be full again: GCRA's theoretical arrival time. 0: never used.
    full_at: AtomicU64,
    /// The latest moment anybody charged at, which bounds what a refund may give back.
    charged_at: AtomicU64,
}

// === impl GcraCounter ===

impl GcraCounter {
    pub(crate) fn new(max_requests: u32, window: Duration) -> Self {
        let window = nanoseconds(window).max(1);
        // Rounded up, so that a window never refills by more than `max_requests`.
        let interval = window.div_ceil(u64::from(max_requests).max(1));
        Self {
            quota: NonZeroU32::new(max_requests).and_then(|burst| {
                Quota::with_period(Duration::from_nanos(interval))
                    .map(|quota| quota.allow_burst(burst))
            }),
            burst: u64::from(max_requests),
            interval,
            window,
        }
    }

    /// Whether a request of this cost would pass now, and if not, how long until it would.
    pub(crate) fn look(&self, state: &GcraState, now: Moment, cost: u32) -> Result<(), Duration> {
        self.check(Look(state), now, cost).map(drop)
    }

    /// Takes what one request costs out of the bucket and returns what is left.
    #[inline]
    pub(crate) fn charge(
        &self,
        state: &GcraState,
        now: Moment,
        cost: u32,
    ) -> Result<Level, Duration> {
        // Published before the charge itself: whoever sees the charge sees this.
        if state.charged_at.load(Ordering::Relaxed) < now.0 {
            state.charged_at.fetch_max(now.0, Ordering::Relaxed);
        }
        let written = Cell::new(0);
        self.check(Charge(state, &written), now, cost)?;
        Ok(self.level_at(written.get(), now))
    }

    /// Takes so many units out of the bucket, though there may be none left. What is owed then is
    /// never more than `longest` takes to refill.
    pub(crate) fn book_debt(&self, state: &GcraState, now: Moment, units: u32, longest: Duration) {
        let longest = nanoseconds(longest).saturating_add(self.refill());
        let latest = now.0.saturating_add(longest).min(LONGEST);
        let booked = self.interval.saturating_mul(units.into());
        let more = |full_at: u64| {
            let next = full_at.max(now.0).saturating_add(booked);
            // Never less than it is: another may have read the clock later.
            Some(next.min(latest).max(full_at))
        };
        // The closure never declines.
        let _ = state
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// Gives back one charge of this cost made at `charged`.
    ///
    /// Whole, if nobody has charged at a later moment since. Otherwise the bucket may have
    /// been full in between and lost up to that much time, so that much is kept: giving it back
    /// would admit more than the limit.
    pub(crate) fn refund(&self, state: &GcraState, charged: Moment, cost: u32) {
        let paid = self.interval.saturating_mul(cost.into());
        let less = |full_at: u64| {
            let latest = state.charged_at.load(Ordering::Relaxed);
            let since = latest.saturating_sub(charged.0);
            Some(full_at.saturating_sub(paid.saturating_sub(since)))
        };
        // The closure never declines.
        let _ = state
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    pub(crate) fn level(&self, state: &GcraState, now: Moment) -> Level {
        self.level_at(state.full_at.load(Ordering::Acquire), now)
    }

    /// The time an empty bucket takes to fill, in nanoseconds.
    pub(crate) fn refill(&self) -> u64 {
        self.interval * self.burst
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    #[inline]
    fn level_at(&self, full_at: u64, now: Moment) -> Level {
        if self.burst == 0 {
            return Level {
                remaining: 0,
                more_in: Duration::from_nanos(self.window),
            };
        }
        let used = full_at.saturating_sub(now.0);
        let free = self.refill().saturating_sub(used);
        let owed = used.saturating_sub(self.refill());
        let remaining = free / self.interval;
        let more_in = if remaining == self.burst {
            0
        } else {
            owed + self.interval - free % self.interval
        };
        Level {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            more_in: Duration::from_nanos(more_in),
        }
    }

    /// `cost` is not 0.
    fn check<S>(&self, store: S, now: Moment, cost: u32) -> Result<(), Duration>
    where
        S: StateStore<Key = NotKeyed>,
    {
        let Some(quota) = self.quota else {
            return Err(NEVER);
        };
        let clock = Argument {
            asked: Cell::new(false),
            now: Nanos::new(now.0),
        };
        let limiter = Limiter::new(quota, store, clock);
        let decided = match cost {
            1 => limiter.check(),
            _ => self.check_many(&limiter, cost)?,
        };
        decided.map_err(|not_until| not_until.wait_time_from(Nanos::new(now.0)))
    }

    /// Apart, so that what almost every request takes is short.
    #[inline(never)]
    fn check_many<S>(&self, limiter: &Limiter<S>, cost: u32) -> Result<Decided, Duration>
    where
        S: StateStore<Key = NotKeyed>,
    {
        // Looked at here, because governor multiplies before it looks.
        let affordable = NonZeroU32::new(cost).filter(|_| u64::from(cost) <= self.burst);
        let decided = affordable.and_then(|cost| limiter.check_n(cost).ok());
        decided.ok_or(NEVER)
    }
}

// === impl GcraState ===

impl GcraState {
    /// A bucket that is full from `moment` on.
    pub(crate) fn full_at(moment: Moment) -> Self {
        Self {
            full_at: AtomicU64::new(moment.0),
            charged_at: AtomicU64::new(0),
        }
    }

    pub(crate) fn when_full(&self) -> Moment {
        Moment(self.full_at.load(Ordering::Acquire))
    }
}

type Limiter<S> = RateLimiter<NotKeyed, S, Argument, NoOpMiddleware<Nanos>>;
type Decided = Result<(), NotUntil<Nanos>>;

/// A state store that decides and writes nothing.
struct Look<'a>(&'a GcraState);

impl StateStore for Look<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let full_at = self.0.full_at.load(Ordering::Acquire);
        decide(known(full_at)).map(|(outcome, _)| outcome)
    }
}

/// A state store that writes what was decided, into the bucket and beside it.
struct Charge<'a>(&'a GcraState, &'a Cell<u64>);

impl StateStore for Charge<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = self.0.full_at.load(Ordering::Acquire);
        loop {
            let (outcome, next) = decide(known(seen))?;
            match self.0.full_at.compare_exchange_weak(
                seen,
                next.as_u64(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.1.set(next.as_u64());
                    return Ok(outcome);
                }
                Err(newer) => seen = newer,
            }
        }
    }
}

/// A clock that shows what it was given.
///
/// governor asks twice: for its zero point when the limiter is made, then for the time.
#[derive(Debug)]
struct Argument {
    asked: Cell<bool>,
    now: Nanos,
}

impl clock::Clock for Argument {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        if self.asked.replace(true) {
            self.now
        } else {
            Nanos::new(0)
        }
    }
}

fn known(full_at: u64) -> Option<Nanos> {
    (full_at != 0).then(|| Nanos::new(full_at))
}

#[cfg(test)]
mod tests;
