//! A hand on a gate's state, for what does not come as an HTTP request.

use std::sync::Arc;

use http::StatusCode;
use http::request::Parts;

use crate::api::api_keys::KeyId;
use crate::client::{Error, Result};
use crate::gate::asker::Asker;
use crate::gate::authenticator::{Decision, Gate, Progress};
use crate::gate::cache::VerdictKey;
use crate::gate::credential::{Credential, KeyDigest};
use crate::gate::metrics::{AuthStats, VerdictSource};
use crate::gate::principal::{Principal, PrincipalKind};
use crate::gate::rejection::Rejection;
use crate::gate::verify::AuthContext;

/// Forgets and revokes keys, tells how the gate is doing, and authenticates what comes by other
/// ways than HTTP.
///
/// From [`WachtAuthLayer::handle`](crate::WachtAuthLayer::handle). Cheap to clone; it acts on the
/// state that the layer shares with its clones and services.
#[derive(Clone, Debug)]
pub struct AuthHandle {
    gate: Arc<Gate>,
}

impl AuthHandle {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// Forgets what is known of a key: the next request with it is verified anew.
    pub fn invalidate_secret(&self, secret: &str) {
        self.gate.state.tombstones.announce();
        for key in keys_of(secret) {
            self.gate.state.cache.forget(&key);
        }
    }

    /// Forgets what is known of the API key with this id. Walks the whole cache.
    pub fn invalidate_key_id(&self, key_id: impl Into<KeyId>) {
        // An id that is no number is nobody's.
        let Some(id) = key_id.into().number() else {
            return;
        };
        self.gate.state.forget_key_id(id);
    }

    /// Forgets all keys of an app, and lets its policy be asked for again. Walks the whole cache.
    pub fn invalidate_app(&self, app_slug: &str) {
        self.gate.state.forget_app(app_slug);
    }

    /// Forgets every key, and lets every policy be asked for again. Rate-limit counters stay.
    pub fn invalidate_all(&self) {
        let state = &self.gate.state;
        state.tombstones.announce();
        state.apps.expire_all();
        state.cache.forget_all();
    }

    /// Refuses a key from now on, for the 3 minutes in which the gateway might still say yes.
    ///
    /// It does not revoke the key at Wacht.
    pub fn revoke_secret(&self, secret: &str) {
        for key in keys_of(secret) {
            self.gate.state.end_secret(key);
        }
    }

    /// Refuses the API key with this id from now on, for the 3 minutes in which the gateway might
    /// still say yes.
    ///
    /// It does not revoke the key at Wacht.
    pub fn revoke_key_id(&self, key_id: impl Into<KeyId>) {
        let Some(id) = key_id.into().number() else {
            return;
        };
        self.gate.state.end_key(id);
    }

    /// What the gate holds and has done so far. Not for every request: it settles the cache first.
    ///
    /// With the feature `metrics`, it also brings up to date what the recorder holds of the cache
    /// and the limiter: call it before a scrape.
    #[must_use]
    pub fn stats(&self) -> AuthStats {
        self.gate.state.stats()
    }

