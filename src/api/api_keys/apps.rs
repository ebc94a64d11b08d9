//! API auth apps: what keys are issued under.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::api::api_auth::ApiKeys;
use crate::api::nullable::or_empty;
use crate::api::rate_limit_schemes::{self, RateLimitRule};
use crate::api::{Call, Page, id};
use crate::client::{Result, WachtClient};

/// An API auth app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "WireApp")]
#[non_exhaustive]
pub struct ApiAuthApp {
    /// The app's id: its slug, as long as Wacht gives apps no other.
    pub id: String,
    /// The deployment the app belongs to.
    pub deployment_id: i64,
    /// The user the app is attached to.
    pub user_id: Option<i64>,
    /// The organization the app is attached to.
    pub organization_id: Option<i64>,
    /// The workspace the app is attached to.
    pub workspace_id: Option<i64>,
    /// The app's name in URLs, unique in its deployment.
    pub app_slug: String,
    /// The app's name for people.
    pub name: String,
    /// What new keys of the app begin with.
    pub key_prefix: String,
    /// What the app is for.
    pub description: Option<String>,
    /// Whether keys of the app are accepted.
    pub is_active: bool,
    /// Permissions noted on the app. The gateway does not look at them.
    pub permissions: Vec<String>,
    /// Resources noted on the app. The gateway does not look at them.
    pub resources: Vec<String>,
    /// The rules of the attached scheme. One that cannot be read has an unknown unit.
    pub rate_limits: Vec<RateLimitRule>,
    /// The attached scheme.
    pub rate_limit_scheme_slug: Option<String>,
    /// When the app was made.
    pub created_at: DateTime<Utc>,
    /// When the app was last changed.
    pub updated_at: DateTime<Utc>,
    /// When the app was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

impl ApiAuthApp {
    /// What a page of apps says.
    pub(crate) fn page(bytes: &[u8]) -> Result<Page<Self>> {
        Page::decode("a list of API auth apps", &["apps"], bytes)
    }
}

/// Lists apps; made by [`ApiKeys::list_api_auth_apps`].
///
/// An app that is switched off is listed when asked for:
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// wacht.app("billing");
/// wacht.app("legacy").set_active(false);
///
/// let apps = client.api_keys().list_api_auth_apps();
/// assert_eq!(apps.clone().send().await?.len(), 1);
/// assert_eq!(apps.include_inactive(true).send().await?.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListApiAuthAppsBuilder {
    client: WachtClient,
    include_inactive: bool,
}

/// Fetches one page of apps; made by [`ListApiAuthAppsBuilder::page`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ApiAuthAppsPageBuilder {
    client: WachtClient,
    include_inactive: bool,
    limit: u32,
    offset: u64,
    without_retries: bool,
    wait: Option<Duration>,
}

/// Fetches one app; made by [`ApiKeys::get_api_auth_app`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct GetApiAuthAppBuilder {
    client: WachtClient,
    app_slug: String,
    without_retries: bool,
    wait: Option<Duration>,
}

impl ApiKeys {
    /// Lists the API auth apps of the deployment, the newest first; active ones only, unless
    /// told otherwise.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// wacht.app("billing");
    /// wacht.app("orders");
    ///
    /// let apps = client.api_keys().list_api_auth_apps().send().await?;
    /// let slugs: Vec<_> = apps.iter().map(|app| &*app.app_slug).collect();
    /// assert_eq!(slugs, ["orders", "billing"], "the newest first");
    /// # Ok(()) }
    /// ```
    pub fn list_api_auth_apps(&self) -> ListApiAuthAppsBuilder {
        ListApiAuthAppsBuilder {
            client: self.client().clone(),
            include_inactive: false,
        }
    }

    /// Fetches one API auth app by its slug, also an inactive one.
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
    /// let api_keys = client.api_keys();
    /// let app = api_keys.get_api_auth_app("billing").send().await?;
    /// assert_eq!(app.rate_limits[0].max_requests, 100);
    ///
    /// let error = api_keys.get_api_auth_app("biling").send().await.unwrap_err();
    /// assert!(error.is_not_found());
    /// # Ok(()) }
    /// ```
    pub fn get_api_auth_app(&self, app_slug: impl Into<String>) -> GetApiAuthAppBuilder {
        GetApiAuthAppBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            without_retries: false,
            wait: None,
        }
    }
}

