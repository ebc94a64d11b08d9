//! What whoever makes or changes an OAuth client says about it, and what Wacht has against it.

use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::refusal::{Result, bad_request};
use super::update::set;
use crate::dev::records::Settings;

/// A client as it is sent, to be made or changed.
#[derive(Deserialize)]
pub(super) struct Given {
    pub(super) client_auth_method: Option<String>,
    pub(super) grant_types: Option<Vec<String>>,
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
    pub(super) fn apply(self, settings: &mut Settings) -> Result<()> {
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
pub(super) fn objection(settings: &Settings) -> Result<()> {
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
