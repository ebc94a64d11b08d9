//! What is asked for when an OAuth client is made or changed.

use serde::Serialize;
use serde_json::Value;

use super::{OAuthAccessTokenFormat, OAuthClientAuthMethod, OAuthGrantType};

/// An OAuth client to be made. What concerns its tokens is set on the
/// [call](super::CreateOAuthClientBuilder).
///
/// The default is a client that authenticates with a secret, gets tokens by authorization code
/// and refresh token, and still needs a redirect URI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreateOAuthClientRequest {
    /// How the client authenticates. Defaults to
    /// [`ClientSecretBasic`](OAuthClientAuthMethod::ClientSecretBasic).
    pub client_auth_method: OAuthClientAuthMethod,
    /// How the client comes by tokens; `AuthorizationCode` must be among them. Defaults to both.
    pub grant_types: Vec<OAuthGrantType>,
    /// Where users may be sent back to: at least one, http or https, without fragment.
    pub redirect_uris: Vec<String>,
    /// The client's name for users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The client's home page; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// The client's picture; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// The client's terms of service; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// The client's privacy policy; http or https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Whom to ask about the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<String>>,
    /// The client's software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// The version of that software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// How the client signs the tokens it authenticates with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// Where the client's public keys are; https. With
    /// [`PrivateKeyJwt`](OAuthClientAuthMethod::PrivateKeyJwt), exactly one of this, `jwks` and
    /// `public_key_pem`; otherwise none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The client's public keys: an object with a list `keys` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// The client's public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
}

/// What to change about an OAuth client. `None` leaves a member as it is, a list replaces the
/// whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateOAuthClientRequest {
    /// How the client authenticates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth_method: Option<OAuthClientAuthMethod>,
    /// How the client comes by tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_types: Option<Vec<OAuthGrantType>>,
    /// Where users may be sent back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<Vec<String>>,
    /// The client's name for users; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The client's home page; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// The client's picture; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// The client's terms of service; an empty one clears them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// The client's privacy policy; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Whom to ask about the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<String>>,
    /// The client's software; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// The version of that software; an empty one clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// How the client signs the tokens it authenticates with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<String>,
    /// Where the client's public keys are; https. At most one of this, `jwks` and
    /// `public_key_pem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The client's public keys: an object with a list `keys` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// The client's public key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
}

impl Default for CreateOAuthClientRequest {
    fn default() -> Self {
        Self {
            client_auth_method: OAuthClientAuthMethod::default(),
            grant_types: vec![
                OAuthGrantType::AuthorizationCode,
                OAuthGrantType::RefreshToken,
            ],
            redirect_uris: Vec::new(),
            client_name: None,
            client_uri: None,
            logo_uri: None,
            tos_uri: None,
            policy_uri: None,
            contacts: None,
            software_id: None,
            software_version: None,
            token_endpoint_auth_signing_alg: None,
            jwks_uri: None,
            jwks: None,
            public_key_pem: None,
        }
    }
}

/// What both calls set themselves.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TokenSettings {
    // Wacht takes no null for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) post_logout_redirect_uris: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id_token_signing_alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token_format: Option<OAuthAccessTokenFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token_ttl_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skip_consent: Option<bool>,
}

/// A request and those settings in one object.
#[derive(Serialize)]
pub(super) struct WireClient<'a, R> {
    #[serde(flatten)]
    pub(super) request: &'a R,
    #[serde(flatten)]
    pub(super) tokens: &'a TokenSettings,
}
