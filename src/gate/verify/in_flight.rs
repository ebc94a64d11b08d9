//! The verifications in flight: one per key, each in a task of its own, so that a caller who hangs
//! up spoils it for nobody.
//!
//! The task runs where its first caller came, and that runtime may stand still or end. So whoever
//! joins a flight waits for half of its own time, on its own runtime's timer; then one of those who
//! wait starts a second one, which the others join. More often than that, a key is not asked about
//! within one deadline.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::{RETRY_AFTER, Verification, Verifier};
use crate::clock::{Clock, Deadline, Now};
use crate::gate::verdict::cache::NegativeKind;
use crate::gate::verdict::revocations::EventNumber;
use crate::gate::verdict::{RefreshClaim, Verdict, VerdictKey};
use crate::gate::verify::check::Check;
use crate::gate::verify::places::{Place, Places};
use crate::log::GATE;

/// Verifications beyond which none starts for a key never seen, those that wait for a place
/// included.
const MOST_NEVER_SEEN: usize = 4096;
/// A flight ends by itself at its deadline: whoever started it waits so much longer, not to miss
/// what it has found out.
const UNTIL_TOLD: Duration = Duration::from_millis(100);

const NO_RUNTIME: &str = "the gate was called outside a tokio runtime";

/// How many checks are out at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MostInFlight {
    /// For keys seen good, and as many again for refreshes.
    pub(crate) known_keys: usize,
    pub(crate) unknown_keys: usize,
}

impl Default for MostInFlight {
    fn default() -> Self {
        Self {
            known_keys: 512,
            unknown_keys: 128,
        }
    }
}

/// The verifications in flight, and the places for their checks.
pub(crate) struct InFlight {
    joined: Mutex<Flights>,
    /// Checks of single requests, which nobody joins.
    own: AtomicUsize,
    /// The number of the last verification.
    last: AtomicU64,
    refreshes: Arc<Places>,
    seen_good: Arc<Places>,
    never_seen: Arc<Places>,
    shares: Mutex<Shares>,
}

/// What a key may take of the places, for as long as it has checks of its own.
type Shares = HashMap<(VerdictKey, QueueFor), Arc<Places>>;

#[derive(Default)]
struct Flights {
    by_key: HashMap<VerdictKey, Flight>,
    /// How many of them are for keys never seen.
    never_seen: usize,
    /// When it is looked again for flights that nobody drives.
    sweep_at: Option<Deadline>,
}

struct Flight {
    number: u64,
    queue: QueueFor,
    // The last event before it was started: whoever asks after what has been invalidated since
    // must not be answered from before it.
    after: EventNumber,
    /// Whoever drives it would have ended it by then.
    until: Deadline,
    /// For one that has followed another: it is not followed by a third before that is over.
    follows: Option<Deadline>,
    rx: watch::Receiver<Option<Verification>>,
}

/// Whose places a check takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum QueueFor {
    Refreshes,
    SeenGood,
    NeverSeen,
}

/// What is known of a verification while it is in flight.
pub(super) struct Errand {
    number: u64,
    queue: QueueFor,
    /// By when its check has to be sent.
    until: Deadline,
    /// Whether nobody joins it.
    is_own: bool,
}

/// The place of one check. In this order it is given back.
pub(super) struct CheckPlace<'a> {
    _place: Place,
    _of_share: Option<Place>,
    _share: Option<Share<'a>>,
}

/// What one key may take of the places.
struct Share<'a> {
    in_flight: &'a InFlight,
    of: (VerdictKey, QueueFor),
    /// There until it is dropped.
    places: Option<Arc<Places>>,
}

/// A flight that a request waits for.
struct Joined {
    number: u64,
    rx: watch::Receiver<Option<Verification>>,
    /// Whether it was started for this request, and on which runtime.
    started_on: Option<Id>,
}

/// What has come of waiting for a flight.
enum Heard<T> {
    Answer(T),
    /// It is gone without an answer: it panicked, or its runtime shut down.
    Lost,
    TimeIsOver,
}

/// Ends after a while, by the timer of the runtime that it is started on. In a task of its own: it
/// is a panic to ask a runtime for a timer that has none.
struct Timer(Option<JoinHandle<()>>);

