//! The straight path of one request: see the [module's](super) numbered steps.
//!
//! In comes a [`RequestView`], out goes a [`Decision`]. Nothing here waits and nothing here knows of
//! tower: where the path cannot go on without an answer from elsewhere, it hands out what to wait for
//! and is resumed with what came. The same code runs after a hit and after a verification.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CACHE_CONTROL, VARY};
use http::request::Parts;
use http::{Extensions, HeaderValue, Response};

use crate::clock::Now;
use crate::gate::directory::KnownApp;
use crate::gate::limit::{
    Asking, Caller, Charge, ChargeOutcome, CountedBy, Held, KeySubject, LookupSource,
    RateLimitFields, RuleSet,
};
use crate::gate::options::{CacheFields, GateOptions};
use crate::gate::permission::requirement::Requirement;
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::{InvalidKeyReason, Rejection, RejectionKind};
use crate::gate::request::credential::Credential;
use crate::gate::request::view::{Detached, RequestView, Resolved};
use crate::gate::state::State;
use crate::gate::stats::{Effect, LimitedBy, VerdictSource};
use crate::gate::verdict::cache::{Known, NegativeKind};
use crate::gate::verdict::revocations::{Contradiction, EventNumber};
use crate::gate::verdict::{Age, PrincipalKind, RefreshClaim, Verdict, VerdictKey};
use crate::gate::verify::check::Check;
use crate::gate::verify::{RETRY_AFTER, Verification, Verifier};
use crate::log::{GATE, Notice};

/// A set of options over shared state.
///
/// Every clone of a layer and every service it builds holds one; those with equal options and
/// state hold the same.
pub(crate) struct Gate {
    pub(crate) options: GateOptions,
    pub(crate) state: Arc<State>,
    /// Looked up once: none of what can be wrong changes.
    is_usable: bool,
    /// The number of the first app whose keys were accepted, 0 before: most gates have but one, and hits
    /// need not compare its slug.
    accepted: AtomicU64,
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// To the inner service, whose answer gets these fields.
    Pass(ResponseFields),
    Refuse(Rejection),
    /// Nothing is decided before the verification has come that this waits for, or the units of a
    /// limit. Boxed, because it is large, and one only when the network is asked.
    Wait(Box<Wait>),
}

/// What a request waits for, and what was found out about it before.
pub(crate) struct Wait {
    pub(crate) pending: Pending,
    pub(crate) key: VerdictKey,
    /// The last event before the request came here.
    pub(crate) asked: EventNumber,
    pub(crate) resolved: Resolved,
}

pub(crate) type Pending = Pin<Box<dyn Future<Output = Waited> + Send>>;

/// What came.
pub(crate) enum Waited {
    /// A verification, and whether the check that brought it was this very request's.
    Verified(Verification, bool),
    /// What a store has granted, for a key that is known to be good, and from where it is known.
    Units(Arc<Verdict>, VerdictSource, Held),
}

/// Why a request is not charged.
enum Uncharged {
    Refused(Rejection),
    /// A store is asked first.
    Waits(Box<Asking>),
}

/// What the gate adds to the answer of the inner service.
#[derive(Default)]
pub(crate) struct ResponseFields {
    rate_limit: RateLimitFields,
    cache: Option<Arc<CacheFields>>,
    /// Where the options say so: for the extensions of the answer, and for what ends its body.
    caller: Option<Principal>,
    tell_outside: bool,
    end_streams: bool,
}

const WIRE_UP_THE_ADDRESS: &str = "axum: serve \
    `into_make_service_with_connect_info::<SocketAddr>()`; hyper: insert `PeerAddr` into the \
    request's extensions; behind a proxy: `ClientIp::trusted_proxies`";

const NAME_THE_PROXIES: &str = "name the networks of your proxies and no more, such as \
    `.client_ip(ClientIp::trusted_proxies([\"10.0.0.0/8\"])?)`, with `.forwarded()` if they write \
    `Forwarded`; without a proxy, a caller has made the header up and nothing is to be done";

/// A key that is known to be good.
struct KnownKey<'a> {
    verdict: Arc<Verdict>,
    source: VerdictSource,
    /// What a check for this very request has brought.
    own: Option<&'a Verification>,
    /// What a store has granted for it.
    held: Option<Held>,
}

impl KnownKey<'_> {
    fn new(verdict: Arc<Verdict>, source: VerdictSource) -> Self {
        Self {
            verdict,
            source,
            own: None,
            held: None,
        }
    }
}

