//! The faults that are set, and answers that are held back.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::call::Side;
use super::fault::{Fault, On};

/// Answers held back, from [`DevGateway::hold`](super::DevGateway::hold).
///
/// They go out when it is dropped or released.
#[must_use = "the answers go out when it is dropped"]
pub struct Held {
    holds: watch::Sender<Holds>,
    id: u64,
}

impl Held {
    /// Lets the answers go, and those to come.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holds
            .send_modify(|holds| holds.active.retain(|(id, _)| *id != self.id));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

pub(super) struct Faults {
    active: Mutex<Vec<Active>>,
    holds: watch::Sender<Holds>,
}

struct Active {
    on: On,
    fault: Fault,
    remaining: Option<usize>,
}

#[derive(Default)]
struct Holds {
    made: u64,
    active: Vec<(u64, On)>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            active: Mutex::default(),
            holds: watch::Sender::new(Holds::default()),
        }
    }

    pub(super) fn add(&self, on: On, fault: Fault, remaining: Option<usize>) {
        self.active().push(Active {
            on,
            fault,
            remaining,
        });
    }

    pub(super) fn clear(&self) {
        self.active().clear();
    }

    /// The oldest fault that is for such a request and not used up.
    pub(super) fn next(&self, side: Side, path: &str) -> Option<Fault> {
        let mut active = self.active();
        active.retain(|active| active.remaining != Some(0));
        let active = active
            .iter_mut()
            .find(|active| active.on.covers(side, path))?;
        active.remaining = active
            .remaining
            .map(|remaining| remaining.saturating_sub(1));
        Some(active.fault.clone())
    }

    pub(super) fn hold(&self, on: On) -> Held {
        let mut id = 0;
        self.holds.send_modify(|holds| {
            holds.made += 1;
            id = holds.made;
            holds.active.push((id, on));
        });
        Held {
            holds: self.holds.clone(),
            id,
        }
    }

    /// Waits until nothing holds back the answer to such a request.
    pub(super) async fn released(&self, side: Side, path: &str) {
        let mut holds = self.holds.subscribe();
        // The sender lives in `self`, so the wait cannot end in an error.
        let _ = holds
            .wait_for(|holds| !holds.active.iter().any(|(_, on)| on.covers(side, path)))
            .await;
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
