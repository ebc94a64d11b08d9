//! The calls about scopes.

use super::answer::answer;
use super::{OAuth, OAuthApp, SetOAuthScopeMappingRequest, UpdateOAuthScopeRequest, check};
use crate::api::Call;
use crate::client::{Result, WachtClient};

/// Changes the words of a scope; made by [`OAuth::update_oauth_scope`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UpdateOAuthScopeBuilder {
    of: ScopeOf,
    request: UpdateOAuthScopeRequest,
}

/// Takes a scope out of use; made by [`OAuth::archive_oauth_scope`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ArchiveOAuthScopeBuilder {
    of: ScopeOf,
}

/// Takes a scope back into use; made by [`OAuth::unarchive_oauth_scope`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UnarchiveOAuthScopeBuilder {
    of: ScopeOf,
}

/// Says what a scope allows; made by [`OAuth::set_oauth_scope_mapping`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct SetOAuthScopeMappingBuilder {
    of: ScopeOf,
    request: SetOAuthScopeMappingRequest,
    unchecked: bool,
}

#[derive(Clone, Debug)]
struct ScopeOf {
    client: WachtClient,
    app_slug: String,
    scope: String,
}

impl OAuth {
    /// Changes the words in which a scope is put to users.
    ///
    /// ```
    /// use wacht_auth::models::{CreateOAuthAppRequest, UpdateOAuthScopeRequest};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     supported_scopes: Some(vec!["orders:read".to_owned()]),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let words = UpdateOAuthScopeRequest {
    ///     description: Some("See what you ordered, and when".to_owned()),
    ///     ..Default::default()
    /// };
    /// let oauth = client.oauth();
    /// let app = oauth.update_oauth_scope("acme-oauth", "orders:read", words).send().await?;
    /// assert_eq!(app.scope_definitions[0].description, "See what you ordered, and when");
    /// # Ok(()) }
    /// ```
    pub fn update_oauth_scope(
        &self,
        app_slug: impl Into<String>,
        scope: impl Into<String>,
        request: UpdateOAuthScopeRequest,
    ) -> UpdateOAuthScopeBuilder {
        UpdateOAuthScopeBuilder {
            of: self.scope_of(app_slug, scope),
            request,
        }
    }

    /// Takes a scope out of use. Doing so twice is fine.
    ///
    /// ```
    /// use wacht_auth::models::CreateOAuthAppRequest;
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     supported_scopes: Some(vec!["orders:read".to_owned()]),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let oauth = client.oauth();
    /// let app = oauth.archive_oauth_scope("acme-oauth", "orders:read").send().await?;
    /// assert!(app.scope_definitions[0].archived);
    ///
    /// let app = oauth.unarchive_oauth_scope("acme-oauth", "orders:read").send().await?;
    /// assert!(!app.scope_definitions[0].archived);
    /// # Ok(()) }
    /// ```
    pub fn archive_oauth_scope(
        &self,
        app_slug: impl Into<String>,
        scope: impl Into<String>,
    ) -> ArchiveOAuthScopeBuilder {
        ArchiveOAuthScopeBuilder {
            of: self.scope_of(app_slug, scope),
        }
    }

    /// Takes a scope back into use. Doing so twice is fine.
    pub fn unarchive_oauth_scope(
        &self,
        app_slug: impl Into<String>,
        scope: impl Into<String>,
    ) -> UnarchiveOAuthScopeBuilder {
        UnarchiveOAuthScopeBuilder {
            of: self.scope_of(app_slug, scope),
        }
    }

