//! API auth apps.

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::query::{flag, query_value};
use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use super::shown::{add_if_some, id_text, timestamp};
use super::update::{set, set_some};
use crate::dev::answer::Answer;
use crate::dev::records::{App, Owner};
use crate::dev::state::utc;

impl Room<'_> {
    pub(super) fn list_apps(&self) -> Result {
        let query = self.query()?;
        let number = |name: &str, default: i64| match query_value(&query, name) {
            None => Ok(default),
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST)),
        };
        let limit = number("limit", 50)?.min(self.state.page_limit);
        let offset = usize::try_from(number("offset", 0)?).unwrap_or_default();
        let include_inactive = flag(&query, "include_inactive")?;
        let search = query_value(&query, "search")
            .map(str::trim)
            .filter(|s| !s.is_empty());

        // One more than asked for is read, to know whether there is more.
        let fetched = usize::try_from(limit.saturating_add(1))
            .unwrap_or_default()
            .max(1);
        let mut data: Vec<Value> = self
            .state
            .apps
            .values()
            .rev()
            .filter(|app| app.deployment == self.deployment && app.deleted_at.is_none())
            .filter(|app| include_inactive || app.is_active)
            .filter(|app| search.is_none_or(|slug| app.slug == slug))
            .skip(offset)
            .take(fetched)
            .map(|app| self.app_json(app))
            .collect();
        let has_more = usize::try_from(limit).is_ok_and(|limit| data.len() > limit);
        if has_more {
            data.pop();
        }
        let page = json!({ "data": data, "has_more": has_more, "limit": limit, "offset": offset });
        Ok(Answer::json(StatusCode::OK, &page))
    }

    pub(super) fn create_app(&mut self) -> Result {
        let new: CreateApp = self.body()?;
        let owner = Owner {
            user: new.user_id,
            organization: new.organization_id,
            workspace: new.workspace_id,
            ..Owner::default()
        };
        if owner.user.is_none() && (owner.organization.is_some() || owner.workspace.is_some()) {
            let message = "user_id is required when organization_id/workspace_id is provided";
            return Err(bad_request(message));
        }
        if owner.user.is_some() && (new.permissions.is_some() || new.resources.is_some()) {
            let message = "permissions/resources cannot be set when user_id is attached";
            return Err(bad_request(message));
        }
        if self.state.app_id(self.deployment, &new.app_slug).is_some() {
            return Err(Answer::error(
                StatusCode::CONFLICT,
                "Resource already exists",
            ));
        }
        let id = self
            .state
            .add_app(self.deployment, &new.app_slug, &new.key_prefix);
        if let Some(app) = self.state.apps.get_mut(&id) {
            app.name = new.name;
            app.description = new.description;
            app.owner = owner;
            app.scheme = new.rate_limit_scheme_slug;
            app.permissions = new.permissions.unwrap_or_default();
            app.resources = new.resources.unwrap_or_default();
        }
        self.shown_app(id)
    }

    pub(super) fn update_app(&mut self, slug: &str) -> Result {
        let update: UpdateApp = self.body()?;
        let id = self.app(slug)?;
        let app = self.state.apps.get_mut(&id).ok_or_else(no_app)?;
        if app.owner.user.is_some() && (update.permissions.is_some() || update.resources.is_some())
        {
            let message =
                "permissions/resources can only be updated when app is not attached to a user";
            return Err(bad_request(message));
        }
        if app.owner.user.is_none()
            && (update.organization_id.is_some() || update.workspace_id.is_some())
        {
            let message = "organization_id/workspace_id cannot be set when app has no user_id";
            return Err(bad_request(message));
        }
        set(&mut app.name, update.name);
        set(&mut app.key_prefix, update.key_prefix);
        set(&mut app.is_active, update.is_active);
        set(&mut app.permissions, update.permissions);
        set(&mut app.resources, update.resources);
        set_some(&mut app.description, update.description);
        set_some(&mut app.scheme, update.rate_limit_scheme_slug);
        set_some(&mut app.owner.organization, update.organization_id);
        set_some(&mut app.owner.workspace, update.workspace_id);
        self.state.touch_app(id);
        self.shown_app(id)
    }

    pub(super) fn delete_app(&mut self, slug: &str) -> Result {
        let id = self.app(slug)?;
        let now = utc(self.state.clock.now());
        if let Some(app) = self.state.apps.get_mut(&id) {
            app.deleted_at = Some(now);
        }
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    pub(super) fn app(&self, slug: &str) -> Result<i64> {
        self.state.app_id(self.deployment, slug).ok_or_else(no_app)
    }

    pub(super) fn shown_app(&self, id: i64) -> Result {
        let app = self.state.apps.get(&id).ok_or_else(no_app)?;
        Ok(Answer::json(StatusCode::OK, &self.app_json(app)))
    }

    pub(super) fn app_json(&self, app: &App) -> Value {
        let mut shown = json!({
            "deployment_id": app.deployment.to_string(),
            "app_slug": app.slug,
            "name": app.name,
            "description": app.description,
            "is_active": app.is_active,
            "key_prefix": app.key_prefix,
            "permissions": app.permissions,
            "resources": app.resources,
            "rate_limits": self.rules(app.scheme.as_deref()),
            "created_at": timestamp(app.created_at),
            "updated_at": timestamp(app.updated_at),
            "deleted_at": app.deleted_at.map(timestamp),
        });
        add_if_some(&mut shown, "rate_limit_scheme_slug", app.scheme.as_deref());
        add_if_some(&mut shown, "user_id", id_text(app.owner.user));
        add_if_some(
            &mut shown,
            "organization_id",
            id_text(app.owner.organization),
        );
        add_if_some(&mut shown, "workspace_id", id_text(app.owner.workspace));
        shown
    }

    pub(super) fn rules(&self, scheme: Option<&str>) -> Vec<Value> {
        scheme
            .and_then(|slug| self.state.scheme(self.deployment, slug))
            .map(|scheme| scheme.rules.clone())
            .unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct CreateApp {
    app_slug: String,
    name: String,
    key_prefix: String,
    description: Option<String>,
    rate_limit_scheme_slug: Option<String>,
    permissions: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    #[serde(default, deserialize_with = "flexible_id")]
    user_id: Option<i64>,
    #[serde(default, deserialize_with = "flexible_id")]
    organization_id: Option<i64>,
    #[serde(default, deserialize_with = "flexible_id")]
    workspace_id: Option<i64>,
}

#[derive(Deserialize)]
struct UpdateApp {
    name: Option<String>,
    key_prefix: Option<String>,
    description: Option<String>,
    is_active: Option<bool>,
    rate_limit_scheme_slug: Option<String>,
    permissions: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    #[serde(default, deserialize_with = "flexible_id")]
    organization_id: Option<i64>,
    #[serde(default, deserialize_with = "flexible_id")]
    workspace_id: Option<i64>,
}

/// An id as a number or as its decimal text.
fn flexible_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(i64),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(Id::Number(id)) => Ok(Some(id)),
        Some(Id::Text(id)) => id.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

pub(super) fn no_app() -> Answer {
    not_found("API key app not found")
}
