//! [`WachtAuthLayer`] and its options.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tower_layer::Layer;

use crate::gate::handle::AuthHandle;
use crate::gate::limit::RateLimitHeaders;
use crate::gate::options::GateOptions;
use crate::gate::permission::requirement::Requirement;
use crate::gate::pipeline::Gate;
use crate::gate::refusal::{GrpcRefusals, Rejection};
use crate::gate::request::credential::{CredentialSource, Credentials};
use crate::gate::service::WachtAuth;

/// Verifies the API key of every request and puts its [`Principal`](crate::Principal) into the
/// request's extensions.
///
/// `WachtAuthLayer::new(client)` is complete and safe: it takes `Authorization: Bearer` keys of
/// the client's own deployment, caches verdicts as [`CachePolicy::default`](crate::CachePolicy::default) says, and applies the
/// app's rate-limit scheme in this process. Name your app with [`app`](Self::app), or keys of
/// every app of the deployment are accepted.
///
/// # Shared state
///
/// A layer is a set of options over shared state: verdicts, the directory of apps, counters. The
/// state is made once, by [`new`](Self::new) or by [`builder`](Self::builder), which has the options
/// that decide what it is. It is shared by all clones and by every service they build, so one client
/// address or key has one counter, however many routes it calls. Two builds are two states.
///
/// # Options of a view
///
/// They only change what a request is held to, and clones may differ in them.
///
/// | option | default |
/// |---|---|
/// | [`app`](Self::app), [`apps`](Self::apps): accept keys of these apps alone | every app of the deployment but the platform's own, with a warning |
/// | [`credentials`](Self::credentials): where the key is, in order | [`CredentialSource::bearer`]; also other headers and schemes, Basic, cookies, the query, websocket protocols |
/// | [`ignore_foreign`](Self::ignore_foreign): a bearer token of somebody else's form is no credential | off |
/// | [`accept_oauth_tokens`](Self::accept_oauth_tokens): opaque OAuth access tokens (`oat_…`) too | off |
/// | [`strip_credential`](Self::strip_credential): remove the key before your service | off: it stays, marked as sensitive |
/// | [`optional`](Self::optional): pass without a key and without a `Principal` | off |
/// | [`tell_outside`](Self::tell_outside): the `Principal` in the answer's extensions, for access logs | off |
/// | [`end_streams`](Self::end_streams): bodies of answers end with their caller | off |
/// | [`skip`](Self::skip): requests that pass unseen | none |
/// | [`resource`](Self::resource): what endpoint rules and Wacht's audit see | the path |
/// | [`require`](Self::require), [`require_with`](Self::require_with): permissions; they add up | none |
/// | [`cost`](Self::cost): units that a request is charged | 1 |
/// | [`charge_later`](Self::charge_later): a [`Charge`](crate::Charge) for cost known only afterwards | off |
/// | [`realm`](Self::realm): in `WWW-Authenticate` | `api` |
/// | [`on_reject`](Self::on_reject): refusals in your own format | the table of [`RejectionKind`](crate::RejectionKind) |
/// | [`grpc`](Self::grpc): which refusals are gRPC's | those of gRPC calls |
/// | [`rate_limit_headers`](Self::rate_limit_headers) | [`RateLimitHeaders::Draft`] |
///
/// One state behind two views, for REST and for what needs more:
///
/// ```
/// use wacht_auth::{WachtAuthLayer, WachtClient};
///
/// # fn main() -> Result<(), wacht_auth::Error> {
/// let rest = WachtAuthLayer::new(WachtClient::new("wk_live_...")).app("my-integration");
/// let admin = rest.clone().require("admin")?;
/// # let _ = admin;
/// # Ok(()) }
/// ```
///
/// # Where to put it
///
/// Outside the routes it guards and inside CORS, so that a preflight passes and a 401 carries the
/// CORS headers. axum's `layer` answers 401 for unknown paths too; `route_layer` leaves them 404:
/// [`guide::axum`](crate::guide::axum) has the table.
///
/// ```
/// use axum::{Router, routing::get};
/// use wacht_auth::{Principal, WachtAuthLayer, WachtClient};
///
/// async fn hello(caller: Principal) -> String {
///     format!("hello, {}", caller.key_name())
/// }
///
/// let client = WachtClient::new("wk_live_...");
/// let app: Router = Router::new()
///     .route("/hello", get(hello))
///     .layer(WachtAuthLayer::new(client).app("my-integration"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct WachtAuthLayer {
    gate: Arc<Gate>,
}

