//! What the dev gateway knows: deployments, apps, schemes, keys, tokens and counters.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::records::{App, AuditRow, Key, NewKey, OAuth, Owner, Scheme, Token};
use super::secret::{Digest, digest, random_secret};
use crate::clock::{Clock, Now};

pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) revocation_lag: Duration,
    /// How many rows a page of the list of apps has at most.
    pub(super) page_limit: i64,
    pub(super) apps: BTreeMap<i64, App>,
    pub(super) schemes: BTreeMap<i64, Scheme>,
    pub(super) keys: BTreeMap<i64, Key>,
    pub(super) tokens: HashMap<Digest, Token>,
    pub(super) counters: HashMap<String, Counter>,
    pub(super) oauth: OAuth,
    /// Of the last checks that were answered with a verdict, oldest first.
    pub(super) audit: VecDeque<AuditRow>,
    key_ids: HashMap<Digest, i64>,
    looked_up: HashMap<Digest, (Duration, Key)>,
    ids: Ids,
}

pub(super) struct Counter {
    pub(super) period: i64,
    pub(super) count: i64,
}

struct Ids {
    deployment: i64,
    app: i64,
    key: i64,
    other: i64,
    request: i64,
}

impl State {
    pub(super) fn keep_audit_row(&mut self, row: AuditRow) {
        if self.audit.len() == MOST_AUDIT_ROWS {
            self.audit.pop_front();
        }
        self.audit.push_back(row);
    }

    pub(super) fn new() -> Self {
        Self {
            clock: Clock::system(),
            revocation_lag: Duration::ZERO,
            page_limit: i64::MAX,
            apps: BTreeMap::new(),
            schemes: BTreeMap::new(),
            keys: BTreeMap::new(),
            tokens: HashMap::new(),
            counters: HashMap::new(),
            oauth: OAuth::default(),
            audit: VecDeque::new(),
            key_ids: HashMap::new(),
            looked_up: HashMap::new(),
            ids: Ids {
                deployment: CONSOLE,
                app: 0,
                key: 8_000_000_000_000_000,
                other: 9_000_000_000_000_000,
                // As long as all that follow, as cursors compare them as texts.
                request: 100_000_000_000_000_000,
            },
        }
    }

    /// Adds a deployment and the system app whose keys manage it; gives its id and such a key.
    pub(super) fn add_deployment(&mut self) -> (i64, String) {
        self.ids.deployment += 1;
        let deployment = self.ids.deployment;
        let system = self.add_app(CONSOLE, &format!("aa_{deployment}"), "sk");
        let (_, secret) = self.add_key(system, NewKey::named("Backend key"));
        (deployment, secret)
    }

    pub(super) fn add_app(&mut self, deployment: i64, slug: &str, key_prefix: &str) -> i64 {
        self.ids.app += 1;
        let now = utc(self.clock.now());
        let app = App {
            id: self.ids.app,
            deployment,
            slug: slug.to_owned(),
            name: slug.to_owned(),
            description: None,
            is_active: true,
            key_prefix: key_prefix.to_owned(),
            permissions: Vec::new(),
            resources: Vec::new(),
            owner: Owner::default(),
            scheme: None,
            created_at: now,
            updated_at: now,
            deleted_at: None,
        };
        self.apps.insert(app.id, app);
        self.ids.app
    }

    /// The app that answers to this slug, active or not; deleted ones don't.
    pub(super) fn app_id(&self, deployment: i64, slug: &str) -> Option<i64> {
        self.apps
            .values()
            .find(|app| {
                app.deployment == deployment && app.slug == slug && app.deleted_at.is_none()
            })
            .map(|app| app.id)
    }

    /// Copies an app's scheme to its keys, revoked ones too, as every change of an app does.
    pub(super) fn touch_app(&mut self, app: i64) {
        let now = utc(self.clock.now());
        let Some(app) = self.apps.get_mut(&app) else {
            return;
        };
        app.updated_at = now;
        for key in self.keys.values_mut().filter(|key| key.app == app.id) {
            key.scheme.clone_from(&app.scheme);
            key.updated_at = now;
        }
    }

    pub(super) fn scheme(&self, deployment: i64, slug: &str) -> Option<&Scheme> {
        self.schemes
            .values()
            .find(|scheme| scheme.deployment == deployment && scheme.slug == slug)
    }

