//! [`WachtAuth`], the service. Plumbing alone: what is decided is decided in `pipeline`.

pub(crate) mod body;
pub(crate) mod builder;
pub(crate) mod future;
pub(crate) mod guard;
pub(crate) mod layer;
mod unread;

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::gate::pipeline::{Decision, Gate};
use crate::gate::request::view::Resolved;
use crate::gate::service::body::{BoxError, ResponseBody};
use crate::gate::service::future::ResponseFuture;

/// Verifies the API key of every request before the inner service sees it.
///
/// Made by [`WachtAuthLayer`](crate::WachtAuthLayer). Any request body will do that may go to another
/// thread, as every server's may, and any response body whose data is [`Bytes`] and whose errors
/// servers take.
///
/// A refusal over HTTP/1 of a request whose body has not been read says `Connection: close`; up to
/// 8 MiB of the body are then read, for 10 s at most, and thrown away, so that a client in the
/// middle of an upload gets to see the answer. None of it delays the answer.
///
/// A request whose key is known is passed on within [`call`](Service::call): no future is boxed
/// and the inner service is used in place. A request that has to wait for the gateway clones the
/// inner service and takes along the instance that was polled ready; one that is refused lets go
/// of it.
#[derive(Clone, Debug)]
pub struct WachtAuth<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> WachtAuth<S> {
    pub(crate) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }

    /// The inner service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, with no gate in front any more.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// Takes the instance that was polled ready and leaves a clone that was not.
pub(crate) fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WachtAuth<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let gate = &self.gate;
        let now = gate.state.verifier.clock.now();
        match gate.decide(&mut gate.view(&mut parts, Resolved::default()), now) {
            Decision::Pass(fields) => {
                let request = Request::from_parts(parts, body);
                ResponseFuture::inner(self.inner.call(request), fields)
            }
            Decision::Refuse(rejection) => {
                // What the inner service set aside when it was polled ready, such as a permit of
                // a concurrency limit, would stay with this instance until its next request.
                drop(take_ready(&mut self.inner));
                ResponseFuture::refused(&rejection, &parts, body)
            }
            Decision::Wait(wait) => {
                let gate = Arc::clone(gate);
                let ready = take_ready(&mut self.inner);
                ResponseFuture::waiting(wait, ready, gate, parts, body)
            }
        }
    }
}
