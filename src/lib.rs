//! Tower middleware that verifies [Wacht] API keys, for axum, hyper and tonic.
//!
//! A request goes in with a key; your handler gets the verified caller, a [`Principal`]. Keys are
//! verified by the Wacht gateway once and then answered from memory; permissions and the app's
//! rate limits are decided in this process.
//!
//! With the feature `test-util`, and axum, tokio and tower beside it, the example runs as it stands:
//! against a stand-in for Wacht (`DevGateway`, see [`dev`]) that needs neither network nor account. In
//! your service the client is [`WachtClient::from_env()?`](WachtClient::from_env), which reads the
//! management key in `WACHT_API_KEY`, and the rest is the same.
//!
//! ```
//! use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
//! use tower::ServiceExt;
//! use wacht_auth::dev::DevGateway;
//! use wacht_auth::{Principal, RequirePermissionsLayer, WachtAuthLayer};
//!
//! async fn orders(caller: Principal) -> String {
//!     format!("the orders of {}", caller.key_name())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let wacht = DevGateway::start().await;
//!     let key = wacht.issue_key("my-integration").permissions(["orders:read"]).issue();
//!
//!     let read = RequirePermissionsLayer::new("orders:read")?;
//!     let app = Router::new()
//!         .route("/orders", get(orders).route_layer(read))
//!         .layer(WachtAuthLayer::new(wacht.client()).app("my-integration"));
//!
//!     let bearer = format!("Bearer {}", key.secret());
//!     let request = Request::get("/orders").header("authorization", bearer);
//!     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
//!     assert_eq!(answer.status(), StatusCode::OK);
//!
//!     let without_key = app.oneshot(Request::get("/orders").body(Body::empty())?).await?;
//!     assert_eq!(without_key.status(), StatusCode::UNAUTHORIZED);
//!     Ok(())
//! }
//! ```
//!
//! # The walk of one request
//!
//! 1. **Credential.** The key is taken from `Authorization: Bearer`, or from where
//!    [`credentials`](WachtAuthLayer::credentials) says. None, two, and what cannot be a Wacht key
//!    are refused without asking anybody.
//! 2. **Cache.** A key that is known to be bad is refused. One that is known to be good goes on to
//!    4, and if the answer about it is not fresh any more, it is asked about again in the
//!    background.
//! 3. **Verification.** Any other key is asked about: once, however many requests wait for the
//!    answer. The gateway says yes to the keys of every Wacht customer, so what it says counts
//!    only for keys of your own deployment.
//! 4. **Permissions.** The key must belong to an app that the layer accepts, and hold what
//!    [`require`](WachtAuthLayer::require) asks for.
//! 5. **Limits.** The app's rate-limit rules: all that match are looked at, then all are charged.
//!    A refused request uses up nothing.
//! 6. **Your service** is called, with the [`Principal`] in the request's extensions.
//!
//! Every way out before that is a [`Rejection`], answered as [`RejectionKind`] says, or by
//! [`on_reject`](WachtAuthLayer::on_reject).
//!
//! # Where to look
//!
//! The [`guide`] answers one question a chapter:
//!
//! | question | chapter |
//! |---|---|
//! | Where does the gate stand, and what does a stranger see? | [`guide::axum`], [`guide::hyper`], [`guide::grpc`] |
//! | Where do callers put their key? | [`guide::credentials`] |
//! | How long may a revoked key still pass? | [`guide::staleness`] |
//! | How does a stream or a websocket end with its key? | [`guide::streams`] |
//! | Who counts requests, and how exactly? | [`guide::limits`] |
//! | Whose address counts behind proxies? | [`guide::load_balancer`] |
//! | How do several replicas know of each other? | [`guide::replicas`] |
//! | How is a service tested without Wacht? | [`guide::testing`] |
//! | What is to be done before production? | [`guide::production`] |
//! | What takes the place of checks written by hand? | [`guide::migrating`] |
//! | Where does Wacht's documentation say something else? | [`guide::differences`] |
//!
//! And in the reference:
//!
//! | for | see |
//! |---|---|
//! | the options, what clones share, where the layer goes | [`WachtAuthLayer`] |
//! | the caller | [`Principal`], [`Permissions`] |
//! | where the key is | [`CredentialSource`] |
//! | permissions on single routes | [`RequirePermissionsLayer`], [`Requirement`]; in a handler's signature [`wacht_auth::axum::Permitted`][Permitted] |
//! | how stale an answer may be | [`CachePolicy`] |
//! | who counts requests and how, and the headers about it | [`Limits`], [`Algorithm`], [`RateLimitHeaders`], [`Charge`], [`UnknownKeyLimit`] |
//! | proxies and client addresses | [`ClientIp`] |
//! | websockets, queues, a check at start, refusing a key at once | [`AuthHandle`] |
//! | managing apps, keys, rate-limit schemes and OAuth apps | [`WachtClient`], [`api`] |
//! | tests of your service | [`dev`] |
//! | what callers see in each kind of failure | [`guide::faults`] |
//! | what limits admit at most, and what counting costs | [`guide::counting`] |
//! | every call of the client, with its route | [`guide::management`] |
//! | every metric, span and event worth an alert | [`guide::observability`] |
//!
//! # Why these defaults
//!
//! - **Fresh for 30 s, then 30 s while a refresh runs.** The gateway itself repeats a yes for up to
//!   60 s after a revocation, so asking more often costs calls and cannot bring the bound below
//!   that. As it is, a busy key costs at most two checks a minute in each process while the gateway
//!   answers.
//! - **5 min of grace in an outage.** Your callers should not be down because the gateway is. Only
//!   keys that were known to be good have it.
//! - **Unknown means no.** A key that cannot be verified is a 503, never a pass.
//! - **Limits in this process.** A limit that asks the network on every request would undo the
//!   cache.
//! - **The peer's address.** No header is believed before you name the proxies that write it.
//!
//! # Sharp edges
//!
//! - **A revocation made elsewhere** is seen after 120 s at the latest, and after 390 s when the
//!   gateway cannot be reached: [`guide::staleness`] says what adds up to that and how to have
//!   less. One made through the gate's own client, or told to [`AuthHandle::revoke_key_id`], counts in
//!   this process at once.
//! - **Limits are per process.** Two replicas admit up to twice as much, unless
//!   [`Limits::replicas`] gives each its share, and a restart forgets what was counted.
//!   [`Limits::gateway`] counts in one place, for a round trip per request. With the feature `redis`,
//!   `Limits::shared` counts for all replicas in a store, from memory on busy keys.
//! - **A limit of 60 a minute may admit 119 in one minute.** [`Algorithm::Gcra`], the default, holds
//!   it on average and lets a burst of the whole limit through besides;
//!   [`Algorithm::SlidingWindow`] admits 60 in any minute.
//! - **Wacht's audit and usage figures see checks, not requests.** What is answered from memory
//!   leaves no trace there.
//! - **A layer without [`app`](WachtAuthLayer::app)** accepts the keys of every app of your
//!   deployment.
//! - **A stream or a websocket** is verified when it is opened, and not again, unless it waits for the
//!   end of its key: [`guide::streams`].
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `axum` (default) | [`Principal`] and [`wacht_auth::axum::Permitted`][Permitted] as extractors, [`Rejection`] as a response, [`wacht_auth::axum::matched_path`][matched_path], the peer address of axum's servers |
//! | `redis` | [`wacht_auth::store`][store]: through Redis 7 or Valkey, replicas share what is revoked and what one of them reads, and `Limits::shared` counts for all of them |
//! | `tonic` | `NamedService` for gated services, `From<Rejection> for tonic::Status`, the peer address of tonic's server |
//! | `test-util` | [`dev`]: a stand-in for Wacht, a clock that is moved by hand, and callers made by hand |
//! | `tls-aws-lc` (default) | TLS to Wacht over aws-lc, which needs a compiler for C where it is built |
//! | `tls-ring` | the same over ring; where both are on, aws-lc. With neither, every call is [`Error::Config`] |
//! | `metrics` | the figures of [`AuthStats`], told to the recorder of the crate [`metrics`](https://docs.rs/metrics) |
//! | `wacht` | [`wacht_auth::interop`][interop]: a client from the configuration of the SDK, the crate `wacht`, and callers in its types |
//!
//! hyper and other tower services need no more than TLS.
//!
//! [Wacht]: https://wacht.dev
#![cfg_attr(not(feature = "test-util"), doc = "[`dev`]: #features")]
#![cfg_attr(feature = "axum", doc = "[Permitted]: crate::axum::Permitted")]
#![cfg_attr(feature = "axum", doc = "[matched_path]: crate::axum::matched_path")]
#![cfg_attr(not(feature = "axum"), doc = "[Permitted]: #features")]
#![cfg_attr(not(feature = "axum"), doc = "[matched_path]: #features")]
#![cfg_attr(feature = "wacht", doc = "[interop]: crate::interop")]
#![cfg_attr(not(feature = "wacht"), doc = "[interop]: #features")]
#![cfg_attr(feature = "redis", doc = "[store]: crate::store")]
#![cfg_attr(not(feature = "redis"), doc = "[store]: #features")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod client;
#[cfg(feature = "test-util")]
pub mod dev;
#[cfg(feature = "wacht")]
pub mod interop;
pub mod models;

