//! What is left of a request that is refused before its body was read.
//!
//! A server drops a body that nobody reads. Over HTTP/1, hyper then closes the connection, and what has
//! arrived unread makes the system reset it; over HTTP/2 it resets the stream. A client that is still
//! sending meets the reset, and may never see the answer: of uploads of 5 MB, hyper's client over HTTP/1
//! lost some or all answers, and curl 7.88 over HTTP/2 all of them. So the answer over HTTP/1 says that
//! the connection ends (RFC 9112 §9.6), and the rest of the body is read for a while and thrown away.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONNECTION;
use http::{HeaderValue, Response, Version};
use http_body::Body;
use tokio::runtime::Handle;

/// How much of a body is read for nothing. What is longer is a client that does not look at answers.
const MOST_BYTES: usize = 8 << 20;

/// How long a body is read for nothing.
const LONGEST: Duration = Duration::from_secs(10);

/// The body of a refused request.
pub(crate) struct Unread<B>(Box<B>);

impl<B> Unread<B>
where
    B: Body + Send + 'static,
{
    /// Nothing, if the body is known to be empty. Otherwise an answer over HTTP/1 says that the
    /// connection ends; over HTTP/2 other streams go on.
    pub(crate) fn of(body: B, version: Version, response: &mut Response<Bytes>) -> Option<Self> {
        let is_empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
        if is_empty {
            return None;
        }
        if version <= Version::HTTP_11 {
            // A house answer so full of headers that no more fit goes out as it is.
            let close = HeaderValue::from_static("close");
            let _ = response.headers_mut().try_insert(CONNECTION, close);
        }
        Some(Self(Box::new(body)))
    }

    /// Reads the rest in a task, which ends with the body, with the connection, or at the bounds
    /// above. To be called when the answer is on its way: to read earlier would send `100 Continue`
    /// to a client that waits for leave to send the body.
    pub(crate) fn drain(self) {
        if let Ok(runtime) = Handle::try_current() {
            let rest = read(*self.0);
            runtime.spawn(async move { tokio::time::timeout(LONGEST, rest).await });
        }
    }
}

async fn read<B: Body>(body: B) {
    let mut body = pin!(body);
    let mut left = MOST_BYTES;
    poll_fn(|cx| {
        while let Some(Ok(frame)) = ready!(body.as_mut().poll_frame(cx)) {
            // An empty frame counts too: bodies of other makes may have no end of them.
            let came = frame.data_ref().map_or(1, |data| data.remaining().max(1));
            match left.checked_sub(came) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use http_body::{Frame, SizeHint};
    use tokio::sync::oneshot;

    use super::*;

    /// A body without an end that counts its frames: each has these bytes, or none ever comes.
    struct Endless {
        frame: Option<Bytes>,
        came: Arc<AtomicUsize>,
        /// Tells by being dropped that the body was.
        _held: oneshot::Sender<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let Some(frame) = self.frame.clone() else {
                return Poll::Pending;
            };
            self.came.fetch_add(1, Ordering::SeqCst);
            Poll::Ready(Some(Ok(Frame::data(frame))))
        }
    }

    /// Reads such a body until it is let go of, and tells how many frames were taken.
    async fn frames_taken(frame: Option<Bytes>) -> usize {
        let (held, gone) = oneshot::channel();
        let came = Arc::<AtomicUsize>::default();
        let body = Endless {
            frame,
            came: Arc::clone(&came),
            _held: held,
        };
        let unread = Unread::of(body, Version::HTTP_11, &mut Response::default());
        unread.unwrap().drain();
        gone.await.unwrap_err();
        came.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_bound() {
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        // The frame that is too much has to come to be seen.
        assert_eq!(frames_taken(Some(mebibyte)).await, 9);
        assert_eq!(frames_taken(Some(Bytes::new())).await, MOST_BYTES + 1);
    }

    // The paused clock goes on by itself where nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_waited_for_no_longer_than_the_bound() {
        assert_eq!(frames_taken(None).await, 0);
    }

    struct Exact(u64);

    impl Body for Exact {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[test]
    fn only_over_http_1_and_only_with_a_body_the_answer_ends_the_connection() {
        for (length, version, reads, closes) in [
            (1, Version::HTTP_10, true, true),
            (1, Version::HTTP_11, true, true),
            (1, Version::HTTP_2, true, false),
            (0, Version::HTTP_11, false, false),
            (0, Version::HTTP_2, false, false),
        ] {
            let mut response = Response::default();
            let unread = Unread::of(Exact(length), version, &mut response);
            assert_eq!(unread.is_some(), reads, "{length} {version:?}");
            let says = response.headers().contains_key(CONNECTION);
            assert_eq!(says, closes, "{length} {version:?}");
        }
    }

    #[test]
    fn without_a_runtime_the_body_is_let_go_of() {
        let mut response = Response::default();
        let unread = Unread::of(Exact(1), Version::HTTP_11, &mut response);
        unread.unwrap().drain();
    }
}
