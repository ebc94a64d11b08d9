//! Deployments.

use std::fmt;
use std::sync::Arc;

use super::app::DevApp;
use super::issue_key::IssueKey;
use super::issue_token::IssueToken;
use super::shared::Shared;
use super::state::CONSOLE;

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
        DevApp::new(&self.shared, self.id, id, slug)
    }

    /// The app of the deployment's management keys.
    pub(super) fn system_app(&self) -> DevApp {
        let slug = format!("aa_{}", self.id);
        let mut state = self.shared.state();
        let id = state
            .app_id(CONSOLE, &slug)
            .unwrap_or_else(|| state.add_app(CONSOLE, &slug, "sk"));
        DevApp::new(&self.shared, CONSOLE, id, &slug)
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
