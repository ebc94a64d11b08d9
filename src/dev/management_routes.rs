//! The management API: `/api-auth` and `/oauth`.

mod apps;
mod audit;
mod keys;
mod multipart;
mod oauth_apps;
mod oauth_clients;
mod oauth_scopes;
mod schemes;

use chrono::{DateTime, SecondsFormat, Utc};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::schemes::{no_scheme, scheme_answer};
use super::gateway_routes::{self, Refused};
use super::server::{Answer, Call, Unread};
use super::state::State;

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
        match segments.as_slice() {
            ["oauth", "apps", rest @ ..] => self.route_oauth(rest),
            segments => self.route_api_auth(segments),
        }
    }

    fn route_api_auth(&mut self, segments: &[&str]) -> Result {
        let method = self.call.method.clone();
        match (segments, &method) {
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
            (["api-auth", "apps", slug, "audit", "logs"], &Method::GET) => self.audit_logs(slug),
            (["api-auth", "apps", slug, "audit", "analytics"], &Method::GET) => {
                self.audit_analytics(slug)
            }
            (["api-auth", "apps", slug, "audit", "timeseries"], &Method::GET) => {
                self.audit_timeseries(slug)
            }
            (["api-auth", "apps" | "rate-limit-schemes"], _)
            | (["api-auth", "apps" | "rate-limit-schemes", _], _)
            | (["api-auth", "apps", _, "keys"], _)
            | (["api-auth", "apps", _, "keys", _, "revoke" | "rotate"], _)
            | (
                [
                    "api-auth",
                    "apps",
                    _,
                    "audit",
                    "logs" | "analytics" | "timeseries",
                ],
                _,
            ) => Err(generic(StatusCode::METHOD_NOT_ALLOWED)),
            _ => Err(generic(StatusCode::NOT_FOUND)),
        }
    }

    /// What is behind `/oauth/apps`.
    fn route_oauth(&mut self, segments: &[&str]) -> Result {
        let method = self.call.method.clone();
        match (segments, &method) {
            ([], &Method::GET) => Ok(self.list_oauth_apps()),
            ([], &Method::POST) => self.create_oauth_app(),
            ([app], &Method::PATCH) => self.update_oauth_app(app),
            ([app, "verify-domain"], &Method::POST) => self.verify_oauth_app_domain(app),
            ([app, "scopes", scope], &Method::PATCH) => self.update_oauth_scope(app, scope),
            ([app, "scopes", scope, "archive"], &Method::POST) => {
                self.archive_oauth_scope(app, scope, true)
            }
            ([app, "scopes", scope, "unarchive"], &Method::POST) => {
                self.archive_oauth_scope(app, scope, false)
            }
            ([app, "scopes", scope, "mapping"], &Method::POST) => self.map_oauth_scope(app, scope),
            ([app, "clients"], &Method::GET) => self.list_oauth_clients(app),
            ([app, "clients"], &Method::POST) => self.create_oauth_client(app),
            ([app, "clients", id], &Method::PATCH) => self.update_oauth_client(app, id),
            ([app, "clients", id], &Method::DELETE) => self.deactivate_oauth_client(app, id),
            ([app, "clients", id, "rotate-secret"], &Method::POST) => {
                self.rotate_oauth_client_secret(app, id)
            }
            ([app, "clients", id, "grants"], &Method::GET) => self.list_oauth_grants(app, id),
            ([app, "clients", id, "grants", grant, "revoke"], &Method::POST) => {
                self.revoke_oauth_grant(app, id, grant)
            }
            ([] | [_] | [_, "verify-domain" | "clients"], _)
            | ([_, "scopes", _] | [_, "scopes", _, "archive" | "unarchive" | "mapping"], _)
            | ([_, "clients", _] | [_, "clients", _, "rotate-secret" | "grants"], _)
            | ([_, "clients", _, "grants", _, "revoke"], _) => {
                Err(generic(StatusCode::METHOD_NOT_ALLOWED))
            }
            _ => Err(generic(StatusCode::NOT_FOUND)),
        }
    }

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
