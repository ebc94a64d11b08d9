//! Grants as Wacht shows them.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::OAuthGrantStatus;
use crate::api::id;
use crate::api::nullable::or_empty;

/// What a user allows an OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct OAuthGrant {
    /// The grant's id.
    #[serde(deserialize_with = "id::required")]
    pub id: i64,
    /// The record of the client.
    #[serde(deserialize_with = "id::required")]
    pub oauth_client_id: i64,
    /// The API auth app that the grant's tokens belong to.
    #[serde(default)]
    pub api_auth_app_slug: String,
    /// What it is about, such as `urn:wacht:organization:6001`; empty if about nothing special.
    #[serde(default)]
    pub resource: String,
    /// What is allowed.
    #[serde(default, deserialize_with = "or_empty")]
    pub scopes: Vec<String>,
    /// Where the grant stands. One that ended by its date may still say it is active.
    pub status: OAuthGrantStatus,
    /// When the user agreed.
    pub granted_at: DateTime<Utc>,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    #[serde(default)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// The user who agreed.
    #[serde(default, deserialize_with = "id::optional")]
    pub granted_by_user_id: Option<i64>,
    /// When the record was made.
    pub created_at: DateTime<Utc>,
    /// When the record was last changed.
    pub updated_at: DateTime<Utc>,
}
