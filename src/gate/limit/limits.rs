//! Who counts requests and how, and which of Wacht's rules can be counted here.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::rule::RuleSpec;
use crate::client::{ConfigError, ConfigErrorKind, Error};
use crate::models::{RateLimitMode, RateLimitRule};

/// Who applies the app's rate-limit scheme, how exactly, and with how much memory.
///
/// ```
/// use std::num::NonZeroU32;
/// use wacht_auth::{Algorithm, Limits, WachtAuthLayer, WachtClient};
///
/// const REPLICAS: NonZeroU32 = NonZeroU32::new(4).unwrap();
///
/// let limits = Limits::local()
///     .algorithm(Algorithm::SlidingWindow)
///     .replicas(REPLICAS)
///     .capacity(1_000_000);
/// assert_ne!(limits, Limits::default());
/// let gate = WachtAuthLayer::builder(WachtClient::new("wk_live_...")).limits(limits).build()?;
/// # let _ = gate;
/// # Ok::<(), wacht_auth::Error>(())
/// ```
///
/// # Which rules are counted here
///
/// All of Wacht's units and modes. `millisecond` to `day` are rolling windows, `month` is 30
/// days; `calendar_day` counts from 00:00 UTC and `calendar_month` from the 1st, 00:00 UTC, by
/// the wall clock. When that steps back into an earlier day or month, counting goes on in the
/// later one, until the clock is there again or the day or month has run its full length.
///
/// A rule with a unit or mode that this version does not know, or with a `duration` that makes
/// no sense, has every request of its app's keys counted by the gateway instead, one check each,
/// and a line in the log says so.
///
/// [`Algorithm`] says how many requests a rule admits at most.
///
/// # When the scheme changes
///
/// A change is seen when the apps are read again, within about a minute. A rule that stays the same
/// keeps its counters, wherever it stands, and so does one that comes back. A rule that is new
/// starts with nothing used. A rule that goes keeps counting and refusing for one more window of
/// its own, without a name of its own, beside those that are in its place: rules of the same mode
/// for some of the same endpoints, new ones and others. So a lower limit holds at once, a higher
/// one from then on, and no sequence of changes lets more through, from any moment on, than the
/// rules that were in force at that moment. As long as nothing is in its place, a rule that has
/// gone refuses nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Limits {
    pub(super) enforcement: Enforcement,
    pub(super) capacity: usize,
    pub(super) algorithm: Algorithm,
    pub(super) replicas: Option<NonZeroU32>,
    pub(super) when_away: WhenAway,
    pub(super) rules: Option<Arc<[RateLimitRule]>>,
    pub(crate) shadow: bool,
    pub(super) per_resource: bool,
}

/// Whose count decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforcement {
    Local,
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "only a store can share")
    )]
    Shared,
    Gateway,
    Off,
}

/// What becomes of requests while the store that counts for all replicas is away: where it failed so
/// often that nobody waits for it. For `Limits::shared`, with the feature `redis`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenAway {
    /// Each replica applies its share of every limit: the limit divided by the most replicas seen alive
    /// in the last two minutes, rounded down. Where that is less than 1, requests are answered 503.
    #[default]
    Share,
    /// Requests that a rule is for are answered 503.
    Refuse,
    /// They pass. What passed is counted, and told to the store when it is back.
    Admit,
}

