//! OAuth apps.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::multipart::{self, Part};
use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use super::shown::timestamp;
use super::update::{set, set_some};
use crate::dev::answer::Answer;
use crate::dev::call::Unread;
use crate::dev::records::{OAuthApp, Scope};
use crate::dev::state::utc;

impl Room<'_> {
    pub(super) fn list_oauth_apps(&self) -> Answer {
        let apps: Vec<Value> = self
            .state
            .oauth
            .apps
            .values()
            .rev()
            .filter(|app| app.deployment == self.deployment)
            .map(app_json)
            .collect();
        Answer::json(StatusCode::OK, &json!({ "apps": apps }))
    }

    pub(super) fn create_oauth_app(&mut self) -> Result {
        let body = self.call.body.as_ref().map_err(|unread| match unread {
            Unread::TooLarge => Answer::generic(StatusCode::PAYLOAD_TOO_LARGE),
            Unread::Broken => Answer::generic(StatusCode::BAD_REQUEST),
        })?;
        let parts = multipart::parts(self.call, body);
        let parts = parts.ok_or_else(|| Answer::generic(StatusCode::BAD_REQUEST))?;
        let text = |name: &str| {
            let part = parts.iter().rev().find(|part| part.name == name);
            part.and_then(Part::text)
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let slug = text("slug").ok_or_else(|| bad_request("slug is required"))?;
        let name = text("name").ok_or_else(|| bad_request("name is required"))?;
        let given: Vec<GivenScope> = match text("scope_definitions") {
            None => Vec::new(),
            Some(array) => serde_json::from_str(array)
                .map_err(|_| bad_request("scope_definitions must be valid JSON array"))?,
        };
        let supported = text("supported_scopes").unwrap_or_default().split(',');
        let scopes = described(supported.map(str::to_owned).collect(), &given)?;
        let logo = logo(&parts)?;
        if self.state.oauth_app_id(self.deployment, slug).is_some() {
            return Err(Answer::error(
                StatusCode::CONFLICT,
                "Resource already exists",
            ));
        }

        let id = self.state.add_oauth_app(self.deployment, slug, name);
        let app = self
            .state
            .oauth
            .apps
            .get_mut(&id)
            .ok_or_else(no_oauth_app)?;
        app.description = text("description").map(str::to_owned);
        app.logo_url = logo.map(|kind| format!("https://cdn.example.test/oauth/{id}.{kind}"));
        app.allow_dynamic_client_registration = text("allow_dynamic_client_registration")
            .is_some_and(|word| {
                ["1", "true", "yes", "on"].contains(&word.to_ascii_lowercase().as_str())
            });
        app.scopes = scopes;
        Ok(Answer::json(StatusCode::OK, &app_json(app)))
    }

    pub(super) fn update_oauth_app(&mut self, slug: &str) -> Result {
        let update: UpdateOAuthApp = self.body()?;
        let app = self.changed_oauth_app(slug)?;
        let supported = update
            .supported_scopes
            .unwrap_or_else(|| app.scopes.iter().map(|s| s.scope.clone()).collect());
        // What is not described anew loses the description it had.
        let given = update.scope_definitions.unwrap_or_default();
        app.scopes = described(supported, &given)?;
        set(&mut app.name, update.name);
        set_some(&mut app.description, update.description);
        set(
            &mut app.allow_dynamic_client_registration,
            update.allow_dynamic_client_registration,
        );
        set(&mut app.is_active, update.is_active);
        Ok(Answer::json(StatusCode::OK, &app_json(app)))
    }

    pub(super) fn verify_oauth_app_domain(&self, slug: &str) -> Result {
        let id = self.oauth_app(slug)?;
        let app = self.state.oauth.apps.get(&id).ok_or_else(no_oauth_app)?;
        let answer = json!({
            "domain": app.fqdn,
            "cname_target": "oauth.wacht.services",
            "verified": false,
        });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    pub(super) fn oauth_app(&self, slug: &str) -> Result<i64> {
        self.state
            .oauth_app_id(self.deployment, slug)
            .ok_or_else(no_oauth_app)
    }

    /// The app, about to be changed.
    pub(super) fn changed_oauth_app(&mut self, slug: &str) -> Result<&mut OAuthApp> {
        let id = self.oauth_app(slug)?;
        let now = utc(self.state.clock.now());
        let app = self.state.oauth.apps.get_mut(&id);
        let app = app.ok_or_else(no_oauth_app)?;
        app.updated_at = now;
        Ok(app)
    }
}

#[derive(Deserialize)]
struct UpdateOAuthApp {
    name: Option<String>,
    description: Option<String>,
    supported_scopes: Option<Vec<String>>,
    scope_definitions: Option<Vec<GivenScope>>,
    allow_dynamic_client_registration: Option<bool>,
    is_active: Option<bool>,
}

#[derive(Deserialize)]
struct GivenScope {
    scope: String,
    display_name: String,
    description: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    category: String,
    organization_permission: Option<String>,
    workspace_permission: Option<String>,
}

/// What Wacht has against a scope of this category with these permissions.
pub(super) fn objection(
    category: &str,
    organization: Option<&str>,
    workspace: Option<&str>,
) -> Option<&'static str> {
    match category {
        "" | "personal" => organization
            .or(workspace)
            .map(|_| "permissions need an organization or workspace category"),
        "organization" => {
            workspace.map(|_| "workspace_permission is not allowed for category organization")
        }
        "workspace" => {
            organization.map(|_| "organization_permission is not allowed for category workspace")
        }
        _ => Some("category must be personal, organization, or workspace"),
    }
}

