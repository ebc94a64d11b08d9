//! OAuth apps, their clients, and what users granted these.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

#[derive(Default)]
pub(crate) struct OAuth {
    pub(crate) apps: BTreeMap<i64, OAuthApp>,
    pub(crate) clients: BTreeMap<i64, OAuthClient>,
    pub(crate) grants: BTreeMap<i64, Grant>,
}

pub(crate) struct OAuthApp {
    pub(crate) id: i64,
    pub(crate) deployment: i64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) logo_url: Option<String>,
    pub(crate) fqdn: String,
    /// One for each supported scope, sorted by scope.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) allow_dynamic_client_registration: bool,
    pub(crate) is_active: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) scope: String,
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) archived: bool,
    pub(crate) category: String,
    pub(crate) organization_permission: Option<String>,
    pub(crate) workspace_permission: Option<String>,
}

pub(crate) struct OAuthClient {
    pub(crate) id: i64,
    pub(crate) app: i64,
    pub(crate) client_id: String,
    pub(crate) is_active: bool,
    pub(crate) settings: Settings,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// What whoever makes a client says about it.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) auth_method: String,
    pub(crate) grant_types: Vec<String>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    pub(crate) contacts: Vec<String>,
    /// By the name of the member: `client_name`, `jwks_uri` and so on.
    pub(crate) texts: BTreeMap<&'static str, String>,
    pub(crate) jwks: Option<Value>,
    pub(crate) access_token_format: String,
    pub(crate) access_token_ttl_seconds: i64,
    pub(crate) skip_consent: bool,
}

pub(crate) struct Grant {
    pub(crate) id: i64,
    pub(crate) client: i64,
    /// The slug of the API auth app that tokens of the grant belong to.
    pub(crate) app_slug: String,
    pub(crate) user: Option<i64>,
    pub(crate) resource: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) granted_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl Scope {
    /// What Wacht says about a scope that nobody described.
    pub(crate) fn undescribed(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            display_name: scope.to_owned(),
            description: format!("Allows {scope} access"),
            archived: false,
            category: String::new(),
            organization_permission: None,
            workspace_permission: None,
        }
    }
}
