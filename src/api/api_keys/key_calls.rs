//! The calls about keys.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::{ApiKey, ApiKeyWithSecret, KeyId};
use crate::api::api_auth::ApiKeys;
use crate::api::{Call, check};
use crate::client::events::ManagementEvent;
use crate::client::{Error, Result, WachtClient};

/// A key to be made.
///
/// A key that ends by itself, and says whose it is to whoever serves its requests:
///
/// ```
/// use chrono::{DateTime, Utc};
/// use wacht_auth::models::CreateApiKeyRequest;
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # wacht.app("billing");
/// let end: DateTime<Utc> = "2099-12-31T00:00:00Z".parse()?;
/// let request = CreateApiKeyRequest {
///     name: "contractor".to_owned(),
///     expires_at: Some(end),
///     metadata: Some(serde_json::json!({"ticket": "OPS-12"})),
///     ..Default::default()
/// };
/// let new = client.api_keys().create_api_key("billing", request).send().await?;
/// assert_eq!(new.key.expires_at, Some(end));
/// assert_eq!(new.key.metadata["ticket"], "OPS-12");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CreateApiKeyRequest {
    /// The key's name for people. May repeat.
    pub name: String,
    /// What the key may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    /// The membership whose role adds permissions. Wacht takes it from the app today, whatever
    /// is said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_membership_id: Option<i64>,
    /// The membership whose role adds permissions. Wacht takes it from the app today, whatever
    /// is said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_membership_id: Option<i64>,
    /// When the key ends; never, without it. Cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Whatever is to be noted on the key. Services that it is shown to read it:
    /// [`Principal::metadata`](crate::Principal::metadata).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// How a key is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RevokeApiKeyRequest {
    /// Why, for those who look at the key later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Lists keys; made by [`ApiKeys::list_api_keys`].
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let old = wacht.issue_key("billing").issue();
/// wacht.issue_key("billing").issue();
/// wacht.revoke(old.key_id());
///
/// let keys = client.api_keys().list_api_keys("billing");
/// assert_eq!(keys.clone().send().await?.len(), 1);
/// assert_eq!(keys.include_inactive(true).send().await?.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct ListApiKeysBuilder {
    client: WachtClient,
    app_slug: String,
    include_inactive: bool,
}

/// Makes a key; made by [`ApiKeys::create_api_key`].
///
/// A name that no route could require is refused unsent. Wacht itself takes it:
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::models::CreateApiKeyRequest;
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # wacht.app("billing");
/// let request = CreateApiKeyRequest {
///     name: "ci".to_owned(),
///     permissions: Some(vec!["invoices:read,invoices:write".to_owned()]), // meant as two
///     ..Default::default()
/// };
/// let call = client.api_keys().create_api_key("billing", request);
/// assert!(matches!(call.clone().send().await, Err(Error::InvalidRequest(_))));
/// assert_eq!(call.unchecked().send().await?.key.permissions.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CreateApiKeyBuilder {
    client: WachtClient,
    app_slug: String,
    request: CreateApiKeyRequest,
    unchecked: bool,
}

/// Revokes a key; made by [`ApiKeys::revoke_api_key`].
///
/// An id that no key can have is refused unsent:
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// # wacht.app("billing");
/// let api_keys = client.api_keys();
/// let answer = api_keys.revoke_api_key("billing", "key_123", Default::default()).send().await;
/// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
/// assert_eq!(wacht.journal().management_calls(), 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct RevokeApiKeyBuilder {
    client: WachtClient,
    app_slug: String,
    key_id: KeyId,
    request: RevokeApiKeyRequest,
    unchecked: bool,
}

/// Rotates a key; made by [`ApiKeys::rotate_api_key`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct RotateApiKeyBuilder {
    client: WachtClient,
    app_slug: String,
    key_id: KeyId,
    unchecked: bool,
}

