//! The management API: apps, keys and rate-limit schemes under `/api-auth`.

use chrono::{DateTime, SecondsFormat, Utc};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::gateway_routes::{self, Refused};
use super::rule::Rule;
use super::server::{Answer, Call, Unread};
use super::state::{App, Key, NewKey, Owner, Scheme, State, utc};

type Result<T = Answer, E = Answer> = std::result::Result<T, E>;

pub(super) fn route(state: &mut State, call: &Call) -> Answer {
    deployment(state, call)
        .and_then(|deployment| {
            Room {
                state,
                deployment,
                call,
            }
            .route()
        })
        .unwrap_or_else(|refusal| refusal)
}

/// What a status says when the framework, not a handler, answers.
pub(super) fn generic_message(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "Bad request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not found",
        405 => "Method not allowed",
        422 => "Invalid request payload",
        429 => "Rate limit exceeded",
        500..=599 => "Something went wrong",
        _ => "Request failed",
    }
}

fn generic(status: StatusCode) -> Answer {
    Answer::error(status, generic_message(status))
}

fn bad_request(message: &str) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, message)
}

fn not_found(message: &str) -> Answer {
    Answer::error(StatusCode::NOT_FOUND, message)
}

/// The deployment a request is about: the management key is checked at the gateway like any
/// other key, and its app is named after the deployment.
fn deployment(state: &mut State, call: &Call) -> Result<i64> {
    let unauthorized = |message| Answer::error(StatusCode::UNAUTHORIZED, message);
    let secret = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| unauthorized("Authorization header must be Bearer token"))?;
    let failed = || unauthorized("Authentication failed");
    let now = state.clock.now();
    let subject = gateway_routes::api_key(state, secret, now)
        .map_err(|(Refused::Unusable | Refused::Unknown)| failed())?;
    let address = call.peer.to_string();
    let decision = gateway_routes::limited(state, &subject, call.uri.path(), &address, now);
    if decision.reason.is_some() {
        let after = decision.retry_after.unwrap_or(60);
        let message = format!("Rate limit exceeded. Retry after {after} seconds");
        return Err(Answer::error(StatusCode::TOO_MANY_REQUESTS, &message));
    }
    let id = subject
        .slug
        .strip_prefix("aa_")
        .and_then(|id| id.parse().ok());
    id.ok_or_else(failed)
}

struct Room<'a> {
    state: &'a mut State,
    deployment: i64,
    call: &'a Call,
}

