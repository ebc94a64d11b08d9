//! The leases that are out, for those who only want to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct LeasesOut {
    leases: AtomicU64,
    units: AtomicU64,
}

/// One of them, as long as this lives.
pub(super) struct LeaseOut {
    all: Arc<LeasesOut>,
    units: u64,
}

impl LeasesOut {
    pub(super) fn add(self: &Arc<Self>, units: u32) -> LeaseOut {
        let units = u64::from(units);
        self.leases.fetch_add(1, Ordering::Relaxed);
        self.units.fetch_add(units, Ordering::Relaxed);
        LeaseOut {
            all: Arc::clone(self),
            units,
        }
    }

    /// How many there are, and how many units they were granted.
    pub(super) fn count(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.leases), read(&self.units))
    }
}

impl Drop for LeaseOut {
    fn drop(&mut self) {
        self.all.leases.fetch_sub(1, Ordering::Relaxed);
        self.all.units.fetch_sub(self.units, Ordering::Relaxed);
    }
}
