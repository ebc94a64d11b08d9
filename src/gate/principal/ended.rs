//! Waiting for the end of a caller.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::clock::{Now, SleepUntil};
use crate::gate::directory::AppStatus;
use crate::gate::principal::Principal;
use crate::gate::refusal::{Answers, InvalidKeyReason, Rejection};
use crate::gate::verdict::Verdict;
use crate::gate::verdict::revocations::{Contradiction, EventNumber, Revocations};
use crate::gate::waiting::Entry;

impl Principal {
    /// Waits until the caller has ended, for what outlives its request: a stream, a websocket, a job.
    ///
    /// It resolves with the [`Rejection`] that a request with the key would meet from then on, of the
    /// kind [`InvalidKey`](crate::RejectionKind::InvalidKey), when
    ///
    /// - the key is revoked or rotated through the client of the gate or a clone of it, as soon as that
    ///   call is sent, or by its [`AuthHandle`](crate::AuthHandle);
    /// - its app is deleted or deactivated, through that client or as the gate reads of it;
    /// - the gateway has said a definite no to the same key for any request;
    /// - the end has come that was stated for it, on the monotonic or on the wall clock.
    ///
    /// It never resolves because of age, an outage, or an
    /// [`invalidate_key_id`](crate::AuthHandle::invalidate_key_id) and the like: these have a key asked
    /// about again, and say nothing of it. A call that was sent and answered as having revoked nothing
    /// has ended who looked meanwhile; who had not been polled yet goes on.
    ///
    /// # What it cannot know
    ///
    /// Nobody asks the gateway about a key for the sake of who waits: the key itself is held by requests
    /// alone. A key that is revoked *elsewhere* (in the console, by another process) while no request comes
    /// with it is revoked unheard, and so is an expiry of an API key, which the gateway does not state.
    /// A gate with a [`Watch`](crate::Watch) learns of both.
    ///
    /// Wait from when the stream begins: a revocation is remembered for as long as a verdict may be used,
    /// and somebody who begins to wait after that is not told of it any more.
    ///
    /// # What it costs
    ///
    /// Who waits has an entry in the gate's state from the first poll until it is dropped, of about 80
    /// bytes, or 210 if nobody else waits with its key; an event wakes those that it names. Where an end
    /// is stated, it has a timer besides, and looks at the wall clock every 10 s: without a tokio runtime
    /// that end wakes nobody. It keeps neither the gate nor a runtime alive: when the gate is gone it
    /// stays pending, as it does for a caller that was made by hand.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").handle();
    /// let caller = gate.authenticate_key(key.secret(), &AuthContext::new("/live")).await?;
    ///
    /// // In the handler of a websocket, a job, …:
    /// let mut ended = caller.ended();
    /// let (messages, mut received) = tokio::sync::mpsc::channel::<String>(8);
    /// let handler = tokio::spawn(async move {
    ///     loop {
    ///         tokio::select! {
    ///             why = &mut ended => break why,
    ///             Some(_message) = received.recv() => { /* answer it */ }
    ///         }
    ///     }
    /// });
    /// messages.send("hello".to_owned()).await?;
    ///
    /// gate.revoke_key_id(key.key_id());
    /// assert_eq!(handler.await?.kind(), RejectionKind::InvalidKey);
    /// # Ok(()) }
    /// ```
    pub fn ended(&self) -> impl Future<Output = Rejection> + Send + Unpin + use<> {
        Ended::new(self)
    }

    /// Passes on the items of a stream until the caller has [ended](Self::ended), and then ends it and
    /// drops what it held, whether or not more items were ready.
    ///
    /// A stream that has ended by itself looks the same. Where that matters, chain a last item that
    /// tells why, or ask [`ended`](Self::ended) afterwards, which resolves at once if that was it:
    ///
    /// ```
    /// use futures_util::{FutureExt, StreamExt, stream};
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").handle();
    /// let caller = gate.authenticate_key(key.secret(), &AuthContext::new("/live")).await?;
    ///
    /// let news = stream::iter(["packed"]).chain(stream::pending());
    /// let mut news = std::pin::pin!(caller.until_ended(news));
    /// assert_eq!(news.next().await, Some("packed"));
    ///
    /// gate.revoke_key_id(key.key_id());
    /// assert_eq!(news.next().await, None);
    /// assert!(caller.ended().now_or_never().is_some(), "not by itself");
    /// # Ok(()) }
    /// ```
    ///
    /// The body of an axum answer, a stream of gRPC, server-sent events: what a client is told at the
    /// end is the handler's choice here. To have the layer cut every body, see
    /// [`end_streams`](crate::WachtAuthLayer::end_streams).
    pub fn until_ended<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        UntilEnded {
            stream: Some(stream),
            ended: Ended::new(self),
        }
    }
}

