//! What the gateway is asked.

use std::net::IpAddr;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::client::{Error, Result};

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

/// What kind of secret is checked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum PrincipalType {
    ApiKey,
    OauthAccessToken,
}

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

    pub(super) fn secret(&self) -> &SecretString {
        &self.secret
    }

    pub(super) fn to_body(&self) -> Result<Bytes> {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::WachtClient;

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
}
