//! Asking the gateway: what is sent, what the answer means, and that N callers with one key ask
//! once.

pub(crate) mod breaker;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::api::gateway::{CheckRequest, CheckResponse, DenyReason};
use crate::client::Error;
use crate::clock::Now;
use crate::gate::directory::Ours;
use crate::gate::limit::Payer;
use crate::gate::principal::{Identity, PrincipalKind};
use crate::gate::state::State;
use crate::gate::stats::GatewayResult;
use crate::gate::verdict::cache::STRANGER_TTL;
use crate::gate::verdict::revocations::EventNumber;
use crate::gate::verdict::{End, OpenCheck, Verdict, VerdictKey};
use crate::log::GATE;

/// Checks in flight for digests seen good before, and as many for those never seen.
const IN_FLIGHT: usize = 128;
/// Flights beyond which none starts for a key never seen, those that wait for a place included.
const FLIGHTS: usize = 4096;
/// What follows a failed refresh.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// No limit of Wacht's makes a caller wait longer than this under `Limits::gateway()`: the
/// gateway names the whole window, not what is left of it.
const GATEWAY_RETRY_MAX: Duration = Duration::from_secs(60);
const USER_AGENT_MAX: usize = 256;
const RESOURCE_MAX: usize = 2048;

/// What a verification brought.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Valid(Arc<Verdict>),
    /// A definite no.
    Invalid,
    /// The key is good; the gateway says its limit is reached. Only asked for by [`ask`].
    Limited(Arc<Verdict>, Duration),
    /// The key is good; the gateway says a permission is missing. Only asked for by [`ask`].
    Denied(Arc<Verdict>),
    /// Nobody knows. Try again after this long.
    Unknown(Duration),
    /// Nobody will know before the program is changed.
    Misconfigured(&'static str),
}

impl Outcome {
    /// The word for it in spans and events.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Invalid => "invalid",
            Self::Limited(..) => "rate_limited",
            Self::Denied(_) => "permission_denied",
            Self::Unknown(_) => "unknown",
            Self::Misconfigured(_) => "misconfigured",
        }
    }
}

/// What a waiting request is resumed with.
pub(crate) struct Arrived {
    pub(crate) outcome: Outcome,
    /// Whether the check that brought it was this very request's, or one it had joined.
    pub(crate) is_own: bool,
    /// The last event before the request came.
    pub(crate) came: EventNumber,
}

/// Describes a request that did not come over HTTP: what it is about, its method, the caller's
/// address and user agent.
///
/// Endpoint rules are compared with the resource. An app with a rule per address needs
/// [`client_ip`](Self::client_ip): without it such a rule answers
/// [`Misconfigured`](crate::RejectionKind::Misconfigured). All of it stands in Wacht's audit.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthContext {
    method: &'static str,
    resource: String,
    client_ip: Option<IpAddr>,
    user_agent: Option<String>,
}

impl AuthContext {
    /// `POST` on `resource`, from nobody in particular.
    ///
    /// `resource` is what endpoint rules are compared with: a path such as `/orders`.
    pub fn new(resource: impl Into<String>) -> Self {
        let mut resource = resource.into();
        if !resource.starts_with('/') {
            resource.insert(0, '/');
        }
        Self {
            method: "POST",
            resource,
            client_ip: None,
            user_agent: None,
        }
    }

    /// The method. One that Wacht does not know is sent as `POST`; it decides nothing.
    pub fn method(mut self, method: &Method) -> Self {
        self.method = match *method {
            Method::GET => "GET",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::HEAD => "HEAD",
            Method::OPTIONS => "OPTIONS",
            _ => "POST",
        };
        self
    }

    /// The address of the caller, which limits per address are counted by.
    pub fn client_ip(mut self, address: IpAddr) -> Self {
        self.client_ip = Some(address);
        self
    }

