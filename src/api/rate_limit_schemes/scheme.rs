//! A scheme: rules under a name, which apps refer to.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::limit::{RateLimit, RateLimitRule, rules};
use crate::api::id;

/// A named list of rate-limit rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RateLimitScheme {
    /// The scheme's id.
    #[serde(deserialize_with = "id::required")]
    pub id: i64,
    /// The deployment the scheme belongs to.
    #[serde(deserialize_with = "id::required")]
    pub deployment_id: i64,
    /// The name that apps refer to, unique in its deployment.
    pub slug: String,
    /// The name for people.
    pub name: String,
    /// What the scheme is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The rules. One that cannot be read has an unknown unit.
    #[serde(default, deserialize_with = "rules")]
    pub rules: Vec<RateLimitRule>,
    /// When the scheme was made.
    pub created_at: DateTime<Utc>,
    /// When the scheme was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A scheme to be made. Its rules are [`RateLimit`]s, or [`RateLimitRule`]s where endpoints or
/// an order matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRateLimitSchemeRequest<R = RateLimit> {
    /// The name that apps refer to; it cannot be changed later.
    pub slug: String,
    /// The name for people.
    pub name: String,
    /// What the scheme is for.
    pub description: Option<String>,
    /// The rules, at least one. All that match a request apply to it.
    pub rules: Vec<R>,
}

/// What to change about a scheme. `None` leaves a member as it is; nothing can be emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateRateLimitSchemeRequest {
    /// Another name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Other rules, in place of all present ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RateLimitRule>>,
}

impl<R> Default for CreateRateLimitSchemeRequest<R> {
    fn default() -> Self {
        Self {
            slug: String::new(),
            name: String::new(),
            description: None,
            rules: Vec::new(),
        }
    }
}
