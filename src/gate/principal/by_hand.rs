//! Callers and refusals that no gate has made, for the tests of what stands behind one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::{Clock, Now};
use crate::gate::directory::App;
use crate::gate::permission::Permissions;
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::{Answers, InvalidKeyReason, Rejection, RejectionKind};
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::revocations::{EventNumber, Revocations, Sent};
use crate::gate::verdict::{End, Identity, PrincipalKind, Verdict};
use crate::gate::waiting::Waiting;

/// A caller for tests of handlers, guards and extractors: an API key of this app.
///
/// Put into a request's extensions, it is what a gate would have put there. A gate itself does not
/// take it for its own: it removes it, and asks for a key.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower::ServiceExt;
/// use wacht_auth::{Principal, RequirePermissionsLayer, dev};
///
/// async fn orders(caller: Principal) -> String {
///     format!("the orders of {}", caller.key_name())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let read = RequirePermissionsLayer::new("orders:read")?;
/// let routes: Router = Router::new().route("/orders", get(orders).route_layer(read));
///
/// let clerk = dev::principal("orders").name("clerk").permissions(["orders:read"]).build();
/// assert_eq!(orders(clerk.clone()).await, "the orders of clerk");
/// let guest = dev::principal("orders").build();
/// for (caller, status) in [(clerk, 200), (guest, 403)] {
///     let request = Request::get("/orders").extension(caller).body(Body::empty())?;
///     assert_eq!(routes.clone().oneshot(request).await?.status(), status);
/// }
/// # Ok(()) }
/// ```
pub fn principal(app_slug: &str) -> PrincipalBuilder {
    PrincipalBuilder {
        app_slug: app_slug.into(),
        key_id: 1,
        key_name: "test key".into(),
        client_id: None,
        deployment_id: 1,
        owner_user_id: None,
        organization_id: None,
        workspace_id: None,
        organization_membership_id: None,
        workspace_membership_id: None,
        permissions: Permissions::default(),
        metadata: Value::Object(serde_json::Map::new()),
    }
}

/// What a gate leaves in the extensions of a request that it lets pass without a caller, under
/// [`optional`](crate::WachtAuthLayer::optional) or [`skip`](crate::WachtAuthLayer::skip).
///
/// Without it and without a [`Principal`], guards and extractors take the gate for forgotten, and
/// answer with 500.
///
/// ```
/// use axum::{Router, body::{Body, to_bytes}, http::Request, routing::get};
/// use tower::ServiceExt;
/// use wacht_auth::{Principal, dev};
///
/// async fn greet(caller: Option<Principal>) -> String {
///     caller.map_or_else(|| "stranger".to_owned(), |caller| caller.key_name().to_owned())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let routes: Router = Router::new().route("/", get(greet));
/// let request = Request::get("/").extension(dev::anonymous()).body(Body::empty())?;
/// let answer = routes.oneshot(request).await?;
/// assert_eq!(to_bytes(answer.into_body(), 1024).await?, "stranger");
/// # Ok(()) }
/// ```
#[must_use]
pub fn anonymous() -> impl Clone + Send + Sync + 'static {
    Anonymous(Answers::default())
}

/// A refusal of this kind, such as a gate with default options makes, for tests of an
/// [`on_reject`](crate::WachtAuthLayer::on_reject) or of whatever reads refusals further out.
///
/// ```
/// use http::{Request, Response, request::Parts};
/// use std::time::Duration;
/// use wacht_auth::{Rejection, RejectionKind, dev};
///
/// /// Given to `on_reject`.
/// fn house_format(rejection: &Rejection, _: &Parts) -> Response<bytes::Bytes> {
///     let wait = rejection.retry_after().map_or(0, |wait| wait.as_secs());
///     Response::new(format!("{}, wait {wait} s", rejection.kind().as_str()).into())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limited = dev::rejection(RejectionKind::RateLimited).retry_after(Duration::from_secs(30));
/// let (parts, ()) = Request::get("/orders").body(())?.into_parts();
/// let answer = house_format(&limited.build(), &parts);
/// assert_eq!(*answer.body(), "rate_limited, wait 30 s");
/// # Ok(()) }
/// ```
pub fn rejection(kind: RejectionKind) -> RejectionBuilder {
    RejectionBuilder {
        kind,
        retry_after: Duration::from_secs(1),
    }
}

/// A [`Principal`] in the making, from [`principal`]. Ends with [`build`](Self::build).
#[derive(Clone)]
#[must_use = "nothing is made until `build` is called"]
pub struct PrincipalBuilder {
    app_slug: Box<str>,
    key_id: i64,
    key_name: Box<str>,
    client_id: Option<Box<str>>,
    deployment_id: i64,
    owner_user_id: Option<i64>,
    organization_id: Option<i64>,
    workspace_id: Option<i64>,
    organization_membership_id: Option<i64>,
    workspace_membership_id: Option<i64>,
    permissions: Permissions,
    metadata: Value,
}

