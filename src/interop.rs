//! Beside the SDK, the crate `wacht`: its configuration makes our client, and what is known of a
//! caller comes in its types.
//!
//! For services that use the SDK already. It stays for whatever this crate has no calls for, such
//! as users and organizations; its types are those of `wacht` 0.1.0-beta.9.
//!
//! # The client
//!
//! One line changes. Before:
//!
//! ```
//! let config = wacht::WachtConfig::new("wk_live_...", "https://your-frontend.example");
//! let client = wacht::WachtClient::new(config)?;
//! # Ok::<(), wacht::Error>(())
//! ```
//!
//! After, with the calls of this crate and fit for a gate:
//!
//! ```
//! let config = wacht::WachtConfig::new("wk_live_...", "https://your-frontend.example");
//! let client = wacht_auth::WachtClient::try_from(&config)?;
//! # Ok::<(), wacht_auth::Error>(())
//! ```
//!
//! A client of the SDK lends its configuration: `WachtClient::try_from(sdk_client.config())`. Where
//! the SDK had `wacht::init(config)` for its free functions, there is
//! [`wacht_auth::init(client)`](crate::init) for ours. What the configuration cannot say is said in
//! between, to a [`WachtClientBuilder`]:
//!
//! ```
//! use wacht_auth::client::WachtClientBuilder;
//!
//! let config = wacht::WachtConfig::new("wk_live_...", "https://your-frontend.example");
//! let client = WachtClientBuilder::from(&config)
//!     .gateway_url("http://127.0.0.1:3002")
//!     .build()?;
//! # Ok::<(), wacht_auth::Error>(())
//! ```
//!
//! | of `WachtConfig` | becomes |
//! |---|---|
//! | `auth.token` | the management key |
//! | `base_url` | [`api_url`](WachtClientBuilder::api_url); `http://` to other hosts needs [`allow_plaintext`](WachtClientBuilder::allow_plaintext) |
//! | `timeout` | [`timeout`](WachtClientBuilder::timeout), 30 s unless it was set |
//! | `user_agent` | [`user_agent`](WachtClientBuilder::user_agent), if it is not the SDK's own |
//! | `frontend_url`, the signing keys | nothing: they are about users' sessions |
//!
//! # A check by hand
//!
//! [`Gateway::check_authz_with_principal_type`] takes and gives the SDK's types, so with the
//! client replaced such a call stays as it is. Two things are better here: the gateway's address
//! can be set, and the type of the principal is the one that was asked about. The SDK reads it
//! from the key's metadata, which whoever makes keys chooses.
//!
//! A gate makes the check by hand superfluous. Code further in that takes the SDK's types gets
//! them from the [`Principal`]:
//!
#![cfg_attr(all(feature = "axum", feature = "test-util"), doc = "```")]
#![cfg_attr(not(all(feature = "axum", feature = "test-util")), doc = "```ignore")]
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use http_body_util::BodyExt;
//! use tower::ServiceExt;
//! use wacht::gateway::ResolvedGatewayPrincipalContext;
//! use wacht_auth::dev::DevGateway;
//! use wacht_auth::{Principal, WachtAuthLayer};
//!
//! /// Was written for the SDK, and stays as it is.
//! fn describe(caller: &ResolvedGatewayPrincipalContext) -> String {
//!     format!("{} of {}", caller.identity.key_name, caller.identity.app_slug)
//! }
//!
//! async fn hello(caller: Principal) -> String {
//!     describe(&ResolvedGatewayPrincipalContext::from(&caller))
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wacht = DevGateway::start().await;
//! let app = Router::new()
//!     .route("/hello", get(hello))
//!     .layer(WachtAuthLayer::new(wacht.client()).app("shop"));
//!
//! let key = wacht.issue_key("shop").name("ci").issue();
//! let bearer = format!("Bearer {}", key.secret());
//! let request = Request::get("/hello").header("authorization", bearer);
//! let answer = app.oneshot(request.body(Body::empty())?).await?;
//! assert_eq!(answer.into_body().collect().await?.to_bytes(), "ci of shop");
//! # Ok(()) }
//! ```

use std::net::IpAddr;

