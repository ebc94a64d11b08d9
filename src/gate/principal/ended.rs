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
use crate::gate::refusal::{Answers, Rejection};
use crate::gate::verdict::Verdict;
use crate::gate::verdict::revocations::{Contradiction, EventNumber, Revocations};
use crate::gate::waiting::Entry;

impl Principal {
    /// Waits until the caller has ended.
    pub fn ended(&self) -> impl Future<Output = Rejection> + Send + Unpin + use<> {
        Ended::new(self)
    }

    /// Passes on the items of a stream until the caller has ended.
    pub fn until_ended<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        UntilEnded {
            stream: Some(stream),
            ended: Ended::new(self),
        }
    }
}

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
            // For those who ask later: an event is not remembered for ever.
            self.verdict.withdraw();
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
        // Without its state nobody will say that it has ended, and nobody holds on to it.
        let Some(revocations) = this.verdict.revocations() else {
            return Poll::Pending;
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
            ready!(match this.poll_stated(&revocations, cx) {
                Poll::Ready(()) => Poll::Ready(()),
                Poll::Pending => {
                    waiting.waited_for(this.verdict.awaited(), now);
                    Poll::Pending
                }
            });
        }
        this.leave();
        Poll::Ready(Rejection::invalid_key().with_answers(&this.answers))
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
