//! The bodies of answers, broken ones too.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;

/// The body of an answer, sound or not.
pub(super) struct Body(Kind);

enum Kind {
    Whole(Bytes),
    Half {
        bytes: Bytes,
        flushed: bool,
    },
    Padding(u64),
    Drip {
        rest: Bytes,
        every: Duration,
        pause: Pin<Box<Sleep>>,
    },
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(super) fn half(bytes: Bytes) -> Self {
        Self(Kind::Half {
            bytes,
            flushed: false,
        })
    }

    pub(super) fn padding(length: u64) -> Self {
        Self(Kind::Padding(length))
    }

    /// The same bytes, slowly. Only a whole body can drip.
    pub(super) fn dripping(self, every: Duration) -> Self {
        match self.0 {
            Kind::Whole(rest) => Self(Kind::Drip {
                rest,
                every,
                pause: Box::pin(tokio::time::sleep(every)),
            }),
            other => Self(other),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunk = match &mut self.0 {
            Kind::Whole(bytes) => mem::take(bytes),
            // hyper writes what it has when it has to wait, and not before an error.
            Kind::Half {
                bytes,
                flushed: flushed @ false,
            } if bytes.is_empty() => {
                *flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Kind::Half { bytes, .. } if bytes.is_empty() => {
                let error = io::Error::new(io::ErrorKind::ConnectionAborted, "half an answer");
                return Poll::Ready(Some(Err(error)));
            }
            Kind::Half { bytes, .. } => mem::take(bytes),
            Kind::Padding(left) => {
                let length = BLANKS
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= u64::try_from(length).unwrap_or(*left);
                Bytes::from_static(BLANKS).split_to(length)
            }
            Kind::Drip { rest, .. } if rest.is_empty() => return Poll::Ready(None),
            Kind::Drip { rest, every, pause } => {
                ready!(pause.as_mut().poll(cx));
                pause.set(tokio::time::sleep(*every));
                rest.split_to(1)
            }
        };
        Poll::Ready((!chunk.is_empty()).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) | Kind::Drip { rest: bytes, .. } => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Half { .. } | Kind::Padding(_) => SizeHint::default(),
        }
    }
}

const BLANKS: &[u8] = &[b' '; 16 * 1024];