impl InFlight {
    /// With so many checks at the same time, each of which is answered within `deadline` or not at all.
    pub(crate) fn new(most: MostInFlight, deadline: Duration) -> Self {
        Self {
            joined: Mutex::default(),
            own: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            refreshes: Arc::new(Places::new(most.known_keys, deadline)),
            seen_good: Arc::new(Places::new(most.known_keys, deadline)),
            never_seen: Arc::new(Places::new(most.unknown_keys, deadline)),
            shares: Mutex::default(),
        }
    }

    fn joined(&self) -> MutexGuard<'_, Flights> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.joined().by_key.len() + self.own.load(Ordering::SeqCst)
    }

    fn places(&self, queue: QueueFor) -> &Arc<Places> {
        match queue {
            QueueFor::Refreshes => &self.refreshes,
            QueueFor::SeenGood => &self.seen_good,
            QueueFor::NeverSeen => &self.never_seen,
        }
    }

    fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for the check about this key; `None` if none became free in time.
    pub(super) async fn place(
        &self,
        key: VerdictKey,
        errand: &Errand,
        clock: &Clock,
    ) -> Option<CheckPlace<'_>> {
        let Errand { number, until, .. } = *errand;
        let places = self.places(errand.queue);
        let share = errand.is_own.then(|| self.share(key, errand.queue));
        let of_share = match share.as_ref().and_then(|share| share.places.as_ref()) {
            Some(places) => Some(places.place(number, until, clock).await?),
            None => None,
        };
        Some(CheckPlace {
            _place: places.place(number, until, clock).await?,
            _of_share: of_share,
            _share: share,
        })
    }

    fn share(&self, key: VerdictKey, queue: QueueFor) -> Share<'_> {
        let of = (key, queue);
        let mut shares = self.shares();
        let places = shares
            .entry(of)
            .or_insert_with(|| Arc::new(self.places(queue).share()));
        Share {
            in_flight: self,
            of,
            places: Some(Arc::clone(places)),
        }
    }

    /// The check about this key is about to be sent, and has all its time from now on.
    pub(super) fn sent(&self, key: &VerdictKey, errand: &Errand, ends: Deadline) {
        if errand.is_own {
            return;
        }
        let mut joined = self.joined();
        if let Some(flight) = joined.by_key.get_mut(key)
            && flight.number == errand.number
        {
            flight.until = ends;
        }
    }
}

impl Flights {
    fn insert(&mut self, key: VerdictKey, flight: Flight) {
        self.never_seen += usize::from(flight.queue == QueueFor::NeverSeen);
        let before = self.by_key.insert(key, flight);
        self.gone(before);
    }

    fn remove(&mut self, key: &VerdictKey, number: u64) {
        if self.by_key.get(key).is_some_and(|f| f.number == number) {
            let before = self.by_key.remove(key);
            self.gone(before);
        }
    }

    fn gone(&mut self, flight: Option<Flight>) {
        let is_never_seen = flight.is_some_and(|flight| flight.queue == QueueFor::NeverSeen);
        self.never_seen = self.never_seen.saturating_sub(usize::from(is_never_seen));
    }

