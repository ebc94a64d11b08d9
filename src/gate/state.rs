//! What all clones of a layer share.

mod events;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::client::WachtClient;
use crate::clock::Clock;
use crate::gate::directory::{App, Apps, Management, Tenancy};
use crate::gate::limit::{FailedLookups, Limiter, Limits, UnknownKeyLimit};
use crate::gate::options::StateOptions;
use crate::gate::request::client_ip::ClientIp;
use crate::gate::stats::{AuthStats, Levels, Metrics};
use crate::gate::verdict::cache::VerdictCache;
use crate::gate::verdict::revocations::Name;
use crate::gate::verify::Flights;
use crate::gate::verify::breaker::Breaker;
use crate::log::Notice;

/// What all clones of a layer share: verdicts, policies, counters, flights, revocations.
pub(crate) struct State {
    pub(crate) client: WachtClient,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) cache: VerdictCache,
    pub(crate) flights: Flights,
    pub(crate) breaker: Breaker,
    pub(crate) management: Management,
    pub(crate) tenancy: Tenancy,
    pub(crate) apps: Apps,
    pub(crate) limits: Limits,
    pub(crate) limiter: Limiter,
    pub(crate) client_ip: ClientIp,
    pub(crate) failed_lookups: FailedLookups,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
}

/// What is said in the log once, not per request.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pub(crate) gateway: Notice,
    pub(crate) any_app: Notice,
    pub(crate) no_peer: Notice,
    pub(crate) client: Notice,
    pub(crate) credentials: Notice,
    pub(crate) limits: Notice,
    pub(crate) runtime: Notice,
    pub(crate) address: Notice,
}

impl State {
    /// Fresh state, which hears from now on of what its client does to keys and apps.
    pub(crate) fn new(options: &StateOptions) -> Arc<Self> {
        let state = Arc::new(Self::unheard(options));
        let listener = Arc::downgrade(&state);
        state.client.events().listen(listener);
        state
    }

    fn unheard(options: &StateOptions) -> Self {
        let StateOptions {
            client,
            clock,
            deadline,
            ..
        } = options.clone();
        Self {
            management: Management::new(client.clone(), clock.clone(), deadline),
            client,
            clock,
            deadline,
            cache: VerdictCache::new(options.cache.clone(), deadline),
            flights: Flights::default(),
            breaker: Breaker::default(),
            tenancy: Tenancy::new(options.deployment),
            apps: Apps::default(),
            limits: options.limits.clone(),
            limiter: Limiter::new(&options.limits),
            client_ip: options.client_ip.clone(),
            failed_lookups: FailedLookups::new(
                options.unknown_keys.unwrap_or_else(UnknownKeyLimit::off),
            ),
            metrics: Metrics::default(),
            notices: Notices::default(),
        }
    }

    /// What the gate holds and has done so far, the cache settled first.
    pub(crate) fn stats(&self) -> AuthStats {
        self.cache.settle();
        self.metrics.stats(&self.levels(), self.flights.len())
    }

    /// Tells the recorder what the gate holds, as far as that can be had at no cost: the cache may
    /// still have to settle.
    pub(crate) fn tell_levels(&self) {
        self.metrics.levels(&self.levels());
    }

    fn levels(&self) -> Levels {
        let evictions = self.cache.evictions();
        Levels {
            cached_keys: self.cache.good_keys(),
            cached_bytes: self.cache.good_bytes(),
            refused_keys: self.cache.refused_keys(),
            evicted_keys: evictions.good_keys(),
            evicted_refused_keys: evictions.refused_keys(),
            limiter_subjects: self.limiter.subjects(),
            is_breaker_open: !self.breaker.is_closed(),
        }
    }

    /// Brings the policy of an app up to date; with a deleted app go the yeses of its keys.
    pub(crate) async fn refresh_policy(&self, app: &Arc<App>) {
        let was_gone = app.is_gone();
        app.refresh(&self.management, &self.limiter).await;
        if app.is_gone() && !was_gone {
            let revocations = &self.cache.revocations;
            revocations.fence(Name::App(app.slug()), self.clock.now());
        }
    }

    /// The same in the background, for a refresh that the caller has claimed.
    pub(crate) fn refresh_policy_behind(self: &Arc<Self>, app: &Arc<App>) {
        let Ok(runtime) = Handle::try_current() else {
            app.refresh_over();
            return;
        };
        let claim = PolicyRefresh {
            app: Arc::clone(app),
        };
        let state = Arc::clone(self);
        runtime.spawn(async move { state.refresh_policy(&claim.app).await });
    }
}

/// Gives the claim back when the task ends, however it ends.
struct PolicyRefresh {
    app: Arc<App>,
}

impl Drop for PolicyRefresh {
    fn drop(&mut self) {
        self.app.refresh_over();
    }
}
