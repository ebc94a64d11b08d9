//! How often lists of keys are read, and how much of them.

use std::time::Duration;

/// Reads the lists of keys of the apps in use, so that what is revoked, ended or taken from a key
/// elsewhere is seen within seconds, not within the minutes that verdicts live. Off by default:
/// [`WachtAuthLayerBuilder::watch`](crate::WachtAuthLayerBuilder::watch).
///
/// A list comes from Wacht's database, without the 60 s for which the gateway goes on saying yes. One
/// app after the other is read, as long as a verdict of its keys may be used. What a list says:
///
/// * A key that it lacks is looked for once more among the revoked ones. If it is one, it is
///   refused from then on, whatever the gateway still says of it.
/// * When a key ends. From then on it ends to the second, outage or not.
/// * What a key may do. What was taken from it is taken here at once; what was added comes as soon as
///   the gateway says so, too.
///
/// A list that fails, is cut or cannot be read changes nothing. Access tokens are in no list. Where
/// nothing is cached, as by [`CachePolicy::disabled`](crate::CachePolicy::disabled), only keys are watched
/// whose end is [waited for](crate::Principal::ended).
///
/// # How soon
///
/// No later than the longer of the interval and `apps in use × 60 s / calls a minute`, and two calls, the
/// second of which may have to wait for its share of the minute. With an interval of 5 s and 30 calls: 5 s
/// for up to 2 apps, 20 s for 10, 400 s for 200, and 2 s where all 30 are used.
/// [`AuthStats::watch`](crate::AuthStats::watch) says what it is now.
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::dev::{DevGateway, ManualClock};
/// use wacht_auth::{AuthContext, Watch, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let wacht = DevGateway::start().await.clock(&clock).revocation_lag(Duration::from_secs(60));
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::builder(wacht.client())
///     .clock(&clock)
///     .watch(Watch::every(Duration::from_secs(5)))
///     .build()?
///     .app("orders");
/// let gate = gate.handle();
/// let context = AuthContext::new("/orders");
/// gate.authenticate_key(key.secret(), &context).await?;
///
/// wacht.revoke(key.key_id()); // in the console, say
/// clock.advance(Duration::from_secs(5));
/// while gate.authenticate_key(key.secret(), &context).await.is_ok() {
///     tokio::task::yield_now().await; // the two calls
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Watch {
    pub(super) interval: Duration,
    pub(super) calls_a_minute: usize,
    pub(super) answer_limit: usize,
}

impl Watch {
    /// Reads the list of an app this long after it was read before, where the calls suffice. 1 s is
    /// the shortest interval, and what a shorter one is taken as.
    pub fn every(interval: Duration) -> Self {
        Self {
            interval: interval.max(SHORTEST),
            calls_a_minute: CALLS_A_MINUTE,
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// How many calls of the management API it makes in any minute at most, evenly spread.
    /// Default: 30; 0 is taken as 1. The gate reads apps and their rules with 30 more.
    ///
    /// All of it comes out of the 1000 calls a minute of the deployment, which your own calls need,
    /// revocations among them, and every process of the service spends as much; those that share a
    /// store spend it together for the apps that they all see. When Wacht answers that
    /// it was called too often, nothing is read for a minute, and half as often for ten.
    pub fn calls_a_minute(mut self, calls: u32) -> Self {
        self.calls_a_minute = usize::try_from(calls.max(1)).unwrap_or(usize::MAX);
        self
    }

    /// How many bytes of a list are read. Default: 4 MiB, some 6000 keys, as a list takes about
    /// 700 bytes a key, and more with long metadata.
    ///
    /// An app whose list is longer is left out: its keys are refused when the gateway says so, as
    /// without the watch. The log says so once, and it is tried again every 10 minutes. A list with the
    /// revoked keys of an app, which is read when a key is missing, may be eight times as long; where it
    /// is longer, that key is verified again at its next request, and refused when the gateway says so;
    /// `longest_unseen` grows.
    pub fn answer_limit(mut self, bytes: usize) -> Self {
        self.answer_limit = bytes;
        self
    }
}

const SHORTEST: Duration = Duration::from_secs(1);
const CALLS_A_MINUTE: usize = 30;
const ANSWER_LIMIT: usize = 4 << 20;