    /// Whether there is room for one more key that was never seen.
    fn has_room(&mut self, now: Now, deadline: Duration) -> bool {
        let is_full = |flights: &Self| flights.never_seen >= MOST_NEVER_SEEN;
        if is_full(self) && self.sweep_at.is_none_or(|at| at.is_over(now)) {
            self.sweep_at = Some(Deadline::after(now, deadline / 2));
            self.by_key.retain(|_, flight| !flight.until.is_over(now));
            let left = self.by_key.values();
            let left = left.filter(|flight| flight.queue == QueueFor::NeverSeen);
            self.never_seen = left.count();
        }
        !is_full(self)
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
        until: Deadline,
    ) -> impl Future<Output = (Verification, bool)> + Send + 'static {
        let verifier = Arc::clone(self);
        let check = Arc::new(check);
        let joined = self.join(&check, until, None, None);
        async move {
            match joined {
                Ok(first) => verifier.wait(first, &check, until).await,
                Err(verification) => (verification, false),
            }
        }
    }

    /// Waits for a flight, and for a second one if the first comes to nothing.
    async fn wait(
        self: Arc<Self>,
        mut first: Joined,
        check: &Arc<Check>,
        until: Deadline,
    ) -> (Verification, bool) {
        let came = self.clock.now();
        let left = until.left(came);
        let second_half = left - left / 2;
        let nothing = (Verification::Unknown(RETRY_AFTER), false);
        // What was started here goes on for as long as this request does.
        let is_here = first.is_here();
        let patience = match is_here {
            true => left.saturating_add(UNTIL_TOLD),
            false => left / 2,
        };
        let left = match Timer::after(patience).or_heard(first.answer()).await {
            Heard::Answer(answer) => return answer,
            Heard::TimeIsOver if is_here => return nothing,
            Heard::TimeIsOver => until.left(self.clock.now()).min(second_half),
            Heard::Lost => until.left(self.clock.now()),
        };
        let timer = Timer::after(left.saturating_add(UNTIL_TOLD));
        let instead_of = Some((first.number, came));
        let heard = match self.join(check, until, None, instead_of) {
            Ok(mut second) => {
                let either = first_of(first.answer(), second.answer());
                timer.or_heard(either).await
            }
            // There is no room for a second one.
            Err(Verification::Unknown(_)) => timer.or_heard(first.answer()).await,
            Err(known) => return (known, false),
        };
        match heard {
            Heard::Answer(answer) => answer,
            Heard::Lost | Heard::TimeIsOver => nothing,
        }
    }

    /// What another has found out about a key, who has started a second flight and ended it meanwhile.
    fn heard_since(&self, key: VerdictKey, came: Now) -> Option<Verification> {
        let now = self.clock.now();
        let verdict = self.cache.positive(&key);
        let is_new = |verdict: &Arc<Verdict>| verdict.sent().monotonic >= came.monotonic;
        if let Some(verdict) = verdict.filter(is_new) {
            return Some(Verification::Valid(verdict));
        }
        let (kind, _) = self.cache.negative(&key, now)?;
        match kind {
            NegativeKind::Invalid(reason) => Some(Verification::Invalid(reason)),
            NegativeKind::Indeterminate => None,
        }
    }

    /// Sends a refresh in the background. Without a runtime, or with too much in flight, the
    /// verdict just stays as old as it is.
    pub(crate) fn refresh(
        self: &Arc<Self>,
        verdict: &Arc<Verdict>,
        claim: RefreshClaim,
        check: Check,
    ) {
        self.metrics.refresh();
        let now = self.clock.now();
        let until = Deadline::after(now, self.deadline);
        let stale = Some((verdict, claim));
        if self.join(&Arc::new(check), until, stale, None).is_err() {
            verdict.delay_refresh(now.monotonic.saturating_add(RETRY_AFTER));
        }
    }

    /// A check of its own for one request: neither joined nor answered from memory. What it brings
    /// is filed all the same, and charged, whether or not the request still waits; only a check
    /// that has not been sent yet ends with the request.
    pub(crate) fn ask(
        self: &Arc<Self>,
        check: Check,
        until: Deadline,
    ) -> impl Future<Output = (Verification, bool)> + Send + 'static {
        let verifier = Arc::clone(self);
        let asked = Handle::try_current().map(|runtime| {
            let (tx, rx) = oneshot::channel();
            let counted = OwnCheck::start(self);
            let errand = Errand {
                number: self.in_flight.number(),
                queue: QueueFor::of(&check),
                until,
                is_own: true,
            };
            let span = request_span("the gateway is asked about this very request");
            let verified = async move {
                let is_wanted = || !tx.is_closed();
                let verification = counted.0.verify(&check, &errand, is_wanted).await;
                drop((check, counted));
                // Nobody may be left to hear it.
                let _ = tx.send(verification);
            };
            runtime.spawn(verified.instrument(span));
            rx
        });
        async move {
            let Ok(rx) = asked else {
                return (Verification::Misconfigured(NO_RUNTIME), true);
            };
            let left = until.left(verifier.clock.now());
            let timer = Timer::after(left.saturating_add(UNTIL_TOLD));
            let verification = match timer.or_heard(async { rx.await.ok() }).await {
                Heard::Answer(verification) => verification,
                Heard::Lost | Heard::TimeIsOver => Verification::Unknown(RETRY_AFTER),
            };
            (verification, true)
        }
    }

    /// The flight of this key that is under way, or a new one. `stale` is the verdict that it is to
    /// replace, if that is what it is for; `instead_of` the flight that has come to nothing, and when
    /// it was joined. An error is what is to be said without one.
    fn join(
        self: &Arc<Self>,
        check: &Arc<Check>,
        until: Deadline,
        stale: Option<(&Arc<Verdict>, RefreshClaim)>,
        instead_of: Option<(u64, Now)>,
    ) -> Result<Joined, Verification> {
        let runtime = Handle::try_current().map_err(|_| Verification::Misconfigured(NO_RUNTIME))?;
        let key = check.key;
        let (revocations, now) = (&self.cache.revocations, self.clock.now());
        let is_current = |flight: &&Flight| {
            !flight.until.is_over(now) && !revocations.is_fenced(&key.digest, flight.after, now)
        };
        let mut joined = self.in_flight.joined();
        let mut given_up = None;
        if let Some(flight) = joined.by_key.get(&key).filter(is_current) {
            let is_another = instead_of.is_none_or(|(number, _)| number != flight.number);
            if is_another || flight.follows.is_some_and(|f| !f.is_over(now)) {
                return Ok(Joined {
                    number: flight.number,
                    rx: flight.rx.clone(),
                    started_on: None,
                });
            }
            given_up = Some((flight.queue, flight.number, flight.until));
        }
        // A second one may have ended meanwhile. It is off the map only when its answer is filed.
        if let Some(known) = instead_of.and_then(|(_, came)| self.heard_since(key, came)) {
            return Err(known);
        }
        let queue = match stale {
            Some(_) => QueueFor::Refreshes,
            None => QueueFor::of(check),
        };
        // Known keys are no more than have been good, and never turned away for unknown ones.
        if queue == QueueFor::NeverSeen && !joined.has_room(now, self.deadline) {
            return Err(Verification::Unknown(RETRY_AFTER));
        }
        let (tx, rx) = watch::channel(None);
        let number = self.in_flight.number();
        let flight = Flight {
            number,
            queue,
            // Later than any fence that the flight before it has met.
            after: revocations.latest(),
            until,
            follows: given_up.map(|(.., until)| until),
            rx: rx.clone(),
        };
        joined.insert(key, flight);
        // A runtime that is shutting down drops the task at once, and its end takes the lock.
        drop(joined);
        match given_up {
            Some((same, before, _)) if same == queue => {
                self.in_flight.places(queue).hand_over(before, number, now);
            }
            Some((other, before, _)) => self.in_flight.places(other).give_back(before, now),
            None => {}
        }
        let entry = InFlightEntry {
            verifier: Arc::clone(self),
            key,
            number,
            stale: stale.map(|(verdict, claim)| (Arc::clone(verdict), claim)),
        };
        let errand = Errand {
            number,
            queue,
            until,
            is_own: false,
        };
        let span = match stale {
            None => request_span("the gateway is asked about a key"),
            Some(_) => refresh_span(),
        };
        let check = Arc::clone(check);
        let flight = async move {
            let verification = entry.verifier.verify(&check, &errand, || true).await;
            // The key itself goes first, then the entry, then the waiting are told: whoever comes
            // after that finds the cache filled.
            drop(check);
            drop(entry);
            tx.send_replace(Some(verification));
        };
        let started_on = Some(runtime.id());
        runtime.spawn(flight.instrument(span));
        Ok(Joined {
            number,
            rx,
            started_on,
        })
    }
}

