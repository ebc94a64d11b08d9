//! The calls about OAuth clients: the third parties.

use serde_json::Value;

use super::answer::{answer, value};
use super::client_requests::{
    CreateOAuthClientRequest, TokenSettings, UpdateOAuthClientRequest, WireClient,
};
use super::{
    OAuth, OAuthAccessTokenFormat, OAuthClient, OAuthClientWithSecret, RecordId,
    RotateOAuthClientSecretResponse, check,
};
use crate::api::Call;
use crate::client::{DecodeError, Result, WachtClient, decode_from};

/// Lists the clients of an OAuth app; made by [`OAuth::list_oauth_clients`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListOAuthClientsBuilder {
    client: WachtClient,
    app_slug: String,
}

/// Makes an OAuth client; made by [`OAuth::create_oauth_client`].
///
/// ```
/// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # let request = CreateOAuthAppRequest {
/// #     slug: "acme-oauth".to_owned(),
/// #     name: "Acme".to_owned(),
/// #     ..Default::default()
/// # };
/// # client.oauth().create_oauth_app(request).send().await?;
/// let request = CreateOAuthClientRequest {
///     redirect_uris: vec!["https://partner.example/callback".to_owned()],
///     ..Default::default()
/// };
/// let partner = client
///     .oauth()
///     .create_oauth_client("acme-oauth", request)
///     .access_token_ttl_seconds(900)
///     .post_logout_redirect_uris(["https://partner.example/bye"])
///     .send()
///     .await?;
/// assert_eq!(partner.access_token_ttl_seconds, Some(900));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CreateOAuthClientBuilder {
    client: WachtClient,
    app_slug: String,
    request: CreateOAuthClientRequest,
    tokens: TokenSettings,
    unchecked: bool,
}

/// Changes an OAuth client; made by [`OAuth::update_oauth_client`].
///
/// ```
/// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
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
/// let unchanged = Default::default();
/// let call = client.oauth().update_oauth_client("acme-oauth", partner.id, unchanged);
/// let updated = call.access_token_ttl_seconds(300).skip_consent(true).send().await?;
/// assert_eq!(updated.access_token_ttl_seconds, Some(300));
/// assert!(updated.skip_consent);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UpdateOAuthClientBuilder {
    of: ClientOf,
    request: UpdateOAuthClientRequest,
    tokens: TokenSettings,
}

/// Switches an OAuth client off; made by [`OAuth::deactivate_oauth_client`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct DeactivateOAuthClientBuilder {
    of: ClientOf,
}

/// Gives an OAuth client a new secret; made by [`OAuth::rotate_oauth_client_secret`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct RotateOAuthClientSecretBuilder {
    of: ClientOf,
}

#[derive(Clone, Debug)]
struct ClientOf {
    client: WachtClient,
    app_slug: String,
    id: RecordId,
    unchecked: bool,
}

