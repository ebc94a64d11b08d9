//! What an answer of the gateway means: the rows of the table of answers, in its order.

use http::StatusCode;

use crate::api::gateway::{CheckResponse, DenyReason};
use crate::client::Error;
use crate::gate::stats::GatewayResult;
use crate::log::GATE;

/// What the gateway said of a key.
#[derive(Debug)]
pub(super) enum GatewayAnswer {
    Yes(Box<CheckResponse>),
    RateLimited(Box<CheckResponse>),
    PermissionDenied(Box<CheckResponse>),
    /// A definite no.
    No,
    /// An answer that is neither yes nor no.
    Indeterminate,
    /// No answer, or one that says the gateway is not well.
    Outage,
    /// The time ran out while the runtime of the check stood still: that says nothing of the gateway.
    Unattended,
    Misconfigured,
}

impl GatewayAnswer {
    /// Reads an answer. A missing permission is an answer only to who has asked for permissions.
    pub(super) fn of(answer: Result<CheckResponse, Error>, asked_permissions: bool) -> Self {
        match answer {
            Ok(response) if response.allowed && response.identity.is_some() => {
                Self::Yes(Box::new(response))
            }
            Ok(response) if response.allowed => Self::Indeterminate,
            Ok(response) => match &response.reason {
                Some(DenyReason::RateLimited) if response.identity.is_some() => {
                    Self::RateLimited(Box::new(response))
                }
                Some(DenyReason::RateLimited) => Self::Indeterminate,
                Some(DenyReason::PermissionDenied)
                    if asked_permissions && response.identity.is_some() =>
                {
                    Self::PermissionDenied(Box::new(response))
                }
                reason => {
                    let reason = reason.as_ref().map_or("none", plain_word);
                    tracing::warn!(
                        target: GATE,
                        reason,
                        "the gateway denied a key for a reason of its own"
                    );
                    Self::No
                }
            },
            Err(error) if error.is_invalid_key() => Self::No,
            Err(Error::Api { status, .. })
                if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Self::Outage
            }
            Err(Error::Request(_)) => Self::Outage,
            Err(Error::Config(_)) => Self::Misconfigured,
            Err(_) => Self::Indeterminate,
        }
    }

    /// As what it is counted; `None` if nothing was sent.
    pub(super) fn result(&self) -> Option<GatewayResult> {
        match self {
            Self::Yes(_) => Some(GatewayResult::Allowed),
            Self::RateLimited(_) => Some(GatewayResult::RateLimited),
            Self::PermissionDenied(_) => Some(GatewayResult::PermissionDenied),
            Self::No => Some(GatewayResult::Denied),
            Self::Indeterminate => Some(GatewayResult::Indeterminate),
            Self::Outage | Self::Unattended => Some(GatewayResult::Failed),
            Self::Misconfigured => None,
        }
    }
}

/// The gateway's word for the log. What is no plain word may hold the key it was asked about.
fn plain_word(reason: &DenyReason) -> &str {
    match reason.as_str() {
        word if word.len() > 32 => "no plain word",
        word if word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => word,
        _ => "no plain word",
    }
}
