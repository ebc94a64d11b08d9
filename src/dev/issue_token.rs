//! Issuing access tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::dev_key::DevKey;
use super::records::Token;
use super::secret::{digest, random_secret};
use super::shared::Shared;
use super::state::utc;

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