impl ApiKeys {
    /// Lists the keys of an app, the newest first; active ones only, unless told otherwise.
    ///
    /// Keys are recognized by their last characters, as the secret is nowhere to be had:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let issued = wacht.issue_key("billing").name("ci").issue();
    ///
    /// let keys = client.api_keys().list_api_keys("billing").send().await?;
    /// let found = keys.iter().find(|key| issued.secret().ends_with(&key.key_suffix));
    /// assert_eq!(found.map(|key| &*key.name), Some("ci"));
    /// # Ok(()) }
    /// ```
    pub fn list_api_keys(&self, app_slug: impl Into<String>) -> ListApiKeysBuilder {
        ListApiKeysBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            include_inactive: false,
        }
    }

    /// Makes a key for an app. Its secret is in the answer and nowhere else.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::models::CreateApiKeyRequest;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let gateway = DevGateway::start().await;
    /// # gateway.app("billing");
    /// # let client = gateway.client();
    /// let request = CreateApiKeyRequest {
    ///     name: "ci".to_owned(),
    ///     permissions: Some(vec!["invoices:read".to_owned()]),
    ///     ..Default::default()
    /// };
    /// let new = client.api_keys().create_api_key("billing", request).send().await?;
    /// assert!(new.secret.ends_with(&new.key.key_suffix));
    /// # Ok::<(), wacht_auth::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn create_api_key(
        &self,
        app_slug: impl Into<String>,
        request: CreateApiKeyRequest,
    ) -> CreateApiKeyBuilder {
        CreateApiKeyBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            request,
            unchecked: false,
        }
    }

    /// Revokes a key for good.
    ///
    /// It is refused from the moment the call is sent in every gate built on this client or a
    /// clone of it, in those of all replicas where the client has a store, and within a minute at
    /// Wacht's own gateway.
    ///
    /// ```
    /// use wacht_auth::models::RevokeApiKeyRequest;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// # let client = wacht.client();
    /// # let key = wacht.issue_key("billing").issue();
    /// let gate = WachtAuthLayer::new(client.clone()).app("billing"); // on a clone of the client
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/invoices");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    ///
    /// let why = RevokeApiKeyRequest { reason: Some("left on a train".to_owned()) };
    /// client.api_keys().revoke_api_key("billing", key.key_id(), why).send().await?;
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::InvalidKey);
    /// # Ok(()) }
    /// ```
    pub fn revoke_api_key(
        &self,
        app_slug: impl Into<String>,
        key_id: impl Into<KeyId>,
        request: RevokeApiKeyRequest,
    ) -> RevokeApiKeyBuilder {
        RevokeApiKeyBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            key_id: key_id.into(),
            request,
            unchecked: false,
        }
    }

    /// Revokes a key, as [`revoke_api_key`](Self::revoke_api_key) does, and makes another one
    /// like it.
    ///
    /// The new key has another id and another secret, and the same name, prefix, permissions,
    /// metadata and end: rotating an expired key makes an expired key. The app must be active.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let old = wacht.issue_key("billing").name("ci").permissions(["invoices:read"]).issue();
    ///
    /// let new = client.api_keys().rotate_api_key("billing", old.key_id()).send().await?;
    /// assert_ne!(new.key.id, old.key_id());
    /// assert_eq!((&*new.key.name, &*new.key.permissions), ("ci", &["invoices:read".to_owned()][..]));
    /// # Ok(()) }
    /// ```
    pub fn rotate_api_key(
        &self,
        app_slug: impl Into<String>,
        key_id: impl Into<KeyId>,
    ) -> RotateApiKeyBuilder {
        RotateApiKeyBuilder {
            client: self.client().clone(),
            app_slug: app_slug.into(),
            key_id: key_id.into(),
            unchecked: false,
        }
    }
}

// === impl ListApiKeysBuilder ===

impl ListApiKeysBuilder {
    /// Lists revoked keys too. Defaults to `false`. Expired ones are listed in any case.
    pub fn include_inactive(mut self, include: bool) -> Self {
        self.include_inactive = include;
        self
    }

