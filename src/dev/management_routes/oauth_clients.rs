//! OAuth clients and the grants users gave them.

use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::{Result, bad_request, not_found};
use super::room::Room;
use super::shown::{add_if_some, id_text, timestamp};
use super::update::set;
use crate::dev::answer::Answer;
use crate::dev::records::{Grant, OAuthClient, Settings};
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

    pub(super) fn list_oauth_grants(&self, slug: &str, id: &str) -> Result {
        let client = self.client_of(slug, record_id(id)?)?;
        let grants: Vec<Value> = self
            .state
            .oauth
            .grants
            .values()
            .rev()
            .filter(|grant| grant.client == client)
            .map(grant_json)
            .collect();
        Ok(Answer::json(StatusCode::OK, &json!({ "grants": grants })))
    }

    /// A grant that is not there, or revoked already, is revoked just as well.
    pub(super) fn revoke_oauth_grant(&mut self, slug: &str, id: &str, grant: &str) -> Result {
        let (id, grant) = (record_id(id)?, record_id(grant)?);
        let client = self.client_of(slug, id)?;
        let now = utc(self.state.clock.now());
        let grant = self.state.oauth.grants.get_mut(&grant);
        if let Some(grant) = grant.filter(|g| g.client == client && g.revoked_at.is_none()) {
            grant.revoked_at = Some(now);
            grant.updated_at = now;
        }
        Ok(Answer::json(StatusCode::OK, &json!({})))
    }

    fn client_of(&self, slug: &str, id: i64) -> Result<i64> {
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

/// A client as it is sent, to be made or changed.
#[derive(Deserialize)]
struct Given {
    client_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    redirect_uris: Option<Vec<String>>,
    post_logout_redirect_uris: Option<Vec<String>>,
    contacts: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
    software_id: Option<String>,
    software_version: Option<String>,
    token_endpoint_auth_signing_alg: Option<String>,
    jwks_uri: Option<String>,
    jwks: Option<Value>,
    public_key_pem: Option<String>,
    id_token_signing_alg: Option<String>,
    access_token_format: Option<String>,
    access_token_ttl_seconds: Option<i64>,
    skip_consent: Option<bool>,
}

impl Given {
    fn apply(self, settings: &mut Settings) -> Result<()> {
        let keys = [&self.jwks_uri, &self.public_key_pem];
        let keys =
            keys.iter().filter(|text| is_given(text)).count() + usize::from(self.jwks.is_some());
        if keys > 1 {
            return Err(bad_request(ONE_KEY));
        }
        if keys == 1 {
            settings.jwks = self.jwks;
            settings.texts.remove("jwks_uri");
            settings.texts.remove("public_key_pem");
        }
        for (name, clears, text) in [
            ("client_name", true, self.client_name),
            ("client_uri", true, self.client_uri),
            ("logo_uri", true, self.logo_uri),
            ("tos_uri", true, self.tos_uri),
            ("policy_uri", true, self.policy_uri),
            ("software_id", true, self.software_id),
            ("software_version", true, self.software_version),
            (
                "token_endpoint_auth_signing_alg",
                false,
                self.token_endpoint_auth_signing_alg,
            ),
            ("jwks_uri", false, self.jwks_uri),
            ("public_key_pem", false, self.public_key_pem),
        ] {
            match text.as_deref().map(str::trim) {
                None => {}
                Some("") if clears => {
                    settings.texts.remove(name);
                }
                Some("") => {}
                Some(text) => {
                    settings.texts.insert(name, text.to_owned());
                }
            }
        }
        if self.id_token_signing_alg.is_some_and(|alg| alg != "RS256") {
            return Err(bad_request("id_token_signing_alg must be RS256"));
        }
        set(&mut settings.auth_method, self.client_auth_method);
        set(&mut settings.grant_types, self.grant_types);
        set(&mut settings.redirect_uris, self.redirect_uris);
        let after_logout = self.post_logout_redirect_uris;
        set(&mut settings.post_logout_redirect_uris, after_logout);
        set(&mut settings.contacts, self.contacts);
        set(&mut settings.access_token_format, self.access_token_format);
        let seconds = self.access_token_ttl_seconds;
        set(&mut settings.access_token_ttl_seconds, seconds);
        set(&mut settings.skip_consent, self.skip_consent);
        Ok(())
    }
}

fn is_given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.trim().is_empty())
}