    /// The caller's user agent, for the audit: its visible ASCII characters, 256 at most.
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        let visible = user_agent
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(USER_AGENT_MAX)
            .collect();
        self.user_agent = Some(visible);
        self
    }

    pub(crate) fn resource(&self) -> &str {
        &self.resource
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.client_ip
    }

    /// For a refresh, which no caller should be able to steer.
    fn refresh() -> Self {
        Self::new("/")
    }
}

/// One key to ask about. Holds the key itself, for as long as the check is in flight.
pub(crate) struct Check {
    pub(crate) key: VerdictKey,
    pub(crate) secret: SecretString,
    pub(crate) context: AuthContext,
    pub(crate) required_permissions: Vec<String>,
    pub(crate) seen_good: bool,
    /// Who pays if it fails.
    pub(crate) charged_to: Option<Payer>,
}

impl Check {
    /// A check in the background, of which the caller decides nothing but the key.
    pub(crate) fn refresh(key: VerdictKey, secret: SecretString) -> Self {
        Self {
            key,
            secret,
            context: AuthContext::refresh(),
            required_permissions: Vec::new(),
            seen_good: true,
            charged_to: None,
        }
    }

    fn request(&self) -> CheckRequest {
        let secret = self.secret.expose_secret();
        let mut request = match self.key.kind {
            PrincipalKind::ApiKey => CheckRequest::api_key(secret),
            PrincipalKind::OauthAccessToken => CheckRequest::oauth_access_token(secret),
        };
        let context = &self.context;
        // The gateway refuses bodies over 2 MiB; nothing a caller sends may come near that.
        let mut end = context.resource.len().min(RESOURCE_MAX);
        while !context.resource.is_char_boundary(end) {
            end -= 1;
        }
        request = request
            .method(context.method)
            .resource(&context.resource[..end]);
        if let Some(address) = context.client_ip {
            request = request.client_ip(address);
        }
        if let Some(user_agent) = &context.user_agent {
            request = request.user_agent(user_agent.as_str());
        }
        if !self.required_permissions.is_empty() {
            request = request.required_permissions(&self.required_permissions);
        }
        request
    }
}

/// What an answer of the gateway means. The rows of the answer table, in its order.
#[derive(Debug)]
enum Meaning {
    Yes(Box<CheckResponse>),
    RateLimited(Box<CheckResponse>),
    PermissionDenied(Box<CheckResponse>),
    /// A definite no.
    No,
    /// An answer that is neither yes nor no.
    Undecided,
    /// No answer, or one that says the gateway is not well.
    Outage,
    Misconfigured,
}

impl Meaning {
    /// As what it is counted; `None` if nothing was sent.
    fn result(&self) -> Option<GatewayResult> {
        match self {
            Self::Yes(_) => Some(GatewayResult::Allowed),
            Self::RateLimited(_) => Some(GatewayResult::RateLimited),
            Self::PermissionDenied(_) => Some(GatewayResult::PermissionDenied),
            Self::No => Some(GatewayResult::Denied),
            Self::Undecided => Some(GatewayResult::Undecided),
            Self::Outage => Some(GatewayResult::Failed),
            Self::Misconfigured => None,
        }
    }
}

fn meaning(answer: Result<CheckResponse, Error>, asked_permissions: bool) -> Meaning {
    match answer {
        Ok(response) if response.allowed && response.identity.is_some() => {
            Meaning::Yes(Box::new(response))
        }
        Ok(response) if response.allowed => Meaning::Undecided,
        Ok(response) => match &response.reason {
            Some(DenyReason::RateLimited) if response.identity.is_some() => {
                Meaning::RateLimited(Box::new(response))
            }
            Some(DenyReason::RateLimited) => Meaning::Undecided,
            Some(DenyReason::PermissionDenied)
                if asked_permissions && response.identity.is_some() =>
            {
                Meaning::PermissionDenied(Box::new(response))
            }
            reason => {
                let reason = reason.as_ref().map_or("none", plain_word);
                tracing::warn!(
                    target: GATE,
                    reason,
                    "the gateway denied a key for a reason of its own"
                );
                Meaning::No
            }
        },
        Err(error) if error.is_invalid_key() => Meaning::No,
        Err(Error::Api { status, .. })
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS =>
        {
            Meaning::Outage
        }
        Err(Error::Request(_)) => Meaning::Outage,
        Err(Error::Config(_)) => Meaning::Misconfigured,
        Err(_) => Meaning::Undecided,
    }
}

