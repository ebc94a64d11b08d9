//! Making, changing and deleting apps.

use serde::Serialize;

use super::ApiAuthApp;
use crate::api::api_auth::ApiKeys;
use crate::api::{Call, check};
use crate::client::events::ManagementEvent;
use crate::client::{Result, WachtClient};

/// An app to be made. What is not in here is set on the [builder](CreateApiAuthAppBuilder).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CreateApiAuthAppRequest {
    /// The app's name in URLs, unique in its deployment; it cannot be changed later.
    pub app_slug: String,
    /// The app's name for people.
    pub name: String,
    /// What keys of the app begin with: at least two characters of visible ASCII.
    pub key_prefix: String,
    /// What the app is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The scheme that limits the app's keys. Without one, and also when there is none of this
    /// name, 1000 requests a minute are admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit_scheme_slug: Option<String>,
}

/// What to change about an app. `None` leaves a member as it is; nothing can be emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateApiAuthAppRequest {
    /// Another name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What keys made from now on begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Another description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether keys of the app are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// The scheme that limits the app's keys from now on, those it has included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit_scheme_slug: Option<String>,
}

/// Makes an app; made by [`ApiKeys::create_api_auth_app`].
///
/// Keys of an app that is attached to a user and an organization speak for both:
///
/// ```
/// use wacht_auth::models::CreateApiAuthAppRequest;
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// let request = CreateApiAuthAppRequest {
///     app_slug: "billing".to_owned(),
///     name: "Billing".to_owned(),
///     key_prefix: "sk_live".to_owned(),
///     ..Default::default()
/// };
/// let call = client.api_keys().create_api_auth_app(request);
/// let app = call.user_id(5001).organization_id(6001).send().await?;
/// assert_eq!((app.user_id, app.organization_id), (Some(5001), Some(6001)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CreateApiAuthAppBuilder {
    client: WachtClient,
    request: CreateApiAuthAppRequest,
    user_id: Option<i64>,
    more: More,
    unchecked: bool,
}

/// Changes an app; made by [`ApiKeys::update_api_auth_app`].
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// wacht.app("billing");
/// let unchanged = Default::default();
/// let call = client.api_keys().update_api_auth_app("billing", unchanged);
/// let app = call.permissions(["invoices:read", "invoices:write"]).send().await?;
/// assert_eq!(app.permissions, ["invoices:read", "invoices:write"]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UpdateApiAuthAppBuilder {
    client: WachtClient,
    app_slug: String,
    request: UpdateApiAuthAppRequest,
    more: More,
    unchecked: bool,
}

/// Deletes an app; made by [`ApiKeys::delete_api_auth_app`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct DeleteApiAuthAppBuilder {
    client: WachtClient,
    app_slug: String,
}

/// What both requests have beside their structs.
#[derive(Clone, Debug, Default, Serialize)]
struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<String>>,
}

impl ApiKeys {
    /// Makes an app, under which keys can then be made.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::CreateApiAuthAppRequest;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let gateway = DevGateway::start().await;
    /// # let client = gateway.client();
    /// let request = CreateApiAuthAppRequest {
    ///     app_slug: "billing".to_owned(),
    ///     name: "Billing".to_owned(),
    ///     key_prefix: "sk_live".to_owned(),
    ///     ..Default::default()
    /// };
    /// let app = client
    ///     .api_keys()
    ///     .create_api_auth_app(request)
    ///     .permissions(["invoices:read"])
    ///     .send()
    ///     .await?;
    /// assert!(app.is_active);
    /// # Ok::<(), wacht_auth::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_api_auth_app(&self, request: CreateApiAuthAppRequest) -> CreateApiAuthAppBuilder {
        CreateApiAuthAppBuilder {
            client: self.client().clone(),
            request,
            user_id: None,
            more: More::default(),
            unchecked: false,
        }
    }

    /// Changes an app. Switching it off refuses its keys, and switching it on again accepts them
    /// again: at once in every gate built on this client or a clone of it, and within a minute at
    /// Wacht's own gateway.
    ///
    /// ```
    /// use wacht_auth::models::UpdateApiAuthAppRequest;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let key = wacht.issue_key("billing").issue();
    /// let gate = WachtAuthLayer::new(client.clone()).app("billing");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/invoices");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    ///
    /// let off = UpdateApiAuthAppRequest { is_active: Some(false), ..Default::default() };
    /// client.api_keys().update_api_auth_app("billing", off).send().await?;
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::InvalidKey);
    /// # Ok(()) }
    /// ```
    pub fn update_api_auth_app(
        &self,
        app_slug: impl Into<String>,
        request: UpdateApiAuthAppRequest,
    ) -> UpdateApiAuthAppBuilder {
        UpdateApiAuthAppBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            request,
            more: More::default(),
            unchecked: false,
        }
    }

    /// Deletes an app for good. Its keys are refused from then on, as by
    /// [`update_api_auth_app`](Self::update_api_auth_app); they can no longer be listed, revoked
    /// or rotated.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.app("billing");
    /// let api_keys = client.api_keys();
    /// api_keys.delete_api_auth_app("billing").send().await?;
    ///
    /// let again = api_keys.delete_api_auth_app("billing").send().await;
    /// assert!(again.unwrap_err().is_not_found());
    /// # Ok(()) }
    /// ```
    pub fn delete_api_auth_app(&self, app_slug: impl Into<String>) -> DeleteApiAuthAppBuilder {
        DeleteApiAuthAppBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
        }
    }
}

