//! A stand-in for Wacht, for tests that need no network and no account.
//!
//! [`DevGateway`] is a real HTTP server on a loopback port: the gateway and the management API
//! of Wacht, answering in the shapes Wacht answers in. A test makes apps, keys and limits by
//! hand, lets its service ask, looks into the [`Journal`], and breaks things with [`Fault`]s.
//!
//! ```
//! use std::time::Duration;
//! use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
//! use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new();
//! let wacht = DevGateway::start().await.clock(&clock);
//! wacht.app("orders").scheme([DevRule::per_key(100, "minute", 1)]);
//! let key = wacht.issue_key("orders").permissions(["orders:read"]).issue();
//!
//! // The gate follows the same clock.
//! let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock);
//! # let gate = gate.deadline(std::time::Duration::from_secs(60));
//! let gate = gate.handle();
//! let context = AuthContext::new("/orders");
//! let caller = gate.authenticate_key(key.secret(), &context).await?;
//! assert!(caller.permissions().contains("orders:read"));
//! assert_eq!(wacht.journal().checks(), 1);
//!
//! // Six minutes later the verdict is too old even for an outage.
//! wacht.fault(On::Checks, Fault::Status(500));
//! clock.advance(Duration::from_secs(360));
//! let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
//! assert_eq!(refused.kind(), RejectionKind::Unavailable);
//! # Ok(()) }
//! ```
//!
//! # Time
//!
//! A test that moves the time gives the same [`ManualClock`] to the gateway
//! ([`DevGateway::clock`]) and to the gate
//! ([`WachtAuthLayer::clock`](crate::WachtAuthLayer::clock)). With it at the gateway alone, the
//! verdicts of the gate do not age; with it at the gate alone, keys end by the system's time.
//! Time-outs and the delays of a [`Fault`] are real time.
//!
//! # Requests without a server
//!
//! A request that a test hands to a service itself, such as by tower's `oneshot`, has come over no
//! connection. Where the address of the caller counts, put a [`PeerAddr`](crate::PeerAddr) into
//! its extensions.
//!
//! # What differs from Wacht
//!
//! - Counters are fixed windows aligned to the gateway's clock: enough for tests, without the
//!   quirks of the real ones, which forget at clock boundaries and admit more.
//! - A revocation, a deactivated app and a changed scheme are seen at once. Wacht takes up to
//!   60 seconds, for schemes up to an hour; see [`DevGateway::revocation_lag`].
//! - There are no users, organizations, plans or catalogues of permissions: any id and any name
//!   is taken for granted.
//! - The audit log is as old as the gateway and never lags. OAuth apps are made through the
//!   management API; no domain is ever verified, nobody signs in, and tokens are
//!   [issued](DevGateway::issue_token) by hand.
//! - Both services share one port, where `/health` answers as the gateway's does.

mod audit;
mod deployment;
mod faults;
mod gateway_routes;
mod issue;
mod journal;
mod management_limits;
mod management_routes;
mod oauth;
mod permission;
mod rule;
mod server;
mod state;
mod verdict;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::oneshot;

pub use self::deployment::{DevApp, DevDeployment};
pub use self::faults::{Fault, Held, On};
pub use self::issue::{DevKey, IssueKey, IssueToken};
pub use self::journal::{Check, Entry, Journal};
pub use self::rule::DevRule;
pub use crate::clock::ManualClock;

use self::faults::Faults;
use self::server::Shared;
use self::state::{State, digest, utc};
use crate::{Clock, WachtClient};

/// A Wacht gateway and management API on a loopback port.
///
/// It runs on a thread and a runtime of its own, so that it works under any runtime of the
/// caller, and stops when it is dropped. Starting one is cheap: give every test its own.
///
/// It speaks HTTP/1.1 and HTTP/2 with prior knowledge. Making things is synchronous and takes
/// effect at once. See the [module](self) for an example and for what differs from Wacht.
pub struct DevGateway {
    shared: Arc<Shared>,
    main: DevDeployment,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    stopped: Mutex<mpsc::Receiver<()>>,
}

