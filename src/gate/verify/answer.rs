//! What an answer of the gateway means: the rows of the table of answers, in its order.

use http::StatusCode;

use crate::api::gateway::{CheckResponse, DenyReason};
use crate::client::Error;
use crate::gate::stats::GatewayResult;
use crate::log::{GATE, Said};

/// What the gateway said of a key.
#[derive(Debug)]
pub(super) enum GatewayAnswer {
    Yes(Box<CheckResponse>),
    RateLimited(Box<CheckResponse>),
    PermissionDenied(Box<CheckResponse>),
    /// A definite no.
    No,
    Indeterminate(Indeterminate),
    /// No answer, or one that says the gateway is not well.
    Outage(Error),
    /// The time ran out while the runtime of the check stood still: that says nothing of the gateway.
    Unattended,
    Misconfigured,
}

/// Why an answer is neither yes nor no.
#[derive(Debug)]
pub(super) enum Indeterminate {
    /// It is about a key, and does not say whose.
    NoIdentity,
    /// It is no check's answer.
    Unusable(Error),
}

/// What is told apart in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IndeterminateKind {
    NoIdentity,
    Status(u16),
    TooLong,
    Undecodable,
}

impl GatewayAnswer {
    /// Reads an answer. A missing permission is an answer only to who has asked for permissions.
    pub(super) fn of(answer: Result<CheckResponse, Error>, asked_permissions: bool) -> Self {
        match answer {
            Ok(response) if response.allowed && response.identity.is_some() => {
                Self::Yes(Box::new(response))
            }
            Ok(response) if response.allowed => Self::Indeterminate(Indeterminate::NoIdentity),
            Ok(response) => match &response.reason {
                Some(DenyReason::RateLimited) if response.identity.is_some() => {
                    Self::RateLimited(Box::new(response))
                }
                Some(DenyReason::RateLimited) => Self::Indeterminate(Indeterminate::NoIdentity),
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
            Err(error @ Error::Request(_)) => Self::Outage(error),
            Err(error) if error.status().is_some_and(is_outage) => Self::Outage(error),
            Err(Error::Config(_)) => Self::Misconfigured,
            Err(error) => Self::Indeterminate(Indeterminate::Unusable(error)),
        }
    }

    /// As what it is counted; `None` if nothing was sent.
    pub(super) fn result(&self) -> Option<GatewayResult> {
        match self {
            Self::Yes(_) => Some(GatewayResult::Allowed),
            Self::RateLimited(_) => Some(GatewayResult::RateLimited),
            Self::PermissionDenied(_) => Some(GatewayResult::PermissionDenied),
            Self::No => Some(GatewayResult::Denied),
            Self::Indeterminate(_) => Some(GatewayResult::Indeterminate),
            Self::Outage(_) | Self::Unattended => Some(GatewayResult::Failed),
            Self::Misconfigured => None,
        }
    }
}

impl Indeterminate {
    fn kind(&self) -> IndeterminateKind {
        match self {
            Self::NoIdentity => IndeterminateKind::NoIdentity,
            Self::Unusable(Error::Api { status, .. }) => IndeterminateKind::Status(status.as_u16()),
            Self::Unusable(Error::Decode(error)) if error.is_too_long() => {
                IndeterminateKind::TooLong
            }
            Self::Unusable(_) => IndeterminateKind::Undecodable,
        }
    }

    /// Warns of the first answer of its kind and says what to do. All of them are in the figures.
    pub(super) fn tell(&self, said: &Said<IndeterminateKind>) {
        let kind = self.kind();
        if !said.is_first(kind) {
            let message = "the gateway gave an answer that is neither yes nor no";
            tracing::debug!(target: GATE, ?kind, "{message}");
            return;
        }
        match (self, kind) {
            (Self::Unusable(error), IndeterminateKind::TooLong) => tracing::warn!(
                target: GATE,
                %error,
                hint = "raise `answer_limit` of the client: the key may have that many permissions",
                "an answer of the gateway is too long: its key is answered 503"
            ),
            (Self::Unusable(Error::Api { status, .. }), _) => tracing::warn!(
                target: GATE,
                status = status.as_u16(),
                hint = "is `gateway_url` right? what stands before the gateway may answer in its place",
                "the gateway answers with a status that says nothing of a key"
            ),
            (Self::Unusable(error), _) => tracing::warn!(
                target: GATE,
                %error,
                hint = "is `gateway_url` right? what stands before the gateway may answer in its place",
                "an answer of the gateway cannot be decoded: its key is answered 503"
            ),
            (Self::NoIdentity, _) => tracing::warn!(
                target: GATE,
                hint = "a newer version may know where the gateway says it",
                "the gateway does not say whose a key is"
            ),
        }
    }
}

/// Whether an answer says nothing but that the gateway is not well.
fn is_outage(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// The gateway's word for the log. What is no plain word may hold the key it was asked about.
fn plain_word(reason: &DenyReason) -> &str {
    match reason.as_str() {
        word if word.len() > 32 => "no plain word",
        word if word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => word,
        _ => "no plain word",
    }
}
