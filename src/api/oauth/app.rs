//! OAuth apps as Wacht shows them.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::OAuthScopeDefinition;
use crate::api::id;
use crate::api::nullable::or_empty;

/// An OAuth app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OAuthApp {
    /// The id of the app's record. Calls name the app by its slug.
    #[serde(deserialize_with = "id::required")]
    pub id: i64,
    /// The app's name in URLs, unique in its deployment.
    pub slug: String,
    /// The app's name for people.
    pub name: String,
    /// What the app is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Where its picture is.
    #[serde(default)]
    pub logo_url: Option<String>,
    /// The domain on which users sign in.
    #[serde(default)]
    pub fqdn: String,
    /// What clients can ask for.
    #[serde(default, deserialize_with = "or_empty")]
    pub supported_scopes: Vec<String>,
    /// What these mean.
    #[serde(default, deserialize_with = "or_empty")]
    pub scope_definitions: Vec<OAuthScopeDefinition>,
    /// Whether clients may register themselves.
    #[serde(default)]
    pub allow_dynamic_client_registration: bool,
    /// Whether the app is in use.
    pub is_active: bool,
    /// When the app was made.
    pub created_at: DateTime<Utc>,
    /// When the app was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Whether the domain of an OAuth app points where it has to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OAuthDomainVerificationResponse {
    /// The domain.
    pub domain: String,
    /// What its CNAME record has to name.
    pub cname_target: String,
    /// Whether it does.
    pub verified: bool,
}
