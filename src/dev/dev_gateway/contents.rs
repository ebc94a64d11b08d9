//! What a test makes and changes at the gateway, behind the back of its service.

use chrono::{DateTime, TimeDelta, Utc};

use super::DevGateway;
use crate::dev::app::DevApp;
use crate::dev::deployment::DevDeployment;
use crate::dev::dev_key::DevKey;
use crate::dev::dev_rule::DevRule;
use crate::dev::issue_key::IssueKey;
use crate::dev::issue_token::IssueToken;
use crate::dev::records::Key;
use crate::dev::secret::digest;
use crate::dev::state::utc;

impl DevGateway {
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
        let past = utc(self.shared.state().clock.now()) - TimeDelta::seconds(1);
        self.set_expires_at(key_id, Some(past))
    }

    /// Lets a key of any deployment end at another time, or never. Says whether there is one.
    ///
    /// The list of keys shows it at once, as it does all that follows; the gateway once what it has
    /// seen of the key before is as old as the [lag](Self::revocation_lag).
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("orders").issue();
    /// let end = "2099-12-31T00:00:00Z".parse()?;
    /// assert!(wacht.set_expires_at(key.key_id(), Some(end)));
    /// let keys = client.api_keys().list_api_keys("orders").send().await?;
    /// assert_eq!(keys[0].expires_at, Some(end));
    /// # Ok(()) }
    /// ```
    pub fn set_expires_at(&self, key_id: i64, expires_at: Option<DateTime<Utc>>) -> bool {
        self.change_key(key_id, |key| key.expires_at = expires_at)
    }

    /// Gives a key of any deployment other permissions of its own. Says whether there is one.
    pub fn set_permissions<I>(&self, key_id: i64, permissions: I) -> bool
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let permissions = permissions.into_iter().map(Into::into).collect();
        self.change_key(key_id, |key| key.permissions = permissions)
    }

    /// Lets the role of a key's owner in the organization add these permissions, as when a role is
    /// changed and Wacht has carried that to the keys. Says whether there is such a key.
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
    /// let client = wacht.client();
    /// let key = wacht.issue_key("orders").role_permissions(["orders:read"]).issue();
    /// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
    /// assert_eq!(check().await?.permissions, ["orders:read"]);
    ///
    /// wacht.set_role_permissions(key.key_id(), ["orders:read", "orders:export"]);
    /// let keys = client.api_keys().list_api_keys("orders").send().await?;
    /// assert_eq!(keys[0].org_role_permissions.len(), 2, "at once");
    /// assert_eq!(check().await?.permissions.len(), 1, "not yet");
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(check().await?.permissions.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn set_role_permissions<I>(&self, key_id: i64, permissions: I) -> bool
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let permissions = permissions.into_iter().map(Into::into).collect();
        self.change_key(key_id, |key| key.role_permissions = permissions)
    }

    /// Takes a key of any deployment out of the database: no list has it, not even with those that
    /// are revoked. Says whether there was one.
    pub fn delete_key(&self, key_id: i64) -> bool {
        self.shared.state().keys.remove(&key_id).is_some()
    }

    fn change_key(&self, key_id: i64, change: impl FnOnce(&mut Key)) -> bool {
        self.shared
            .state()
            .keys
            .get_mut(&key_id)
            .map(change)
            .is_some()
    }

    /// Sets the rate-limit rules of an app of the main deployment. See [`DevApp::scheme`].
    ///
    /// While a service runs, which sees it when it reads the apps again:
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
    /// wacht.set_scheme("orders", [DevRule::per_key(1_000_000, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).build()?.app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// wacht.set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
    /// clock.advance(Duration::from_secs(75)); // the apps are read again behind the next request
    /// let refused = loop {
    ///     match gate.authenticate_key(key.secret(), &context).await {
    ///         Ok(_) => tokio::task::yield_now().await,
    ///         Err(refused) => break refused,
    ///     }
    /// };
    /// assert!(refused.violated_policies().eq(["per_key:1/60s"]));
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
}
