//! What the dev gateway knows about OAuth: apps, their clients, and what users granted these.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::state::{State, Token, random_secret, utc};

#[derive(Default)]
pub(super) struct OAuth {
    pub(super) apps: BTreeMap<i64, OAuthApp>,
    pub(super) clients: BTreeMap<i64, OAuthClient>,
    pub(super) grants: BTreeMap<i64, Grant>,
}

pub(super) struct OAuthApp {
    pub(super) id: i64,
    pub(super) deployment: i64,
    pub(super) slug: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) logo_url: Option<String>,
    pub(super) fqdn: String,
    /// One for each supported scope, sorted by scope.
    pub(super) scopes: Vec<Scope>,
    pub(super) allow_dynamic_client_registration: bool,
    pub(super) is_active: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

#[derive(Clone)]
pub(super) struct Scope {
    pub(super) scope: String,
    pub(super) display_name: String,
    pub(super) description: String,
    pub(super) archived: bool,
    pub(super) category: String,
    pub(super) organization_permission: Option<String>,
    pub(super) workspace_permission: Option<String>,
}

pub(super) struct OAuthClient {
    pub(super) id: i64,
    pub(super) app: i64,
    pub(super) client_id: String,
    pub(super) is_active: bool,
    pub(super) settings: Settings,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

/// What whoever makes a client says about it.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) auth_method: String,
    pub(super) grant_types: Vec<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) post_logout_redirect_uris: Vec<String>,
    pub(super) contacts: Vec<String>,
    /// By the name of the member: `client_name`, `jwks_uri` and so on.
    pub(super) texts: BTreeMap<&'static str, String>,
    pub(super) jwks: Option<Value>,
    pub(super) access_token_format: String,
    pub(super) access_token_ttl_seconds: i64,
    pub(super) skip_consent: bool,
}

pub(super) struct Grant {
    pub(super) id: i64,
    pub(super) client: i64,
    /// The slug of the API auth app that tokens of the grant belong to.
    pub(super) app_slug: String,
    pub(super) user: Option<i64>,
    pub(super) resource: String,
    pub(super) scopes: Vec<String>,
    pub(super) granted_at: DateTime<Utc>,
    pub(super) revoked_at: Option<DateTime<Utc>>,
    pub(super) updated_at: DateTime<Utc>,
}

impl Scope {
    /// What Wacht says about a scope that nobody described.
    pub(super) fn undescribed(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            display_name: scope.to_owned(),
            description: format!("Allows {scope} access"),
            archived: false,
            category: String::new(),
            organization_permission: None,
            workspace_permission: None,
        }
    }
}

impl State {
    /// Adds an app without scopes and gives its id.
    pub(super) fn add_oauth_app(&mut self, deployment: i64, slug: &str, name: &str) -> i64 {
        let now = utc(self.clock.now());
        let id = self.new_id();
        let label: String = random_secret("")
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .take(16)
            .collect();
        let app = OAuthApp {
            id,
            deployment,
            slug: slug.to_owned(),
            name: name.to_owned(),
            description: None,
            logo_url: None,
            fqdn: format!("{label}.oauth.example.test"),
            scopes: Vec::new(),
            allow_dynamic_client_registration: false,
            is_active: true,
            created_at: now,
            updated_at: now,
        };
        self.oauth.apps.insert(id, app);
        id
    }

    pub(super) fn oauth_app_id(&self, deployment: i64, slug: &str) -> Option<i64> {
        self.oauth
            .apps
            .values()
            .find(|app| app.deployment == deployment && app.slug == slug)
            .map(|app| app.id)
    }

    pub(super) fn add_oauth_client(&mut self, app: i64, settings: Settings) -> i64 {
        let now = utc(self.clock.now());
        let id = self.new_id();
        let client = OAuthClient {
            id,
            app,
            client_id: random_secret("oc").chars().take(35).collect(),
            is_active: true,
            settings,
            created_at: now,
            updated_at: now,
        };
        self.oauth.clients.insert(id, client);
        id
    }

    /// Writes down what a token was granted, if its client is known.
    pub(super) fn write_grant(&mut self, token: &Token) {
        let Some(app) = self.apps.get(&token.app) else {
            return;
        };
        if !self.oauth.clients.contains_key(&token.client_record) {
            return;
        }
        let now = utc(self.clock.now());
        let grant = Grant {
            id: token.grant,
            client: token.client_record,
            app_slug: app.slug.clone(),
            user: app.owner.user,
            resource: token.granted_resource.clone().unwrap_or_default(),
            scopes: token.scopes.clone(),
            granted_at: now,
            revoked_at: None,
            updated_at: now,
        };
        self.oauth.grants.insert(grant.id, grant);
    }

    /// Whether a grant still stands; one that was never written down does.
    pub(super) fn grant_stands(&self, grant: i64) -> bool {
        self.oauth
            .grants
            .get(&grant)
            .is_none_or(|grant| grant.revoked_at.is_none())
    }
}
