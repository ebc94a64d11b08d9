//! The calls about what users granted to OAuth clients.

use super::{OAuth, OAuthGrant, RecordId};
use crate::api::Call;
use crate::client::{Result, WachtClient};

/// Lists the grants of a client; made by [`OAuth::list_oauth_grants`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListOAuthGrantsBuilder {
    client: WachtClient,
    app_slug: String,
    oauth_client_id: RecordId,
    unchecked: bool,
}

/// Takes a grant back; made by [`OAuth::revoke_oauth_grant`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct RevokeOAuthGrantBuilder {
    client: WachtClient,
    app_slug: String,
    oauth_client_id: RecordId,
    grant_id: RecordId,
    unchecked: bool,
}

impl OAuth {
    /// Lists what users granted to a client, the newest first, revoked grants included.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::{
    ///     CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthGrantStatus,
    /// };
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// # let request = CreateOAuthClientRequest {
    /// #     redirect_uris: vec!["https://partner.example/callback".to_owned()],
    /// #     ..Default::default()
    /// # };
    /// # let partner = client.oauth().create_oauth_client("acme-oauth", request).send().await?;
    /// // A user agrees, and the partner has a token.
    /// let token = wacht.issue_token("orders").oauth_client(partner.id).scopes(["orders:read"]);
    /// let _token = token.issue();
    ///
    /// let grants = client.oauth().list_oauth_grants("acme-oauth", partner.id).send().await?;
    /// assert_eq!(grants[0].status, OAuthGrantStatus::Active);
    /// assert_eq!(grants[0].scopes, ["orders:read"]);
    /// # Ok(()) }
    /// ```
    pub fn list_oauth_grants(
        &self,
        app_slug: impl Into<String>,
        oauth_client_id: impl Into<RecordId>,
    ) -> ListOAuthGrantsBuilder {
        ListOAuthGrantsBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            oauth_client_id: oauth_client_id.into(),
            unchecked: false,
        }
    }

    /// Takes a grant back. The gateway refuses its opaque access tokens at once; a gate in front
    /// of it when it asks again, as its [`CachePolicy`](crate::CachePolicy) says.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::{
    ///     CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthGrantStatus,
    /// };
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// # let request = CreateOAuthClientRequest {
    /// #     redirect_uris: vec!["https://partner.example/callback".to_owned()],
    /// #     ..Default::default()
    /// # };
    /// # let partner = client.oauth().create_oauth_client("acme-oauth", request).send().await?;
    /// let _token = wacht.issue_token("orders").oauth_client(partner.id).issue();
    /// let oauth = client.oauth();
    /// let of_partner = oauth.list_oauth_grants("acme-oauth", partner.id);
    /// for grant in of_partner.clone().send().await? {
    ///     oauth.revoke_oauth_grant("acme-oauth", partner.id, &grant).send().await?;
    /// }
    /// assert_eq!(of_partner.send().await?[0].status, OAuthGrantStatus::Revoked);
    /// # Ok(()) }
    /// ```
    pub fn revoke_oauth_grant(
        &self,
        app_slug: impl Into<String>,
        oauth_client_id: impl Into<RecordId>,
        grant_id: impl Into<RecordId>,
    ) -> RevokeOAuthGrantBuilder {
        RevokeOAuthGrantBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            oauth_client_id: oauth_client_id.into(),
            grant_id: grant_id.into(),
            unchecked: false,
        }
    }
}

// === impl ListOAuthGrantsBuilder ===

impl ListOAuthGrantsBuilder {
    /// Sends the call as it is, also with an id that is no number.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Fetches all grants.
    ///
    /// # Errors
    ///
    /// As for [`ListOAuthClientsBuilder::send`](super::ListOAuthClientsBuilder::send), and
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for an id that is no number.
    pub async fn send(self) -> Result<Vec<OAuthGrant>> {
        if !self.unchecked {
            self.oauth_client_id.check("an OAuth client")?;
        }
        let (app, id) = (&self.app_slug, self.oauth_client_id.as_str());
        Call::get(
            &self.client,
            &["oauth", "apps", app, "clients", id, "grants"],
        )
        .page("a list of OAuth grants", &["grants"])
        .await
        .map(|page| page.items)
    }
}

// === impl RevokeOAuthGrantBuilder ===

impl RevokeOAuthGrantBuilder {
    /// Sends the call as it is, also with an id that is no number.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Takes the grant back.
    ///
    /// Wacht says yes to a grant that is revoked already, and to one it does not know: success
    /// does not mean that there was one.
    ///
    /// # Errors
    ///
    /// As for [`ListOAuthGrantsBuilder::send`].
    pub async fn send(self) -> Result<()> {
        if !self.unchecked {
            self.oauth_client_id.check("an OAuth client")?;
            self.grant_id.check("a grant")?;
        }
        let (app, id) = (&self.app_slug, self.oauth_client_id.as_str());
        let grant = self.grant_id.as_str();
        Call::post(
            &self.client,
            &[
                "oauth", "apps", app, "clients", id, "grants", grant, "revoke",
            ],
        )
        .done()
        .await
    }
}
