//! What the watch has done, for those who only want to know: nobody waits for a lock to read it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::nanoseconds;
use crate::gate::stats::WatchStats;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lists: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) confirmations: AtomicU64,
    pub(super) shared: AtomicU64,
    left_out: AtomicU64,
    apps: AtomicU64,
    longest_unseen: AtomicU64,
}

impl Counters {
    pub(super) fn set(&self, longest_unseen: Duration, apps: usize, left_out: usize) {
        let longest_unseen = nanoseconds(longest_unseen);
        self.longest_unseen.store(longest_unseen, Ordering::Relaxed);
        self.apps.store(apps as u64, Ordering::Relaxed);
        self.left_out.store(left_out as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> WatchStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WatchStats {
            longest_unseen: Duration::from_nanos(read(&self.longest_unseen)),
            apps: read(&self.apps),
            left_out: read(&self.left_out),
            lists: read(&self.lists),
            failed: read(&self.failed),
            confirmations: read(&self.confirmations),
            shared: read(&self.shared),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