/// A [`Rejection`] in the making, from [`rejection`]. Ends with [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "nothing is made until `build` is called"]
pub struct RejectionBuilder {
    kind: RejectionKind,
    retry_after: Duration,
}

// === impl PrincipalBuilder ===

impl PrincipalBuilder {
    /// The id of the key. Default: 1.
    pub fn key_id(mut self, id: i64) -> Self {
        self.key_id = id;
        self
    }

    /// The name of the key. Default: `test key`. An access token has its client's id as its name.
    pub fn name(mut self, name: &str) -> Self {
        self.key_name = name.into();
        self
    }

    /// Makes the caller an OAuth access token of this client (`oc_…`). Default: an API key.
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// The deployment of the key. Default: 1.
    pub fn deployment_id(mut self, id: i64) -> Self {
        self.deployment_id = id;
        self
    }

    /// The user who owns the key. Default: none.
    pub fn owner_user_id(mut self, id: i64) -> Self {
        self.owner_user_id = Some(id);
        self
    }

    /// The organization that the key acts for. Default: none.
    pub fn organization_id(mut self, id: i64) -> Self {
        self.organization_id = Some(id);
        self
    }

    /// The workspace that the key acts for. Default: none.
    pub fn workspace_id(mut self, id: i64) -> Self {
        self.workspace_id = Some(id);
        self
    }

    /// The owner's membership in the organization. Default: none.
    pub fn organization_membership_id(mut self, id: i64) -> Self {
        self.organization_membership_id = Some(id);
        self
    }

    /// The owner's membership in the workspace. Default: none.
    pub fn workspace_membership_id(mut self, id: i64) -> Self {
        self.workspace_membership_id = Some(id);
        self
    }

    /// All that the caller may do. Default: nothing.
    pub fn permissions<I>(mut self, permissions: I) -> Self
    where
        I: IntoIterator<Item: Into<Box<str>>>,
    {
        self.permissions = permissions.into_iter().collect();
        self
    }

    /// Any JSON. Default: `{}`.
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = metadata;
        self
    }

    /// Makes the caller.
    #[must_use]
    pub fn build(self) -> Principal {
        let (kind, key_name) = match self.client_id {
            Some(client_id) => (PrincipalKind::OauthAccessToken, client_id),
            None => (PrincipalKind::ApiKey, self.key_name),
        };
        let app = Arc::new(App::new(self.deployment_id, (&*self.app_slug).into()));
        let identity = Identity {
            kind,
            key_id: self.key_id,
            key_name,
            app_slug: Arc::clone(app.slug()),
            deployment_id: self.deployment_id,
            owner_user_id: self.owner_user_id.into(),
            organization_id: self.organization_id.into(),
            workspace_id: self.workspace_id.into(),
            organization_membership_id: self.organization_membership_id.into(),
            workspace_membership_id: self.workspace_membership_id.into(),
            permissions: self.permissions,
            metadata: self.metadata,
        };
        // Of a state that is gone when this returns, and of a time that no gate knows.
        let sent = Sent {
            at: Now {
                monotonic: Duration::ZERO,
                unix: Duration::ZERO,
            },
            after: EventNumber::default(),
        };
        let digest = KeyDigest::of("");
        let waiting = Arc::new(Waiting::new(Clock::system()));
        let revocations = Arc::new(Revocations::new(Duration::ZERO, waiting));
        let verdict = Verdict::new(digest, identity, app, End::Unknown, sent, &revocations);
        Principal::new(Arc::new(verdict), Answers::default())
    }
}

impl fmt::Debug for PrincipalBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrincipalBuilder")
            .field("app_slug", &self.app_slug)
            .field("key_id", &self.key_id)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

// === impl RejectionBuilder ===

impl RejectionBuilder {
    /// When it makes sense to try again. Default: after 1 s. For
    /// [`RateLimited`](RejectionKind::RateLimited) and
    /// [`Unavailable`](RejectionKind::Unavailable); no other kind says so.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }

    /// Makes the refusal.
    #[must_use]
    pub fn build(self) -> Rejection {
        match self.kind {
            RejectionKind::MissingCredential => Rejection::missing_credential(),
            RejectionKind::MalformedCredential => Rejection::malformed_credential(),
            RejectionKind::InvalidKey => Rejection::invalid_key(InvalidKeyReason::Unknown),
            RejectionKind::PermissionDenied => Rejection::permission_denied_by_gateway(),
            RejectionKind::RateLimited => Rejection::rate_limited_plainly(self.retry_after),
            RejectionKind::Unavailable => Rejection::unavailable(self.retry_after),
            RejectionKind::Misconfigured => Rejection::misconfigured(),
        }
    }
}
