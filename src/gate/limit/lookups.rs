//! How many look-ups that fail one client address may cause.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::counters::{ClockReading, CounterState, GcraCounter};
use super::subjects::{LimitSubject, Subjects};
use crate::clock::Now;
use crate::gate::request::client_ip::ClientIp;

/// How many look-ups of keys that turn out bad one client address may cause at the gateway.
///
/// Charged by failures alone: by the gateway's definite no, and by keys of other customers. An
/// address that has used up its share is answered 429 with `Retry-After` before the gateway is
/// asked, for every key that the gate does not know, good ones among them. Keys in the cache pass
/// as ever, and what is refused without a call (malformed, or known to be bad) still gets its 400
/// or 401.
///
/// Addresses are those of [`client_ip`](crate::WachtAuthLayerBuilder::client_ip), IPv6 ones cut to its
/// prefix. A request without one is not limited. 16 384 addresses are counted apart at a time, and
/// none of them is pushed out before its share is whole again. One network (a /48 of IPv6, a /24 of
/// IPv4) has at most a 16th of what room there is; what finds none has one share for the whole of
/// its network.
///
/// A look-up counts when it has failed, so those that are under way at the same time may be more
/// than the share. They are paid for afterwards: for up to a minute longer the address has to
/// wait.
///
/// ```
/// use std::net::IpAddr;
/// use wacht_auth::dev::{DevGateway, ManualClock};
/// use wacht_auth::{AuthContext, RejectionKind, UnknownKeyLimit, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let clock = ManualClock::new();
/// # let wacht = DevGateway::start().await.clock(&clock);
/// let good = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::builder(wacht.client())
/// #     .clock(&clock)
///     .unknown_key_limit(UnknownKeyLimit::per_second(1).burst(2))
///     .build()?
///     .app("orders");
/// let gate = gate.handle();
/// let from = AuthContext::new("/orders").client_ip(IpAddr::from([192, 0, 2, 7]));
/// gate.authenticate_key(good.secret(), &from).await?;
///
/// let mut met = Vec::new();
/// for guess in 0..3 {
///     let guess = format!("sk_test_{guess:043}");
///     met.push(gate.authenticate_key(&guess, &from).await.unwrap_err().kind());
/// }
/// let (wrong, limited) = (RejectionKind::InvalidKey, RejectionKind::RateLimited);
/// assert_eq!(met, [wrong, wrong, limited]);
/// assert!(gate.authenticate_key(good.secret(), &from).await.is_ok(), "known before");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct UnknownKeyLimit(Option<Share>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// The failed look-ups of each address; `None` where nobody is limited.
pub(crate) struct FailedLookups(Option<LookupCounters>);

struct LookupCounters {
    gcra: GcraCounter,
    subjects: Subjects,
}

/// Whose look-up it is: an address as it is counted, canonical and cut to its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LookupSource(IpAddr);

// === impl UnknownKeyLimit ===

impl UnknownKeyLimit {
    /// So many a second, sustained, and ten seconds' worth at once. Zero is taken as 1.
    pub fn per_second(lookups: u32) -> Self {
        Self(Some(Share {
            per_second: at_least_one(lookups),
            burst: at_least_one(lookups.saturating_mul(10)),
        }))
    }

    /// So many at once. Zero is taken as 1. No effect on [`off`](Self::off).
    pub fn burst(self, lookups: u32) -> Self {
        Self(self.0.map(|share| Share {
            burst: at_least_one(lookups),
            ..share
        }))
    }

    /// Nobody is limited.
    ///
    /// Where every caller comes from one address, and a gate that is told about its proxies would
    /// limit them all together:
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{AuthContext, ClientIp, RejectionKind, UnknownKeyLimit, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.app("orders");
    /// let gate = WachtAuthLayer::builder(wacht.client())
    ///     .client_ip(ClientIp::trusted_proxies(["10.0.0.0/8"])?) // which would switch it on
    ///     .unknown_key_limit(UnknownKeyLimit::off())
    ///     .build()?
    ///     .app("orders");
    /// let gate = gate.handle();
    /// let from = AuthContext::new("/orders").client_ip(IpAddr::from([192, 0, 2, 7]));
    /// for guess in 0..120 {
    ///     let guess = format!("sk_test_{guess:043}");
    ///     let refused = gate.authenticate_key(&guess, &from).await.unwrap_err();
    ///     assert_eq!(refused.kind(), RejectionKind::InvalidKey);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn off() -> Self {
        Self(None)
    }
}

/// 10 a second, 100 at once.
impl Default for UnknownKeyLimit {
    fn default() -> Self {
        Self::per_second(10)
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

// === impl FailedLookups ===

impl FailedLookups {
    pub(crate) fn new(limit: UnknownKeyLimit) -> Self {
        Self(limit.0.map(|Share { per_second, burst }| {
            // No overflow: the largest burst takes 2^32 seconds, 2^62 nanoseconds.
            let refill = u64::from(burst.get()) * SECOND / u64::from(per_second.get());
            LookupCounters {
                gcra: GcraCounter::new(burst.get(), Duration::from_nanos(refill)),
                subjects: Subjects::new(CAPACITY),
            }
        }))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How many addresses are counted apart.
    pub(super) fn sources(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |counters| counters.subjects.len())
    }

    /// Whether this address may cause another look-up now, and if not, how long until it may.
    pub(crate) fn look(&self, source: LookupSource, now: Now) -> Result<(), Duration> {
        let Some(LookupCounters { gcra, subjects }) = &self.0 else {
            return Ok(());
        };
        match subjects.known(&source.subject()).as_deref() {
            Some(CounterState::Gcra(state)) => gcra.look(state, now.into(), 1),
            _ => Ok(()),
        }
    }

    /// A look-up that this address caused has failed.
    pub(crate) fn charge(&self, source: LookupSource, now: Now) {
        let Some(LookupCounters { gcra, subjects }) = &self.0 else {
            return;
        };
        let unused = CounterState::Gcra(Default::default());
        let state = subjects.state(&source.subject(), &unused, ClockReading::from(now));
        if let Some(CounterState::Gcra(state)) = state.as_deref() {
            gcra.book_debt(state, now.into(), 1, LONGEST_DEBT);
        }
    }
}

impl fmt::Debug for FailedLookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gcra = self.0.as_ref().map(|counters| &counters.gcra);
        f.debug_struct("FailedLookups")
            .field("gcra", &gcra)
            .field("sources", &self.sources())
            .finish()
    }
}

// === impl LookupSource ===

impl LookupSource {
    pub(crate) fn new(address: IpAddr, client_ip: &ClientIp) -> Self {
        Self(client_ip.subject(address))
    }

    fn subject(self) -> LimitSubject {
        LimitSubject {
            rule: 0,
            key: None,
            address: Some(self.0),
            resource: 0,
        }
    }
}

const SECOND: u64 = 1_000_000_000;

/// Addresses counted at the same time: some 3 MB when full.
pub(super) const CAPACITY: usize = 16_384;

/// How long an address waits at most, beyond the time its share takes to be whole again.
const LONGEST_DEBT: Duration = Duration::from_secs(60);
