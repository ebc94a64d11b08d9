//! The handle on everything under `/api-auth`.

use crate::client::WachtClient;

/// The calls about API auth apps, keys, schemes and audit; made by [`WachtClient::api_keys`].
///
/// ```
/// use wacht_auth::models::{CreateApiAuthAppRequest, CreateApiKeyRequest};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// let api_keys = client.api_keys();
/// let app = CreateApiAuthAppRequest {
///     app_slug: "billing".to_owned(),
///     name: "Billing".to_owned(),
///     key_prefix: "sk_live".to_owned(),
///     ..Default::default()
/// };
/// api_keys.create_api_auth_app(app).send().await?;
///
/// let key = CreateApiKeyRequest { name: "ci".to_owned(), ..Default::default() };
/// let new = api_keys.create_api_key("billing", key).send().await?;
/// assert!(new.secret.starts_with("sk_live_"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ApiKeys {
    client: WachtClient,
}

impl WachtClient {
    /// API auth apps and their keys.
    #[must_use]
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys {
            client: self.clone(),
        }
    }
}

impl ApiKeys {
    pub(super) fn client(&self) -> &WachtClient {
        &self.client
    }
}
