//! The right to take the steps of a job, one after the other.
//!
//! It ends by itself when the deadline of a step is over, so a runtime that is dropped or stands still
//! does not keep the others from going on.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Now;

/// The right to take the next step of one job, had by somebody or free.
pub(super) struct Claim {
    held: Option<Held>,
    taken: u64,
    /// When it may be taken: there is something to do by then, or whoever has it has lapsed.
    due_at: Duration,
}

struct Held {
    id: u64,
    steps: watch::Receiver<u64>,
}

// === impl Claim ===

impl Claim {
    /// A claim that is free, on what is to be done from then on.
    pub(super) fn due(at: Duration) -> Self {
        Self {
            held: None,
            taken: 0,
            due_at: at,
        }
    }

    pub(super) fn due_at(&self) -> Duration {
        self.due_at
    }

    pub(super) fn is_free(&self) -> bool {
        self.held.is_none()
    }

    pub(super) fn is_held_by(&self, id: u64) -> bool {
        self.held.as_ref().is_some_and(|held| held.id == id)
    }

    /// The claim that is held, and how many steps there have been.
    pub(super) fn steps(&self) -> Option<(u64, watch::Receiver<u64>)> {
        let held = self.held.as_ref()?;
        Some((held.id, held.steps.clone()))
    }

    /// Lets whoever comes next look what there is to do, if nobody has it.
    pub(super) fn wake(&mut self) {
        if self.is_free() {
            self.due_at = Duration::ZERO;
        }
    }

    /// Whoever has it lapses no later than then, unless it takes a step.
    pub(super) fn lapse_by(&mut self, lapses_at: Duration) {
        if !self.is_free() {
            self.due_at = self.due_at.min(lapses_at);
        }
    }

    /// Whoever has it takes a step, and lapses then.
    pub(super) fn renew(&mut self, lapses_at: Duration) {
        self.due_at = lapses_at;
    }

    /// There is nothing to do before then.
    pub(super) fn release(&mut self, due_at: Duration) {
        self.held = None;
        self.due_at = due_at;
    }

    /// Takes it if it is due, or this one from whoever has it.
    pub(super) fn take(
        &mut self,
        from: Option<u64>,
        lapses_at: Duration,
        now: Now,
    ) -> Option<(u64, watch::Sender<u64>)> {
        let held = self.held.as_ref().map(|held| held.id);
        let may_take = match from {
            Some(_) => held == from,
            None => self.due_at <= now.monotonic,
        };
        if !may_take {
            return None;
        }
        let (sender, steps) = watch::channel(0);
        self.taken += 1;
        let id = self.taken;
        self.held = Some(Held { id, steps });
        self.due_at = lapses_at;
        Some((id, sender))
    }
}
