//! The calls as free functions, on the client of this process.

use super::{
    ApiKeys, CreateApiAuthAppBuilder, CreateApiAuthAppRequest, CreateApiKeyBuilder,
    CreateApiKeyRequest, CreateRateLimitSchemeBuilder, CreateRateLimitSchemeRequest,
    DeleteApiAuthAppBuilder, DeleteRateLimitSchemeBuilder, GetApiAuditAnalyticsBuilder,
    GetApiAuditAnalyticsQuery, GetApiAuditLogsBuilder, GetApiAuditTimeseriesBuilder,
    GetApiAuditTimeseriesQuery, GetApiAuthAppBuilder, GetRateLimitSchemeBuilder, KeyId,
    ListApiAuditLogsQuery, ListApiAuthAppsBuilder, ListApiKeysBuilder, ListRateLimitSchemesBuilder,
    RateLimitRule, RevokeApiKeyBuilder, RevokeApiKeyRequest, RotateApiKeyBuilder,
    UpdateApiAuthAppBuilder, UpdateApiAuthAppRequest, UpdateRateLimitSchemeBuilder,
    UpdateRateLimitSchemeRequest,
};
use crate::client::WachtClient;

/// The calls of the client that [`init`](crate::init) was given.
fn calls() -> ApiKeys {
    WachtClient::of_this_process().api_keys()
}

/// [`ApiKeys::list_api_auth_apps`] of [the process's client](crate::init).
pub fn list_api_auth_apps() -> ListApiAuthAppsBuilder {
    calls().list_api_auth_apps()
}

/// [`ApiKeys::get_api_auth_app`] of [the process's client](crate::init).
///
/// ```
/// use wacht_auth::{Error, api::api_keys};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// wacht_auth::init(client)?;
/// match api_keys::get_api_auth_app("my-integration").send().await {
///     Ok(app) => println!("App: {}", app.name),
///     Err(Error::Api { status, message, .. }) => {
///         eprintln!("API error {status}: {message}");
/// #       assert_eq!(status, 404);
///     }
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
pub fn get_api_auth_app(app_slug: impl Into<String>) -> GetApiAuthAppBuilder {
    calls().get_api_auth_app(app_slug)
}

/// [`ApiKeys::create_api_auth_app`] of [the process's client](crate::init).
pub fn create_api_auth_app(request: CreateApiAuthAppRequest) -> CreateApiAuthAppBuilder {
    calls().create_api_auth_app(request)
}

/// [`ApiKeys::update_api_auth_app`] of [the process's client](crate::init).
pub fn update_api_auth_app(
    app_slug: impl Into<String>,
    request: UpdateApiAuthAppRequest,
) -> UpdateApiAuthAppBuilder {
    calls().update_api_auth_app(app_slug, request)
}

/// [`ApiKeys::delete_api_auth_app`] of [the process's client](crate::init).
pub fn delete_api_auth_app(app_slug: impl Into<String>) -> DeleteApiAuthAppBuilder {
    calls().delete_api_auth_app(app_slug)
}

/// [`ApiKeys::list_api_keys`] of [the process's client](crate::init).
pub fn list_api_keys(app_slug: impl Into<String>) -> ListApiKeysBuilder {
    calls().list_api_keys(app_slug)
}

/// [`ApiKeys::create_api_key`] of [the process's client](crate::init).
pub fn create_api_key(
    app_slug: impl Into<String>,
    request: CreateApiKeyRequest,
) -> CreateApiKeyBuilder {
    calls().create_api_key(app_slug, request)
}

/// [`ApiKeys::revoke_api_key`] of [the process's client](crate::init).
pub fn revoke_api_key(
    app_slug: impl Into<String>,
    key_id: impl Into<KeyId>,
    request: RevokeApiKeyRequest,
) -> RevokeApiKeyBuilder {
    calls().revoke_api_key(app_slug, key_id, request)
}

/// [`ApiKeys::rotate_api_key`] of [the process's client](crate::init).
pub fn rotate_api_key(
    app_slug: impl Into<String>,
    key_id: impl Into<KeyId>,
) -> RotateApiKeyBuilder {
    calls().rotate_api_key(app_slug, key_id)
}

/// [`ApiKeys::list_rate_limit_schemes`] of [the process's client](crate::init).
pub fn list_rate_limit_schemes() -> ListRateLimitSchemesBuilder {
    calls().list_rate_limit_schemes()
}

/// [`ApiKeys::get_rate_limit_scheme`] of [the process's client](crate::init).
pub fn get_rate_limit_scheme(slug: impl Into<String>) -> GetRateLimitSchemeBuilder {
    calls().get_rate_limit_scheme(slug)
}

/// [`ApiKeys::create_rate_limit_scheme`] of [the process's client](crate::init).
pub fn create_rate_limit_scheme<R: Into<RateLimitRule>>(
    request: CreateRateLimitSchemeRequest<R>,
) -> CreateRateLimitSchemeBuilder {
    calls().create_rate_limit_scheme(request)
}

/// [`ApiKeys::update_rate_limit_scheme`] of [the process's client](crate::init).
pub fn update_rate_limit_scheme(
    slug: impl Into<String>,
    request: UpdateRateLimitSchemeRequest,
) -> UpdateRateLimitSchemeBuilder {
    calls().update_rate_limit_scheme(slug, request)
}

/// [`ApiKeys::delete_rate_limit_scheme`] of [the process's client](crate::init).
pub fn delete_rate_limit_scheme(slug: impl Into<String>) -> DeleteRateLimitSchemeBuilder {
    calls().delete_rate_limit_scheme(slug)
}

/// [`ApiKeys::get_api_audit_logs`] of [the process's client](crate::init).
pub fn get_api_audit_logs(
    app_slug: impl Into<String>,
    query: ListApiAuditLogsQuery,
) -> GetApiAuditLogsBuilder {
    calls().get_api_audit_logs(app_slug, query)
}

/// [`ApiKeys::get_api_audit_analytics`] of [the process's client](crate::init).
pub fn get_api_audit_analytics(
    app_slug: impl Into<String>,
    query: GetApiAuditAnalyticsQuery,
) -> GetApiAuditAnalyticsBuilder {
    calls().get_api_audit_analytics(app_slug, query)
}

/// [`ApiKeys::get_api_audit_timeseries`] of [the process's client](crate::init).
pub fn get_api_audit_timeseries(
    app_slug: impl Into<String>,
    query: GetApiAuditTimeseriesQuery,
) -> GetApiAuditTimeseriesBuilder {
    calls().get_api_audit_timeseries(app_slug, query)
}
