//! The gateway: asks whether a key may do something.
//!
//! A check made here is always a call to the gateway; nothing is remembered between two.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::id;
use super::named::{self, Named};
use super::nullable::or_empty;
use crate::client::{Error, Result, WachtClient, decode};

/// The gateway's calls; made by [`WachtClient::gateway`].
#[derive(Clone, Debug)]
pub struct Gateway {
    client: WachtClient,
}

/// What the gateway is asked.
///
/// The key in it is erased from memory when the request is dropped, and `Debug` hides it.
///
/// What a check is asked with decides what is answered:
///
/// ```
/// use wacht_auth::api::gateway::{CheckRequest, DenyReason};
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let key = wacht.issue_key("orders").permissions(["orders:read"]).issue();
/// let request = CheckRequest::api_key(key.secret())
///     .method("POST")
///     .resource("/orders")
///     .client_ip([192, 0, 2, 7])
///     .required_permissions(["orders:write"]);
/// let answer = client.gateway().check(request).send().await?;
/// assert_eq!(answer.reason, Some(DenyReason::PermissionDenied));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is given to `Gateway::check` and sent"]
pub struct CheckRequest {
    kind: PrincipalType,
    secret: SecretString,
    method: String,
    resource: String,
    client_ip: Option<IpAddr>,
    user_agent: Option<String>,
    required_permissions: Vec<String>,
}

/// A check that has yet to be sent; made by [`Gateway::check`].
#[derive(Clone, Debug)]
#[must_use = "a call does nothing until `send` is called"]
pub struct CheckBuilder {
    client: WachtClient,
    request: CheckRequest,
}

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

/// What kind of secret is checked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum PrincipalType {
    ApiKey,
    OauthAccessToken,
}

// === impl Gateway ===

impl WachtClient {
    /// The gateway, which verifies keys.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        Gateway {
            client: self.clone(),
        }
    }
}

impl Gateway {
    /// Asks the gateway about a key.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let key = wacht.issue_key("orders").issue();
    /// let request = CheckRequest::api_key(key.secret()).method("GET").resource("/orders");
    /// let answer = client.gateway().check(request.clone()).send().await?;
    /// assert!(answer.allowed);
    ///
    /// wacht.revoke(key.key_id());
    /// let error = client.gateway().check(request).send().await.unwrap_err();
    /// assert!(error.is_invalid_key());
    /// # Ok(()) }
    /// ```
    pub fn check(&self, request: CheckRequest) -> CheckBuilder {
        CheckBuilder {
            client: self.client.clone(),
            request,
        }
    }
}

// === impl CheckRequest ===

impl CheckRequest {
    /// Asks about an API key, for `GET /` unless told otherwise.
    pub fn api_key(secret: impl Into<String>) -> Self {
        Self::new(PrincipalType::ApiKey, secret.into())
    }

    /// Asks about an OAuth access token, for `GET /` unless told otherwise.
    ///
    /// ```
    /// use wacht_auth::api::gateway::CheckRequest;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let client = wacht.client();
    /// let token = wacht.issue_token("orders").scopes(["orders:read"]).issue();
    /// let request = CheckRequest::oauth_access_token(token.secret());
    /// let answer = client.gateway().check(request).send().await?;
    /// assert_eq!(answer.permissions, ["orders:read"]);
    /// # Ok(()) }
    /// ```
    pub fn oauth_access_token(token: impl Into<String>) -> Self {
        Self::new(PrincipalType::OauthAccessToken, token.into())
    }

    fn new(kind: PrincipalType, secret: String) -> Self {
        Self {
            kind,
            secret: secret.into(),
            method: "GET".to_owned(),
            resource: "/".to_owned(),
            client_ip: None,
            user_agent: None,
            required_permissions: Vec::new(),
        }
    }

    /// Sets the method of the request that is checked. The gateway knows GET, POST, PUT, PATCH,
    /// DELETE, HEAD and OPTIONS and answers 400 to others. Defaults to `GET`.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    /// Sets the path of the request that is checked, for limits that are about endpoints and for
    /// counts per key, which the gateway keeps per path. Defaults to `/`.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    /// Sets the address of the caller. Without it, limits per address take this process for the
    /// caller.
    pub fn client_ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.client_ip = Some(address.into());
        self
    }

    /// Sets the user agent of the caller, for the audit log.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Requires all of these permissions. Without any, the gateway checks none.
    ///
    /// Commas, parentheses and the words `AND` and `OR` have a surprising meaning to the
    /// gateway: plain names are what works.
    pub fn required_permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.required_permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    fn to_body(&self) -> Result<Bytes> {
        let secret = self.secret.expose_secret();
        let wire = WireRequest {
            principal: WirePrincipal {
                kind: self.kind,
                value: secret,
            },
            resource: &self.resource,
            method: &self.method,
            client_ip: self.client_ip,
            user_agent: self.user_agent.as_deref(),
            required_permissions: &self.required_permissions,
        };
        // Erased when sent. With room for all of it, so that growing leaves no copies behind.
        let permissions: usize = self.required_permissions.iter().map(|p| p.len() + 3).sum();
        let user_agent = self.user_agent.as_ref().map_or(0, String::len);
        let room = 2 * (secret.len() + self.resource.len() + permissions + user_agent) + 256;
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *body, &wire)
            .map_err(|_| Error::InvalidRequest("the check cannot be written".to_owned()))?;
        Ok(Bytes::from_owner(body))
    }
}

