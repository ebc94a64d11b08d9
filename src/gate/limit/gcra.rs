//! One counter, as governor's GCRA sees it.
//!
//! governor can only check and charge in one step. Its state store is a trait, though: over one
//! [`Bucket`], a store that reads and a store that writes give a look and a charge.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::RateLimiter;
use governor::clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::NotKeyed;
use governor::state::StateStore;

use crate::clock::{Now, nanoseconds};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A point on the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u64);

/// `max_requests` at once, refilled evenly over the window.
///
/// Admits at most `2 * max_requests - 1` in any window, and `max_requests` per window sustained.
#[derive(Debug)]
pub(super) struct Gcra {
    /// `None` where nothing may ever pass.
    quota: Option<Quota>,
    burst: u64,
    interval: u64,
    window: u64,
}

/// What one counter has used up.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When the bucket will be full again: GCRA's theoretical arrival time. 0: never used.
    full_at: AtomicU64,
    /// The latest moment anybody charged at, which bounds what a refund may give back.
    charged_at: AtomicU64,
}

/// What is left in a bucket at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Requests that may pass at once.
    pub(super) remaining: u32,
    /// Time until one more may pass; zero when the bucket is full.
    pub(super) more_in: Duration,
}

// === impl Moment ===

impl From<Now> for Moment {
    fn from(now: Now) -> Self {
        let nanos = u64::try_from(now.monotonic.as_nanos()).unwrap_or(LONGEST);
        Self(nanos.min(LONGEST))
    }
}

// === impl Gcra ===

impl Gcra {
    pub(super) fn new(max_requests: u32, window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(LONGEST);
        let window = window.clamp(1, LONGEST);
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

    /// Whether a request would pass now, and if not, how long until it would.
    pub(super) fn look(&self, bucket: &Bucket, now: Moment) -> Result<(), Duration> {
        self.check(Look(bucket), now).map(drop)
    }

    /// Takes one request's worth out of the bucket and returns what is left.
    pub(super) fn charge(&self, bucket: &Bucket, now: Moment) -> Result<Level, Duration> {
        // Published before the charge itself: whoever sees the charge sees this.
        if bucket.charged_at.load(Ordering::Relaxed) < now.0 {
            bucket.charged_at.fetch_max(now.0, Ordering::Relaxed);
        }
        let written = Cell::new(0);
        self.check(Charge(bucket, &written), now)?;
        Ok(self.level_at(written.get(), now))
    }

    /// Takes one request's worth out of the bucket, though there may be none left. What is owed
    /// then is never more than `longest` takes to refill.
    pub(super) fn owe(&self, bucket: &Bucket, now: Moment, longest: Duration) {
        let longest = nanoseconds(longest).saturating_add(self.refill());
        let latest = now.0.saturating_add(longest).min(LONGEST);
        let more = |full_at: u64| {
            let next = full_at.max(now.0).saturating_add(self.interval);
            // Never less than it is: another may have read the clock later.
            Some(next.min(latest).max(full_at))
        };
        // The closure never declines.
        let _ = bucket
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }

    /// Gives back one charge made at `charged`.
    ///
    /// Whole, if nobody has charged at a later moment since. Otherwise the bucket may have run
    /// into its brim in between and lost up to that much time, so that much is kept: giving it
    /// back would admit more than the limit.
    pub(super) fn refund(&self, bucket: &Bucket, charged: Moment) {
        let less = |full_at: u64| {
            let latest = bucket.charged_at.load(Ordering::Relaxed);
            let since = latest.saturating_sub(charged.0);
            Some(full_at.saturating_sub(self.interval.saturating_sub(since)))
        };
        // The closure never declines.
        let _ = bucket
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    pub(super) fn level(&self, bucket: &Bucket, now: Moment) -> Level {
        self.level_at(bucket.full_at.load(Ordering::Acquire), now)
    }

    /// The time an empty bucket takes to fill, in nanoseconds.
    pub(super) fn refill(&self) -> u64 {
        self.interval * self.burst
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    fn level_at(&self, full_at: u64, now: Moment) -> Level {
        if self.burst == 0 {
            return Level {
                remaining: 0,
                more_in: Duration::from_nanos(self.window),
            };
        }
        let used = full_at.saturating_sub(now.0);
        let free = self.refill().saturating_sub(used);
        let remaining = free / self.interval;
        let more_in = if remaining == self.burst {
            0
        } else {
            self.interval - free % self.interval
        };
        Level {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            more_in: Duration::from_nanos(more_in),
        }
    }

    fn check<S>(&self, store: S, now: Moment) -> Result<(), Duration>
    where
        S: StateStore<Key = NotKeyed>,
    {
        let Some(quota) = self.quota else {
            return Err(Duration::from_nanos(self.window));
        };
        let clock = Argument {
            asked: Cell::new(false),
            now: Nanos::new(now.0),
        };
        RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, store, clock)
            .check()
            .map_err(|not_until| not_until.wait_time_from(Nanos::new(now.0)))
    }
}

// === impl Bucket ===

impl Bucket {
    /// A bucket that is full from `moment` on.
    pub(super) fn full_at(moment: Moment) -> Self {
        Self {
            full_at: AtomicU64::new(moment.0),
            charged_at: AtomicU64::new(0),
        }
    }

    pub(super) fn when_full(&self) -> Moment {
        Moment(self.full_at.load(Ordering::Acquire))
    }
}

/// A state store that decides and writes nothing.
struct Look<'a>(&'a Bucket);

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
struct Charge<'a>(&'a Bucket, &'a Cell<u64>);

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

/// About 146 years. governor adds three of these at most, and panics on overflow.
pub(super) const LONGEST: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn admitted_at_once(gcra: &Gcra, bucket: &Bucket, now: Moment, tries: u32) -> u32 {
        (0..tries)
            .map(|_| u32::from(gcra.charge(bucket, now).is_ok()))
            .sum()
    }