impl Room<'_> {
    fn route(&mut self) -> Result {
        let path = self.call.uri.path();
        let segments: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|_| generic(StatusCode::BAD_REQUEST))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if segments.contains(&"") {
            return Err(generic(StatusCode::NOT_FOUND));
        }
        let method = self.call.method.clone();
        match (segments.as_slice(), &method) {
            (["api-auth", "apps"], &Method::GET) => self.list_apps(),
            (["api-auth", "apps"], &Method::POST) => self.create_app(),
            (["api-auth", "apps", slug], &Method::GET) => {
                let app = self.app(slug)?;
                self.shown_app(app)
            }
            (["api-auth", "apps", slug], &Method::PATCH) => self.update_app(slug),
            (["api-auth", "apps", slug], &Method::DELETE) => self.delete_app(slug),
            (["api-auth", "apps", slug, "keys"], &Method::GET) => self.list_keys(slug),
            (["api-auth", "apps", slug, "keys"], &Method::POST) => self.create_key(slug),
            (["api-auth", "apps", slug, "keys", id, "revoke"], &Method::POST) => {
                self.revoke_key(slug, id)
            }
            (["api-auth", "apps", slug, "keys", id, "rotate"], &Method::POST) => {
                self.rotate_key(slug, id)
            }
            (["api-auth", "rate-limit-schemes"], &Method::GET) => Ok(self.list_schemes()),
            (["api-auth", "rate-limit-schemes"], &Method::POST) => self.create_scheme(),
            (["api-auth", "rate-limit-schemes", slug], &Method::GET) => self
                .state
                .scheme(self.deployment, slug)
                .map(scheme_answer)
                .ok_or_else(no_scheme),
            (["api-auth", "rate-limit-schemes", slug], &Method::PATCH) => self.update_scheme(slug),
            (["api-auth", "rate-limit-schemes", slug], &Method::DELETE) => self.delete_scheme(slug),
            (["api-auth", "apps" | "rate-limit-schemes"], _)
            | (["api-auth", "apps" | "rate-limit-schemes", _], _)
            | (["api-auth", "apps", _, "keys"], _)
            | (["api-auth", "apps", _, "keys", _, "revoke" | "rotate"], _) => {
                Err(generic(StatusCode::METHOD_NOT_ALLOWED))
            }
            _ => Err(generic(StatusCode::NOT_FOUND)),
        }
    }

    // === Apps ===

    fn list_apps(&self) -> Result {
        let query = self.query()?;
        let number = |name: &str, default: i64| match query_value(&query, name) {
            None => Ok(default),
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| generic(StatusCode::BAD_REQUEST)),
        };
        let limit = number("limit", 50)?;
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

    fn create_app(&mut self) -> Result {
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

    fn update_app(&mut self, slug: &str) -> Result {
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

    fn delete_app(&mut self, slug: &str) -> Result {
        let id = self.app(slug)?;
        let now = utc(self.state.clock.now());
        if let Some(app) = self.state.apps.get_mut(&id) {
            app.deleted_at = Some(now);
        }
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    fn app(&self, slug: &str) -> Result<i64> {
        self.state.app_id(self.deployment, slug).ok_or_else(no_app)
    }

    fn shown_app(&self, id: i64) -> Result {
        let app = self.state.apps.get(&id).ok_or_else(no_app)?;
        Ok(Answer::json(StatusCode::OK, &self.app_json(app)))
    }

    fn app_json(&self, app: &App) -> Value {
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

    fn rules(&self, scheme: Option<&str>) -> Vec<Value> {
        scheme
            .and_then(|slug| self.state.scheme(self.deployment, slug))
            .map(|scheme| scheme.rules.clone())
            .unwrap_or_default()
    }

    // === Keys ===

    fn list_keys(&self, slug: &str) -> Result {
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

    fn create_key(&mut self, slug: &str) -> Result {
        let new: CreateKey = self.body()?;
        let app = self.app(slug)?;
        let mut key = NewKey::named(&new.name);
        key.permissions = new.permissions.unwrap_or_default();
        key.expires_at = new.expires_at;
        set(&mut key.metadata, new.metadata);
        self.issue(app, key)
    }

    fn issue(&mut self, app: i64, new: NewKey) -> Result {
        let (id, secret) = self.state.add_key(app, new);
        let key = self.state.keys.get(&id).ok_or_else(no_key)?;
        let mut shown = key_json(key, Vec::new());
        add_if_some(&mut shown, "secret", Some(secret));
        Ok(Answer::json(StatusCode::OK, &shown))
    }

    fn revoke_key(&mut self, slug: &str, id: &str) -> Result {
        let id = key_id(id)?;
        let body: RevokeKey = self.body()?;
        let id = self.key_of(slug, id)?;
        if !self.state.revoke(id, body.reason) {
            return Err(not_found("API key not found or already revoked"));
        }
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    fn rotate_key(&mut self, slug: &str, id: &str) -> Result {
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
            metadata: key.metadata.clone(),
            owner: Some(key.owner.clone()),
            expires_at: key.expires_at,
        };
        self.state.revoke(id, Some("Rotated".to_owned()));
        self.issue(app, new)
    }

    fn key_of(&self, slug: &str, id: i64) -> Result<i64> {
        let app = self.app(slug)?;
        match self.state.keys.get(&id) {
            Some(key) if key.app == app => Ok(id),
            _ => Err(no_key()),
        }
    }

    // === Rate-limit schemes ===

    fn list_schemes(&self) -> Answer {
        let mut schemes: Vec<&Scheme> = self
            .state
            .schemes
            .values()
            .filter(|s| s.deployment == self.deployment)
            .collect();
        schemes.sort_by_key(|scheme| std::cmp::Reverse((scheme.updated_at, scheme.id)));
        let total = schemes.len();
        let schemes: Vec<Value> = schemes.into_iter().map(scheme_json).collect();
        Answer::json(
            StatusCode::OK,
            &json!({ "schemes": schemes, "total": total }),
        )
    }

    fn create_scheme(&mut self) -> Result {
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

    fn update_scheme(&mut self, slug: &str) -> Result {
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

    fn delete_scheme(&mut self, slug: &str) -> Result {
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

    // === Reading requests ===

    fn body<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        if !self.call.is_json() {
            return Err(generic(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = self.call.body.as_ref().map_err(|unread| match unread {
            Unread::TooLarge => generic(StatusCode::PAYLOAD_TOO_LARGE),
            Unread::Broken => generic(StatusCode::BAD_REQUEST),
        })?;
        T::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(|error| {
            generic(match error.is_data() {
                true => StatusCode::UNPROCESSABLE_ENTITY,
                false => StatusCode::BAD_REQUEST,
            })
        })
    }

    fn query(&self) -> Result<Vec<(String, String)>> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text)
                .decode_utf8()
                .map(|text| text.into_owned())
        };
        let pairs = self.call.uri.query().unwrap_or_default().split('&');
        pairs
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, std::str::Utf8Error>>()
            .map_err(|_| generic(StatusCode::BAD_REQUEST))
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
    stored.map_err(|_| generic(StatusCode::INTERNAL_SERVER_ERROR))
}

fn key_id(text: &str) -> Result<i64> {
    text.parse().map_err(|_| generic(StatusCode::BAD_REQUEST))
}

fn query_value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.as_str())
}

fn flag(query: &[(String, String)], name: &str) -> Result<bool> {
    match query_value(query, name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(generic(StatusCode::BAD_REQUEST)),
    }
}

fn set<T>(member: &mut T, update: Option<T>) {
    if let Some(update) = update {
        *member = update;
    }
}

fn set_some<T>(member: &mut Option<T>, update: Option<T>) {
    if update.is_some() {
        *member = update;
    }
}

fn no_app() -> Answer {
    not_found("API key app not found")
}

fn no_key() -> Answer {
    not_found("API key not found")
}

fn no_scheme() -> Answer {
    not_found("Rate limit scheme not found")
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
        "workspace_role_permissions": [],
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

fn scheme_answer(scheme: impl std::borrow::Borrow<Scheme>) -> Answer {
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

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn id_text(id: Option<i64>) -> Option<String> {
    id.map(|id| id.to_string())
}

/// Most optional members are absent rather than null.
fn add_if_some(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    let members: Option<&mut Map<String, Value>> = object.as_object_mut();
    if let (Some(members), Some(value)) = (members, value) {
        members.insert(name.to_owned(), value.into());
    }
}
