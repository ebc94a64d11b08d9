//! Issuing keys.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::dev_key::DevKey;
use super::records::{NewKey, Owner};
use super::shared::Shared;

/// A key in the making. Ends with [`issue`](Self::issue).
///
/// ```
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{AuthContext, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht
///     .issue_key("orders")
///     .name("ci")
///     .permissions(["orders:read"])
///     .role_permissions(["orders:export"])
///     .organization_id(6001)
///     .metadata(serde_json::json!({"plan": "trial"}))
///     .issue();
///
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let caller = gate.handle().authenticate_key(key.secret(), &AuthContext::new("/")).await?;
/// assert!(caller.permissions().contains_all(["orders:read", "orders:export"]));
/// assert_eq!(caller.organization_id(), Some(6001));
/// assert_eq!(caller.metadata()["plan"], "trial");
/// # Ok(()) }
/// ```
#[must_use = "nothing is issued until `issue` is called"]
pub struct IssueKey {
    shared: Arc<Shared>,
    app: i64,
    key: NewKey,
    owner: Owner,
}

impl IssueKey {
    pub(super) fn new(shared: &Arc<Shared>, app: i64) -> Self {
        Self {
            shared: Arc::clone(shared),
            app,
            key: NewKey::named("test key"),
            owner: Owner::default(),
        }
    }

    /// The key's name. Default: `test key`.
    pub fn name(mut self, name: &str) -> Self {
        self.key.name = name.to_owned();
        self
    }

    /// The whole secret, for tests that need to know it beforehand. Default: the app's prefix
    /// and 43 random characters. The gateway refuses any other form.
    pub fn secret(mut self, secret: &str) -> Self {
        self.key.secret = Some(secret.to_owned());
        self
    }

    /// The key's own permissions. Default: none.
    pub fn permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.key.permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Permissions the key has through its owner's role in the organization. Default: none.
    pub fn role_permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.key.role_permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Permissions the key has through its owner's role in the workspace. Default: none.
    pub fn workspace_role_permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.key.workspace_role_permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// Any JSON. Default: `{}`.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.key.metadata = metadata;
        self
    }

    /// When the key ends, by the gateway's clock; may be past. Default: never.
    pub fn expires_at(mut self, expires_at: DateTime<Utc>) -> Self {
        self.key.expires_at = Some(expires_at);
        self
    }

    /// The user who owns the key. Default: the app's.
    pub fn owner_user_id(mut self, id: i64) -> Self {
        self.owner.user = Some(id);
        self
    }

    /// The organization the key acts in. Default: the app's.
    pub fn organization_id(mut self, id: i64) -> Self {
        self.owner.organization = Some(id);
        self
    }

    /// The workspace the key acts in. Default: the app's.
    pub fn workspace_id(mut self, id: i64) -> Self {
        self.owner.workspace = Some(id);
        self
    }

    /// The owner's membership in the organization. Default: none.
    pub fn organization_membership_id(mut self, id: i64) -> Self {
        self.owner.organization_membership = Some(id);
        self
    }

    /// The owner's membership in the workspace. Default: none.
    pub fn workspace_membership_id(mut self, id: i64) -> Self {
        self.owner.workspace_membership = Some(id);
        self
    }

    /// Issues the key. It is valid from the moment this returns.
    #[must_use]
    pub fn issue(self) -> DevKey {
        let Self {
            shared,
            app,
            mut key,
            owner,
        } = self;
        let mut state = shared.state();
        let inherited = state
            .apps
            .get(&app)
            .map(|app| app.owner.clone())
            .unwrap_or_default();
        key.owner = Some(Owner {
            user: owner.user.or(inherited.user),
            organization: owner.organization.or(inherited.organization),
            workspace: owner.workspace.or(inherited.workspace),
            ..owner
        });
        let (key_id, secret) = state.add_key(app, key);
        DevKey { secret, key_id }
    }
}

impl fmt::Debug for IssueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueKey")
            .field("name", &self.key.name)
            .finish_non_exhaustive()
    }
}
