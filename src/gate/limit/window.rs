//! A window that slides: never more than the limit in any window, wherever it begins.
//!
//! A perfect log would hold the moment of every request. This one holds at most [`RUNS`] runs of
//! requests that came close together, and takes a whole run to be as young as its youngest. So it
//! may forget late, which admits a little less, and never early, which would admit more. Up to
//! [`RUNS`] requests a window, every run is one moment, and the log is perfect.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use super::gcra::LONGEST;
use super::gcra::Level;
use super::gcra::Moment;

/// How many runs a log holds at most.
pub(super) const RUNS: u32 = 32;

/// At most `max_requests` in any window of this length.
#[derive(Debug)]
pub(super) struct Sliding {
    max_requests: u32,
    window: u64,
    /// Requests in the same cell of this many nanoseconds are one run.
    cell: u64,
}

/// What one counter has admitted lately.
///
/// A mutex, because a charge changes several words at once. It is held for a few steps over at
/// most [`RUNS`] runs.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Runs>);

#[derive(Clone, Debug, Default)]
struct Runs {
    /// Oldest first.
    runs: VecDeque<Run>,
    /// The sum of their counts.
    used: u32,
    /// The latest moment anybody asked at. Who read the clock earlier and came later is taken to
    /// have come then: what was forgotten meanwhile is not known any more.
    latest: u64,
    /// When the last run is forgotten, if nothing is given back.
    idle_from: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    /// When the last of them was admitted.
    last: u64,
    count: u32,
}

// === impl Sliding ===

impl Sliding {
    pub(super) fn new(max_requests: u32, window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(LONGEST);
        let window = window.clamp(1, LONGEST);
        Self {
            max_requests,
            window,
            cell: match max_requests <= RUNS {
                true => 1,
                // A window that begins within a cell reaches into one more.
                false => window.div_ceil(u64::from(RUNS - 1)),
            },
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Whether a request would pass now, and if not, how long until it would.
    pub(super) fn look(&self, log: &Log, now: Moment) -> Result<(), Duration> {
        self.room(&self.settled(log, now), now)
    }

    /// Counts one request, and returns what is left and when it was counted.
    pub(super) fn charge(&self, log: &Log, now: Moment) -> Result<(Level, Moment), Duration> {
        let mut state = self.settled(log, now);
        self.room(&state, now)?;
        let at = state.latest;
        match state.runs.back_mut() {
            Some(run) if run.last / self.cell == at / self.cell => {
                run.last = at;
                run.count += 1;
            }
            _ => state.runs.push_back(Run { last: at, count: 1 }),
        }
        state.used += 1;
        state.idle_from = at + self.window;
        Ok((self.level_of(&state, now), Moment(at)))
    }

    /// Gives back one charge counted at `charged`.
    pub(super) fn refund(&self, log: &Log, charged: Moment) {
        let mut state = log.lock();
        let cell = charged.0 / self.cell;
        let found = state
            .runs
            .iter()
            .rposition(|run| run.last / self.cell == cell);
        // None when it has been forgotten by now.
        let Some(place) = found else { return };
        state.used = state.used.saturating_sub(1);
        // Its moment stays that of the youngest, which may be the one given back: too late at
        // most.
        if let Some(run) = state.runs.get_mut(place) {
            run.count = run.count.saturating_sub(1);
            if run.count == 0 {
                state.runs.remove(place);
            }
        }
    }

    pub(super) fn level(&self, log: &Log, now: Moment) -> Level {
        self.level_of(&self.settled(log, now), now)
    }

    /// The log, without what no window that ends now or later reaches.
    fn settled<'a>(&self, log: &'a Log, now: Moment) -> MutexGuard<'a, Runs> {
        let mut state = log.lock();
        state.latest = state.latest.max(now.0);
        while let Some(run) = state.runs.front().copied() {
            if run.last + self.window > state.latest {
                break;
            }
            state.runs.pop_front();
            state.used = state.used.saturating_sub(run.count);
        }
        state
    }

    fn room(&self, state: &Runs, now: Moment) -> Result<(), Duration> {
        if state.used < self.max_requests {
            return Ok(());
        }
        Err(self.more_in(state, now))
    }

