//! The gate: a request goes in, a [`Principal`] comes out.
//!
//! # One request, in order
//!
//! The whole walk is one file, `pipeline.rs`: `decide` takes a request as far as it goes without
//! waiting, `resume` takes it on with what it has waited for. `service/future.rs` waits in between, or
//! `handle.rs` for what is no HTTP request.
//!
//! 0. **Clean.** Inbound `x-wacht-*` headers are dropped on every way to the inner service, keys are
//!    taken out of the URI and of offered protocols, and the credential's headers are marked as
//!    sensitive. A request that is skipped passes here; one
//!    that a gate further out on the same state has admitted goes to 4, and is not charged again.
//!    Room: `request/`.
//! 1. **Credential.** The key is pulled from where the options say. None, different ones, and what
//!    cannot be one of Wacht's keys are refused without asking anybody. From here on nobody holds
//!    the key itself but the request and the checks it needs: it goes by its SHA-256 digest. Room:
//!    `request/`.
//! 2. **Cache.** What was revoked here is refused first of all. A fresh verdict goes on to 4; a stale
//!    one too, and one refresh is sent behind it, unless the gateway counts. Without one that may be
//!    used, a key that is remembered as bad is refused without asking. Room: `verdict/`.
//! 3. **Verification.** An address whose look-ups failed too often is refused. Otherwise one
//!    verification per key in flight, in a task of its own, or where the gateway counts one for this
//!    request alone: the gateway's answer, whether the key is our deployment's, what its app allows.
//!    A yes, a no and an answer that means neither go into the cache. Rooms: `verify/`,
//!    `directory/`, `limit/lookups.rs`.
//! 4. **Permissions.** Is the key's app accepted here, and does the key hold what is required?
//!    Decided before any limit is charged. Room: `permission/`.
//! 5. **Limits.** All matching rules are looked at, then all are charged what the request costs; a
//!    refused request consumes nothing. Room: `limit/`.
//! 6. **Extensions.** The [`Principal`] goes into the request, and the request to the inner
//!    service. What is refused is answered from the table in `refusal/`.
//!
//! **Revocation.** What our own client ends is told to `verify/events.rs` by `client/events.rs` before
//! the call is sent, and recorded in `verdict/revocations.rs`, where steps 2 and 3 look on every
//! admission. What other replicas end comes the same way, from `store/events/`; step 2 has somebody read
//! it.
//!
//! Steps 0 to 2 and 4 to 6 are synchronous, take the time as an argument, and are the same code
//! after a hit and after a verification.
//!
//! # The rooms
//!
//! In the order of the walk. None imports one that stands before it.
//!
//! | room | what is there |
//! |---|---|
//! | `axum/`, `grpc.rs` | extractors and statuses; nothing else imports them |
//! | `service/` | tower's plumbing: layer, builder, service, future, body, guard; it decides nothing |
//! | `handle.rs` | the same walk for what is no HTTP request |
//! | `pipeline.rs` | the walk |
//! | `state.rs`, `options.rs` | what all clones of a layer share, and what each view adds |
//! | `verify/` | asking the gateway |
//! | `principal/` | the caller, and who asks for one |
//! | `verdict/` | what the gateway has said, how long it holds, and what ends it |
//! | `directory/` | the apps of our deployment, and whose a key is |
//! | `waiting.rs` | who waits for the end of a caller |
//! | `stats/` | what is counted |
//! | `refusal/` | the table of answers |
//! | `limit/` | rules and their counters |
//! | `request/` | what a request says, each part resolved once |
//! | `permission/` | permissions and what requires them |

mod directory;
mod handle;
mod limit;
mod options;
mod permission;
mod pipeline;
pub(crate) mod principal;
mod refusal;
mod request;
mod service;
mod state;
mod stats;
mod verdict;
mod verify;
mod waiting;

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "tonic")]
mod grpc;

pub use directory::Watch;
#[cfg(feature = "redis")]
pub(crate) use limit::counters::shared as limit_store;
#[cfg(feature = "redis")]
pub(crate) use stats::StoreCalls;

pub use handle::AuthHandle;
pub use limit::{Algorithm, Charge, Limits, RateLimitHeaders, UnknownKeyLimit, WhenAway};
pub use permission::Permissions;
pub use permission::requirement::Requirement;
pub use permission::requirement::error::{RequirementError, RequirementErrorKind};
pub use principal::Principal;
pub use refusal::{GrpcRefusals, Rejection, RejectionKind};
pub use request::client_ip::{ClientIp, ClientIpError};
pub use request::context::AuthContext;
pub use request::credential::CredentialSource;
pub use request::peer::{ClientAddr, PeerAddr};
pub use service::WachtAuth;
pub use service::body::ResponseBody;
pub use service::builder::WachtAuthLayerBuilder;
pub use service::future::ResponseFuture;
pub use service::guard::{RequirePermissions, RequirePermissionsLayer};
pub use service::layer::WachtAuthLayer;
pub use stats::{
    AuthStats, GatewayStats, InvalidKeyStats, LimitRefusals, VerdictSource, VerdictStats,
    WatchStats,
};
pub use verdict::CachePolicy;
pub use verdict::PrincipalKind;