// The text of the guide, and nothing else: no part of the library that is compiled.
#[cfg(any(doc, doctest))]
pub mod guide;

mod breaker;
mod clock;
mod gate;
mod log;
mod memory;
#[cfg(feature = "redis")]
pub mod store;
mod stripes;
mod sync;

pub use client::{Error, Result, StoreStats, WachtClient, init};
pub use gate::{Principal, WachtAuthLayer};

pub use gate::{
    Algorithm, AuthContext, AuthHandle, AuthStats, CachePolicy, Charge, ClientAddr, ClientIp,
    ClientIpError, CredentialSource, GatewayStats, GrpcRefusals, InvalidKeyStats, LimitRefusals,
    Limits, PeerAddr, Permissions, PrincipalKind, RateLimitHeaders, Rejection, RejectionKind,
    RequirePermissions, RequirePermissionsLayer, Requirement, RequirementError,
    RequirementErrorKind, ResponseBody, ResponseFuture, UnknownKeyLimit, VerdictSource,
    VerdictStats, WachtAuth, WachtAuthLayerBuilder, Watch, WatchStats, WhenAway,
};

pub use clock::Clock;

/// What only axum needs: a handler's [`Permitted`](axum::Permitted) caller, and the matched route
/// for [`WachtAuthLayer::resource`]. Name it in full: a glob import of this
/// crate would hide the crate `axum`.
#[cfg(feature = "axum")]
pub mod axum {
    pub use crate::gate::axum::{Permission, Permitted, matched_path};
}

// The code in the README is compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
