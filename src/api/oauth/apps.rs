//! The calls about OAuth apps: what third parties sign users in with.

use super::answer::answer;
use super::{CreateOAuthAppRequest, Logo, OAuth, OAuthApp, OAuthDomainVerificationResponse, check};
use crate::api::Call;
use crate::client::{Error, Form, Result, WachtClient};

/// Lists OAuth apps; made by [`OAuth::list_oauth_apps`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListOAuthAppsBuilder {
    client: WachtClient,
}

/// Makes an OAuth app; made by [`OAuth::create_oauth_app`].
///
/// ```
/// use wacht_auth::models::{CreateOAuthAppRequest, Logo};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # let png: &'static [u8] = b"\x89PNG\r\n\x1a\n";
/// let request = CreateOAuthAppRequest {
///     slug: "acme-oauth".to_owned(),
///     name: "Acme".to_owned(),
///     ..Default::default()
/// };
/// let call = client.oauth().create_oauth_app(request);
/// let app = call.logo(Logo::new(png, "image/png")).send().await?;
/// assert!(app.logo_url.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CreateOAuthAppBuilder {
    client: WachtClient,
    request: CreateOAuthAppRequest,
    fqdn: Option<String>,
    logo: Option<Logo>,
    unchecked: bool,
}

/// Looks at the domain of an OAuth app; made by [`OAuth::verify_oauth_app_domain`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct VerifyOAuthAppDomainBuilder {
    client: WachtClient,
    app_slug: String,
}

impl OAuth {
    /// Lists the OAuth apps of the deployment, the newest first, inactive ones included.
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
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let apps = client.oauth().list_oauth_apps().send().await?;
    /// assert_eq!(apps[0].slug, "acme-oauth");
    /// # Ok(()) }
    /// ```
    pub fn list_oauth_apps(&self) -> ListOAuthAppsBuilder {
        ListOAuthAppsBuilder {
            client: self.client.clone(),
        }
    }

    /// Makes an OAuth app.
    ///
    /// ```
    /// use wacht_auth::models::{CreateOAuthAppRequest, OAuthScopeCategory, OAuthScopeDefinition};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// let request = CreateOAuthAppRequest {
    ///     slug: "acme-oauth".to_owned(),
    ///     name: "Acme".to_owned(),
    ///     supported_scopes: Some(vec!["orders:read".to_owned()]),
    ///     scope_definitions: Some(vec![OAuthScopeDefinition {
    ///         scope: "orders:read".to_owned(),
    ///         display_name: "Read your orders".to_owned(),
    ///         category: OAuthScopeCategory::Personal,
    ///         ..Default::default()
    ///     }]),
    ///     ..Default::default()
    /// };
    /// let app = client.oauth().create_oauth_app(request).send().await?;
    /// assert_eq!(app.scope_definitions[0].display_name, "Read your orders");
    /// # Ok(()) }
    /// ```
    pub fn create_oauth_app(&self, request: CreateOAuthAppRequest) -> CreateOAuthAppBuilder {
        CreateOAuthAppBuilder {
            client: self.client.clone(),
            request,
            fqdn: None,
            logo: None,
            unchecked: false,
        }
    }

    /// Has Wacht look whether the domain of an OAuth app points to it.
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
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(request).send().await?;
    /// let domain = client.oauth().verify_oauth_app_domain("acme-oauth").send().await?;
    /// if !domain.verified {
    ///     println!("{} needs a CNAME record: {}", domain.domain, domain.cname_target);
    /// }
    /// # assert!(!domain.verified && !domain.cname_target.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn verify_oauth_app_domain(
        &self,
        app_slug: impl Into<String>,
    ) -> VerifyOAuthAppDomainBuilder {
        VerifyOAuthAppDomainBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
        }
    }
}

// === impl ListOAuthAppsBuilder ===

