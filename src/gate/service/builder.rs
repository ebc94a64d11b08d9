//! [`WachtAuthLayerBuilder`]: what the shared state of a layer is made from, said before there is
//! one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{ConfigError, ConfigErrorKind, Result, WachtClient};
use crate::clock::Clock;
use crate::gate::directory::{AcceptedApps, Watch};
use crate::gate::limit::{Limits, UnknownKeyLimit};
use crate::gate::options::GateOptions;
use crate::gate::pipeline::Gate;
use crate::gate::request::client_ip::ClientIp;
use crate::gate::service::layer::WachtAuthLayer;
use crate::gate::state::{Settings, State};
use crate::gate::verdict::CachePolicy;
#[cfg(feature = "redis")]
use crate::store::RedisStore;

/// Makes a [`WachtAuthLayer`] whose shared state is not the default one: with another cache, other
/// limits, addresses from behind a proxy, a clock for tests.
///
/// Everything here is said once, before there is a state; what one view of it may change stands on
/// the layer itself. [`build`](Self::build) checks all of it.
///
/// | option | default |
/// |---|---|
/// | [`app`](Self::app), [`apps`](Self::apps): accept keys of these apps alone | every app of the deployment but the platform's own, with a warning |
/// | [`deployment`](Self::deployment): whose keys are accepted | the management key's own, learned once |
/// | [`cache`](Self::cache): a [`CachePolicy`] | as in the next five rows |
/// | – [`fresh_for`](CachePolicy::fresh_for) | 30 s |
/// | – [`stale_while_revalidate`](CachePolicy::stale_while_revalidate) | 30 s more |
/// | – [`stale_if_error`](CachePolicy::stale_if_error), from the end of `fresh_for` | 5 min |
/// | – [`negative_ttl`](CachePolicy::negative_ttl): a key the gateway does not know | 10 s |
/// | – [`capacity_bytes`](CachePolicy::capacity_bytes) | 64 MiB |
/// | [`watch`](Self::watch): a [`Watch`] for what ends elsewhere | off |
/// | [`limits`](Self::limits): who counts | [`Limits::local`]; also [`gateway`](Limits::gateway), [`off`](Limits::off), and `shared` with the feature `redis` |
/// | – [`algorithm`](Limits::algorithm): how rolling windows are counted | [`Gcra`](crate::Algorithm::Gcra) |
/// | – [`replicas`](Limits::replicas): processes that share each limit | 1 |
/// | – [`rules`](Limits::rules): fixed rules for every app | the app's own scheme |
/// | – [`shadow`](Limits::shadow): report, and refuse nobody for a limit | off |
/// | – [`per_resource_counters`](Limits::per_resource_counters): a key's counters per resource | one over all resources |
/// | – [`capacity`](Limits::capacity): keys and addresses counted apart | 100 000 |
/// | [`client_ip`](Self::client_ip): whose address counts | [`ClientIp::peer`] |
/// | – [`forwarded`](ClientIp::forwarded): `Forwarded` in place of `X-Forwarded-For` | off |
/// | – [`ipv6_prefix`](ClientIp::ipv6_prefix): bits that make one IPv6 caller | 64 |
/// | [`unknown_key_limit`](Self::unknown_key_limit): failed look-ups per client address | 10 a second, 100 at once, if `client_ip` is set; else off |
/// | [`deadline`](Self::deadline): for all that one request waits for | 2 s |
/// | [`known_keys_in_flight`](Self::known_keys_in_flight): checks at the same time, refreshes apart | 512 |
/// | [`unknown_keys_in_flight`](Self::unknown_keys_in_flight): the same for keys never seen good | 128 |
/// | `store`, with the feature `redis`: what other replicas are told of | none |
/// | [`clock`](Self::clock): for tests | the system's |
///
/// ```
/// use wacht_auth::{ClientIp, WachtAuthLayer, WachtClient};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = WachtAuthLayer::builder(WachtClient::new("wk_live_..."))
///     .client_ip(ClientIp::trusted_proxies(["10.0.0.0/8"])?)
///     .build()?
///     .app("my-integration");
/// # let _ = gate;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct WachtAuthLayerBuilder {
    settings: Settings,
}

