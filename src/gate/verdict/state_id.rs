//! Which state of this process it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Tells one state from another, long after either is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateId(u64);

impl StateId {
    /// One that no other state of this process has.
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
