//! Whoever may have spent units of leases in the last window.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::SharedCounter;
use super::state::SharedState;
use super::store::SubjectId;

/// All subjects that the store has been asked about and that are not forgotten.
#[derive(Debug, Default)]
pub(super) struct Spenders(Mutex<Vec<Spender>>);

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
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As seldom as the memory grows.
        if all.len() == all.capacity() {
            all.retain(|spender| spender.state.strong_count() > 0);
            let alive = all.len();
            all.reserve(alive);
        }
        all.push(Spender {
            counter: Arc::downgrade(counter),
            state: Arc::downgrade(state),
            subject,
        });
    }

    pub(super) fn all(&self) -> Vec<Spender> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

impl Spender {
    pub(super) fn upgrade(&self) -> Option<(Arc<SharedCounter>, Arc<SharedState>)> {
        Some((self.counter.upgrade()?, self.state.upgrade()?))
    }
}
