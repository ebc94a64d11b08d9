//! API auth apps, their keys, the schemes that limit them, and what the gateway noted.
//!
//! The calls are methods of [`ApiKeys`], from [`WachtClient::api_keys`](crate::WachtClient::api_keys), and also free functions
//! on the client that [`init`](crate::init) was given.
//!
//! ```
//! use wacht_auth::api::api_keys;
//! # use wacht_auth::dev::DevGateway;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let wacht = DevGateway::start().await;
//! # let client = wacht.client();
//! # wacht.issue_key("billing").name("ci").issue();
//! wacht_auth::init(client)?; // once, in `main`
//! let keys = api_keys::list_api_keys("billing").send().await?;
//! assert_eq!(keys[0].name, "ci");
//! # Ok(()) }
//! ```

mod app_changes;
mod apps;
mod free;
mod key_calls;
mod key_id;
mod key_list;
mod key_page;
mod keys;

pub use self::app_changes::{
    CreateApiAuthAppBuilder, CreateApiAuthAppRequest, DeleteApiAuthAppBuilder,
    UpdateApiAuthAppBuilder, UpdateApiAuthAppRequest,
};
pub use self::apps::{
    ApiAuthApp, ApiAuthAppsPageBuilder, GetApiAuthAppBuilder, ListApiAuthAppsBuilder,
};
pub use self::free::*;
pub use self::key_calls::{
    CreateApiKeyBuilder, CreateApiKeyRequest, ListApiKeysBuilder, RevokeApiKeyBuilder,
    RevokeApiKeyRequest, RotateApiKeyBuilder,
};
pub use self::key_id::KeyId;
pub(crate) use self::key_list::{KeyList, ListedKey};
pub(crate) use self::key_page::VERSION as KEY_PAGE_VERSION;
pub use self::keys::{ApiKey, ApiKeyWithSecret};
pub use super::api_auth::ApiKeys;
pub use super::audit::{
    GetApiAuditAnalyticsBuilder, GetApiAuditAnalyticsQuery, GetApiAuditLogsBuilder,
    GetApiAuditTimeseriesBuilder, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery,
};
pub use super::rate_limit_schemes::{
    CreateRateLimitSchemeBuilder, CreateRateLimitSchemeRequest, DeleteRateLimitSchemeBuilder,
    GetRateLimitSchemeBuilder, ListRateLimitSchemesBuilder, RateLimit, RateLimitMode,
    RateLimitRule, RateLimitScheme, RateLimitUnit, UpdateRateLimitSchemeBuilder,
    UpdateRateLimitSchemeRequest,
};
