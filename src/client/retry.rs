//! When a call of the management API is made again.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::StatusCode;

use super::error::{Error, Result};
use super::log::LOG;
use crate::Clock;

/// How often, and for how long, a client repeats a call that failed for a reason that may pass.
///
/// Repeated are calls that only read, and the few others that change nothing when they are made
/// twice; never one that creates, updates, deletes, revokes or rotates, for which a lost answer
/// would become a second key or a misleading "not found". A gateway check is no business of this policy: it is
/// sent once more if its connection ended without an answer, and otherwise once. What the server says
/// it has not processed counts as not sent, whatever it was.
///
/// A reason that may pass is [`Error::is_transient`]: no answer, 429, a 5xx. A 401 is tried once
/// more, because the management API answers it also when it could not look at the key. Between
/// two attempts lies a delay that doubles each time, with up to as much again at random; a
/// `Retry-After` of the answer makes it longer, or ends the call at once when it asks for more
/// time than is left.
///
/// Dropping the future of a call ends its repeating.
///
/// ```
/// use wacht_auth::WachtClient;
/// use wacht_auth::client::RetryPolicy;
/// use wacht_auth::dev::{DevGateway, Fault, On};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = |policy| {
///     let builder = WachtClient::builder(wacht.management_key()).retries(policy);
///     builder.api_url(wacht.url()).gateway_url(wacht.url()).build()
/// };
/// let patient = client(RetryPolicy::default().attempts(5))?;
/// wacht.fault_times(On::Management, Fault::Status(503), 2);
/// assert!(patient.api_keys().list_api_auth_apps().send().await.is_ok(), "the third time");
///
/// let direct = client(RetryPolicy::none())?;
/// wacht.fault_times(On::Management, Fault::Status(503), 1);
/// assert!(direct.api_keys().list_api_auth_apps().send().await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a policy does nothing until a client is built with it"]
pub struct RetryPolicy {
    attempts: u32,
    first_delay: Duration,
    longest_delay: Duration,
    total: Option<Duration>,
}

impl RetryPolicy {
    /// Every call is made once.
    pub fn none() -> Self {
        Self::default().attempts(1)
    }

    /// Sets how often a call is made at most, the first time included. Defaults to 3; zero
    /// counts as 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the delay before the second attempt; each further one is twice as long. Defaults to
    /// 100 ms.
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// Sets how long the delay grows at most, what is added at random aside. Defaults to 2
    /// seconds.
    pub fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest_delay = delay;
        self
    }

    /// Sets how long a call that may be repeated takes at most in all, delays included; the last
    /// attempt is cut short by it. Defaults to twice the
    /// [`timeout`](super::WachtClientBuilder::timeout) of the client, which bounds one attempt.
    pub fn total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }

    /// Makes a call that changes nothing when it is made twice, as often as it is worth while.
    ///
    /// `attempt` is told how long it may take, at most `timeout`, and how often the call was made
    /// before.
    pub(super) async fn run<T, F>(
        &self,
        timeout: Duration,
        mut attempt: impl FnMut(Duration, u32) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        if self.attempts < 2 {
            return attempt(timeout, 0).await;
        }
        let total = self.total.unwrap_or_else(|| timeout.saturating_mul(2));
        let clock = Clock::system();
        let began = clock.now().monotonic;
        let left = || total.saturating_sub(clock.now().monotonic.saturating_sub(began));

        let delays = ExponentialBuilder::new()
            .with_min_delay(self.first_delay)
            .with_max_delay(self.longest_delay.max(self.first_delay))
            .with_max_times(self.attempts as usize - 1)
            .with_jitter();
        let mut was_unauthorized = false;
        let mut attempts = 0;
        let attempt = || {
            let resends = attempts;
            attempts += 1;
            attempt(timeout.min(left()), resends)
        };
        attempt
            .retry(delays)
            .when(|error| match error.status() {
                Some(StatusCode::UNAUTHORIZED) => !std::mem::replace(&mut was_unauthorized, true),
                _ => error.is_transient(),
            })
            .adjust(|error, delay| {
                let delay = delay?.max(error.retry_after().unwrap_or_default());
                (delay < left()).then_some(delay)
            })
            .notify(|error: &Error, delay| {
                tracing::debug!(target: LOG, %error, ?delay, "asking the Wacht management API again");
            })
            .await
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(2),
            total: None,
        }
    }
}
