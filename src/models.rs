//! Every request and answer type of [`crate::api`] on one shelf.

pub use crate::api::Page;
pub use crate::api::api_keys::{ApiAuthApp, KeyId};
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
pub use crate::api::rate_limit_schemes::{RateLimit, RateLimitMode, RateLimitRule, RateLimitUnit};
