//! OAuth clients.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::oauth_client_settings::{Given, objection};
use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use super::shown::{add_if_some, timestamp};
use crate::dev::answer::Answer;
use crate::dev::records::{OAuthClient, Settings};
use crate::dev::secret::random_secret;
use crate::dev::state::utc;

impl Room<'_> {
    pub(super) fn list_oauth_clients(&self, slug: &str) -> Result {
        let app = self.oauth_app(slug)?;
        let clients: Vec<Value> = self
            .state
            .oauth
            .clients
            .values()
            .rev()
            .filter(|client| client.app == app)
            .map(client_json)
            .collect();
        Ok(Answer::json(StatusCode::OK, &json!({ "clients": clients })))
    }

    pub(super) fn create_oauth_client(&mut self, slug: &str) -> Result {
        let body: Value = self.body()?;
        // Only of a new client must these be lists if they are there at all.
        let is_null = |name: &str| body.get(name).is_some_and(Value::is_null);
        let new = Given::deserialize(&body).ok().filter(|new| {
            new.client_auth_method.is_some()
                && new.grant_types.is_some()
                && !is_null("redirect_uris")
                && !is_null("post_logout_redirect_uris")
        });
        let new = new.ok_or_else(|| Answer::generic(StatusCode::UNPROCESSABLE_ENTITY))?;
        let app = self.oauth_app(slug)?;
        let mut settings = Settings {
            access_token_format: "opaque".to_owned(),
            access_token_ttl_seconds: 3600,
            ..Settings::default()
        };
        new.apply(&mut settings)?;
        objection(&settings)?;
        let secret = has_secret(&settings).then(client_secret);
        let id = self.state.add_oauth_client(app, settings);
        let client = self.state.oauth.clients.get(&id).ok_or_else(no_client)?;
        let mut shown = client_json(client);
        add_if_some(&mut shown, "client_secret", secret);
        Ok(Answer::json(StatusCode::OK, &shown))
    }

    pub(super) fn update_oauth_client(&mut self, slug: &str, id: &str) -> Result {
        let id = record_id(id)?;
        let update: Given = self.body()?;
        let client = self.active_client(slug, id)?;
        let mut settings = client.settings.clone();
        update.apply(&mut settings)?;
        objection(&settings)?;
        client.settings = settings;
        Ok(Answer::json(StatusCode::OK, &client_json(client)))
    }

    pub(super) fn deactivate_oauth_client(&mut self, slug: &str, id: &str) -> Result {
        let id = self.client_of(slug, record_id(id)?)?;
        let now = utc(self.state.clock.now());
        match self.state.oauth.clients.get_mut(&id) {
            Some(client) if client.is_active => {
                client.is_active = false;
                client.updated_at = now;
                Ok(Answer::no_content())
            }
            _ => Err(not_found("OAuth client not found or already inactive")),
        }
    }

    pub(super) fn rotate_oauth_client_secret(&mut self, slug: &str, id: &str) -> Result {
        let client = self.active_client(slug, record_id(id)?)?;
        if !has_secret(&client.settings) {
            let message = "client_secret rotation is not supported for this auth method";
            return Err(bad_request(message));
        }
        let answer = json!({ "client_secret": client_secret() });
        Ok(Answer::json(StatusCode::OK, &answer))
    }

    pub(super) fn client_of(&self, slug: &str, id: i64) -> Result<i64> {
        let app = self.oauth_app(slug)?;
        match self.state.oauth.clients.get(&id) {
            Some(client) if client.app == app => Ok(id),
            _ => Err(no_client()),
        }
    }

    /// The client, about to be changed.
    fn active_client(&mut self, slug: &str, id: i64) -> Result<&mut OAuthClient> {
        let id = self.client_of(slug, id)?;
        let now = utc(self.state.clock.now());
        let client = self.state.oauth.clients.get_mut(&id);
        let client = client
            .filter(|client| client.is_active)
            .ok_or_else(|| not_found("OAuth client not found or inactive"))?;
        client.updated_at = now;
        Ok(client)
    }
}

fn has_secret(settings: &Settings) -> bool {
    settings.auth_method.starts_with("client_secret_")
}

fn client_secret() -> String {
    random_secret("oc_secret")
}

pub(super) fn record_id(text: &str) -> Result<i64> {
    text.parse()
        .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))
}

fn no_client() -> Answer {
    not_found("OAuth client not found")
}

fn client_json(client: &OAuthClient) -> Value {
    let settings = &client.settings;
    let text = |name: &str| settings.texts.get(name);
    json!({
        "id": client.id.to_string(),
        "oauth_app_id": client.app.to_string(),
        "client_id": client.client_id,
        "client_auth_method": settings.auth_method,
        "grant_types": settings.grant_types,
        "redirect_uris": settings.redirect_uris,
        "client_name": text("client_name"),
        "client_uri": text("client_uri"),
        "logo_uri": text("logo_uri"),
        "tos_uri": text("tos_uri"),
        "policy_uri": text("policy_uri"),
        "contacts": settings.contacts,
        "software_id": text("software_id"),
        "software_version": text("software_version"),
        "token_endpoint_auth_signing_alg": text("token_endpoint_auth_signing_alg"),
        "jwks_uri": text("jwks_uri"),
        "jwks": settings.jwks,
        "public_key_pem": text("public_key_pem"),
        "is_active": client.is_active,
        "post_logout_redirect_uris": settings.post_logout_redirect_uris,
        "id_token_signing_alg": "RS256",
        "access_token_format": settings.access_token_format,
        "access_token_ttl_seconds": settings.access_token_ttl_seconds,
        "skip_consent": settings.skip_consent,
        "created_at": timestamp(client.created_at),
        "updated_at": timestamp(client.updated_at),
    })
}