    /// Fetches all keys, which Wacht sends in one piece.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors). An unknown app
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<Vec<ApiKey>> {
        let page = self.call().page("a list of API keys", &["keys"]).await?;
        Ok(page.items)
    }

    pub(super) fn call(&self) -> Call<'_> {
        Call::get(&self.client, &["api-auth", "apps", &self.app_slug, "keys"])
            .query("include_inactive", self.include_inactive.then_some(true))
    }
}

// === impl CreateApiKeyBuilder ===

impl CreateApiKeyBuilder {
    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Makes the key. Sent once: if there is no answer, there may be a key whose secret nobody
    /// knows.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors).
    /// [`Error::InvalidRequest`], and nothing is sent, for a permission that could not be
    /// required by its name: with a comma, a parenthesis, a control character or the word `AND`
    /// or `OR` in it, or `true` or `false`. An unknown app
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<ApiKeyWithSecret> {
        if !self.unchecked {
            let permissions = self.request.permissions.as_deref();
            permissions.map_or(Ok(()), check::permissions)?;
        }
        let answer = Call::post(&self.client, &["api-auth", "apps", &self.app_slug, "keys"])
            .json(&self.request)
            .bytes()
            .await?;
        ApiKeyWithSecret::decode(&answer)
    }
}

// === impl RevokeApiKeyBuilder ===

impl RevokeApiKeyBuilder {
    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Revokes the key. Sent once; sending it again by hand does no harm.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors), and [`Error::InvalidRequest`] for an id that is
    /// no decimal number. A key or app that is unknown, and a key that is already revoked,
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<()> {
        let key_id = checked(&self.key_id, self.unchecked)?;
        let segments = [
            "api-auth",
            "apps",
            &self.app_slug,
            "keys",
            self.key_id.as_str(),
            "revoke",
        ];
        // Wacht wants a JSON body, an empty one if need be.
        let call = Call::post(&self.client, &segments).json(&self.request);
        ending(&self.client, &self.app_slug, key_id, call.done()).await
    }
}

// === impl RotateApiKeyBuilder ===

impl RotateApiKeyBuilder {
    /// Sends the request also if it cannot work, for the sake of Wacht's own answer.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// Rotates the key. Sent once: if there is no answer, the old key may be gone and the new
    /// one unknown. Make another one then.
    ///
    /// # Errors
    ///
    /// Those of [every call](crate::api#errors), and [`Error::InvalidRequest`] for an id that is
    /// no decimal number. A key or app that is unknown or inactive
    /// [is not found](crate::Error::is_not_found).
    pub async fn send(self) -> Result<ApiKeyWithSecret> {
        let key_id = checked(&self.key_id, self.unchecked)?;
        let segments = [
            "api-auth",
            "apps",
            &self.app_slug,
            "keys",
            self.key_id.as_str(),
            "rotate",
        ];
        let call = Call::post(&self.client, &segments);
        let answer = ending(&self.client, &self.app_slug, key_id, call.bytes()).await?;
        ApiKeyWithSecret::decode(&answer)
    }
}

/// Makes a call that ends a key, and lets the gates know; no gate knows a key without a number.
async fn ending<T>(
    client: &WachtClient,
    app_slug: &str,
    key_id: Option<i64>,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(key_id) = key_id else {
        return call.await;
    };
    let app = app_slug.into();
    let event = ManagementEvent::RevokeKey { app, key_id };
    client.events().announced(event, call).await
}

fn checked(key_id: &KeyId, unchecked: bool) -> Result<Option<i64>> {
    match key_id.number() {
        None if !unchecked => Err(Error::InvalidRequest(format!(
            "`{}` is no id of a key: those are decimal numbers, see `ApiKey::id`",
            key_id.as_str().escape_debug()
        ))),
        number => Ok(number),
    }
}
