//! Who asks.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::clock::Now;
use crate::dev::records::{Key, Owner, Token};
use crate::dev::secret::{Digest, digest};
use crate::dev::state::{State, utc};

/// Whoever asks, once known.
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) key_id: i64,
    pub(crate) deployment: i64,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) permissions: Vec<String>,
    pub(crate) metadata: Value,
    pub(crate) scheme: Option<String>,
}

pub(crate) enum Kind {
    ApiKey,
    AccessToken(Token),
}

pub(crate) enum Refused {
    /// Malformed, empty or expired; for a token also unknown or revoked.
    Unusable,
    /// Unknown, revoked, or of an app that is inactive or gone.
    Unknown,
}

pub(crate) fn api_key(state: &mut State, secret: &str, now: Now) -> Result<Subject, Refused> {
    let secret = secret.trim();
    if !is_well_formed(secret) {
        return Err(Refused::Unusable);
    }
    let key: Key = state.usable_key(secret, now).ok_or(Refused::Unknown)?;
    if key
        .expires_at
        .is_some_and(|expires_at| expires_at < utc(now))
    {
        return Err(Refused::Unusable);
    }
    let mut permissions = [
        key.permissions,
        key.role_permissions,
        key.workspace_role_permissions,
    ]
    .concat();
    permissions.sort_unstable();
    permissions.dedup();
    Ok(Subject {
        kind: Kind::ApiKey,
        key_id: key.id,
        deployment: key.deployment,
        slug: key.slug,
        name: key.name,
        owner: key.owner,
        permissions,
        metadata: key.metadata,
        scheme: key.scheme,
    })
}

/// Any three bytes or more, then 43 of the URL-safe alphabet.
fn is_well_formed(secret: &str) -> bool {
    let Some(start) = secret.len().checked_sub(43).filter(|start| *start >= 3) else {
        return false;
    };
    secret.get(start..).is_some_and(|random| {
        random
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    })
}

pub(super) fn access_token(state: &State, secret: &str, now: Now) -> Result<Subject, Refused> {
    let digest: Digest = digest(secret.trim());
    let token = state.tokens.get(&digest).ok_or(Refused::Unusable)?;
    let app = state.apps.get(&token.app).ok_or(Refused::Unusable)?;
    if token.revoked
        || token.expires_at < utc(now)
        || !state.app_is_live(token.app)
        || !state.grant_stands(token.grant)
    {
        return Err(Refused::Unusable);
    }
    let mut permissions = [token.scopes.clone(), token.mapped_permissions.clone()].concat();
    permissions.sort_unstable();
    permissions.dedup();
    Ok(Subject {
        key_id: token.client_record,
        deployment: app.deployment,
        slug: app.slug.clone(),
        name: token.client_id.clone(),
        owner: Owner {
            user: app.owner.user,
            ..Owner::default()
        },
        permissions,
        metadata: json!({
            "principal_type": "oauth_access_token",
            "scopes": token.scopes,
            "oauth_resource": token.oauth_resource,
            "granted_resource": token.granted_resource,
            "expires_at": token.expires_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        }),
        scheme: app.scheme.clone(),
        kind: Kind::AccessToken(token.clone()),
    })
}
