//! Counts what happens, for the program and for the recorder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::nanoseconds;
use crate::gate::refusal::{InvalidKeyReason, Rejection};
use crate::gate::stats::events::{Effect, GatewayResult, Levels, LimitedBy};
use crate::gate::stats::figures::{
    AuthStats, GatewayStats, InvalidKeyStats, LimitRefusals, OUTCOMES, SOURCES, VerdictSource,
    VerdictStats, outcome,
};
use crate::gate::stats::recorder::Recorder;
use crate::stripes::Stripes;

/// Everything that a gate counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    verdicts: Stripes<Verdicts>,
    invalid_keys: [AtomicU64; InvalidKeyReason::ALL.len()],
    checks: AtomicU64,
    gateway: [AtomicU64; GatewayResult::ALL.len()],
    gateway_time: AtomicU64,
    refreshes: AtomicU64,
    limit_refusals: [[AtomicU64; Effect::ALL.len()]; LimitedBy::ALL.len()],
    recorder: Recorder,
}

/// The verdicts of some threads.
type Verdicts = [[AtomicU64; SOURCES]; OUTCOMES];

impl Metrics {
    #[inline]
    pub(crate) fn admitted(&self, source: VerdictSource) {
        self.verdict(outcome(None), source);
    }

    pub(crate) fn refused(&self, rejection: &Rejection, source: VerdictSource) {
        self.verdict(outcome(Some(rejection.kind())), source);
        if let Some(reason) = rejection.reason() {
            count(&self.invalid_keys[reason as usize]);
            self.recorder.invalid_key(reason);
        }
    }

    fn verdict(&self, outcome: usize, source: VerdictSource) {
        count(&self.verdicts.local()[outcome][source as usize]);
        self.recorder.verdict(outcome, source);
    }

    /// A check is about to leave.
    pub(crate) fn check_sent(&self) {
        count(&self.checks);
    }

    /// A check is over, after this long.
    pub(crate) fn gateway_request(&self, result: GatewayResult, took: Duration) {
        count(&self.gateway[result as usize]);
        self.gateway_time
            .fetch_add(nanoseconds(took), Ordering::Relaxed);
        self.recorder.gateway_request(result, took);
    }

    pub(crate) fn refresh(&self) {
        count(&self.refreshes);
        self.recorder.refresh();
    }

    pub(crate) fn limit_refusal(&self, by: LimitedBy, effect: Effect) {
        count(&self.limit_refusals[by as usize][effect as usize]);
        self.recorder.limit_refusal(by, effect);
    }

    /// Tells the recorder what the gate holds.
    pub(crate) fn levels(&self, levels: &Levels) {
        self.recorder.levels(levels);
    }

    /// What was counted, with what the gate holds.
    pub(crate) fn stats(
        &self,
        levels: &Levels,
        in_flight: usize,
        awaited_ends: usize,
    ) -> AuthStats {
        self.levels(levels);
        let shadow_refusals_by_mode = self.limit_refusals(Effect::Shadow);
        AuthStats {
            cached_keys: levels.cached_keys,
            cached_bytes: levels.cached_bytes,
            refused_keys: levels.refused_keys,
            evicted_keys: levels.evicted_keys,
            evicted_refused_keys: levels.evicted_refused_keys,
            in_flight,
            awaited_ends,
            checks: read(&self.checks),
            gateway: self.gateway(),
            refreshes: read(&self.refreshes),
            gateway_trusted: !levels.is_breaker_open,
            limiter_subjects: levels.limiter_subjects,
            limit_refusals: self.limit_refusals(Effect::Refused),
            shadow_refusals: shadow_refusals_by_mode.total(),
            shadow_refusals_by_mode,
            unknown_key_refusals: self.limited_by(LimitedBy::UnknownKeys, Effect::Refused),
            invalid_keys: self.invalid_keys(),
            verdicts: self.verdicts(),
            watch: levels.watch,
            store: levels.store,
        }
    }

