//! The service that is gated, and how it is called.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;

use bytes::Bytes;
use futures_util::future::FutureExt;
use http::request::Builder;
use http::{Request, Response};
use http_body_util::Empty;
use tower::Service;

pub(crate) type Inner =
    tower::util::ServiceFn<fn(Request<()>) -> Ready<Result<Response<Empty<Bytes>>, Infallible>>>;

pub(crate) fn inner() -> Inner {
    tower::service_fn(|request| {
        black_box(&request);
        ready(Ok(Response::new(Empty::new())))
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
pub(crate) fn call<S>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<()>, Error = Infallible>,
{
    service.call(request).now_or_never().unwrap().unwrap()
}
