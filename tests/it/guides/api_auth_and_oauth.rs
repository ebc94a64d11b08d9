// S23 and S24 · Rust example of the guide "API Auth and OAuth", word for word but for the name of
// the crate.
use wacht_auth::{Result, WachtClient};
pub async fn api_auth_and_oauth_example(client: &WachtClient) -> Result<()> {
let _scheme = client
.api_keys()
.create_rate_limit_scheme(wacht_auth::api::api_keys::CreateRateLimitSchemeRequest {
slug: "internal-default".to_string(),
name: "Internal Default".to_string(),
description: Some("Default limits for internal services".to_string()),
rules: vec![wacht_auth::api::api_keys::RateLimit {
unit: wacht_auth::api::api_keys::RateLimitUnit::Minute,
duration: 1,
max_requests: 120,
mode: Some(wacht_auth::api::api_keys::RateLimitMode::PerKey),
}],
})
.send()
.await?;
let _oauth_app = client
.oauth()
.update_oauth_app(
"acme-oauth",
wacht_auth::models::UpdateOAuthAppRequest {
name: Some("Acme OAuth v2".to_string()),
description: Some("Updated OAuth app config".to_string()),
supported_scopes: Some(vec!["openid".to_string(), "profile".to_string(), "email".to_string()]),
scope_definitions: None,
allow_dynamic_client_registration: Some(false),
is_active: Some(true),
},
)
.send()
.await?;
Ok(())
}
