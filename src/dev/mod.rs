//! A Wacht in a box, for tests that need no network and no account.
//!
//! [`DevGateway`] is a real HTTP server on a loopback port: the gateway and the management API
//! of Wacht, answering in the shapes Wacht answers in. A test makes apps, keys and limits by
//! hand, lets its service ask, looks into the [`Journal`], and breaks things with [`Fault`]s.
//!
//! ```
//! use wacht_auth::dev::{DevGateway, DevRule, Fault, ManualClock, On};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let clock = ManualClock::new();
//! let gateway = DevGateway::start().await.clock(&clock);
//! gateway.app("orders").scheme([DevRule::per_key(100, "minute", 1)]);
//! let key = gateway.issue_key("orders").permissions(["orders:read"]).issue();
//!
//! // A service that asks `gateway.url()` now lets `key.secret()` in, until:
//! gateway.revoke(key.key_id());
//! gateway.fault(On::Checks, Fault::Status(500));
//! assert_eq!(gateway.journal().checks(), 0, "nobody has asked yet");
//! # });
//! ```
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
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        self.shared.state().clock = clock.into();
        self
    }

    /// Lets a yes stand for this long after it was first given, as Wacht does for 60 s whatever
    /// is revoked, switched off or deleted meanwhile. Default: zero. Measured on the gateway's
    /// [`clock`](Self::clock).
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
    pub fn issue_token(&self, app_slug: &str) -> IssueToken {
        self.main.issue_token(app_slug)
    }

    /// Revokes a key of any deployment. Says whether it was active.
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
    pub fn expire(&self, key_id: i64) -> bool {
        let mut state = self.shared.state();
        let past = utc(state.clock.now()) - TimeDelta::seconds(1);
        let key = state.keys.get_mut(&key_id);
        key.map(|key| key.expires_at = Some(past)).is_some()
    }

    /// Sets the rate-limit rules of an app of the main deployment. See [`DevApp::scheme`].
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
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Lets requests fail in this way until [`clear_faults`](Self::clear_faults). Of several
    /// faults for the same request the oldest happens.
    pub fn fault(&self, on: On, fault: Fault) {
        self.shared.faults.add(on, fault, None);
    }

    /// Lets the next `times` such requests fail in this way, then the fault is gone. Faults set
    /// one after the other make a script.
    pub fn fault_times(&self, on: On, fault: Fault, times: usize) {
        self.shared.faults.add(on, fault, Some(times));
    }

    /// Ends all faults. Requests that already hang do so until their caller gives up.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Holds back the answers to such requests until the returned guard is dropped.
    ///
    /// The answer is decided before it is held: a key revoked meanwhile still gets its yes,
    /// which is how a late answer is made.
    pub fn hold(&self, on: On) -> Held {
        Faults::hold(&self.shared, on)
    }

    /// Holds back the answers to gateway checks. See [`hold`](Self::hold).
    ///
    /// ```no_run
    /// # async fn example(gateway: wacht_auth::dev::DevGateway) {
    /// let held = gateway.hold_checks();
    /// // … send ten requests with the same key …
    /// gateway.journal().wait_for_checks(1).await;
    /// held.release();
    /// # }
    /// ```
    pub fn hold_checks(&self) -> Held {
        self.hold(On::Checks)
    }

    /// Closes all connections and every new one at once, as a server that is down behind its
    /// port; `false` ends it.
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
