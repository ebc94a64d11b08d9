//! Keeps a service that is down, the gateway or the store, from costing every request a deadline.
//!
//! It is looked at after what is in memory: known keys never meet the gateway's. While it is open,
//! nothing is sent; then one probe is, and the first answer of any kind closes it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Now;

/// How far back failures and answers are counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// Below this many, chance may have had its hand in it.
const SAMPLES: u32 = 10;
/// This many in a row, and nothing else, speak for themselves.
const IN_A_ROW: u32 = 5;
/// How long a failure of the last finished check speaks for the gateway's state now.
const FAILS_NOW: Duration = Duration::from_secs(30);
/// How long nothing is sent before the next probe.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// Whether the gateway is worth asking, by the rate of its failures: half of at least 10 checks
/// within 10 s, or 5 in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    circuit: Circuit,
    /// When the last finished check failed for want of a gateway, if it did.
    last_outage: Option<Duration>,
    /// When it last answered a check.
    last_answer: Option<Duration>,
}

#[derive(Debug)]
enum Circuit {
    Closed(Rate),
    Open {
        until: Duration,
    },
    /// One check is out to see.
    Probing {
        since: Duration,
    },
}

#[derive(Debug, Default)]
struct Rate {
    since: Duration,
    answers: u32,
    failures: u32,
    in_a_row: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed(Rate::default())
    }
}

impl Record {
    /// When checks are sent again, if they are held back.
    fn shut_until(&mut self, now: Now) -> Option<Duration> {
        let is_known = self.has_failed_lately(now);
        match self.circuit {
            Circuit::Closed(_) => None,
            // What failed a while ago, or has answered since, says nothing of now. Another failure
            // does.
            _ if !is_known => {
                self.circuit = Circuit::Closed(Rate {
                    since: now.monotonic,
                    in_a_row: IN_A_ROW - 1,
                    ..Rate::default()
                });
                None
            }
            Circuit::Open { until } => Some(until),
            // A probe that was lost must not keep the breaker open for good.
            Circuit::Probing { since } => Some(since.saturating_add(OPEN_FOR)),
        }
    }

    fn has_failed_lately(&self, now: Now) -> bool {
        self.last_outage
            .is_some_and(|at| now.monotonic.saturating_sub(at) < FAILS_NOW)
    }
}

impl Breaker {
    /// How long to wait before asking, if checks are not sent now. Takes no probe's place.
    pub(crate) fn open_for(&self, now: Now) -> Option<Duration> {
        let until = self.record().shut_until(now)?;
        (now.monotonic < until).then(|| until - now.monotonic)
    }

    /// Whether the gateway is known to fail now: checks are held back this moment, or the last
    /// finished one failed for want of a gateway less than 30 s ago. Any answer ends it.
    pub(crate) fn is_failing(&self, now: Now) -> bool {
        let record = self.record();
        let is_held_back =
            matches!(record.circuit, Circuit::Open { until } if now.monotonic < until);
        is_held_back || record.has_failed_lately(now)
    }

    /// Permission to send one check; it must be followed by [`answered`](Self::answered) or
    /// [`failed`](Self::failed), or, if it says nothing of the gateway, by
    /// [`indeterminate`](Self::indeterminate) or [`unsent`](Self::unsent).
    ///
    /// # Errors
    ///
    /// How long to wait before asking again.
    pub(crate) fn try_acquire(&self, now: Now) -> Result<(), Duration> {
        let mut record = self.record();
        let Some(until) = record.shut_until(now) else {
            return Ok(());
        };
        if now.monotonic < until {
            return Err(until - now.monotonic);
        }
        record.circuit = Circuit::Probing {
            since: now.monotonic,
        };
        Ok(())
    }

    /// The gateway said something; whether it was yes or no is not the breaker's business. Whether
    /// that closed an open breaker.
    pub(crate) fn answered(&self, now: Now) -> bool {
        let mut record = self.record();
        record.last_outage = None;
        record.last_answer = Some(now.monotonic);
        match &mut record.circuit {
            Circuit::Closed(rate) => {
                rate.forget_the_past(now);
                rate.answers = rate.answers.saturating_add(1);
                rate.in_a_row = 0;
                false
            }
            Circuit::Open { .. } | Circuit::Probing { .. } => {
                record.circuit = Circuit::default();
                true
            }
        }
    }

