//! What is asked for when an OAuth app is made or changed.

use serde::Serialize;
use serde_json::Value;

use super::OAuthScopeDefinition;

/// An OAuth app to be made. A picture and a domain are set on the
/// [call](super::CreateOAuthAppBuilder).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOAuthAppRequest {
    /// The app's name in URLs, unique in its deployment. Cannot be changed later.
    pub slug: String,
    /// The app's name for people.
    pub name: String,
    /// What the app is for.
    pub description: Option<String>,
    /// What clients can ask for. Names without commas.
    pub supported_scopes: Option<Vec<String>>,
    /// What these mean; Wacht makes something up for those that are left out.
    pub scope_definitions: Option<Vec<OAuthScopeDefinition>>,
    /// Whether clients may register themselves. Wacht's default is `false`.
    pub allow_dynamic_client_registration: Option<bool>,
}

/// What to change about an OAuth app. `None` leaves a member as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOAuthAppRequest {
    /// The app's name for people.
    pub name: Option<String>,
    /// What the app is for. It cannot be cleared.
    pub description: Option<String>,
    /// All that clients can ask for.
    pub supported_scopes: Option<Vec<String>>,
    /// What the scopes mean: of all of them, because a scope that is missing here falls back to
    /// what Wacht makes up, without category and permissions. `None` keeps what each scope has,
    /// see [`UpdateOAuthAppBuilder`](super::UpdateOAuthAppBuilder).
    pub scope_definitions: Option<Vec<OAuthScopeDefinition>>,
    /// Whether clients may register themselves.
    pub allow_dynamic_client_registration: Option<bool>,
    /// Whether the app is in use.
    pub is_active: Option<bool>,
}

/// An update on the wire.
#[derive(Serialize)]
pub(super) struct WireUpdate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) supported_scopes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope_definitions: Option<Definitions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow_dynamic_client_registration: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_active: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Definitions<'a> {
    Given(&'a [OAuthScopeDefinition]),
    /// As they came, with whatever members this version does not know.
    Current(Vec<Value>),
}
