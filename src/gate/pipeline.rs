//! The straight path of one request: see the [module's](super) numbered steps.
//!
//! Nothing here waits and nothing here knows of tower. Where the path cannot go on without an
//! answer from elsewhere, it hands out what to wait for and is resumed with what came.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::VARY;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::clock::Now;
use crate::gate::directory::{Policy, Reserved, Rules, Standing};
use crate::gate::limit::{Authority, Caller, Denied, KeySubject, Payer, RateLimitFields};
use crate::gate::options::Options;
use crate::gate::permission::requirement::Requirement;
use crate::gate::principal::{Anonymous, Principal, PrincipalKind};
use crate::gate::refusal::{Rejection, RejectionKind};
use crate::gate::request::credential::Credential;
use crate::gate::request::view::Asker;
use crate::gate::state::State;
use crate::gate::stats::{Effect, LimitedBy, VerdictSource};
use crate::gate::verdict::cache::{Known, NegativeKind};
use crate::gate::verdict::revocations::{Contradiction, EventNumber};
use crate::gate::verdict::{Age, Verdict, VerdictKey};
use crate::gate::verify::{self, Arrived, Check, Outcome};
use crate::log::{GATE, Notice};
use crate::stripes::Stripes;

/// A set of options over shared state.
///
/// Every clone of a layer and every service it builds holds one; those with equal options and
/// state hold the same.
pub(crate) struct Gate {
    pub(crate) options: Options,
    pub(crate) state: Arc<State>,
    /// Looked up once: none of what can be wrong changes.
    is_usable: bool,
    /// The same for threads at the same time: each admitted request holds on to one.
    copies: OnceLock<Stripes<Arc<Self>>>,
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// To the inner service; its answer gets the stamp.
    Pass(Stamp),
    Refuse(Rejection),
    /// Nothing is decided before this future says what came.
    Wait(Pending),
}

/// What a request waits for. Boxed, because it is one only when the network is asked.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Arrived> + Send>>;

/// What the gate adds to the answer of the inner service.
#[derive(Default)]
pub(crate) struct Stamp {
    rate_limit: RateLimitFields,
    vary: Option<HeaderValue>,
}

/// How far a caller got.
pub(crate) enum Progress {
    Admitted(Arc<Verdict>, RateLimitFields),
    Refused(Rejection),
    Wait(Pending),
}

/// Step 5 in one word.
enum Charge {
    Paid(RateLimitFields),
    Refused(Rejection),
    /// Only the gateway can count this one.
    Ask,
}

/// The gateway's word on the limits of this very request, for when the gateway is the one who
/// counts: asking again would charge the caller twice.
enum Word {
    Admit,
    Limit(Duration),
    Unknown(Duration),
}

const WIRE_UP_THE_ADDRESS: &str = "axum: serve \
    `into_make_service_with_connect_info::<SocketAddr>()`; hyper: insert `PeerAddr` into the \
    request's extensions; behind a proxy: `ClientIp::trusted_proxies`";

impl Gate {
    pub(crate) fn new(options: Options, state: Arc<State>) -> Self {
        Self {
            is_usable: problem(&options, &state).is_none(),
            options,
            state,
            copies: OnceLock::new(),
        }
    }

    /// The copy for this thread's requests.
    pub(crate) fn mine(&self) -> &Arc<Self> {
        self.copies
            .get_or_init(|| Stripes::new(|| Arc::new(self.clone())))
            .mine()
    }

