//! API keys.

use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::flag;
use super::refusal::{Result, not_found};
use super::room::Room;
use super::shown::{add_if_some, id_text, timestamp};
use super::update::set;
use crate::dev::answer::Answer;
use crate::dev::records::{Key, NewKey};

impl Room<'_> {
    pub(super) fn list_keys(&self, slug: &str) -> Result {
        let include_inactive = flag(&self.query()?, "include_inactive")?;
        let app = self.app(slug)?;
        let keys: Vec<Value> = self
            .state
            .keys
            .values()
            .rev()
            .filter(|key| key.app == app && (include_inactive || key.is_active))
            .map(|key| key_json(key, self.rules(key.scheme.as_deref())))
            .collect();
        Ok(Answer::json(StatusCode::OK, &json!({ "keys": keys })))
    }

    pub(super) fn create_key(&mut self, slug: &str) -> Result {
        let new: CreateKey = self.body()?;
        let app = self.app(slug)?;
        let mut key = NewKey::named(&new.name);
        key.permissions = new.permissions.unwrap_or_default();
        key.expires_at = new.expires_at;
        set(&mut key.metadata, new.metadata);
        self.issue(app, key)
    }

    pub(super) fn issue(&mut self, app: i64, new: NewKey) -> Result {
        let (id, secret) = self.state.add_key(app, new);
        let key = self.state.keys.get(&id).ok_or_else(no_key)?;
        let mut shown = key_json(key, Vec::new());
        add_if_some(&mut shown, "secret", Some(secret));
        Ok(Answer::json(StatusCode::OK, &shown))
    }

    pub(super) fn revoke_key(&mut self, slug: &str, id: &str) -> Result {
        let id = key_id(id)?;
        let body: RevokeKey = self.body()?;
        let id = self.key_of(slug, id)?;
        if !self.state.revoke(id, body.reason) {
            return Err(not_found("API key not found or already revoked"));
        }
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    pub(super) fn rotate_key(&mut self, slug: &str, id: &str) -> Result {
        let id = self.key_of(slug, key_id(id)?)?;
        let key = self.state.keys.get(&id).ok_or_else(no_key)?;
        if !key.is_active {
            return Err(not_found("API key not found or inactive"));
        }
        if !self.state.app_is_live(key.app) {
            return Err(not_found("API key app not found or inactive"));
        }
        let app = key.app;
        let new = NewKey {
            name: key.name.clone(),
            secret: None,
            prefix: Some(key.prefix.clone()),
            permissions: key.permissions.clone(),
            role_permissions: key.role_permissions.clone(),
            workspace_role_permissions: key.workspace_role_permissions.clone(),
            metadata: key.metadata.clone(),
            owner: Some(key.owner.clone()),
            expires_at: key.expires_at,
        };
        self.state.revoke(id, Some("Rotated".to_owned()));
        self.issue(app, new)
    }

    pub(super) fn key_of(&self, slug: &str, id: i64) -> Result<i64> {
        let app = self.app(slug)?;
        match self.state.keys.get(&id) {
            Some(key) if key.app == app => Ok(id),
            _ => Err(no_key()),
        }
    }
}

#[derive(Deserialize)]
struct CreateKey {
    name: String,
    permissions: Option<Vec<String>>,
    metadata: Option<Value>,
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct RevokeKey {
    reason: Option<String>,
}

fn key_id(text: &str) -> Result<i64> {
    text.parse()
        .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))
}

fn no_key() -> Answer {
    not_found("API key not found")
}

fn key_json(key: &Key, rules: Vec<Value>) -> Value {
    let mut shown = json!({
        "id": key.id.to_string(),
        "deployment_id": key.deployment.to_string(),
        "app_slug": key.slug,
        "name": key.name,
        "key_prefix": key.prefix,
        "key_suffix": key.suffix,
        "permissions": key.permissions,
        "metadata": key.metadata,
        "rate_limits": rules,
        "org_role_permissions": key.role_permissions,
        "workspace_role_permissions": key.workspace_role_permissions,
        "expires_at": key.expires_at.map(timestamp),
        "last_used_at": null,
        "is_active": key.is_active,
        "created_at": timestamp(key.created_at),
        "updated_at": timestamp(key.updated_at),
        "revoked_at": key.revoked_at.map(timestamp),
        "revoked_reason": key.revoked_reason,
    });
    let owner = &key.owner;
    add_if_some(&mut shown, "rate_limit_scheme_slug", key.scheme.as_deref());
    add_if_some(&mut shown, "owner_user_id", id_text(owner.user));
    add_if_some(&mut shown, "organization_id", id_text(owner.organization));
    add_if_some(&mut shown, "workspace_id", id_text(owner.workspace));
    add_if_some(
        &mut shown,
        "organization_membership_id",
        id_text(owner.organization_membership),
    );
    add_if_some(
        &mut shown,
        "workspace_membership_id",
        id_text(owner.workspace_membership),
    );
    shown
}