impl WachtAuthLayer {
    /// A gate that verifies keys with this client: [`builder`](Self::builder) with its defaults.
    /// Nothing is spawned and nothing is asked yet.
    ///
    /// A client that cannot be used makes every request a 500 with the reason in the log.
    pub fn new(client: WachtClient) -> Self {
        Self::builder(client).build_unchecked()
    }

    /// A gate whose shared state is to be another than the default one: its cache, its limits, its
    /// clock.
    pub fn builder(client: WachtClient) -> WachtAuthLayerBuilder {
        WachtAuthLayerBuilder {
            settings: Settings::new(client),
        }
    }
}

impl WachtAuthLayerBuilder {
    /// Accepts only keys of this API auth app, as [`WachtAuthLayer::app`] does. Said here, nothing is
    /// kept in memory of the deployment's other apps, and views of the layer can only narrow it.
    pub fn app(self, slug: impl Into<String>) -> Self {
        self.apps([slug])
    }

    /// Accepts only keys of these API auth apps, as [`WachtAuthLayer::apps`] does.
    pub fn apps(mut self, slugs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.apps = AcceptedApps::only(slugs);
        self
    }

    /// The deployment whose keys are accepted. Default: the client's own, learned once from the
    /// management API.
    pub fn deployment(mut self, id: i64) -> Self {
        self.settings.deployment = Some(id);
        self
    }

    /// How long verdicts are used and how much memory they take. Default:
    /// [`CachePolicy::default`].
    pub fn cache(mut self, policy: CachePolicy) -> Self {
        self.settings.cache = policy;
        self
    }

    /// Sees within seconds what is revoked, ends or is taken from a key elsewhere. Default: off. See
    /// [`Watch`] for what it does and what it costs.
    pub fn watch(mut self, watch: Watch) -> Self {
        self.settings.watch = Some(watch);
        self
    }

    /// Who applies the rate-limit scheme. Default: [`Limits::local`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Whose address a limit per address counts. Default: [`ClientIp::peer`].
    ///
    /// Setting it also switches [`unknown_key_limit`](Self::unknown_key_limit) on.
    pub fn client_ip(mut self, client_ip: ClientIp) -> Self {
        self.settings.client_ip = client_ip;
        self.settings.unknown_keys.get_or_insert_default();
        self
    }

    /// How many look-ups of bad keys one client address may cause at the gateway. Default:
    /// [`UnknownKeyLimit::default`], 10 a second and 100 at once, if
    /// [`client_ip`](Self::client_ip) is set, else off: behind a proxy that the gate has not been
    /// told of, all callers have one address.
    pub fn unknown_key_limit(mut self, limit: UnknownKeyLimit) -> Self {
        self.settings.unknown_keys = Some(limit);
        self
    }