    #[test]
    fn admits_the_burst_then_one_per_interval() {
        let gcra = Gcra::new(3, Duration::from_secs(60));
        let bucket = Bucket::default();
        let start = Moment(1_000 * SECOND);
        for remaining in [2, 1, 0] {
            let level = Level {
                remaining,
                more_in: Duration::from_secs(20),
            };
            assert_eq!(gcra.charge(&bucket, start), Ok(level));
        }
        assert_eq!(gcra.charge(&bucket, start), Err(Duration::from_secs(20)));

        let early = Moment(start.0 + 20 * SECOND - 1);
        assert_eq!(gcra.charge(&bucket, early), Err(Duration::from_nanos(1)));
        let just = Moment(start.0 + 20 * SECOND);
        assert!(gcra.charge(&bucket, just).is_ok());
        assert!(gcra.charge(&bucket, just).is_err());
    }

    #[test]
    fn the_burst_is_exact_when_the_clock_begins_at_zero() {
        for start in [0, 1, 999, SECOND] {
            let gcra = Gcra::new(5, Duration::from_secs(60));
            let bucket = Bucket::default();
            assert_eq!(admitted_at_once(&gcra, &bucket, Moment(start), 20), 5);
            assert_eq!(
                admitted_at_once(&gcra, &bucket, Moment(start + 60 * SECOND), 20),
                5
            );
        }
    }

    #[test]
    fn a_look_changes_nothing() {
        let gcra = Gcra::new(2, Duration::from_secs(60));
        let bucket = Bucket::default();
        let now = Moment(SECOND);
        for _ in 0..10 {
            assert_eq!(gcra.look(&bucket, now), Ok(()));
        }
        assert_eq!(gcra.level(&bucket, now).remaining, 2);
        assert_eq!(gcra.level(&bucket, now).more_in, Duration::ZERO);
        assert_eq!(admitted_at_once(&gcra, &bucket, now, 10), 2);
        assert_eq!(gcra.look(&bucket, now), Err(Duration::from_secs(30)));
    }

    #[test]
    fn a_refund_at_the_same_moment_is_whole() {
        let gcra = Gcra::new(3, Duration::from_secs(60));
        let bucket = Bucket::default();
        let now = Moment(SECOND);
        gcra.charge(&bucket, now).unwrap();
        gcra.charge(&bucket, now).unwrap();
        gcra.refund(&bucket, now);
        assert_eq!(gcra.level(&bucket, now).remaining, 2);
        gcra.refund(&bucket, now);
        assert_eq!(gcra.level(&bucket, now).remaining, 3);
    }

