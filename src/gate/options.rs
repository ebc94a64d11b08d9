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
    pub(crate) end_streams: bool,
    pub(crate) charge_later: bool,
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) answers: Answers,
    pub(crate) rate_limit_headers: RateLimitHeaders,
    pub(crate) cache_fields: Option<Arc<CacheFields>>,
}

/// What shared caches are told of answers that depend on a key, where their own rules do not go so
/// far: they keep none that was given to a request with `Authorization` (RFC 9111, section 3.5).
pub(crate) struct CacheFields {
    /// Whether a key may come elsewhere.
    pub(crate) is_private: bool,
    /// Without a value where no header holds the key.
    pub(crate) vary: Option<HeaderValue>,
}

impl GateOptions {
    /// To be called when something has changed that they depend on.
    pub(crate) fn renew_cache_fields(&mut self) {
        let credentials = &self.request.credentials;
        let is_private = credentials.are_elsewhere();
        // What a caller without a key was given may be given to one with a key, even a bad one.
        self.cache_fields = (is_private || self.optional).then(|| {
            let vary = credentials.vary();
            Arc::new(CacheFields { is_private, vary })
        });
    }
}