use ::wacht::WachtConfig;
use ::wacht::gateway::{
    AuthzRateLimitState, GatewayAuthzOptions, GatewayCheckResponse, GatewayDenyReason,
    GatewayPrincipalIdentity, GatewayPrincipalType, ResolvedGatewayPrincipalContext,
};

use crate::api::gateway::{CheckRateLimit, CheckRequest, CheckResponse, DenyReason, Gateway};
use crate::client::{Error, Result, WachtClient, WachtClientBuilder};
use crate::gate::{Principal, PrincipalKind};

// === the client ===

/// The settings of the SDK's client, under the names they have here: see [`interop`](self).
impl From<&WachtConfig> for WachtClientBuilder {
    fn from(config: &WachtConfig) -> Self {
        let builder = WachtClient::builder(&config.auth.token)
            .api_url(&config.base_url)
            .timeout(config.timeout);
        // Wacht should not take this client for the SDK, nor its mistakes for the SDK's.
        if config.user_agent == WachtConfig::new("", "").user_agent {
            builder
        } else {
            builder.user_agent(&config.user_agent)
        }
    }
}

/// A client with the settings of the SDK's: see [`interop`](self).
///
/// The error is that of [`WachtClientBuilder::build`].
impl TryFrom<&WachtConfig> for WachtClient {
    type Error = Error;

    fn try_from(config: &WachtConfig) -> Result<Self> {
        WachtClientBuilder::from(config).build()
    }
}

// === a check by hand ===

impl Gateway {
    /// Asks the gateway about a key, in the SDK's types.
    ///
    #[cfg_attr(feature = "test-util", doc = "```")]
    #[cfg_attr(not(feature = "test-util"), doc = "```ignore")]
    /// use wacht::gateway::{GatewayAuthzOptions, GatewayPrincipalType};
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> wacht_auth::Result<()> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("shop").name("ci").issue();
    ///
    /// let kind = GatewayPrincipalType::ApiKey;
    /// let options = GatewayAuthzOptions::default();
    /// let answer = wacht
    ///     .client()
    ///     .gateway()
    ///     .check_authz_with_principal_type(kind, key.secret(), "GET", "/orders", options)
    ///     .await?;
    /// assert!(answer.allowed);
    /// assert_eq!(answer.key_name, "ci");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`CheckBuilder::send`](crate::api::gateway::CheckBuilder::send).
    /// [`Error::InvalidRequest`] when `client_ip` is no address, and when the answer is one that
    /// [`CheckResponse::into_sdk`] cannot say in the SDK's types.
    pub async fn check_authz_with_principal_type(
        &self,
        principal_type: GatewayPrincipalType,
        principal_value: &str,
        method: &str,
        resource: &str,
        options: GatewayAuthzOptions,
    ) -> Result<GatewayCheckResponse> {
        let mut request = match principal_type {
            GatewayPrincipalType::ApiKey => CheckRequest::api_key(principal_value),
            GatewayPrincipalType::OauthAccessToken => {
                CheckRequest::oauth_access_token(principal_value)
            }
        };
        request = request.method(method).resource(resource);
        if let Some(address) = options.client_ip {
            let address: IpAddr = address
                .parse()
                .map_err(|_| Error::InvalidRequest("client_ip is no IP address".to_owned()))?;
            request = request.client_ip(address);
        }
        if let Some(user_agent) = options.user_agent {
            request = request.user_agent(user_agent);
        }
        if let Some(permissions) = options.required_permissions {
            request = request.required_permissions(permissions);
        }
        self.check(request).send().await?.into_sdk(principal_type)
    }
}

