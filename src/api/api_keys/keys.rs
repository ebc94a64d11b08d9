//! API keys as Wacht shows them.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::id;
use crate::api::nullable::or_empty;
use crate::api::rate_limit_schemes::{self, RateLimitRule};
use crate::client::{DecodeError, Result, decode, decode_from};

/// An API key, without what makes it one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ApiKey {
    /// The key's id.
    #[serde(deserialize_with = "id::required")]
    pub id: i64,
    /// The deployment the key belongs to.
    #[serde(deserialize_with = "id::required")]
    pub deployment_id: i64,
    /// The app the key belongs to.
    pub app_slug: String,
    /// The key's name for people.
    pub name: String,
    /// What the key begins with.
    pub key_prefix: String,
    /// What the key ends with: its last characters, to be recognized by.
    pub key_suffix: String,
    /// What the key was given leave to do. What a role adds is not in here.
    #[serde(default, deserialize_with = "or_empty")]
    pub permissions: Vec<String>,
    /// Whatever was noted on the key: any JSON, usually an object.
    #[serde(default)]
    pub metadata: Value,
    /// The rules of the key's scheme, where keys are listed; nothing after making or rotating
    /// one. A rule that cannot be read has an unknown unit.
    #[serde(default, deserialize_with = "rate_limit_schemes::rules")]
    pub rate_limits: Vec<RateLimitRule>,
    /// The scheme of the key, which is that of its app.
    #[serde(default)]
    pub rate_limit_scheme_slug: Option<String>,
    /// The user the key's app is attached to.
    #[serde(default, deserialize_with = "id::optional")]
    pub owner_user_id: Option<i64>,
    /// The organization the key's app is attached to.
    #[serde(default, deserialize_with = "id::optional")]
    pub organization_id: Option<i64>,
    /// The workspace the key's app is attached to.
    #[serde(default, deserialize_with = "id::optional")]
    pub workspace_id: Option<i64>,
    /// The owner's membership in the organization.
    #[serde(default, deserialize_with = "id::optional")]
    pub organization_membership_id: Option<i64>,
    /// The owner's membership in the workspace.
    #[serde(default, deserialize_with = "id::optional")]
    pub workspace_membership_id: Option<i64>,
    /// What the owner's role in the organization adds to the permissions.
    #[serde(default, deserialize_with = "or_empty")]
    pub org_role_permissions: Vec<String>,
    /// What the owner's role in the workspace adds to the permissions.
    #[serde(default, deserialize_with = "or_empty")]
    pub workspace_role_permissions: Vec<String>,
    /// When the key ends; never, without it.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When the key was last used. Wacht does not keep count of that today.
    #[serde(default)]
    pub last_used_at: Option<DateTime<Utc>>,
    /// Whether the key was not revoked. An expired key stays active in this sense.
    pub is_active: bool,
    /// When the key was made.
    pub created_at: DateTime<Utc>,
    /// When the key was last changed.
    pub updated_at: DateTime<Utc>,
    /// When the key was revoked or rotated.
    #[serde(default)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// Why the key was revoked; `Rotated` for one that was rotated.
    #[serde(default)]
    pub revoked_reason: Option<String>,
}

/// A new API key with its secret, which is never shown again. `Debug` hides it.
///
/// ```
/// use wacht_auth::models::CreateApiKeyRequest;
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # wacht.app("billing");
/// let request = CreateApiKeyRequest { name: "ci".to_owned(), ..Default::default() };
/// let new = client.api_keys().create_api_key("billing", request).send().await?;
/// let logged = format!("{new:?}");
/// assert!(logged.contains("ci") && !logged.contains(&new.secret));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKeyWithSecret {
    /// What Wacht will say about the key from now on.
    pub key: ApiKey,
    /// The key itself, as a caller presents it. Hand it over and forget it.
    pub secret: String,
}

impl ApiKeyWithSecret {
    /// Accepts the key's members beside the secret, or under `key`.
    pub(super) fn decode(body: &[u8]) -> Result<Self> {
        let mut answer: Map<String, Value> = decode(WHAT, body)?;
        let secret = answer.remove("secret");
        let (place, key) = match answer.remove("key") {
            Some(key @ Value::Object(_)) => ("key", key),
            _ => ("", Value::Object(answer)),
        };
        let Some(Value::String(secret)) = secret else {
            return Err(DecodeError::new(WHAT, "there is no `secret` in it").into());
        };
        Ok(Self {
            key: decode_from(WHAT, place, key)?,
            secret,
        })
    }
}

impl fmt::Debug for ApiKeyWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyWithSecret")
            .field("key", &self.key)
            .field("secret", &format_args!("[redacted]"))
            .finish()
    }
}

const WHAT: &str = "a new API key";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        json!({
            "id": "9007199254740993", "deployment_id": 7_000_000_000_000_001_i64,
            "app_slug": "billing", "name": "ci", "key_prefix": "sk", "key_suffix": "cdefghij",
            "permissions": null, "metadata": "any", "is_active": true,
            "created_at": "2026-11-21T22:24:13.605921Z", "updated_at": "2026-11-21T22:24:13Z",
        })
    }

    #[test]
    fn a_secret_is_found_beside_the_key_and_around_it() {
        let mut flat = key();
        flat["secret"] = json!("sk_SYNTHETIC");
        let nested = json!({"key": key(), "secret": "sk_SYNTHETIC"});
        for answer in [flat, nested] {
            let key = ApiKeyWithSecret::decode(answer.to_string().as_bytes()).unwrap();
            assert_eq!(key.secret, "sk_SYNTHETIC");
            assert_eq!(key.key.id, 9_007_199_254_740_993);
            assert!(key.key.permissions.is_empty());
            assert!(!format!("{key:?}").contains("SYNTHETIC"));
        }
    }

    #[test]
    fn what_is_missing_is_named_and_the_secret_is_not() {
        let error = ApiKeyWithSecret::decode(key().to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("`secret`"), "{error}");

        let mut bad = key();
        bad["created_at"] = json!("sk_SYNTHETIC");
        let bad = json!({"key": bad, "secret": "sk_SYNTHETIC"});
        let error = ApiKeyWithSecret::decode(bad.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("`key.created_at`"), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("SYNTHETIC"),
            "{error}"
        );
    }
}
