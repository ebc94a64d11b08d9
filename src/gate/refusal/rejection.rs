//! A refusal: why, and what goes with the answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use crate::gate::limit::{LimitRefusal, RateLimitFields};
use crate::gate::permission::requirement::Requirement;
use crate::gate::refusal::challenge::Challenge;
use crate::gate::refusal::grpc::GrpcRefusals;
use crate::gate::refusal::kind::RejectionKind;
use crate::gate::refusal::reason::InvalidKeyReason;
use crate::gate::request::credential::Credentials;

/// Why a request was refused.
///
/// It stands in the extensions of every refusing response, whatever answers with it, so outer
/// layers and tests read it there instead of parsing a body.
///
/// A rejection holds nothing of the key and nothing of the gateway's words. What an operator has
/// to know goes to the log.
#[derive(Clone)]
pub struct Rejection(Arc<Details>);

#[derive(Clone)]
struct Details {
    kind: RejectionKind,
    // Of an invalid key.
    reason: Option<InvalidKeyReason>,
    retry_after: Option<Duration>,
    // RFC 6750 `scope`, where the requirement can be said in it.
    scope: Option<String>,
    violated_policies: Vec<Arc<str>>,
    rate_limit_fields: RateLimitFields,
    answers: Answers,
}

/// How a gate answers those it refuses, as far as its options decide that. Cheap to clone.
///
/// Whoever may have to refuse behind a gate, such as a guard, holds its gate's own.
// The default is nothing at all: each admitted request carries a clone, and threads that clone one
// `Arc` wait for each other.
#[derive(Clone, Default)]
pub(crate) struct Answers(Option<Arc<Custom>>);

#[derive(Clone)]
struct Custom {
    challenge: Challenge,
    on_reject: Option<OnReject>,
    grpc: GrpcRefusals,
}

/// What decides the answer in place of the table:
/// [`on_reject`](crate::WachtAuthLayer::on_reject).
pub(crate) type OnReject = Arc<dyn Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync>;

// === impl Answers ===

impl Answers {
    pub(crate) fn with_realm(&self, realm: &str) -> Self {
        self.with(|custom| custom.challenge = custom.challenge.with_realm(realm))
    }

    pub(crate) fn with_credentials(&self, credentials: &Credentials) -> Self {
        self.with(|custom| custom.challenge = custom.challenge.with_credentials(credentials))
    }

    pub(crate) fn with_on_reject(&self, on_reject: OnReject) -> Self {
        self.with(|custom| custom.on_reject = Some(on_reject))
    }

    pub(crate) fn with_grpc(&self, grpc: GrpcRefusals) -> Self {
        self.with(|custom| custom.grpc = grpc)
    }

    fn with(&self, change: impl FnOnce(&mut Custom)) -> Self {
        let mut custom = match &self.0 {
            Some(custom) => Custom::clone(custom),
            None => Custom {
                challenge: Challenge::standard().clone(),
                on_reject: None,
                grpc: GrpcRefusals::default(),
            },
        };
        change(&mut custom);
        Self(Some(Arc::new(custom)))
    }

    pub(super) fn challenge(&self) -> &Challenge {
        match &self.0 {
            Some(custom) => &custom.challenge,
            None => Challenge::standard(),
        }
    }

    pub(super) fn on_reject(&self) -> Option<&OnReject> {
        self.0.as_ref()?.on_reject.as_ref()
    }

    pub(super) fn grpc(&self) -> GrpcRefusals {
        let custom = self.0.as_ref();
        custom.map_or_else(GrpcRefusals::default, |custom| custom.grpc)
    }
}

// === impl Rejection ===

impl Rejection {
    fn new(kind: RejectionKind) -> Self {
        Self(Arc::new(Details {
            kind,
            reason: None,
            retry_after: None,
            scope: None,
            violated_policies: Vec::new(),
            rate_limit_fields: RateLimitFields::default(),
            answers: Answers::default(),
        }))
    }

    pub(crate) fn missing_credential() -> Self {
        Self::new(RejectionKind::MissingCredential)
    }

    pub(crate) fn malformed_credential() -> Self {
        Self::new(RejectionKind::MalformedCredential)
    }

    pub(crate) fn invalid_key(reason: InvalidKeyReason) -> Self {
        Self::new(RejectionKind::InvalidKey).with(|details| details.reason = Some(reason))
    }

    pub(crate) fn permission_denied(requirement: &Requirement) -> Self {
        Self::permission_denied_by_gateway().with(|details| details.scope = requirement.scope())
    }

    pub(crate) fn permission_denied_by_gateway() -> Self {
        Self::new(RejectionKind::PermissionDenied)
    }

