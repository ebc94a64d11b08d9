//! How a request is refused.
//!
//! In comes a reason, from whoever refuses. Of what `kind` it is decides a row of one table; a
//! `rejection` adds what this request has to be told, and its gate's [`Answers`], the `challenge`
//! among them. Out goes a response, by `http` or as `grpc` wants it; `service` sends it.

mod challenge;
mod grpc;
mod http;
mod kind;
mod reason;
mod rejection;

pub use grpc::GrpcRefusals;
#[cfg(feature = "tonic")]
pub(crate) use grpc::RETRY_PUSHBACK;
pub(crate) use grpc::has_grpc_content;
pub use kind::RejectionKind;
pub(crate) use reason::InvalidKeyReason;
pub(crate) use rejection::Answers;
pub use rejection::Rejection;
