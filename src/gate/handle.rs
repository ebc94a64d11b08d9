//! A hand on a gate's state, for what does not come as an HTTP request.

use std::sync::Arc;

use http::request::Parts;

use crate::api::api_keys::KeyId;
use crate::client::{Error, Result};
use crate::gate::asker::Asker;
use crate::gate::authenticator::{Decision, Gate, Progress};
use crate::gate::cache::VerdictKey;
use crate::gate::credential::{Credential, KeyDigest};
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

/// What a gate holds and what it has asked for so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthStats {
    /// Keys known to be good.
    pub cached_keys: u64,
    /// Keys refused without asking.
    pub refused_keys: u64,
    /// Verifications in flight.
    pub in_flight: usize,
    /// Checks sent to the gateway, whatever became of them.
    pub checks: u64,
    /// Refreshes sent in the background.
    pub refreshes: u64,
    /// Whether checks are sent as they come. `false` after the gateway has failed too often: for
    /// some seconds nothing is sent but a probe, and unknown keys are answered 503 at once.
    pub gateway_trusted: bool,
    /// Keys and addresses being counted.
    pub limiter_subjects: usize,
    /// Requests that a limit would have refused, were it not for
    /// [`Limits::shadow`](crate::Limits::shadow).
    pub shadow_refusals: u64,
    /// Requests refused for [`UnknownKeyLimit`](crate::UnknownKeyLimit).
    pub unknown_key_refusals: u64,
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

    /// What the gate holds and has asked for so far. Not for every request: it settles the cache
    /// first.
    #[must_use]
    pub fn stats(&self) -> AuthStats {
        let state = &self.gate.state;
        let (cached_keys, refused_keys) = state.cache.len();
        AuthStats {
            cached_keys,
            refused_keys,
            in_flight: state.flights.len(),
            checks: state.counts.checks.get(),
            refreshes: state.counts.refreshes.get(),
            gateway_trusted: state.breaker.is_closed(),
            limiter_subjects: state.limiter.subjects(),
            shadow_refusals: state.counts.shadow_refusals.get(),
            unknown_key_refusals: state.counts.unknown_key_refusals.get(),
        }
    }

    /// Makes sure that keys can be verified: the client is usable, the gateway answers, the
    /// management key is accepted, and the deployment is known. For `main` and readiness probes.
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
            .await?;
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
            })
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
                    return principal.ok_or_else(|| Rejection::missing_credential().of(gate));
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
            .map_err(|_| Rejection::malformed_credential().of(gate))?;
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
            Err(rejection) => Progress::Refused(rejection),
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