impl QueueFor {
    /// Of a check that a request waits for.
    fn of(check: &Check) -> Self {
        match check.seen_good {
            true => Self::SeenGood,
            false => Self::NeverSeen,
        }
    }
}

impl Joined {
    /// Whether it was started for this request and goes on where the request does.
    fn is_here(&self) -> bool {
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        self.started_on.is_some() && self.started_on == here
    }

    /// What it has brought, and whether it was started for this request. `None` if it is gone without
    /// an answer.
    async fn answer(&mut self) -> Answer {
        let is_own = self.started_on.is_some();
        let answer = self.rx.wait_for(Option::is_some).await.ok()?;
        Some((answer.clone()?, is_own))
    }
}

/// What has come of a flight.
type Answer = Option<(Verification, bool)>;

/// The answer of whichever has one first; `None` if neither will. That one could not say is no answer
/// as long as the other still may.
async fn first_of(
    one: impl Future<Output = Answer>,
    other: impl Future<Output = Answer>,
) -> Answer {
    let says_nothing = |(answer, _): &(Verification, bool)| {
        matches!(answer, Verification::Outage(_) | Verification::Unknown(_))
    };
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut of_one, mut of_other) = (None, None);
    poll_fn(move |cx| {
        if of_one.is_none()
            && let Poll::Ready(answer) = one.as_mut().poll(cx)
        {
            of_one = Some(answer);
        }
        if of_other.is_none()
            && let Poll::Ready(answer) = other.as_mut().poll(cx)
        {
            of_other = Some(answer);
        }
        for come in [&mut of_one, &mut of_other].into_iter().flatten() {
            if come.as_ref().is_some_and(|answer| !says_nothing(answer)) {
                return Poll::Ready(come.take());
            }
        }
        match (&mut of_one, &mut of_other) {
            (Some(one), Some(other)) => Poll::Ready(one.take().or_else(|| other.take())),
            _ => Poll::Pending,
        }
    })
    .await
}