/// The gateway's word for the log. What is no plain word may hold the key it was asked about.
fn plain_word(reason: &DenyReason) -> &str {
    match reason.as_str() {
        word if word.len() > 32 => "no plain word",
        word if word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => word,
        _ => "no plain word",
    }
}

/// Looks a key up, and charges who caused it if the key is bad. Here, in the flight's own task:
/// a caller who hangs up pays all the same.
async fn verify(state: &Arc<State>, check: &Check) -> Outcome {
    let outcome = look_up(state, check).await;
    if let (Outcome::Invalid, Some(address)) = (&outcome, check.charged_to) {
        state.failed_lookups.charge(address, state.clock.now());
    }
    state.tell_levels();
    Span::current().record(RESULT, outcome.as_str());
    tracing::debug!(target: GATE, result = outcome.as_str(), "a verification is over");
    outcome
}

/// Asks the gateway about one key and files what it says.
async fn look_up(state: &Arc<State>, check: &Check) -> Outcome {
    let places = if check.seen_good {
        &state.flights.seen_good
    } else {
        &state.flights.never_seen
    };
    // Looked at behind the cache: whom it turns away has nothing that could be used.
    if let Some(wait) = state.breaker.open_for(state.clock.now()) {
        return unanswered(state, check, wait);
    }
    // Too much in flight says nothing about the gateway. The semaphores are never closed.
    let Ok(Ok(_place)) = tokio::time::timeout(state.deadline, places.acquire()).await else {
        return no_news(state, check, RETRY_AFTER);
    };
    // Those ahead in the queue may have found the gateway down.
    if let Err(wait) = state.breaker.leave(state.clock.now()) {
        return unanswered(state, check, wait);
    }
    let sent = state.clock.now();
    state.metrics.check_sent();
    // Noted before the check leaves, so that whatever happens meanwhile is noticed.
    let open = state.cache.open_check(check.key, sent);
    // From here on, however long the queue was: what runs out now is the gateway's time alone.
    let asked = state.client.gateway().check(check.request()).send();
    let answer = tokio::time::timeout(state.deadline, asked).await;
    let answered = state.clock.now();
    let took = answered.monotonic.saturating_sub(sent.monotonic);
    let Ok(answer) = answer else {
        state.metrics.gateway_request(GatewayResult::TimedOut, took);
        gateway_failed(state, answered);
        return unanswered(state, check, RETRY_AFTER);
    };
    let is_timeout = matches!(&answer, Err(Error::Request(error)) if error.is_timeout());
    let meaning = meaning(answer, !check.required_permissions.is_empty());
    match meaning.result() {
        Some(_) if is_timeout => state.metrics.gateway_request(GatewayResult::TimedOut, took),
        Some(result) => state.metrics.gateway_request(result, took),
        None => {}
    }
    match meaning {
        Meaning::Outage => gateway_failed(state, answered),
        // Nothing that a caller can bring about counts for or against the gateway.
        Meaning::Undecided | Meaning::Misconfigured => state.breaker.unsent(),
        _ => {
            if state.breaker.answered(answered) {
                tracing::info!(target: GATE, "checks are sent to the gateway again");
            }
        }
    }
    if !matches!(meaning, Meaning::Outage) && state.notices.gateway.is_over() {
        tracing::info!(target: GATE, "the gateway answers again");
    }
    match meaning {
        Meaning::Yes(response) => ours(state, check, *response, &open, Outcome::Valid).await,
        Meaning::RateLimited(response) => {
            let wait = response.retry_after.unwrap_or(GATEWAY_RETRY_MAX);
            let wait = wait.min(GATEWAY_RETRY_MAX);
            let limited = |verdict| Outcome::Limited(verdict, wait);
            ours(state, check, *response, &open, limited).await
        }
        Meaning::PermissionDenied(response) => {
            ours(state, check, *response, &open, Outcome::Denied).await
        }
        Meaning::No => {
            let now = state.clock.now();
            state
                .cache
                .refuse(&open, now, state.cache.policy.negative_ttl);
            Outcome::Invalid
        }
        Meaning::Undecided => {
            let now = state.clock.now();
            let wait = state.cache.policy.negative_ttl;
            if let Some(verdict) = state.cache.positive(&check.key) {
                verdict.refresh_indeterminate(now.monotonic.saturating_add(RETRY_AFTER));
            }
            state.cache.indeterminate(&open, now);
            tracing::debug!(target: GATE, "the gateway gave an answer that is neither yes nor no");
            Outcome::Unknown(wait.max(RETRY_AFTER))
        }
        Meaning::Outage => unanswered(state, check, RETRY_AFTER),
        Meaning::Misconfigured => Outcome::Misconfigured("the Wacht client cannot be used"),
    }
}