impl Gate {
    pub(crate) fn new(options: GateOptions, state: Arc<State>) -> Self {
        Self {
            is_usable: problem(&options, &state).is_none(),
            accepted: AtomicU64::new(0),
            options,
            state,
        }
    }

    pub(crate) fn view<'a>(&'a self, parts: &'a mut Parts, resolved: Resolved) -> RequestView<'a> {
        RequestView::http(
            parts,
            &self.options.request,
            &self.state.client_ip,
            resolved,
        )
    }

    pub(crate) fn view_of_key<'a>(
        &'a self,
        key: Detached<'a>,
        extensions: &'a mut Extensions,
    ) -> RequestView<'a> {
        let options = &self.options.request;
        RequestView::detached(key, extensions, options, &self.state.client_ip)
    }

    /// Steps 0 to 6 of a request, as far as they go without waiting.
    pub(crate) fn decide(&self, view: &mut RequestView<'_>, now: Now) -> Decision {
        // 0 clean
        view.clean();
        let outer = self.outer_caller(view);
        if view.is_skipped() {
            if outer.is_some_and(|outer| self.contradiction(&outer, now).is_some()) {
                view.extensions().remove::<Principal>();
            }
            return self.pass_anonymous(view);
        }
        if let Some(decision) = outer.and_then(|outer| self.decide_again(outer, view, now)) {
            return decision;
        }
        view.extensions().remove::<Anonymous>();
        self.say_once_what_is_missing(view);
        // 1 credential
        let credential = match self.credential(view) {
            Ok(Some(credential)) => credential,
            Ok(None) => return self.decide_without_credential(view),
            Err(rejection) => return self.refuse_early(rejection),
        };
        let key = self.key_of(credential);
        // 2 cache
        self.state.keep_current(now);
        let known = self.state.verifier.cache.look_up(&key, now);
        let Known::Good(verdict) = known else {
            return self.decide_without_yes(known, key, view, now);
        };
        let age = self.age(&verdict, now);
        if age == Age::Stale
            && let Some(claim) = self.claim_refresh(&verdict, now)
        {
            self.refresh(key, &verdict, claim, view);
        }
        if !age.is_usable() || self.asks_always() {
            let refusal = self.refusal_in_memory(&key, now);
            return refusal.unwrap_or_else(|| self.ask(key, view, now));
        }
        let source = self.source(&verdict, age, now);
        let decision = self.judge(KnownKey::new(verdict, source), view, now);
        self.count(&decision, source);
        decision
    }

    /// Step 3 for a key that is not known to be good.
    fn decide_without_yes(
        &self,
        known: Known,
        key: VerdictKey,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Decision {
        // Of one that is, the form need not be looked at.
        if let Ok(Some(credential)) = view.credential()
            && let Some(rejection) = malformed(credential)
        {
            return self.refuse_early(rejection);
        }
        if let Known::Refused = known {
            let rejection = Rejection::invalid_key(InvalidKeyReason::Revoked);
            return self.refuse(rejection, VerdictSource::Negative);
        }
        let refusal = self.refusal_in_memory(&key, now);
        refusal.unwrap_or_else(|| self.ask(key, view, now))
    }

    /// What speaks against asking the gateway about this key now.
    fn refusal_in_memory(&self, key: &VerdictKey, now: Now) -> Option<Decision> {
        let (kind, wait) = self.state.verifier.cache.negative(key, now)?;
        let rejection = match kind {
            NegativeKind::Invalid(reason) => Rejection::invalid_key(reason),
            NegativeKind::Indeterminate => Rejection::unavailable(wait),
        };
        Some(self.refuse(rejection, VerdictSource::Negative))
    }

    /// Step 3, unless the caller's address has had too many bad keys looked up.
    fn ask(&self, key: VerdictKey, view: &mut RequestView<'_>, now: Now) -> Decision {
        self.say_once_whose_addresses_count(view);
        match self.look_up_allowed(&key, view, now) {
            Err(wait) => self.refuse_early(Rejection::rate_limited_plainly(wait)),
            Ok(()) if self.asks_always() => self.wait_for_own_check(key, view, now),
            Ok(()) => self.wait_for_verification(key, view, now),
        }
    }

    /// Steps 3 to 6, with what the request has waited for.
    pub(crate) fn resume(
        &self,
        waited: Waited,
        key: VerdictKey,
        asked: EventNumber,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Decision {
        let verifier = &self.state.verifier;
        let (verification, is_own, held, mut source) = match waited {
            Waited::Verified(verification, is_own) => {
                (verification, is_own, None, VerdictSource::Verified)
            }
            Waited::Units(verdict, source, held) => {
                (Verification::Valid(verdict), false, Some(held), source)
            }
        };
        // Revoked or invalidated while it was asked about: the answer may be from before.
        if let Verification::Valid(verdict)
        | Verification::Limited(verdict, _)
        | Verification::Denied(verdict) = &verification
        {
            match verdict.contradiction(&verifier.cache.revocations, asked, now) {
                None => {}
                Some(Contradiction::Revoked | Contradiction::Withdrawn) => {
                    let rejection = Rejection::invalid_key(InvalidKeyReason::Revoked);
                    return self.refuse(rejection, source);
                }
                // The check was sent before the request came: once more, then.
                Some(Contradiction::Forgotten) if self.is_out_of_time(view, now) => {
                    return self.refuse(Rejection::unavailable(RETRY_AFTER), source);
                }
                Some(Contradiction::Forgotten) => {
                    return self.wait_for_verification(key, view, now);
                }
            }
        }
        let verdict = match &verification {
            Verification::Valid(verdict) | Verification::Limited(verdict, _) => Arc::clone(verdict),
            Verification::Outage(wait) | Verification::Unknown(wait) => {
                // The gateway could not say. What it said before may still hold, and longer if it
                // was for want of a gateway, in this check or in the last one of any key.
                let is_outage = matches!(verification, Verification::Outage(_))
                    || verifier.breaker.is_failing(now);
                let policy = &verifier.cache.policy;
                match verifier.cache.look_up(&key, now) {
                    Known::Good(yes) if yes.age(policy, is_outage, now).is_usable() => {
                        source = VerdictSource::StaleOnError;
                        yes
                    }
                    Known::Refused => {
                        let rejection = Rejection::invalid_key(InvalidKeyReason::Revoked);
                        return self.refuse(rejection, source);
                    }
                    _ => return self.refuse(Rejection::unavailable(*wait), source),
                }
            }
            Verification::Denied(verdict) => {
                let app = verdict.known_app();
                let refused = self.admissible(verdict, &app, view, now).err();
                let refused = refused.unwrap_or_else(Rejection::permission_denied_by_gateway);
                return self.refuse(refused, source);
            }
            Verification::Invalid(reason) => {
                return self.refuse(Rejection::invalid_key(*reason), source);
            }
            Verification::Misconfigured(problem) => {
                let notice = &self.state.notices.runtime;
                notice.error_once("no key can be verified", problem);
                return self.refuse(Rejection::misconfigured(), source);
            }
        };
        // Of a joined check the gateway's word on the key holds; that on the limits was another's.
        let known = KnownKey {
            verdict,
            source,
            own: is_own.then_some(&verification),
            held,
        };
        let decision = self.judge(known, view, now);
        match &decision {
            // Known or not, it was refused for want of an answer.
            Decision::Refuse(rejection) if rejection.kind() == RejectionKind::Unavailable => {
                self.count(&decision, VerdictSource::Verified);
            }
            decision => self.count(decision, source),
        }
        decision
    }

    /// Steps 4 to 6 for a key that is known to be good.
    fn judge(&self, known: KnownKey<'_>, view: &mut RequestView<'_>, now: Now) -> Decision {
        let verdict = known.verdict;
        let app = verdict.known_app();
        // 4 permissions
        if let Err(rejection) = self.admissible(&verdict, &app, view, now) {
            if app.is_gone() {
                // An app may be made again under the same slug.
                self.state.verifier.cache.forget(&verdict.key());
            }
            return Decision::Refuse(rejection.with_answers(&self.options.answers));
        }
        // 5 limits
        if self.options.charge_later {
            view.extensions().insert(Charge::default());
        }
        let limited = match (self.counted_by(&app), known.own) {
            (CountedBy::Nobody, _) => Ok(RateLimitFields::default()),
            (CountedBy::Scheme(rules), _) => self.charge(rules, &verdict, known.held, view, now),
            (CountedBy::FixedRules(fixed), _) => {
                let fixed = verdict.app.fixed_rules(fixed, &self.state.limiter, now);
                self.charge(fixed, &verdict, known.held, view, now)
            }
            (CountedBy::Gateway, None) if self.is_out_of_time(view, now) => {
                Err(Uncharged::Refused(Rejection::unavailable(RETRY_AFTER)))
            }
            (CountedBy::Gateway, None) => return self.wait_for_own_check(verdict.key(), view, now),
            (CountedBy::Gateway, Some(own)) => {
                self.limited_by_gateway(own).map_err(Uncharged::Refused)
            }
        };
        let rate_limit = match limited {
            Ok(fields) => fields,
            Err(Uncharged::Refused(rejection)) => {
                return Decision::Refuse(rejection.with_answers(&self.options.answers));
            }
            Err(Uncharged::Waits(asking)) => {
                return self.wait_for_units(asking, &verdict, known.source, view);
            }
        };
        // 6 extensions
        let principal = Principal::new(verdict, self.options.answers.clone());
        view.extensions().insert(principal);
        self.pass(rate_limit, view)
    }

    /// Step 5 where the gateway counts: what it has said to the check of this very request.
    fn limited_by_gateway(&self, own: &Verification) -> Result<RateLimitFields, Rejection> {
        match own {
            Verification::Limited(_, wait) => {
                let metrics = &self.state.verifier.metrics;
                metrics.limit_refusal(LimitedBy::Gateway, Effect::Refused);
                Err(Rejection::rate_limited_plainly(*wait))
            }
            Verification::Outage(wait) | Verification::Unknown(wait) => {
                Err(Rejection::unavailable(*wait))
            }
            _ => Ok(RateLimitFields::default()),
        }
    }

    /// Whom a gate further out has let in; one on another state is a stranger, and removed.
    fn outer_caller(&self, view: &mut RequestView<'_>) -> Option<Arc<Verdict>> {
        let extensions = view.extensions();
        let caller = extensions.get::<Principal>()?;
        if caller.is_of(&self.state.verifier.cache.revocations) {
            return Some(Arc::clone(caller.verdict()));
        }
        extensions.remove::<Principal>();
        None
    }

    /// What has come to speak against a caller since a gate further out has let it in.
    fn contradiction(&self, verdict: &Verdict, now: Now) -> Option<Contradiction> {
        let revocations = &self.state.verifier.cache.revocations;
        verdict.contradiction(revocations, EventNumber::LAST, now)
    }

    /// A gate further out has verified and charged this request; this one's own conditions remain.
    /// What it has seen is looked at again: if it has ended since, the request is verified as if
    /// that gate were not there.
    fn decide_again(
        &self,
        verdict: Arc<Verdict>,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Option<Decision> {
        let verifier = &self.state.verifier;
        view.extensions().remove::<Principal>();
        match self.contradiction(&verdict, now) {
            Some(Contradiction::Revoked | Contradiction::Withdrawn) => {
                return Some(self.refuse_early(Rejection::invalid_key(InvalidKeyReason::Revoked)));
            }
            Some(Contradiction::Forgotten) => return None,
            None if verdict.is_over_for_good(&verifier.cache.policy, verifier.deadline, now) => {
                return None;
            }
            None => {}
        }
        let app = verdict.known_app();
        Some(match self.admissible(&verdict, &app, view, now) {
            Ok(()) => {
                let principal = Principal::new(Arc::clone(&verdict), self.options.answers.clone());
                view.extensions().insert(principal);
                self.pass(RateLimitFields::default(), view)
            }
            Err(rejection) => self.refuse_early(rejection),
        })
    }

    /// Step 1: the key, if there is one and it could be one that is known.
    fn credential<'v>(
        &self,
        view: &'v mut RequestView<'_>,
    ) -> Result<Option<Credential<'v>>, Rejection> {
        self.usable()?;
        match view.credential() {
            // Its form is looked at if it is not known.
            Ok(Some(credential)) if credential.is_as_long_as_a_key() => Ok(Some(credential)),
            Ok(Some(credential)) => malformed(credential).map_or(Ok(Some(credential)), Err),
            Ok(None) => Ok(None),
            Err(_) => Err(Rejection::malformed_credential()),
        }
    }

    fn key_of(&self, credential: Credential<'_>) -> VerdictKey {
        let is_token = self.options.accept_oauth_tokens && credential.is_oauth_access_token();
        VerdictKey {
            digest: credential.digest(),
            kind: match is_token {
                true => PrincipalKind::OauthAccessToken,
                false => PrincipalKind::ApiKey,
            },
        }
    }

    /// How far a verdict may be used: further where the gateway is known to fail now.
    fn age(&self, verdict: &Verdict, now: Now) -> Age {
        let Verifier { cache, breaker, .. } = &*self.state.verifier;
        match verdict.age(&cache.policy, false, now) {
            Age::StaleIfError if breaker.is_failing(now) => verdict.age(&cache.policy, true, now),
            age => age,
        }
    }

    /// As what the use of a verdict is counted.
    fn source(&self, verdict: &Verdict, age: Age, now: Now) -> VerdictSource {
        let policy = &self.state.verifier.cache.policy;
        match age {
            Age::Fresh => VerdictSource::Fresh,
            _ if verdict.is_past_revalidation(policy, now) => VerdictSource::StaleOnError,
            _ => VerdictSource::Stale,
        }
    }

    /// Step 4: may this key come in here? Decided before any limit is charged.
    fn admissible(
        &self,
        verdict: &Verdict,
        app: &KnownApp<'_>,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Result<(), Rejection> {
        let verifier = &self.state.verifier;
        let identity = &verdict.identity;
        let refused = |reason| Err(Rejection::invalid_key(reason));
        if verdict.has_ended(now) {
            return refused(InvalidKeyReason::Expired);
        }
        if let Some(reason) = self.is_closed_to(verdict) {
            return refused(reason);
        }
        verifier.directory.keep_current(now);
        if app.is_closed() {
            return refused(InvalidKeyReason::AppInactive);
        }
        let of_request = view.requirements().iter().map(|requirement| &**requirement);
        for requirement in self.options.requirements.iter().chain(of_request) {
            if !identity.permissions.satisfies(requirement) {
                return Err(Rejection::permission_denied(requirement));
            }
        }
        Ok(())
    }

    /// Why keys of this kind or app are not accepted here, if they are not.
    fn is_closed_to(&self, verdict: &Verdict) -> Option<InvalidKeyReason> {
        let is_token = verdict.key().kind == PrincipalKind::OauthAccessToken;
        if is_token && !self.options.accept_oauth_tokens {
            return Some(InvalidKeyReason::Token);
        }
        let (app, relaxed) = (&*verdict.app, Ordering::Relaxed);
        if !is_token && self.accepted.load(relaxed) == app.number {
            return None;
        }
        let slug = app.slug();
        if self.options.apps.accept(slug, app.reserved, is_token) {
            if !is_token {
                // In vain: then it is another app's.
                let _ = self
                    .accepted
                    .compare_exchange(0, app.number, relaxed, relaxed);
            }
            return None;
        }
        if self.state.notices.other_apps.is_first_of_few(slug) {
            tracing::warn!(
                target: GATE,
                app = &**slug,
                accepted = ?self.options.apps,
                "a good key of an app that is not accepted here is refused: is `.app(..)` right?"
            );
        }
        Some(InvalidKeyReason::OtherApp)
    }

    /// Whether every request is a check of its own, whatever is known of its key.
    fn asks_always(&self) -> bool {
        self.state.limits.is_gateway()
    }

    /// Who counts the requests of this key.
    fn counted_by<'a>(&'a self, app: &'a KnownApp<'_>) -> CountedBy<'a> {
        match app.is_closed() {
            // Refused before anything is counted.
            true => CountedBy::Nobody,
            false => self.state.limiter.counted_by(app.rules()),
        }
    }

    /// The right to refresh a verdict behind this request. Where the gateway counts, the check that the
    /// request needs brings a new verdict, too; a refresh beside it would be charged to the caller as
    /// one more request.
    #[cold]
    fn claim_refresh(&self, verdict: &Verdict, now: Now) -> Option<RefreshClaim> {
        let app = verdict.known_app();
        match self.counted_by(&app) {
            CountedBy::Gateway => None,
            _ if self.asks_always() => None,
            _ => verdict.claim_refresh(now, self.state.verifier.deadline),
        }
    }

    /// Step 5: all rules are looked at, then all are charged.
    fn charge(
        &self,
        rules: &RuleSet,
        verdict: &Verdict,
        mut held: Option<Held>,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Result<RateLimitFields, Uncharged> {
        let state = &self.state;
        let metrics = &state.verifier.metrics;
        let headers = self.options.rate_limit_headers;
        // Before the resource, which is on loan from the request.
        let cost = view.cost();
        if held.is_none()
            && !self.options.charge_later
            && let Some(left) = state
                .limiter
                .charge_known(rules, verdict.counter(), cost, now)
        {
            return Ok(rules.fields(&[left], headers));
        }
        let address = match rules.counts_by_address() {
            true => view
                .address()
                .map(|address| state.client_ip.subject(address)),
            false => None,
        };
        let resource = match state.limiter.counts_by_resource(rules) {
            true => view.resource(),
            false => Cow::Borrowed(""),
        };
        let caller = Caller {
            key: match verdict.identity.kind {
                PrincipalKind::ApiKey => KeySubject::ApiKey(verdict.identity.key_id),
                PrincipalKind::OauthAccessToken => KeySubject::token(&verdict.key().digest),
            },
            resource: &resource,
            address,
            known: Some(verdict.counter()),
        };
        match state
            .limiter
            .admit(rules, &caller, cost, held.as_mut(), now)
        {
            ChargeOutcome::Charged(states) => {
                if self.options.charge_later {
                    let clock = &state.verifier.clock;
                    let charge = Charge::of(&state.limiter, rules, &caller, clock, now);
                    drop(resource);
                    view.extensions().insert(charge);
                }
                Ok(rules.fields(&states, headers))
            }
            ChargeOutcome::Limited(refusal) if state.limits.shadow => {
                metrics.limit_refusal(refusal.mode.into(), Effect::Shadow);
                tracing::debug!(
                    target: GATE,
                    app = &*verdict.identity.app_slug,
                    key_id = verdict.identity.key_id,
                    resource = &*view.resource(),
                    violated = ?refusal.violated,
                    "would have been refused for a rate limit"
                );
                Ok(rules.fields(&refusal.states, headers))
            }
            ChargeOutcome::Limited(refusal) => {
                metrics.limit_refusal(refusal.mode.into(), Effect::Refused);
                let fields = rules.fields(&refusal.states, headers);
                Err(Uncharged::Refused(Rejection::rate_limited(
                    *refusal, fields,
                )))
            }
            ChargeOutcome::Ask => {
                let asking = state.limiter.ask(rules, &caller, cost, held, now);
                Err(Uncharged::Waits(Box::new(asking)))
            }
            ChargeOutcome::Unavailable if state.limits.shadow => Ok(RateLimitFields::default()),
            ChargeOutcome::Unavailable => {
                Err(Uncharged::Refused(Rejection::unavailable(RETRY_AFTER)))
            }
            ChargeOutcome::MissingAddress => {
                state.notices.address.error_once(
                    "a rate limit counts by address, and the request has none",
                    WIRE_UP_THE_ADDRESS,
                );
                if state.limits.shadow {
                    return Ok(RateLimitFields::default());
                }
                Err(Uncharged::Refused(Rejection::misconfigured()))
            }
        }
    }

    /// Step 5 once more, when the store has answered.
    fn wait_for_units(
        &self,
        asking: Box<Asking>,
        verdict: &Arc<Verdict>,
        source: VerdictSource,
        view: &mut RequestView<'_>,
    ) -> Decision {
        // For a verification, should the key be forgotten meanwhile.
        view.keep_secret();
        let asked = self.state.verifier.cache.revocations.latest();
        let key = verdict.key();
        let verdict = Arc::clone(verdict);
        let granted = async move { Waited::Units(verdict, source, asking.wait().await) };
        wait(granted, key, asked, view)
    }

    /// Whether the caller's address may have a key looked up that may be bad.
    fn look_up_allowed(
        &self,
        key: &VerdictKey,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Result<(), Duration> {
        let verifier = &self.state.verifier;
        if !verifier.failed_lookups.is_on() || verifier.cache.is_seen_good(key, now) {
            return Ok(());
        }
        let Some(address) = view.address() else {
            return Ok(());
        };
        let source = LookupSource::new(address, &self.state.client_ip);
        let allowed = verifier.failed_lookups.look(source, now);
        if allowed.is_err() {
            let metrics = &verifier.metrics;
            metrics.limit_refusal(LimitedBy::UnknownKeys, Effect::Refused);
        }
        allowed
    }

    /// Whether the request has waited for as long as it may.
    fn is_out_of_time(&self, view: &mut RequestView<'_>, now: Now) -> bool {
        let deadline = view.deadline(now, self.state.verifier.deadline);
        deadline.is_over(now)
    }

    /// Step 3: the joined verification of this key.
    fn wait_for_verification(
        &self,
        key: VerdictKey,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Decision {
        let verifier = &self.state.verifier;
        // Of a known key nothing that the caller says is sent: with it the caller might provoke an
        // error, which would keep an old verdict in use.
        let is_known = verifier.cache.positive(&key).is_some_and(|verdict| {
            let app = verdict.known_app();
            !matches!(self.counted_by(&app), CountedBy::Gateway)
        });
        let check = match is_known {
            true => view
                .secret()
                .map(|secret| Check::refresh(key, secret, self.options.apps.clone())),
            false => self.check(key, view, now),
        };
        let asked = verifier.cache.revocations.latest();
        let until = view.deadline(now, verifier.deadline);
        match check {
            Some(check) => wait(
                verified(verifier.join_or_start(check, until)),
                key,
                asked,
                view,
            ),
            None => self.refuse_early(Rejection::missing_credential()),
        }
    }

    /// A check for this request alone, its limits and plain permissions included.
    fn wait_for_own_check(
        &self,
        key: VerdictKey,
        view: &mut RequestView<'_>,
        now: Now,
    ) -> Decision {
        let Some(mut check) = self.check(key, view, now) else {
            return self.refuse_early(Rejection::missing_credential());
        };
        if self.asks_always() {
            let of_request = view.requirements().iter().map(|requirement| &**requirement);
            let requirements = self.options.requirements.iter().chain(of_request);
            check.required_permissions = requirements
                .filter_map(Requirement::plain_all)
                .flatten()
                .map(str::to_owned)
                .collect();
        }
        let verifier = &self.state.verifier;
        let asked = verifier.cache.revocations.latest();
        let until = view.deadline(now, verifier.deadline);
        wait(verified(verifier.ask(check, until)), key, asked, view)
    }

    fn refresh(
        &self,
        key: VerdictKey,
        verdict: &Arc<Verdict>,
        claim: RefreshClaim,
        view: &mut RequestView<'_>,
    ) {
        match view.secret() {
            Some(secret) => {
                let check = Check::refresh(key, secret, self.options.apps.clone());
                self.state.verifier.refresh(verdict, claim, check);
            }
            None => verdict.refresh_over(claim),
        }
    }

    fn check(&self, key: VerdictKey, view: &mut RequestView<'_>, now: Now) -> Option<Check> {
        let seen_good = self.state.verifier.cache.is_seen_good(&key, now);
        let secret = view.secret()?;
        let context = view.context();
        let address = context.client_ip.filter(|_| !seen_good);
        Some(Check {
            key,
            secret,
            charged_to: address.map(|address| LookupSource::new(address, &self.state.client_ip)),
            context,
            required_permissions: Vec::new(),
            seen_good,
            accepted: self.options.apps.clone(),
        })
    }

    /// Where nobody has to show a key, nobody has permissions that could be asked for.
    fn decide_without_credential(&self, view: &mut RequestView<'_>) -> Decision {
        if self.options.optional
            && self.options.requirements.is_empty()
            && view.requirements().is_empty()
        {
            return self.pass_anonymous(view);
        }
        self.refuse_early(Rejection::missing_credential())
    }

    fn pass_anonymous(&self, view: &mut RequestView<'_>) -> Decision {
        let extensions = view.extensions();
        // What a gate further out has put there stays: for a gate that skips, it is no business.
        if extensions.get::<Principal>().is_none() && extensions.get::<Anonymous>().is_none() {
            extensions.insert(Anonymous(self.options.answers.clone()));
        }
        if self.options.charge_later && extensions.get::<Charge>().is_none() {
            extensions.insert(Charge::default());
        }
        self.pass(RateLimitFields::default(), view)
    }

    fn pass(&self, rate_limit: RateLimitFields, view: &mut RequestView<'_>) -> Decision {
        if self.options.strip_credential {
            view.strip_credential();
        }
        Decision::Pass(ResponseFields {
            rate_limit,
            cache: self.options.cache_fields.clone(),
            caller: match self.options.tell_outside || self.options.end_streams {
                true => view.extensions().get().cloned(),
                false => None,
            },
            tell_outside: self.options.tell_outside,
            end_streams: self.options.end_streams,
        })
    }

    /// A refusal for which no verdict was needed.
    fn refuse_early(&self, rejection: Rejection) -> Decision {
        self.refuse(rejection, VerdictSource::Request)
    }

    /// The refusal of what the walk lets pass without a caller, where a caller is asked for.
    pub(crate) fn missing_credential(&self) -> Rejection {
        let rejection = Rejection::missing_credential();
        let metrics = &self.state.verifier.metrics;
        metrics.refused(&rejection, VerdictSource::Request);
        rejection.with_answers(&self.options.answers)
    }

    fn refuse(&self, rejection: Rejection, source: VerdictSource) -> Decision {
        self.count_refusal(&rejection, source);
        Decision::Refuse(rejection.with_answers(&self.options.answers))
    }

    /// Counts the verdict, if there is one yet.
    fn count(&self, decision: &Decision, source: VerdictSource) {
        let metrics = &self.state.verifier.metrics;
        match decision {
            Decision::Pass(_) => metrics.admitted(source),
            Decision::Refuse(rejection) => self.count_refusal(rejection, source),
            Decision::Wait(_) => {}
        }
    }

    /// Says of a key that is refused why, to those who run the service.
    fn count_refusal(&self, rejection: &Rejection, source: VerdictSource) {
        if let Some(reason) = rejection.reason() {
            tracing::debug!(target: GATE, reason = reason.as_str(), "a key is refused");
        }
        self.state.verifier.metrics.refused(rejection, source);
    }

    /// Whether this gate can judge anything at all.
    fn usable(&self) -> Result<(), Rejection> {
        if self.is_usable {
            return Ok(());
        }
        if let Some((notice, what, problem)) = problem(&self.options, &self.state) {
            notice.error_once(what, problem);
        }
        Err(Rejection::misconfigured())
    }

    /// Only on the way to a check, so that a hit pays nothing for it: what proxies write, they write
    /// on every request.
    fn say_once_whose_addresses_count(&self, view: &RequestView<'_>) {
        let notice = &self.state.notices.proxies;
        if !notice.was_said()
            && let Some(doubt) = view.doubt_of_addresses()
            && notice.is_first()
        {
            warn_of_addresses(doubt);
        }
    }

    fn say_once_what_is_missing(&self, view: &mut RequestView<'_>) {
        let notices = &self.state.notices;
        if !view.is_http() {
            return;
        }
        if self.options.apps.named().is_none() && notices.any_app.is_first() {
            tracing::warn!(
                target: GATE,
                "keys of every app of this deployment are accepted: name yours with `.app(..)`"
            );
        }
        if notices.no_peer.is_first() && view.address().is_none() {
            tracing::warn!(
                target: GATE,
                hint = WIRE_UP_THE_ADDRESS,
                "the first request has no client address: limits per address cannot be applied"
            );
        }
    }
}

/// Says in the log that forwarded addresses are lost, or believed of anybody.
pub(crate) fn warn_of_addresses(doubt: &str) {
    tracing::warn!(target: GATE, hint = NAME_THE_PROXIES, "{doubt}");
}

/// What speaks against asking about a key of this form.
fn malformed(credential: Credential<'_>) -> Option<Rejection> {
    if !credential.is_visible() {
        return Some(Rejection::malformed_credential());
    }
    let rejection = || Rejection::invalid_key(InvalidKeyReason::Malformed);
    (!credential.is_well_formed()).then(rejection)
}

async fn verified(pending: impl Future<Output = (Verification, bool)>) -> Waited {
    let (verification, is_own) = pending.await;
    Waited::Verified(verification, is_own)
}

/// What the request waits for. It came after the event `asked`.
fn wait(
    pending: impl Future<Output = Waited> + Send + 'static,
    key: VerdictKey,
    asked: EventNumber,
    view: &RequestView<'_>,
) -> Decision {
    Decision::Wait(Box::new(Wait {
        pending: Box::pin(pending),
        key,
        asked,
        resolved: view.resolved(),
    }))
}

/// Why no request can be judged at all, and what tells so once.
fn problem<'a>(
    options: &'a GateOptions,
    state: &'a State,
) -> Option<(&'a Notice, &'static str, &'a str)> {
    let notices = &state.notices;
    if let Some(problem) = state.verifier.client.config_error() {
        return Some((&notices.client, "the Wacht client cannot be used", problem));
    }
    let problem = options.request.credentials.problem()?;
    Some((&notices.credentials, "no request can show a key", problem))
}

impl ResponseFields {
    /// With whose end the body ends, if it is to.
    pub(crate) fn ends_with(&self) -> Option<&Principal> {
        self.caller.as_ref().filter(|_| self.end_streams)
    }

    /// Once: what was added is gone from here.
    pub(crate) fn apply<B>(&mut self, response: &mut Response<B>) {
        if self.tell_outside
            && let Some(caller) = self.caller.take()
        {
            response.extensions_mut().insert(caller);
        }
        let headers = response.headers_mut();
        self.rate_limit.write(headers);
        let Some(cache) = self.cache.take() else {
            return;
        };
        // Where it is full of headers already, then without.
        if cache.is_private
            && let Ok(entry) = headers.try_entry(CACHE_CONTROL)
        {
            let _ = entry.or_try_insert(HeaderValue::from_static("private"));
        }
        if let Some(vary) = &cache.vary {
            let _ = headers.try_append(VARY, vary.clone());
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let verifier = &self.state.verifier;
        f.debug_struct("Gate")
            .field("apps", &options.apps)
            .field("credentials", &options.request.credentials)
            .field("accept_oauth_tokens", &options.accept_oauth_tokens)
            .field("optional", &options.optional)
            .field("requirements", &options.requirements)
            .field("cache", &verifier.cache)
            .field("limits", &self.state.limits)
            .field("client_ip", &self.state.client_ip)
            .field("clock", &verifier.clock)
            .finish_non_exhaustive()
    }
}
