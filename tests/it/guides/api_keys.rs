// The snippets of the API Keys Guide, each under its heading, word for word but for the name of
// the crate in `use` lines. `guides.rs` compiles this text twice: as it stands, and with a
// `WachtClient::new` that leads to a dev gateway, where it is run.

// S1 · Prerequisites
pub fn prerequisites() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Initialize the client with an API key
    let client = WachtClient::new("wk_live_...");

    // Now you can use the API
    Ok(())
}
main()
}

// S2 · List API Auth Apps
pub async fn list_api_auth_apps() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

// Get active apps only
let apps = client.api_keys().list_api_auth_apps()
    .send()
    .await?;

for app in apps {
    println!("{} (active: {})", app.name, app.is_active);
}
Ok(())
}

// S3 · Include Inactive Apps
pub async fn include_inactive_apps() -> Result<usize, Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

// Get all apps including inactive ones
let apps = client.api_keys().list_api_auth_apps()
    .include_inactive(true)
    .send()
    .await?;
Ok(apps.len())
}

// S4 · Get API Auth App
pub async fn get_api_auth_app() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

let app = client.api_keys().get_api_auth_app("my-integration")
    .send()
    .await?;

println!("App: {} (ID: {})", app.name, app.id);
Ok(())
}

// S5 · Create API Auth App, Basic App Creation
pub async fn basic_app_creation() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::CreateApiAuthAppRequest;

let client = WachtClient::new("wk_live_...");

let app = client.api_keys().create_api_auth_app(CreateApiAuthAppRequest {
    app_slug: "my-integration".to_string(),
    name: "My Integration".to_string(),
    key_prefix: "sk_live".to_string(),
    description: Some("Integration with external service".to_string()),
    rate_limit_scheme_slug: None,
})
.send()
.await?;

println!("Created app: {}", app.id);
Ok(())
}

// S6 · Create API Auth App, With Rate Limiting
pub async fn with_rate_limiting() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::{CreateApiAuthAppRequest, RateLimit, RateLimitUnit, RateLimitMode};

let client = WachtClient::new("wk_live_...");

// First, create a rate limit scheme (not shown here, but assumed to exist)
// For example, a scheme with slug "my-rate-limit-scheme"

let app = client.api_keys().create_api_auth_app(CreateApiAuthAppRequest {
    app_slug: "my-integration-with-rate-limit".to_string(),
    name: "My Integration with Rate Limit".to_string(),
    key_prefix: "sk_live".to_string(),
    description: Some("Integration with external service and rate limits".to_string()),
    rate_limit_scheme_slug: Some("my-rate-limit-scheme".to_string()),
})
.send()
.await?;
Ok(())
}

// S7 · Update API Auth App
pub async fn update_api_auth_app() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::UpdateApiAuthAppRequest;

let client = WachtClient::new("wk_live_...");

let app = client.api_keys().update_api_auth_app(
    "my-integration",
    UpdateApiAuthAppRequest {
        name: Some("Updated Integration Name".to_string()),
        is_active: Some(false),
        ..Default::default()
    }
)
.send()
.await?;
Ok(())
}

// S8 · Delete API Auth App
pub async fn delete_api_auth_app() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

client.api_keys().delete_api_auth_app("my-integration")
    .send()
    .await?;
Ok(())
}

// S9 · List API Keys
pub async fn list_api_keys() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

// Get active keys only
let keys = client.api_keys().list_api_keys("my-integration")
    .send()
    .await?;

for key in keys {
    println!("{}: {}***{} (active: {})",
        key.name, key.key_prefix, key.key_suffix, key.is_active
    );
}
Ok(())
}

// S10 · Include Inactive Keys
pub async fn include_inactive_keys() -> Result<usize, Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

let keys = client.api_keys().list_api_keys("my-integration")
    .include_inactive(true)
    .send()
    .await?;
Ok(keys.len())
}

// S11 · Create API Key, Basic Key Creation
pub async fn basic_key_creation() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::CreateApiKeyRequest;