/// How requests are counted in a rolling window.
///
/// Most requests ever admitted under a rule of `max` requests, and the state of one counter:
///
/// | | rolling window | calendar day or month | bytes of state |
/// |---|---|---|---|
/// | `Gcra` | `2·max − 1` in any stretch as long as the window, `max` a window sustained | `max` in each | 24 |
/// | `SlidingWindow` | `max` in any stretch as long as the window | `max` in each | 24, and 104 to 616 beside it |
///
/// Calendar units are counted alike under both, in 24 bytes: exactly `max` in each day or month,
/// which is up to `2·max` in a stretch of a day that has midnight in it. All bounds hold for any
/// number of threads; they are for one process, see [`Limits::replicas`]. Where requests have a
/// [`cost`](crate::WachtAuthLayer::cost) they are of units, without what a
/// [`Charge`](crate::Charge) books.
///
/// To a counter's state comes the entry that finds it, about 150 bytes, for every mode but
/// `per_app`.
///
/// Half a window after its limit was used up, a caller has half of it again under `Gcra`, and
/// nothing yet under `SlidingWindow`:
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
/// use wacht_auth::{Algorithm, AuthContext, Limits, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let wacht = DevGateway::start().await.clock(&clock);
/// wacht.app("orders").scheme([DevRule::per_key(4, "minute", 1)]);
/// for (algorithm, expected) in [(Algorithm::Gcra, 2), (Algorithm::SlidingWindow, 0)] {
///     let key = wacht.issue_key("orders").issue();
///     let limits = Limits::local().algorithm(algorithm);
///     let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).limits(limits).build()?.app("orders");
///     let gate = gate.handle();
///     let context = AuthContext::new("/orders");
///     for _ in 0..4 {
///         gate.authenticate_key(key.secret(), &context).await?;
///     }
///     clock.advance(Duration::from_secs(30));
///     let mut admitted = 0;
///     while gate.authenticate_key(key.secret(), &context).await.is_ok() {
///         admitted += 1;
///     }
///     assert_eq!(admitted, expected);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// `max` at once, refilled evenly over the window: one more every `window / max`.
    ///
    /// A caller that has used up everything gets the next request soon, rather than all of them
    /// at the end of the window.
    #[default]
    Gcra,
    /// Never more than `max` in any stretch as long as the window.
    ///
    /// Exact for limits up to 32. For larger ones, requests that come within a 31st of the window
    /// of each other are remembered as if all had come with the last of them, so that a caller
    /// who sends steadily gets at most 5 % less than an exact log of every request would give.
    SlidingWindow,
}

