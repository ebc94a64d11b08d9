//! Every request and answer type of [`crate::api`] on one shelf.

pub use crate::api::Page;
pub use crate::api::api_keys::{
    ApiAuthApp, ApiKey, ApiKeyWithSecret, CreateApiAuthAppRequest, CreateApiKeyRequest, KeyId,
    RevokeApiKeyRequest, UpdateApiAuthAppRequest,
};
pub use crate::api::audit::{
    ApiAuditAnalytics, ApiAuditLogsPage, ApiAuditTimeseries, AuditBlockedReason, AuditInterval,
    AuditLog, AuditOutcome, AuditRateLimitStats, AuditRuleHits, AuditTimeseriesPoint, AuditTopKey,
    AuditTopPath, GetApiAuditAnalyticsQuery, GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery,
};
pub use crate::api::gateway::{
    CheckIdentity, CheckRateLimit, CheckRequest, CheckResponse, DenyReason,
};
pub use crate::api::oauth::{
    CreateOAuthAppRequest, CreateOAuthClientRequest, Logo, OAuthAccessTokenFormat, OAuthApp,
    OAuthClient, OAuthClientAuthMethod, OAuthClientWithSecret, OAuthDomainVerificationResponse,
    OAuthGrant, OAuthGrantStatus, OAuthGrantType, OAuthScopeCategory, OAuthScopeDefinition,
    RecordId, RotateOAuthClientSecretResponse, SetOAuthScopeMappingRequest, UpdateOAuthAppRequest,
    UpdateOAuthClientRequest, UpdateOAuthScopeRequest,
};
pub use crate::api::rate_limit_schemes::{
    CreateRateLimitSchemeRequest, RateLimit, RateLimitMode, RateLimitRule, RateLimitScheme,
    RateLimitUnit, UpdateRateLimitSchemeRequest,
};
