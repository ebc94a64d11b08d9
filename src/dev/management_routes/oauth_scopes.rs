//! Scopes of OAuth apps.

use http::StatusCode;
use serde::Deserialize;

use super::oauth_apps::{app_json, objection};
use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use crate::dev::answer::Answer;
use crate::dev::records::Scope;

impl Room<'_> {
    pub(super) fn update_oauth_scope(&mut self, slug: &str, scope: &str) -> Result {
        let update: UpdateScope = self.body()?;
        self.change_scope(slug, scope, |scope| {
            scope.describe(
                update.display_name.as_deref(),
                update.description.as_deref(),
            );
            Ok(())
        })
    }

    pub(super) fn archive_oauth_scope(&mut self, slug: &str, scope: &str, yes: bool) -> Result {
        self.change_scope(slug, scope, |scope| {
            scope.archived = yes;
            Ok(())
        })
    }

    pub(super) fn map_oauth_scope(&mut self, slug: &str, scope: &str) -> Result {
        let mapping: Mapping = self.body()?;
        self.change_scope(slug, scope, |scope| mapping.apply(scope))
    }

    fn change_scope(
        &mut self,
        slug: &str,
        scope: &str,
        change: impl FnOnce(&mut Scope) -> Result<()>,
    ) -> Result {
        let scope = scope.trim();
        if scope.is_empty() {
            return Err(bad_request("scope is required"));
        }
        let app = self.changed_oauth_app(slug)?;
        let found = app.scopes.iter_mut().find(|found| found.scope == scope);
        change(found.ok_or_else(|| not_found("scope definition not found"))?)?;
        Ok(Answer::json(StatusCode::OK, &app_json(app)))
    }
}

impl Scope {
    /// Takes over what is given; of that, what is blank falls back to the default.
    pub(super) fn describe(&mut self, display_name: Option<&str>, description: Option<&str>) {
        let default = Self::undescribed(&self.scope);
        let or = |given: &str, default: String| match given.trim() {
            "" => default,
            given => given.to_owned(),
        };
        if let Some(given) = display_name {
            self.display_name = or(given, default.display_name);
        }
        if let Some(given) = description {
            self.description = or(given, default.description);
        }
    }
}

#[derive(Deserialize)]
struct UpdateScope {
    display_name: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Mapping {
    category: String,
    organization_permission: Option<String>,
    workspace_permission: Option<String>,
}

impl Mapping {
    fn apply(self, scope: &mut Scope) -> Result<()> {
        let category = self.category.trim().to_ascii_lowercase();
        let (organization, workspace) = (&self.organization_permission, &self.workspace_permission);
        // Unlike in a definition, it has to be one.
        let named = if category.is_empty() {
            "none"
        } else {
            &category
        };
        let objection = objection(named, organization.as_deref(), workspace.as_deref());
        let changes = |old: &Option<String>, new: &Option<String>| old.is_some() && old != new;
        let objection = objection.or_else(|| {
            if !scope.category.is_empty() && scope.category != category {
                Some("scope category is immutable once set")
            } else if changes(&scope.organization_permission, organization) {
                Some("organization permission is immutable once set")
            } else if changes(&scope.workspace_permission, workspace) {
                Some("workspace permission is immutable once set")
            } else {
                None
            }
        });
        if let Some(objection) = objection {
            return Err(bad_request(objection));
        }
        scope.category = category;
        scope.organization_permission = self.organization_permission;
        scope.workspace_permission = self.workspace_permission;
        Ok(())
    }
}
