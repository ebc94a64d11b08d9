//! The calls about schemes.

use serde::Serialize;

use super::check;
use super::limit::RateLimitRule;
use super::scheme::{CreateRateLimitSchemeRequest, RateLimitScheme, UpdateRateLimitSchemeRequest};
use crate::api::Call;
use crate::api::api_auth::ApiKeys;
use crate::client::{Result, WachtClient};

/// Lists schemes; made by [`ApiKeys::list_rate_limit_schemes`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListRateLimitSchemesBuilder {
    client: WachtClient,
}

/// Fetches one scheme; made by [`ApiKeys::get_rate_limit_scheme`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct GetRateLimitSchemeBuilder {
    client: WachtClient,
    slug: String,
}

/// Makes a scheme; made by [`ApiKeys::create_rate_limit_scheme`].
///
/// What Wacht would refuse is refused unsent:
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::models::{CreateRateLimitSchemeRequest, RateLimit, RateLimitUnit};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let scheme = CreateRateLimitSchemeRequest {
///     slug: "quarterly".to_owned(),
///     name: "Quarterly".to_owned(),
///     // More than 30 days.
///     rules: vec![RateLimit { unit: RateLimitUnit::Day, duration: 90, max_requests: 1, mode: None }],
///     ..Default::default()
/// };
/// let answer = client.api_keys().create_rate_limit_scheme(scheme).send().await;
/// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
/// assert_eq!(wacht.journal().management_calls(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CreateRateLimitSchemeBuilder {
    client: WachtClient,
    request: CreateRateLimitSchemeRequest<RateLimitRule>,
    unchecked: bool,
}

/// Changes a scheme; made by [`ApiKeys::update_rate_limit_scheme`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct UpdateRateLimitSchemeBuilder {
    client: WachtClient,
    slug: String,
    request: UpdateRateLimitSchemeRequest,
    unchecked: bool,
}

/// Deletes a scheme; made by [`ApiKeys::delete_rate_limit_scheme`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct DeleteRateLimitSchemeBuilder {
    client: WachtClient,
    slug: String,
}

impl ApiKeys {
    /// Lists the rate-limit schemes of the deployment, the last changed first.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.app("billing").scheme([DevRule::per_key(100, "minute", 1)]);
    ///
    /// let schemes = client.api_keys().list_rate_limit_schemes().send().await?;
    /// assert_eq!(schemes[0].slug, "billing-limits");
    /// # Ok(()) }
    /// ```
    pub fn list_rate_limit_schemes(&self) -> ListRateLimitSchemesBuilder {
        ListRateLimitSchemesBuilder {
            client: self.client().clone(),
        }
    }

    /// Fetches one rate-limit scheme by its slug.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule};
    /// use wacht_auth::models::RateLimitMode;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.app("billing").scheme([DevRule::per_key(100, "minute", 1)]);
    ///
    /// let scheme = client.api_keys().get_rate_limit_scheme("billing-limits").send().await?;
    /// assert_eq!(scheme.rules[0].mode, Some(RateLimitMode::PerKey));
    /// # Ok(()) }
    /// ```
    pub fn get_rate_limit_scheme(&self, slug: impl Into<String>) -> GetRateLimitSchemeBuilder {
        GetRateLimitSchemeBuilder {
            client: self.client().clone(),
            slug: slug.into(),
        }
    }

    /// Makes a rate-limit scheme, which apps can then be attached to.
    ///
    /// ```
    /// use wacht_auth::models::{
    ///     CreateRateLimitSchemeRequest, RateLimit, RateLimitMode, RateLimitUnit,
    /// };
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// let per_minute = |max_requests| RateLimit {
    ///     unit: RateLimitUnit::Minute,
    ///     duration: 1,
    ///     max_requests,
    ///     mode: Some(RateLimitMode::PerKey),
    /// };
    /// let scheme = CreateRateLimitSchemeRequest {
    ///     slug: "standard".to_owned(),
    ///     name: "Standard".to_owned(),
    ///     rules: vec![per_minute(100).into(), per_minute(5).with_endpoints(["/reports"])],
    ///     ..Default::default()
    /// };
    /// let made = client.api_keys().create_rate_limit_scheme(scheme).send().await?;
    /// assert_eq!(made.rules.len(), 2);
    /// # Ok(()) }
    /// ```
    pub fn create_rate_limit_scheme<R: Into<RateLimitRule>>(
        &self,
        request: CreateRateLimitSchemeRequest<R>,
    ) -> CreateRateLimitSchemeBuilder {
        CreateRateLimitSchemeBuilder {
            client: self.client().clone(),
            request: CreateRateLimitSchemeRequest {
                slug: request.slug,
                name: request.name,
                description: request.description,
                rules: request.rules.into_iter().map(Into::into).collect(),
            },
            unchecked: false,
        }
    }

