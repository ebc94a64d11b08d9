//! OAuth apps, their scopes and clients, and what users granted to these.
//!
//! An OAuth app is what third parties sign users in with; its clients are those third parties,
//! and a grant is what one user allows one of them. Access tokens of a grant are what
//! [`WachtAuthLayer::accept_oauth_tokens`](crate::WachtAuthLayer::accept_oauth_tokens) lets in.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::Call;
use crate::client::{Result, WachtClient, decode, decode_from};

mod app_requests;
mod apps;
mod check;
mod client;
mod client_requests;
mod clients;
mod grants;
mod logo;
mod record_id;
mod scopes;
mod update_app;
mod words;

pub use self::app_requests::{CreateOAuthAppRequest, UpdateOAuthAppRequest};
pub use self::apps::{
    CreateOAuthAppBuilder, ListOAuthAppsBuilder, OAuthApp, OAuthDomainVerificationResponse,
    VerifyOAuthAppDomainBuilder,
};
pub use self::client::{OAuthClient, OAuthClientWithSecret, RotateOAuthClientSecretResponse};
pub use self::client_requests::{CreateOAuthClientRequest, UpdateOAuthClientRequest};
pub use self::clients::{
    CreateOAuthClientBuilder, DeactivateOAuthClientBuilder, ListOAuthClientsBuilder,
    RotateOAuthClientSecretBuilder, UpdateOAuthClientBuilder,
};
pub use self::grants::{ListOAuthGrantsBuilder, OAuthGrant, RevokeOAuthGrantBuilder};
pub use self::logo::Logo;
pub use self::record_id::RecordId;
pub use self::scopes::{
    ArchiveOAuthScopeBuilder, OAuthScopeDefinition, SetOAuthScopeMappingBuilder,
    SetOAuthScopeMappingRequest, UnarchiveOAuthScopeBuilder, UpdateOAuthScopeBuilder,
    UpdateOAuthScopeRequest,
};
pub use self::update_app::UpdateOAuthAppBuilder;
pub use self::words::{
    OAuthAccessTokenFormat, OAuthClientAuthMethod, OAuthGrantStatus, OAuthGrantType,
    OAuthScopeCategory,
};

/// The calls about OAuth apps; made by [`WachtClient::oauth`].
///
/// An app is named by its slug, a client and a grant by the `id` of its record.
///
/// ```
/// use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// let app = CreateOAuthAppRequest {
///     slug: "acme-oauth".to_owned(),
///     name: "Acme".to_owned(),
///     supported_scopes: Some(vec!["orders:read".to_owned()]),
///     ..Default::default()
/// };
/// let app = client.oauth().create_oauth_app(app).send().await?;
///
/// let partner = CreateOAuthClientRequest {
///     redirect_uris: vec!["https://partner.example/callback".to_owned()],
///     client_name: Some("Partner".to_owned()),
///     ..Default::default()
/// };
/// let partner = client.oauth().create_oauth_client(&app.slug, partner).send().await?;
/// assert!(partner.client_secret.is_some(), "shown only now");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OAuth {
    client: WachtClient,
}

impl WachtClient {
    /// OAuth apps, their scopes and clients, and what users granted to these.
    #[must_use]
    pub fn oauth(&self) -> OAuth {
        OAuth {
            client: self.clone(),
        }
    }
}

/// Sends a call and decodes its answer.
async fn answer<T: DeserializeOwned>(call: Call<'_>, what: &'static str) -> Result<T> {
    let (place, answer) = value(call, what).await?;
    decode_from(what, place, answer)
}

/// Sends a call and gives its answer, which may stand under `data`, and where that was.
async fn value(call: Call<'_>, what: &'static str) -> Result<(&'static str, Value)> {
    let mut answer: Value = decode(what, &call.bytes().await?)?;
    match answer.get_mut("data").map(Value::take) {
        Some(data @ Value::Object(_)) => Ok(("data", data)),
        _ => Ok(("", answer)),
    }
}

/// For lists that may be absent: `null` is the empty list.
fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