impl ListOAuthAppsBuilder {
    /// Fetches all apps.
    ///
    /// # Errors
    ///
    /// [`Error::Api`] if Wacht refuses, [`Error::Decode`] if its answer is not understood or
    /// longer than 4 MiB, [`Error::Request`] if there is none, and [`Error::Config`] if the
    /// client cannot be used.
    pub async fn send(self) -> Result<Vec<OAuthApp>> {
        Call::get(&self.client, &["oauth", "apps"])
            .page("a list of OAuth apps", &["apps"])
            .await
            .map(|page| page.items)
    }
}

// === impl CreateOAuthAppBuilder ===

impl CreateOAuthAppBuilder {
    /// Sets the domain on which users sign in. Production deployments need one; others are given
    /// one, whatever is set here.
    pub fn fqdn(mut self, fqdn: impl Into<String>) -> Self {
        self.fqdn = Some(fqdn.into());
        self
    }

    /// Sets the app's picture. It cannot be changed later. Defaults to none.
    pub fn logo(mut self, logo: Logo) -> Self {
        self.logo = Some(logo);
        self
    }

    /// Sends the call as it is, also against the rules this version knows.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Makes the app.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`], with nothing sent, for a blank slug or name, a scope that is
    /// blank or has a comma in it, a definition of a scope that is not supported or with a
    /// permission that does not go with its category, a domain that is none, and a picture Wacht
    /// does not take. [`Error::Api`] if Wacht refuses, [`Error::Decode`] if its answer is not
    /// understood, [`Error::Request`] if there is none, and [`Error::Config`] if the client
    /// cannot be used.
    pub async fn send(self) -> Result<OAuthApp> {
        if !self.unchecked {
            check::create_app(&self.request, self.fqdn.as_deref())?;
            self.logo.as_ref().map_or(Ok(()), Logo::check)?;
        }
        let Self {
            client,
            request,
            fqdn,
            logo,
            unchecked: _,
        } = self;
        let form = form(request, fqdn, logo)?;
        answer(
            Call::post(&client, &["oauth", "apps"]).form(form),
            "an OAuth app",
        )
        .await
    }
}

// === impl VerifyOAuthAppDomainBuilder ===

impl VerifyOAuthAppDomainBuilder {
    /// Looks at the domain. It changes nothing, and may be repeated.
    ///
    /// # Errors
    ///
    /// As for [`ListOAuthAppsBuilder::send`], and [`Error::InvalidRequest`] for a slug that is
    /// empty, `.` or `..`. An unknown app [is not found](Error::is_not_found).
    pub async fn send(self) -> Result<OAuthDomainVerificationResponse> {
        let segments = ["oauth", "apps", &self.app_slug, "verify-domain"];
        let call = Call::post(&self.client, &segments).repeatable();
        answer(call, "what became of a domain").await
    }
}

fn form(request: CreateOAuthAppRequest, fqdn: Option<String>, logo: Option<Logo>) -> Result<Form> {
    let CreateOAuthAppRequest {
        slug,
        name,
        description,
        supported_scopes,
        scope_definitions,
        allow_dynamic_client_registration,
    } = request;
    let definitions = scope_definitions
        .map(|definitions| serde_json::to_string(&definitions))
        .transpose()
        .map_err(|error| {
            Error::InvalidRequest(format!("the scope definitions make no JSON: {error}"))
        })?;
    let mut form = Form::default().text("slug", slug).text("name", name);
    for (name, text) in [
        ("description", description),
        ("fqdn", fqdn),
        (
            "supported_scopes",
            supported_scopes.map(|scopes| scopes.join(",")),
        ),
        ("scope_definitions", definitions),
        (
            "allow_dynamic_client_registration",
            allow_dynamic_client_registration.map(|allow| allow.to_string()),
        ),
    ] {
        if let Some(text) = text {
            form = form.text(name, text);
        }
    }
    if let Some(logo) = logo {
        let (content, file) = logo.into_file();
        form = form.file("logo", content, file);
    }
    Ok(form)
}