fn gateway_failed(state: &State, now: Now) {
    if state.breaker.failed(now) {
        tracing::warn!(
            target: GATE,
            "the gateway fails too often: checks are held back, keys not known here are answered 503"
        );
    }
}

/// The gateway said nothing that could be used, or is known to be down.
fn unanswered(state: &State, check: &Check, wait: Duration) -> Outcome {
    state
        .notices
        .gateway
        .warn_once("the gateway does not answer");
    no_news(state, check, wait)
}

/// Nobody said anything: what is known of the key goes on for a while, and nothing is filed.
fn no_news(state: &State, check: &Check, wait: Duration) -> Outcome {
    if let Some(verdict) = state.cache.positive(&check.key) {
        let now = state.clock.now();
        verdict.refresh_failed(now.monotonic.saturating_add(wait));
    }
    Outcome::Unknown(wait)
}

/// The key is somebody's: is it ours, and what does its app say?
async fn ours(
    state: &Arc<State>,
    check: &Check,
    response: CheckResponse,
    open: &OpenCheck<'_>,
    outcome: impl FnOnce(Arc<Verdict>) -> Outcome,
) -> Outcome {
    let Some(identity) = response.identity else {
        return Outcome::Unknown(RETRY_AFTER);
    };
    // One call may have to wait for another that is under way, and that one's task may be in a
    // runtime which nobody drives any more.
    let patience = state.deadline.saturating_mul(2);
    let ours = tokio::time::timeout(patience, state.tenancy.ours(&state.management));
    let deployment = match ours.await.unwrap_or(Ours::Unknown) {
        Ours::Deployment(deployment) => Some(deployment),
        Ours::NoApps => None,
        Ours::Unknown => return Outcome::Unknown(RETRY_AFTER),
    };
    if deployment != Some(identity.deployment_id) {
        let ttl = match deployment {
            Some(_) => STRANGER_TTL,
            None => state.cache.policy.negative_ttl,
        };
        state.cache.refuse(open, state.clock.now(), ttl);
        return Outcome::Invalid;
    }
    let app = state.apps.of(identity.deployment_id, &identity.app_slug);
    // In vain or not: what is known of the policy decides.
    let _ = tokio::time::timeout(patience, state.refresh_policy(&app)).await;
    let end = match check.key.kind {
        PrincipalKind::ApiKey => End::Unknown,
        PrincipalKind::OauthAccessToken => {
            token_expiry(&response.metadata).map_or(End::Now, End::At)
        }
    };
    let verdict = Arc::new(Verdict::new(
        check.key.digest,
        Identity {
            kind: check.key.kind,
            key_id: identity.key_id,
            key_name: identity.key_name.into(),
            app_slug: Arc::clone(app.slug()),
            deployment_id: identity.deployment_id,
            owner_user_id: identity.owner_user_id,
            organization_id: identity.organization_id,
            workspace_id: identity.workspace_id,
            organization_membership_id: identity.organization_membership_id,
            workspace_membership_id: identity.workspace_membership_id,
            permissions: app
                .permission_sets
                .share(response.permissions.into_iter().collect()),
            metadata: response.metadata,
        },
        app,
        end,
        open.sent(),
        &state.cache.revocations,
    ));
    state.cache.insert(open, &verdict, state.clock.now());
    outcome(verdict)
}