impl WachtAuthLayer {
    pub(crate) fn of(gate: Gate) -> Self {
        Self {
            gate: Arc::new(gate),
        }
    }

    /// Accepts only keys of this API auth app. Default: every app of the deployment, except the
    /// platform's own `aa_<digits>` and `oauth_<digits>`; a warning says so once.
    ///
    /// A key of another app is refused exactly as one that does not exist.
    pub fn app(self, slug: impl Into<String>) -> Self {
        self.apps([slug])
    }

    /// Accepts only keys of these API auth apps.
    pub fn apps(self, slugs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let accepted = self.gate.state.apps.narrowed(slugs);
        self.view(|options| options.apps = accepted)
    }

    /// Where to look for the key, in order. Default: [`CredentialSource::bearer`].
    ///
    /// A request with two keys in one of these places, or with different keys in several, is
    /// malformed. The `WWW-Authenticate` of a 401 names each place, and its text says where the key
    /// belongs.
    pub fn credentials(self, sources: impl IntoIterator<Item = CredentialSource>) -> Self {
        self.view(|options| {
            let ignore_foreign = options.request.credentials.ignore_foreign;
            let credentials = Credentials::new(sources).ignoring_foreign(ignore_foreign);
            options.answers = options.answers.with_credentials(&credentials);
            options.request.credentials = credentials;
            options.renew_cache_fields();
        })
    }

    /// Takes a bearer token that is no key of Wacht's by its form for no credential: a signed token
    /// of three parts set apart by dots, the first of which decodes to a JSON object (a JWT), as
    /// identity providers issue. Without this, it is looked up at the gateway as a key, if it has the
    /// length of one, and refused.
    ///
    /// With [`optional`](Self::optional) such a request goes on without a
    /// [`Principal`](crate::Principal), the token still in place, to the layer that knows it; without,
    /// it is a 401 that says where a key belongs.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").ignore_foreign();
    ///
    /// let jwt = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmVkLCBzdXJlbHkuLi4uLi4uLi4";
    /// let request = Request::get("/orders").header("authorization", jwt).body(())?;
    /// let refused = gate.handle().authenticate(&request.into_parts().0).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::MissingCredential);
    /// assert_eq!(wacht.journal().checks(), 0);
    /// # Ok(()) }
    /// ```
    pub fn ignore_foreign(self) -> Self {
        self.view(|options| options.request.credentials.ignore_foreign = true)
    }

    /// Accepts Wacht's opaque OAuth access tokens (`oat_…`) beside API keys.
    ///
    /// Their scopes and what they map to are the caller's permissions. They are never used past
    /// their end, cached or not. Tokens in JWT form are unknown to the gateway.
    pub fn accept_oauth_tokens(self) -> Self {
        self.view(|options| options.accept_oauth_tokens = true)
    }

    /// Removes the credential from the request before the inner service sees it, on skipped requests
    /// too. By default it stays, marked as sensitive.
    ///
    /// A gate further in finds no key then: it lets in whom this one has let in, and to everybody
    /// else, such as on paths that this one [skips](Self::skip), it answers 401. Where gates stand
    /// within each other, set it on the innermost.
    pub fn strip_credential(self) -> Self {
        self.view(|options| options.strip_credential = true)
    }

    /// Lets requests without a credential pass, without a [`Principal`](crate::Principal). One
    /// with a bad credential is still refused, and so is one without where
    /// [`require`](Self::require) or [`require_with`](Self::require_with) asks for permissions.
    pub fn optional(self) -> Self {
        self.view(|options| {
            options.optional = true;
            options.renew_cache_fields();
        })
    }

