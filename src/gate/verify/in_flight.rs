//! The verifications in flight: one per key, each in a task of its own, so that a caller who hangs
//! up spoils it for nobody.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::{RETRY_AFTER, Verification, Verifier};
use crate::gate::verdict::revocations::EventNumber;
use crate::gate::verdict::{Verdict, VerdictKey};
use crate::gate::verify::check::Check;
use crate::log::GATE;

/// Checks in flight for digests seen good before, and as many for those never seen.
const IN_FLIGHT: usize = 128;
/// Verifications beyond which none starts for a key never seen, those that wait for a place
/// included.
const MOST_NEVER_SEEN: usize = 4096;

const NO_RUNTIME: &str = "the gate was called outside a tokio runtime";

/// The verifications in flight, and the places for their checks.
pub(crate) struct InFlight {
    joined: Mutex<HashMap<VerdictKey, Flight>>,
    /// Checks of single requests, which nobody joins.
    own: AtomicUsize,
    seen_good: Semaphore,
    never_seen: Semaphore,
}

struct Flight {
    // The last event before it was started: whoever asks after what has been invalidated since
    // must not be answered from before it.
    after: EventNumber,
    rx: watch::Receiver<Option<Verification>>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self {
            joined: Mutex::default(),
            own: AtomicUsize::new(0),
            seen_good: Semaphore::new(IN_FLIGHT),
            never_seen: Semaphore::new(IN_FLIGHT),
        }
    }
}

impl InFlight {
    fn joined(&self) -> MutexGuard<'_, HashMap<VerdictKey, Flight>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.joined().len() + self.own.load(Ordering::SeqCst)
    }

    /// A place for one check; `None` if none became free in time.
    pub(super) async fn place(
        &self,
        seen_good: bool,
        deadline: Duration,
    ) -> Option<SemaphorePermit<'_>> {
        let places = match seen_good {
            true => &self.seen_good,
            false => &self.never_seen,
        };
        // The semaphores are never closed.
        tokio::time::timeout(deadline, places.acquire())
            .await
            .ok()?
            .ok()
    }
}

