//! What the gateway was asked, and how it is made to fail.

use super::DevGateway;
use crate::dev::fault::{Fault, On};
use crate::dev::faults::Held;
use crate::dev::journal::Journal;

impl DevGateway {
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
    /// wacht.fault_times(On::Checks, Fault::HalfAnswer, 1);
    ///
    /// let key = wacht.issue_key("orders").issue();
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// assert_eq!(check().await.unwrap_err().status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
    /// assert_eq!(check().await.unwrap_err().status(), None, "no whole answer");
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
        self.shared.faults.hold(on)
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