// === impl CreateApiAuthAppBuilder ===

impl CreateApiAuthAppBuilder {
    /// Attaches the app to a user, who then owns its keys. Not together with
    /// [`permissions`](Self::permissions) or [`resources`](Self::resources).
    pub fn user_id(mut self, id: i64) -> Self {
        self.user_id = Some(id);
        self
    }

    /// Attaches the app to an organization of its user.
    pub fn organization_id(mut self, id: i64) -> Self {
        self.more.organization_id = Some(id);
        self
    }

    /// Attaches the app to a workspace of its user.
    pub fn workspace_id(mut self, id: i64) -> Self {
        self.more.workspace_id = Some(id);
        self
    }

    /// Notes permissions on the app. The gateway does not look at them: what a key may do is
    /// said where the key is made.
    pub fn permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.more.permissions = Some(collected(permissions));
        self
    }

    /// Notes resources on the app. The gateway does not look at them.
    pub fn resources<I>(mut self, resources: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.more.resources = Some(collected(resources));
        self
    }

    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Makes the app. Sent once.
    ///
    /// ```
    /// use wacht_auth::Error;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::CreateApiAuthAppRequest;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let request = CreateApiAuthAppRequest {
    ///     app_slug: "billing".to_owned(),
    ///     name: "Billing".to_owned(),
    ///     key_prefix: "s".to_owned(), // too short: Wacht would take it and verify none of its keys
    ///     ..Default::default()
    /// };
    /// let answer = client.api_keys().create_api_auth_app(request).send().await;
    /// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
    /// assert_eq!(wacht.journal().management_calls(), 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors).
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest), and nothing is sent, for
    ///
    /// - a slug that is blank, `.`, `..`, longer than 255 bytes, or of the form `aa_<digits>` or
    ///   `oauth_<digits>`, which Wacht uses itself;
    /// - a key prefix under two bytes, or with anything but visible ASCII in it: keys that begin
    ///   so never verify;
    /// - a permission that could not be required by its name: with a comma, a parenthesis, a
    ///   control character or the word `AND` or `OR` in it, or `true` or `false`.
    ///
    /// A slug that is taken is a 409, a plan without API auth apps a 403.
    pub async fn send(self) -> Result<ApiAuthApp> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            request: &'a CreateApiAuthAppRequest,
            #[serde(skip_serializing_if = "Option::is_none")]
            user_id: Option<i64>,
            #[serde(flatten)]
            more: &'a More,
        }

        let request = &self.request;
        if !self.unchecked {
            check::app_slug(&request.app_slug)?;
            check::key_prefix(&request.key_prefix)?;
            self.more.check()?;
        }
        let body = Body {
            request,
            user_id: self.user_id,
            more: &self.more,
        };
        let call = Call::post(&self.client, &["api-auth", "apps"]).json(&body);
        let event = ManagementEvent::OpenApp(request.app_slug.as_str().into());
        let events = self.client.events();
        events
            .announced(event, call.object("an API auth app"))
            .await
    }
}

// === impl UpdateApiAuthAppBuilder ===

impl UpdateApiAuthAppBuilder {
    /// Attaches the app to another organization of its user.
    pub fn organization_id(mut self, id: i64) -> Self {
        self.more.organization_id = Some(id);
        self
    }

    /// Attaches the app to another workspace of its user.
    pub fn workspace_id(mut self, id: i64) -> Self {
        self.more.workspace_id = Some(id);
        self
    }

    /// Replaces the permissions noted on the app. The gateway does not look at them.
    pub fn permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.more.permissions = Some(collected(permissions));
        self
    }

    /// Replaces the resources noted on the app. The gateway does not look at them.
    pub fn resources<I>(mut self, resources: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.more.resources = Some(collected(resources));
        self
    }

    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Changes the app. Sent once.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors), and
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a key prefix or permissions
    /// that [`CreateApiAuthAppBuilder::send`] refuses. An unknown app
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<ApiAuthApp> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            request: &'a UpdateApiAuthAppRequest,
            #[serde(flatten)]
            more: &'a More,
        }

        let (request, slug) = (&self.request, &self.app_slug);
        if !self.unchecked {
            request
                .key_prefix
                .as_deref()
                .map_or(Ok(()), check::key_prefix)?;
            self.more.check()?;
        }
        let body = Body {
            request,
            more: &self.more,
        };
        let call = Call::patch(&self.client, &["api-auth", "apps", slug]).json(&body);
        let app = slug.as_str().into();
        let event = match request.is_active {
            Some(true) => ManagementEvent::OpenApp(app),
            Some(false) => ManagementEvent::CloseApp(app),
            None => ManagementEvent::ChangeApp(app),
        };
        let events = self.client.events();
        events
            .announced(event, call.object("an API auth app"))
            .await
    }
}

// === impl DeleteApiAuthAppBuilder ===

impl DeleteApiAuthAppBuilder {
    /// Deletes the app. Sent once: after a lost answer a second attempt would find nothing.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors). An app that is unknown, or deleted before,
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<()> {
        let call = Call::delete(&self.client, &["api-auth", "apps", &self.app_slug]);
        let event = ManagementEvent::CloseApp(self.app_slug.as_str().into());
        self.client.events().announced(event, call.done()).await
    }
}

impl More {
    fn check(&self) -> Result<()> {
        self.permissions
            .as_deref()
            .map_or(Ok(()), check::permissions)
    }
}

fn collected<I>(words: I) -> Vec<String>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    words.into_iter().map(Into::into).collect()
}
