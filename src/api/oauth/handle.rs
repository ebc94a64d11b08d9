//! The handle on everything under `/oauth`.

use crate::client::WachtClient;

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
    pub(super) client: WachtClient,
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