impl CheckResponse {
    /// The answer in the SDK's type, for code that reads its fields.
    ///
    /// `principal_type` is what was asked about; the answer itself does not say it. `retry_after`
    /// is in milliseconds there. Numbers that do not fit their 32 bits become the nearest that
    /// do.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`], as the SDK has it, when the answer names nobody, and when its
    /// reason is one that the SDK has no word for.
    pub fn into_sdk(self, principal_type: GatewayPrincipalType) -> Result<GatewayCheckResponse> {
        let no_word = |what: &str| Error::InvalidRequest(format!("the gateway's answer {what}"));
        let identity = self.identity.ok_or_else(|| no_word("names nobody"))?;
        let reason = match self.reason {
            None => None,
            Some(DenyReason::PermissionDenied) => Some(GatewayDenyReason::PermissionDenied),
            Some(DenyReason::RateLimited) => Some(GatewayDenyReason::RateLimited),
            Some(DenyReason::Other(_)) => return Err(no_word("has a reason new to the SDK")),
        };
        Ok(GatewayCheckResponse {
            request_id: self.request_id,
            allowed: self.allowed,
            reason,
            blocked_rule: self.blocked_rule,
            principal_type,
            key_id: identity.key_id,
            deployment_id: identity.deployment_id,
            app_slug: identity.app_slug,
            key_name: identity.key_name,
            owner_user_id: identity.owner_user_id,
            permissions: self.permissions,
            metadata: self.metadata,
            organization_id: identity.organization_id,
            workspace_id: identity.workspace_id,
            organization_membership_id: identity.organization_membership_id,
            workspace_membership_id: identity.workspace_membership_id,
            rate_limits: self.rate_limits.into_iter().map(Into::into).collect(),
            retry_after: self
                .retry_after
                .map(|window| u32::try_from(window.as_millis()).unwrap_or(u32::MAX)),
            headers: self.headers.into_iter().collect(),
        })
    }
}

impl From<CheckRateLimit> for AuthzRateLimitState {
    fn from(state: CheckRateLimit) -> Self {
        let narrow = |count: i64| {
            let nearest = count.clamp(i32::MIN.into(), i32::MAX.into());
            i32::try_from(nearest).unwrap_or_default()
        };
        Self {
            rule: state.rule,
            remaining: narrow(state.remaining),
            limit: narrow(state.limit),
        }
    }
}

// === the caller ===

impl From<PrincipalKind> for GatewayPrincipalType {
    fn from(kind: PrincipalKind) -> Self {
        match kind {
            PrincipalKind::ApiKey => Self::ApiKey,
            PrincipalKind::OauthAccessToken => Self::OauthAccessToken,
        }
    }
}

impl From<&Principal> for GatewayPrincipalIdentity {
    fn from(caller: &Principal) -> Self {
        Self {
            principal_type: caller.kind().into(),
            key_id: caller.key_id(),
            deployment_id: caller.deployment_id(),
            app_slug: caller.app_slug().to_owned(),
            key_name: caller.key_name().to_owned(),
            owner_user_id: caller.owner_user_id(),
            organization_id: caller.organization_id(),
            workspace_id: caller.workspace_id(),
            organization_membership_id: caller.organization_membership_id(),
            workspace_membership_id: caller.workspace_membership_id(),
        }
    }
}

/// Scopes, resources and an end are those of an access token. An API key has none, whatever its
/// metadata says; the metadata itself stands in `metadata.raw`.
impl From<&Principal> for ResolvedGatewayPrincipalContext {
    fn from(caller: &Principal) -> Self {
        let identity = GatewayPrincipalIdentity::from(caller);
        let answer = GatewayCheckResponse {
            request_id: String::new(),
            allowed: true,
            reason: None,
            blocked_rule: None,
            principal_type: identity.principal_type,
            key_id: identity.key_id,
            deployment_id: identity.deployment_id,
            app_slug: identity.app_slug,
            key_name: identity.key_name,
            owner_user_id: identity.owner_user_id,
            permissions: caller.permissions().iter().map(str::to_owned).collect(),
            metadata: caller.metadata().clone(),
            organization_id: identity.organization_id,
            workspace_id: identity.workspace_id,
            organization_membership_id: identity.organization_membership_id,
            workspace_membership_id: identity.workspace_membership_id,
            rate_limits: Vec::new(),
            retry_after: None,
            headers: [].into(),
        };
        // The SDK knows best what belongs where in its type.
        let mut context = answer.resolve_principal_context();
        if caller.kind() == PrincipalKind::ApiKey {
            let metadata = &mut context.metadata;
            metadata.scopes.clear();
            metadata.oauth_resource = None;
            metadata.granted_resource = None;
            metadata.expires_at = None;
        }
        context
    }
}