    /// Changes a rate-limit scheme for all apps attached to it.
    ///
    /// A gate follows within about a minute, Wacht's own gateway within an hour.
    ///
    /// ```
    /// use wacht_auth::models::UpdateRateLimitSchemeRequest;
    /// # use wacht_auth::dev::{DevGateway, DevRule};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # wacht.app("billing").scheme([DevRule::per_key(100, "minute", 1)]);
    /// let api_keys = client.api_keys();
    /// let mut rules = api_keys.get_rate_limit_scheme("billing-limits").send().await?.rules;
    /// rules[0].max_requests = 250;
    ///
    /// let change = UpdateRateLimitSchemeRequest { rules: Some(rules), ..Default::default() };
    /// let scheme = api_keys.update_rate_limit_scheme("billing-limits", change).send().await?;
    /// assert_eq!(scheme.rules[0].max_requests, 250);
    /// # Ok(()) }
    /// ```
    pub fn update_rate_limit_scheme(
        &self,
        slug: impl Into<String>,
        request: UpdateRateLimitSchemeRequest,
    ) -> UpdateRateLimitSchemeBuilder {
        UpdateRateLimitSchemeBuilder {
            client: self.client().clone(),
            slug: slug.into(),
            request,
            unchecked: false,
        }
    }

    /// Deletes a rate-limit scheme. Wacht refuses while an app or an active key refers to it.
    ///
    /// ```
    /// use http::StatusCode;
    /// use wacht_auth::dev::{DevGateway, DevRule};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// # wacht.app("billing").scheme([DevRule::per_key(100, "minute", 1)]);
    /// let api_keys = client.api_keys();
    /// let in_use = api_keys.delete_rate_limit_scheme("billing-limits").send().await;
    /// assert_eq!(in_use.unwrap_err().status(), Some(StatusCode::BAD_REQUEST));
    ///
    /// wacht.app("billing").no_scheme();
    /// api_keys.delete_rate_limit_scheme("billing-limits").send().await?;
    /// # Ok(()) }
    /// ```
    pub fn delete_rate_limit_scheme(
        &self,
        slug: impl Into<String>,
    ) -> DeleteRateLimitSchemeBuilder {
        DeleteRateLimitSchemeBuilder {
            client: self.client().clone(),
            slug: slug.into(),
        }
    }
}

impl ListRateLimitSchemesBuilder {
    /// Fetches all schemes.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors).
    pub async fn send(self) -> Result<Vec<RateLimitScheme>> {
        let page = Call::get(&self.client, SCHEMES)
            .page("a list of rate-limit schemes", &["schemes"])
            .await?;
        Ok(page.items)
    }
}

impl GetRateLimitSchemeBuilder {
    /// Fetches the scheme.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors). An unknown scheme
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<RateLimitScheme> {
        Call::get(&self.client, &scheme(&self.slug))
            .object(A_SCHEME)
            .await
    }
}

impl CreateRateLimitSchemeBuilder {
    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Makes the scheme. Sent once.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors).
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest), and nothing is sent, for a slug that
    /// is blank, `.` or `..`, a blank name, no rules, and rules out of Wacht's bounds: a window is at
    /// least 1 and at most 60000 milliseconds, 1800 seconds, 1440 minutes, 720 hours or 30 days, or
    /// exactly one calendar day, month or calendar month; units and modes must be known, and
    /// [`PerIp`](super::RateLimitMode::PerIp) is not taken. A slug that is taken is a 409.
    pub async fn send(self) -> Result<RateLimitScheme> {
        let request = &self.request;
        if !self.unchecked {
            check::slug(&request.slug)?;
            check::name(Some(&request.name))?;
            check::rules(&request.rules)?;
        }
        let body = Create {
            slug: &request.slug,
            name: &request.name,
            description: request.description.as_deref(),
            rules: &request.rules,
        };
        Call::post(&self.client, SCHEMES)
            .json(&body)
            .object(A_SCHEME)
            .await
    }
}

impl UpdateRateLimitSchemeBuilder {
    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Changes the scheme. Sent once.
    ///
    /// # Errors
    ///
    /// Those of [`CreateRateLimitSchemeBuilder::send`]. An unknown scheme
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<RateLimitScheme> {
        let request = &self.request;
        if !self.unchecked {
            check::name(request.name.as_deref())?;
            request.rules.as_deref().map_or(Ok(()), check::rules)?;
        }
        Call::patch(&self.client, &scheme(&self.slug))
            .json(request)
            .object(A_SCHEME)
            .await
    }
}

impl DeleteRateLimitSchemeBuilder {
    /// Deletes the scheme. Sent once: after a lost answer a second attempt would find nothing.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors). An unknown scheme
    /// [is not found](crate::Error::is_not_found), one that is in use is a 400.
    pub async fn send(self) -> Result<()> {
        Call::delete(&self.client, &scheme(&self.slug)).done().await
    }
}

fn scheme(slug: &str) -> [&str; 3] {
    ["api-auth", "rate-limit-schemes", slug]
}

#[derive(Serialize)]
struct Create<'a> {
    slug: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    rules: &'a [RateLimitRule],
}

const SCHEMES: &[&str] = &["api-auth", "rate-limit-schemes"];
const A_SCHEME: &str = "a rate-limit scheme";
