//! What a layer is told: the options of one view, and those that its state is made from.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;

use crate::client::WachtClient;
use crate::clock::Clock;
use crate::gate::limit::{Limits, RateLimitHeaders, UnknownKeyLimit};
use crate::gate::permission::requirement::Requirement;
use crate::gate::refusal::{Challenge, OnReject};
use crate::gate::request::client_ip::ClientIp;
use crate::gate::request::credential::Credentials;
use crate::gate::verdict::CachePolicy;

/// What one view of the gate may change without touching what it shares.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) apps: Option<Arc<[Box<str>]>>,
    pub(crate) credentials: Credentials,
    pub(crate) accept_oauth_tokens: bool,
    pub(crate) strip_credential: bool,
    pub(crate) optional: bool,
    pub(crate) skip: Option<Predicate>,
    pub(crate) resource: Option<Resource>,
    pub(crate) requirements: Vec<Requirement>,
    pub(crate) requirement_of: Option<RequirementOf>,
    pub(crate) challenge: Arc<Challenge>,
    pub(crate) on_reject: Option<OnReject>,
    pub(crate) rate_limit_headers: RateLimitHeaders,
    /// `Vary` for admitted answers: only where the key is not in `Authorization`, for which
    /// caches have rules of their own (RFC 9111, section 3.5).
    pub(crate) vary: Option<HeaderValue>,
}

pub(crate) type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
pub(crate) type Resource = Arc<dyn for<'a> Fn(&'a Parts) -> Cow<'a, str> + Send + Sync>;
pub(crate) type RequirementOf = Arc<dyn Fn(&Parts) -> Option<Arc<Requirement>> + Send + Sync>;

/// What a state is made from.
#[derive(Clone)]
pub(crate) struct StateOptions {
    pub(crate) client: WachtClient,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) deployment: Option<i64>,
    pub(crate) cache: CachePolicy,
    pub(crate) limits: Limits,
    pub(crate) client_ip: ClientIp,
    /// `None` until it or `client_ip` is set: without knowing what stands before the gate, all
    /// callers may have one address.
    pub(crate) unknown_keys: Option<UnknownKeyLimit>,
}

impl StateOptions {
    pub(crate) fn new(client: WachtClient) -> Self {
        Self {
            client,
            clock: Clock::system(),
            deadline: Duration::from_secs(2),
            deployment: None,
            cache: CachePolicy::default(),
            limits: Limits::default(),
            client_ip: ClientIp::default(),
            unknown_keys: None,
        }
    }
}
