//! What the gateway answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::nullable::or_empty;
use crate::api::{id, named};

/// What the gateway says about a key.
///
/// `allowed: true` only says that the key is valid somewhere at Wacht. Whether it is a key of
/// *yours* has to be read from [`identity`](Self::identity).
///
/// ```
/// use wacht_auth::api::gateway::CheckRequest;
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let strangers = wacht.other_deployment().issue_key("theirs").issue();
///
/// let answer = client.gateway().check(CheckRequest::api_key(strangers.secret())).send().await?;
/// assert!(answer.allowed, "a good key, of another customer");
/// let deployment = answer.identity.map(|identity| identity.deployment_id);
/// assert_ne!(deployment, Some(wacht.deployment_id()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct CheckResponse {
    /// The gateway's id of this check, empty if it names none.
    #[serde(default, deserialize_with = "or_default")]
    pub request_id: String,
    /// Whether the key is good, and for what was asked.
    pub allowed: bool,
    /// Why not, if the key itself is good.
    #[serde(default)]
    pub reason: Option<DenyReason>,
    /// The rule that refuses, such as `100/60s`. Of several, the first by priority.
    #[serde(default, deserialize_with = "or_default")]
    pub blocked_rule: Option<String>,
    /// Whose key it is.
    #[serde(default, deserialize_with = "named::optional")]
    pub identity: Option<CheckIdentity>,
    /// What the key may do: its own permissions and those of its owner's roles.
    #[serde(default, deserialize_with = "or_empty")]
    pub permissions: Vec<String>,
    /// What was stored with the key; any JSON.
    #[serde(default)]
    pub metadata: Value,
    /// The rules that were applied, in order of priority.
    #[serde(default, deserialize_with = "or_default")]
    pub rate_limits: Vec<CheckRateLimit>,
    /// The window of the rule that refuses. It is the whole window, not what is left of it.
    #[serde(default, deserialize_with = "milliseconds")]
    pub retry_after: Option<Duration>,
    /// Headers the gateway suggests to pass on, with lower-case names.
    #[serde(default, deserialize_with = "or_default")]
    pub headers: BTreeMap<String, String>,
}

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct CheckIdentity {
    /// The key, or for an OAuth access token the record of its client.
    #[serde(deserialize_with = "id::required")]
    pub key_id: i64,
    /// The deployment the key belongs to.
    #[serde(deserialize_with = "id::required")]
    pub deployment_id: i64,
    /// The API auth app the key belongs to.
    pub app_slug: String,
    /// The name of the key, or for an OAuth access token its `client_id`.
    #[serde(default, deserialize_with = "or_default")]
    pub key_name: String,
    /// The user who owns the key.
    #[serde(default, deserialize_with = "id::optional")]
    pub owner_user_id: Option<i64>,
    /// The organization the key acts for.
    #[serde(default, deserialize_with = "id::optional")]
    pub organization_id: Option<i64>,
    /// The workspace the key acts for.
    #[serde(default, deserialize_with = "id::optional")]
    pub workspace_id: Option<i64>,
    /// The owner's membership in that organization.
    #[serde(default, deserialize_with = "id::optional")]
    pub organization_membership_id: Option<i64>,
    /// The owner's membership in that workspace.
    #[serde(default, deserialize_with = "id::optional")]
    pub workspace_membership_id: Option<i64>,
}

/// Where a key stands with one rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct CheckRateLimit {
    /// The rule, such as `100/60s`. Different rules may look the same here.
    pub rule: String,
    /// How many requests are left in the window.
    pub remaining: i64,
    /// How many requests a window admits.
    pub limit: i64,
}

/// Why a valid key was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenyReason {
    /// The key lacks a permission that was required.
    PermissionDenied,
    /// A rate limit is used up.
    RateLimited,
    /// A word this version does not know.
    Other(String),
}

// === impl DenyReason ===

impl DenyReason {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::Other(word) => word,
        }
    }
}

impl<'de> Deserialize<'de> for DenyReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(match word.as_str() {
            "permission_denied" => Self::PermissionDenied,
            "rate_limited" => Self::RateLimited,
            _ => Self::Other(word),
        })
    }
}

/// For members that decide nothing: another shape of them must not make keys unverifiable.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(or_default::<D, Option<u64>>(deserializer)?.map(Duration::from_millis))
}

#[cfg(test)]
mod tests;
