//! Why a call of the store did not succeed.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::link::ConnectionId;

/// Why a call of the store did not succeed. No text of the server, nor its address, is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub(crate) struct StoreError {
    pub(crate) kind: StoreErrorKind,
    /// Over which connection it was sent. `None`: nothing was sent, so nothing was executed.
    pub(crate) sent_over: Option<ConnectionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreErrorKind {
    /// It failed too often: nothing is sent to it for the moment.
    #[error("the store is away")]
    Away,
    /// Called outside of a tokio runtime.
    #[error("the store needs a tokio runtime")]
    NoRuntime,
    /// The connection that was asked for is not there any more.
    #[error("the connection to the store is another one by now")]
    OtherConnection,
    /// There is no connection yet.
    #[error("the store is being connected to")]
    Connecting,
    /// There is nobody to connect to, or the connection broke.
    #[error("the store cannot be reached")]
    Unreachable,
    /// No answer within the deadline.
    #[error("the store did not answer in time")]
    TimedOut,
    /// It does not take the user name or the password.
    #[error("the store does not accept the credentials of its URL")]
    Credentials,
    /// The user may not do what is needed.
    #[error("the user of the store may not run scripts, or not on these keys")]
    NotPermitted,
    /// It has no memory left for what is new.
    #[error("the store is full (OOM)")]
    Full,
    /// It takes no writes: a replica, or a master that cannot save.
    #[error("the store is read-only")]
    ReadOnly,
    /// It cannot do it now: loading, busy, part of a cluster down.
    #[error("the store is not ready")]
    NotReady,
    /// It refused this one call, or its answer could not be read.
    #[error("the store refused a call, or answered something else than was asked for")]
    Refused,
}

impl StoreErrorKind {
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Credentials,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::NotPermitted,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::ReadOnly,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Self::NotReady,
            _ if error.is_timeout() => Self::TimedOut,
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::InvalidClientConfig => Self::Unreachable,
            _ => match error.code() {
                Some("OOM") => Self::Full,
                Some("NOAUTH" | "WRONGPASS") => Self::Credentials,
                Some("MISCONF" | "NOREPLICAS") => Self::ReadOnly,
                Some("BUSY") => Self::NotReady,
                _ => Self::Refused,
            },
        }
    }

    /// Whether it speaks against the store, and not against this one call.
    pub(super) fn is_of_the_store(self) -> bool {
        match self {
            Self::Unreachable
            | Self::TimedOut
            | Self::Credentials
            | Self::NotPermitted
            | Self::Full
            | Self::ReadOnly
            | Self::NotReady => true,
            Self::Away
            | Self::NoRuntime
            | Self::OtherConnection
            | Self::Connecting
            | Self::Refused => false,
        }
    }

    /// Whether another connection may lead to a server that is better.
    pub(super) fn asks_for_another_connection(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Credentials | Self::ReadOnly | Self::NotReady
        )
    }
}