#[cfg(all(test, wacht_shuttle))]
mod interleavings;

/// Resolves when a caller has ended.
pub(crate) struct Ended {
    verdict: Arc<Verdict>,
    answers: Answers,
    /// From the time that it was first pending.
    entry: Option<Arc<Entry>>,
    stated: Option<Stated>,
}

/// The end that was stated, and what wakes then.
struct Stated {
    until: Now,
    sleep: Pin<Box<SleepUntil>>,
}

impl Ended {
    pub(crate) fn new(principal: &Principal) -> Self {
        Self {
            verdict: Arc::clone(principal.verdict()),
            answers: principal.answers().clone(),
            entry: None,
            stated: None,
        }
    }

    /// Whether it has ended, as far as that can be seen now.
    fn has_ended(&self, revocations: &Revocations, now: Now) -> bool {
        if let Some(entry) = &self.entry
            && entry.has_ended()
        {
            if entry.was_refused() {
                // For those who ask later: a no is not remembered for ever. It is of this verdict alone,
                // where an app that is closed may be opened again and have its keys pass.
                self.verdict.withdraw();
            }
            return true;
        }
        let verdict = &self.verdict;
        let contradiction = verdict.contradiction(revocations, EventNumber::LAST, now);
        matches!(
            contradiction,
            Some(Contradiction::Revoked | Contradiction::Withdrawn)
        ) || matches!(
            **verdict.app.status(),
            AppStatus::Inactive | AppStatus::Gone
        )
    }

    /// Waits for the end that was stated, if one was.
    fn poll_stated(&mut self, revocations: &Revocations, cx: &mut Context<'_>) -> Poll<()> {
        let told = self.entry.as_ref().and_then(|entry| entry.end());
        let Some(until) = self.verdict.ends_at(told) else {
            self.stated = None;
            return Poll::Pending;
        };
        let stated = match &mut self.stated {
            Some(stated) if stated.until == until => stated,
            stated => {
                let sleep = Box::pin(revocations.waiting.clock().sleep_until(until));
                stated.insert(Stated { until, sleep })
            }
        };
        stated.sleep.as_mut().poll(cx)
    }

    /// Whatever has ended it: a request with the key would meet no other.
    fn rejection(&self) -> Rejection {
        Rejection::invalid_key(InvalidKeyReason::Revoked).with_answers(&self.answers)
    }

    fn leave(&mut self) {
        self.stated = None;
        if let Some(entry) = self.entry.take()
            && let Some(revocations) = self.verdict.revocations()
        {
            revocations.waiting.leave(self.verdict.awaited(), &entry);
        }
    }
}

impl Future for Ended {
    type Output = Rejection;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let this = &mut *self;
        let Some(revocations) = this.verdict.revocations() else {
            // Without its state nobody will say that it has ended, if nobody has.
            return match &this.entry {
                Some(entry) if entry.has_ended() => Poll::Ready(this.rejection()),
                _ => Poll::Pending,
            };
        };
        let waiting = &revocations.waiting;
        let now = waiting.clock().now();
        match &this.entry {
            Some(entry) => entry.wait(cx.waker()),
            None if this.has_ended(&revocations, now) => {}
            None => this.entry = Some(waiting.enter(this.verdict.awaited(), cx.waker().clone())),
        }
        // After it is entered: what came before that has woken nobody.
        if !this.has_ended(&revocations, now) {
            let stated = this.poll_stated(&revocations, cx);
            if let (Poll::Pending, Some(entry)) = (stated, &this.entry) {
                waiting.waited_for(this.verdict.awaited(), entry, now);
                return Poll::Pending;
            }
        }
        this.leave();
        Poll::Ready(this.rejection())
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("verdict", &self.verdict)
            .field("waits", &self.entry.is_some())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The items of a stream until a caller has ended.
    struct UntilEnded<S> {
        // `None` once it is over: what it holds is let go of at once.
        #[pin]
        stream: Option<S>,
        ended: Ended,
    }
}

impl<S: Stream> Stream for UntilEnded<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut this = self.project();
        let Some(stream) = this.stream.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        // First: a stream that is always ready does not keep the end waiting.
        let next = match Pin::new(&mut *this.ended).poll(cx) {
            Poll::Ready(_) => None,
            Poll::Pending => ready!(stream.poll_next(cx)),
        };
        if next.is_none() {
            this.ended.leave();
            this.stream.set(None);
        }
        Poll::Ready(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let stream = self.stream.as_ref();
        (0, stream.map_or(Some(0), |stream| stream.size_hint().1))
    }
}
