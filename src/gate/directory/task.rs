//! The jobs in the background: a request takes the [claim](super::claim) of one that is due, and a task
//! on that request's runtime carries its steps out.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Contents;
use super::Directory;
use super::claim::Claim;
use crate::clock::Now;
use crate::clock::nanoseconds;

/// What is done step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    /// Reading the list of apps.
    Apps,
    /// Reading lists of keys.
    Keys,
}

/// Whoever carries out a job, on whichever runtime.
struct Task {
    directory: Weak<Directory>,
    job: Job,
    claim: u64,
    steps: watch::Sender<u64>,
}

// === impl Directory ===

impl Directory {
    /// Lets the next step of each job be taken that is due: one atomic load if none is.
    #[inline]
    pub(crate) fn keep_current(self: &Arc<Self>, now: Now) {
        if self.due_at.load(Ordering::Acquire) <= nanoseconds(now.monotonic) {
            self.claim(Job::Apps, None, now);
            self.claim(Job::Keys, None, now);
        }
    }

    /// Goes on reading the list of apps in the place of whoever has this claim.
    pub(super) fn take_over(self: &Arc<Self>, claim: Option<u64>, now: Now) {
        self.claim(Job::Apps, claim, now);
    }

    /// Takes the claim of a job if it is due, or this one from whoever has it, and carries the job on
    /// on the current runtime.
    #[cold]
    fn claim(self: &Arc<Self>, job: Job, from: Option<u64>, now: Now) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let lapses_at = self.lapses_at(now);
        let mut known = self.known();
        let claim = known.claim_of(job);
        let Some((claim, steps)) = claim.and_then(|claim| claim.take(from, lapses_at, now)) else {
            return;
        };
        self.show_due(&known);
        // A runtime that is shutting down drops the task at once, and its end takes the lock.
        drop(known);
        let directory = Arc::downgrade(self);
        let task = Task {
            directory,
            job,
            claim,
            steps,
        };
        runtime.spawn(task.run());
    }

    /// Shows those who do not take the lock when there is something to do. Only under the lock, so
    /// that it agrees with what is under it.
    pub(super) fn show_due(&self, known: &Contents) {
        let due_at = nanoseconds(known.due_at());
        self.due_at.store(due_at, Ordering::Release);
    }

    /// The task is gone without having said so.
    fn abandoned(&self, job: Job, claim: u64) {
        let mut known = self.known();
        if let Some(held) = known.claim_of(job)
            && held.is_held_by(claim)
        {
            held.release(Duration::ZERO);
            self.show_due(&known);
            drop(known);
            // Nobody else may come.
            self.waiting.wake_one();
        }
    }
}

impl Contents {
    fn claim_of(&mut self, job: Job) -> Option<&mut Claim> {
        match job {
            Job::Apps => Some(&mut self.reader.claim),
            Job::Keys => Some(&mut self.turns.as_mut()?.claim),
        }
    }

    fn due_at(&self) -> Duration {
        let keys = self.turns.as_ref().map(|turns| turns.claim.due_at());
        let apps = self.reader.claim.due_at();
        keys.map_or(apps, |keys| keys.min(apps))
    }
}

// === impl Task ===

impl Task {
    async fn run(self) {
        // Whoever dropped the directory needs no list any more.
        while let Some(directory) = self.directory.upgrade() {
            let (client, deadline) = (directory.client.clone(), directory.deadline);
            match self.job {
                Job::Apps => {
                    let Some(step) = directory.next_page(self.claim) else {
                        return;
                    };
                    drop(directory);
                    step.take(&self.directory, client, deadline, self.claim)
                        .await;
                }
                Job::Keys => {
                    let Some(step) = directory.next_list(self.claim) else {
                        return;
                    };
                    drop(directory);
                    step.take(&self.directory, client, deadline).await;
                }
            }
            self.steps.send_modify(|steps| *steps += 1);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.upgrade() {
            directory.abandoned(self.job, self.claim);
        }
    }
}