    /// Steps 0 to 6 of a request, as far as they go without waiting.
    pub(crate) fn decide(self: &Arc<Self>, parts: &mut Parts, now: Now) -> Decision {
        // 0 clean
        self.options.credentials.clean(&mut parts.headers);
        if self.options.skip.as_ref().is_some_and(|skip| skip(parts)) {
            return self.pass_anonymous(parts);
        }
        if let Some(outer) = parts.extensions.get::<Principal>() {
            if Arc::ptr_eq(&outer.gate().state, &self.state) && self.still_holds(outer, now) {
                let verdict = Arc::clone(outer.verdict());
                // Verified and charged by a gate further out; this one's own conditions remain.
                let policy = verdict.app.policy();
                let asker = &Asker::Request(parts);
                return match self.admissible(&verdict, policy.as_deref(), asker, now) {
                    Ok(()) => {
                        let free = RateLimitFields::default();
                        self.conclude(Progress::Admitted(verdict, free), parts)
                    }
                    Err(rejection) => Decision::Refuse(self.refusal(rejection)),
                };
            }
            parts.extensions.remove::<Principal>();
        }
        parts.extensions.remove::<Anonymous>();
        self.say_once_what_is_missing(parts);
        // 1 credential
        let key = match self.credential(&parts.headers) {
            Ok(Some(credential)) => self.key_of(credential),
            Ok(None) if self.options.optional && !self.requires_permissions(parts) => {
                return self.pass_anonymous(parts);
            }
            Ok(None) => return Decision::Refuse(self.refusal(Rejection::missing_credential())),
            Err(rejection) => return Decision::Refuse(self.refusal(rejection)),
        };
        let progress = self.start(key, &mut Asker::Request(parts), now);
        self.conclude(progress, parts)
    }

    /// Steps 3 to 6, with what the request has waited for.
    pub(crate) fn resume(
        self: &Arc<Self>,
        arrived: Arrived,
        parts: &mut Parts,
        now: Now,
    ) -> Decision {
        let progress = match self.credential(&parts.headers) {
            Ok(Some(credential)) => {
                let key = self.key_of(credential);
                self.go_on(arrived, key, &mut Asker::Request(parts), now)
            }
            // The headers are as they were when the key was read from them.
            _ => Progress::Refused(Rejection::missing_credential()),
        };
        self.conclude(progress, parts)
    }

    /// Step 6, or the refusal.
    fn conclude(self: &Arc<Self>, progress: Progress, parts: &mut Parts) -> Decision {
        match progress {
            Progress::Admitted(verdict, rate_limit) => {
                let principal = Principal::new(verdict, Arc::clone(self));
                parts.extensions.insert(principal);
                self.pass(rate_limit, parts)
            }
            Progress::Refused(rejection) => Decision::Refuse(rejection.of(self)),
            Progress::Wait(pending) => Decision::Wait(pending),
        }
    }

    /// Whether nothing speaks against a caller that a gate further out has let in.
    fn still_holds(&self, outer: &Principal, now: Now) -> bool {
        let revocations = &self.state.cache.revocations;
        let contradiction = outer
            .verdict()
            .contradiction(revocations, EventNumber::LAST, now);
        contradiction.is_none()
    }

    /// A refusal that the request alone decides.
    pub(crate) fn refusal(self: &Arc<Self>, rejection: Rejection) -> Rejection {
        let metrics = &self.state.metrics;
        metrics.refused(&rejection, VerdictSource::Request);
        rejection.of(self)
    }

    pub(crate) fn refused(&self, rejection: Rejection, source: VerdictSource) -> Progress {
        self.state.metrics.refused(&rejection, source);
        Progress::Refused(rejection)
    }

    /// Counts the verdict, if there is one yet.
    fn count(&self, progress: &Progress, source: VerdictSource) {
        let metrics = &self.state.metrics;
        match progress {
            Progress::Admitted(..) => metrics.admitted(source),
            Progress::Refused(rejection) => metrics.refused(rejection, source),
            Progress::Wait(_) => {}
        }
    }

    fn pass_anonymous(self: &Arc<Self>, parts: &mut Parts) -> Decision {
        parts.extensions.remove::<Principal>();
        parts.extensions.insert(Anonymous(Arc::clone(self)));
        self.pass(RateLimitFields::default(), parts)
    }

    fn pass(&self, rate_limit: RateLimitFields, parts: &mut Parts) -> Decision {
        if self.options.strip_credential {
            self.options.credentials.strip(&mut parts.headers);
        }
        Decision::Pass(Stamp {
            rate_limit,
            vary: self.options.vary.clone(),
        })
    }

    /// Whether nobody may pass here whose permissions are not known.
    fn requires_permissions(&self, parts: &Parts) -> bool {
        let options = &self.options;
        let of_request = options.requirement_of.as_ref();
        !options.requirements.is_empty() || of_request.is_some_and(|of| of(parts).is_some())
    }

    /// Whether this gate can judge anything at all.
    pub(crate) fn usable(&self) -> Result<(), Rejection> {
        if self.is_usable {
            return Ok(());
        }
        if let Some((notice, what, problem)) = problem(&self.options, &self.state) {
            notice.error_once(what, problem);
        }
        Err(Rejection::misconfigured())
    }