    /// Puts the [`Principal`](crate::Principal) into the extensions of the answers to requests that were
    /// let in, whoever made the answer, for an access log further out. A refusal of the gate has its
    /// [`Rejection`] there in any case.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
    /// use tower::ServiceExt;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{Principal, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").name("ci").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").tell_outside();
    /// let app = Router::new().route("/orders", get(async || StatusCode::NOT_FOUND)).layer(gate);
    ///
    /// let request = Request::get("/orders").header("authorization", format!("Bearer {}", key.secret()));
    /// let answer = app.oneshot(request.body(Body::empty())?).await?;
    /// let caller: &Principal = answer.extensions().get().expect("it was let in");
    /// assert_eq!((caller.key_name(), answer.status().as_u16()), ("ci", 404));
    /// # Ok(()) }
    /// ```
    pub fn tell_outside(self) -> Self {
        self.view(|options| options.tell_outside = true)
    }

    /// Ends the body of any answer whose caller has ended, however long it would go on: see
    /// [`Principal::ended`](crate::Principal::ended) for what ends a caller, and when. Default: an answer
    /// that has begun goes on to its own end.
    ///
    /// For server-sent events, downloads and streams of gRPC, without a line in their handlers. A body is
    /// cut, and its client sees that it was:
    ///
    /// | answer | its client sees |
    /// |---|---|
    /// | gRPC (`content-type: application/grpc`) | trailers with `grpc-status: 16` |
    /// | HTTP/1 | the connection closes before the body is complete |
    /// | HTTP/2 | the stream is reset |
    ///
    /// A plain end would pass for a whole answer, so there is none but for gRPC. A handler that wants to
    /// say more at the end uses [`Principal::until_ended`](crate::Principal::until_ended).
    ///
    /// What a client has been sent already, or what waits for a client that does not read, is not called
    /// back. A connection that was upgraded, such as a websocket, has no body any more: its handler
    /// waits for [`Principal::ended`](crate::Principal::ended). The body of the request is not cut.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use futures_util::stream;
    /// use http_body_util::BodyExt;
    /// use tower::ServiceExt;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{Rejection, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").end_streams();
    /// let handle = gate.handle();
    /// let for_ever = async || Body::from_stream(stream::pending::<Result<String, std::io::Error>>());
    /// let app = Router::new().route("/live", get(for_ever)).layer(gate);
    ///
    /// let request = Request::get("/live").header("authorization", format!("Bearer {}", key.secret()));
    /// let mut body = app.oneshot(request.body(Body::empty())?).await?.into_body();
    /// handle.revoke_key_id(key.key_id());
    /// let cut = body.frame().await.expect("an error before the end").unwrap_err();
    /// # let _ = cut;
    /// # Ok(()) }
    /// ```
    pub fn end_streams(self) -> Self {
        self.view(|options| options.end_streams = true)
    }

    /// Lets requests pass unseen for which `predicate` is true, such as health checks. They have
    /// no [`Principal`](crate::Principal) from this gate, whatever key they carry; one that a gate further
    /// out on the same state has put there stays.
    ///
    /// For a gate inside axum's `nest`, the URI in the parts has lost its front: there `/health`
    /// is also `/admin/health`. The whole is in axum's `OriginalUri`, in the extensions.
    pub fn skip(self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.view(|options| options.request.skip = Some(Arc::new(predicate)))
    }