    /// Says what a scope is about and which permission it gives there.
    ///
    /// Once set, neither can be set to anything else by this call: Wacht answers 400, also when
    /// a later call leaves a permission out.
    ///
    /// ```
    /// use wacht_auth::models::{
    ///     CreateOAuthAppRequest, OAuthScopeCategory, SetOAuthScopeMappingRequest,
    /// };
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let request = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     supported_scopes: Some(vec!["orders:read".to_owned()]),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let mapping = SetOAuthScopeMappingRequest {
    ///     category: OAuthScopeCategory::Organization,
    ///     organization_permission: Some("organization:orders:view".to_owned()),
    ///     ..Default::default()
    /// };
    /// let call = client.oauth().set_oauth_scope_mapping("acme-oauth", "orders:read", mapping);
    /// let app = call.send().await?;
    /// assert_eq!(app.scope_definitions[0].category, OAuthScopeCategory::Organization);
    /// # Ok(()) }
    /// ```
    pub fn set_oauth_scope_mapping(
        &self,
        app_slug: impl Into<String>,
        scope: impl Into<String>,
        request: SetOAuthScopeMappingRequest,
    ) -> SetOAuthScopeMappingBuilder {
        SetOAuthScopeMappingBuilder {
            of: self.scope_of(app_slug, scope),
            request,
            unchecked: false,
        }
    }

    fn scope_of(&self, app_slug: impl Into<String>, scope: impl Into<String>) -> ScopeOf {
        ScopeOf {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            scope: scope.into(),
        }
    }
}

impl ScopeOf {
    async fn post(self, verb: &str) -> Result<OAuthApp> {
        let segments = ["oauth", "apps", &self.app_slug, "scopes", &self.scope, verb];
        answer(Call::post(&self.client, &segments), "an OAuth app").await
    }
}

// === impl UpdateOAuthScopeBuilder ===

impl UpdateOAuthScopeBuilder {
    /// Changes the scope and gives the app as it is then.
    ///
    /// # Errors
    ///
    /// [`Error::Api`](crate::Error::Api) if Wacht refuses; an unknown app or scope
    /// [is not found](crate::Error::is_not_found).
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a slug or scope that is empty,
    /// `.` or `..`, [`Error::Decode`](crate::Error::Decode) if the answer is not understood,
    /// [`Error::Request`](crate::Error::Request) if there is none, and
    /// [`Error::Config`](crate::Error::Config) if the client cannot be used.
    pub async fn send(self) -> Result<OAuthApp> {
        let Self { of, request } = self;
        let segments = ["oauth", "apps", &of.app_slug, "scopes", &of.scope];
        let call = Call::patch(&of.client, &segments).json(&request);
        answer(call, "an OAuth app").await
    }
}

// === impl ArchiveOAuthScopeBuilder ===

impl ArchiveOAuthScopeBuilder {
    /// Archives the scope and gives the app as it is then.
    ///
    /// # Errors
    ///
    /// As for [`UpdateOAuthScopeBuilder::send`].
    pub async fn send(self) -> Result<OAuthApp> {
        self.of.post("archive").await
    }
}

// === impl UnarchiveOAuthScopeBuilder ===

impl UnarchiveOAuthScopeBuilder {
    /// Takes the scope back into use and gives the app as it is then.
    ///
    /// # Errors
    ///
    /// As for [`UpdateOAuthScopeBuilder::send`].
    pub async fn send(self) -> Result<OAuthApp> {
        self.of.post("unarchive").await
    }
}

// === impl SetOAuthScopeMappingBuilder ===

impl SetOAuthScopeMappingBuilder {
    /// Sends the call as it is, also against the rules this version knows.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Sets the mapping and gives the app as it is then.
    ///
    /// # Errors
    ///
    /// As for [`UpdateOAuthScopeBuilder::send`];
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) also for a category that is
    /// unknown or not set, and for a permission that does not go with it.
    pub async fn send(self) -> Result<OAuthApp> {
        let Self {
            of,
            request,
            unchecked,
        } = self;
        if !unchecked {
            check::mapping(&request)?;
        }
        let app = &of.app_slug;
        let segments = ["oauth", "apps", app, "scopes", &of.scope, "mapping"];
        let call = Call::post(&of.client, &segments).json(&request);
        answer(call, "an OAuth app").await
    }
}
