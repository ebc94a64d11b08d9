//! Gated tonic services, and rejections as tonic's statuses.

use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::gate::refusal::{RETRY_PUSHBACK, Rejection};
use crate::gate::service::WachtAuth;
use crate::gate::service::guard::RequirePermissions;

/// A gated service keeps its name, so that single services are gated while health and reflection
/// stay open.
impl<S: NamedService> NamedService for WachtAuth<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService> NamedService for RequirePermissions<S> {
    const NAME: &'static str = S::NAME;
}

/// The code and message that a gRPC caller is told; `retry-after` and `grpc-retry-pushback-ms` stand in
/// the metadata.
impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let code = Code::from(i32::from(rejection.kind().grpc_code()));
        let mut status = Self::new(code, rejection.message());
        if let Some(wait) = rejection.retry_after_seconds() {
            status.metadata_mut().insert("retry-after", wait.into());
        }
        if let Some(wait) = rejection.retry_pushback() {
            let metadata = status.metadata_mut();
            metadata.insert(RETRY_PUSHBACK, wait.into());
        }
        status
    }
}
