//! What the dev gateway knows about OAuth.

use super::records::{Grant, OAuthApp, OAuthClient, Settings, Token};
use super::secret::random_secret;
use super::state::{State, utc};

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
