//! Whose keys are ours.

use std::sync::Arc;
use std::time::Duration;

use super::Contents;
use super::Directory;
use crate::clock::Now;
use crate::log::GATE;

/// What is known of our deployment.
///
/// The gateway says yes to any valid key of any Wacht customer, so no verdict is worth anything
/// before this is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    Deployment(i64),
    /// The deployment has no apps at all: no key is ours, until the next reading or until our own
    /// client makes one.
    NoApps,
    /// The management API has not said yet.
    Unknown,
}

impl Directory {
    /// Our deployment: the one configured, else the one that the list of apps names. Waits for the
    /// first page of it, at most so long.
    pub(crate) async fn ours(self: &Arc<Self>, wait: Duration) -> Ours {
        self.keep_current(self.clock.now());
        if let Some(ours) = self.known_ours(&self.known(), self.clock.now()) {
            return ours;
        }
        self.read_until(wait, |known, now| self.known_ours(known, now).is_some())
            .await;
        let known = self.known();
        match self.known_ours(&known, self.clock.now()) {
            Some(ours) => ours,
            None if known.reader.is_list_empty => Ours::NoApps,
            None => Ours::Unknown,
        }
    }

    /// Takes the deployment that the management key turned out to belong to.
    ///
    /// # Errors
    ///
    /// Ours, where it is another.
    pub(crate) fn accept(&self, deployment: i64) -> Result<(), i64> {
        let learned = *self.client.deployment().get_or_init(|| {
            tracing::debug!(
                target: GATE,
                deployment_id = deployment,
                "learned the deployment"
            );
            deployment
        });
        match self.configured.unwrap_or(learned) {
            ours if ours == deployment => Ok(()),
            ours => Err(ours),
        }
    }

    pub(super) fn deployment(&self) -> Option<i64> {
        self.configured
            .or_else(|| self.client.deployment().get().copied())
    }

    /// Whether the management key has shown to be of our deployment: another's finds none of our
    /// apps.
    pub(super) fn key_is_ours(&self) -> bool {
        let learned = self.client.deployment().get();
        learned.is_some() && learned.copied() == self.deployment()
    }

    fn known_ours(&self, known: &Contents, now: Now) -> Option<Ours> {
        if let Some(deployment) = self.deployment() {
            return Some(Ours::Deployment(deployment));
        }
        let reader = &known.reader;
        (reader.is_list_empty && now.monotonic < reader.next_at).then_some(Ours::NoApps)
    }
}
