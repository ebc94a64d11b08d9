//! Scopes: what a client can ask for, how that is put to users, and what it allows.

use serde::{Deserialize, Serialize};

use super::OAuthScopeCategory;

/// What a scope of an OAuth app means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthScopeDefinition {
    /// The scope, as clients ask for it.
    pub scope: String,
    /// Its name for users.
    pub display_name: String,
    /// What users read about it.
    pub description: String,
    /// Whether it is out of use. Tokens that have it keep what it is mapped to.
    #[serde(default)]
    pub archived: bool,
    /// What it is about.
    #[serde(default)]
    pub category: OAuthScopeCategory,
    /// The permission it gives in a granted organization; only in the category of that name.
    #[serde(default)]
    pub organization_permission: Option<String>,
    /// The permission it gives in a granted workspace; only in the category of that name.
    #[serde(default)]
    pub workspace_permission: Option<String>,
}

/// What to change about the words a scope is put in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateOAuthScopeRequest {
    /// The name for users. `None` leaves it; a blank one falls back to the scope itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What users read about it. `None` leaves it; a blank one falls back to Wacht's default,
    /// `Allows <scope> access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a scope is to allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetOAuthScopeMappingRequest {
    /// What the scope is about. Required.
    pub category: OAuthScopeCategory,
    /// The permission in a granted organization; with [`OAuthScopeCategory::Organization`] only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_permission: Option<String>,
    /// The permission in a granted workspace; with [`OAuthScopeCategory::Workspace`] only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_permission: Option<String>,
}
