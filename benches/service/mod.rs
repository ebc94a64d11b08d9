//! The service that is gated, and how it is called, in every bench without a network.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;

use bytes::Bytes;
use futures_util::future::FutureExt;
use http::request::Builder;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Service;

pub(crate) type Inner<B = Empty<Bytes>, A = Empty<Bytes>> =
    tower::util::ServiceFn<fn(Request<B>) -> Ready<Result<Response<A>, Infallible>>>;

/// Answers at once, with an empty body.
pub(crate) fn inner<B, A: Default>() -> Inner<B, A> {
    tower::service_fn(|request| {
        black_box(&request);
        ready(Ok(Response::new(A::default())))
    })
}

/// What a caller sends beside the key.
pub(crate) fn request(path: &str) -> Builder {
    Request::get(path)
        .header("host", "api.example.com")
        .header("user-agent", "curl/8.0")
        .header("accept", "*/*")
}

/// Whatever is called here is decided within `call`: nothing may wait.
pub(crate) fn call<S, B>(service: &mut S, request: Request<B>) -> S::Response
where
    S: Service<Request<B>, Error = Infallible>,
{
    service.call(request).now_or_never().unwrap().unwrap()
}
