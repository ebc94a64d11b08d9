//! What can go wrong on request: faults, and answers that are held back.

use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::Sleep;

use super::server::{Shared, Side};

/// Which requests a fault or a hold is for.
///
/// ```
/// use wacht_auth::dev::{DevGateway, Fault, On};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// wacht.app("orders");
/// wacht.app("billing");
/// wacht.fault(On::Path("/api-auth/apps/orders".to_owned()), Fault::Status(403));
///
/// let api_keys = client.api_keys();
/// assert!(api_keys.get_api_auth_app("orders").send().await.is_err());
/// assert!(api_keys.get_api_auth_app("billing").send().await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum On {
    /// Gateway checks: `/v1/authz/check`.
    Checks,
    /// The management API: `/api-auth/…` and `/oauth/…`.
    Management,
    /// Requests for exactly this path, written as on the wire and without a query.
    Path(String),
    /// Every request.
    Everything,
}

/// What happens to a request instead of, or on top of, its proper answer.
///
/// `Delay`, `HalfAnswer` and `SlowDrip` spoil an answer after the request was served: a key they
/// revoke is revoked. All others stand in front of the service, where nothing happens. Time is
/// real time here, whatever the gateway's clock shows.
///
/// An answer that is lost on the way, after what was asked has been done:
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::dev::{DevGateway, Fault, On};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let key = wacht.issue_key("orders").issue();
/// let api_keys = client.api_keys();
///
/// wacht.fault_times(On::Management, Fault::Redirect("http://127.0.0.1:1/".to_owned()), 1);
/// let rotate = api_keys.rotate_api_key("orders", key.key_id());
/// let answer = rotate.clone().send().await;
/// assert_eq!(answer.unwrap_err().status(), Some(http::StatusCode::TEMPORARY_REDIRECT));
///
/// wacht.fault_times(On::Management, Fault::HalfAnswer, 1);
/// let answer = rotate.send().await;
/// assert!(matches!(answer, Err(Error::Request(_))));
/// assert!(!wacht.revoke(key.key_id()), "rotated: it was not active any more");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The proper answer, so much later.
    Delay(Duration),
    /// This status, with a body in the style of the service: one word of text from the gateway,
    /// the error envelope from the management API. No final status: 500 instead.
    Status(u16),
    /// An answer made up from parts, as malformed as you like. See [`Fault::body`].
    Body {
        /// The HTTP status; 500 if it is no final one.
        status: u16,
        /// The `Content-Type`; none if it is no valid header value.
        content_type: String,
        /// The body.
        text: String,
    },
    /// No answer, ever; the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// The proper head, half of the body, and then the connection ends.
    HalfAnswer,
    /// Status 200 and so many bytes of white space that calls itself JSON.
    Huge(u64),
    /// The proper answer, one byte at a time with this pause before each.
    SlowDrip(Duration),
    /// 307 to this address.
    Redirect(String),
}

impl Fault {
    /// An answer made up from a status, a content type and a body.
    ///
    /// ```
    /// use wacht_auth::Error;
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.fault(On::Checks, Fault::body(200, "application/json", r#"{"allowed":tr"#));
    /// let answer = client.gateway().check(CheckRequest::api_key("sk_any")).send().await;
    /// assert!(matches!(answer, Err(Error::Decode(_))));
    /// # Ok(()) }
    /// ```
    pub fn body(status: u16, content_type: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Body {
            status,
            content_type: content_type.into(),
            text: text.into(),
        }
    }
}

impl On {
    fn covers(&self, side: Side, path: &str) -> bool {
        match self {
            Self::Checks => side == Side::Check,
            Self::Management => side == Side::Management,
            Self::Path(only) => only == path,
            Self::Everything => true,
        }
    }
}

/// Answers held back, from [`DevGateway::hold`](super::DevGateway::hold).
///
/// They go out when it is dropped or released.
#[must_use = "the answers go out when it is dropped"]
pub struct Held {
    shared: Arc<Shared>,
    id: u64,
}

impl Held {
    /// Lets the answers go, and those to come.
    pub fn release(self) {}
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared
            .faults
            .holds
            .send_modify(|holds| holds.active.retain(|(id, _)| *id != self.id));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

pub(super) struct Faults {
    active: Mutex<Vec<Active>>,
    holds: watch::Sender<Holds>,
}

struct Active {
    on: On,
    fault: Fault,
    remaining: Option<usize>,
}

#[derive(Default)]
struct Holds {
    made: u64,
    active: Vec<(u64, On)>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            active: Mutex::default(),
            holds: watch::Sender::new(Holds::default()),
        }
    }

    pub(super) fn add(&self, on: On, fault: Fault, remaining: Option<usize>) {
        self.active().push(Active {
            on,
            fault,
            remaining,
        });
    }

    pub(super) fn clear(&self) {
        self.active().clear();
    }

    /// The oldest fault that is for such a request and not used up.
    pub(super) fn next(&self, side: Side, path: &str) -> Option<Fault> {
        let mut active = self.active();
        active.retain(|active| active.remaining != Some(0));
        let active = active
            .iter_mut()
            .find(|active| active.on.covers(side, path))?;
        active.remaining = active
            .remaining
            .map(|remaining| remaining.saturating_sub(1));
        Some(active.fault.clone())
    }

    pub(super) fn hold(shared: &Arc<Shared>, on: On) -> Held {
        let mut id = 0;
        shared.faults.holds.send_modify(|holds| {
            holds.made += 1;
            id = holds.made;
            holds.active.push((id, on));
        });
        Held {
            shared: Arc::clone(shared),
            id,
        }
    }

    /// Waits until nothing holds back the answer to such a request.
    pub(super) async fn released(&self, side: Side, path: &str) {
        let mut holds = self.holds.subscribe();
        // The sender lives in `self`, so the wait cannot end in an error.
        let _ = holds
            .wait_for(|holds| !holds.active.iter().any(|(_, on)| on.covers(side, path)))
            .await;
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