/// What Wacht has against these settings, if anything.
fn objection(settings: &Settings) -> Result<()> {
    let refuse = |message: &str| Err(bad_request(message));
    let method = settings.auth_method.as_str();
    if !METHODS.contains(&method) {
        return refuse(&format!("unsupported client_auth_method: {method}"));
    }
    let grants: Vec<&str> = settings.grant_types.iter().map(String::as_str).collect();
    if grants.is_empty() {
        return refuse("grant_types must include at least one grant");
    }
    if grants.contains(&"client_credentials") {
        return refuse("client_credentials is disabled for now");
    }
    if let Some(other) = grants
        .iter()
        .find(|grant| !["authorization_code", "refresh_token"].contains(grant))
    {
        return refuse(&format!("unsupported grant_type: {other}"));
    }
    if !grants.contains(&"authorization_code") {
        return refuse("grant_types must include authorization_code");
    }
    if settings.redirect_uris.is_empty() {
        return refuse("redirect_uris must include at least one URI for authorization_code");
    }
    for (name, uris) in [
        ("redirect_uris", &settings.redirect_uris),
        (
            "post_logout_redirect_uris",
            &settings.post_logout_redirect_uris,
        ),
    ] {
        for uri in uris {
            if uri.contains('#') {
                return refuse(&format!("{name} must not include fragments"));
            }
            match uri.parse::<Uri>().ok().as_ref().and_then(Uri::scheme_str) {
                Some("http" | "https") => {}
                Some(_) => return refuse(&format!("{name} must use http or https")),
                None => return refuse(&format!("{name} must contain valid URLs")),
            }
        }
    }
    let texts = &settings.texts;
    let keys = usize::from(settings.jwks.is_some())
        + usize::from(texts.contains_key("jwks_uri"))
        + usize::from(texts.contains_key("public_key_pem"));
    if method == "private_key_jwt" && keys != 1 {
        return refuse(ONE_KEY);
    }
    if method != "private_key_jwt" && keys != 0 {
        return refuse("jwks_uri, jwks, and public_key_pem are only for private_key_jwt");
    }
    if texts
        .get("jwks_uri")
        .is_some_and(|uri| !uri.starts_with("https://"))
    {
        return refuse("jwks_uri must use https");
    }
    if !["opaque", "jwt"].contains(&settings.access_token_format.as_str()) {
        return refuse("access_token_format must be 'opaque' or 'jwt'");
    }
    if !(60..=86400).contains(&settings.access_token_ttl_seconds) {
        return refuse("access_token_ttl_seconds must be between 60 and 86400");
    }
    Ok(())
}

const METHODS: [&str; 5] = [
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "none",
    "private_key_jwt",
];
const ONE_KEY: &str = "private_key_jwt requires exactly one of jwks_uri, jwks, or public_key_pem";

fn has_secret(settings: &Settings) -> bool {
    settings.auth_method.starts_with("client_secret_")
}

fn client_secret() -> String {
    random_secret("oc_secret")
}

fn record_id(text: &str) -> Result<i64> {
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

fn grant_json(grant: &Grant) -> Value {
    let mut shown = json!({
        "id": grant.id.to_string(),
        "api_auth_app_slug": grant.app_slug,
        "oauth_client_id": grant.client.to_string(),
        "resource": grant.resource,
        "scopes": grant.scopes,
        "status": if grant.revoked_at.is_some() { "revoked" } else { "active" },
        "granted_at": timestamp(grant.granted_at),
        "expires_at": null,
        "revoked_at": grant.revoked_at.map(timestamp),
        "created_at": timestamp(grant.granted_at),
        "updated_at": timestamp(grant.updated_at),
    });
    add_if_some(&mut shown, "granted_by_user_id", id_text(grant.user));
    shown
}
