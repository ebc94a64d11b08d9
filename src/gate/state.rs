//! What all clones of a layer share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use crate::breaker::Breaker;
use crate::client::WachtClient;
use crate::client::events::EventSink;
use crate::clock::{Clock, Now, nanoseconds};
use crate::gate::directory::{AcceptedApps, Directory, Gateway, KeysInUse, Watch};
use crate::gate::limit::{FailedLookups, Limiter, Limits, UnknownKeyLimit};
#[cfg(feature = "redis")]
use crate::gate::limit_store::{Sharing, SubjectSecret};
use crate::gate::request::client_ip::ClientIp;
use crate::gate::stats::Metrics;
use crate::gate::verdict::cache::VerdictCache;
use crate::gate::verdict::{CachePolicy, KeyIndex};
use crate::gate::verify::Verifier;
use crate::gate::verify::in_flight::{InFlight, MostInFlight};
use crate::gate::waiting::Waiting;
use crate::log::{Notice, Said};
#[cfg(feature = "redis")]
use crate::store::{Leases, RedisStore};

/// What all clones of a layer share: verdicts, the directory of apps, counters, checks in flight.
pub(crate) struct State {
    pub(crate) verifier: Arc<Verifier>,
    /// Of which apps keys are let in by any view.
    pub(crate) apps: AcceptedApps,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) limits: Limits,
    pub(crate) client_ip: ClientIp,
    pub(crate) notices: Notices,
    /// What reads the events of other replicas, once there is something.
    sink: OnceLock<Arc<dyn EventSink>>,
    /// Monotonic nanoseconds: when somebody looks whether they are read, or are there to be read.
    look_at: AtomicU64,
}

/// What a state is made from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) client: WachtClient,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    pub(crate) most_in_flight: MostInFlight,
    pub(crate) deployment: Option<i64>,
    pub(crate) apps: AcceptedApps,
    pub(crate) cache: CachePolicy,
    pub(crate) watch: Option<Watch>,
    pub(crate) limits: Limits,
    pub(crate) client_ip: ClientIp,
    /// `None` until it or `client_ip` is set: without knowing what stands before the gate, all
    /// callers may have one address.
    pub(crate) unknown_keys: Option<UnknownKeyLimit>,
    /// What it shares with other replicas.
    #[cfg(feature = "redis")]
    pub(crate) store: Option<RedisStore>,
}

/// What is said in the log once, not per request.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pub(crate) any_app: Notice,
    pub(crate) no_peer: Notice,
    pub(crate) proxies: Notice,
    pub(crate) client: Notice,
    pub(crate) credentials: Notice,
    pub(crate) runtime: Notice,
    pub(crate) address: Notice,
    /// Apps whose keys are not accepted.
    pub(crate) other_apps: Said<Box<str>>,
}

impl Settings {
    pub(crate) fn new(client: WachtClient) -> Self {
        Self {
            deadline: client.gate_deadline(),
            client,
            clock: Clock::system(),
            most_in_flight: MostInFlight::default(),
            deployment: None,
            apps: AcceptedApps::default(),
            cache: CachePolicy::default(),
            watch: None,
            limits: Limits::default(),
            client_ip: ClientIp::default(),
            unknown_keys: None,
            #[cfg(feature = "redis")]
            store: None,
        }
    }
}

impl State {
    /// Fresh state, which hears from now on of what its client does to keys and apps.
    pub(crate) fn new(settings: Settings) -> Self {
        let Settings {
            client,
            clock,
            deadline,
            most_in_flight,
            deployment,
            apps,
            cache,
            watch,
            limits,
            client_ip,
            unknown_keys,
            #[cfg(feature = "redis")]
            store,
        } = settings;
        #[cfg(feature = "redis")]
        let sharing = store.and_then(|store| sharing(&store, &client, &limits, &clock));
        #[cfg(not(feature = "redis"))]
        let sharing = None;
        let limiter = Arc::new(Limiter::new(&limits, sharing));
        let unknown_keys = unknown_keys.unwrap_or_else(UnknownKeyLimit::off);
        let breaker = Arc::new(Breaker::default());
        let gateway: Arc<dyn Gateway> = breaker.clone();
        let index = watch.as_ref().map(|_| KeyIndex::new(apps.clone()));
        let waiting = Arc::new(Waiting::new(clock.clone()));
        let verifier = Arc::new(Verifier {
            directory: Directory::new(
                client.clone(),
                Arc::clone(&waiting),
                deadline,
                deployment,
                apps.clone(),
                Arc::clone(&limiter),
                gateway,
            ),
            client,
            clock,
            deadline,
            cache: VerdictCache::new(cache, deadline, Arc::clone(&waiting), index.map(Arc::new)),
            in_flight: InFlight::new(most_in_flight, deadline),
            breaker,
            limiter: Arc::clone(&limiter),
            failed_lookups: FailedLookups::new(unknown_keys),
            metrics: Metrics::default(),
            outage: Notice::default(),
            indeterminate: Said::new(),
        });
        if let Some(watch) = watch {
            let keys: Weak<dyn KeysInUse> = Arc::downgrade(&verifier) as _;
            verifier.directory.watch(watch, keys);
        }
        let weak = Arc::downgrade(&verifier);
        waiting.keep_going(weak.clone());
        verifier.client.events().listen(weak);
        let sink = verifier.client.events().sink().cloned();
        let sink = sink.map_or_else(OnceLock::new, OnceLock::from);
        Self {
            verifier,
            apps,
            limiter,
            limits,
            client_ip,
            notices: Notices::default(),
            sink,
            look_at: AtomicU64::new(0),
        }
    }

    /// Has the events of other replicas read, if there are any, unless somebody does: a few atomic
    /// loads if that is so.
    pub(crate) fn keep_current(&self, now: Now) {
        let now = nanoseconds(now.monotonic);
        let is_time = self.look_at.load(Ordering::Relaxed) <= now;
        if is_time || self.sink.get().is_some_and(|sink| sink.is_idle()) {
            self.look(now);
        }
    }

    fn look(&self, now: u64) {
        let next = now.saturating_add(nanoseconds(BETWEEN_LOOKS));
        self.look_at.store(next, Ordering::Relaxed);
        // Another layer of the client may have been given a store since.
        if let Some(sink) = self.verifier.client.events().sink() {
            self.sink.get_or_init(|| Arc::clone(sink)).keep_current();
        }
    }
}

/// With whom limits are counted; `None` where this process counts alone.
#[cfg(feature = "redis")]
fn sharing(
    store: &RedisStore,
    client: &WachtClient,
    limits: &Limits,
    clock: &Clock,
) -> Option<Arc<Sharing>> {
    if !limits.is_shared() {
        return None;
    }
    // The builder has joined it before, and says what is wrong otherwise.
    let replica = store.join(client).ok()?;
    let secret = client.secret_for("names of limits").ok()?;
    let store = Leases::new(store.link(), replica);
    Some(Sharing::new(
        Arc::new(store),
        SubjectSecret::new(secret),
        limits,
        clock.clone(),
    ))
}

/// A reader whose runtime stands still is taken over so long after its step has lapsed, at most.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
