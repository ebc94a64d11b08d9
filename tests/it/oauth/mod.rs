//! OAuth management, by the client and by the dev gateway.

mod answers;
mod audit;
mod dev;
mod requests;
mod scopes;
mod wire;

use serde_json::json;

use wacht_auth::models::{CreateOAuthAppRequest, CreateOAuthClientRequest, OAuthScopeDefinition};

/// An app with a scope in each category.
fn acme() -> CreateOAuthAppRequest {
    CreateOAuthAppRequest {
        slug: "acme".to_owned(),
        name: "Acme".to_owned(),
        supported_scopes: Some(["read", "write", "profile"].map(str::to_owned).to_vec()),
        scope_definitions: Some(definitions()),
        ..Default::default()
    }
}

fn definitions() -> Vec<OAuthScopeDefinition> {
    serde_json::from_value(json!([
        {
            "scope": "profile", "display_name": "Profile", "description": "Who you are",
            "category": "personal",
        },
        {
            "scope": "read", "display_name": "Read", "description": "Read it all",
            "category": "organization", "organization_permission": "org:read",
        },
        {
            "scope": "write", "display_name": "Write", "description": "Write it all",
            "category": "workspace", "workspace_permission": "ws:write", "archived": true,
        },
    ]))
    .unwrap()
}

fn partner() -> CreateOAuthClientRequest {
    CreateOAuthClientRequest {
        redirect_uris: vec!["https://app.example.test/cb".to_owned()],
        ..Default::default()
    }
}