    fn gateway(&self) -> GatewayStats {
        let of = |result| read(&self.gateway[result as usize]);
        GatewayStats {
            allowed: of(GatewayResult::Allowed),
            denied: of(GatewayResult::Denied),
            rate_limited: of(GatewayResult::RateLimited),
            permission_denied: of(GatewayResult::PermissionDenied),
            indeterminate: of(GatewayResult::Indeterminate),
            failed: of(GatewayResult::Failed),
            timed_out: of(GatewayResult::TimedOut),
            time: Duration::from_nanos(read(&self.gateway_time)),
        }
    }

    fn invalid_keys(&self) -> InvalidKeyStats {
        let of = |reason| read(&self.invalid_keys[reason as usize]);
        InvalidKeyStats {
            malformed: of(InvalidKeyReason::Malformed),
            unknown: of(InvalidKeyReason::Unknown),
            revoked: of(InvalidKeyReason::Revoked),
            other_deployment: of(InvalidKeyReason::OtherDeployment),
            other_app: of(InvalidKeyReason::OtherApp),
            token: of(InvalidKeyReason::Token),
            app_inactive: of(InvalidKeyReason::AppInactive),
            expired: of(InvalidKeyReason::Expired),
        }
    }

    fn limit_refusals(&self, effect: Effect) -> LimitRefusals {
        let by = |by| self.limited_by(by, effect);
        LimitRefusals {
            per_app: by(LimitedBy::PerApp),
            per_key: by(LimitedBy::PerKey),
            per_key_and_ip: by(LimitedBy::PerKeyAndIp),
            per_app_and_ip: by(LimitedBy::PerAppAndIp),
            per_ip: by(LimitedBy::PerIp),
            gateway: by(LimitedBy::Gateway),
        }
    }

    fn limited_by(&self, by: LimitedBy, effect: Effect) -> u64 {
        read(&self.limit_refusals[by as usize][effect as usize])
    }

    fn verdicts(&self) -> VerdictStats {
        let mut sums = [[0; SOURCES]; OUTCOMES];
        for counts in self.verdicts.iter() {
            for (sums, counts) in sums.iter_mut().zip(counts) {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += read(count);
                }
            }
        }
        VerdictStats(sums)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::stats::figures::OUTCOME_KINDS;

    /// The places in the tables above are the variants' own numbers.
    #[test]
    fn every_variant_has_a_place_of_its_own() {
        let outcomes = OUTCOME_KINDS.map(outcome);
        assert_eq!(outcomes, std::array::from_fn(|place| place));
        let sources = VerdictSource::ALL.map(|source| source as usize);
        assert_eq!(sources, std::array::from_fn(|place| place));
        let results = GatewayResult::ALL.map(|result| result as usize);
        assert_eq!(results, std::array::from_fn(|place| place));
        let reasons = InvalidKeyReason::ALL.map(|reason| reason as usize);
        assert_eq!(reasons, std::array::from_fn(|place| place));
        let limits = LimitedBy::ALL.map(|by| by as usize);
        assert_eq!(limits, std::array::from_fn(|place| place));
        let effects = Effect::ALL.map(|effect| effect as usize);
        assert_eq!(effects, std::array::from_fn(|place| place));
    }

    #[test]
    fn what_has_not_come_is_not_shown() {
        let metrics = Metrics::default();
        metrics.admitted(VerdictSource::Fresh);
        metrics.refused(
            &Rejection::invalid_key(InvalidKeyReason::Unknown),
            VerdictSource::Negative,
        );
        let shown = format!("{:?}", metrics.verdicts());
        let expected = r#"{("admitted", "fresh"): 1, ("invalid_key", "negative"): 1}"#;
        assert_eq!(shown, expected);
    }

    #[test]
    fn threads_that_count_at_the_same_time_lose_nothing() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        metrics.admitted(VerdictSource::Fresh);
                    }
                });
            }
        });
        let verdicts = metrics.verdicts();
        let expected = 16 * 1_000;
        assert_eq!(verdicts.admitted(VerdictSource::Fresh), expected);
        assert_eq!(verdicts.total(), expected);
    }
}