/// A description for each supported scope, sorted; those of other scopes are dropped.
fn described(supported: Vec<String>, given: &[GivenScope]) -> Result<Vec<Scope>> {
    let objection = given.iter().find_map(|given| {
        let organization = given.organization_permission.as_deref();
        objection(
            &given.category,
            organization,
            given.workspace_permission.as_deref(),
        )
    });
    if let Some(objection) = objection {
        return Err(bad_request(objection));
    }
    let mut supported: Vec<&str> = supported.iter().map(|scope| scope.trim()).collect();
    supported.retain(|scope| !scope.is_empty());
    supported.sort_unstable();
    supported.dedup();
    let describe = |scope: &str| {
        let mut described = Scope::undescribed(scope);
        if let Some(given) = given.iter().find(|given| given.scope.trim() == scope) {
            described.describe(Some(&given.display_name), Some(&given.description));
            described.archived = given.archived;
            described.category.clone_from(&given.category);
            described
                .organization_permission
                .clone_from(&given.organization_permission);
            described
                .workspace_permission
                .clone_from(&given.workspace_permission);
        }
        described
    };
    Ok(supported.into_iter().map(describe).collect())
}

/// The kind of image; a part that does not say it is one is not looked at.
fn logo<'p>(parts: &'p [Part<'_>]) -> Result<Option<&'p str>> {
    let logo = parts.iter().find(|part| part.name == "logo");
    let content_type = logo.and_then(|logo| logo.content_type.as_deref());
    match content_type.and_then(|content_type| content_type.strip_prefix("image/")) {
        None => Ok(None),
        Some("x-icon" | "vnd.microsoft.icon") => Ok(Some("ico")),
        Some(kind @ ("jpeg" | "jpg" | "png" | "gif" | "webp")) => Ok(Some(kind)),
        Some(_) => Err(bad_request(
            "Unsupported image format. Use JPEG, PNG, GIF, WebP or ICO",
        )),
    }
}

pub(super) fn no_oauth_app() -> Answer {
    not_found("OAuth app not found")
}

pub(super) fn app_json(app: &OAuthApp) -> Value {
    let supported: Vec<&str> = app.scopes.iter().map(|s| s.scope.as_str()).collect();
    let definitions: Vec<Value> = app
        .scopes
        .iter()
        .map(|scope| {
            json!({
                "scope": scope.scope,
                "display_name": scope.display_name,
                "description": scope.description,
                "archived": scope.archived,
                "category": scope.category,
                "organization_permission": scope.organization_permission,
                "workspace_permission": scope.workspace_permission,
            })
        })
        .collect();
    json!({
        "id": app.id.to_string(),
        "slug": app.slug,
        "name": app.name,
        "description": app.description,
        "logo_url": app.logo_url,
        "fqdn": app.fqdn,
        "supported_scopes": supported,
        "scope_definitions": definitions,
        "allow_dynamic_client_registration": app.allow_dynamic_client_registration,
        "is_active": app.is_active,
        "created_at": timestamp(app.created_at),
        "updated_at": timestamp(app.updated_at),
    })
}
