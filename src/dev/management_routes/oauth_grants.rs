//! What users granted to OAuth clients.

use http::StatusCode;
use serde_json::{Value, json};

use super::oauth_clients::record_id;
use super::refusal::Result;
use super::room::Room;
use super::shown::{add_if_some, id_text, timestamp};
use crate::dev::answer::Answer;
use crate::dev::records::Grant;
use crate::dev::state::utc;

impl Room<'_> {
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
