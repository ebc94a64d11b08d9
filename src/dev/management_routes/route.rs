//! Which handler answers a call.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::refusal::Result;
use super::room::Room;
use super::schemes::{no_scheme, scheme_answer};
use crate::dev::answer::Answer;
use crate::dev::call::Call;
use crate::dev::gateway_routes;
use crate::dev::state::State;

pub(crate) fn route(state: &mut State, call: &Call) -> Answer {
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
    let subject = gateway_routes::api_key(state, secret, now).map_err(|_| failed())?;
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

impl Room<'_> {
    fn route(&mut self) -> Result {
        let path = self.call.uri.path();
        let segments: Vec<String> = path
            .split('/')
            .skip(1)
            .map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if segments.contains(&"") {
            return Err(Answer::generic(StatusCode::NOT_FOUND));
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
            ) => Err(Answer::generic(StatusCode::METHOD_NOT_ALLOWED)),
            _ => Err(Answer::generic(StatusCode::NOT_FOUND)),
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
                Err(Answer::generic(StatusCode::METHOD_NOT_ALLOWED))
            }
            _ => Err(Answer::generic(StatusCode::NOT_FOUND)),
        }
    }
}