impl Timer {
    fn after(span: Duration) -> Self {
        let runtime = Handle::try_current().ok();
        Self(runtime.map(|runtime| runtime.spawn(async move { tokio::time::sleep(span).await })))
    }

    /// Waits for an answer until then.
    async fn or_heard<T>(mut self, answer: impl Future<Output = Option<T>>) -> Heard<T> {
        let mut answer = pin!(answer);
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(Some(answer)) => Poll::Ready(Heard::Answer(answer)),
            Poll::Ready(None) => Poll::Ready(Heard::Lost),
            Poll::Pending => self.poll(cx).map(|()| Heard::TimeIsOver),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut shares = self.in_flight.shares();
        // Given up under the lock: of two that go at once, one is the last.
        drop(self.places.take());
        let is_unused = |places: &Arc<Places>| Arc::strong_count(places) == 1;
        if shares.get(&self.of).is_some_and(is_unused) {
            shares.remove(&self.of);
        }
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
    number: u64,
    stale: Option<(Arc<Verdict>, RefreshClaim)>,
}

impl Drop for InFlightEntry {
    fn drop(&mut self) {
        let in_flight = &self.verifier.in_flight;
        in_flight.joined().remove(&self.key, self.number);
        if let Some((stale, claim)) = &self.stale {
            stale.refresh_over(*claim);
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

#[cfg(all(test, not(wacht_shuttle)))]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::gate::refusal::InvalidKeyReason;

    #[tokio::test]
    async fn that_one_could_not_say_ends_no_wait_for_the_other() {
        let outage = || Some((Verification::Outage(RETRY_AFTER), false));
        let no = || Some((Verification::Invalid(InvalidKeyReason::Unknown), true));
        let later = |answer: Answer| async move {
            tokio::task::yield_now().await;
            answer
        };
        let is_no = |answer: Answer| matches!(answer, Some((Verification::Invalid(_), true)));
        assert!(is_no(first_of(ready(outage()), later(no())).await));
        assert!(is_no(first_of(later(no()), ready(outage())).await));
        assert!(is_no(first_of(ready(no()), std::future::pending()).await));
        assert!(is_no(first_of(ready(None), later(no())).await));
        let neither = first_of(ready(outage()), later(None)).await;
        assert!(matches!(neither, Some((Verification::Outage(_), _))));
        assert!(first_of(ready(None), later(None)).await.is_none());
    }
}
