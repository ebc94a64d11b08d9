//! OAuth clients: the third parties.

use std::fmt;
use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::client_requests::{
    CreateOAuthClientRequest, TokenSettings, UpdateOAuthClientRequest, WireClient,
};
use super::{
    OAuth, OAuthAccessTokenFormat, OAuthClientAuthMethod, OAuthGrantType, RecordId, answer, check,
    or_empty,
};
use crate::api::{Call, id};
use crate::client::{Result, WachtClient};

/// An OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OAuthClient {
    /// The id of the client's record, by which calls name it.
    #[serde(deserialize_with = "id::required")]
    pub id: i64,
    /// The record of the OAuth app it belongs to.
    #[serde(deserialize_with = "id::required")]
    pub oauth_app_id: i64,
    /// The public id, `oc_` and 32 characters, by which the client names itself.
    pub client_id: String,
    /// How the client authenticates.
    pub client_auth_method: OAuthClientAuthMethod,
    /// How the client comes by tokens.
    #[serde(default, deserialize_with = "or_empty")]
    pub grant_types: Vec<OAuthGrantType>,
    /// Where users may be sent back to.
    #[serde(default, deserialize_with = "or_empty")]
    pub redirect_uris: Vec<String>,
    /// Where users may be sent to after signing out.
    #[serde(default, deserialize_with = "or_empty")]
    pub post_logout_redirect_uris: Vec<String>,
    /// The client's name for users.
    #[serde(default)]
    pub client_name: Option<String>,
    /// The client's home page.
    #[serde(default)]
    pub client_uri: Option<String>,
    /// The client's picture.
    #[serde(default)]
    pub logo_uri: Option<String>,
    /// The client's terms of service.
    #[serde(default)]
    pub tos_uri: Option<String>,
    /// The client's privacy policy.
    #[serde(default)]
    pub policy_uri: Option<String>,
    /// Whom to ask about the client.
    #[serde(default, deserialize_with = "or_empty")]
    pub contacts: Vec<String>,
    /// The client's software.
    #[serde(default)]
    pub software_id: Option<String>,
    /// The version of that software.
    #[serde(default)]
    pub software_version: Option<String>,
    /// How the client signs the tokens it authenticates with.
    #[serde(default)]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// Where the client's public keys are.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The client's public keys: an object with a list `keys` in it.
    #[serde(default)]
    pub jwks: Option<Value>,
    /// The client's public key.
    #[serde(default)]
    pub public_key_pem: Option<String>,
    /// Whether the client may sign users in.
    pub is_active: bool,
    /// How ID tokens are signed.
    #[serde(default)]
    pub id_token_signing_alg: Option<String>,
    /// What access tokens are.
    #[serde(default)]
    pub access_token_format: Option<OAuthAccessTokenFormat>,
    /// How long an access token lasts.
    #[serde(default)]
    pub access_token_ttl_seconds: Option<i64>,
    /// Whether users are not asked for their consent.
    #[serde(default)]
    pub skip_consent: bool,
    /// When the client was made.
    pub created_at: DateTime<Utc>,
    /// When the client was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A client that was just made, and its secret, which is shown this once. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OAuthClientWithSecret {
    /// The client.
    #[serde(flatten)]
    pub client: OAuthClient,
    /// The secret, if the client authenticates with one.
    #[serde(default)]
    pub client_secret: Option<String>,
}

/// The new secret of a client, which is shown this once. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RotateOAuthClientSecretResponse {
    /// The secret.
    pub client_secret: String,
}

/// Lists the clients of an OAuth app; made by [`OAuth::list_oauth_clients`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListOAuthClientsBuilder {
    client: WachtClient,
    app_slug: String,
}

/// Makes an OAuth client; made by [`OAuth::create_oauth_client`].
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
    pub fn list_oauth_clients(&self, app_slug: impl Into<String>) -> ListOAuthClientsBuilder {
        ListOAuthClientsBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
        }
    }

    /// Makes a client of an OAuth app.
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
        answer(call, "a new OAuth client").await
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

// === impl OAuthClientWithSecret ===

impl Deref for OAuthClientWithSecret {
    type Target = OAuthClient;

    fn deref(&self) -> &OAuthClient {
        &self.client
    }
}

impl fmt::Debug for OAuthClientWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.client_secret.as_ref().map(|_| "[redacted]");
        f.debug_struct("OAuthClientWithSecret")
            .field("client", &self.client)
            .field("client_secret", &secret)
            .finish()
    }
}

impl fmt::Debug for RotateOAuthClientSecretResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateOAuthClientSecretResponse")
            .finish_non_exhaustive()
    }
}
