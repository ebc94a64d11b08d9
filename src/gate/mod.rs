//! The gate: a request goes in, a [`Principal`] comes out.
//!
//! # One request, in order
//!
//! 0. **Clean.** Inbound `x-wacht-*` headers are dropped on every way to the inner service, and
//!    the credential's headers are marked as sensitive.
//! 1. **Credential.** The key is pulled from where the options say. None, more than one, and what
//!    cannot be one of Wacht's keys are refused without asking anybody. From here on nobody holds
//!    the key itself but the verification in flight: it goes by its SHA-256 digest.
//! 2. **Cache.** What was revoked here or is known to be bad is refused first of all. A fresh
//!    verdict goes on to 4; a stale one too, and one refresh is sent behind it.
//! 3. **Verification.** An address whose look-ups failed too often is refused. Otherwise one flight
//!    per digest, in a task of its own: the gateway's answer, whether the key is our deployment's,
//!    the policy of its app. What comes of it goes into the cache.
//! 4. **Permissions.** Is the key's app accepted here, and does the key hold what is required?
//!    Decided before any limit is charged.
//! 5. **Limits.** All matching rules are looked at, then all are charged; a refused request
//!    consumes nothing.
//! 6. **Extensions.** The [`Principal`] goes into the request, and the request to the inner
//!    service.
//!
//! Steps 0 to 2 and 4 to 6 are synchronous, take the time as an argument, and are the same code
//! after a hit and after a verification: `authenticator.rs`. `layer.rs`, `service.rs`,
//! `future.rs` and `body.rs` are tower's plumbing and decide nothing.

mod directory;
mod handle;
mod limit;
mod options;
mod permission;
mod pipeline;
mod principal;
mod refusal;
mod request;
mod service;
mod state;
mod stats;
mod verdict;
mod verify;

#[cfg(feature = "axum")]
pub(crate) mod axum;
#[cfg(feature = "tonic")]
mod grpc;

pub use handle::AuthHandle;
pub use limit::{Algorithm, Limits, RateLimitHeaders, UnknownKeyLimit};
pub use permission::Permissions;
pub use permission::requirement::{Requirement, RequirementError, RequirementErrorKind};
pub use principal::{Principal, PrincipalKind};
pub use refusal::{Rejection, RejectionKind};
pub use request::client_ip::{ClientIp, ClientIpError};
pub use request::credential::CredentialSource;
pub use request::peer::{ClientAddr, PeerAddr};
pub use service::WachtAuth;
pub use service::body::ResponseBody;
pub use service::future::ResponseFuture;
pub use service::guard::{RequirePermissions, RequirePermissionsLayer};
pub use service::layer::WachtAuthLayer;
pub use stats::{AuthStats, GatewayStats, LimitRefusals, VerdictSource, VerdictStats};
pub use verdict::CachePolicy;
pub use verify::AuthContext;