#[derive(Serialize)]
struct WireRequest<'a> {
    principal: WirePrincipal<'a>,
    resource: &'a str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    required_permissions: &'a [String],
}

#[derive(Serialize)]
struct WirePrincipal<'a> {
    #[serde(rename = "type")]
    kind: PrincipalType,
    value: &'a str,
}

// === impl CheckBuilder ===

impl CheckBuilder {
    /// Sends the check. It is sent once; nothing is retried.
    ///
    /// # Errors
    ///
    /// [`Error::Api`] for every status but 200; [`Error::is_invalid_key`] tells whether that is
    /// about the key. [`Error::Decode`] for a 200 that is no check's answer or longer than
    /// 256 KiB, [`Error::Request`] if there was no answer, [`Error::Config`] if the client cannot
    /// be used. A key that is valid and refused is an `Ok` with `allowed: false`.
    pub async fn send(self) -> Result<CheckResponse> {
        let transport = self.client.transport()?;
        let body = self.request.to_body()?;
        let answer = transport.check(body, &self.request.secret).await?;
        let Named(answer) = decode("the answer to a check", &answer)?;
        Ok(answer)
    }
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
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Result<CheckResponse> {
        let Named(answer) = decode("a check", answer.to_string().as_bytes())?;
        Ok(answer)
    }

    fn written(request: &CheckRequest) -> Value {
        serde_json::from_slice(&request.to_body().unwrap()).unwrap()
    }

    #[test]
    fn members_nobody_set_are_not_sent() {
        assert_eq!(
            written(&CheckRequest::api_key("k").required_permissions([""; 0])),
            json!({
                "principal": {"type": "api_key", "value": "k"}, "resource": "/", "method": "GET",
            })
        );
    }

    #[test]
    fn members_go_out_under_their_names() {
        let request = CheckRequest::oauth_access_token("t\"\n")
            .method("POST")
            .resource("/x")
            .client_ip([192, 0, 2, 1])
            .user_agent("agent")
            .required_permissions(["a", "b"]);
        assert_eq!(
            written(&request),
            json!({
                "principal": {"type": "oauth_access_token", "value": "t\"\n"},
                "resource": "/x", "method": "POST", "client_ip": "192.0.2.1",
                "user_agent": "agent", "required_permissions": ["a", "b"],
            })
        );
    }

    #[test]
    fn the_secret_is_not_in_debug() {
        let request = CheckRequest::api_key("sk_SYNTHETIC");
        assert!(!format!("{request:?}").contains("SYNTHETIC"));
        let check = WachtClient::new("sk_SYNTHETIC").gateway().check(request);
        assert!(!format!("{check:?}").contains("SYNTHETIC"));
    }

    #[test]
    fn the_smallest_answer_is_understood() {
        let answer = read(json!({"allowed": true})).unwrap();
        assert!(answer.allowed && answer.identity.is_none() && answer.permissions.is_empty());
        assert!(read(json!({"request_id": "req_1"})).is_err());
    }

    #[test]
    fn absent_and_null_are_the_same() {
        let nulls = json!({
            "request_id": null, "allowed": false, "reason": null, "blocked_rule": null,
            "identity": null, "permissions": null, "metadata": null, "rate_limits": null,
            "retry_after": null, "headers": null, "new": 1,
        });
        assert_eq!(
            read(nulls).unwrap(),
            read(json!({"allowed": false})).unwrap()
        );
    }

    #[test]
    fn a_member_that_decides_nothing_cannot_spoil_the_answer() {
        let answer = read(json!({
            "allowed": true, "request_id": 7, "blocked_rule": {}, "rate_limits": [{"rule": 1}],
            "retry_after": -1.5, "headers": {"a": 1},
        }))
        .unwrap();
        assert_eq!(answer, read(json!({"allowed": true})).unwrap());
    }

    #[test]
    fn a_member_that_decides_must_be_of_its_shape() {
        let identity = json!({"key_id": "1", "deployment_id": 2, "app_slug": "app"});
        assert!(read(json!({"allowed": true, "identity": identity})).is_ok());
        for answer in [
            json!({"allowed": "true"}),
            json!({"allowed": null}),
            json!({"allowed": true, "permissions": "all"}),
            json!({"allowed": true, "permissions": [1]}),
            json!({"allowed": false, "reason": 1}),
            json!({"allowed": true, "identity": {"key_id": "x", "deployment_id": 2, "app_slug": ""}}),
            json!({"allowed": true, "identity": {"key_id": 1.0, "deployment_id": 2, "app_slug": ""}}),
            json!({"allowed": true, "identity": {"key_id": 1, "app_slug": "app"}}),
            json!({"allowed": true, "identity": {"key_id": 1, "deployment_id": 2}}),
            json!({"allowed": true, "identity": ["1", 2, "app"]}),
            json!(["req_1", true, null, null, identity, [], null]),
        ] {
            assert!(read(answer.clone()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_new_reason_is_kept() {
        let answer = read(json!({"allowed": false, "reason": "moon_phase"})).unwrap();
        assert_eq!(
            answer.reason,
            Some(DenyReason::Other("moon_phase".to_owned()))
        );
    }
}
