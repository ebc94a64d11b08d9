//! What stands behind a gate asks of a request: who calls, and may they?

use std::fmt;
use std::panic::Location;

use http::request::Parts;

use crate::gate::permission::requirement::Requirement;
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::Rejection;
use crate::gate::stats::{GuardProblem, guard_problem};
use crate::log::{GATE, Notice, Said};

/// The caller of a request, or the answer that its absence calls for. That there is no gate in
/// front is an error in the log once for each `no_gate`, and counted every time.
pub(crate) fn caller<'p>(parts: &'p Parts, no_gate: &Notice) -> Result<&'p Principal, Rejection> {
    if let Some(principal) = parts.extensions.get::<Principal>() {
        return Ok(principal);
    }
    Err(match parts.extensions.get::<Anonymous>() {
        Some(Anonymous(answers)) => Rejection::missing_credential().with_answers(answers),
        None => {
            no_gate.error_then_debug(
                "no gate in front: put a `WachtAuthLayer` outside whatever asks for a caller",
                parts,
            );
            guard_problem(GuardProblem::NoGate);
            Rejection::misconfigured()
        }
    })
}

// Not beside the type, which would have to import what counts the mistakes.
impl Principal {
    /// Checks a requirement inside a handler: a parsed [`Requirement`] by reference, or its text,
    /// which is then parsed on every call.
    ///
    /// The rejection is an axum response, too. [`Rejection::to_response`] makes the answer, with
    /// the realm of the gate that admitted the caller; its
    /// [`on_reject`](crate::WachtAuthLayer::on_reject) is not asked.
    ///
    /// ```
    /// use wacht_auth::{Principal, Rejection};
    /// # use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// async fn refund(caller: Principal) -> Result<&'static str, Rejection> {
    ///     caller.require("orders:write AND refunds:write")?;
    ///     Ok("refunded")
    /// }
    /// # let wacht = DevGateway::start().await;
    /// # let key = wacht.issue_key("orders").permissions(["orders:write", "refunds:write"]).issue();
    /// # let gate = wacht_auth::WachtAuthLayer::new(wacht.client()).app("orders");
    /// # let context = wacht_auth::AuthContext::new("/refunds");
    /// # let caller = gate.handle().authenticate_key(key.secret(), &context).await?;
    /// # assert_eq!(refund(caller).await?, "refunded");
    /// # let key = wacht.issue_key("orders").permissions(["orders:write"]).issue();
    /// # let caller = gate.handle().authenticate_key(key.secret(), &context).await?;
    /// # assert!(refund(caller).await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PermissionDenied`](crate::RejectionKind::PermissionDenied) when the caller's permissions
    /// do not satisfy it, and [`Misconfigured`](crate::RejectionKind::Misconfigured) when it is no
    /// requirement: the log says, once for each place in the source, what is wrong with it.
    #[track_caller]
    pub fn require<R>(&self, requirement: R) -> Result<(), Rejection>
    where
        R: TryInto<Requirement>,
        R::Error: fmt::Display,
    {
        let rejection = match requirement.try_into() {
            Ok(requirement) if self.permissions().satisfies(&requirement) => return Ok(()),
            Ok(requirement) => Rejection::permission_denied(&requirement),
            Err(error) => no_requirement(&error, Location::caller()),
        };
        Err(rejection.with_answers(self.answers()))
    }
}

/// A program's mistake. A text that is made anew on each request must not fill the log.
fn no_requirement(error: &dyn fmt::Display, place: &'static Location<'static>) -> Rejection {
    const WHAT: &str = "a handler requires what is no requirement";
    static TOLD: Said<&Location<'_>> = Said::new();
    if TOLD.is_first(place) {
        tracing::error!(target: GATE, %error, %place, "{WHAT}");
    } else {
        tracing::debug!(target: GATE, %error, %place, "{WHAT}");
    }
    guard_problem(GuardProblem::NoRequirement);
    Rejection::misconfigured()
}