impl OAuth {
    /// Lists the clients of an OAuth app, the newest first, inactive ones included.
    ///
    /// ```
    /// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
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
    /// let clients = client.oauth().list_oauth_clients("acme-oauth").send().await?;
    /// assert_eq!(clients[0].client_id, partner.client_id);
    /// # Ok(()) }
    /// ```
    pub fn list_oauth_clients(&self, app_slug: impl Into<String>) -> ListOAuthClientsBuilder {
        ListOAuthClientsBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
        }
    }

    /// Makes a client of an OAuth app.
    ///
    /// ```
    /// use wacht_auth::models::{
    ///     CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthClientAuthMethod,
    /// };
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let public = CreateOAuthClientRequest {
    ///     client_auth_method: OAuthClientAuthMethod::None, // an app on a phone keeps no secret
    ///     redirect_uris: vec!["https://phone.example/callback".to_owned()],
    ///     ..Default::default()
    /// };
    /// let phone = client.oauth().create_oauth_client("acme-oauth", public).send().await?;
    /// assert!(phone.client_id.starts_with("oc_"));
    /// assert_eq!(phone.client_secret, None);
    /// # Ok(()) }
    /// ```
    pub fn create_oauth_client(
        &self,
        app_slug: impl Into<String>,
        request: CreateOAuthClientRequest,
    ) -> CreateOAuthClientBuilder {
        CreateOAuthClientBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            request,
            tokens: TokenSettings::default(),
            unchecked: false,
        }
    }

    /// Changes a client, which must be active.
    ///
    /// ```
    /// use wacht_auth::models::UpdateOAuthClientRequest;
    /// # use wacht_auth::dev::DevGateway;
    /// # use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
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
    /// let rename = UpdateOAuthClientRequest {
    ///     client_name: Some("Partner Ltd".to_owned()),
    ///     ..Default::default()
    /// };
    /// let partner = client.oauth().update_oauth_client("acme-oauth", partner.id, rename).send().await?;
    /// assert_eq!(partner.client_name.as_deref(), Some("Partner Ltd"));
    /// # Ok(()) }
    /// ```
    pub fn update_oauth_client(
        &self,
        app_slug: impl Into<String>,
        oauth_client_id: impl Into<RecordId>,
        request: UpdateOAuthClientRequest,
    ) -> UpdateOAuthClientBuilder {
        UpdateOAuthClientBuilder {
            of: self.client_of(app_slug, oauth_client_id),
            request,
            tokens: TokenSettings::default(),
        }
    }

    /// Switches a client off for good. Access tokens it has keep passing until they end: what
    /// takes them back is [`revoke_oauth_grant`](Self::revoke_oauth_grant).
    ///
    /// ```
    /// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
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
    /// let oauth = client.oauth();
    /// oauth.deactivate_oauth_client("acme-oauth", partner.id).send().await?;
    /// let clients = oauth.list_oauth_clients("acme-oauth").send().await?;
    /// assert!(!clients[0].is_active);
    /// # Ok(()) }
    /// ```
    pub fn deactivate_oauth_client(
        &self,
        app_slug: impl Into<String>,
        oauth_client_id: impl Into<RecordId>,
    ) -> DeactivateOAuthClientBuilder {
        DeactivateOAuthClientBuilder {
            of: self.client_of(app_slug, oauth_client_id),
        }
    }

    /// Gives a client a new secret. The old one ends at once.
    ///
    /// ```
    /// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
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
    /// let rotate = client.oauth().rotate_oauth_client_secret("acme-oauth", partner.id);
    /// let new = rotate.send().await?.client_secret;
    /// assert_ne!(Some(new), partner.client_secret);
    /// # Ok(()) }
    /// ```
    pub fn rotate_oauth_client_secret(
        &self,
        app_slug: impl Into<String>,
        oauth_client_id: impl Into<RecordId>,
    ) -> RotateOAuthClientSecretBuilder {
        RotateOAuthClientSecretBuilder {
            of: self.client_of(app_slug, oauth_client_id),
        }
    }

    fn client_of(&self, app_slug: impl Into<String>, id: impl Into<RecordId>) -> ClientOf {
        ClientOf {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            id: id.into(),
            unchecked: false,
        }
    }
}

impl ClientOf {
    fn segments(&self) -> Result<[&str; 5]> {
        if !self.unchecked {
            self.id.check("an OAuth client")?;
        }
        let (app, id) = (&self.app_slug, self.id.as_str());
        Ok(["oauth", "apps", app, "clients", id])
    }
}

// === impl ListOAuthClientsBuilder ===

impl ListOAuthClientsBuilder {
    /// Fetches all clients.
    ///
    /// # Errors
    ///
    /// [`Error::Api`](crate::Error::Api) if Wacht refuses; an unknown app or client
    /// [is not found](crate::Error::is_not_found).
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a slug that is empty, `.` or
    /// `..`, [`Error::Decode`](crate::Error::Decode) if the answer is not understood or longer
    /// than 4 MiB, [`Error::Request`](crate::Error::Request) if there is none, and
    /// [`Error::Config`](crate::Error::Config) if the client cannot be used.
    pub async fn send(self) -> Result<Vec<OAuthClient>> {
        Call::get(&self.client, &["oauth", "apps", &self.app_slug, "clients"])
            .page("a list of OAuth clients", &["clients"])
            .await
            .map(|page| page.items)
    }
}

// === impl CreateOAuthClientBuilder ===