    /// `fields` are the rate-limit header fields that go with the answer.
    pub(crate) fn rate_limited(limits: LimitRefusal, fields: RateLimitFields) -> Self {
        Self::new(RejectionKind::RateLimited).with(|details| {
            details.retry_after = limits.retry_after;
            details.violated_policies = limits.violated;
            details.rate_limit_fields = fields;
        })
    }

    /// Without the name of a policy: the gateway gives none, and strangers need none.
    pub(crate) fn rate_limited_plainly(retry_after: Duration) -> Self {
        Self::new(RejectionKind::RateLimited)
            .with(|details| details.retry_after = Some(retry_after))
    }

    pub(crate) fn unavailable(retry_after: Duration) -> Self {
        Self::new(RejectionKind::Unavailable)
            .with(|details| details.retry_after = Some(retry_after))
    }

    pub(crate) fn misconfigured() -> Self {
        Self::new(RejectionKind::Misconfigured)
    }

    /// Lets the answer take a gate's challenge, `Vary`, `on_reject` and rule for gRPC.
    pub(crate) fn with_answers(self, answers: &Answers) -> Self {
        if answers.0.is_none() && self.0.answers.0.is_none() {
            return self;
        }
        self.with(|details| details.answers = answers.clone())
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    pub(super) fn scope(&self) -> Option<&str> {
        self.0.scope.as_deref()
    }

    pub(super) fn rate_limit_fields(&self) -> &RateLimitFields {
        &self.0.rate_limit_fields
    }

    /// Why the key is refused, for those who run the service alone.
    pub(crate) fn reason(&self) -> Option<InvalidKeyReason> {
        self.0.reason
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        // Copies only what somebody else has already been handed.
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// When it makes sense to try again, for [`RateLimited`](RejectionKind::RateLimited) and
    /// [`Unavailable`](RejectionKind::Unavailable). `None` for a request that costs more than its rule
    /// ever admits at once, and for all other kinds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// `Retry-After` counts whole seconds (RFC 9110, section 10.2.3): rounded up, and never zero.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.0.retry_after?;
        let rounding = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(rounding).max(1))
    }

    /// `grpc-retry-pushback-ms` (gRPC A6) counts milliseconds in 32 bits: rounded up, and never zero.
    pub(crate) fn retry_pushback(&self) -> Option<i32> {
        let milliseconds = self.0.retry_after?.as_nanos().div_ceil(1_000_000);
        Some(i32::try_from(milliseconds.max(1)).unwrap_or(i32::MAX))
    }

    /// The rate-limit policies that the request would have violated, by the names they have in
    /// the `RateLimit-Policy` field; empty for every other kind.
    pub fn violated_policies(&self) -> impl Iterator<Item = &str> {
        self.0.violated_policies.iter().map(|name| &**name)
    }

    /// A sentence for the caller. It names no key and no cause that a stranger should not know; where a
    /// key is missing, it says where one belongs.
    #[must_use]
    pub fn message(&self) -> &str {
        match self.answers().challenge().text(self.0.kind) {
            Some(text) => &text.detail,
            None => self.0.kind.row().detail,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.0.kind)
            .field("retry_after", &self.0.retry_after)
            .field("violated_policies", &self.0.violated_policies)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::request::credential::CredentialSource;

    fn is_shared(one: &Answers, other: &Answers) -> bool {
        let [one, other] = [one, other].map(|answers| answers.0.as_ref());
        one.zip(other)
            .is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    #[test]
    fn answers_cost_a_reference_only_where_an_option_was_set() {
        let standard = Answers::default();
        assert!(standard.0.is_none());
        let other = standard.with_realm("orders");
        assert!(is_shared(&other, &other.clone()));
    }

    #[test]
    fn options_of_the_answer_add_up() {
        let source = CredentialSource::header("x-api-key").unwrap();
        let answers = Answers::default()
            .with_on_reject(Arc::new(|_, _| Response::new(Bytes::from_static(b"no"))))
            .with_realm("orders")
            .with_credentials(&Credentials::new(source));
        let challenge = answers.challenge();
        assert_eq!(challenge.vary().unwrap(), "x-api-key");
        let missing = challenge.of(RejectionKind::MissingCredential, None);
        assert_eq!(
            missing.as_slice(),
            [r#"ApiKey realm="orders", header="x-api-key""#]
        );
        let (parts, ()) = http::Request::new(()).into_parts();
        let rejection = Rejection::invalid_key(InvalidKeyReason::Unknown).with_answers(&answers);
        assert_eq!(*rejection.answer(&parts).body(), "no");
    }
}
