//! How long a verdict may be used, and how much memory all of them may take.

use std::time::Duration;

/// How long verdicts may be used, and how much memory they may take.
///
/// A verdict's age runs from the moment the check was *sent*. With the defaults a key that was
/// revoked elsewhere passes for at most 60 s (the gateway's own cache) + `fresh_for` +
/// `stale_while_revalidate` = 120 s, and through an outage of the gateway for at most
/// 60 s + `fresh_for` + `stale_if_error` = 390 s. Zero switches a span off.
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::{CachePolicy, WachtAuthLayer, WachtClient};
///
/// // Revocations elsewhere are seen within 60 + 5 s, outage or not.
/// let strict = CachePolicy::default()
///     .fresh_for(Duration::from_secs(5))
///     .stale_while_revalidate(Duration::ZERO)
///     .stale_if_error(Duration::ZERO)
///     .capacity_bytes(16 << 20);
/// assert_ne!(strict, CachePolicy::default());
/// let gate = WachtAuthLayer::builder(WachtClient::new("wk_live_...")).cache(strict).build()?;
/// # let _ = gate;
/// # Ok::<(), wacht_auth::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CachePolicy {
    pub(crate) capacity_bytes: u64,
    pub(crate) fresh_for: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) negative_ttl: Duration,
}

impl CachePolicy {
    /// Asks the gateway for every request: nothing is kept, good or bad.
    ///
    /// Concurrent requests with the same key still share one check.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client()).cache(CachePolicy::disabled()).build()?.app("orders");
    /// let gate = gate.handle();
    /// for _ in 0..3 {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// assert_eq!(wacht.journal().checks(), 3);
    /// # Ok(()) }
    /// ```
    pub fn disabled() -> Self {
        Self {
            capacity_bytes: 0,
            fresh_for: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
        }
    }

    /// Bounds the memory of known keys, by weight. Default: 64 MiB.
    ///
    /// A key weighs some 700 bytes, and what its name, its permissions (unless other keys of the app
    /// hold the same) and its metadata take: not as text, but as they are kept, in which every object
    /// has some 650 bytes to itself.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let policy = CachePolicy::default().capacity_bytes(8 << 10);
    /// let gate = WachtAuthLayer::builder(wacht.client()).cache(policy).build()?.app("orders");
    /// let gate = gate.handle();
    /// for _ in 0..50 {
    ///     let key = wacht.issue_key("orders").issue();
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// assert!(gate.stats().cached_keys < 20, "8 KiB are full");
    /// # Ok(()) }
    /// ```
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// How long a verdict is used without asking again. Default: 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().fresh_for(Duration::from_secs(90));
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).cache(policy).build()?.app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// clock.advance(Duration::from_secs(89));
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// assert_eq!(wacht.journal().checks(), 1);
    /// # Ok(()) }
    /// ```
    pub fn fresh_for(mut self, span: Duration) -> Self {
        self.fresh_for = span;
        self
    }

    /// How long after that a verdict still answers at once while one refresh runs in the
    /// background. Default: 30 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().stale_while_revalidate(Duration::from_secs(10));
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).cache(policy).build()?.app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// let _held = wacht.hold_checks(); // no refresh is answered
    /// clock.advance(Duration::from_secs(39));
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok(), "without waiting for it");
    /// # Ok(()) }
    /// ```
    pub fn stale_while_revalidate(mut self, span: Duration) -> Self {
        self.stale_while_revalidate = span;
        self
    }

    /// How long after `fresh_for` a verdict is still used when the gateway cannot be reached.
    /// Default: 5 min.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, Fault, ManualClock, On};
    /// use wacht_auth::{AuthContext, CachePolicy, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let policy = CachePolicy::default().stale_if_error(Duration::from_secs(120));
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).cache(policy).build()?.app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// wacht.fault(On::Checks, Fault::Status(503));
    /// clock.advance(Duration::from_secs(149)); // 30 s fresh, 119 s of grace
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// clock.advance(Duration::from_secs(1));
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::Unavailable);
    /// # Ok(()) }
    /// ```
    pub fn stale_if_error(mut self, span: Duration) -> Self {
        self.stale_if_error = span;
        self
    }

    /// How long a key that the gateway does not know is refused without asking again.
    /// Default: 10 s. A key created in that span is refused until it ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::{AuthContext, CachePolicy, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let policy = CachePolicy::default().negative_ttl(Duration::from_secs(3));
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).cache(policy).build()?.app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    ///
    /// let secret = "sk_test_0000000000000000000000000000000000000000000";
    /// assert!(gate.authenticate_key(secret, &context).await.is_err());
    /// let _key = wacht.issue_key("orders").secret(secret).issue();
    /// assert!(gate.authenticate_key(secret, &context).await.is_err(), "too early");
    /// clock.advance(Duration::from_secs(3));
    /// assert!(gate.authenticate_key(secret, &context).await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn negative_ttl(mut self, span: Duration) -> Self {
        self.negative_ttl = span;
        self
    }
}

impl CachePolicy {
    /// How long a verdict is used at most, from when its check was sent.
    pub(crate) fn longest_use(&self) -> Duration {
        let grace = self.stale_while_revalidate.max(self.stale_if_error);
        self.fresh_for.saturating_add(grace)
    }

    /// How long a revocation has to be remembered so that no verdict that it contradicts is still
    /// about when it is forgotten. Within `deadline` an answer becomes a verdict.
    pub(crate) fn revocation_lifetime(&self, deadline: Duration) -> Duration {
        // The gateway says yes for so long after the revocation …
        GATEWAY_LAG
            // … a check needs so long to become a verdict …
            .saturating_add(deadline.saturating_mul(DEADLINES_OF_A_CHECK))
            // … and that is used for so long.
            .saturating_add(self.longest_use())
            .saturating_add(MARGIN)
    }
}

/// How long the gateway goes on saying yes after a key was revoked.
pub(crate) const GATEWAY_LAG: Duration = Duration::from_secs(60);

/// An answer becomes a verdict within one. The others are for a task that is held up.
const DEADLINES_OF_A_CHECK: u32 = 5;

/// For what the clocks and the network may do beside that.
const MARGIN: Duration = Duration::from_secs(60);

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            capacity_bytes: 64 << 20,
            fresh_for: Duration::from_secs(30),
            stale_while_revalidate: Duration::from_secs(30),
            stale_if_error: Duration::from_secs(5 * 60),
            negative_ttl: Duration::from_secs(10),
        }
    }
}
