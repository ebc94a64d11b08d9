//! Permissions on single routes, behind a gate.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::gate::permission::requirement::Requirement;
use crate::gate::pipeline::ResponseFields;
use crate::gate::principal::caller::caller;
use crate::gate::refusal::Rejection;
use crate::gate::service::body::{BoxError, ResponseBody};
use crate::gate::service::future::ResponseFuture;
use crate::gate::service::take_ready;
use crate::log::Notice;

/// Lets a request through only if its caller holds the permissions.
///
/// It stands on routes behind a [`WachtAuthLayer`](crate::WachtAuthLayer) and refuses in that
/// layer's own words. It runs *after* the gate has charged the rate limits; to refuse before they
/// are charged, as the gateway does, use [`require`](crate::WachtAuthLayer::require) or
/// [`require_with`](crate::WachtAuthLayer::require_with) on the layer.
///
/// | the request has | answer |
/// |---|---|
/// | a caller with the permissions | the inner service's |
/// | a caller without them | 403 |
/// | no caller, because the gate let it pass anonymously | 401 |
/// | no gate in front | 500; the log says so once, then it is counted |
///
/// In axum, `route_layer` on what `get` or `post` returns guards every method that is there *so far*: for two
/// methods of one path with a guard each, call `route` twice.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::{get, post}};
/// use tower::ServiceExt;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{RequirePermissionsLayer, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let reader = wacht.issue_key("orders").permissions(["orders:read"]).issue();
/// let other = wacht.issue_key("orders").issue();
///
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let read = RequirePermissionsLayer::new("orders:read")?;
/// let write = RequirePermissionsLayer::new("orders:write")?;
/// let app = Router::new()
///     .route("/orders", get(|| async { "…" }).route_layer(read))
///     .route("/orders", post(|| async { "…" }).route_layer(write))
///     .layer(gate);
///
/// for (method, key, status) in [("GET", &reader, 200), ("POST", &reader, 403), ("GET", &other, 403)] {
///     let request = Request::builder().method(method).uri("/orders");
///     let request = request.header("authorization", format!("Bearer {}", key.secret()));
///     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
///     assert_eq!(answer.status(), status);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RequirePermissionsLayer {
    guard: Arc<Guard>,
}

/// What a layer and all its services share.
struct Guard {
    requirement: Requirement,
    no_gate: Notice,
}

impl RequirePermissionsLayer {
    /// Parses the requirement: `"orders:read"`, `"a AND (b OR c)"`, or `["a", "b"]` for all of
    /// them.
    ///
    /// ```
    /// use wacht_auth::{RequirePermissionsLayer, RequirementErrorKind};
    ///
    /// assert!(RequirePermissionsLayer::new("orders:read AND (staff OR admin)").is_ok());
    /// let error = RequirePermissionsLayer::new("orders:read, orders:write").unwrap_err();
    /// assert_eq!(error.kind(), RequirementErrorKind::Comma);
    /// ```
    ///
    /// # Errors
    ///
    /// [`RequirementError`](crate::RequirementError) when it is no requirement.
    pub fn new<R>(requirement: R) -> Result<Self, R::Error>
    where
        R: TryInto<Requirement>,
    {
        requirement.try_into().map(Self::from)
    }
}

impl From<Requirement> for RequirePermissionsLayer {
    fn from(requirement: Requirement) -> Self {
        Self {
            guard: Arc::new(Guard {
                requirement,
                no_gate: Notice::new(),
            }),
        }
    }
}

impl<S> Layer<S> for RequirePermissionsLayer {
    type Service = RequirePermissions<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequirePermissions {
            inner,
            guard: Arc::clone(&self.guard),
        }
    }
}

/// The service of [`RequirePermissionsLayer`].
#[derive(Clone)]
pub struct RequirePermissions<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S> RequirePermissions<S> {
    /// The inner service.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, with no guard in front any more.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl Guard {
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        caller(parts, &self.no_gate)?.require(&self.requirement)
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequirePermissions<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.guard.check(&parts) {
            Ok(()) => {
                let request = Request::from_parts(parts, body);
                ResponseFuture::inner(self.inner.call(request), ResponseFields::default())
            }
            Err(rejection) => {
                // As in the gate: nothing stays set aside for a request that never comes.
                drop(take_ready(&mut self.inner));
                ResponseFuture::refused(&rejection, &parts, body)
            }
        }
    }
}

impl fmt::Debug for RequirePermissionsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequirePermissionsLayer")
            .field(&self.guard.requirement)
            .finish()
    }
}

impl<S: fmt::Debug> fmt::Debug for RequirePermissions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequirePermissions")
            .field("inner", &self.inner)
            .field("requirement", &self.guard.requirement)
            .finish()
    }
}
