//! What can go wrong on request.

use std::time::Duration;

use super::call::Side;

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
    /// The connection is closed without an answer. A check is then sent once more by the client, so
    /// that two of them are needed for one that fails.
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
    pub(super) fn covers(&self, side: Side, path: &str) -> bool {
        match self {
            Self::Checks => side == Side::Check,
            Self::Management => side == Side::Management,
            Self::Path(only) => only == path,
            Self::Everything => true,
        }
    }
}
