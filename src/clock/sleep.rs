//! Waiting for a time.

#[cfg(feature = "test-util")]
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
#[cfg(feature = "test-util")]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "test-util")]
use std::task::Waker;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::time::Sleep;

#[cfg(feature = "test-util")]
use super::ManualClock;
#[cfg(feature = "test-util")]
use super::Source;
use super::{Clock, Now};

/// Over as soon as one of the two clocks shows its time.
///
/// It belongs to no runtime: it is woken by the timer of the one that it was polled on last, and
/// without any it is looked at only when it is polled. A wall clock that is set forward, or a machine
/// that was suspended, is noticed within [`LOOK_AGAIN`]; a clock that is moved by hand wakes it at
/// once.
pub(crate) struct SleepUntil {
    clock: Clock,
    until: Now,
    timer: Timer,
}

enum Timer {
    /// Not polled yet, or where no timer is.
    None,
    Tokio {
        runtime: Id,
        sleep: Pin<Box<Sleep>>,
    },
    #[cfg(feature = "test-util")]
    ByHand {
        clock: ManualClock,
        number: u64,
    },
}

/// tokio's timer follows the monotonic clock alone.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Clock {
    /// Waits until the monotonic clock or the wall clock shows what it shows in `until`.
    pub(crate) fn sleep_until(&self, until: Now) -> SleepUntil {
        SleepUntil {
            clock: self.clone(),
            until,
            timer: Timer::None,
        }
    }
}

impl Now {
    /// Whether one of both clocks shows this time, or a later one.
    pub(crate) fn has_reached(self, until: Self) -> bool {
        self.monotonic >= until.monotonic || self.unix >= until.unix
    }
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            #[cfg(feature = "test-util")]
            if let Source::Manual(manual) = &this.clock.0 {
                return this.timer.wait_by_hand(manual, this.until, cx);
            }
            let now = this.clock.now();
            if now.has_reached(this.until) {
                return Poll::Ready(());
            }
            let monotonic = this.until.monotonic.saturating_sub(now.monotonic);
            let wall = this.until.unix.saturating_sub(now.unix);
            let left = monotonic.min(wall).min(LOOK_AGAIN);
            let Some(sleep) = this.timer.on_this_runtime(left) else {
                return Poll::Pending;
            };
            ready!(sleep.as_mut().poll(cx));
            // Another one, if the wall clock has been set back meanwhile.
            this.timer = Timer::None;
        }
    }
}

impl Timer {
    /// The sleep under way, or a new one where another runtime's would not wake anybody.
    fn on_this_runtime(&mut self, left: Duration) -> Option<&mut Pin<Box<Sleep>>> {
        let here = Handle::try_current().ok()?.id();
        if !matches!(self, Self::Tokio { runtime, .. } if *runtime == here) {
            *self = Self::Tokio {
                runtime: here,
                sleep: Box::pin(tokio::time::sleep(left)),
            };
        }
        match self {
            Self::Tokio { sleep, .. } => Some(sleep),
            _ => None,
        }
    }

    #[cfg(feature = "test-util")]
    fn wait_by_hand(
        &mut self,
        manual: &Arc<Mutex<Moved>>,
        until: Now,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let mut moved = moved(manual);
        if moved.now.has_reached(until) {
            return Poll::Ready(());
        }
        let number = match self {
            Self::ByHand { number, .. } => *number,
            timer => {
                moved.last += 1;
                let number = moved.last;
                *timer = Self::ByHand {
                    clock: ManualClock(Arc::clone(manual)),
                    number,
                };
                number
            }
        };
        let before = moved.sleepers.insert(number, (until, cx.waker().clone()));
        drop(moved);
        // A waker's drop may be anything.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        #[cfg(feature = "test-util")]
        if let Self::ByHand { clock, number } = self {
            let sleeper = moved(&clock.0).sleepers.remove(number);
            drop(sleeper);
        }
    }
}

impl fmt::Debug for SleepUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SleepUntil")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The time that a hand has set, and who waits for a later one.
#[cfg(feature = "test-util")]
pub(super) struct Moved {
    pub(super) now: Now,
    last: u64,
    sleepers: BTreeMap<u64, (Now, Waker)>,
}

#[cfg(feature = "test-util")]
impl Moved {
    pub(super) fn at(now: Now) -> Self {
        Self {
            now,
            last: 0,
            sleepers: BTreeMap::new(),
        }
    }
}

#[cfg(feature = "test-util")]
pub(super) fn moved(manual: &Mutex<Moved>) -> MutexGuard<'_, Moved> {
    manual.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves the clock, and wakes those whose time has come.
#[cfg(feature = "test-util")]
pub(super) fn move_to(manual: &Mutex<Moved>, change: impl FnOnce(&mut Now)) {
    let mut due = Vec::new();
    {
        let mut moved = moved(manual);
        change(&mut moved.now);
        let now = moved.now;
        moved.sleepers.retain(|_, (until, waker)| {
            let is_due = now.has_reached(*until);
            if is_due {
                due.push(waker.clone());
            }
            !is_due
        });
    }
    // Not under the lock: who is woken may look at the clock.
    due.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
