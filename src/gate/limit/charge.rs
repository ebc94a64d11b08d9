//! What is charged to a request after it has passed.

use std::fmt;
use std::sync::{Arc, Weak};

use super::admit::{ChargedRule, Limiter};
use super::rule_set::RuleSet;
use super::subjects::Caller;
use crate::clock::{Clock, Now};

/// Charges a request for what only its work has shown that it costs: tokens of a model, rows of a
/// query.
///
/// With [`charge_later`](crate::WachtAuthLayer::charge_later) it is in the extensions of every
/// request that the gate lets pass; with axum it is an extractor, too. It charges the rules and the
/// callers that the request was charged by.
///
/// What it books may be more than is left. Then it is owed: nothing of the same caller passes those
/// rules before it is paid off, and `Retry-After` says when that is. Nobody ever owes more than the
/// rule admits in one window; what is booked beyond that is forgotten.
///
/// A clone is the same charge, and each call books anew. Dropped, it books nothing more. It keeps
/// neither the gate nor its counters alive, and books nothing when they are gone. It also books
/// nothing where nothing was charged in this process: under
/// [`Limits::off`](crate::Limits::off) and [`Limits::gateway`](crate::Limits::gateway), for a resource
/// that no rule is for, for what [`Limits::shadow`](crate::Limits::shadow) would have refused, and for a
/// request without a key.
///
/// ```
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower::ServiceExt;
/// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
/// use wacht_auth::{Charge, WachtAuthLayer};
/// # use std::time::Duration;
///
/// async fn complete(charge: Charge) -> &'static str {
///     let answer = "so many words";
///     charge.book(12); // the tokens it took
///     answer
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new();
/// # let wacht = DevGateway::start().await.clock(&clock);
/// wacht.set_scheme("models", [DevRule::per_key(10, "minute", 1)]); // 10 tokens a minute
/// let key = wacht.issue_key("models").issue();
/// let gate = WachtAuthLayer::builder(wacht.client())
/// #     .clock(&clock)
///     .build()?
///     .app("models")
///     .cost(|_| 0) // asks, and pays later
///     .charge_later();
/// let app = Router::new().route("/", get(complete)).layer(gate);
/// let ask = async || {
///     let request = Request::get("/").header("authorization", format!("Bearer {}", key.secret()));
///     app.clone().oneshot(request.body(Body::empty()).expect("it is a request")).await
/// };
/// assert_eq!(ask().await?.status(), 200);
/// let refused = ask().await?;
/// assert_eq!(refused.status(), 429);
/// assert_eq!(refused.headers()["retry-after"], "18", "2 are owed, and 1 has to be there");
/// # clock.advance(Duration::from_secs(18));
/// # assert_eq!(ask().await?.status(), 200);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Charge(Option<Arc<Charged>>);

struct Charged {
    limiter: Weak<Limiter>,
    clock: Clock,
    rules: Vec<ChargedRule>,
}

impl Charge {
    /// Of a request that these rules were charged for.
    pub(crate) fn of(
        limiter: &Arc<Limiter>,
        rules: &RuleSet,
        caller: &Caller<'_>,
        clock: &Clock,
        now: Now,
    ) -> Self {
        Self(Some(Arc::new(Charged {
            limiter: Arc::downgrade(limiter),
            clock: clock.clone(),
            rules: limiter.charged_by(rules, caller, now),
        })))
    }

    /// Charges so many units more, whether they are left or not.
    pub fn book(&self, units: u32) {
        let Some(charged) = &self.0 else { return };
        // A gate that is gone counts nobody any more.
        if let (1.., Some(limiter)) = (units, charged.limiter.upgrade()) {
            limiter.book_debt(&charged.rules, units, charged.clock.now());
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.as_ref().map_or(0, |charged| charged.rules.len());
        f.debug_struct("Charge").field("rules", &rules).finish()
    }
}
