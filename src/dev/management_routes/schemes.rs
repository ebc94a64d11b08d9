//! Rate-limit schemes.

use std::borrow::Borrow;
use std::cmp::Reverse;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use super::shown::timestamp;
use super::update::{set, set_some};
use crate::dev::answer::Answer;
use crate::dev::records::Scheme;
use crate::dev::rule::Rule;
use crate::dev::state::utc;

impl Room<'_> {
    pub(super) fn list_schemes(&self) -> Answer {
        let mut schemes: Vec<&Scheme> = self
            .state
            .schemes
            .values()
            .filter(|s| s.deployment == self.deployment)
            .collect();
        schemes.sort_by_key(|scheme| Reverse((scheme.updated_at, scheme.id)));
        let total = schemes.len();
        let schemes: Vec<Value> = schemes.into_iter().map(scheme_json).collect();
        Answer::json(
            StatusCode::OK,
            &json!({ "schemes": schemes, "total": total }),
        )
    }

    pub(super) fn create_scheme(&mut self) -> Result {
        let new: CreateScheme = self.body()?;
        if new.slug.trim().is_empty() {
            return Err(bad_request("Scheme slug is required"));
        }
        if new.name.trim().is_empty() {
            return Err(bad_request("Scheme name is required"));
        }
        let rules = stored_rules(&new.rules)?;
        if self.state.scheme(self.deployment, &new.slug).is_some() {
            let message = format!("Rate limit scheme '{}' already exists", new.slug);
            return Err(Answer::error(StatusCode::CONFLICT, &message));
        }
        let id = self.state.add_scheme(self.deployment, &new.slug, rules);
        let scheme = self.state.schemes.get_mut(&id).ok_or_else(no_scheme)?;
        scheme.name = new.name;
        scheme.description = new.description;
        Ok(scheme_answer(scheme))
    }

    pub(super) fn update_scheme(&mut self, slug: &str) -> Result {
        let update: UpdateScheme = self.body()?;
        let now = utc(self.state.clock.now());
        let scheme = self
            .state
            .scheme_mut(self.deployment, slug)
            .ok_or_else(no_scheme)?;
        if update
            .name
            .as_ref()
            .is_some_and(|name| name.trim().is_empty())
        {
            return Err(bad_request("Scheme name cannot be empty"));
        }
        let rules = update.rules.as_deref().map(stored_rules).transpose()?;
        set(&mut scheme.name, update.name);
        set(&mut scheme.rules, rules);
        set_some(&mut scheme.description, update.description);
        scheme.updated_at = now;
        Ok(scheme_answer(scheme))
    }

    pub(super) fn delete_scheme(&mut self, slug: &str) -> Result {
        let id = self
            .state
            .scheme(self.deployment, slug)
            .ok_or_else(no_scheme)?
            .id;
        let assigned = |scheme: &Option<String>| scheme.as_deref() == Some(slug);
        let in_use = |by| format!("Cannot delete rate limit scheme while it is assigned to {by}");
        let mut apps = self
            .state
            .apps
            .values()
            .filter(|app| app.deployment == self.deployment);
        if apps.any(|app| app.deleted_at.is_none() && assigned(&app.scheme)) {
            return Err(bad_request(&in_use("API auth apps")));
        }
        let mut keys = self
            .state
            .keys
            .values()
            .filter(|key| key.deployment == self.deployment);
        if keys.any(|key| key.is_active && assigned(&key.scheme)) {
            return Err(bad_request(&in_use("active API keys")));
        }
        self.state.schemes.remove(&id);
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    }
}

#[derive(Deserialize)]
struct CreateScheme {
    slug: String,
    name: String,
    description: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct UpdateScheme {
    name: Option<String>,
    description: Option<String>,
    rules: Option<Vec<Rule>>,
}

fn stored_rules(rules: &[Rule]) -> Result<Vec<Value>> {
    if rules.is_empty() {
        return Err(bad_request(
            "Rate limit scheme must include at least one rule",
        ));
    }
    if let Some(objection) = rules.iter().find_map(Rule::objection) {
        return Err(bad_request(objection));
    }
    let stored: Result<_, serde_json::Error> = rules.iter().map(serde_json::to_value).collect();
    stored.map_err(|_| Answer::generic(StatusCode::INTERNAL_SERVER_ERROR))
}

pub(super) fn no_scheme() -> Answer {
    not_found("Rate limit scheme not found")
}

pub(super) fn scheme_answer(scheme: impl Borrow<Scheme>) -> Answer {
    Answer::json(StatusCode::OK, &scheme_json(scheme.borrow()))
}

/// The ids of schemes are numbers, unlike all others.
fn scheme_json(scheme: &Scheme) -> Value {
    json!({
        "id": scheme.id,
        "deployment_id": scheme.deployment,
        "slug": scheme.slug,
        "name": scheme.name,
        "description": scheme.description,
        "rules": scheme.rules,
        "created_at": timestamp(scheme.created_at),
        "updated_at": timestamp(scheme.updated_at),
    })
}