impl CreateOAuthClientBuilder {
    /// Sets where users may be sent to after signing out; http or https, without fragment.
    /// Defaults to nowhere.
    pub fn post_logout_redirect_uris<I>(mut self, uris: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.tokens.post_logout_redirect_uris = Some(uris.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how ID tokens are signed. Wacht knows `RS256`, which is the default.
    pub fn id_token_signing_alg(mut self, algorithm: impl Into<String>) -> Self {
        self.tokens.id_token_signing_alg = Some(algorithm.into());
        self
    }

    /// Sets what access tokens are. Defaults to opaque ones, which are the only ones that the
    /// gateway, and therefore a gate, accepts.
    pub fn access_token_format(mut self, format: OAuthAccessTokenFormat) -> Self {
        self.tokens.access_token_format = Some(format);
        self
    }

    /// Sets how long an access token lasts, from 60 to 86400 seconds. Defaults to 3600.
    pub fn access_token_ttl_seconds(mut self, seconds: u32) -> Self {
        self.tokens.access_token_ttl_seconds = Some(seconds);
        self
    }

    /// Sets whether users are not asked for their consent. Defaults to `false`.
    pub fn skip_consent(mut self, skip: bool) -> Self {
        self.tokens.skip_consent = Some(skip);
        self
    }

    /// Sends the call as it is, also against the rules this version knows.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// As for [`ListOAuthClientsBuilder::send`];
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) also for what breaks a rule that
    /// the members of [`CreateOAuthClientRequest`] and the setters here state, and for `jwks`
    /// with a private key in it.
    pub async fn send(self) -> Result<OAuthClientWithSecret> {
        let Self {
            client,
            app_slug,
            request,
            tokens,
            unchecked,
        } = self;
        if !unchecked {
            check::create_client(&request, &tokens)?;
        }
        let body = WireClient {
            request: &request,
            tokens: &tokens,
        };
        let call = Call::post(&client, &["oauth", "apps", &app_slug, "clients"]).json(&body);
        let what = "a new OAuth client";
        let (place, mut answer) = value(call, what).await?;
        let client_secret = match answer.get_mut("client_secret").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(Value::String(secret)) => Some(secret),
            Some(_) => return Err(DecodeError::new(what, "`client_secret` is no text").into()),
        };
        Ok(OAuthClientWithSecret {
            client: decode_from(what, place, answer)?,
            client_secret,
        })
    }
}

// === impl UpdateOAuthClientBuilder ===

impl UpdateOAuthClientBuilder {
    /// Sets where users may be sent to after signing out; replaces the whole list.
    pub fn post_logout_redirect_uris<I>(mut self, uris: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.tokens.post_logout_redirect_uris = Some(uris.into_iter().map(Into::into).collect());
        self
    }

    /// Sets how ID tokens are signed. Wacht knows `RS256`.
    pub fn id_token_signing_alg(mut self, algorithm: impl Into<String>) -> Self {
        self.tokens.id_token_signing_alg = Some(algorithm.into());
        self
    }

    /// Sets what access tokens are. The gateway, and therefore a gate, accepts opaque ones only.
    pub fn access_token_format(mut self, format: OAuthAccessTokenFormat) -> Self {
        self.tokens.access_token_format = Some(format);
        self
    }

    /// Sets how long an access token lasts, from 60 to 86400 seconds.
    pub fn access_token_ttl_seconds(mut self, seconds: u32) -> Self {
        self.tokens.access_token_ttl_seconds = Some(seconds);
        self
    }

    /// Sets whether users are not asked for their consent.
    pub fn skip_consent(mut self, skip: bool) -> Self {
        self.tokens.skip_consent = Some(skip);
        self
    }

    /// Sends the call as it is, also against the rules this version knows.
    pub fn unchecked(mut self) -> Self {
        self.of.unchecked = true;
        self
    }

    /// Changes the client and gives it as it is then.
    ///
    /// # Errors
    ///
    /// As for [`CreateOAuthClientBuilder::send`], and
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for an id that is no number.
    pub async fn send(self) -> Result<OAuthClient> {
        let Self {
            of,
            request,
            tokens,
        } = self;
        let segments = of.segments()?;
        if !of.unchecked {
            check::update_client(&request, &tokens)?;
        }
        let body = WireClient {
            request: &request,
            tokens: &tokens,
        };
        let call = Call::patch(&of.client, &segments).json(&body);
        answer(call, "an OAuth client").await
    }
}

// === impl DeactivateOAuthClientBuilder ===

impl DeactivateOAuthClientBuilder {
    /// Sends the call as it is, also with an id that is no number.
    pub fn unchecked(mut self) -> Self {
        self.of.unchecked = true;
        self
    }

    /// Switches the client off. The second time it [is not found](crate::Error::is_not_found).
    ///
    /// # Errors
    ///
    /// As for [`ListOAuthClientsBuilder::send`], and
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for an id that is no number.
    pub async fn send(self) -> Result<()> {
        let segments = self.of.segments()?;
        Call::delete(&self.of.client, &segments).done().await
    }
}

// === impl RotateOAuthClientSecretBuilder ===

impl RotateOAuthClientSecretBuilder {
    /// Sends the call as it is, also with an id that is no number.
    pub fn unchecked(mut self) -> Self {
        self.of.unchecked = true;
        self
    }

    /// Makes the secret. If the answer is lost, so is the secret: rotate again.
    ///
    /// # Errors
    ///
    /// As for [`DeactivateOAuthClientBuilder::send`]; Wacht answers 400 for a client that
    /// authenticates without a secret.
    pub async fn send(self) -> Result<RotateOAuthClientSecretResponse> {
        let [a, b, app, c, id] = self.of.segments()?;
        let call = Call::post(&self.of.client, &[a, b, app, c, id, "rotate-secret"]);
        answer(call, "a new client secret").await
    }
}
