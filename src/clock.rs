//! The one place that reads time.
//!
//! Every step of the gate takes [`Now`] as an argument; only whoever starts a step reads the
//! clock. So one request sees one moment, and a test can choose which.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "test-util")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

#[cfg(feature = "test-util")]
use self::sleep::{Moved, move_to, moved};

mod sleep;

pub(crate) use self::sleep::SleepUntil;

/// Where a gate takes the time from: the system, or a hand that moves it.
///
/// The default is the system's clocks. With the feature `test-util`, a `ManualClock` converts
/// into a `Clock` that stands still until it is moved.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System {
        origin: Instant,
        wall: Arc<Wall>,
    },
    #[cfg(feature = "test-util")]
    Manual(Arc<Mutex<Moved>>),
}

/// One reading of both clocks.
///
/// Ages are measured on `monotonic`; `unix` is there because a suspended machine stops the
/// monotonic clock on some systems, and because Wacht states expiry in wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Time since the clock was made. Never steps back.
    pub(crate) monotonic: Duration,
    /// Time since 1970-01-01 00:00 UTC, zero for anything before.
    pub(crate) unix: Duration,
}

/// By when something has to have come, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Duration);

impl Deadline {
    pub(crate) fn after(now: Now, span: Duration) -> Self {
        Self(now.monotonic.saturating_add(span))
    }

    /// The time until then; zero if it is over.
    pub(crate) fn left(self, now: Now) -> Duration {
        self.0.saturating_sub(now.monotonic)
    }

    pub(crate) fn is_over(self, now: Now) -> bool {
        self.0 <= now.monotonic
    }
}

impl Clock {
    /// The system's monotonic and wall clocks.
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let origin = Instant::now();
        let wall = Arc::default();
        Self(Source::System { origin, wall })
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    #[inline]
    pub(crate) fn now(&self) -> Now {
        match &self.0 {
            Source::System { origin, wall } => {
                let monotonic = origin.elapsed();
                Now {
                    monotonic,
                    unix: wall.at(monotonic),
                }
            }
            #[cfg(feature = "test-util")]
            Source::Manual(manual) => moved(manual).now,
        }
    }
}

/// The wall clock, read once a millisecond of the monotonic one: to read both for every request would
/// cost twice as much, and nothing here depends on a millisecond of wall-clock time.
#[derive(Debug, Default)]
struct Wall {
    /// From the monotonic clock to the time since 1970, in nanoseconds.
    ahead: AtomicI64,
    /// Monotonic nanoseconds up to which that is good.
    good_until: AtomicU64,
}

impl Wall {
    const GOOD_FOR: u64 = 1_000_000;

    fn at(&self, monotonic: Duration) -> Duration {
        let now = nanoseconds(monotonic);
        // Acquire: who sees how long it is good sees what is.
        let ahead = if now < self.good_until.load(Ordering::Acquire) {
            self.ahead.load(Ordering::Relaxed)
        } else {
            self.read(now)
        };
        let unix = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(ahead);
        Duration::from_nanos(u64::try_from(unix).unwrap_or(0))
    }

    #[cold]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn read(&self, now: u64) -> i64 {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let unix = i64::try_from(unix.as_nanos()).unwrap_or(i64::MAX);
        let ahead = unix.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        self.ahead.store(ahead, Ordering::Relaxed);
        self.good_until
            .store(now.saturating_add(Self::GOOD_FOR), Ordering::Release);
        ahead
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System { .. } => "Clock(system)",
            #[cfg(feature = "test-util")]
            Source::Manual(_) => "Clock(manual)",
        })
    }
}

/// A duration as an atomic can hold it, and as governor can bear it: [`LONGEST`] at most.
pub(crate) fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).map_or(LONGEST, |nanoseconds| nanoseconds.min(LONGEST))
}

/// About 146 years, in nanoseconds, are enough for a clock. governor adds three of these at most, and
/// panics on overflow.
pub(crate) const LONGEST: u64 = 1 << 62;

/// A clock that stands still until it is moved, for tests.
///
/// The gate and the dev gateway each have a clock of their own: give the same one to
/// [`WachtAuthLayerBuilder::clock`](crate::WachtAuthLayerBuilder::clock) and to
/// [`DevGateway::clock`](crate::dev::DevGateway::clock), or one of them stays behind.
///
/// It drives everything in a gate that depends on the time of day or on ages: freshness of
/// verdicts, rate limits, back-off, the end of a caller that somebody waits for. It does not drive
/// network time-outs, which are tokio's. Do not pause tokio's own clock in a test that uses sockets:
/// its time-outs then fire at once.
///
/// Clones share the same time.
///
/// ```
/// use std::time::Duration;
/// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
/// use wacht_auth::{AuthContext, RejectionKind, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let wacht = DevGateway::start().await.clock(&clock);
/// wacht.app("orders").scheme([DevRule::per_key(1, "minute", 1)]);
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).build()?.app("orders");
/// let gate = gate.handle();
///
/// let context = AuthContext::new("/orders");
/// gate.authenticate_key(key.secret(), &context).await?;
/// let refused = gate.authenticate_key(key.secret(), &context).await.unwrap_err();
/// assert_eq!(refused.kind(), RejectionKind::RateLimited);
///
/// clock.advance(Duration::from_secs(60));
/// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
/// # Ok(()) }
/// ```
#[cfg(feature = "test-util")]
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Moved>>);

