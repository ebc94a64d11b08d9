//! How often the management API may be called.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::clock::Now;

/// The calls that a gate makes by itself, within their share of the deployment's 1000 a minute,
/// which the customer's own calls need, revocations among them.
///
/// Of the calls in any minute some are kept for single look-ups, which requests wait for.
pub(super) struct Budget {
    calls_a_minute: NonZeroUsize,
    readings: LastMinute,
    look_ups: LastMinute,
    /// Of lists of keys, which have a share of their own.
    lists: LastMinute,
    paused_until: Duration,
    halved_until: Duration,
}

/// When calls of the last minute were made, oldest first.
#[derive(Default)]
struct LastMinute(VecDeque<Duration>);

impl Budget {
    pub(super) fn new(calls_a_minute: NonZeroUsize) -> Self {
        Self {
            calls_a_minute,
            readings: LastMinute::default(),
            look_ups: LastMinute::default(),
            lists: LastMinute::default(),
            paused_until: Duration::ZERO,
            halved_until: Duration::ZERO,
        }
    }

    /// Spends one call of the reader.
    ///
    /// # Errors
    ///
    /// When there will be one.
    pub(super) fn spend(&mut self, now: Now) -> Result<(), Duration> {
        let kept = LOOK_UPS_A_MINUTE.min(self.limit(now) / 4);
        self.readings.free_at(self.limit(now) - kept, now)?;
        self.free_at(now)?;
        self.readings.0.push_back(now.monotonic);
        Ok(())
    }

    /// The last call of the reader was not made: another replica has made it.
    pub(super) fn give_back(&mut self) {
        self.readings.0.pop_back();
    }

    /// Spends one call that a request waits for.
    ///
    /// # Errors
    ///
    /// When there will be one.
    pub(super) fn spend_look_up(&mut self, now: Now) -> Result<(), Duration> {
        self.look_ups.free_at(LOOK_UPS_A_MINUTE, now)?;
        self.free_at(now)?;
        self.look_ups.0.push_back(now.monotonic);
        Ok(())
    }

    /// Spends one call for a list of keys, out of so many a minute, evenly spread. One that `follows`
    /// another goes at once.
    ///
    /// # Errors
    ///
    /// When there will be one.
    pub(super) fn spend_list(
        &mut self,
        a_minute: usize,
        follows: bool,
        now: Now,
    ) -> Result<(), Duration> {
        if now.monotonic < self.paused_until {
            return Err(self.paused_until);
        }
        self.lists.free_at(self.halved(a_minute, now), now)?;
        let last = self.lists.0.back().filter(|_| !follows);
        let next = last.map(|last| last.saturating_add(self.gap(a_minute, now)));
        match next {
            Some(next) if now.monotonic < next => Err(next),
            _ => {
                self.lists.0.push_back(now.monotonic);
                Ok(())
            }
        }
    }

    /// The last call for a list was not made: another replica has made it.
    pub(super) fn give_back_list(&mut self) {
        self.lists.0.pop_back();
    }

    /// How long after a list the next one goes.
    pub(super) fn gap(&self, a_minute: usize, now: Now) -> Duration {
        let a_minute = u32::try_from(self.halved(a_minute, now)).unwrap_or(u32::MAX);
        MINUTE.checked_div(a_minute).unwrap_or(MINUTE)
    }

    /// When the next list may go, as far as that is known.
    pub(super) fn next_list_at(&self, a_minute: usize, now: Now) -> Duration {
        let lists = &self.lists.0;
        let last = lists.back().copied();
        let spread = last.map(|last| last.saturating_add(self.gap(a_minute, now)));
        let over = lists.len().checked_sub(self.halved(a_minute, now));
        let oldest = over.and_then(|over| lists.get(over)).copied();
        let free = oldest.map(|oldest| oldest.saturating_add(MINUTE));
        let waits = [spread, free].into_iter().flatten();
        waits.fold(self.paused_until.max(now.monotonic), Duration::max)
    }

    /// The management API has said that it was called too often, by whomever.
    pub(super) fn too_many(&mut self, now: Now) {
        // Some answers come late.
        let later = |until: Duration, by| until.max(now.monotonic.saturating_add(by));
        self.paused_until = later(self.paused_until, PAUSE);
        self.halved_until = later(self.halved_until, HALVED_FOR);
    }

    fn limit(&self, now: Now) -> usize {
        self.halved(self.calls_a_minute.get(), now)
    }

    /// A limit, or half of it for a while after a 429.
    fn halved(&self, limit: usize, now: Now) -> usize {
        match now.monotonic < self.halved_until {
            true => limit.div_ceil(2),
            false => limit,
        }
    }

    /// Whether there is a call left for anybody, else when to look again.
    fn free_at(&mut self, now: Now) -> Result<(), Duration> {
        if now.monotonic < self.paused_until {
            return Err(self.paused_until);
        }
        let limit = self.limit(now);
        let left = limit.saturating_sub(self.readings.count(now));
        match self.look_ups.count(now) < left {
            true => Ok(()),
            false => {
                let oldest = self.readings.0.front().into_iter();
                let oldest = oldest.chain(self.look_ups.0.front()).min();
                let oldest = oldest.copied().unwrap_or(now.monotonic);
                Err(oldest.saturating_add(MINUTE))
            }
        }
    }
}

