//! API auth apps, their keys, the schemes that limit them, and what the gateway noted.
//!
//! The calls are methods of [`ApiKeys`], from [`WachtClient::api_keys`], and also free functions
//! on the client that [`init`](crate::init) was given.

use crate::client::WachtClient;

mod app_changes;
mod apps;
mod free;
mod key_calls;
mod key_id;
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
pub use self::keys::{ApiKey, ApiKeyWithSecret};
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

/// The calls about API auth apps, keys, schemes and audit; made by [`WachtClient::api_keys`].
#[derive(Clone, Debug)]
pub struct ApiKeys {
    client: WachtClient,
}

impl ApiKeys {
    pub(crate) fn new(client: WachtClient) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &WachtClient {
        &self.client
    }
}
