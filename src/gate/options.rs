//! What one view of the gate may change without touching what all views share.

use std::sync::Arc;

use http::HeaderValue;

use crate::gate::directory::AcceptedApps;
use crate::gate::limit::RateLimitHeaders;
use crate::gate::permission::requirement::Requirement;
use crate::gate::refusal::Answers;
use crate::gate::request::options::RequestOptions;

/// The options of one view: how a request is read, whom it lets in, and how it is answered.
#[derive(Clone, Default)]
pub(crate) struct GateOptions {
    pub(crate) request: RequestOptions,
    pub(crate) apps: AcceptedApps,
    pub(crate) accept_oauth_tokens: bool,
    pub(crate) strip_credential: bool,
    pub(crate) optional: bool,
    pub(crate) tell_outside: bool,
    pub(crate) charge_later: bool,
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) answers: Answers,
    pub(crate) rate_limit_headers: RateLimitHeaders,
    /// Only where a key may come elsewhere than in `Authorization`, for which caches have rules of
    /// their own (RFC 9111, section 3.5).
    pub(crate) keys_elsewhere: Option<Arc<KeysElsewhere>>,
}

/// What shared caches are told of answers that depend on a key they do not know of, beside that
/// they are private.
pub(crate) struct KeysElsewhere {
    /// Without a value where no header holds the key.
    pub(crate) vary: Option<HeaderValue>,
}