    /// Step 1: the key, if there is one and it could be one of Wacht's.
    fn credential<'h>(&self, headers: &'h HeaderMap) -> Result<Option<Credential<'h>>, Rejection> {
        self.usable()?;
        match self.options.credentials.extract(headers) {
            Ok(Some(credential)) if credential.is_well_formed() => Ok(Some(credential)),
            Ok(Some(_)) => Err(Rejection::invalid_key()),
            Ok(None) => Ok(None),
            Err(_) => Err(Rejection::malformed_credential()),
        }
    }

    pub(crate) fn key_of(&self, credential: Credential<'_>) -> VerdictKey {
        let is_token = self.options.accept_oauth_tokens && credential.is_oauth_access_token();
        VerdictKey {
            digest: credential.digest(),
            kind: match is_token {
                true => PrincipalKind::OauthAccessToken,
                false => PrincipalKind::ApiKey,
            },
        }
    }

    /// Steps 2 to 5 for a well-formed key.
    pub(crate) fn start(&self, key: VerdictKey, asker: &mut Asker<'_>, now: Now) -> Progress {
        let state = &self.state;
        // 2 cache
        let known = state.cache.look_up(&key, now);
        if matches!(known, Known::Refused) {
            return self.refused(Rejection::invalid_key(), VerdictSource::Negative);
        }
        let asks_always = state.limits.authority == Authority::Gateway;
        if let (Known::Good(verdict), false) = (known, asks_always) {
            let age = verdict.age(&state.cache.policy, now);
            // A check of this request's own brings the same, and two would be charged twice.
            if age == Age::Stale
                && !self.is_counted_by_gateway(&verdict)
                && verdict.claim_refresh(now)
            {
                self.refresh(key, &verdict, asker);
            }
            if let Some(source) = self.source(&verdict, age, now) {
                let progress = self.judge(verdict, None, key, asker, now);
                self.count(&progress, source);
                return progress;
            }
        }
        match state.cache.negative(&key, now) {
            Some((NegativeKind::Invalid, _)) => {
                self.refused(Rejection::invalid_key(), VerdictSource::Negative)
            }
            Some((NegativeKind::Indeterminate, wait)) => {
                self.refused(Rejection::unavailable(wait), VerdictSource::Negative)
            }
            None => match self.look_up_allowed(&key, asker, now) {
                Err(wait) => {
                    let rejection = Rejection::rate_limited_plainly(wait);
                    self.refused(rejection, VerdictSource::Request)
                }
                Ok(()) if asks_always => self.wait_for_own_check(key, asker),
                Ok(()) => self.wait_for_verification(key, asker),
            },
        }
    }

    /// What a verdict of this age is as a source; `None` if it may not be used.
    fn source(&self, verdict: &Verdict, age: Age, now: Now) -> Option<VerdictSource> {
        match age {
            Age::Fresh => Some(VerdictSource::Fresh),
            Age::Stale => {
                let in_grace = verdict.is_past_revalidation(&self.state.cache.policy, now);
                Some(match in_grace {
                    true => VerdictSource::StaleOnError,
                    false => VerdictSource::Stale,
                })
            }
            Age::StaleIfError | Age::Over => None,
        }
    }

    /// Steps 3 to 5, with what came.
    pub(crate) fn go_on(
        &self,
        arrived: Arrived,
        key: VerdictKey,
        asker: &mut Asker<'_>,
        now: Now,
    ) -> Progress {
        let state = &self.state;
        let mut source = VerdictSource::Verified;
        // Revoked or forgotten while it was asked about: the answer may be from before.
        if let Outcome::Valid(verdict) | Outcome::Limited(verdict, _) | Outcome::Denied(verdict) =
            &arrived.outcome
        {
            match verdict.contradiction(&state.cache.revocations, arrived.came, now) {
                None => {}
                Some(Contradiction::Revoked | Contradiction::Withdrawn) => {
                    return self.refused(Rejection::invalid_key(), source);
                }
                // The check was sent before the request came: once more, then.
                Some(Contradiction::Forgotten) => return self.wait_for_verification(key, asker),
            }
        }
        let Arrived {
            outcome, is_own, ..
        } = arrived;
        let (verdict, word) = match outcome {
            Outcome::Valid(verdict) => (verdict, Word::Admit),
            Outcome::Limited(verdict, wait) => (verdict, Word::Limit(wait)),
            Outcome::Unknown(wait) => {
                // The gateway could not say. What it said before may still hold.
                match state.cache.look_up(&key, now) {
                    Known::Good(yes) if yes.age(&state.cache.policy, now) != Age::Over => {
                        source = VerdictSource::StaleOnError;
                        (yes, Word::Unknown(wait))
                    }
                    Known::Refused => return self.refused(Rejection::invalid_key(), source),
                    _ => return self.refused(Rejection::unavailable(wait), source),
                }
            }
            Outcome::Denied(verdict) => {
                let policy = verdict.app.policy();
                let refused = self
                    .admissible(&verdict, policy.as_deref(), asker, now)
                    .err();
                let refused = refused.unwrap_or_else(Rejection::permission_denied_by_gateway);
                return self.refused(refused, source);
            }
            Outcome::Invalid => return self.refused(Rejection::invalid_key(), source),
            Outcome::Misconfigured(problem) => {
                let notice = &state.notices.runtime;
                notice.error_once("no key can be verified", problem);
                return self.refused(Rejection::misconfigured(), source);
            }
        };
        // Of a joined check the gateway's word on the key holds; that on the limits was another's.
        let word = is_own.then_some(word);
        let progress = self.judge(verdict, word, key, asker, now);
        match &progress {
            // Known or not, it was refused for want of an answer.
            Progress::Refused(rejection) if rejection.kind() == RejectionKind::Unavailable => {
                self.count(&progress, VerdictSource::Verified);
            }
            progress => self.count(progress, source),
        }
        progress
    }

    /// Steps 4 and 5 for a key that is known to be good.
    fn judge(
        &self,
        verdict: Arc<Verdict>,
        word: Option<Word>,
        key: VerdictKey,
        asker: &mut Asker<'_>,
        now: Now,
    ) -> Progress {
        let policy = verdict.app.policy();
        if let Err(rejection) = self.admissible(&verdict, policy.as_deref(), asker, now) {
            return Progress::Refused(rejection);
        }
        match self.charge(&verdict, policy.as_deref(), key, asker, now) {
            Charge::Paid(rate_limit) => Progress::Admitted(verdict, rate_limit),
            Charge::Refused(rejection) => Progress::Refused(rejection),
            Charge::Ask => match word {
                None => self.wait_for_own_check(key, asker),
                Some(Word::Admit) => Progress::Admitted(verdict, RateLimitFields::default()),
                Some(Word::Limit(wait)) => {
                    let metrics = &self.state.metrics;
                    metrics.limit_refusal(LimitedBy::Gateway, Effect::Refused);
                    Progress::Refused(Rejection::rate_limited_plainly(wait))
                }
                Some(Word::Unknown(wait)) => Progress::Refused(Rejection::unavailable(wait)),
            },
        }
    }

    /// Step 4: may this key come in here? Decided before any limit is charged.
    fn admissible(
        &self,
        verdict: &Verdict,
        policy: Option<&Policy>,
        asker: &Asker<'_>,
        now: Now,
    ) -> Result<(), Rejection> {
        let state = &self.state;
        let identity = &verdict.identity;
        if verdict.has_ended(now) || !self.is_open_to(verdict) {
            return Err(Rejection::invalid_key());
        }
        if verdict.app.claim_refresh(policy, now) {
            state.refresh_policy_behind(&verdict.app);
        }
        if let Some(policy) = policy
            && !matches!(policy.standing, Standing::Active(_))
        {
            return Err(Rejection::invalid_key());
        }
        let of_request = asker.requirement(self);
        for requirement in self
            .options
            .requirements
            .iter()
            .chain(of_request.as_deref())
        {
            if !identity.permissions.satisfies(requirement) {
                return Err(Rejection::permission_denied(requirement));
            }
        }
        Ok(())
    }

    /// Whether keys of this kind and app are accepted here.
    fn is_open_to(&self, verdict: &Verdict) -> bool {
        let is_token = verdict.identity.kind == PrincipalKind::OauthAccessToken;
        if is_token && !self.options.accept_oauth_tokens {
            return false;
        }
        let slug = &*verdict.identity.app_slug;
        match &self.options.apps {
            Some(apps) => apps.iter().any(|app| **app == *slug),
            None => match verdict.app.reserved {
                None => true,
                // The app of the tokens that a user has consented to.
                Some(Reserved::OauthIdentity) => is_token,
                Some(Reserved::Management) => false,
            },
        }
    }

    /// Whether only the gateway can count the requests of this key.
    fn is_counted_by_gateway(&self, verdict: &Verdict) -> bool {
        match self.state.limits.authority {
            Authority::Gateway => true,
            Authority::Nobody => false,
            Authority::Local => {
                let policy = verdict.app.policy();
                let standing = policy.as_deref().map(|policy| &policy.standing);
                matches!(standing, None | Some(Standing::Active(Rules::AtGateway)))
            }
        }
    }

    /// Step 5: all rules are looked at, then all are charged.
    fn charge(
        &self,
        verdict: &Verdict,
        policy: Option<&Policy>,
        key: VerdictKey,
        asker: &mut Asker<'_>,
        now: Now,
    ) -> Charge {
        let state = &self.state;
        match state.limits.authority {
            Authority::Local => {}
            Authority::Gateway => return Charge::Ask,
            Authority::Nobody => return Charge::Paid(RateLimitFields::default()),
        }
        let standing = policy.map(|policy| &policy.standing);
        let rules = match (state.limiter.fixed(), standing) {
            (Some(fixed), _) => verdict.app.fixed_rules(fixed, &state.limiter, now),
            (None, Some(Standing::Active(Rules::Local(rules)))) => rules,
            // The gateway would refuse.
            (None, _) if state.limits.shadow => return Charge::Paid(RateLimitFields::default()),
            (None, _) => return Charge::Ask,
        };
        let address = match rules.needs_address_for(|| asker.resource(self)) {
            true => asker
                .address(self)
                .map(|address| state.client_ip.subject(address)),
            false => None,
        };
        let caller = Caller {
            resource: &asker.resource(self),
            key: match key.kind {
                PrincipalKind::ApiKey => KeySubject::ApiKey(verdict.identity.key_id),
                PrincipalKind::OauthAccessToken => KeySubject::Token(key.digest),
            },
            address: &|| address,
        };
        let headers = self.options.rate_limit_headers;
        match state.limiter.admit(rules, &caller, now) {
            Ok(charged) => Charge::Paid(charged.standings.fields(rules, headers)),
            Err(Denied::Limited(refused)) if state.limits.shadow => {
                state
                    .metrics
                    .limit_refusal(refused.mode.into(), Effect::Shadow);
                tracing::debug!(
                    target: GATE,
                    app = &*verdict.identity.app_slug,
                    key_id = verdict.identity.key_id,
                    resource = caller.resource,
                    violated = ?refused.violated,
                    "would have been refused for a rate limit"
                );
                Charge::Paid(refused.standings.fields(rules, headers))
            }
            Err(Denied::Limited(refused)) => {
                state
                    .metrics
                    .limit_refusal(refused.mode.into(), Effect::Refused);
                let fields = refused.standings.fields(rules, headers);
                Charge::Refused(Rejection::rate_limited(*refused, fields))
            }
            Err(Denied::MissingAddress) => {
                state.notices.address.error_once(
                    "a rate limit counts by address, and the request has none",
                    WIRE_UP_THE_ADDRESS,
                );
                if state.limits.shadow {
                    return Charge::Paid(RateLimitFields::default());
                }
                Charge::Refused(Rejection::misconfigured())
            }
        }
    }

    /// Whether whoever asks may have a key looked up that may be bad.
    fn look_up_allowed(
        &self,
        key: &VerdictKey,
        asker: &mut Asker<'_>,
        now: Now,
    ) -> Result<(), Duration> {
        let state = &self.state;
        if !state.failed_lookups.is_on() || state.cache.positive(key).is_some() {
            return Ok(());
        }
        let Some(address) = asker.address(self) else {
            return Ok(());
        };
        let address = Payer::new(address, &state.client_ip);
        let allowed = state.failed_lookups.look(address, now);
        if allowed.is_err() {
            state
                .metrics
                .limit_refusal(LimitedBy::UnknownKeys, Effect::Refused);
        }
        allowed
    }

    /// Step 3: the joined verification of this key.
    fn wait_for_verification(&self, key: VerdictKey, asker: &mut Asker<'_>) -> Progress {
        let Some(mut check) = self.check(key, asker) else {
            return Progress::Refused(Rejection::missing_credential());
        };
        // An error that a caller chose would buy time for what is known of the key.
        let known = self.state.cache.positive(&key);
        if known.is_some_and(|verdict| !self.is_counted_by_gateway(&verdict)) {
            check = Check::refresh(key, check.secret);
        }
        Progress::Wait(Box::pin(verify::join(&self.state, check)))
    }

    /// A check for this request alone, its limits and plain permissions included.
    fn wait_for_own_check(&self, key: VerdictKey, asker: &mut Asker<'_>) -> Progress {
        let Some(mut check) = self.check(key, asker) else {
            return Progress::Refused(Rejection::missing_credential());
        };
        if self.state.limits.authority == Authority::Gateway {
            let of_request = asker.requirement(self);
            check.required_permissions = self
                .options
                .requirements
                .iter()
                .chain(of_request.as_deref())
                .filter_map(Requirement::plain_all)
                .flatten()
                .map(str::to_owned)
                .collect();
        }
        Progress::Wait(Box::pin(verify::ask(Arc::clone(&self.state), check)))
    }

    fn refresh(&self, key: VerdictKey, verdict: &Arc<Verdict>, asker: &Asker<'_>) {
        match asker.secret(self) {
            Some(secret) => verify::refresh(&self.state, verdict, Check::refresh(key, secret)),
            None => verdict.refresh_over(),
        }
    }

    fn check(&self, key: VerdictKey, asker: &mut Asker<'_>) -> Option<Check> {
        let seen_good = self.state.cache.positive(&key).is_some();
        let secret = asker.secret(self)?;
        let context = asker.context(self);
        let address = context.address().filter(|_| !seen_good);
        Some(Check {
            key,
            secret,
            charged_to: address.map(|address| Payer::new(address, &self.state.client_ip)),
            context,
            required_permissions: Vec::new(),
            seen_good,
        })
    }

    fn say_once_what_is_missing(&self, parts: &mut Parts) {
        let notices = &self.state.notices;
        if self.options.apps.is_none() && notices.any_app.is_first() {
            tracing::warn!(
                target: GATE,
                "keys of every app of this deployment are accepted: name yours with `.app(..)`"
            );
        }
        if notices.no_peer.is_first() && Asker::Request(parts).address(self).is_none() {
            tracing::warn!(
                target: GATE,
                hint = WIRE_UP_THE_ADDRESS,
                "the first request has no client address: limits per address cannot be applied"
            );
        }
    }
}