    /// Makes sure that keys can be verified: the client is usable, the gateway answers, the
    /// management key is accepted, the deployment is known, and it has the apps that the layer
    /// names. For `main` and readiness probes: two calls, and one more per app named.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when something has to be changed before it can work, otherwise what
    /// the failing call said.
    pub async fn check(&self) -> Result<()> {
        let state = &self.gate.state;
        if let Some(problem) = self.gate.options.credentials.problem() {
            return Err(Error::Config(problem.to_owned()));
        }
        if let Some(problem) = state.limiter.problem() {
            return Err(Error::Config(problem.to_owned()));
        }
        // No key looks like this: a gateway that is well refuses it and leaves no trace.
        let probe = crate::api::gateway::CheckRequest::api_key("readiness-probe")
            .method("GET")
            .resource("/");
        match state.client.gateway().check(probe).send().await {
            Ok(_) => {}
            Err(error) if error.is_invalid_key() => {}
            Err(error) => return Err(error),
        }
        let apps = state.client.api_keys().list_api_auth_apps();
        let page = apps
            .include_inactive(true)
            .page(1, 0)
            .without_retries()
            .send()
            .await
            .map_err(|error| match error.status() {
                Some(StatusCode::UNAUTHORIZED) => Error::Config(
                    "the management API does not accept the key of the client (WACHT_API_KEY)"
                        .to_owned(),
                ),
                _ => error,
            })?;
        let Some(app) = page.items.first() else {
            return Err(Error::Config(
                "the deployment has no API auth app, so no key is its own".to_owned(),
            ));
        };
        state
            .tenancy
            .accept(&state.client, app.deployment_id)
            .map_err(|ours| {
                Error::Config(format!(
                    "the management key belongs to deployment {}, the gate to {ours}",
                    app.deployment_id
                ))
            })?;
        for slug in self.gate.options.apps.iter().flat_map(|apps| apps.iter()) {
            let api_keys = state.client.api_keys();
            match api_keys
                .get_api_auth_app(&**slug)
                .without_retries()
                .send()
                .await
            {
                Ok(_) => {}
                Err(error) if error.is_app_not_found() => {
                    return Err(Error::Config(format!(
                        "the layer accepts keys of the app `{slug}`, which the deployment has not"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Judges a request as the layer would, steps 1 to 5, without passing it on. Its limits are
    /// charged.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] that the layer would answer with. A request that the layer would let
    /// pass without a caller is a
    /// [`MissingCredential`](crate::RejectionKind::MissingCredential) here.
    pub async fn authenticate(&self, parts: &Parts) -> Result<Principal, Rejection> {
        let gate = &self.gate;
        let mut parts = parts.clone();
        let mut decision = gate.decide(&mut parts, gate.state.clock.now());
        loop {
            match decision {
                Decision::Pass(_) => {
                    let principal = parts.extensions.remove::<Principal>();
                    return principal.ok_or_else(|| gate.refusal(Rejection::missing_credential()));
                }
                Decision::Refuse(rejection) => return Err(rejection),
                Decision::Wait(pending) => {
                    let arrived = pending.await;
                    decision = gate.resume(arrived, &mut parts, gate.state.clock.now());
                }
            }
        }
    }

    /// Judges a key that came some other way, such as a websocket message or a queue. Its limits
    /// are charged. [`require_with`](crate::WachtAuthLayer::require_with) has no request to look
    /// at and is not asked.
    ///
    /// ```no_run
    /// # async fn example(handle: wacht_auth::AuthHandle) -> Result<(), wacht_auth::Rejection> {
    /// use wacht_auth::AuthContext;
    ///
    /// let context = AuthContext::new("/jobs/import");
    /// let caller = handle.authenticate_key("sk_live_…", &context).await?;
    /// # let _ = caller; Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The [`Rejection`] that a request with this key would meet.
    pub async fn authenticate_key(
        &self,
        secret: &str,
        context: &AuthContext,
    ) -> Result<Principal, Rejection> {
        let gate = &self.gate;
        let credential = Credential::parse(secret.as_bytes())
            .map_err(|_| gate.refusal(Rejection::malformed_credential()))?;
        let key = gate.key_of(credential);
        let mut asker = Asker::Bare {
            key: secret,
            context,
        };
        let mut progress = match gate
            .usable()
            .and_then(|()| match credential.is_well_formed() {
                true => Ok(()),
                false => Err(Rejection::invalid_key()),
            }) {
            Ok(()) => gate.start(key, &mut asker, gate.state.clock.now()),
            Err(rejection) => gate.refused(rejection, VerdictSource::Request),
        };
        loop {
            match progress {
                Progress::Admitted(verdict, _) => {
                    return Ok(Principal::new(verdict, Arc::clone(gate)));
                }
                Progress::Refused(rejection) => return Err(rejection.of(gate)),
                Progress::Wait(pending) => {
                    let arrived = pending.await;
                    progress = gate.go_on(arrived, key, &mut asker, gate.state.clock.now());
                }
            }
        }
    }
}

/// The places a secret may be filed under: nobody says which kind it is.
fn keys_of(secret: &str) -> [VerdictKey; 2] {
    let digest = KeyDigest::of(secret);
    [PrincipalKind::ApiKey, PrincipalKind::OauthAccessToken].map(|kind| VerdictKey { digest, kind })
}
