//! What a gate has done so far, in figures.
//!
//! In come `events`: whoever has something to count calls the one method of [`Metrics`] named after
//! it. `counting` feeds both what [`AuthStats`] tells the program (`figures`) and the `recorder` of
//! the `metrics` crate, where that feature is on, so the two cannot come apart, and nobody but this
//! room knows whether there is a recorder.
//!
//! [`guard_problem`] and `StoreCalls` are apart: what is no gate's has a recorder alone.

mod counting;
mod events;
mod figures;
#[cfg(feature = "metrics")]
mod recorder;
#[cfg(not(feature = "metrics"))]
#[path = "no_recorder.rs"]
mod recorder;

pub(crate) use counting::Metrics;
pub(crate) use events::{Effect, GatewayResult, GuardProblem, Levels, LimitedBy};
pub use figures::{
    AuthStats, GatewayStats, InvalidKeyStats, LimitRefusals, VerdictSource, VerdictStats,
    WatchStats,
};
#[cfg(feature = "redis")]
pub(crate) use recorder::StoreCalls;
pub(crate) use recorder::guard_problem;
