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

    pub(super) fn failed(&mut self, now: Now) {
        self.wait = (self.wait * 2).clamp(MIN, MAX);
        let not_before = now.monotonic.saturating_add(self.wait);
        // Some answers come late.
        self.not_before = self.not_before.max(not_before);
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
        for _ in 0..8 {
            backoff.failed(at(0));
            waits.push(backoff.not_before.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.may_try(at(59)), Err(at(60).monotonic));
        assert_eq!(backoff.may_try(at(60)), Ok(()));
        backoff.clear();
        assert_eq!(backoff.may_try(at(0)), Ok(()));
    }
}
