//! Apps.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::dev_rule::DevRule;
use super::issue_key::IssueKey;
use super::issue_token::IssueToken;
use super::shared::Shared;
use super::state::utc;

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
    pub(super) fn new(shared: &Arc<Shared>, deployment: i64, id: i64, slug: &str) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
            deployment,
            slug: slug.to_owned(),
        }
    }

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
