//! A hand on a gate's state, for what does not come as an HTTP request.

use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::api::api_keys::KeyId;
use crate::client::events::ManagementEvent;
use crate::client::{ConfigError, ConfigErrorKind, Error, Result};
use crate::clock::Now;
use crate::gate::directory::KEY_IS_REFUSED;
use crate::gate::pipeline::{Decision, Gate, warn_of_addresses};
use crate::gate::principal::Principal;
use crate::gate::refusal::Rejection;
use crate::gate::request::client_ip::NO_PROXY_IS_TRUSTED;
use crate::gate::request::context::AuthContext;
use crate::gate::request::credential::KeyDigest;
use crate::gate::request::view::{Detached, Resolved};
use crate::gate::stats::AuthStats;

/// Forgets and revokes keys (with a store, in other replicas too), tells how the gate is doing, and authenticates what comes by other
/// ways than HTTP.
///
/// From [`WachtAuthLayer::handle`](crate::WachtAuthLayer::handle). Cheap to clone; it acts on the
/// state that the layer shares with its clones and services.
///
/// ```
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{AuthContext, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let handle = gate.handle(); // last, when all options are set
///
/// handle.check().await?; // in `main`
/// let context = AuthContext::new("/orders");
/// assert!(handle.authenticate_key(key.secret(), &context).await.is_ok());
/// handle.revoke_key_id(key.key_id()); // told by your own console, say
/// assert!(handle.authenticate_key(key.secret(), &context).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct AuthHandle {
    gate: Arc<Gate>,
}

impl AuthHandle {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// Forgets what is known of a key: the next request with it is verified anew.
    ///
    /// For a change that a key is to feel at once, such as permissions taken from its owner's role:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// gate.invalidate_secret(key.secret());
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// assert_eq!(wacht.journal().checks(), 2);
    /// # Ok(()) }
    /// ```
    pub fn invalidate_secret(&self, secret: &str) {
        let KeyDigest(digest) = KeyDigest::of(secret);
        self.forget(&ManagementEvent::ForgetDigest(digest));
    }

    /// Forgets what is known of the API key with this id: the next request with it is verified anew.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// gate.invalidate_key_id(key.key_id());
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// assert_eq!(wacht.journal().checks(), 2);
    /// # Ok(()) }
    /// ```
    pub fn invalidate_key_id(&self, key_id: impl Into<KeyId>) {
        // An id that is no number is nobody's.
        let Some(id) = key_id.into().number() else {
            return;
        };
        self.forget(&ManagementEvent::ForgetKeyId(id));
    }