    /// What a request is about, for endpoint rules and for Wacht's audit. Default: the path of
    /// the request, also inside axum's `nest`.
    ///
    /// It is compared, counted and told in normal form: escaped letters, digits, `-`, `.`, `_` and
    /// `~` are decoded, and the digits of other escapes are in upper case. `/%6frders` is `/orders`.
    /// Nothing else is folded: `//`, `..`, a slash at the end and case stay, since routers tell them
    /// apart.
    pub fn resource<F>(self, resource: F) -> Self
    where
        F: for<'a> Fn(&'a Parts) -> Cow<'a, str> + Send + Sync + 'static,
    {
        self.view(|options| options.request.resource = Some(Arc::new(resource)))
    }

    /// Refuses callers without these permissions, before any limit is charged. Said twice, both
    /// are required.
    ///
    /// # Errors
    ///
    /// [`RequirementError`](crate::RequirementError) when it is no requirement.
    pub fn require<R>(self, requirement: R) -> Result<Self, R::Error>
    where
        R: TryInto<Requirement>,
    {
        let requirement = requirement.try_into()?;
        Ok(self.view(|options| options.requirements.push(requirement)))
    }

    /// Refuses callers without the permissions that `requirement` names for this request, before
    /// any limit is charged: per route or gRPC method. Said twice, both apply. As in [`skip`](Self::skip), the URI is cut
    /// inside axum's `nest`.
    ///
    /// Go by what decides which code runs: the route that a router has matched, and whether the
    /// method is safe, so that `HEAD` is held to what `GET` is. A path is no such thing:
    /// `/admin/../reports` runs axum's `/admin/{a}/{b}`. Nor is the normal form by which
    /// [`resource`](Self::resource) is counted used here: the parts are as they came.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use axum::{Router, body::Body, extract::MatchedPath, http::Request, routing::get};
    /// use tower::ServiceExt;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{Requirement, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").permissions(["admin:read"]).issue();
    /// let read = Arc::new(Requirement::try_from("admin:read")?);
    /// let write = Arc::new(Requirement::try_from("admin:write")?);
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").require_with(move |parts| {
    ///     let route = parts.extensions.get::<MatchedPath>()?;
    ///     let requirement = if parts.method.is_safe() { &read } else { &write };
    ///     route.as_str().starts_with("/admin/").then(|| Arc::clone(requirement))
    /// });
    /// let route = get(async || "shown").delete(async || "deleted");
    /// let app = Router::new().route("/admin/{a}/{b}", route).layer(gate);
    ///
    /// for (method, status) in [("GET", 200), ("HEAD", 200), ("DELETE", 403)] {
    ///     let request = Request::builder().method(method).uri("/admin/../reports");
    ///     let request = request.header("authorization", format!("Bearer {}", key.secret()));
    ///     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
    ///     assert_eq!(answer.status(), status);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn require_with<F>(self, requirement: F) -> Self
    where
        F: Fn(&Parts) -> Option<Arc<Requirement>> + Send + Sync + 'static,
    {
        self.view(|options| options.request.require_with.push(Arc::new(requirement)))
    }

    /// How many units a request is charged by every rule that matches: whole or not at all, by all of
    /// them or by none. Default: 1.
    ///
    /// A request that costs 0 asks without being charged: it passes where one that costs 1 would. One
    /// that costs more than a rule ever admits at once is refused without `Retry-After`, since no time
    /// would help. `cost` is asked at most once for a request, and only when its limits are counted. As in
    /// [`skip`](Self::skip), the URI is cut inside axum's `nest`. Of several gates on one state, the
    /// outermost charges.
    ///
    /// A key without a request, as in
    /// [`authenticate_key`](crate::AuthHandle::authenticate_key), costs 1. The gateway cannot be told of
    /// a cost: under [`Limits::gateway`](crate::Limits::gateway), and for rules that only the gateway can
    /// count, every request is one.
    ///
    /// ```
    /// use axum::{Router, body::Body, http::Request, routing::get};
    /// use tower::ServiceExt;
    /// use wacht_auth::WachtAuthLayer;
    /// use wacht_auth::dev::{DevGateway, DevRule};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.set_scheme("orders", [DevRule::per_key(10, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client())
    ///     .app("orders")
    ///     .cost(|parts| if parts.uri.path() == "/export" { 5 } else { 1 });
    /// let app = Router::new()
    ///     .route("/export", get(async || "all orders"))
    ///     .route("/orders", get(async || "one order"))
    ///     .layer(gate);
    ///
    /// for (path, left) in [("/export", "r=5"), ("/orders", "r=4")] {
    ///     let request = Request::get(path).header("authorization", format!("Bearer {}", key.secret()));
    ///     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
    ///     assert!(answer.headers()["ratelimit"].to_str()?.contains(left));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cost(self, cost: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> Self {
        self.view(|options| options.request.cost = Some(Arc::new(cost)))
    }

    /// Puts a [`Charge`](crate::Charge) into the extensions of every request that passes, for cost that
    /// is known only afterwards. It has an example. Of several gates on one state, the outermost
    /// charges, and so has to be the one with this option.
    ///
    /// A key that [`AuthHandle`] authenticates has none: there is no request to put it in.
    pub fn charge_later(self) -> Self {
        self.view(|options| options.charge_later = true)
    }

    /// The realm in `WWW-Authenticate`. Default: `api`. Characters that cannot stand in a quoted
    /// string are left out.
    pub fn realm(self, realm: &str) -> Self {
        self.view(|options| options.answers = options.answers.with_realm(realm))
    }

    /// Answers refusals in a house format. Default: [`Rejection::to_response`], which is also the
    /// answer to start from where a header is all that is missing.
    ///
    /// What the answer has to carry (`WWW-Authenticate`, `Retry-After`, `Cache-Control`, `Vary`,
    /// the rate-limit fields) is added if it is left out. gRPC requests keep the default answer.
    ///
    /// It is asked for the gate's own refusals, and for those of a
    /// [`RequirePermissionsLayer`](crate::RequirePermissionsLayer) or a `Permitted` behind it. Not
    /// for a [`Rejection`] that a handler returns, such as that of
    /// [`Principal::require`](crate::Principal::require).
    ///
    /// The body is [`bytes::Bytes`], which axum has as `axum::body::Bytes`:
    ///
    /// ```
    /// use axum::{Router, body::{Body, Bytes}, http::{Request, Response}, routing::get};
    /// use serde_json::json;
    /// use tower::ServiceExt;
    /// use wacht_auth::WachtAuthLayer;
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let wacht = DevGateway::start().await;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").on_reject(|rejection, _| {
    ///     let (code, message) = (rejection.kind().as_str(), rejection.message());
    ///     let body = json!({"error": {"code": code, "message": message}});
    ///     let mut response = Response::new(Bytes::from(body.to_string()));
    ///     *response.status_mut() = rejection.kind().status();
    ///     let json = "application/json".parse().expect("it is visible ASCII");
    ///     response.headers_mut().insert("content-type", json);
    ///     response
    /// });
    /// let app = Router::new().route("/orders", get(async || "orders")).layer(gate);
    ///
    /// let refused = app.oneshot(Request::get("/orders").body(Body::empty())?).await?;
    /// assert_eq!(refused.status(), 401);
    /// assert_eq!(refused.headers()["www-authenticate"], r#"Bearer realm="api""#, "added");
    /// let body = axum::body::to_bytes(refused.into_body(), 1024).await?;
    /// let body: serde_json::Value = serde_json::from_slice(&body)?;
    /// assert_eq!(body["error"]["code"], "missing_credential");
    /// # Ok(()) }
    /// ```
    pub fn on_reject<F>(self, answer: F) -> Self
    where
        F: Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.view(|options| options.answers = options.answers.with_on_reject(Arc::new(answer)))
    }

    /// Which refusals are answered as gRPC's, with status 200 and `grpc-status`. Default:
    /// [`GrpcRefusals::Auto`], those of gRPC calls.
    ///
    /// A service without gRPC says [`GrpcRefusals::Never`]: no caller can turn its refusals into
    /// answers of status 200, past [`on_reject`](Self::on_reject).
    pub fn grpc(self, refusals: GrpcRefusals) -> Self {
        self.view(|options| options.answers = options.answers.with_grpc(refusals))
    }

    /// Which rate-limit header fields answers carry. Default: the IETF draft's.
    pub fn rate_limit_headers(self, headers: RateLimitHeaders) -> Self {
        self.view(|options| options.rate_limit_headers = headers)
    }

    /// The gate from outside of a request: forgets and refuses keys, tells its figures, authenticates
    /// what is no HTTP request.
    ///
    /// What it forgets, refuses and tells is the state's, and so every clone's. It authenticates by
    /// the options of this view.
    pub fn handle(&self) -> AuthHandle {
        AuthHandle::new(Arc::clone(&self.gate))
    }

    fn view(mut self, change: impl FnOnce(&mut GateOptions)) -> Self {
        let mut options = self.gate.options.clone();
        change(&mut options);
        self.gate = Arc::new(Gate::new(options, Arc::clone(&self.gate.state)));
        self
    }
}

impl<S> Layer<S> for WachtAuthLayer {
    type Service = WachtAuth<S>;

    fn layer(&self, inner: S) -> WachtAuth<S> {
        WachtAuth::new(inner, Arc::clone(&self.gate))
    }
}

impl fmt::Debug for WachtAuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WachtAuthLayer").field(&self.gate).finish()
    }
}
