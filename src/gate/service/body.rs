//! The body of an answer: the inner service's, or a refusal's.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::gate::principal::Principal;
use crate::gate::principal::ended::Ended;
use crate::gate::refusal::{Rejection, has_grpc_content};

/// What servers take as the error of a body.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

pin_project! {
    /// The response body of [`WachtAuth`](crate::WachtAuth): that of the inner service, or the
    /// few bytes of a refusal.
    ///
    /// An enum of our own asks nothing of the inner body but its data type and an error that servers
    /// take, so axum's, tonic's and hyper's bodies all fit.
    ///
    /// Its errors are those of the inner body; under
    /// [`end_streams`](crate::WachtAuthLayer::end_streams) one may be the
    /// [`Rejection`](crate::Rejection) with which it was cut.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        // Boxed, so that a body that no caller ends is no larger for it.
        Inner { #[pin] body: B, ending: Option<Box<Ending>> },
        Refusal { bytes: Option<Bytes> },
    }
}

/// What cuts a body short.
#[derive(Debug)]
pub(crate) struct Ending {
    ended: Ended,
    is_grpc: bool,
}

impl Ending {
    /// The end of this caller, for an answer with these headers.
    pub(crate) fn new(caller: &Principal, headers: &HeaderMap) -> Box<Self> {
        Box::new(Self {
            ended: Ended::new(caller),
            is_grpc: has_grpc_content(headers),
        })
    }

    /// What cuts the body now, if anything does.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Result<Frame<Bytes>, BoxError>> {
        match Pin::new(&mut self.ended).poll(cx) {
            Poll::Ready(rejection) => Some(self.last(rejection)),
            Poll::Pending => None,
        }
    }

    /// The last that a client is told. An answer in gRPC has its status at the end, whatever came
    /// before. Any other has no place for it left, and a plain end would pass for a whole answer: it
    /// is broken off.
    fn last(&self, rejection: Rejection) -> Result<Frame<Bytes>, BoxError> {
        match self.is_grpc {
            true => Ok(Frame::trailers(rejection.grpc_trailers())),
            false => Err(rejection.into()),
        }
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, ending: Option<Box<Ending>>) -> Self {
        Self {
            kind: Kind::Inner { body, ending },
        }
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Refusal {
                // A gRPC Trailers-Only answer must be at its end before the first poll.
                bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            },
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default(), None)
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kind = self.project().kind;
        let last = match kind.as_mut().project() {
            KindProjection::Inner { body, ending } => {
                match ending.as_mut().and_then(|ending| ending.poll(cx)) {
                    None => {
                        let frame = body.poll_frame(cx);
                        if matches!(frame, Poll::Ready(None)) {
                            *ending = None;
                        }
                        return frame.map_err(Into::into);
                    }
                    Some(last) => last,
                }
            }
            KindProjection::Refusal { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
        };
        // What the inner body holds is let go of at once.
        kind.set(Kind::Refusal { bytes: None });
        Poll::Ready(Some(last))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body, .. } => body.is_end_stream(),
            Kind::Refusal { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body, .. } => body.size_hint(),
            Kind::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
