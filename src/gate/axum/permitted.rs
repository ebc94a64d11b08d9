//! A permission as part of a handler's signature.

use std::any;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::Response;
use http::request::Parts;

use crate::gate::axum::const_requirement::is_requirement;
use crate::gate::axum::extract::NO_GATE;
use crate::gate::permission::requirement::Requirement;
use crate::gate::principal::caller::caller;
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::{Rejection, RejectionKind};
use crate::gate::stats::{GuardProblem, guard_problem};
use crate::log::GATE;

/// The caller, who holds what `P` asks for: an axum extractor.
///
/// A handler that takes it cannot be reached without the permission, and its signature says so. It
/// derefs to the [`Principal`]. Like every extractor it runs behind the gate, so *after* the rate
/// limits were charged; [`require_with`](crate::WachtAuthLayer::require_with) on the layer decides
/// before.
///
/// | the request has | `Permitted<P>` | `Option<Permitted<P>>` |
/// |---|---|---|
/// | a caller with the permissions | the caller | `Some` |
/// | a caller without them | 403 | `None` |
/// | no caller, because the gate let it pass anonymously | 401 | `None` |
/// | no gate in front | 500; the log says so once, then it is counted | the same |
///
/// The refusals are in the gate's own words: its realm and its
/// [`on_reject`](crate::WachtAuthLayer::on_reject). The optional form refuses nobody; it is for
/// answers that show some callers more than others.
///
/// With the feature `test-util`, the example runs as it stands:
///
#[cfg_attr(feature = "test-util", doc = "```")]
#[cfg_attr(not(feature = "test-util"), doc = "```ignore")]
/// use axum::{Router, body::Body, http::{Request, StatusCode}, routing::get};
/// use tower::ServiceExt;
/// use wacht_auth::WachtAuthLayer;
/// use wacht_auth::axum::{Permission, Permitted};
/// use wacht_auth::dev::DevGateway;
///
/// struct ReadOrders;
///
/// impl Permission for ReadOrders {
///     const REQUIREMENT: &'static str = "orders:read OR orders:audit";
/// }
///
/// async fn orders(caller: Permitted<ReadOrders>) -> String {
///     format!("the orders of {}", caller.key_name())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let app = Router::new()
///     .route("/orders", get(orders))
///     .layer(WachtAuthLayer::new(wacht.client()).app("shop"));
///
/// let auditor = wacht.issue_key("shop").permissions(["orders:audit"]).issue();
/// let clerk = wacht.issue_key("shop").permissions(["stock:read"]).issue();
/// for (key, status) in [(auditor, StatusCode::OK), (clerk, StatusCode::FORBIDDEN)] {
///     let bearer = format!("Bearer {}", key.secret());
///     let request = Request::get("/orders").header("authorization", bearer);
///     let answer = app.clone().oneshot(request.body(Body::empty())?).await?;
///     assert_eq!(answer.status(), status);
/// }
/// # Ok(()) }
/// ```
pub struct Permitted<P> {
    principal: Principal,
    permission: PhantomData<fn() -> P>,
}

/// Names what a caller must hold, for [`Permitted`].
///
/// ```
/// use wacht_auth::axum::Permission;
///
/// struct CloseBooks;
///
/// impl Permission for CloseBooks {
///     const REQUIREMENT: &'static str = "books:write AND (books:close OR admin)";
/// }
/// ```
pub trait Permission {
    /// The text of a [`Requirement`](crate::Requirement).
    ///
    /// A text that is no requirement does not compile where a handler takes it. `cargo build` and
    /// `cargo test` find it; `cargo check` does not look that far.
    ///
    /// ```compile_fail,E0080
    /// use axum::{Router, routing::get};
    /// use wacht_auth::axum::{Permission, Permitted};
    ///
    /// struct Broken;
    ///
    /// impl Permission for Broken {
    ///     const REQUIREMENT: &'static str = "orders:read, orders:write";
    /// }
    ///
    /// async fn orders(_: Permitted<Broken>) {}
    ///
    /// let app: Router = Router::new().route("/orders", get(orders));
    /// ```
    ///
    /// What the compiler does not judge is a character outside ASCII. Where a text is no
    /// requirement because of one, such as a zero-width space in a name, every request is a 500,
    /// and the log says why at the first.
    const REQUIREMENT: &'static str;
}

impl<P> Permitted<P> {
    /// The caller without the proof.
    #[must_use]
    pub fn into_principal(self) -> Principal {
        self.principal
    }
}

impl<P: Permission> Permitted<P> {
    fn of(parts: &Parts) -> Result<Self, Rejection> {
        const {
            assert!(
                is_requirement(P::REQUIREMENT),
                "`Permission::REQUIREMENT` is no requirement: permission names joined by AND, OR \
                 and parentheses, without commas"
            );
        }
        let principal = caller(parts, &NO_GATE)?;
        match requirement::<P>() {
            Some(requirement) => principal.require(&requirement)?,
            None => {
                guard_problem(GuardProblem::NoRequirement);
                return Err(Rejection::misconfigured().with_answers(principal.answers()));
            }
        }
        Ok(Self {
            principal: principal.clone(),
            permission: PhantomData,
        })
    }
}

impl<P: Permission, S: Sync> FromRequestParts<S> for Permitted<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Self::of(parts).map_err(|rejection| rejection.answer(parts).map(Into::into))
    }
}

impl<P: Permission, S: Sync> OptionalFromRequestParts<S> for Permitted<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Response> {
        if parts.extensions.get::<Anonymous>().is_some() {
            return Ok(None);
        }
        match Self::of(parts) {
            Ok(permitted) => Ok(Some(permitted)),
            Err(rejection) if rejection.kind() == RejectionKind::PermissionDenied => Ok(None),
            Err(rejection) => Err(rejection.answer(parts).map(Into::into)),
        }
    }
}

impl<P> Deref for Permitted<P> {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl<P> Clone for Permitted<P> {
    fn clone(&self) -> Self {
        Self {
            principal: self.principal.clone(),
            permission: PhantomData,
        }
    }
}

impl<P> From<Permitted<P>> for Principal {
    fn from(permitted: Permitted<P>) -> Self {
        permitted.principal
    }
}

impl<P> fmt::Debug for Permitted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permitted").field(&self.principal).finish()
    }
}

/// What `P` asks for, parsed at its first use. `None` when it is no requirement.
fn requirement<P: Permission>() -> Option<Requirement> {
    // As many entries as the program has texts. A static cannot be generic, so one map holds
    // what would be a static of each `P`.
    type ByText = HashMap<&'static str, Option<Requirement>>;
    static PARSED: LazyLock<ArcSwap<ByText>> = LazyLock::new(ArcSwap::default);

    let text = P::REQUIREMENT;
    if let Some(parsed) = PARSED.load().get(text) {
        return parsed.clone();
    }
    let parsed = Requirement::try_from(text)
        .inspect_err(|error| {
            let permission = any::type_name::<P>();
            tracing::error!(target: GATE, %error, permission, "a `Permission` names what is no requirement");
        })
        .ok();
    PARSED.rcu(|known| {
        let mut known = ByText::clone(known);
        known.insert(text, parsed.clone());
        Arc::new(known)
    });
    parsed
}