fn token_expiry(metadata: &serde_json::Value) -> Option<Duration> {
    let end = DateTime::parse_from_rfc3339(metadata.get("expires_at")?.as_str()?).ok()?;
    // A time before 1970 is as over as 1970 itself.
    let millis = u64::try_from(end.timestamp_millis()).unwrap_or(0);
    Some(Duration::from_millis(millis))
}

/// A check of its own for one request: neither joined nor answered from memory. What it brings is
/// filed all the same.
pub(crate) async fn ask(state: Arc<State>, check: Check) -> Arrived {
    let came = state.cache.revocations.latest();
    let outcome = match Handle::try_current() {
        Ok(runtime) => {
            // A panic ends the task alone. With the caller it ends, too.
            let mut task = JoinSet::new();
            let span = request_span("the gateway is asked about this very request");
            let verified = async move { verify(&state, &check).await };
            task.spawn_on(verified.instrument(span), &runtime);
            let outcome = task.join_next().await.and_then(Result::ok);
            outcome.unwrap_or(Outcome::Unknown(RETRY_AFTER))
        }
        Err(_) => Outcome::Misconfigured(NO_RUNTIME),
    };
    Arrived {
        outcome,
        is_own: true,
        came,
    }
}

const NO_RUNTIME: &str = "the gate was called outside a tokio runtime";

/// The verifications in flight: one per key, each in a task of its own, so that a caller who
/// hangs up spoils it for nobody.
pub(crate) struct Flights {
    aloft: Mutex<HashMap<VerdictKey, Flight>>,
    seen_good: Semaphore,
    never_seen: Semaphore,
}

struct Flight {
    // The last event before it was started: whoever asks after a fence must not be answered from
    // before it.
    after: EventNumber,
    landing: watch::Receiver<Option<Outcome>>,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            aloft: Mutex::default(),
            seen_good: Semaphore::new(IN_FLIGHT),
            never_seen: Semaphore::new(IN_FLIGHT),
        }
    }
}

impl Flights {
    fn aloft(&self) -> MutexGuard<'_, HashMap<VerdictKey, Flight>> {
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.aloft().len()
    }
}

/// Joins the flight for this key, or starts it.
///
/// The returned future may be dropped at any time; the flight goes on.
pub(crate) fn join(
    state: &Arc<State>,
    check: Check,
) -> impl Future<Output = Arrived> + Send + 'static {
    let came = state.cache.revocations.latest();
    let boarded = take_off(state, check, None);
    async move {
        let (mut landing, is_own) = match boarded {
            Ok(boarded) => boarded,
            Err(outcome) => {
                return Arrived {
                    outcome,
                    is_own: false,
                    came,
                };
            }
        };
        let outcome = match landing.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            // The task is gone without an answer: it panicked, or its runtime shut down.
            Err(_) => None,
        };
        Arrived {
            outcome: outcome.unwrap_or(Outcome::Unknown(RETRY_AFTER)),
            is_own,
            came,
        }
    }
}

