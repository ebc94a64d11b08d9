//! The revocations that a gate built now has to hear of.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::ManagementEvent;
use super::listener::{Outcome, Settled};

/// Revocations that are settled and stand, oldest first.
///
/// Each is kept for [`KEPT_FOR`]. Beyond [`KEPT_AT_MOST`] of them the oldest are dropped: a gate
/// that is built within that time may then accept a key whose revocation was dropped, for as long
/// as the gateway does, a minute. A gate that was there when it was revoked is not affected.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Revocation>);

struct Revocation {
    event: ManagementEvent,
    settled: Settled,
    at: Duration,
}

impl Recent {
    /// Keeps what was just settled, if a later gate has to hear of it.
    pub(super) fn keep(&mut self, event: ManagementEvent, settled: Settled, now: Duration) {
        use ManagementEvent::{
            ChangeApp, CloseApp, ForgetAll, ForgetApp, ForgetDigest, ForgetKeyId, OpenApp,
            RevokeDigest, RevokeKey, RevokeKeyId,
        };

        self.forget_old(now);
        match (&event, settled.outcome) {
            (_, Outcome::Nothing)
            | (ChangeApp(_) | ForgetDigest(_) | ForgetKeyId(_) | ForgetApp(_) | ForgetAll, _)
            | (OpenApp(_), Outcome::Indeterminate) => {}
            (OpenApp(slug), Outcome::Done) => self.0.retain(|kept| match &kept.event {
                CloseApp(closed) => closed != slug || !kept.settled.was_over_before(settled.sent),
                _ => true,
            }),
            (RevokeKey { .. } | RevokeKeyId(_) | RevokeDigest(_) | CloseApp(_), _) => {
                self.0.push_back(Revocation {
                    event,
                    settled,
                    at: now,
                });
                if self.0.len() > KEPT_AT_MOST {
                    self.0.pop_front();
                }
            }
        }
    }

    /// What stands, in the order in which it was settled.
    pub(super) fn standing(
        &mut self,
        now: Duration,
    ) -> impl Iterator<Item = (&ManagementEvent, Settled)> {
        self.forget_old(now);
        self.0.iter().map(|kept| (&kept.event, kept.settled))
    }

    fn forget_old(&mut self, now: Duration) {
        let is_old = |kept: &Revocation| now.saturating_sub(kept.at) >= KEPT_FOR;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }
}

/// The gateway goes on saying yes for 60 s after a revocation; as much again for one that was
/// given up before Wacht had processed it.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(120);
/// About 10 MB of them.
pub(super) const KEPT_AT_MOST: usize = 100_000;
