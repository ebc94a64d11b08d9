//! What goes to the log: under which target, and what is said there only once.

use std::sync::atomic::{AtomicBool, Ordering};

/// The target of every event and span of the gate, for filters to name.
pub(crate) const GATE: &str = "wacht_auth::gate";

/// Something that is said in the log once, not per request.
#[derive(Debug, Default)]
pub(crate) struct Notice(AtomicBool);

impl Notice {
    pub(crate) fn is_first(&self) -> bool {
        // A plain load first: after the first time, this is all a request pays.
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether there was something to take back.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn warn_once(&self, what: &str) {
        if self.is_first() {
            tracing::warn!(target: GATE, "{what}");
        }
    }

    pub(crate) fn error_once(&self, what: &str, hint: &str) {
        if self.is_first() {
            tracing::error!(target: GATE, hint, "{what}");
        }
    }
}