    /// Where the gate takes the time from. Default: the system's clocks.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.settings.clock = clock.into();
        self
    }

    /// How long a request may wait before it is answered 503: for its turn when very many keys are
    /// asked about at once, for the gateway, and for what the management API says of the key's app,
    /// all of it together. Default: 2 s. It is apart from the client's own time-out.
    ///
    /// A gateway that has not answered a check within this time, from when the check was sent, counts
    /// as down. A check that was sent late goes on after its request is gone, and what it brings is good
    /// for the next one.
    ///
    /// Whoever waits for a check that another request has begun waits for half of this. Then it
    /// is sent once more, as the other's runtime may stand still.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, Fault, On};
    /// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// wacht.fault(On::Checks, Fault::Hang);
    /// let gate = WachtAuthLayer::builder(wacht.client())
    ///     .deadline(Duration::from_millis(50))
    ///     .build()?
    ///     .app("orders");
    /// let refused = gate.handle().authenticate_key(key.secret(), &AuthContext::new("/")).await;
    /// assert_eq!(refused.unwrap_err().kind(), RejectionKind::Unavailable);
    /// # Ok(()) }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How many checks of keys that were good not long ago are at the gateway at the same time, and
    /// how many refreshes beside them. Default: 512 of each; 0 is taken as 1.
    ///
    /// The next ones wait for their turn, for as long as the [`deadline`](Self::deadline) and 32 for
    /// each place; who is left is answered 503. A gateway that answers in 200 ms is asked about 2560 keys a
    /// second through 512 places. Of a key whose requests are all counted at the gateway, checks
    /// take a quarter of the places at most.
    pub fn known_keys_in_flight(mut self, checks: usize) -> Self {
        self.settings.most_in_flight.known_keys = checks;
        self
    }

    /// The same for keys of which nothing good is known: so many made-up ones can be at the gateway at
    /// the same time, and they take none of the others' places. Default: 128; 0 is taken as 1.
    pub fn unknown_keys_in_flight(mut self, checks: usize) -> Self {
        self.settings.most_in_flight.unknown_keys = checks;
        self
    }

    /// Shares with other replicas through this store: what is revoked and invalidated in one is
    /// known in all. Default: none.
    ///
    /// The store also becomes that of the client and of its clones, whose calls are told to the
    /// other replicas from then on.
    #[cfg(feature = "redis")]
    pub fn store(mut self, store: RedisStore) -> Self {
        self.settings.store = Some(store);
        self
    }

    /// The layer, with a state of its own. Nothing is spawned and nothing is asked yet.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use wacht_auth::models::{RateLimit, RateLimitUnit};
    /// use wacht_auth::{Limits, WachtAuthLayer, WachtClient};
    ///
    /// # fn main() -> Result<(), wacht_auth::Error> {
    /// const FOUR: NonZeroU32 = NonZeroU32::new(4).unwrap();
    ///
    /// let two_a_minute = RateLimit {
    ///     unit: RateLimitUnit::Minute,
    ///     duration: 1,
    ///     max_requests: 2,
    ///     mode: None,
    /// };
    /// let limits = Limits::local().rules([two_a_minute])?.replicas(FOUR);
    /// let client = WachtClient::new("wk_live_...");
    /// let error = WachtAuthLayer::builder(client).limits(limits).build().unwrap_err();
    /// assert!(error.to_string().contains("replicas"), "two requests have no quarter");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) where no request could ever be judged: the client cannot be used, fixed
    /// rules cannot be applied, alone or by so many replicas, or limits are to be shared without a store.
    pub fn build(self) -> Result<WachtAuthLayer> {
        self.settings.client.transport()?;
        #[cfg(feature = "redis")]
        if let Some(store) = &self.settings.store {
            store.join(&self.settings.client)?;
        }
        #[cfg(feature = "redis")]
        if self.settings.limits.is_shared() && self.settings.store.is_none() {
            let problem = "shared limits need a store: `.store(RedisStore::connect(..)?)`";
            return Err(ConfigError::new(ConfigErrorKind::RateLimits, problem).into());
        }
        match self.settings.limits.problem() {
            Some(problem) => Err(ConfigError::new(ConfigErrorKind::RateLimits, problem).into()),
            None => Ok(self.build_unchecked()),
        }
    }

    /// The layer, which answers every request with 500 if it cannot judge any.
    fn build_unchecked(self) -> WachtAuthLayer {
        let options = GateOptions {
            apps: self.settings.apps.clone(),
            ..GateOptions::default()
        };
        let state = Arc::new(State::new(self.settings));
        WachtAuthLayer::of(Gate::new(options, state))
    }
}

impl fmt::Debug for WachtAuthLayerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("WachtAuthLayerBuilder")
            .field("apps", &settings.apps)
            .field("deployment", &settings.deployment)
            .field("cache", &settings.cache)
            .field("watch", &settings.watch)
            .field("limits", &settings.limits)
            .field("client_ip", &settings.client_ip)
            .field("unknown_keys", &settings.unknown_keys)
            .field("deadline", &settings.deadline)
            .field("most_in_flight", &settings.most_in_flight)
            .field("clock", &settings.clock)
            .finish_non_exhaustive()
    }
}