// === impl ListApiAuthAppsBuilder ===

impl ListApiAuthAppsBuilder {
    /// Lists inactive apps too. Defaults to `false`.
    pub fn include_inactive(mut self, include: bool) -> Self {
        self.include_inactive = include;
        self
    }

    /// Fetches at most `limit` apps, after skipping `offset`, in one call.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// for slug in ["a", "b", "c"] {
    ///     wacht.app(slug);
    /// }
    /// let apps = client.api_keys().list_api_auth_apps();
    /// let first = apps.clone().page(2, 0).send().await?;
    /// assert_eq!((first.items.len(), first.has_more), (2, true));
    /// let second = apps.page(2, 2).send().await?;
    /// assert_eq!((second.items.len(), second.has_more), (1, false));
    /// # Ok(()) }
    /// ```
    pub fn page(self, limit: u32, offset: u64) -> ApiAuthAppsPageBuilder {
        let Self {
            client,
            include_inactive,
        } = self;
        ApiAuthAppsPageBuilder {
            client,
            include_inactive,
            limit,
            offset,
            without_retries: false,
            wait: None,
        }
    }

    /// Fetches all apps, 100 a call. An app is listed once, also when apps are made meanwhile.
    ///
    /// # Errors
    ///
    /// Those of one page, see [`ApiAuthAppsPageBuilder::send`]; nothing is returned then.
    pub async fn send(self) -> Result<Vec<ApiAuthApp>> {
        let mut apps = Vec::new();
        let mut seen = HashSet::new();
        let mut offset = 0;
        loop {
            let page = self.clone().page(PAGE_LIMIT, offset).send().await?;
            offset += page.items.len() as u64;
            let known = apps.len();
            apps.extend(
                page.items
                    .into_iter()
                    .filter(|app| seen.insert(app.app_slug.clone())),
            );
            // A page with nothing new is the end, or the work of a server that ignores `offset`.
            if !page.has_more || apps.len() == known {
                return Ok(apps);
            }
        }
    }
}

// === impl ApiAuthAppsPageBuilder ===

impl ApiAuthAppsPageBuilder {
    /// Lists inactive apps too. Defaults to `false`.
    pub fn include_inactive(mut self, include: bool) -> Self {
        self.include_inactive = include;
        self
    }

    /// Fetches the page.
    ///
    /// # Errors
    ///
    /// [`Error::Api`](crate::Error::Api) if Wacht refuses,
    /// [`Error::Decode`](crate::Error::Decode) if its answer is not understood or longer than
    /// 4 MiB, [`Error::Request`](crate::Error::Request) if there is none, and
    /// [`Error::Config`](crate::Error::Config) if the client cannot be used.
    pub async fn send(self) -> Result<Page<ApiAuthApp>> {
        ApiAuthApp::page(&self.bytes().await?)
    }

    /// Fetches the page as it comes, to be read by [`ApiAuthApp::page`].
    pub(crate) async fn bytes(self) -> Result<Bytes> {
        Call::get(&self.client, &["api-auth", "apps"])
            .query("limit", Some(self.limit))
            .query("offset", Some(self.offset))
            .query("include_inactive", self.include_inactive.then_some(true))
            .without_retries(self.without_retries)
            .within(self.wait)
            .bytes()
            .await
    }

    /// Makes the call once: whoever calls has its own plan for failures.
    pub(crate) fn without_retries(mut self) -> Self {
        self.without_retries = true;
        self
    }

    /// Sets how long to wait, where that is shorter than the client's time-out.
    pub(crate) fn within(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }
}

// === impl GetApiAuthAppBuilder ===

