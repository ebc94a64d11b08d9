//! The gateway: asks whether a key may do something.
//!
//! A check made here is always a call to the gateway; nothing is remembered between two.

use std::time::Duration;

use crate::api::named::Named;
use crate::client::{Result, WachtClient, decode};

mod request;
mod response;

pub use self::request::CheckRequest;
pub use self::response::{CheckIdentity, CheckRateLimit, CheckResponse, DenyReason};

/// The gateway's calls; made by [`WachtClient::gateway`].
#[derive(Clone, Debug)]
pub struct Gateway {
    client: WachtClient,
}

/// A check that has yet to be sent; made by [`Gateway::check`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CheckBuilder {
    client: WachtClient,
    request: CheckRequest,
    limit: Option<Duration>,
}

// === impl Gateway ===

impl WachtClient {
    /// The gateway, which verifies keys.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        Gateway {
            client: self.clone(),
        }
    }
}

impl Gateway {
    /// Asks the gateway about a key.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("orders").issue();
    /// let request = CheckRequest::api_key(key.secret()).method("GET").resource("/orders");
    /// let answer = client.gateway().check(request.clone()).send().await?;
    /// assert!(answer.allowed);
    ///
    /// wacht.revoke(key.key_id());
    /// let error = client.gateway().check(request).send().await.unwrap_err();
    /// assert!(error.is_invalid_key());
    /// # Ok(()) }
    /// ```
    pub fn check(&self, request: CheckRequest) -> CheckBuilder {
        CheckBuilder {
            client: self.client.clone(),
            request,
            limit: None,
        }
    }
}

// === impl CheckBuilder ===

impl CheckBuilder {
    /// Sets how long to wait, where that is shorter than the client's time-out.
    ///
    /// Whoever stops waiting by other means keeps from the client what it learns by a time-out:
    /// that its connections may be dead.
    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sends the check. It is sent once, and a second time only if its connection ended before an
    /// answer began, as one does that is closed just as it is used again.
    ///
    /// # Errors
    ///
    /// [`Error::Api`] for every status but 200; [`Error::is_invalid_key`] tells whether that is
    /// about the key. [`Error::Decode`] for a 200 that is no check's answer or longer than the
    /// [`answer_limit`](crate::client::WachtClientBuilder::answer_limit), [`Error::Request`] if there
    /// was no answer, [`Error::Config`] if the client cannot
    /// be used. A key that is valid and refused is an `Ok` with `allowed: false`.
    ///
    /// [`Error::Api`]: crate::Error::Api
    /// [`Error::Config`]: crate::Error::Config
    /// [`Error::Decode`]: crate::Error::Decode
    /// [`Error::Request`]: crate::Error::Request
    /// [`Error::is_invalid_key`]: crate::Error::is_invalid_key
    pub async fn send(self) -> Result<CheckResponse> {
        let transport = self.client.transport()?;
        let body = self.request.to_body()?;
        let answer = transport
            .check(body, self.request.secret(), self.limit)
            .await?;
        let Named(answer) = decode("the answer to a check", &answer)?;
        Ok(answer)
    }
}