    #[test]
    fn a_late_refund_never_refills_what_a_later_charge_took() {
        let gcra = Gcra::new(1, Duration::from_secs(10));
        let bucket = Bucket::default();
        gcra.charge(&bucket, Moment(SECOND)).unwrap();
        let later = Moment(21 * SECOND);
        gcra.charge(&bucket, later).unwrap();
        gcra.refund(&bucket, Moment(SECOND));
        assert!(gcra.look(&bucket, later).is_err());

        let gcra = Gcra::new(2, Duration::from_secs(20));
        let bucket = Bucket::default();
        gcra.charge(&bucket, Moment(SECOND)).unwrap();
        gcra.charge(&bucket, Moment(5 * SECOND)).unwrap();
        gcra.refund(&bucket, Moment(SECOND));
        // As if only the charge at 5 s had been made.
        assert_eq!(bucket.when_full(), Moment(15 * SECOND));
    }

    #[test]
    fn zero_requests_means_never() {
        let gcra = Gcra::new(0, Duration::from_secs(60));
        let bucket = Bucket::default();
        let window = Duration::from_secs(60);
        for now in [0, SECOND, LONGEST] {
            assert_eq!(gcra.look(&bucket, Moment(now)), Err(window));
            assert_eq!(gcra.charge(&bucket, Moment(now)), Err(window));
            assert_eq!(gcra.level(&bucket, Moment(now)).remaining, 0);
        }
    }

    #[test]
    fn extreme_limits_neither_panic_nor_admit_too_much() {
        let month = Duration::from_secs(30 * 86_400);
        let latest = Moment::from(Now {
            monotonic: Duration::MAX,
            unix: Duration::ZERO,
        });
        for (max, window) in [
            (i32::MAX as u32, Duration::from_millis(1)),
            (u32::MAX, Duration::from_millis(1)),
            (u32::MAX, month),
            (u32::MAX, Duration::MAX),
            (1, month),
            (1, Duration::MAX),
            (1, Duration::ZERO),
        ] {
            let gcra = Gcra::new(max, window);
            for now in [Moment(0), Moment(SECOND), latest] {
                let bucket = Bucket::default();
                let level = gcra.charge(&bucket, now).unwrap();
                assert_eq!(level.remaining, max - 1);
                assert_eq!(gcra.look(&bucket, now).is_ok(), max > 1);
                gcra.refund(&bucket, now);
                assert_eq!(gcra.level(&bucket, now).remaining, max);
            }
        }
        let gcra = Gcra::new(1, month);
        let bucket = Bucket::default();
        gcra.charge(&bucket, Moment(0)).unwrap();
        assert_eq!(gcra.charge(&bucket, Moment(0)), Err(month));
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_twice_the_limit_less_one(
            max in 1_u32..20,
            window in 1_u64..10_000,
            gaps in prop::collection::vec(0_u64..2_000, 1..400),
            start in 0_u64..5_000,
        ) {
            let gcra = Gcra::new(max, Duration::from_nanos(window));
            let bucket = Bucket::default();
            let mut now = start;
            let mut admitted = Vec::new();
            for gap in gaps {
                // Mostly bunched, so that bursts and refills both happen.
                now += gap / 16 * (gap % 2);
                if gcra.charge(&bucket, Moment(now)).is_ok() {
                    admitted.push(now);
                }
            }
            for (index, from) in admitted.iter().enumerate() {
                let within = admitted[index..].iter().take_while(|at| *at - from < window).count();
                prop_assert!(within < 2 * max as usize, "{within} within {window}");
            }
        }

        #[test]
        fn the_level_tells_what_a_look_says(
            max in 1_u32..10,
            window in 1_u64..1_000,
            gaps in prop::collection::vec(0_u64..200, 1..100),
        ) {
            let gcra = Gcra::new(max, Duration::from_nanos(window));
            let bucket = Bucket::default();
            let mut now = 0;
            for gap in gaps {
                now += gap;
                let level = gcra.level(&bucket, Moment(now));
                match gcra.look(&bucket, Moment(now)) {
                    Ok(()) => prop_assert!(level.remaining > 0),
                    Err(wait) => {
                        prop_assert_eq!(level.remaining, 0);
                        prop_assert_eq!(level.more_in, wait);
                    }
                }
                let after = gcra.charge(&bucket, Moment(now));
                prop_assert_eq!(after.is_ok(), level.remaining > 0);
                if let Ok(after) = after {
                    prop_assert_eq!(after.remaining, level.remaining - 1);
                }
            }
        }
    }
}
