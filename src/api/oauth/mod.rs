//! OAuth apps, their scopes and clients, and what users granted to these.
//!
//! An OAuth app is what third parties sign users in with; its clients are those third parties,
//! and a grant is what one user allows one of them. Access tokens of a grant are what
//! [`WachtAuthLayer::accept_oauth_tokens`](crate::WachtAuthLayer::accept_oauth_tokens) lets in.

mod answer;
mod app;
mod app_requests;
mod apps;
mod check;
mod client;
mod client_requests;
mod clients;
mod grant;
mod grants;
mod handle;
mod logo;
mod record_id;
mod scope;
mod scopes;
mod update_app;
mod words;

pub use self::app::{OAuthApp, OAuthDomainVerificationResponse};
pub use self::app_requests::{CreateOAuthAppRequest, UpdateOAuthAppRequest};
pub use self::apps::{CreateOAuthAppBuilder, ListOAuthAppsBuilder, VerifyOAuthAppDomainBuilder};
pub use self::client::{OAuthClient, OAuthClientWithSecret, RotateOAuthClientSecretResponse};
pub use self::client_requests::{CreateOAuthClientRequest, UpdateOAuthClientRequest};
pub use self::clients::{
    CreateOAuthClientBuilder, DeactivateOAuthClientBuilder, ListOAuthClientsBuilder,
    RotateOAuthClientSecretBuilder, UpdateOAuthClientBuilder,
};
pub use self::grant::OAuthGrant;
pub use self::grants::{ListOAuthGrantsBuilder, RevokeOAuthGrantBuilder};
pub use self::handle::OAuth;
pub use self::logo::Logo;
pub use self::record_id::RecordId;
pub use self::scope::{OAuthScopeDefinition, SetOAuthScopeMappingRequest, UpdateOAuthScopeRequest};
pub use self::scopes::{
    ArchiveOAuthScopeBuilder, SetOAuthScopeMappingBuilder, UnarchiveOAuthScopeBuilder,
    UpdateOAuthScopeBuilder,
};
pub use self::update_app::UpdateOAuthAppBuilder;
pub use self::words::{
    OAuthAccessTokenFormat, OAuthClientAuthMethod, OAuthGrantStatus, OAuthGrantType,
    OAuthScopeCategory,
};
