//! Whoever may have something to tell a store that comes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::SharedCounter;
use super::state::SharedState;
use super::store::SubjectId;

/// All subjects that the store has been asked about and that are not forgotten.
#[derive(Debug, Default)]
pub(super) struct Spenders {
    all: Mutex<Vec<Spender>>,
    /// Up to which break of the link they have been told to tell.
    told: AtomicU64,
}

#[derive(Clone, Debug)]
pub(super) struct Spender {
    counter: Weak<SharedCounter>,
    state: Weak<SharedState>,
    pub(super) subject: SubjectId,
}

impl Spenders {
    pub(super) fn add(
        &self,
        counter: &Arc<SharedCounter>,
        state: &Arc<SharedState>,
        subject: SubjectId,
    ) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // As seldom as the memory grows.
        if all.len() == all.capacity() {
            all.retain(|spender| spender.state.strong_count() > 0);
        }
        all.push(Spender {
            counter: Arc::downgrade(counter),
            state: Arc::downgrade(state),
            subject,
        });
    }

    /// Those there are, once after each break.
    pub(super) fn after_break(&self, count: u64) -> Option<Vec<Spender>> {
        if self.told.swap(count, Ordering::Relaxed) == count {
            return None;
        }
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        Some(all.clone())
    }
}

impl Spender {
    pub(super) fn upgrade(&self) -> Option<(Arc<SharedCounter>, Arc<SharedState>)> {
        Some((self.counter.upgrade()?, self.state.upgrade()?))
    }
}
