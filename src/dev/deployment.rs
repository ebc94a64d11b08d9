//! Deployments and their apps.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::issue::{IssueKey, IssueToken};
use super::rule::DevRule;
use super::server::Shared;
use super::state::{CONSOLE, utc};

/// A customer of Wacht: apps, keys and schemes of its own.
///
/// The gateway lets every valid key of every deployment pass, so a service has to look whose key
/// it was shown. [`DevGateway::other_deployment`](super::DevGateway::other_deployment) makes the
/// stranger to test that with.
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let other = wacht.other_deployment();
/// other.app("theirs");
/// assert_ne!(other.id(), wacht.deployment_id());
///
/// let theirs = wacht.client_with(other.management_key());
/// let apps = theirs.api_keys().list_api_auth_apps().send().await?;
/// assert_eq!(apps[0].app_slug, "theirs");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DevDeployment {
    shared: Arc<Shared>,
    id: i64,
    management_key: String,
}

impl DevDeployment {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let (id, management_key) = shared.state().add_deployment();
        Self {
            shared: Arc::clone(shared),
            id,
            management_key,
        }
    }

    /// The deployment's id, as `identity.deployment_id` shows it.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// A key of the management API for this deployment.
    #[must_use]
    pub fn management_key(&self) -> &str {
        &self.management_key
    }

    /// The app with this slug, made if there is none: active, without a rate-limit scheme, its
    /// keys starting with `sk_test_`.
    pub fn app(&self, slug: &str) -> DevApp {
        let mut state = self.shared.state();
        let id = state
            .app_id(self.id, slug)
            .unwrap_or_else(|| state.add_app(self.id, slug, "sk_test"));
        DevApp {
            shared: Arc::clone(&self.shared),
            id,
            deployment: self.id,
            slug: slug.to_owned(),
        }
    }

    /// The app of the deployment's management keys.
    pub(super) fn system_app(&self) -> DevApp {
        let slug = format!("aa_{}", self.id);
        let mut state = self.shared.state();
        let id = state
            .app_id(CONSOLE, &slug)
            .unwrap_or_else(|| state.add_app(CONSOLE, &slug, "sk"));
        DevApp {
            shared: Arc::clone(&self.shared),
            id,
            deployment: CONSOLE,
            slug,
        }
    }

    /// Begins a key for the app with this slug, which is made if there is none.
    pub fn issue_key(&self, app_slug: &str) -> IssueKey {
        self.app(app_slug).issue_key()
    }

    /// Begins an OAuth access token for the app with this slug, which is made if there is none.
    pub fn issue_token(&self, app_slug: &str) -> IssueToken {
        self.app(app_slug).issue_token()
    }
}

impl fmt::Debug for DevDeployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevDeployment")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An app, from [`DevGateway::app`](super::DevGateway::app).
///
/// ```
/// use wacht_auth::api::gateway::CheckRequest;
/// use wacht_auth::dev::{DevGateway, DevRule};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let orders = wacht.app("orders");
/// orders.scheme([DevRule::per_app(10, "second", 1)]).user_id(5001);
/// let key = orders.issue_key().issue();
///
/// let check = || client.gateway().check(CheckRequest::api_key(key.secret())).send();
/// assert_eq!(check().await?.identity.and_then(|caller| caller.owner_user_id), Some(5001));
/// orders.set_active(false);
/// assert!(check().await.unwrap_err().is_invalid_key());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DevApp {
    shared: Arc<Shared>,
    id: i64,
    deployment: i64,
    slug: String,
}

impl DevApp {
    /// The app's slug.
    #[must_use]
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// Gives the app and all its keys a rate-limit scheme with these rules, named
    /// `<app slug>-limits`, or changes that scheme. The new rules count at once.
    ///
    /// Without a scheme Wacht's default holds, 1000 a minute for the whole app; with `[]`
    /// nothing is limited.
    pub fn scheme(&self, rules: impl IntoIterator<Item = DevRule>) -> &Self {
        let rules: Vec<Value> = rules.into_iter().map(DevRule::into_json).collect();
        let slug = format!("{}-limits", self.slug);
        let mut state = self.shared.state();
        let now = utc(state.clock.now());
        if let Some(scheme) = state.scheme_mut(self.deployment, &slug) {
            scheme.rules = rules;
            scheme.updated_at = now;
        } else {
            state.add_scheme(self.deployment, &slug, rules);
        }
        if let Some(app) = state.apps.get_mut(&self.id) {
            app.scheme = Some(slug);
        }
        state.touch_app(self.id);
        self
    }

    /// Takes the scheme away, so that Wacht's default holds.
    pub fn no_scheme(&self) -> &Self {
        let mut state = self.shared.state();
        if let Some(app) = state.apps.get_mut(&self.id) {
            app.scheme = None;
        }
        state.touch_app(self.id);
        drop(state);
        self
    }

    /// Sets the user the app belongs to; the app's access tokens show it.
    pub fn user_id(&self, user_id: i64) -> &Self {
        if let Some(app) = self.shared.state().apps.get_mut(&self.id) {
            app.owner.user = Some(user_id);
        }
        self
    }

    /// Switches the app on or off. Keys of an app that is off are unknown to the gateway.
    pub fn set_active(&self, active: bool) -> &Self {
        let mut state = self.shared.state();
        if let Some(app) = state.apps.get_mut(&self.id) {
            app.is_active = active;
        }
        state.touch_app(self.id);
        drop(state);
        self
    }

    /// Deletes the app. Its keys are unknown to the gateway from then on, also when an app with
    /// the same slug is made again.
    pub fn delete(&self) {
        let mut state = self.shared.state();
        let now = utc(state.clock.now());
        if let Some(app) = state.apps.get_mut(&self.id) {
            app.deleted_at.get_or_insert(now);
        }
    }

    /// Begins a key for this app.
    pub fn issue_key(&self) -> IssueKey {
        IssueKey::new(&self.shared, self.id)
    }

    /// Begins an OAuth access token for this app.
    pub fn issue_token(&self) -> IssueToken {
        IssueToken::new(&self.shared, self.id)
    }
}

impl fmt::Debug for DevApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevApp")
            .field("slug", &self.slug)
            .finish_non_exhaustive()
    }
}