    fn level_of(&self, state: &Runs, now: Moment) -> Level {
        let remaining = self.max_requests.saturating_sub(state.used);
        let nothing_used = state.used == 0 && self.max_requests > 0;
        Level {
            remaining,
            more_in: match nothing_used {
                true => Duration::ZERO,
                false => self.more_in(state, now),
            },
        }
    }

    /// Until the oldest run is forgotten.
    fn more_in(&self, state: &Runs, now: Moment) -> Duration {
        let until = match state.runs.front() {
            Some(oldest) => (oldest.last + self.window).saturating_sub(now.0),
            // Nothing was admitted, and nothing ever is.
            None => self.window,
        };
        Duration::from_nanos(until)
    }
}

// === impl Log ===

impl Log {
    /// Whether it says no more than an empty one.
    pub(super) fn is_idle(&self, now: Moment) -> bool {
        self.lock().idle_from <= now.0
    }

    /// A log that knows what this one does, and to which nobody comes earlier than `since`.
    pub(super) fn successor(&self, since: Moment) -> Self {
        let mut state = self.lock().clone();
        state.latest = state.latest.max(since.0);
        Self(Mutex::new(state))
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one log takes at most.
    #[cfg(test)]
    pub(super) const fn largest() -> usize {
        size_of::<Self>() + RUNS as usize * size_of::<Run>()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.lock().runs.capacity() * size_of::<Run>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    /// Every admitted request, in full.
    struct Perfect {
        max_requests: usize,
        window: u64,
        admitted: VecDeque<u64>,
        count: usize,
    }

    impl Perfect {
        fn new(max_requests: u32, window: u64) -> Self {
            Self {
                max_requests: max_requests as usize,
                window,
                admitted: VecDeque::new(),
                count: 0,
            }
        }

        fn admits(&mut self, now: u64) -> bool {
            while self
                .admitted
                .front()
                .is_some_and(|at| at + self.window <= now)
            {
                self.admitted.pop_front();
            }
            let admits = self.admitted.len() < self.max_requests;
            if admits {
                self.admitted.push_back(now);
                self.count += 1;
            }
            admits
        }
    }

    fn most_in_a_window(admitted: &[u64], window: u64) -> usize {
        let from = |index: usize| {
            let within = |at: &&u64| **at - admitted[index] < window;
            admitted[index..].iter().take_while(within).count()
        };
        (0..admitted.len()).map(from).max().unwrap_or(0)
    }

    #[test]
    fn each_request_comes_back_a_window_after_it_was_made() {
        let sliding = Sliding::new(2, MINUTE);
        let log = Log::default();
        let at = |seconds: u64| Moment(seconds * SECOND);
        let (level, _) = sliding.charge(&log, at(0)).unwrap();
        assert_eq!((level.remaining, level.more_in), (1, MINUTE));
        sliding.charge(&log, at(50)).unwrap();
        let wait = |seconds| Err(Duration::from_secs(seconds));
        assert_eq!(sliding.look(&log, at(50)), wait(10));
        assert_eq!(
            sliding.look(&log, Moment(60 * SECOND - 1)),
            Err(Duration::from_nanos(1))
        );
        sliding.charge(&log, at(60)).unwrap();
        assert_eq!(sliding.look(&log, at(60)), wait(50));
        assert_eq!(sliding.level(&log, at(110)).remaining, 1);
        let level = sliding.level(&log, at(120));
        assert_eq!((level.remaining, level.more_in), (2, Duration::ZERO));
    }

    #[test]
    fn a_burst_comes_back_whole_after_one_window() {
        let sliding = Sliding::new(10_000, MINUTE);
        let log = Log::default();
        for round in 0..3 {
            let now = Moment(round * 60 * SECOND);
            for _ in 0..10_000 {
                sliding.charge(&log, now).unwrap();
            }
            let early = Moment(now.0 + 60 * SECOND - 1);
            assert_eq!(
                sliding.charge(&log, early).err(),
                Some(Duration::from_nanos(1))
            );
        }
    }

    #[test]
    fn a_look_and_a_level_count_nothing() {
        let sliding = Sliding::new(2, MINUTE);
        let log = Log::default();
        for _ in 0..10 {
            assert_eq!(sliding.look(&log, Moment(1)), Ok(()));
            assert_eq!(sliding.level(&log, Moment(1)).remaining, 2);
        }
    }

    #[test]
    fn a_refund_gives_back_what_is_still_remembered() {
        let sliding = Sliding::new(2, MINUTE);
        let log = Log::default();
        let (_, first) = sliding.charge(&log, Moment(SECOND)).unwrap();
        let (_, second) = sliding.charge(&log, Moment(2 * SECOND)).unwrap();
        sliding.refund(&log, second);
        assert_eq!(sliding.level(&log, Moment(2 * SECOND)).remaining, 1);
        sliding.charge(&log, Moment(3 * SECOND)).unwrap();
        // A window later the first is forgotten, and cannot be given back once more.
        let later = Moment(61 * SECOND);
        assert_eq!(sliding.level(&log, later).remaining, 1);
        sliding.refund(&log, first);
        assert_eq!(sliding.level(&log, later).remaining, 1);
    }

    #[test]
    fn zero_requests_means_never() {
        let sliding = Sliding::new(0, MINUTE);
        let log = Log::default();
        for now in [0, SECOND, LONGEST] {
            assert_eq!(sliding.look(&log, Moment(now)), Err(MINUTE));
            assert_eq!(sliding.charge(&log, Moment(now)).err(), Some(MINUTE));
            let level = sliding.level(&log, Moment(now));
            assert_eq!((level.remaining, level.more_in), (0, MINUTE));
        }
        assert!(log.is_idle(Moment(0)));
    }

    #[test]
    fn extreme_limits_do_not_panic() {
        for (max, window) in [
            (u32::MAX, Duration::from_millis(1)),
            (u32::MAX, Duration::MAX),
            (1, Duration::MAX),
            (1, Duration::ZERO),
            (33, Duration::from_nanos(1)),
        ] {
            let sliding = Sliding::new(max, window);
            let log = Log::default();
            for now in [Moment(0), Moment(SECOND), Moment(LONGEST)] {
                if let Ok((level, at)) = sliding.charge(&log, now) {
                    assert!(level.remaining < max);
                    sliding.refund(&log, at);
                }
                sliding.level(&log, now);
            }
        }
    }

    #[test]
    fn who_read_the_clock_earlier_gains_nothing() {
        let sliding = Sliding::new(1, MINUTE);
        let log = Log::default();
        sliding.charge(&log, Moment(SECOND)).unwrap();
        let now = Moment(61 * SECOND);
        sliding.charge(&log, now).unwrap();
        // The first is forgotten; the second is not, though it is in the future.
        let behind = Moment(60 * SECOND);
        assert_eq!(sliding.look(&log, behind), Err(Duration::from_secs(61)));
        // Nor does it help to come to a successor.
        let forgetful = Log::default().successor(now);
        let (_, at) = sliding.charge(&forgetful, behind).unwrap();
        assert_eq!(at, now);
    }

    #[test]
    fn a_log_is_as_small_as_the_docs_say() {
        assert!(Log::largest() <= 616, "{}", Log::largest());
        let sliding = Sliding::new(1_000_000, MINUTE);
        let log = Log::default();
        assert!(log.size() <= 104, "{}", log.size());
        sliding.charge(&log, Moment(0)).unwrap();
        assert!(log.size() <= 168, "{}", log.size());
        for step in 0..100_000 {
            sliding.charge(&log, Moment(step * 700_000_000)).unwrap();
            assert!(log.size() <= Log::largest());
        }
    }

    #[test]
    fn threads_together_are_admitted_to_the_limit_exactly() {
        let sliding = Sliding::new(500, MINUTE);
        let log = Log::default();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (sliding, log) = (&sliding, &log);
                    let admits = move |step: &u64| {
                        let now = Moment(thread * 7 + step * 1_000_000);
                        sliding.charge(log, now).is_ok()
                    };
                    scope.spawn(move || (0..1_000).filter(admits).count())
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, 500);
    }

    /// Mostly bunched, so that bursts and gaps both happen.
    fn arrivals() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0_u64..2_000, any::<bool>()), 1..600).prop_map(|gaps| {
            let mut now = 0;
            let next = |(gap, moves)| {
                now += if moves { gap / 16 } else { 0 };
                now
            };
            gaps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn no_window_ever_admits_more_than_the_limit(
            max in 1_u32..100,
            window in 1_u64..10_000,
            arrivals in arrivals(),
        ) {
            let sliding = Sliding::new(max, Duration::from_nanos(window));
            let log = Log::default();
            let admits = |now: &u64| sliding.charge(&log, Moment(*now)).is_ok();
            let admitted: Vec<u64> = arrivals.into_iter().filter(admits).collect();
            prop_assert!(most_in_a_window(&admitted, window) <= max as usize);
        }

        #[test]
        fn small_limits_are_decided_as_by_a_perfect_log(
            max in 1_u32..=RUNS,
            window in 1_u64..10_000,
            arrivals in arrivals(),
        ) {
            let sliding = Sliding::new(max, Duration::from_nanos(window));
            let log = Log::default();
            let mut perfect = Perfect::new(max, window);
            for now in arrivals {
                prop_assert_eq!(sliding.charge(&log, Moment(now)).is_ok(), perfect.admits(now));
            }
        }

        #[test]
        fn steady_callers_get_95_of_100_that_a_perfect_log_admits(
            max in 1_u32..2_000,
            window in 1_000_000_u64..100_000_000_000,
            // Requests offered, in hundredths of the limit.
            offered in 50_u64..1_000,
            start: u32,
        ) {
            let gap = (window * 100 / (u64::from(max) * offered)).max(1);
            let sliding = Sliding::new(max, Duration::from_nanos(window));
            let log = Log::default();
            let mut perfect = Perfect::new(max, window);
            let mut admitted = 0;
            for step in 0..10 * window / gap {
                let now = u64::from(start) + step * gap;
                admitted += usize::from(sliding.charge(&log, Moment(now)).is_ok());
                perfect.admits(now);
            }
            prop_assert!(admitted * 100 >= perfect.count * 95, "{admitted} of {}", perfect.count);
        }

        #[test]
        fn the_wait_is_true(
            max in 1_u32..100,
            window in 1_u64..10_000,
            arrivals in arrivals(),
        ) {
            let sliding = Sliding::new(max, Duration::from_nanos(window));
            let log = Log::default();
            for now in arrivals.into_iter().map(Moment) {
                let level = sliding.level(&log, now);
                prop_assert_eq!(sliding.look(&log, now).is_ok(), level.remaining > 0);
                let Err(wait) = sliding.charge(&log, now) else { continue };
                prop_assert_eq!(wait, level.more_in);
                let then = log.successor(Moment(0));
                let nanos = wait.as_nanos() as u64;
                prop_assert!(sliding.look(&then, Moment(now.0 + nanos - 1)).is_err());
                prop_assert!(sliding.look(&then, Moment(now.0 + nanos)).is_ok());
            }
        }

        #[test]
        fn with_refunds_no_window_keeps_more_than_the_limit(
            max in 1_u32..60,
            window in 1_u64..2_000,
            steps in prop::collection::vec((0_u64..60, any::<bool>(), 0_usize..8), 1..500),
        ) {
            let sliding = Sliding::new(max, Duration::from_nanos(window));
            let log = Log::default();
            let mut now = 0;
            let mut kept: Vec<Moment> = Vec::new();
            for (gap, refund, back) in steps {
                now += gap;
                if refund && !kept.is_empty() {
                    let place = kept.len() - 1 - back.min(kept.len() - 1);
                    sliding.refund(&log, kept.remove(place));
                } else if let Ok((_, at)) = sliding.charge(&log, Moment(now)) {
                    kept.push(at);
                }
                let times: Vec<u64> = kept.iter().map(|at| at.0).collect();
                prop_assert!(most_in_a_window(&times, window) <= max as usize);
            }
        }
    }
}
