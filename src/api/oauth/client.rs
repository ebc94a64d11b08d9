//! OAuth clients as Wacht shows them.

use std::fmt;
use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::{OAuthAccessTokenFormat, OAuthClientAuthMethod, OAuthGrantType};
use crate::api::id;
use crate::api::nullable::or_empty;

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
    /// How long an access token lasts, in seconds.
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
///
/// It gives the members of the client as its own:
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
/// let made = client.oauth().create_oauth_client("acme-oauth", request).send().await?;
/// assert_eq!(made.client_id, made.client.client_id);
/// let secret = made.client_secret.as_deref().unwrap_or_default();
/// assert!(!format!("{made:?}").contains(secret));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OAuthClientWithSecret {
    /// The client.
    pub client: OAuthClient,
    /// The secret, if the client authenticates with one.
    pub client_secret: Option<String>,
}

/// The new secret of a client, which is shown this once. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RotateOAuthClientSecretResponse {
    /// The secret.
    pub client_secret: String,
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
