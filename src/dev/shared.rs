//! What the handles of a test and the server thread have in common.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::faults::Faults;
use super::journal::Journal;
use super::state::State;

pub(super) struct Shared {
    state: Mutex<State>,
    connections: Mutex<Connections>,
    pub(super) faults: Faults,
    pub(super) journal: Journal,
}

#[derive(Default)]
pub(super) struct Connections {
    pub(super) refused: bool,
    pub(super) open: Vec<AbortHandle>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            connections: Mutex::default(),
            faults: Faults::new(),
            journal: Journal::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refuse_connections(&self, refused: bool) {
        let mut connections = self.connections();
        connections.refused = refused;
        if refused {
            connections.open.drain(..).for_each(|open| open.abort());
        }
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
