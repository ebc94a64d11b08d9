//! Rules of Wacht that are looked at before anything is sent.
//!
//! Only what Wacht is known to refuse, or to drop without a word.

use serde_json::Value;

use super::client_requests::TokenSettings;
use super::{
    CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthAccessTokenFormat, OAuthClientAuthMethod,
    OAuthGrantType, OAuthScopeCategory, OAuthScopeDefinition, SetOAuthScopeMappingRequest,
    UpdateOAuthAppRequest, UpdateOAuthClientRequest,
};
use crate::api::check::refuse;
use crate::client::Result;

pub(super) fn create_app(request: &CreateOAuthAppRequest, fqdn: Option<&str>) -> Result<()> {
    for (name, text) in [("slug", &request.slug), ("name", &request.name)] {
        if text.trim().is_empty() {
            return refuse(format!("{name} is empty"));
        }
    }
    if matches!(request.slug.trim(), "." | "..") {
        return refuse(format!("no call could name an app {:?}", request.slug));
    }
    if let Some(fqdn) = fqdn {
        domain(fqdn)?;
    }
    let supported = request.supported_scopes.as_deref().unwrap_or_default();
    scopes(supported)?;
    if let Some(scope) = supported.iter().find(|scope| scope.contains(',')) {
        // They travel in one text, with commas between them.
        return refuse(format!("scope {scope:?} has a comma in it"));
    }
    let definitions = request.scope_definitions.as_deref().unwrap_or_default();
    self::definitions(definitions, Some(supported))
}

pub(super) fn update_app(request: &UpdateOAuthAppRequest) -> Result<()> {
    let supported = request.supported_scopes.as_deref();
    scopes(supported.unwrap_or_default())?;
    let definitions = request.scope_definitions.as_deref().unwrap_or_default();
    self::definitions(definitions, supported)
}

pub(super) fn mapping(request: &SetOAuthScopeMappingRequest) -> Result<()> {
    if request.category == OAuthScopeCategory::Unset {
        return refuse("category is not set: personal, organization or workspace".to_owned());
    }
    permissions(
        "the mapping",
        &request.category,
        request.organization_permission.is_some(),
        request.workspace_permission.is_some(),
    )
}

pub(super) fn create_client(
    request: &CreateOAuthClientRequest,
    tokens: &TokenSettings,
) -> Result<()> {
    auth_method(&request.client_auth_method)?;
    grant_types(&request.grant_types)?;
    redirect_uris(&request.redirect_uris)?;
    for (name, uri) in [
        ("client_uri", &request.client_uri),
        ("logo_uri", &request.logo_uri),
        ("tos_uri", &request.tos_uri),
        ("policy_uri", &request.policy_uri),
    ] {
        match uri.as_deref().map(str::trim) {
            None | Some("") => {}
            Some(uri) => http_uri(name, uri)?,
        }
    }
    let keys = keys(&request.jwks_uri, &request.jwks, &request.public_key_pem)?;
    let signs = request.client_auth_method == OAuthClientAuthMethod::PrivateKeyJwt;
    if signs && keys != 1 {
        return refuse(format!("private_key_jwt needs exactly one of {KEYS}"));
    }
    if !signs && keys != 0 {
        return refuse(format!("{KEYS} are for private_key_jwt only"));
    }
    token_settings(tokens)
}

pub(super) fn update_client(
    request: &UpdateOAuthClientRequest,
    tokens: &TokenSettings,
) -> Result<()> {
    request
        .client_auth_method
        .as_ref()
        .map_or(Ok(()), auth_method)?;
    request.grant_types.as_deref().map_or(Ok(()), grant_types)?;
    request
        .redirect_uris
        .as_deref()
        .map_or(Ok(()), redirect_uris)?;
    if keys(&request.jwks_uri, &request.jwks, &request.public_key_pem)? > 1 {
        return refuse(format!("an update takes at most one of {KEYS}"));
    }
    token_settings(tokens)
}

fn scopes(supported: &[String]) -> Result<()> {
    match supported.iter().any(|scope| scope.trim().is_empty()) {
        true => refuse("a supported scope is empty".to_owned()),
        false => Ok(()),
    }
}

fn definitions(definitions: &[OAuthScopeDefinition], supported: Option<&[String]>) -> Result<()> {
    for definition in definitions {
        let scope = definition.scope.trim();
        let is_supported =
            supported.is_none_or(|supported| supported.iter().any(|known| known.trim() == scope));
        if !is_supported {
            return refuse(format!(
                "scope {scope:?} is defined and not among supported_scopes: Wacht would drop the \
                 definition"
            ));
        }
        permissions(
            &format!("scope {scope:?}"),
            &definition.category,
            definition.organization_permission.is_some(),
            definition.workspace_permission.is_some(),
        )?;
    }
    Ok(())
}

