//! Who a key turned out to be.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::gate::permission::Permissions;

/// What kind of credential the caller showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// An API key of one of the deployment's API auth apps.
    ApiKey,
    /// An opaque OAuth access token (`oat_…`), accepted under
    /// [`accept_oauth_tokens`](crate::WachtAuthLayer::accept_oauth_tokens).
    OauthAccessToken,
}

/// What Wacht said of a caller, in the gate's own types.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) kind: PrincipalKind,
    pub(crate) key_id: i64,
    pub(crate) key_name: Box<str>,
    pub(crate) app_slug: Arc<str>,
    pub(crate) deployment_id: i64,
    pub(crate) owner_user_id: MaybeId,
    pub(crate) organization_id: MaybeId,
    pub(crate) workspace_id: MaybeId,
    pub(crate) organization_membership_id: MaybeId,
    pub(crate) workspace_membership_id: MaybeId,
    pub(crate) permissions: Permissions,
    pub(crate) metadata: Value,
}

/// An id that there may be, in the room of one: verdicts are many, and most lack most of these.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaybeId(i64);

/// No id of Wacht's is below zero.
const NO_ID: i64 = i64::MIN;

impl MaybeId {
    pub(crate) fn get(self) -> Option<i64> {
        (self.0 != NO_ID).then_some(self.0)
    }
}

impl From<Option<i64>> for MaybeId {
    fn from(id: Option<i64>) -> Self {
        Self(id.unwrap_or(NO_ID))
    }
}

impl fmt::Debug for MaybeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_may_be_missing_is_what_it_was() {
        for id in [None, Some(0), Some(-1), Some(i64::MAX)] {
            assert_eq!(MaybeId::from(id).get(), id);
        }
    }
}
