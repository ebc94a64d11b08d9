//! Who a key turned out to be.

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
    pub(crate) owner_user_id: Option<i64>,
    pub(crate) organization_id: Option<i64>,
    pub(crate) workspace_id: Option<i64>,
    pub(crate) organization_membership_id: Option<i64>,
    pub(crate) workspace_membership_id: Option<i64>,
    pub(crate) permissions: Permissions,
    pub(crate) metadata: Value,
}