    /// Forgets all keys of an app, and lets its policy be asked for again.
    ///
    /// For a change of an app that was made elsewhere:
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// wacht.app("orders").set_active(false);
    /// gate.invalidate_app("orders");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn invalidate_app(&self, app_slug: &str) {
        self.forget(&ManagementEvent::ForgetApp(app_slug.into()));
    }

    /// Forgets every key, and lets every policy be asked for again. Rate-limit counters stay.
    ///
    /// After an incident in which nobody knows any more which keys were revoked:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let (good, bad) = (wacht.issue_key("orders").issue(), wacht.issue_key("orders").issue());
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(good.secret(), &context).await?;
    /// gate.authenticate_key(bad.secret(), &context).await?;
    ///
    /// wacht.revoke(bad.key_id()); // as somebody did
    /// gate.invalidate_all();
    /// assert!(gate.authenticate_key(good.secret(), &context).await.is_ok());
    /// assert!(gate.authenticate_key(bad.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn invalidate_all(&self) {
        self.forget(&ManagementEvent::ForgetAll);
    }

    /// Refuses a key from now on, in every gate that is or will be built on the client of this one
    /// or a clone of it, for as long as a yes from before might still be used: 60 s that the gateway
    /// repeats itself, [`fresh_for`](crate::CachePolicy::fresh_for), the longer grace after it, and
    /// what checks may take. By default that is 460 s; it may last twice as long.
    ///
    /// With a store, other replicas refuse it as well.
    ///
    /// It does not revoke the key at Wacht, which decides again after that.
    ///
    /// A key found in a public repository is refused before anybody has looked it up:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    ///
    /// gate.revoke_secret(key.secret());
    /// let refused = gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await;
    /// assert_eq!(refused.unwrap_err().kind(), RejectionKind::InvalidKey);
    /// assert_eq!(wacht.journal().checks(), 0);
    /// # Ok(()) }
    /// ```
    pub fn revoke_secret(&self, secret: &str) {
        let KeyDigest(digest) = KeyDigest::of(secret);
        let events = self.gate.state.verifier.client.events();
        events.publish(ManagementEvent::RevokeDigest(digest));
    }

    /// Refuses the API key with this id from now on, whatever its app, in every gate that is or will
    /// be built on the client of this one or a clone of it, for as long as
    /// [`revoke_secret`](Self::revoke_secret) does. With a store, other replicas refuse it as well.
    ///
    /// It does not revoke the key at Wacht.
    ///
    /// What a webhook of your own says counts at once in this process:
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// let revoked = key.key_id().to_string(); // as text, or as a number
    /// gate.revoke_key_id(revoked);
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn revoke_key_id(&self, key_id: impl Into<KeyId>) {
        let Some(id) = key_id.into().number() else {
            return;
        };
        let events = self.gate.state.verifier.client.events();
        events.publish(ManagementEvent::RevokeKeyId(id));
    }

    /// What the gate holds and has done so far. Not for every request: it settles the cache first.
    ///
    /// With the feature `metrics`, it also brings up to date what the recorder holds of the cache
    /// and the limiter: call it before a scrape.
    #[must_use]
    pub fn stats(&self) -> AuthStats {
        self.gate.state.verifier.stats()
    }

    /// Makes sure that keys can be verified: the client is usable, the gateway answers, the
    /// management key is accepted, the deployment is known, and it has the apps that the layer
    /// names. A store that is shared with other replicas has to answer. Two calls of Wacht, and one more per app named. No proxy may be trusted whose network is
    /// all addresses; where requests came through proxies of which none is trusted, the log says so
    /// once more.
    ///
    /// For `main` or a startup probe. Not for a probe that goes on being asked: while Wacht is down
    /// it would take a process out of service that still lets known keys pass.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{Error, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let gate = WachtAuthLayer::new(wacht.client());
    /// assert!(gate.clone().app("orders").handle().check().await.is_ok());
    ///
    /// let misspelt = gate.app("oders").handle().check().await;
    /// assert!(matches!(misspelt, Err(Error::Config(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) when something has to be changed before it can work,
    /// with its [kind](crate::client::ConfigErrorKind); otherwise what the failing call said.
    pub async fn check(&self) -> Result<()> {
        let verifier = &self.gate.state.verifier;
        if let Some(problem) = self.gate.options.request.credentials.problem() {
            return Err(ConfigError::new(ConfigErrorKind::Credentials, problem).into());
        }
        if let Some(problem) = self.gate.state.client_ip.trusts_everybody() {
            return Err(ConfigError::new(ConfigErrorKind::ClientIp, problem).into());
        }
        // Told again, but no error: any stranger can send the header.
        if self.gate.state.notices.proxies.was_said() {
            warn_of_addresses(NO_PROXY_IS_TRUSTED);
        }
        if let Some(sink) = verifier.client.events().sink() {
            sink.check().await.map_err(Error::Store)?;
        }
        // No key looks like this: a gateway that is well refuses it and leaves no trace.
        let probe = crate::api::gateway::CheckRequest::api_key("readiness-probe")
            .method("GET")
            .resource("/");
        match verifier.client.gateway().check(probe).send().await {
            Ok(_) => {}
            Err(error) if error.is_invalid_key() => {}
            Err(error) => return Err(error),
        }
        let apps = verifier.client.api_keys().list_api_auth_apps();
        let page = apps
            .include_inactive(true)
            .page(1, 0)
            .without_retries()
            .send()
            .await
            .map_err(|error| match error.status() {
                Some(StatusCode::UNAUTHORIZED) => {
                    ConfigError::new(ConfigErrorKind::ManagementKey, KEY_IS_REFUSED).into()
                }
                _ => error,
            })?;
        let Some(app) = page.items.first() else {
            let message = NO_APPS;
            return Err(ConfigError::new(ConfigErrorKind::NoApps, message).into());
        };
        verifier
            .directory
            .accept(app.deployment_id)
            .map_err(|ours| {
                let message = format!(
                    "the management key belongs to deployment {}, the gate to {ours}: \
                     is it the key of this environment?",
                    app.deployment_id
                );
                ConfigError::new(ConfigErrorKind::DeploymentMismatch, message)
            })?;
        for slug in self.gate.options.apps.named().unwrap_or_default() {
            let api_keys = verifier.client.api_keys();
            match api_keys
                .get_api_auth_app(&**slug)
                .without_retries()
                .send()
                .await
            {
                Ok(_) => {}
                Err(error) if error.is_app_not_found() => {
                    let message = format!(
                        "the layer accepts keys of the app `{slug}`, which the deployment does not \
                         have: is `.app(..)` right?"
                    );
                    return Err(ConfigError::new(ConfigErrorKind::AppNotFound, message).into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Judges a request as the layer would, steps 1 to 5, without passing it on. Its limits are
    /// charged.
    ///
    /// For a handshake that is answered by hand, such as a websocket's:
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").name("ci").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let gate = gate.handle();
    ///
    /// let bearer = format!("Bearer {}", key.secret());
    /// let (parts, ()) = Request::get("/live").header("authorization", bearer).body(())?.into_parts();
    /// assert_eq!(gate.authenticate(&parts).await?.key_name(), "ci");
    ///
    /// let (parts, ()) = Request::get("/live").body(())?.into_parts();
    /// let refused = gate.authenticate(&parts).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::MissingCredential);
    /// assert_eq!(refused.to_response(&parts).status(), 401);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The [`Rejection`] that the layer would answer with. A request that the layer would let
    /// pass without a caller is a
    /// [`MissingCredential`](crate::RejectionKind::MissingCredential) here.
    pub async fn authenticate(&self, parts: &Parts) -> Result<Principal, Rejection> {
        let mut parts = parts.clone();
        // Judged by its key, whatever a gate has said of it before.
        parts.extensions.remove::<Principal>();
        let mut decision = {
            let mut view = self.gate.view(&mut parts, Resolved::default());
            self.gate.decide(&mut view, self.now())
        };
        loop {
            match decision {
                Decision::Pass(_) => return self.admitted(&mut parts.extensions),
                Decision::Refuse(rejection) => return Err(rejection),
                Decision::Wait(wait) => {
                    let verification = wait.pending.await;
                    let mut view = self.gate.view(&mut parts, wait.resolved);
                    decision =
                        self.gate
                            .resume(verification, wait.key, wait.asked, &mut view, self.now());
                }
            }
        }
    }

    /// Judges a key that came some other way, such as a websocket message or a queue. Its limits
    /// are charged. [`require_with`](crate::WachtAuthLayer::require_with) has no request to look
    /// at and is not asked.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").require("jobs:import")?;
    /// let message = (key.secret(), "an import"); // from a queue
    ///
    /// let context = AuthContext::new("/jobs/import");
    /// let refused = gate.handle().authenticate_key(message.0, &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::PermissionDenied);
    /// # Ok(()) }
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
        let key = Detached { secret, context };
        let mut extensions = Extensions::new();
        let mut view = self.gate.view_of_key(key, &mut extensions);
        let mut decision = self.gate.decide(&mut view, self.now());
        loop {
            match decision {
                Decision::Pass(_) => return self.admitted(view.extensions()),
                Decision::Refuse(rejection) => return Err(rejection),
                Decision::Wait(wait) => {
                    let verification = wait.pending.await;
                    decision =
                        self.gate
                            .resume(verification, wait.key, wait.asked, &mut view, self.now());
                }
            }
        }
    }

    /// Forgets here, and lets other replicas do so.
    fn forget(&self, event: &ManagementEvent) {
        let verifier = &self.gate.state.verifier;
        verifier.forget(event);
        verifier.client.events().tell_others(event);
    }

    fn now(&self) -> Now {
        self.gate.state.verifier.clock.now()
    }

    /// The caller that the walk has left in the extensions.
    fn admitted(&self, extensions: &mut Extensions) -> Result<Principal, Rejection> {
        let principal = extensions.remove::<Principal>();
        principal.ok_or_else(|| self.gate.missing_credential())
    }
}

/// What `check` says of a deployment where nothing has been made yet.
const NO_APPS: &str = "the deployment has no API auth app, so no key is its own: make one in Wacht's \
    console, or with `create_api_auth_app`";
