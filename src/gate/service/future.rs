//! The future of an answer: the inner service's own, a refusal's, or one that waits first.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::gate::pipeline::{Decision, Gate, ResponseFields, Wait};
use crate::gate::refusal::Rejection;
use crate::gate::service::body::{BoxError, Ending, ResponseBody};
use crate::gate::service::unread::Unread;

pin_project! {
    /// The response future of [`WachtAuth`](crate::WachtAuth) and
    /// [`RequirePermissions`](crate::RequirePermissions).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: FutureState<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum FutureState<S, B>
    where
        S: Service<Request<B>>,
    {
        Inner { #[pin] future: S::Future, fields: ResponseFields },
        Refused { response: Option<Response<Bytes>>, unread: Option<Unread<B>> },
        // The inner service is held back with the request: it was polled ready, so it is the one
        // to call.
        Waiting { held: Option<Box<Held<S, B>>> },
    }
}

struct Held<S, B> {
    wait: Box<Wait>,
    service: S,
    gate: Arc<Gate>,
    parts: Parts,
    body: B,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    #[inline(always)]
    pub(crate) fn inner(future: S::Future, fields: ResponseFields) -> Self {
        Self {
            state: FutureState::Inner { future, fields },
        }
    }

    pub(crate) fn waiting(
        wait: Box<Wait>,
        service: S,
        gate: Arc<Gate>,
        parts: Parts,
        body: B,
    ) -> Self {
        let held = Held {
            wait,
            service,
            gate,
            parts,
            body,
        };
        Self {
            state: FutureState::Waiting {
                held: Some(Box::new(held)),
            },
        }
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
    B: Body + Send + 'static,
{
    pub(crate) fn refused(rejection: &Rejection, parts: &Parts, body: B) -> Self {
        Self {
            state: FutureState::refused(rejection, parts, body),
        }
    }
}

impl<S, B> FutureState<S, B>
where
    S: Service<Request<B>>,
    B: Body + Send + 'static,
{
    fn refused(rejection: &Rejection, parts: &Parts, body: B) -> Self {
        let mut response = rejection.answer(parts);
        let unread = Unread::of(body, parts.version, &mut response);
        Self::Refused {
            response: Some(response),
            unread,
        }
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    B: Body + Send + 'static,
    ResBody: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED_AGAIN: &str = "polled after completion";
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Inner { future, fields } => {
                    let mut response = ready!(future.poll(cx))?;
                    let ending = fields
                        .ends_with()
                        .map(|caller| Ending::new(caller, response.headers()));
                    fields.apply(&mut response);
                    let body = |body| ResponseBody::inner(body, ending);
                    return Poll::Ready(Ok(response.map(body)));
                }
                #[expect(clippy::expect_used, reason = "a caller's error, as with any future")]
                StateProjection::Refused { response, unread } => {
                    let response = response.take().expect(POLLED_AGAIN);
                    if let Some(unread) = unread.take() {
                        unread.drain();
                    }
                    return Poll::Ready(Ok(response.map(ResponseBody::refusal)));
                }
                #[expect(clippy::expect_used, reason = "a caller's error, as with any future")]
                StateProjection::Waiting { held } => {
                    let waiting = held.as_mut().expect(POLLED_AGAIN);
                    let verification = ready!(waiting.wait.pending.as_mut().poll(cx));
                    let mut here = held.take().expect(POLLED_AGAIN);
                    let Held {
                        wait, gate, parts, ..
                    } = &mut *here;
                    let now = gate.state.verifier.clock.now();
                    let mut view = gate.view(parts, mem::take(&mut wait.resolved));
                    let decision = gate.resume(verification, wait.key, wait.asked, &mut view, now);
                    match decision {
                        Decision::Pass(fields) => {
                            let Held {
                                mut service,
                                parts,
                                body,
                                ..
                            } = *here;
                            let request = Request::from_parts(parts, body);
                            FutureState::Inner {
                                future: service.call(request),
                                fields,
                            }
                        }
                        Decision::Refuse(rejection) => {
                            let Held { parts, body, .. } = *here;
                            FutureState::refused(&rejection, &parts, body)
                        }
                        Decision::Wait(wait) => {
                            here.wait = wait;
                            FutureState::Waiting { held: Some(here) }
                        }
                    }
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            FutureState::Inner { .. } => "ResponseFuture(inner)",
            FutureState::Refused { .. } => "ResponseFuture(refused)",
            FutureState::Waiting { .. } => "ResponseFuture(waiting)",
        })
    }
}