impl GetApiAuthAppBuilder {
    /// Fetches the app.
    ///
    /// # Errors
    ///
    /// As for [`ApiAuthAppsPageBuilder::send`], and
    /// [`Error::InvalidRequest`](crate::Error::InvalidRequest) for a slug that is empty, `.` or
    /// `..`. An unknown app [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<ApiAuthApp> {
        Call::get(&self.client, &["api-auth", "apps", &self.app_slug])
            .without_retries(self.without_retries)
            .within(self.wait)
            .object("an API auth app")
            .await
    }

    /// Makes the call once: whoever calls has its own plan for failures.
    pub(crate) fn without_retries(mut self) -> Self {
        self.without_retries = true;
        self
    }

    /// Sets how long to wait, where that is shorter than the client's time-out.
    pub(crate) fn within(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }
}

#[derive(Deserialize)]
struct WireApp {
    #[serde(default)]
    id: Value,
    #[serde(deserialize_with = "id::required")]
    deployment_id: i64,
    #[serde(default, deserialize_with = "id::optional")]
    user_id: Option<i64>,
    #[serde(default, deserialize_with = "id::optional")]
    organization_id: Option<i64>,
    #[serde(default, deserialize_with = "id::optional")]
    workspace_id: Option<i64>,
    app_slug: String,
    name: String,
    key_prefix: String,
    #[serde(default)]
    description: Option<String>,
    is_active: bool,
    #[serde(default, deserialize_with = "or_empty")]
    permissions: Vec<String>,
    #[serde(default, deserialize_with = "or_empty")]
    resources: Vec<String>,
    #[serde(default, deserialize_with = "rate_limit_schemes::rules")]
    rate_limits: Vec<RateLimitRule>,
    #[serde(default)]
    rate_limit_scheme_slug: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[serde(default)]
    deleted_at: Option<DateTime<Utc>>,
}

impl From<WireApp> for ApiAuthApp {
    fn from(wire: WireApp) -> Self {
        Self {
            id: match wire.id {
                Value::String(id) => id,
                Value::Number(id) => id.to_string(),
                _ => wire.app_slug.clone(),
            },
            deployment_id: wire.deployment_id,
            user_id: wire.user_id,
            organization_id: wire.organization_id,
            workspace_id: wire.workspace_id,
            app_slug: wire.app_slug,
            name: wire.name,
            key_prefix: wire.key_prefix,
            description: wire.description,
            is_active: wire.is_active,
            permissions: wire.permissions,
            resources: wire.resources,
            rate_limits: wire.rate_limits,
            rate_limit_scheme_slug: wire.rate_limit_scheme_slug,
            created_at: wire.created_at,
            updated_at: wire.updated_at,
            deleted_at: wire.deleted_at,
        }
    }
}

const PAGE_LIMIT: u32 = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::RateLimitUnit;

    fn app(change: impl FnOnce(&mut Value)) -> ApiAuthApp {
        let mut app = json!({
            "deployment_id": "7000000000000001", "app_slug": "billing-api", "name": "Billing",
            "description": null, "is_active": true, "key_prefix": "sk",
            "created_at": "2026-11-21T22:14:52.762229Z",
            "updated_at": "2026-11-21T22:14:52.762229Z", "deleted_at": null,
        });
        change(&mut app);
        serde_json::from_value(app).unwrap()
    }

    #[test]
    fn an_app_without_id_goes_by_its_slug() {
        assert_eq!(app(|_| ()).id, "billing-api");
        assert_eq!(app(|app| app["id"] = json!(null)).id, "billing-api");
        assert_eq!(app(|app| app["id"] = json!("17")).id, "17");
        assert_eq!(app(|app| app["id"] = json!(17)).id, "17");
    }

    #[test]
    fn a_rule_that_cannot_be_read_does_not_hide_the_app() {
        let app = app(|app| {
            app["rate_limits"] =
                json!([{"unit": "fortnight", "duration": 1, "max_requests": 9}, 3]);
        });
        assert_eq!(app.rate_limits.len(), 2);
        assert_eq!(
            app.rate_limits[0].unit,
            RateLimitUnit::Unknown("fortnight".to_owned())
        );
        assert_eq!(
            app.rate_limits[1].unit,
            RateLimitUnit::Unknown("3".to_owned())
        );
    }
}