/// Sends a refresh in the background. Without a runtime, or with too much in flight, the verdict
/// just stays as old as it is.
pub(crate) fn refresh(state: &Arc<State>, verdict: &Arc<Verdict>, check: Check) {
    state.metrics.refresh();
    if take_off(state, check, Some(verdict)).is_err() {
        let now = state.clock.now();
        verdict.refresh_failed(now.monotonic.saturating_add(RETRY_AFTER));
        verdict.refresh_over();
    }
}

/// The flight's landing, and whether it was started for this check. `stale` is the verdict that it
/// is to replace, if that is what it is for.
fn take_off(
    state: &Arc<State>,
    check: Check,
    stale: Option<&Arc<Verdict>>,
) -> Result<(watch::Receiver<Option<Outcome>>, bool), Outcome> {
    let runtime = Handle::try_current().map_err(|_| Outcome::Misconfigured(NO_RUNTIME))?;
    let key = check.key;
    let revocations = &state.cache.revocations;
    let now = state.clock.now();
    let mut aloft = state.flights.aloft();
    let is_current = |flight: &&Flight| !revocations.is_fenced(&key.digest, flight.after, now);
    if let Some(flight) = aloft.get(&key).filter(is_current) {
        if let Some(stale) = stale {
            stale.refresh_over();
        }
        return Ok((flight.landing.clone(), false));
    }
    // Known keys are no more than the cache holds, and never turned away for unknown ones.
    if !check.seen_good && aloft.len() >= FLIGHTS {
        return Err(Outcome::Unknown(RETRY_AFTER));
    }
    // Later than any fence that the flight before it has met.
    let after = revocations.latest();
    let (tower, landing) = watch::channel(None);
    aloft.insert(
        key,
        Flight {
            after,
            landing: landing.clone(),
        },
    );
    // A runtime that is shutting down drops the task at once, and its end takes the lock.
    drop(aloft);
    let cleared = Cleared {
        state: Arc::clone(state),
        key,
        after,
        stale: stale.cloned(),
    };
    let span = match stale {
        None => request_span("the gateway is asked about a key"),
        Some(_) => refresh_span(),
    };
    let flight = async move {
        let outcome = verify(&cleared.state, &check).await;
        // The key itself goes first, then the entry, then the waiting are told: whoever comes
        // after that finds the cache filled.
        drop(check);
        drop(cleared);
        tower.send_replace(Some(outcome));
    };
    runtime.spawn(flight.instrument(span));
    Ok((landing, true))
}

/// What a trace shows of a verification that a request waits for: a part of that request.
fn request_span(why: &'static str) -> Span {
    let span = tracing::debug_span!(
        target: GATE,
        "wacht_auth.verify",
        wacht_auth.verification.refresh = false,
        wacht_auth.verification.result = Empty,
    );
    span.in_scope(|| tracing::debug!(target: GATE, "{why}"));
    span
}

/// The same for one that nobody waits for: a trace of its own.
fn refresh_span() -> Span {
    let span = tracing::debug_span!(
        target: GATE,
        parent: None,
        "wacht_auth.verify",
        wacht_auth.verification.refresh = true,
        wacht_auth.verification.result = Empty,
    );
    span.in_scope(|| tracing::debug!(target: GATE, "the gateway is asked again about a known key"));
    span
}

/// The field of these spans that is known only at their end.
const RESULT: &str = "wacht_auth.verification.result";

/// Takes the flight off the board when its task ends, however it ends.
struct Cleared {
    state: Arc<State>,
    key: VerdictKey,
    after: EventNumber,
    stale: Option<Arc<Verdict>>,
}

impl Drop for Cleared {
    fn drop(&mut self) {
        let mut aloft = self.state.flights.aloft();
        if aloft
            .get(&self.key)
            .is_some_and(|flight| flight.after == self.after)
        {
            aloft.remove(&self.key);
        }
        if let Some(stale) = &self.stale {
            stale.refresh_over();
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights")
            .field("aloft", &self.len())
            .finish()
    }
}
