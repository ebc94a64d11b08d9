//! Who is calling.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::gate::LOG;
use crate::gate::authenticator::Gate;
use crate::gate::cache::Verdict;
use crate::gate::permission::{Permissions, Requirement};
use crate::gate::rejection::Rejection;

/// The verified caller of a request.
///
/// [`WachtAuth`](crate::WachtAuth) puts it into the request's extensions; axum handlers take it
/// as an extractor. It is two reference counts, so it is cheap to clone and to send elsewhere.
///
/// It says what was true when the gateway was last asked, at most
/// [`CachePolicy::fresh_for`](crate::CachePolicy::fresh_for) plus the grace after that ago.
#[derive(Clone)]
pub struct Principal {
    verdict: Arc<Verdict>,
    gate: Arc<Gate>,
}

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
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) kind: PrincipalKind,
    pub(crate) key_id: i64,
    pub(crate) key_name: String,
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

/// Stands in the extensions of a request that a gate let pass without a caller, so that a guard
/// further in can tell "anonymous" from "no gate in front".
#[derive(Clone)]
pub(crate) struct Anonymous(pub(crate) Arc<Gate>);

impl Principal {
    pub(crate) fn new(verdict: Arc<Verdict>, gate: Arc<Gate>) -> Self {
        Self { verdict, gate }
    }

    /// Whether the caller showed an API key or an OAuth access token.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        self.identity().kind
    }

    /// The id of the API key; for an OAuth access token, the record id of its client.
    #[must_use]
    pub fn key_id(&self) -> i64 {
        self.identity().key_id
    }

    /// The name the key was given; for an OAuth access token, its client id (`oc_…`).
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.identity().key_name
    }

    /// The OAuth client id (`oc_…`) of an access token, `None` for an API key.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        match self.kind() {
            PrincipalKind::OauthAccessToken => Some(self.key_name()),
            PrincipalKind::ApiKey => None,
        }
    }

    /// The slug of the API auth app that the key belongs to.
    #[must_use]
    pub fn app_slug(&self) -> &str {
        &self.identity().app_slug
    }

    /// The Wacht deployment that the key belongs to; always the gate's own.
    #[must_use]
    pub fn deployment_id(&self) -> i64 {
        self.identity().deployment_id
    }

    /// The user who owns the key, if any does.
    #[must_use]
    pub fn owner_user_id(&self) -> Option<i64> {
        self.identity().owner_user_id
    }

    /// The organization that the key acts for, if any.
    #[must_use]
    pub fn organization_id(&self) -> Option<i64> {
        self.identity().organization_id
    }

    /// The workspace that the key acts for, if any.
    #[must_use]
    pub fn workspace_id(&self) -> Option<i64> {
        self.identity().workspace_id
    }

    /// The owner's membership in the organization, if any.
    #[must_use]
    pub fn organization_membership_id(&self) -> Option<i64> {
        self.identity().organization_membership_id
    }

    /// The owner's membership in the workspace, if any.
    #[must_use]
    pub fn workspace_membership_id(&self) -> Option<i64> {
        self.identity().workspace_membership_id
    }

    /// What the caller may do: the key's own permissions together with those of its roles, or the
    /// scopes of an access token with what they map to.
    #[must_use]
    pub fn permissions(&self) -> &Permissions {
        &self.identity().permissions
    }

    /// The metadata stored with the key, verbatim: normally an object, but any JSON is possible.
    ///
    /// Whoever may create keys chooses it. Decide nothing about the kind of caller by it.
    #[must_use]
    pub fn metadata(&self) -> &Value {
        &self.identity().metadata
    }

    /// Checks a requirement inside a handler: a parsed [`Requirement`] by reference, or its text,
    /// which is then parsed on every call.
    ///
    /// The rejection is an axum response, too. [`Rejection::to_response`] makes the answer, with
    /// the realm of the gate that admitted the caller; its
    /// [`on_reject`](crate::WachtAuthLayer::on_reject) is not asked.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use wacht_auth::{Principal, Rejection};
    ///
    /// async fn refund(caller: Principal) -> Result<&'static str, Rejection> {
    ///     caller.require("orders:write AND refunds:write")?;
    ///     Ok("refunded")
    /// }
    /// # let _ = axum::routing::post::<_, _, ()>(refund);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::RejectionKind::PermissionDenied) when the caller's permissions
    /// do not satisfy it, and [`Misconfigured`](crate::RejectionKind::Misconfigured) when it is no
    /// requirement; the log says what is wrong with it.
    pub fn require<R>(&self, requirement: R) -> Result<(), Rejection>
    where
        R: TryInto<Requirement>,
        R::Error: fmt::Display,
    {
        let requirement = requirement.try_into().map_err(|error| {
            tracing::error!(target: LOG, %error, "a handler requires what is no requirement");
            Rejection::misconfigured().of(&self.gate)
        })?;
        if self.permissions().satisfies(&requirement) {
            Ok(())
        } else {
            Err(Rejection::permission_denied(&requirement).of(&self.gate))
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.verdict.identity
    }

    pub(crate) fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.identity();
        f.debug_struct("Principal")
            .field("kind", &identity.kind)
            .field("key_id", &identity.key_id)
            .field("app_slug", &identity.app_slug)
            .field("permissions", &identity.permissions)
            .finish_non_exhaustive()
    }
}
