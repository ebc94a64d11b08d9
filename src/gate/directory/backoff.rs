//! When a call that fails may be made again.

use std::time::Duration;

use crate::clock::Now;

/// After 1 s, then twice as long each time, up to 60 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    not_before: Duration,
    wait: Duration,
}

impl Backoff {
    /// # Errors
    ///
    /// When it may be tried.
    pub(super) fn may_try(&self, now: Now) -> Result<(), Duration> {
        match now.monotonic < self.not_before {
            true => Err(self.not_before),
            false => Ok(()),
        }
    }

    /// A call has failed that was sent then. One that was sent before the others failed says nothing
    /// new.
    pub(super) fn failed(&mut self, sent: Now) {
        if sent.monotonic < self.not_before {
            return;
        }
        self.wait = (self.wait * 2).clamp(MIN, MAX);
        self.not_before = sent.monotonic.saturating_add(self.wait);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

const MIN: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_from_one_second_to_a_minute() {
        let at = |seconds| Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::ZERO,
        };
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        let mut now = 0;
        for _ in 0..8 {
            // Others that were sent with it fail, too.
            for _ in 0..6 {
                backoff.failed(at(now));
            }
            let wait = backoff.not_before.as_secs() - now;
            assert_eq!(backoff.may_try(at(now + wait - 1)), Err(backoff.not_before));
            assert_eq!(backoff.may_try(at(now + wait)), Ok(()));
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.clear();
        assert_eq!(backoff.may_try(at(0)), Ok(()));
    }
}
