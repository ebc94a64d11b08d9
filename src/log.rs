//! What goes to the log: under which target, and what is said there only once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use http::request::Parts;

/// The target of every event and span of the gate, for filters to name.
pub(crate) const GATE: &str = "wacht_auth::gate";

/// Something that is said in the log once, not per request.
#[derive(Debug, Default)]
pub(crate) struct Notice(AtomicBool);

impl Notice {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_first(&self) -> bool {
        // A plain load first: after the first time, this is all a request pays.
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether it has been said, and not been taken back.
    pub(crate) fn was_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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

    /// An error of how a route is put together: that the first time, for debugging after that.
    pub(crate) fn error_then_debug(&self, what: &str, request: &Parts) {
        let (method, path) = (&request.method, request.uri.path());
        if self.is_first() {
            tracing::error!(target: GATE, %method, path, "{what}");
        } else {
            tracing::debug!(target: GATE, %method, path, "{what}");
        }
    }
}

/// Of what something has been said. No more than there are kinds of it.
#[derive(Debug, Default)]
pub(crate) struct Said<T>(Mutex<BTreeSet<T>>);

impl<T: Ord> Said<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }

    pub(crate) fn is_first(&self, of: T) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(of)
    }
}

impl Said<Box<str>> {
    /// Where there may be kinds without number, only [`FEW`] of them are the first once.
    pub(crate) fn is_first_of_few(&self, of: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < FEW && !said.contains(of) && said.insert(of.into())
    }
}

const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    #[test]
    fn each_place_is_the_first_once() {
        let places = Said::new();
        let (here, there) = (Location::caller(), Location::caller());
        assert_ne!(here, there);
        let first = [here, there, here].map(|place| places.is_first(place));
        assert_eq!(first, [true, true, false]);
    }
}
