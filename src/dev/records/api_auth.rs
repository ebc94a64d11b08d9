//! API auth apps, their schemes and keys, and access tokens.

use chrono::{DateTime, Utc};
use serde_json::Value;

pub(crate) struct App {
    pub(crate) id: i64,
    pub(crate) deployment: i64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) is_active: bool,
    pub(crate) key_prefix: String,
    pub(crate) permissions: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) owner: Owner,
    pub(crate) scheme: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) deleted_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Default)]
pub(crate) struct Owner {
    pub(crate) user: Option<i64>,
    pub(crate) organization: Option<i64>,
    pub(crate) workspace: Option<i64>,
    pub(crate) organization_membership: Option<i64>,
    pub(crate) workspace_membership: Option<i64>,
}

/// Rules are kept as JSON, so that a test can store what today's backend would refuse.
pub(crate) struct Scheme {
    pub(crate) id: i64,
    pub(crate) deployment: i64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) rules: Vec<Value>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: i64,
    pub(crate) app: i64,
    pub(crate) deployment: i64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) suffix: String,
    pub(crate) permissions: Vec<String>,
    pub(crate) role_permissions: Vec<String>,
    pub(crate) workspace_role_permissions: Vec<String>,
    pub(crate) metadata: Value,
    pub(crate) scheme: Option<String>,
    pub(crate) owner: Owner,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) is_active: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
    pub(crate) revoked_reason: Option<String>,
}

/// What a new key is made of; the rest comes from its app.
pub(crate) struct NewKey {
    pub(crate) name: String,
    pub(crate) secret: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) permissions: Vec<String>,
    pub(crate) role_permissions: Vec<String>,
    pub(crate) workspace_role_permissions: Vec<String>,
    pub(crate) metadata: Value,
    pub(crate) owner: Option<Owner>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) app: i64,
    pub(crate) client_record: i64,
    pub(crate) client_id: String,
    pub(crate) grant: i64,
    pub(crate) scopes: Vec<String>,
    pub(crate) mapped_permissions: Vec<String>,
    pub(crate) oauth_resource: Option<String>,
    pub(crate) granted_resource: Option<String>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) revoked: bool,
}

impl NewKey {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            secret: None,
            prefix: None,
            permissions: Vec::new(),
            role_permissions: Vec::new(),
            workspace_role_permissions: Vec::new(),
            metadata: Value::Object(serde_json::Map::new()),
            owner: None,
            expires_at: None,
        }
    }
}