impl Limits {
    /// This process counts, by the app's scheme as Wacht documents it: the default.
    ///
    /// Limits are per process: two replicas admit up to twice as much, unless
    /// [`replicas`](Self::replicas) says so. An app without rules gets the gateway's default of
    /// 1000 requests a minute per app.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(2, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(Limits::local())
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::RateLimited);
    /// assert!(refused.violated_policies().eq(["per_key:2/60s"]));
    /// assert_eq!(wacht.journal().checks(), 1, "counted here");
    /// # Ok(()) }
    /// ```
    pub fn local() -> Self {
        Self {
            enforcement: Enforcement::Local,
            capacity: DEFAULT_CAPACITY,
            algorithm: Algorithm::default(),
            replicas: None,
            when_away: WhenAway::default(),
            rules: None,
            shadow: false,
            per_resource: false,
        }
    }

    /// All replicas count together, in the store that the layer's builder is
    /// [given](crate::WachtAuthLayerBuilder::store): a limit holds for all of them, however requests
    /// are spread.
    ///
    /// A replica asks the store for units of a limit, for one key or address at a time, and spends
    /// them from memory. On a key that is used much, a request costs what it does under
    /// [`local`](Self::local), and the store sees some tens of calls a second. The first request of a
    /// key waits for one round trip, no request waits longer than the store's
    /// [deadline](crate::store::RedisStoreBuilder::deadline).
    ///
    /// Over all replicas, [`SlidingWindow`](Algorithm::SlidingWindow) and calendar units never admit
    /// more than the limit in any window, [`Gcra`](Algorithm::Gcra) never more than twice the limit
    /// less one. Steady demand above the limit gets about 95 % of it for windows of 10 s and more,
    /// and about 91 % for shorter ones. Windows under 1 s are not worth a round trip: there each
    /// replica has its share, as while the store is [away](Self::when_away).
    ///
    /// All replicas need the same management key, the same store and the same
    /// [algorithm](Self::algorithm): what is counted is named by a hash with the management key, so
    /// that nobody who reads the store learns of keys and addresses. After a new management key
    /// all limits start with nothing used.
    ///
    /// What a [`Charge`](crate::Charge) books is booked in the store. Replicas that hold units at that
    /// moment may spend those first, within a quarter of a second.
    #[cfg(feature = "redis")]
    pub fn shared() -> Self {
        Self {
            enforcement: Enforcement::Shared,
            ..Self::local()
        }
    }

    /// What becomes of requests while the store is away. Default: [`WhenAway::Share`]. Only for
    /// [`shared`](Self::shared).
    ///
    /// What the store has refused stays refused for as long as it said. A share counts all that this
    /// replica has spent in the last window, before the store went away, too, so at most twice the
    /// limit is admitted in any window around the change ([`Gcra`](Algorithm::Gcra): three times).
    ///
    /// A store that was restarted, or that has taken another's place, may have forgotten what was
    /// spent. Shares hold until all replicas have told it, which is a second or two; two minutes
    /// where one of them is gone.
    #[cfg(feature = "redis")]
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
        self
    }

    /// The gateway counts: every request is a check of its own, and nothing is answered from the
    /// cache but what is known to be bad. The options below have no effect then.
    ///
    /// It costs a round trip per request, and without the gateway no request passes. Answers have
    /// no rate-limit fields then; a refusal has `Retry-After`, at most 60 s. A
    /// requirement that is a plain list of permissions travels with the check, so the gateway
    /// refuses before it charges; any other is checked here, after it has charged.
    ///
    /// The gateway cannot be told what a request costs, nor be charged later: every request is one,
    /// whatever [`cost`](crate::WachtAuthLayer::cost) and a [`Charge`](crate::Charge) say.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, RejectionKind, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(2, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(Limits::gateway())
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// gate.authenticate_key(key.secret(), &context).await?;
    /// gate.authenticate_key(key.secret(), &context).await?;
    ///
    /// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
    /// assert_eq!(refused.kind(), RejectionKind::RateLimited);
    /// assert_eq!(wacht.journal().checks(), 3, "one for each request");
    /// # Ok(()) }
    /// ```
    pub fn gateway() -> Self {
        Self {
            enforcement: Enforcement::Gateway,
            ..Self::local()
        }
    }

    /// Nobody counts. The options below have no effect then.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders").scheme([DevRule::per_key(1, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client()).limits(Limits::off()).build()?.app("orders");
    /// let gate = gate.handle();
    /// for _ in 0..10 {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn off() -> Self {
        Self {
            enforcement: Enforcement::Off,
            ..Self::local()
        }
    }

    /// How rolling windows are counted. Default: [`Algorithm::Gcra`].
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// This process is one of `count`, and each applies an equal share of every limit. Default: 1.
    /// Where replicas count together, it is what to go by as long as the store has not
    /// said how many there are.
    ///
    /// A share is the limit divided by `count`, rounded down, so all shares together are never
    /// more than the limit. It is what the header fields and the names of rules show. Requests
    /// should be spread evenly: a process cannot use what another leaves.
    ///
    /// A limit smaller than `count` has no share. With such a rule in the app's scheme, every
    /// request of the app's keys is counted by the gateway instead, as one check each. Under
    /// fixed [`rules`](Self::rules) that is an error in the configuration.
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();
    ///
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(6, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let limits = Limits::local().replicas(TWO);
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(limits)
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// for _ in 0..3 {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// let refused = gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await;
    /// assert!(refused.unwrap_err().violated_policies().eq(["per_key:3/60s"]), "half of 6");
    /// # Ok(()) }
    /// ```
    pub fn replicas(mut self, count: NonZeroU32) -> Self {
        self.replicas = Some(count);
        self
    }

    /// Applies these rules to every app instead of its own scheme. Keys of apps that are
    /// deactivated or deleted are refused all the same.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, ManualClock};
    /// use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// let limits = Limits::local().rules([RateLimit {
    ///     unit: RateLimitUnit::Minute,
    ///     duration: 1,
    ///     max_requests: 1,
    ///     mode: Some(RateLimitMode::PerKey),
    /// }])?;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(limits)
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let context = AuthContext::new("/orders");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is no rule at all, and for a rule that cannot be counted
    /// here: its unit or mode is unknown, its `duration` is not positive (for calendar units: not
    /// 1), or its limit is smaller than the number of [`replicas`](Self::replicas). Where
    /// `replicas` is said after this, [`build`](crate::WachtAuthLayerBuilder::build) says so.
    pub fn rules<I>(mut self, rules: I) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: Into<RateLimitRule>,
    {
        let rules: Arc<[RateLimitRule]> = rules.into_iter().map(Into::into).collect();
        if rules.is_empty() {
            let problem = "no fixed rate-limit rules: `Limits::off()` is without limits";
            return Err(ConfigError::new(ConfigErrorKind::RateLimits, problem).into());
        }
        self.rules = Some(rules);
        match self.problem() {
            None => Ok(self),
            Some(problem) => Err(ConfigError::new(ConfigErrorKind::RateLimits, problem).into()),
        }
    }

    /// Counts and reports, and refuses nobody for a limit: to try a scheme out.
    ///
    /// What would have been refused passes, is counted in
    /// [`AuthStats::shadow_refusals`](crate::AuthStats::shadow_refusals), and is a line in the
    /// log at `debug`. It uses up nothing, as if it had been refused, and the rate-limit header
    /// fields say that nothing is left; there is no `Retry-After`. Requests that could only be
    /// counted by the gateway pass uncounted, and so do those without an address where a rule
    /// counts by it.
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(2, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(Limits::local().shadow())
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// for _ in 0..5 {
    ///     gate.authenticate_key(key.secret(), &AuthContext::new("/orders")).await?;
    /// }
    /// assert_eq!(gate.stats().shadow_refusals, 3);
    /// # Ok(()) }
    /// ```
    pub fn shadow(mut self) -> Self {
        self.shadow = true;
        self
    }

    /// Rules of the modes `per_key` and `per_key_and_ip` count each resource apart, as the gateway
    /// does. By default a key has one counter per rule over all resources.
    ///
    /// Where paths have parts that callers choose, let
    /// [`WachtAuthLayer::resource`](crate::WachtAuthLayer::resource) name the route instead of
    /// the path: otherwise each path has the whole limit, until the key has so many that the rest
    /// of them share a counter (see [`capacity`](Self::capacity)).
    ///
    /// ```
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(1, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let limits = Limits::local().per_resource_counters();
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(limits)
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let (orders, invoices) = (AuthContext::new("/orders"), AuthContext::new("/invoices"));
    /// assert!(gate.authenticate_key(key.secret(), &orders).await.is_ok());
    /// assert!(gate.authenticate_key(key.secret(), &invoices).await.is_ok());
    /// assert!(gate.authenticate_key(key.secret(), &orders).await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn per_resource_counters(mut self) -> Self {
        self.per_resource = true;
        self
    }

    /// How many keys and addresses are counted apart at the same time. Default: 100 000.
    ///
    /// Counters at rest are forgotten, after a minute while three quarters of the room are free and at
    /// once when they are not; one that is in use is never pushed out. Nobody can take all the room:
    /// under one rule, the resources of one key (where they are
    /// [counted apart](Self::per_resource_counters)), and the addresses of one network (a /48 of
    /// IPv6, a /24 of IPv4; of one key, where that is counted by), have at most a 16th of what is
    /// free. A caller who wants everything leaves 94 % of the room to others, ten of them leave
    /// 55 %, and forty 9 %. Choose several times what you expect at once, so that a network with
    /// many callers of yours finds room for them.
    ///
    /// What finds no room shares one counter with all others of its key or network that find none,
    /// and that counter admits what one caller may have. Room and these counters are found by a
    /// keyed hash, 16 384 places of each, so two keys or networks have one in common only by
    /// chance: with any of `n` others with a probability below `n` in 16 384 for each of the two.
    /// When all 16 384 counters are in use, which takes several rules and thousands of networks,
    /// what finds no room shares one counter per rule.
    ///
    /// It all takes some 160 bytes a counter, up to 800 under
    /// [`SlidingWindow`](Algorithm::SlidingWindow).
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, Limits, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key_and_ip(1, "minute", 1)]);
    /// let limits = Limits::local().capacity(1);
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .limits(limits)
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let key = wacht.issue_key("orders").issue();
    /// let mut admitted = Vec::new();
    /// for host in 1..=3 {
    ///     let from = AuthContext::new("/orders").client_ip(Ipv4Addr::new(192, 0, 2, host).into());
    ///     admitted.push(gate.authenticate_key(key.secret(), &from).await.is_ok());
    /// }
    /// assert_eq!(admitted, [true, true, false], "the second and the third share a counter");
    /// # Ok(()) }
    /// ```
    pub fn capacity(mut self, subjects: usize) -> Self {
        self.capacity = subjects;
        self
    }

    /// Whether a store counts for all replicas.
    #[cfg(feature = "redis")]
    pub(crate) fn is_shared(&self) -> bool {
        self.enforcement == Enforcement::Shared
    }

    /// Whether every request is its own check at the gateway.
    pub(crate) fn is_gateway(&self) -> bool {
        self.enforcement == Enforcement::Gateway
    }

    /// Why these limits cannot be applied, in whatever order their options were given.
    pub(crate) fn problem(&self) -> Option<String> {
        if !matches!(self.enforcement, Enforcement::Local | Enforcement::Shared) {
            return None;
        }
        let rules = self.rules.as_deref().unwrap_or_default();
        rules.iter().find_map(|rule| {
            let why = match RuleSpec::mirror(rule) {
                None => "cannot be counted",
                Some(spec) => match self.share(spec) {
                    None => "is smaller than the number of replicas",
                    Some(_) => return None,
                },
            };
            Some(format!(
                "the fixed rate-limit rule {} {why}",
                in_words(rule)
            ))
        })
    }

    /// The rules in the gate's own terms, each with this process's share; `None` if one of them
    /// cannot be counted here. Without any, the gateway's default of 1000 requests a minute per
    /// app applies.
    pub(crate) fn specs(&self, rules: &[RateLimitRule]) -> Option<Vec<RuleSpec>> {
        let share = |spec: RuleSpec| self.share(spec);
        if rules.is_empty() {
            return share(RuleSpec::default()).map(|default| vec![default]);
        }
        let mirrored = rules
            .iter()
            .map(|rule| RuleSpec::mirror(rule).and_then(share));
        mirrored.collect()
    }
}

impl Limits {
    /// Of a rule, what this process counts: its share, or all of it where the replicas count together.
    fn share(&self, spec: RuleSpec) -> Option<RuleSpec> {
        match (self.enforcement, self.replicas) {
            (Enforcement::Shared, _) | (_, None) => Some(spec),
            (_, Some(replicas)) => spec.share(replicas),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::local()
    }
}

/// `per_key:3/2 minute`, with what cannot be read as it came.
fn in_words(rule: &RateLimitRule) -> String {
    let mode = rule.mode.as_ref().map_or("per_app", RateLimitMode::as_str);
    let unit = rule.unit.as_str();
    format!("`{mode}:{}/{} {unit}`", rule.max_requests, rule.duration)
}

/// How many keys and addresses a gate counts at the same time unless told otherwise.
const DEFAULT_CAPACITY: usize = 100_000;