impl DevGateway {
    /// Starts a gateway with one empty deployment.
    ///
    /// ```
    /// use wacht_auth::WachtAuthLayer;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// gate.handle().check().await?; // both services answer, the key is good, the app is there
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when no loopback port can be bound or no thread be started.
    #[expect(
        clippy::expect_used,
        reason = "a test without its gateway had better stop"
    )]
    pub async fn start() -> Self {
        let (listener, address) = server::listen().expect("a loopback port can be bound");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let shared = Arc::new(Shared::new(State::new()));
        let main = DevDeployment::new(&shared);
        let (stop, stopping) = oneshot::channel::<()>();
        let (finished, stopped) = mpsc::channel();

        let serving = Arc::clone(&shared);
        thread::Builder::new()
            .name("wacht-dev-gateway".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)
                        .expect("the listener is non-blocking");
                    tokio::spawn(server::accept(listener, serving));
                    // Ends when the gateway is dropped, which drops the sender.
                    let _ = stopping.await;
                });
                drop(runtime);
                drop(finished);
            })
            .expect("a thread can be started");

        Self {
            shared,
            main,
            url: format!("http://{address}"),
            stop: Some(stop),
            stopped: Mutex::new(stopped),
        }
    }

    /// Sets the gateway's own notion of time: for expiry, rate-limit windows, revocation lag and
    /// the time stamps of what is made from now on. Default: the system's clocks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::at(Duration::from_secs(1_767_225_600)); // 1 January 2026
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").expires_at("2026-01-02T00:00:00Z".parse()?).issue();
    ///
    /// let client = wacht.client();
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// assert!(check().await?.allowed);
    /// clock.advance(Duration::from_secs(25 * 3600));
    /// assert!(check().await.unwrap_err().is_invalid_key());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        self.shared.state().clock = clock.into();
        self
    }

    /// Lets a yes stand for this long after it was first given, as Wacht does for 60 s whatever
    /// is revoked, switched off or deleted meanwhile. Default: zero. Measured on the gateway's
    /// [`clock`](Self::clock).
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock).revocation_lag(Duration::from_secs(60));
    /// let key = wacht.issue_key("orders").issue();
    /// let client = wacht.client();
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// check().await?;
    ///
    /// wacht.revoke(key.key_id());
    /// assert!(check().await?.allowed, "still");
    /// clock.advance(Duration::from_secs(60));
    /// assert!(check().await.unwrap_err().is_invalid_key());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn revocation_lag(self, lag: Duration) -> Self {
        self.shared.state().revocation_lag = lag;
        self
    }

    /// A client of this gateway, with the key of the main deployment.
    ///
    /// Each call makes another client. What a client revokes is refused at once in the gates that
    /// are built on it or a clone of it, so make one and clone it: a second one's revocations
    /// reach the gate only through the gateway.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let client = wacht.client();
    /// let gate = WachtAuthLayer::new(client.clone()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    ///
    /// let api_keys = client.api_keys();
    /// api_keys.revoke_api_key("orders", key.key_id(), Default::default()).send().await?;
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err(), "at once");
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the client cannot be built, which for a loopback address does not happen.
    #[must_use]
    pub fn client(&self) -> WachtClient {
        self.client_with(self.management_key())
    }

    /// A client of this gateway with another management key, such as that of
    /// [another deployment](Self::other_deployment), or with a bad one.
    ///
    /// ```
    /// use http::StatusCode;
    /// use wacht_auth::WachtAuthLayer;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client_with("sk_misspelt");
    /// let answer = client.api_keys().list_api_auth_apps().send().await;
    /// assert_eq!(answer.unwrap_err().status(), Some(StatusCode::UNAUTHORIZED));
    ///
    /// // A service would notice when it starts.
    /// let gate = WachtAuthLayer::new(client);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// assert!(gate.handle().check().await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the client cannot be built, for instance for a key with a line break in it.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test without its client had better stop"
    )]
    pub fn client_with(&self, management_key: &str) -> WachtClient {
        WachtClient::builder(management_key)
            .api_url(self.url())
            .gateway_url(self.url())
            .build()
            .expect("a client for a loopback address can be built")
    }

    /// The base URL of both services, such as `http://127.0.0.1:49152`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A key of the management API for the main deployment.
    ///
    /// Like Wacht's, it is good for 1000 calls a minute, by the gateway's clock.
    #[must_use]
    pub fn management_key(&self) -> &str {
        self.main.management_key()
    }

    /// The id of the main deployment.
    #[must_use]
    pub fn deployment_id(&self) -> i64 {
        self.main.id()
    }

    /// Makes a further deployment, whose keys the gateway lets pass like any other's.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let strangers = wacht.other_deployment().issue_key("orders").issue();
    ///
    /// let gate = WachtAuthLayer::new(wacht.client());
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let refused = gate.handle().authenticate_key(strangers.secret(), &AuthContext::new("/")).await;
    /// assert_eq!(refused.unwrap_err().kind(), RejectionKind::InvalidKey);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn other_deployment(&self) -> DevDeployment {
        DevDeployment::new(&self.shared)
    }

    /// The app with this slug in the main deployment, made if there is none. See
    /// [`DevDeployment::app`].
    pub fn app(&self, slug: &str) -> DevApp {
        self.main.app(slug)
    }

    /// Begins a key for an app of the main deployment, which is made if there is none.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let gateway = wacht_auth::dev::DevGateway::start().await;
    /// let key = gateway.issue_key("orders").name("ci").permissions(["orders:read"]).issue();
    /// assert!(key.secret().starts_with("sk_test_"));
    /// # });
    /// ```
    pub fn issue_key(&self, app_slug: &str) -> IssueKey {
        self.main.issue_key(app_slug)
    }

    /// Begins an OAuth access token for an app of the main deployment, which is made if there is
    /// none.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, PrincipalKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let token = wacht.issue_token("orders").scopes(["orders:read"]).issue();
    ///
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").accept_oauth_tokens();
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let caller = gate.handle().authenticate_key(token.secret(), &AuthContext::new("/")).await?;
    /// assert_eq!(caller.kind(), PrincipalKind::OauthAccessToken);
    /// # Ok(()) }
    /// ```
    pub fn issue_token(&self, app_slug: &str) -> IssueToken {
        self.main.issue_token(app_slug)
    }

    /// Revokes a key of any deployment. Says whether it was active.
    ///
    /// For a revocation that a service is not told of:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    ///
    /// assert!(wacht.revoke(key.key_id()));
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok(), "until it asks again");
    /// gate.invalidate_all();
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn revoke(&self, key_id: i64) -> bool {
        self.shared.state().revoke(key_id, None)
    }

    /// Revokes an access token. Says whether there was one.
    pub fn revoke_token(&self, token: &DevKey) -> bool {
        let mut state = self.shared.state();
        let token = state.tokens.get_mut(&digest(token.secret()));
        token.map(|token| token.revoked = true).is_some()
    }

    /// Lets a key of any deployment end a second before now, by the gateway's clock. Says
    /// whether there is one.
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
    /// assert!(wacht.expire(key.key_id()));
    /// let check = client.gateway().check(CheckRequest::api_key(key.secret()));
    /// assert!(check.send().await.unwrap_err().is_invalid_key());
    /// # Ok(()) }
    /// ```
    pub fn expire(&self, key_id: i64) -> bool {
        let mut state = self.shared.state();
        let past = utc(state.clock.now()) - TimeDelta::seconds(1);
        let key = state.keys.get_mut(&key_id);
        key.map(|key| key.expires_at = Some(past)).is_some()
    }

    /// Sets the rate-limit rules of an app of the main deployment. See [`DevApp::scheme`].
    ///
    /// While a service runs, which sees it when it asks for the policy of the app again:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = ManualClock::new();
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.set_scheme("orders", [DevRule::per_key(1000, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").clock(&clock);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// wacht.set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
    /// clock.advance(Duration::from_secs(15 * 60)); // older than any verdict and policy is used
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn set_scheme(&self, app_slug: &str, rules: impl IntoIterator<Item = DevRule>) {
        self.app(app_slug).scheme(rules);
    }

    /// Switches an app of the main deployment on or off. See [`DevApp::set_active`].
    pub fn set_app_active(&self, app_slug: &str, active: bool) {
        self.app(app_slug).set_active(active);
    }

    /// Deletes an app of the main deployment. See [`DevApp::delete`].
    pub fn delete_app(&self, app_slug: &str) {
        self.app(app_slug).delete();
    }

    /// What was asked so far, and what will be.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// for path in ["/orders/1", "/orders/2"] {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new(path)).await?;
    /// }
    /// assert_eq!(wacht.journal().checks(), 1, "the second was answered from memory");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Lets requests fail in this way until [`clear_faults`](Self::clear_faults). Of several
    /// faults for the same request the oldest happens.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    ///
    /// wacht.fault(On::Checks, Fault::Status(503));
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::Unavailable);
    ///
    /// wacht.clear_faults();
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn fault(&self, on: On, fault: Fault) {
        self.shared.faults.add(on, fault, None);
    }

    /// Lets the next `times` such requests fail in this way, then the fault is gone. Faults set
    /// one after the other make a script.
    ///
    /// ```
    /// use http::StatusCode;
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.fault_times(On::Checks, Fault::Status(500), 1);
    /// wacht.fault_times(On::Checks, Fault::Drop, 1);
    ///
    /// let key = wacht.issue_key("orders").issue();
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// assert_eq!(check().await.unwrap_err().status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    /// assert_eq!(check().await.unwrap_err().status(), None, "no answer");
    /// assert!(check().await?.allowed);
    /// # Ok(()) }
    /// ```
    pub fn fault_times(&self, on: On, fault: Fault, times: usize) {
        self.shared.faults.add(on, fault, Some(times));
    }

    /// Ends all faults. Requests that already hang do so until their caller gives up.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Holds back the answers to such requests until the returned guard is dropped.
    ///
    /// The answer is decided before it is held, and before the journal has the request: a key
    /// revoked after [`wait_for_checks`](Journal::wait_for_checks) still gets its yes, which is how
    /// a late answer is made.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::{DevGateway, On};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("orders").issue();
    /// let check = client.gateway().check(CheckRequest::api_key(key.secret()));
    ///
    /// let held = wacht.hold(On::Checks);
    /// let late = tokio::spawn(check.send());
    /// wacht.journal().wait_for_checks(1).await;
    /// assert!(wacht.revoke(key.key_id()));
    /// held.release();
    /// assert!(late.await??.allowed, "decided before the revocation");
    /// # Ok(()) }
    /// ```
    pub fn hold(&self, on: On) -> Held {
        Faults::hold(&self.shared, on)
    }

    /// Holds back the answers to gateway checks. See [`hold`](Self::hold).
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    ///
    /// let held = wacht.hold_checks();
    /// let mut requests = tokio::task::JoinSet::new();
    /// for _ in 0..10 {
    ///     let (gate, secret) = (gate.clone(), key.secret().to_owned());
    ///     requests.spawn(async move { gate.authenticate_key(&secret, &AuthContext::new("/")).await });
    /// }
    /// wacht.journal().wait_for_checks(1).await;
    /// held.release();
    /// assert!(requests.join_all().await.iter().all(Result::is_ok));
    /// assert_eq!(wacht.journal().checks(), 1, "one check for all of them");
    /// # Ok(()) }
    /// ```
    pub fn hold_checks(&self) -> Held {
        self.hold(On::Checks)
    }

    /// Closes all connections and every new one at once, as a server that is down behind its
    /// port; `false` ends it.
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
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// wacht.refuse_connections(true);
    /// assert!(check().await.unwrap_err().is_transient());
    /// wacht.refuse_connections(false);
    /// assert!(check().await?.allowed);
    /// # Ok(()) }
    /// ```
    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.refuse_connections(refuse);
    }
}

impl Drop for DevGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The thread never blocks on anything but its sockets. Should it be starved of CPU, it
        // stops a little after the gateway.
        let stopped = self
            .stopped
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = stopped.recv_timeout(Duration::from_secs(1));
    }
}

impl fmt::Debug for DevGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevGateway")
            .field("url", &self.url)
            .field("journal", &self.shared.journal)
            .finish_non_exhaustive()
    }
}