#[cfg(feature = "test-util")]
impl ManualClock {
    /// A clock that shows the present wall-clock time and stands still.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn new() -> Self {
        Self::at(
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        )
    }

    /// A clock that shows `unix_time` (since 1970-01-01 00:00 UTC) and stands still.
    ///
    /// For what begins at a certain time of day, such as a limit per calendar day:
    ///
    /// ```
    /// use std::time::Duration;
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let new_years_eve = Duration::from_secs(1_767_225_590); // 23:59:50 UTC
    /// let clock = ManualClock::at(new_years_eve);
    /// let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_key(1, "calendar_day", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::builder(wacht.client()).clock(&clock).build()?.app("orders");
    /// let gate = gate.handle();
    ///
    /// let context = AuthContext::new("/orders");
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_err());
    /// clock.advance(Duration::from_secs(10));
    /// assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn at(unix_time: Duration) -> Self {
        // Not zero, so that subtractions from "now" in a test have somewhere to go.
        let monotonic = Duration::from_secs(1_000_000);
        let now = Now {
            monotonic,
            unix: unix_time,
        };
        Self(Arc::new(Mutex::new(Moved::at(now))))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        move_to(&self.0, |now| {
            now.monotonic = now.monotonic.saturating_add(by);
            now.unix = now.unix.saturating_add(by);
        });
    }

    /// Sets the wall clock alone, forward or back, as an administrator or NTP does: to this time
    /// since 1970-01-01 00:00 UTC.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use wacht_auth::dev::ManualClock;
    ///
    /// let clock = ManualClock::new();
    /// let an_hour_ago = clock.unix_time() - Duration::from_secs(3600);
    /// clock.set_unix_time(an_hour_ago);
    /// assert_eq!(clock.unix_time(), an_hour_ago);
    /// ```
    pub fn set_unix_time(&self, unix_time: Duration) {
        move_to(&self.0, |now| now.unix = unix_time);
    }

    /// What the wall clock shows: the time since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn unix_time(&self) -> Duration {
        moved(&self.0).now.unix
    }
}

#[cfg(feature = "test-util")]
impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock")
            .field(&moved(&self.0).now)
            .finish()
    }
}

#[cfg(feature = "test-util")]
impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "test-util")]
impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self(Source::Manual(manual.0))
    }
}

#[cfg(feature = "test-util")]
impl From<&ManualClock> for Clock {
    fn from(manual: &ManualClock) -> Self {
        Self(Source::Manual(Arc::clone(&manual.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(ahead: i64, good_until: u64) -> Wall {
        Wall {
            ahead: ahead.into(),
            good_until: good_until.into(),
        }
    }

    #[test]
    fn between_two_readings_the_wall_clock_goes_as_the_monotonic_one() {
        let wall = wall(1_000, 50);
        for now in [0, 1, 49] {
            let now = Duration::from_nanos(now);
            assert_eq!(wall.at(now), now + Duration::from_nanos(1_000));
        }
    }

    #[test]
    fn a_reading_is_good_for_a_millisecond_and_takes_the_place_of_a_wrong_one() {
        let now = Duration::from_secs(7);
        let good = nanoseconds(now) + Wall::GOOD_FOR;
        for ahead in [i64::MIN, -1, 0, 1, i64::MAX] {
            let wall = wall(ahead, nanoseconds(now));
            let read = wall.at(now);
            assert!(read > Duration::from_secs(1_700_000_000), "{read:?}");
            assert_eq!(wall.good_until.load(Ordering::Relaxed), good);
            assert_eq!(wall.at(now), read);
        }
    }

    #[test]
    fn no_wall_clock_is_before_1970_or_too_far_ahead() {
        let until = u64::MAX;
        assert_eq!(
            wall(i64::MIN, until).at(Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!(wall(-2, until).at(Duration::from_nanos(1)), Duration::ZERO);
        let last = Duration::from_nanos(i64::MAX.unsigned_abs());
        assert_eq!(wall(i64::MAX, until).at(Duration::from_secs(1)), last);
        let _ = wall(0, 0).at(Duration::MAX);
    }

    #[test]
    fn no_duration_is_too_long_for_governor() {
        for (duration, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(LONGEST - 1), LONGEST - 1),
            (Duration::from_nanos(LONGEST), LONGEST),
            (Duration::from_nanos(u64::MAX), LONGEST),
            (Duration::MAX, LONGEST),
        ] {
            assert_eq!(nanoseconds(duration), expected);
        }
    }

    #[test]
    fn both_clocks_of_the_system_go_forward_together() {
        let clock = Clock::system();
        let first = clock.now();
        let second = clock.now();
        assert!(second.monotonic >= first.monotonic);
        assert!(first.unix > Duration::from_secs(1_700_000_000));
    }
}
