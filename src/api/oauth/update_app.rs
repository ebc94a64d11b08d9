//! Changing an OAuth app without losing what its scopes mean.

use serde::Deserialize;
use serde_json::Value;

use super::answer::answer;
use super::app_requests::{Definitions, WireUpdate};
use super::{OAuth, OAuthApp, UpdateOAuthAppRequest, check};
use crate::api::nullable::or_empty;
use crate::api::{Call, Page};
use crate::client::{Error, Result, WachtClient};

/// Changes an OAuth app; made by [`OAuth::update_oauth_app`].
///
/// # Scope definitions
///
/// Wacht rewrites the definitions of *all* scopes at every update: what the request does not
/// define loses its words, its category and its permissions, even when only the name of the app
/// changes. Without [`scope_definitions`](UpdateOAuthAppRequest::scope_definitions) this call
/// therefore fetches the app first and sends the definitions of all scopes that stay back as
/// they are. What somebody else changes about them between these two calls is lost.
///
/// With `Some` definitions these are sent as given, and nothing is fetched.
///
/// ```
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::models::{CreateOAuthAppRequest, UpdateOAuthAppRequest};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// # let request = CreateOAuthAppRequest {
/// #     slug: "acme-oauth".to_owned(),
/// #     name: "Acme".to_owned(),
/// #     ..Default::default()
/// # };
/// # client.oauth().create_oauth_app(request).send().await?;
/// let off = UpdateOAuthAppRequest { is_active: Some(false), ..Default::default() };
/// let call = client.oauth().update_oauth_app("acme-oauth", off);
/// wacht.journal().clear();
/// assert!(!call.clone().send().await?.is_active);
/// assert_eq!(wacht.journal().management_calls(), 2, "the app is fetched first");
///
/// wacht.journal().clear();
/// call.reset_scope_definitions().send().await?;
/// assert_eq!(wacht.journal().management_calls(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UpdateOAuthAppBuilder {
    client: WachtClient,
    app_slug: String,
    request: UpdateOAuthAppRequest,
    reset: bool,
    unchecked: bool,
}

impl OAuth {
    /// Changes an OAuth app. Its slug, its domain and its picture stay what they are.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::{
    ///     CreateOAuthAppRequest, UpdateOAuthAppRequest, UpdateOAuthScopeRequest,
    /// };
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let gateway = DevGateway::start().await;
    /// # let client = gateway.client();
    /// # let new = CreateOAuthAppRequest {
    /// #     slug: "acme-oauth".to_owned(),
    /// #     name: "Acme".to_owned(),
    /// #     supported_scopes: Some(vec!["orders:read".to_owned()]),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().create_oauth_app(new).send().await?;
    /// # let words = UpdateOAuthScopeRequest {
    /// #     display_name: Some("Read your orders".to_owned()),
    /// #     ..Default::default()
    /// # };
    /// # client.oauth().update_oauth_scope("acme-oauth", "orders:read", words).send().await?;
    /// let rename = UpdateOAuthAppRequest {
    ///     name: Some("Acme v2".to_owned()),
    ///     ..Default::default()
    /// };
    /// let app = client.oauth().update_oauth_app("acme-oauth", rename).send().await?;
    /// assert_eq!(app.scope_definitions[0].display_name, "Read your orders", "as before");
    /// # Ok::<_, wacht_auth::Error>(())
    /// # })
    /// # .unwrap();
    /// ```
    pub fn update_oauth_app(
        &self,
        app_slug: impl Into<String>,
        request: UpdateOAuthAppRequest,
    ) -> UpdateOAuthAppBuilder {
        UpdateOAuthAppBuilder {
            client: self.client.clone(),
            app_slug: app_slug.into(),
            request,
            reset: false,
            unchecked: false,
        }
    }
}

impl UpdateOAuthAppBuilder {
    /// Lets Wacht make the definitions of all scopes up anew, instead of sending back what they
    /// are. Saves a call, and has no effect when the request has definitions.
    pub fn reset_scope_definitions(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Sends the call as it is, also against the rules this version knows.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Changes the app and gives it as it is then.
    ///
    /// # Errors
    ///
    /// As for [`CreateOAuthAppBuilder::send`](super::CreateOAuthAppBuilder::send); an unknown
    /// app [is not found](Error::is_not_found). Nothing was changed if fetching the current
    /// definitions failed.
    pub async fn send(self) -> Result<OAuthApp> {
        let request = &self.request;
        if !self.unchecked {
            check::update_app(request)?;
        }
        let scope_definitions = match &request.scope_definitions {
            Some(given) => Some(Definitions::Given(given)),
            None if self.reset => None,
            None => self.current().await?.map(Definitions::Current),
        };
        let body = WireUpdate {
            name: request.name.as_deref(),
            description: request.description.as_deref(),
            supported_scopes: request.supported_scopes.as_deref(),
            scope_definitions,
            allow_dynamic_client_registration: request.allow_dynamic_client_registration,
            is_active: request.is_active,
        };
        let call = Call::patch(&self.client, &["oauth", "apps", &self.app_slug]).json(&body);
        answer(call, "an OAuth app").await
    }

    /// The definitions of the scopes that stay; `None` if there is no such app, which the update
    /// itself will say.
    async fn current(&self) -> Result<Option<Vec<Value>>> {
        // The slug is to be refused before anything is sent.
        crate::client::path(&[&self.app_slug])?;
        // There is no call for a single app.
        let apps: Page<Described> = Call::get(&self.client, &["oauth", "apps"])
            .page("a list of OAuth apps", &["apps"])
            .await?;
        let Some(app) = apps.items.into_iter().find(|app| app.slug == self.app_slug) else {
            if apps.has_more {
                return Err(Error::InvalidRequest(format!(
                    "the current scope definitions of {:?} could not be found: give all of them, \
                     or reset them",
                    self.app_slug
                )));
            }
            return Ok(None);
        };
        let mut definitions = app.scope_definitions;
        if let Some(supported) = &self.request.supported_scopes {
            definitions.retain(|definition| {
                let scope = definition.get("scope").and_then(Value::as_str);
                supported.iter().any(|stays| Some(stays.trim()) == scope)
            });
        }
        Ok(Some(definitions))
    }
}

/// As much of an app as is needed to send its definitions back.
#[derive(Deserialize)]
struct Described {
    slug: String,
    #[serde(default, deserialize_with = "or_empty")]
    scope_definitions: Vec<Value>,
}
