//! Issuing keys and access tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::records::{NewKey, Owner, Token};
use super::secret::{digest, hex_digest, random_secret};
use super::shared::Shared;
use super::state::utc;

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
/// # let gate = gate.deadline(std::time::Duration::from_secs(60));
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

    /// Permissions the key has through its owner's roles. Default: none.
    pub fn role_permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.key.role_permissions = permissions.into_iter().map(Into::into).collect();
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

/// A key or an access token that was issued. `Debug` hides the secret.
///
/// The journal names keys by their digest:
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
/// client.gateway().check(CheckRequest::api_key(key.secret())).send().await?;
/// assert_eq!(wacht.journal().checks_asked()[0].key_sha256, key.sha256());
/// assert!(!format!("{key:?} {:?}", wacht.journal()).contains(key.secret()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DevKey {
    secret: String,
    key_id: i64,
}

impl DevKey {
    /// What a caller sends.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The id `identity.key_id` shows: of the key, or of an access token's OAuth client.
    #[must_use]
    pub fn key_id(&self) -> i64 {
        self.key_id
    }

    /// SHA-256 of the secret in lower-case hex, as the [`Journal`](super::Journal) names it.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex_digest(&self.secret)
    }
}

impl fmt::Debug for DevKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// An OAuth access token in the making. Ends with [`issue`](Self::issue).
///
/// ```
/// use wacht_auth::api::gateway::CheckRequest;
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let token = wacht
///     .issue_token("orders")
///     .client_id("oc_partner")
///     .scopes(["orders:read"])
///     .mapped_permissions(["organization:orders:view"])
///     .granted_resource("urn:wacht:organization:6001")
///     .issue();
///
/// let check = CheckRequest::oauth_access_token(token.secret());
/// let answer = client.gateway().check(check).send().await?;
/// assert_eq!(answer.permissions.len(), 2);
/// assert_eq!(answer.metadata["granted_resource"], "urn:wacht:organization:6001");
/// # Ok(()) }
/// ```
#[must_use = "nothing is issued until `issue` is called"]
pub struct IssueToken {
    shared: Arc<Shared>,
    secret: String,
    token: Token,
}

impl IssueToken {
    pub(super) fn new(shared: &Arc<Shared>, app: i64) -> Self {
        let mut state = shared.state();
        let token = Token {
            app,
            client_record: state.new_id(),
            client_id: "oc_test_client".to_owned(),
            grant: state.new_id(),
            scopes: Vec::new(),
            mapped_permissions: Vec::new(),
            oauth_resource: None,
            granted_resource: None,
            expires_at: utc(state.clock.now()) + Duration::from_secs(3600),
            revoked: false,
        };
        drop(state);
        Self {
            shared: Arc::clone(shared),
            secret: random_secret("oat"),
            token,
        }
    }

    /// The OAuth client's public id. Default: `oc_test_client`.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.token.client_id = client_id.to_owned();
        self
    }

    /// Has the token given to this OAuth client: the record's `id`, as the management API gives
    /// it. Issuing it then writes down a grant, which the API lists and can revoke. Default: a
    /// client that the API does not know.
    pub fn oauth_client(mut self, id: i64) -> Self {
        let state = self.shared.state();
        if let Some(client) = state.oauth.clients.get(&id) {
            self.token.client_record = id;
            self.token.client_id.clone_from(&client.client_id);
        }
        drop(state);
        self
    }

    /// The granted scopes, which are permissions at the same time. Default: none.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.token.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Permissions the scopes are mapped to in the granted organization or workspace.
    /// Default: none.
    pub fn mapped_permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.token.mapped_permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// What the token was granted for, such as `urn:wacht:organization:6001`. Default: none.
    pub fn granted_resource(mut self, resource: &str) -> Self {
        self.token.granted_resource = Some(resource.to_owned());
        self.token.oauth_resource = Some(resource.to_owned());
        self
    }

    /// When the token ends, by the gateway's clock. Default: an hour after the builder was made.
    pub fn expires_at(mut self, expires_at: DateTime<Utc>) -> Self {
        self.token.expires_at = expires_at;
        self
    }

    /// Issues the token. It is valid from the moment this returns.
    #[must_use]
    pub fn issue(self) -> DevKey {
        let key_id = self.token.client_record;
        let mut state = self.shared.state();
        state.write_grant(&self.token);
        state.tokens.insert(digest(&self.secret), self.token);
        drop(state);
        DevKey {
            secret: self.secret,
            key_id,
        }
    }
}

impl fmt::Debug for IssueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueToken")
            .field("client_id", &self.token.client_id)
            .finish_non_exhaustive()
    }
}