impl LastMinute {
    fn count(&mut self, now: Now) -> usize {
        let is_over = |call: &Duration| call.saturating_add(MINUTE) <= now.monotonic;
        while self.0.front().is_some_and(is_over) {
            self.0.pop_front();
        }
        self.0.len()
    }

    /// Whether fewer than `limit` calls were made, else when that will be so.
    fn free_at(&mut self, limit: usize, now: Now) -> Result<(), Duration> {
        match self.count(now).checked_sub(limit) {
            None => Ok(()),
            Some(over) => {
                let first = self.0.get(over).copied().unwrap_or(now.monotonic);
                Err(first.saturating_add(MINUTE))
            }
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// How long nothing is sent after a 429.
const PAUSE: Duration = Duration::from_secs(60);
/// How long the budget is half of what it was after a 429.
const HALVED_FOR: Duration = Duration::from_secs(600);
const LOOK_UPS_A_MINUTE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(1_000 + seconds),
            unix: Duration::ZERO,
        }
    }

    fn budget() -> Budget {
        Budget::new(NonZeroUsize::new(60).unwrap())
    }

    fn spent(budget: &mut Budget, now: Now) -> usize {
        (0..1_000).take_while(|_| budget.spend(now).is_ok()).count()
    }

    #[test]
    fn no_minute_has_more_calls_than_the_budget() {
        let mut budget = budget();
        let mut calls = Vec::new();
        for second in 0..600 {
            // Somebody wants as much as there is, in bursts.
            for _ in 0..second % 17 {
                if budget.spend(at(second)).is_ok() {
                    calls.push(second);
                }
                if budget.spend_look_up(at(second)).is_ok() {
                    calls.push(second);
                }
            }
        }
        for start in 0..600 {
            let minute = start..start + 60;
            let count = calls.iter().filter(|call| minute.contains(*call)).count();
            assert!(count <= 60, "{count} from {start} on");
        }
        assert!(calls.len() >= 590, "{} of 600", calls.len());
    }

    #[test]
    fn look_ups_find_room_beside_a_reader_that_takes_all_it_can() {
        let mut budget = budget();
        assert_eq!(spent(&mut budget, at(0)), 50);
        for _ in 0..10 {
            assert_eq!(budget.spend_look_up(at(1)), Ok(()));
        }
        assert_eq!(budget.spend_look_up(at(1)), Err(at(61).monotonic));
        assert_eq!(budget.spend(at(59)), Err(at(60).monotonic));
        assert_eq!(spent(&mut budget, at(60)), 50);
        assert_eq!(budget.spend_look_up(at(61)), Ok(()));
    }

    #[test]
    fn being_told_too_many_pauses_all_calls_and_then_halves_them() {
        let mut budget = budget();
        budget.too_many(at(0));
        assert_eq!(budget.spend(at(59)), Err(at(60).monotonic));
        assert_eq!(budget.spend_look_up(at(59)), Err(at(60).monotonic));
        assert_eq!(spent(&mut budget, at(60)), 23, "30, and 7 for look-ups");
        assert_eq!(spent(&mut budget, at(599)), 23);
        assert_eq!(spent(&mut budget, at(600)), 27, "50 again");
    }

    #[test]
    fn lists_are_evenly_spread_and_what_follows_one_goes_at_once() {
        let mut budget = budget();
        let mut lists = |second, follows| budget.spend_list(30, follows, at(second));
        assert_eq!(lists(0, false), Ok(()));
        assert_eq!(lists(0, false), Err(at(2).monotonic));
        assert_eq!(lists(1, true), Ok(()));
        assert_eq!(lists(2, false), Err(at(3).monotonic));
        // Nor do they take from the others.
        assert_eq!(spent(&mut budget, at(3)), 50);
        assert_eq!(budget.spend_list(30, false, at(3)), Ok(()));
    }

    #[test]
    fn no_minute_has_more_lists_than_there_may_be_and_half_after_a_429() {
        let mut budget = budget();
        let spend = |budget: &mut Budget, seconds: std::ops::Range<u64>| {
            let every_second = seconds.flat_map(|second| [(second, false), (second, true)]);
            every_second
                .filter(|(second, follows)| budget.spend_list(7, *follows, at(*second)).is_ok())
                .count()
        };
        assert_eq!(spend(&mut budget, 0..60), 7);
        budget.too_many(at(60));
        assert_eq!(budget.spend_list(7, true, at(119)), Err(at(120).monotonic));
        assert_eq!(spend(&mut budget, 120..180), 4);
        assert_eq!(budget.gap(30, at(180)), Duration::from_secs(4));
        assert_eq!(budget.gap(30, at(700)), Duration::from_secs(2));
    }

    #[test]
    fn the_smallest_budget_is_one_call_a_minute() {
        let mut budget = Budget::new(NonZeroUsize::MIN);
        budget.too_many(at(0));
        assert_eq!(spent(&mut budget, at(60)), 1);
        assert_eq!(budget.spend(at(119)), Err(at(120).monotonic));
        assert_eq!(budget.spend_look_up(at(120)), Ok(()));
    }
}
