//! What stands in for a recorder where the feature `metrics` is off: nobody listens.

use std::time::Duration;

use crate::gate::refusal::InvalidKeyReason;
use crate::gate::stats::events::{Effect, GatewayResult, GuardProblem, Levels, LimitedBy};
use crate::gate::stats::figures::VerdictSource;

#[derive(Debug, Default)]
pub(super) struct Recorder;

impl Recorder {
    pub(super) fn verdict(&self, _outcome: usize, _source: VerdictSource) {}

    pub(super) fn invalid_key(&self, _reason: InvalidKeyReason) {}

    pub(super) fn gateway_request(&self, _result: GatewayResult, _took: Duration) {}

    pub(super) fn refresh(&self) {}

    pub(super) fn limit_refusal(&self, _by: LimitedBy, _effect: Effect) {}

    pub(super) fn levels(&self, _levels: &Levels) {}
}

pub(crate) fn guard_problem(_problem: GuardProblem) {}

/// How long calls of a store took.
#[cfg(feature = "redis")]
#[derive(Default)]
pub(crate) struct StoreCalls(());

#[cfg(feature = "redis")]
impl StoreCalls {
    pub(crate) fn answered(&self, _took: Duration) {}

    pub(crate) fn failed(&self, _took: Duration) {}
}
