//! The gateway itself: starting, finding and stopping it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::deployment::DevDeployment;
use super::server;
use super::shared::Shared;
use super::state::State;
use crate::client::WachtClient;
use crate::clock::Clock;

mod contents;
mod faults;
mod management_limits;

/// A Wacht gateway and management API on a loopback port.
///
/// It runs on a thread and a runtime of its own, so that it works under any runtime of the
/// caller, and stops when it is dropped. Starting one is cheap: give every test its own.
///
/// It speaks HTTP/1.1 and HTTP/2 with prior knowledge. Making things is synchronous and takes
/// effect at once. See the [module](super) for an example and for what differs from Wacht.
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
    /// A layer on it waits 60 s for an answer, not 2 s, unless
    /// [`deadline`](crate::WachtAuthLayerBuilder::deadline) says otherwise: a busy machine must not
    /// look like a gateway that is down.
    ///
    /// # Panics
    ///
    /// Panics when the client cannot be built, which for a loopback address does not happen.
    ///
    /// # Panics
    ///
    /// As [`client_with`](Self::client_with).
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
    /// assert!(gate.handle().check().await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the client cannot be built, for instance for a key with a line break in it.
    ///
    /// # Panics
    ///
    /// There is no crypto provider: neither the feature `tls-aws-lc` nor `tls-ring` is on, nor has the
    /// process one of its own.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "a test without its client had better stop"
    )]
    pub fn client_with(&self, management_key: &str) -> WachtClient {
        WachtClient::builder(management_key)
            .api_url(self.url())
            .gateway_url(self.url())
            .gate_deadline(PATIENCE)
            .build()
            .expect(
                "a client for loopback needs no more than a crypto provider, as `tls-aws-lc` is",
            )
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

/// How long a layer waits for an answer of a dev gateway.
const PATIENCE: Duration = Duration::from_secs(60);