/// Why no request can be judged at all, and what tells so once.
fn problem<'a>(
    options: &'a Options,
    state: &'a State,
) -> Option<(&'a Notice, &'static str, &'a str)> {
    let notices = &state.notices;
    if let Some(problem) = state.client.config_error() {
        return Some((&notices.client, "the Wacht client cannot be used", problem));
    }
    if let Some(problem) = options.credentials.problem() {
        return Some((&notices.credentials, "no request can show a key", problem));
    }
    let problem = state.limiter.problem()?;
    Some((
        &notices.limits,
        "the rate limits cannot be applied",
        problem,
    ))
}

impl Stamp {
    /// Once: what was added is gone from here.
    pub(crate) fn apply(&mut self, headers: &mut HeaderMap) {
        self.rate_limit.write(headers);
        if let Some(vary) = self.vary.take() {
            // Full of headers already: then without.
            let _ = headers.try_append(VARY, vary);
        }
    }
}

impl Clone for Gate {
    /// Without copies of its own: it is one.
    fn clone(&self) -> Self {
        Self::new(self.options.clone(), Arc::clone(&self.state))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        f.debug_struct("Gate")
            .field("apps", &options.apps)
            .field("credentials", &options.credentials)
            .field("accept_oauth_tokens", &options.accept_oauth_tokens)
            .field("optional", &options.optional)
            .field("requirements", &options.requirements)
            .field("cache", &self.state.cache)
            .field("limits", &self.state.limits)
            .field("client_ip", &self.state.client_ip)
            .field("clock", &self.state.clock)
            .finish_non_exhaustive()
    }
}
