//! A counter that is remembered beside what is known of its key.

use std::sync::{Arc, OnceLock, Weak};

use super::super::counters::CounterState;

/// Where a key is counted by one rule, so that a request need not look for it.
///
/// It keeps no counter: one that is idle is forgotten all the same, and the next request looks for it
/// again.
#[derive(Debug, Default)]
pub(crate) struct KnownCounter(OnceLock<(u64, Weak<CounterState>)>);

impl KnownCounter {
    /// The counter of the rule with this number, if it is that rule's and still there.
    pub(in crate::gate::limit) fn get(&self, rule: u64) -> Option<Arc<CounterState>> {
        let (of, state) = self.0.get()?;
        (*of == rule).then(|| state.upgrade())?
    }

    /// Remembers it, if none has been before.
    pub(in crate::gate::limit) fn set(&self, rule: u64, state: &Arc<CounterState>) {
        self.0.get_or_init(|| (rule, Arc::downgrade(state)));
    }
}