let client = WachtClient::new("wk_live_...");

let key = client.api_keys().create_api_key(
    "my-integration",
    CreateApiKeyRequest {
        name: "Production Key".to_string(),
        permissions: None,
        organization_membership_id: None,
        workspace_membership_id: None,
        expires_at: None,
        metadata: None,
    }
)
.send()
.await?;

println!("API Key: {}", key.secret); // Store this securely!
Ok(())
}

// S12 · Create API Key, With Permissions and Expiration
pub async fn with_permissions_and_expiration() -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::CreateApiKeyRequest;
use chrono::{Duration, Utc};

let client = WachtClient::new("wk_live_...");

let key = client.api_keys().create_api_key(
    "my-integration",
    CreateApiKeyRequest {
        name: "Production Key".to_string(),
        permissions: Some(vec![
            "users:read".to_string(),
            "orgs:read".to_string(),
        ]),
        organization_membership_id: None,
        workspace_membership_id: None,
        expires_at: Some(Utc::now() + Duration::days(365)),
        metadata: Some(serde_json::json!({"environment": "production"})),
    }
)
.send()
.await?;

println!("API Key: {}", key.secret); // Store this securely!
println!("Expires: {}", key.key.expires_at.unwrap());
Ok(())
}

// S13 · Revoke API Key: one of the two that differ. The guide's request names the key and not its
// app, without which there is no route.
pub async fn revoke_api_key(key_id: &str) -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;
use wacht_auth::models::RevokeApiKeyRequest;

let client = WachtClient::new("wk_live_...");

client.api_keys().revoke_api_key("my-integration", key_id, RevokeApiKeyRequest {
    reason: Some("Key no longer needed".to_string()),
})
.send()
.await?;
Ok(())
}

// S14 · Rotate API Key: the other one, for the same reason.
pub async fn rotate_api_key(key_id: &str) -> Result<(), Box<dyn std::error::Error>> {
use wacht_auth::WachtClient;

let client = WachtClient::new("wk_live_...");

let new_key = client.api_keys().rotate_api_key("my-integration", key_id)
.send()
.await?;

println!("New key: {}", new_key.secret); // Store this securely!
Ok(())
}

// S15 · Rate Limit Units: a list of names, which `named!` takes as it stands.
pub fn rate_limit_units() -> Vec<String> {
use wacht_auth::models::RateLimitUnit;

named! {
RateLimitUnit::Second  // Requests per second
RateLimitUnit::Minute  // Requests per minute
RateLimitUnit::Hour    // Requests per hour
RateLimitUnit::Day     // Requests per day
}
}

// S16 · Rate Limit Modes
pub fn rate_limit_modes() -> Vec<String> {
use wacht_auth::models::RateLimitMode;

named! {
RateLimitMode::PerKey        // Limit per API key
RateLimitMode::PerIp         // Limit per IP address
RateLimitMode::PerKeyAndIp  // Limit per key and IP combination
}
}

// S17 · Example Rate Limit Configuration
pub fn example_rate_limit_configuration() -> ::wacht_auth::models::RateLimit {
use wacht_auth::models::{RateLimit, RateLimitUnit, RateLimitMode};

RateLimit {
    unit: RateLimitUnit::Minute,
    duration: 1,  // 1 minute
    max_requests: 100,  // 100 requests
    mode: Some(RateLimitMode::PerKey),
}
}

// S20 · Error Handling
pub async fn error_handling() {
use wacht_auth::{Error, api::api_keys};

match api_keys::get_api_auth_app("my-integration").send().await {
    Ok(app) => println!("App: {}", app.name),
    Err(Error::Api { status, message, .. }) => {
        eprintln!("API Error {}: {}", status, message);
    }
    Err(Error::Request(e)) => {
        eprintln!("Network error: {}", e);
    }
    Err(e) => {
        eprintln!("Other error: {}", e);
    }
}
}
