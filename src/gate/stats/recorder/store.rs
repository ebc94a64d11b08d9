//! The figures of a store that replicas share.

use metrics::{Counter, Gauge, Unit, with_recorder};

#[cfg(feature = "redis")]
use super::store_calls::CallHandles;
use super::{counter, gauge, move_gauge};
use crate::client::StoreStats;

const AWAY: &str = "wacht_auth.store.away";
const REPLICAS: &str = "wacht_auth.store.replicas";
const CALLS: &str = "wacht_auth.store.calls";
const LEASES: &str = "wacht_auth.store.leases";
const LEASED_UNITS: &str = "wacht_auth.store.leased_units";
const EVENTS_UNTOLD: &str = "wacht_auth.store.events.untold";
const EVENTS_BEHIND: &str = "wacht_auth.store.events.behind";
const EVENTS_MISSED: &str = "wacht_auth.store.events.missed";
const EVENTS_SKIPPED: &str = "wacht_auth.store.events.skipped";

pub(super) const RESULT: &str = "wacht_auth.store.result";
pub(super) const ANSWERED: &str = "answered";
pub(super) const FAILED: &str = "failed";

/// What a gate tells of its store, with its levels.
pub(super) struct StoreHandles {
    away: Gauge,
    replicas: Gauge,
    leases: Gauge,
    leased_units: Gauge,
    untold: Gauge,
    behind: Gauge,
    missed: Counter,
    skipped: Counter,
    answered: Counter,
    failed: Counter,
}

impl StoreHandles {
    pub(super) fn new() -> Self {
        describe();
        // So that it is there before the first call.
        #[cfg(feature = "redis")]
        drop(CallHandles::new());
        Self {
            away: gauge(AWAY, &[]),
            replicas: gauge(REPLICAS, &[]),
            leases: gauge(LEASES, &[]),
            leased_units: gauge(LEASED_UNITS, &[]),
            untold: gauge(EVENTS_UNTOLD, &[]),
            behind: gauge(EVENTS_BEHIND, &[]),
            missed: counter(EVENTS_MISSED, &[]),
            skipped: counter(EVENTS_SKIPPED, &[]),
            answered: counter(CALLS, &[(RESULT, ANSWERED)]),
            failed: counter(CALLS, &[(RESULT, FAILED)]),
        }
    }

    pub(super) fn move_levels(&self, from: &StoreStats, to: &StoreStats) {
        move_gauge(&self.away, from.away.into(), to.away.into());
        let replicas = |stats: &StoreStats| stats.replicas.unwrap_or_default().into();
        move_gauge(&self.replicas, replicas(from), replicas(to));
        move_gauge(&self.leases, from.leases, to.leases);
        move_gauge(&self.leased_units, from.leased_units, to.leased_units);
        move_gauge(&self.untold, from.events_untold, to.events_untold);
        move_gauge(&self.behind, from.events_behind, to.events_behind);
        let count =
            |counter: &Counter, from: u64, to: u64| counter.increment(to.saturating_sub(from));
        count(&self.missed, from.events_missed, to.events_missed);
        count(&self.skipped, from.events_skipped, to.events_skipped);
        count(&self.answered, from.calls, to.calls);
        count(&self.failed, from.failed_calls, to.failed_calls);
    }
}

pub(super) fn no_less(store: Option<StoreStats>, told: Option<StoreStats>) -> Option<StoreStats> {
    let store = store.or(told)?;
    Some(told.map_or(store, |told| no_less_than(store, told)))
}

/// These levels, and of what only grows no less than was told.
pub(super) fn no_less_than(store: StoreStats, told: StoreStats) -> StoreStats {
    StoreStats {
        events_missed: store.events_missed.max(told.events_missed),
        events_skipped: store.events_skipped.max(told.events_skipped),
        calls: store.calls.max(told.calls),
        failed_calls: store.failed_calls.max(told.failed_calls),
        ..store
    }
}

fn describe() {
    let counters = [
        (
            CALLS,
            "Calls of the store that replicas share which are over, by result.",
        ),
        (
            EVENTS_MISSED,
            "How often events of other replicas may have been missed.",
        ),
        (
            EVENTS_SKIPPED,
            "Entries among the events that no replica of this version makes.",
        ),
    ];
    let gauges = [
        (AWAY, "Gates whose store has failed too often."),
        (
            REPLICAS,
            "Replicas alive, as the store last said, added up over the gates of the process.",
        ),
        (
            LEASES,
            "Leases of units of limits that the store has granted and whose time is not over.",
        ),
        (LEASED_UNITS, "Units of these leases, spent or not."),
        (
            EVENTS_UNTOLD,
            "Events that other replicas have not been told of yet.",
        ),
        (
            EVENTS_BEHIND,
            "Events of other replicas that were there and not read.",
        ),
    ];
    with_recorder(|recorder| {
        for (name, description) in counters {
            recorder.describe_counter(name.into(), Some(Unit::Count), description.into());
        }
        for (name, description) in gauges {
            recorder.describe_gauge(name.into(), Some(Unit::Count), description.into());
        }
    });
}