fn permissions(
    what: &str,
    category: &OAuthScopeCategory,
    organization: bool,
    workspace: bool,
) -> Result<()> {
    let misplaced = match category {
        OAuthScopeCategory::Unknown(word) => {
            return refuse(format!(
                "{what} has the category {word:?}, which is none of personal, organization and \
                 workspace"
            ));
        }
        OAuthScopeCategory::Organization => workspace.then_some("workspace_permission"),
        OAuthScopeCategory::Workspace => organization.then_some("organization_permission"),
        OAuthScopeCategory::Unset | OAuthScopeCategory::Personal => {
            match (organization, workspace) {
                (true, _) => Some("organization_permission"),
                (_, true) => Some("workspace_permission"),
                _ => None,
            }
        }
    };
    match misplaced {
        None => Ok(()),
        Some(member) => refuse(format!(
            "{what} has {member}, which its category {:?} does not take",
            category.as_str()
        )),
    }
}

/// As Wacht looks at the labels of a domain.
fn domain(fqdn: &str) -> Result<()> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fqdn = fqdn.trim();
    if fqdn.len() > 253 || !fqdn.contains('.') || !fqdn.split('.').all(is_label) {
        return refuse(format!("fqdn {fqdn:?} is no domain name"));
    }
    Ok(())
}

fn auth_method(method: &OAuthClientAuthMethod) -> Result<()> {
    match method {
        OAuthClientAuthMethod::Unknown(word) => {
            refuse(format!("Wacht knows no client_auth_method {word:?}"))
        }
        _ => Ok(()),
    }
}

fn grant_types(grants: &[OAuthGrantType]) -> Result<()> {
    if let Some(OAuthGrantType::Unknown(word)) = grants
        .iter()
        .find(|grant| matches!(grant, OAuthGrantType::Unknown(_)))
    {
        return refuse(format!(
            "Wacht takes no grant type {word:?}: authorization_code and refresh_token only"
        ));
    }
    match grants.contains(&OAuthGrantType::AuthorizationCode) {
        true => Ok(()),
        false => refuse("grant_types need authorization_code among them".to_owned()),
    }
}

fn redirect_uris(uris: &[String]) -> Result<()> {
    if uris.is_empty() {
        return refuse("redirect_uris need at least one URI".to_owned());
    }
    without_fragment("redirect_uris", uris)
}

fn without_fragment(name: &str, uris: &[String]) -> Result<()> {
    for uri in uris {
        http_uri(name, uri)?;
        if uri.contains('#') {
            return refuse(format!("{name}: {uri:?} has a fragment"));
        }
    }
    Ok(())
}

fn http_uri(name: &str, uri: &str) -> Result<()> {
    let host = uri.trim().split_once("://").and_then(|(scheme, rest)| {
        let is_http = ["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        is_http.then_some(rest)
    });
    match host {
        Some(host) if !host.is_empty() => Ok(()),
        _ => refuse(format!("{name}: {uri:?} is no http or https URL")),
    }
}

/// How many of the three ways to give a key are used.
fn keys(uri: &Option<String>, jwks: &Option<Value>, pem: &Option<String>) -> Result<usize> {
    let given = |text: &Option<String>| {
        let text = text.as_deref().map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let uri = given(uri);
    if let Some(uri) = &uri
        && !uri.to_ascii_lowercase().starts_with("https://")
    {
        return refuse(format!("jwks_uri: {uri:?} is no https URL"));
    }
    if let Some(jwks) = jwks {
        let keys = jwks.get("keys").and_then(Value::as_array);
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else {
            return refuse("jwks has no list `keys` with a key in it".to_owned());
        };
        let is_set = |key: &Value, member| key.get(member).is_some_and(|value| !value.is_null());
        // `k` is a shared secret, `d` the private part of a pair.
        if keys.iter().any(|key| is_set(key, "k") || is_set(key, "d")) {
            return refuse("jwks has a secret key in it: only public keys belong there".to_owned());
        }
    }
    if given(pem).is_some_and(|pem| pem.contains("PRIVATE KEY")) {
        return refuse("public_key_pem is a private key".to_owned());
    }
    Ok(
        usize::from(uri.is_some())
            + usize::from(jwks.is_some())
            + usize::from(given(pem).is_some()),
    )
}

fn token_settings(tokens: &TokenSettings) -> Result<()> {
    if let Some(uris) = &tokens.post_logout_redirect_uris {
        without_fragment("post_logout_redirect_uris", uris)?;
    }
    if let Some(algorithm) = &tokens.id_token_signing_alg
        && algorithm != "RS256"
    {
        return refuse(format!(
            "id_token_signing_alg {algorithm:?} is not RS256, the only one Wacht knows"
        ));
    }
    if let Some(OAuthAccessTokenFormat::Unknown(word)) = &tokens.access_token_format {
        return refuse(format!(
            "access_token_format {word:?} is neither opaque nor jwt"
        ));
    }
    match tokens.access_token_ttl_seconds {
        Some(seconds) if !(60..=86_400).contains(&seconds) => refuse(format!(
            "access_token_ttl_seconds is {seconds}: from 60 to 86400 is possible"
        )),
        _ => Ok(()),
    }
}

const KEYS: &str = "jwks_uri, jwks and public_key_pem";