    pub(super) fn scheme_mut(&mut self, deployment: i64, slug: &str) -> Option<&mut Scheme> {
        self.schemes
            .values_mut()
            .find(|scheme| scheme.deployment == deployment && scheme.slug == slug)
    }

    pub(super) fn add_scheme(&mut self, deployment: i64, slug: &str, rules: Vec<Value>) -> i64 {
        let now = utc(self.clock.now());
        let id = self.new_id();
        let scheme = Scheme {
            id,
            deployment,
            slug: slug.to_owned(),
            name: slug.to_owned(),
            description: None,
            rules,
            created_at: now,
            updated_at: now,
        };
        self.schemes.insert(id, scheme);
        id
    }

    /// Adds a key to an app that exists and gives its id and its secret.
    pub(super) fn add_key(&mut self, app: i64, new: NewKey) -> (i64, String) {
        self.ids.key += 1;
        let id = self.ids.key;
        let now = utc(self.clock.now());
        let Some(app) = self.apps.get(&app) else {
            return (id, String::new());
        };
        let prefix = new.prefix.unwrap_or_else(|| app.key_prefix.clone());
        let secret = new.secret.unwrap_or_else(|| random_secret(&prefix));
        let key = Key {
            id,
            app: app.id,
            deployment: app.deployment,
            slug: app.slug.clone(),
            name: new.name,
            prefix,
            suffix: last_characters(&secret, 8),
            permissions: new.permissions,
            role_permissions: new.role_permissions,
            workspace_role_permissions: new.workspace_role_permissions,
            metadata: new.metadata,
            scheme: app.scheme.clone(),
            owner: new.owner.unwrap_or_else(|| app.owner.clone()),
            expires_at: new.expires_at,
            is_active: true,
            created_at: now,
            updated_at: now,
            revoked_at: None,
            revoked_reason: None,
        };
        self.key_ids.insert(digest(&secret), id);
        self.keys.insert(id, key);
        (id, secret)
    }

    /// Revokes for good; `false` when there is no such key or it is revoked already.
    pub(super) fn revoke(&mut self, key: i64, reason: Option<String>) -> bool {
        let now = utc(self.clock.now());
        match self.keys.get_mut(&key) {
            Some(key) if key.is_active => {
                key.is_active = false;
                key.revoked_at = Some(now);
                key.revoked_reason = reason;
                key.updated_at = now;
                true
            }
            _ => false,
        }
    }

    /// The key behind a secret if it may be used, as the gateway's look-up sees it.
    ///
    /// With a revocation lag, what was seen once is believed for that long.
    pub(super) fn usable_key(&mut self, secret: &str, now: Now) -> Option<Key> {
        let digest = digest(secret);
        if let Some((seen, key)) = self.looked_up.get(&digest)
            && now.monotonic.saturating_sub(*seen) < self.revocation_lag
        {
            return Some(key.clone());
        }
        self.looked_up.remove(&digest);
        let key = self.keys.get(self.key_ids.get(&digest)?)?;
        if !key.is_active || !self.app_is_live(key.app) {
            return None;
        }
        let key = key.clone();
        if !self.revocation_lag.is_zero() {
            self.looked_up.insert(digest, (now.monotonic, key.clone()));
        }
        Some(key)
    }

    pub(super) fn app_is_live(&self, app: i64) -> bool {
        self.apps
            .get(&app)
            .is_some_and(|app| app.is_active && app.deleted_at.is_none())
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.ids.other += 1;
        self.ids.other
    }

    pub(super) fn new_request_id(&mut self) -> String {
        self.ids.request += 1;
        format!("req_{}", self.ids.request)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("apps", &self.apps.len())
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Wall-clock time as Wacht states it, to the microsecond.
pub(super) fn utc(now: Now) -> DateTime<Utc> {
    let micros = i64::try_from(now.unix.as_micros()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}

fn last_characters(text: &str, count: usize) -> String {
    let skip = text.chars().count().saturating_sub(count);
    text.chars().skip(skip).collect()
}

/// The platform's own deployment, where the system apps `aa_<deployment>` live.
pub(super) const CONSOLE: i64 = 7_000_000_000_000_000;

/// So that a stand-in that is asked for hours does not grow.
const MOST_AUDIT_ROWS: usize = 10_000;