impl Verifier {
    /// Joins the verification of this key that is in flight, or starts one. What comes is with
    /// whether it was started for this check.
    ///
    /// The returned future may be dropped at any time; the verification goes on.
    pub(crate) fn join_or_start(
        self: &Arc<Self>,
        check: Check,
    ) -> impl Future<Output = (Verification, bool)> + Send + 'static {
        let joined = self.join(check, None);
        async move {
            let (mut rx, is_own) = match joined {
                Ok(joined) => joined,
                Err(verification) => return (verification, false),
            };
            let verification = match rx.wait_for(Option::is_some).await {
                Ok(verification) => verification.clone(),
                // The task is gone without an answer: it panicked, or its runtime shut down.
                Err(_) => None,
            };
            (
                verification.unwrap_or(Verification::Unknown(RETRY_AFTER)),
                is_own,
            )
        }
    }

    /// Sends a refresh in the background. Without a runtime, or with too much in flight, the
    /// verdict just stays as old as it is.
    pub(crate) fn refresh(self: &Arc<Self>, verdict: &Arc<Verdict>, check: Check) {
        self.metrics.refresh();
        if self.join(check, Some(verdict)).is_err() {
            let now = self.clock.now();
            verdict.refresh_failed(now.monotonic.saturating_add(RETRY_AFTER));
            verdict.refresh_over();
        }
    }

    /// A check of its own for one request: neither joined nor answered from memory. What it brings
    /// is filed all the same, and charged, whether or not the request still waits; only a check
    /// that has not been sent yet ends with the request.
    pub(crate) fn ask(
        self: &Arc<Self>,
        check: Check,
    ) -> impl Future<Output = (Verification, bool)> + Send + 'static {
        let asked = Handle::try_current().map(|runtime| {
            let (tx, rx) = oneshot::channel();
            let counted = OwnCheck::start(self);
            let span = request_span("the gateway is asked about this very request");
            let verified = async move {
                let verification = counted.0.verify(&check, || !tx.is_closed()).await;
                drop((check, counted));
                // Nobody may be left to hear it.
                let _ = tx.send(verification);
            };
            runtime.spawn(verified.instrument(span));
            rx
        });
        async move {
            let verification = match asked {
                // A panic ends the task without an answer.
                Ok(rx) => rx.await.unwrap_or(Verification::Unknown(RETRY_AFTER)),
                Err(_) => Verification::Misconfigured(NO_RUNTIME),
            };
            (verification, true)
        }
    }

    /// The flight of this key, and whether it was started for this check. `stale` is the verdict
    /// that it is to replace, if that is what it is for.
    fn join(
        self: &Arc<Self>,
        check: Check,
        stale: Option<&Arc<Verdict>>,
    ) -> Result<(watch::Receiver<Option<Verification>>, bool), Verification> {
        let runtime = Handle::try_current().map_err(|_| Verification::Misconfigured(NO_RUNTIME))?;
        let key = check.key;
        let (revocations, now) = (&self.cache.revocations, self.clock.now());
        let is_current = |flight: &&Flight| !revocations.is_fenced(&key.digest, flight.after, now);
        let mut joined = self.in_flight.joined();
        if let Some(flight) = joined.get(&key).filter(is_current) {
            if let Some(stale) = stale {
                stale.refresh_over();
            }
            return Ok((flight.rx.clone(), false));
        }
        // Known keys are no more than the cache holds, and never turned away for unknown ones.
        if !check.seen_good && joined.len() >= MOST_NEVER_SEEN {
            return Err(Verification::Unknown(RETRY_AFTER));
        }
        let (tx, rx) = watch::channel(None);
        // Later than any fence that the flight before it has met.
        let after = revocations.latest();
        joined.insert(
            key,
            Flight {
                after,
                rx: rx.clone(),
            },
        );
        // A runtime that is shutting down drops the task at once, and its end takes the lock.
        drop(joined);
        let entry = InFlightEntry {
            verifier: Arc::clone(self),
            key,
            after,
            stale: stale.cloned(),
        };
        let span = match stale {
            None => request_span("the gateway is asked about a key"),
            Some(_) => refresh_span(),
        };
        let flight = async move {
            let verification = entry.verifier.verify(&check, || true).await;
            // The key itself goes first, then the entry, then the waiting are told: whoever comes
            // after that finds the cache filled.
            drop(check);
            drop(entry);
            tx.send_replace(Some(verification));
        };
        runtime.spawn(flight.instrument(span));
        Ok((rx, true))
    }
}

/// What a trace shows of a verification that a request waits for: a part of that request.
fn request_span(why: &'static str) -> Span {
    let span = tracing::debug_span!(
        target: GATE,
        "wacht_auth.verify",
        wacht_auth.verification.refresh = false,
        wacht_auth.verification.result = Empty,
    );
    span.in_scope(|| tracing::debug!(target: GATE, "{why}"));
    span
}

/// The same for one that nobody waits for: a trace of its own.
fn refresh_span() -> Span {
    let span = tracing::debug_span!(
        target: GATE,
        parent: None,
        "wacht_auth.verify",
        wacht_auth.verification.refresh = true,
        wacht_auth.verification.result = Empty,
    );
    span.in_scope(|| tracing::debug!(target: GATE, "the gateway is asked again about a known key"));
    span
}

/// The field of these spans that is known only at their end.
pub(super) const RESULT: &str = "wacht_auth.verification.result";

/// Takes a verification off the map when its task ends, however it ends.
struct InFlightEntry {
    verifier: Arc<Verifier>,
    key: VerdictKey,
    after: EventNumber,
    stale: Option<Arc<Verdict>>,
}

impl Drop for InFlightEntry {
    fn drop(&mut self) {
        let mut joined = self.verifier.in_flight.joined();
        if joined
            .get(&self.key)
            .is_some_and(|flight| flight.after == self.after)
        {
            joined.remove(&self.key);
        }
        if let Some(stale) = &self.stale {
            stale.refresh_over();
        }
    }
}

/// Counts a check of one request as in flight until its task ends, however it ends.
struct OwnCheck(Arc<Verifier>);

impl OwnCheck {
    fn start(verifier: &Arc<Verifier>) -> Self {
        verifier.in_flight.own.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(verifier))
    }
}

impl Drop for OwnCheck {
    fn drop(&mut self) {
        self.0.in_flight.own.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("verifications", &self.len())
            .finish()
    }
}