    /// The gateway said nothing, or that it is not well. Whether that opened a closed breaker.
    pub(crate) fn failed(&self, now: Now) -> bool {
        let mut record = self.record();
        record.last_outage = Some(now.monotonic);
        let was_closed = matches!(record.circuit, Circuit::Closed(_));
        let opens = match &mut record.circuit {
            Circuit::Closed(rate) => {
                rate.forget_the_past(now);
                rate.failures = rate.failures.saturating_add(1);
                rate.in_a_row = rate.in_a_row.saturating_add(1);
                rate.is_enough()
            }
            Circuit::Probing { .. } => true,
            // Sent before it opened: it says nothing new.
            Circuit::Open { .. } => false,
        };
        if opens {
            record.circuit = Circuit::Open {
                until: now.monotonic.saturating_add(OPEN_FOR),
            };
        }
        was_closed && opens
    }

    /// The gateway gave an answer that a caller may have brought about. It counts neither for nor
    /// against the gateway, but an answer it is.
    pub(crate) fn indeterminate(&self) {
        self.record().last_outage = None;
        self.unsent();
    }

    /// The check was not sent. If it was a probe, somebody else may send the next one.
    pub(crate) fn unsent(&self) {
        let mut record = self.record();
        if let Circuit::Probing { since } = record.circuit {
            record.circuit = Circuit::Open { until: since };
        }
    }

