//! Who is calling.
//!
//! In comes a verdict, out goes the [`Principal`] that handlers see. What stands behind a gate asks
//! for it by `caller`; tests of such make one `by_hand`.

#[cfg(feature = "test-util")]
pub(crate) mod by_hand;
pub(crate) mod caller;
pub(crate) mod ended;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::gate::permission::Permissions;
use crate::gate::refusal::Answers;
use crate::gate::verdict::revocations::Revocations;
use crate::gate::verdict::{Identity, PrincipalKind, Verdict};

/// The verified caller of a request.
///
/// [`WachtAuth`](crate::WachtAuth) puts it into the request's extensions; axum handlers take it
/// as an extractor. It is a reference count or two, so it is cheap to clone and to send elsewhere.
///
/// It says what was true when the gateway was last asked, at most
/// [`CachePolicy::fresh_for`](crate::CachePolicy::fresh_for) plus the grace after that ago.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{Principal, WachtAuthLayer};
/// # use std::convert::Infallible;
/// # use http_body_util::Full;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").name("ci").owner_user_id(5001).issue();
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let service = gate.layer(service_fn(async |request: Request<String>| {
///     let caller = request.extensions().get::<Principal>().expect("the gate has put it there");
///     assert_eq!((caller.key_name(), caller.owner_user_id()), ("ci", Some(5001)));
///     Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
/// }));
/// let request = Request::get("/orders").header("authorization", format!("Bearer {}", key.secret()));
/// assert_eq!(service.oneshot(request.body(String::new())?).await?.status(), 200);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Principal {
    verdict: Arc<Verdict>,
    answers: Answers,
}

/// Stands in the extensions of a request that a gate let pass without a caller, so that a guard
/// further in can tell "anonymous" from "no gate in front".
#[derive(Clone)]
pub(crate) struct Anonymous(pub(crate) Answers);

impl Principal {
    pub(crate) fn new(verdict: Arc<Verdict>, answers: Answers) -> Self {
        Self { verdict, answers }
    }

    /// Whether the caller showed an API key or an OAuth access token.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        self.identity().kind
    }

    /// The id of the API key; for an OAuth access token, the record id of its client.
    #[must_use]
    pub fn key_id(&self) -> i64 {
        self.identity().key_id
    }

    /// The name the key was given; for an OAuth access token, its client id (`oc_…`).
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.identity().key_name
    }

    /// The OAuth client id (`oc_…`) of an access token, `None` for an API key.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let token = wacht.issue_token("orders").client_id("oc_partner").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").accept_oauth_tokens();
    /// let gate = gate.handle();
    ///
    /// let context = AuthContext::new("/orders");
    /// let partner = gate.authenticate_key(token.secret(), &context).await?;
    /// assert_eq!(partner.client_id(), Some("oc_partner"));
    /// assert_eq!(gate.authenticate_key(key.secret(), &context).await?.client_id(), None);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        match self.kind() {
            PrincipalKind::OauthAccessToken => Some(self.key_name()),
            PrincipalKind::ApiKey => None,
        }
    }

    /// The slug of the API auth app that the key belongs to.
    #[must_use]
    pub fn app_slug(&self) -> &str {
        &self.identity().app_slug
    }

    /// The Wacht deployment that the key belongs to; always the gate's own.
    #[must_use]
    pub fn deployment_id(&self) -> i64 {
        self.identity().deployment_id
    }

    /// The user who owns the key, if any does.
    #[must_use]
    pub fn owner_user_id(&self) -> Option<i64> {
        self.identity().owner_user_id.get()
    }

    /// The organization that the key acts for, if any.
    #[must_use]
    pub fn organization_id(&self) -> Option<i64> {
        self.identity().organization_id.get()
    }

    /// The workspace that the key acts for, if any.
    #[must_use]
    pub fn workspace_id(&self) -> Option<i64> {
        self.identity().workspace_id.get()
    }

    /// The owner's membership in the organization, if any.
    #[must_use]
    pub fn organization_membership_id(&self) -> Option<i64> {
        self.identity().organization_membership_id.get()
    }

    /// The owner's membership in the workspace, if any.
    #[must_use]
    pub fn workspace_membership_id(&self) -> Option<i64> {
        self.identity().workspace_membership_id.get()
    }

    /// What the caller may do: the key's own permissions together with those of its roles, or the
    /// scopes of an access token with what they map to.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.identity().permissions
    }

    /// The metadata stored with the key, verbatim: normally an object, but any JSON is possible.
    ///
    /// Whoever may create keys chooses it. Decide nothing about the kind of caller by it.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").metadata(serde_json::json!({"plan": "trial"})).issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    /// let caller = gate.handle().authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// assert_eq!(caller.metadata()["plan"], "trial");
    /// assert!(caller.metadata()["region"].is_null(), "what is not there");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &Value {
        &self.identity().metadata
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.verdict.identity
    }

    pub(crate) fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// Whether a gate of the state that has these revocations has put it there.
    pub(crate) fn is_of(&self, revocations: &Arc<Revocations>) -> bool {
        self.verdict.is_of_state(revocations)
    }

    /// How its gate answers those it refuses.
    pub(crate) fn answers(&self) -> &Answers {
        &self.answers
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.identity();
        f.debug_struct("Principal")
            .field("kind", &identity.kind)
            .field("key_id", &identity.key_id)
            .field("app_slug", &identity.app_slug)
            .field("permissions", &identity.permissions)
            .finish_non_exhaustive()
    }
}