    /// Whether checks are sent as they come.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.record().circuit, Circuit::Closed(_))
    }

    /// Whether there was an answer at that time or later.
    pub(crate) fn has_answered_since(&self, since: Duration) -> bool {
        self.record().last_answer.is_some_and(|at| at >= since)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    fn forget_the_past(&mut self, now: Now) {
        if now.monotonic.saturating_sub(self.since) >= WINDOW {
            *self = Self {
                since: now.monotonic,
                // A quiet gateway is not a well one.
                in_a_row: self.in_a_row,
                ..Self::default()
            };
        }
    }

    fn is_enough(&self) -> bool {
        let all = self.answers.saturating_add(self.failures);
        self.in_a_row >= IN_A_ROW || (all >= SAMPLES && self.failures >= all.div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Now {
        Now {
            monotonic: Duration::from_millis(milliseconds),
            unix: Duration::ZERO,
        }
    }

    fn opened(at_milliseconds: u64) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..IN_A_ROW {
            breaker.try_acquire(at(at_milliseconds)).unwrap();
            breaker.failed(at(at_milliseconds));
        }
        assert!(!breaker.is_closed());
        breaker
    }

    #[test]
    fn a_few_failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let breaker = Breaker::default();
        for _ in 0..IN_A_ROW - 1 {
            breaker.failed(at(0));
        }
        breaker.answered(at(0));
        for _ in 0..IN_A_ROW - 1 {
            breaker.failed(at(0));
        }
        assert!(breaker.is_closed());
        assert!(breaker.failed(at(0)), "that opened it");
        assert!(!breaker.is_closed());
        assert!(!breaker.failed(at(0)), "it was open already");
        assert!(breaker.answered(at(0)), "that closed it");
        assert!(!breaker.answered(at(0)), "it was closed already");
    }

    #[test]
    fn failing_every_other_time_opens_it_when_there_are_enough() {
        let breaker = Breaker::default();
        for check in 0..SAMPLES / 2 {
            assert!(breaker.is_closed(), "after {check} of each");
            breaker.answered(at(0));
            breaker.failed(at(0));
        }
        assert!(!breaker.is_closed());
    }

    #[test]
    fn what_failed_a_while_ago_holds_nobody_back_and_the_next_failure_does() {
        let now = at(FAILS_NOW.as_millis() as u64);
        let breaker = opened(0);
        // Not the probe alone: who asks beside it is asked about, too.
        for _ in 0..3 {
            assert_eq!(breaker.open_for(now), None);
            assert_eq!(breaker.try_acquire(now), Ok(()));
            assert!(!breaker.is_failing(now));
        }
        assert!(breaker.failed(now) && breaker.is_failing(now));
        assert_eq!(breaker.try_acquire(now), Err(OPEN_FOR));
        // Nor what has answered since, whatever it said.
        breaker.indeterminate();
        assert_eq!(breaker.try_acquire(now), Ok(()));
        assert_eq!(breaker.try_acquire(now), Ok(()));
    }

    #[test]
    fn one_failure_in_three_never_opens_it() {
        let breaker = Breaker::default();
        for check in 0..1_000 {
            breaker.answered(at(check * 10));
            breaker.answered(at(check * 10));
            breaker.failed(at(check * 10));
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn open_it_says_how_long_to_wait_and_then_lets_one_probe_out() {
        let breaker = opened(1_000);
        assert_eq!(
            breaker.try_acquire(at(1_500)),
            Err(Duration::from_millis(1_500))
        );
        breaker.try_acquire(at(3_000)).unwrap();
        for _ in 0..100 {
            assert!(
                breaker.try_acquire(at(3_000)).is_err(),
                "one probe is enough"
            );
        }
        breaker.answered(at(3_100));
        assert!(breaker.is_closed());
        breaker.try_acquire(at(3_100)).unwrap();
    }

    #[test]
    fn looking_at_it_does_not_take_the_probes_place() {
        let breaker = opened(1_000);
        assert_eq!(
            breaker.open_for(at(1_500)),
            Some(Duration::from_millis(1_500))
        );
        assert_eq!(breaker.open_for(at(3_000)), None);
        assert_eq!(breaker.open_for(at(3_000)), None);
        breaker.try_acquire(at(3_000)).unwrap();
        assert_eq!(breaker.open_for(at(3_000)), Some(OPEN_FOR));
        breaker.answered(at(3_000));
        assert_eq!(breaker.open_for(at(3_000)), None);
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let breaker = opened(0);
        breaker.try_acquire(at(2_000)).unwrap();
        breaker.failed(at(2_500));
        assert_eq!(breaker.try_acquire(at(2_500)), Err(OPEN_FOR));
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let breaker = opened(0);
        breaker.try_acquire(at(2_000)).unwrap();
        assert!(breaker.try_acquire(at(3_999)).is_err());
        breaker.try_acquire(at(4_000)).unwrap();
    }

    #[test]
    fn a_probe_that_was_never_sent_makes_way_at_once() {
        let breaker = opened(0);
        breaker.try_acquire(at(2_000)).unwrap();
        breaker.unsent();
        breaker.try_acquire(at(2_000)).unwrap();
    }

    #[test]
    fn the_gateway_fails_now_for_half_a_minute_after_its_last_failure_unless_it_answers() {
        let breaker = Breaker::default();
        assert!(!breaker.is_failing(at(0)));
        breaker.failed(at(1_000));
        assert!(breaker.is_failing(at(30_999)));
        assert!(!breaker.is_failing(at(31_000)), "a failure of the past");
        breaker.failed(at(40_000));
        breaker.answered(at(40_001));
        assert!(!breaker.is_failing(at(40_001)));
        breaker.failed(at(50_000));
        breaker.indeterminate();
        assert!(!breaker.is_failing(at(50_000)), "that was an answer, too");
        breaker.failed(at(60_000));
        breaker.unsent();
        assert!(breaker.is_failing(at(60_000)), "nothing was heard");
    }

    #[test]
    fn an_open_breaker_that_nobody_has_tried_for_long_says_nothing_of_now() {
        let breaker = opened(0);
        assert!(breaker.is_failing(at(1_999)));
        assert!(breaker.is_failing(at(29_999)));
        assert!(!breaker.is_failing(at(30_000)));
        breaker.try_acquire(at(30_000)).unwrap();
        breaker.failed(at(30_500));
        assert!(breaker.is_failing(at(30_500)));
        breaker.try_acquire(at(32_500)).unwrap();
        breaker.indeterminate();
        assert!(!breaker.is_failing(at(32_500)), "any answer ends it");
    }

    #[test]
    fn a_late_failure_does_not_keep_it_open_longer() {
        let breaker = opened(0);
        breaker.failed(at(1_999));
        breaker.try_acquire(at(2_000)).unwrap();
    }
}
