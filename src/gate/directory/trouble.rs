//! What goes wrong with the management API: said once for each kind of trouble, then counted.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

use crate::client::Error;
use crate::clock::Now;
use crate::clock::nanoseconds;
use crate::log::GATE;
use crate::log::Notice;

/// Why a management call brought no answer that could be used.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Failed(Error),
    /// The answer is about another deployment than ours.
    OtherDeployment,
    /// The answer is about another app than the one asked for.
    OtherApp,
}

/// The gateway, which the management API asks about the management key: while it cannot, it
/// answers 401 to any key.
pub(crate) trait Gateway: Send + Sync {
    /// Whether it is known to fail now.
    fn is_failing(&self, now: Now) -> bool;

    /// Whether it has answered a check since then.
    fn has_answered_since(&self, since: Duration) -> bool;
}

/// The troubles there have been since the directory was last up to date.
#[derive(Debug)]
pub(super) struct Troubles {
    told: [Notice; KINDS],
    failures: AtomicU64,
    no_apps: Notice,
    /// That a 401 may be the gateway's fault, which is told once until the gateway answers.
    unsure: Notice,
    /// Monotonic nanoseconds: when there was a 401 of which nobody knows yet whose fault it is.
    unsure_since: AtomicU64,
}

/// What is told apart in the log.
#[derive(Clone, Copy)]
enum TroubleKind {
    /// The management key is refused, which waiting does not mend.
    KeyRefused,
    /// The same, but perhaps because the gateway could not be asked about it.
    KeyUnchecked,
    OtherDeployment,
    TooMany,
    /// There is no answer, or a 5xx.
    Unavailable,
    /// There is an answer that says nothing.
    Unusable,
}

const KINDS: usize = 6;

// === impl NoAnswer ===

impl NoAnswer {
    fn kind(&self) -> TroubleKind {
        let error = match self {
            Self::OtherDeployment => return TroubleKind::OtherDeployment,
            Self::OtherApp => return TroubleKind::Unusable,
            Self::Failed(error) => error,
        };
        match error.status() {
            Some(StatusCode::UNAUTHORIZED) => TroubleKind::KeyRefused,
            Some(StatusCode::TOO_MANY_REQUESTS) => TroubleKind::TooMany,
            _ if error.is_transient() => TroubleKind::Unavailable,
            _ => TroubleKind::Unusable,
        }
    }

    /// What is at the bottom of it, where its text does not say.
    fn cause(&self) -> Option<&dyn StdError> {
        match self {
            Self::Failed(error) => error.cause(),
            Self::OtherDeployment | Self::OtherApp => None,
        }
    }

    /// Whether the management key was refused.
    pub(super) fn is_key_refused(&self) -> bool {
        matches!(self.kind(), TroubleKind::KeyRefused)
    }

    pub(super) fn is_too_many(&self) -> bool {
        matches!(self.kind(), TroubleKind::TooMany)
    }

    /// Whether it is longer than what is read of it.
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::Failed(Error::Decode(error)) if error.is_too_long())
    }

    /// Whether Wacht has said that there is no such app.
    pub(super) fn is_app_not_found(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_app_not_found())
    }

    /// Whether another call of the same kind would end no better.
    pub(super) fn is_about_all(&self) -> bool {
        !matches!(self.kind(), TroubleKind::Unusable)
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::OtherDeployment => f.write_str("the answer is about another deployment"),
            Self::OtherApp => f.write_str("the answer is about another app"),
        }
    }
}

// === impl Troubles ===

impl Troubles {
    pub(super) fn new() -> Self {
        Self {
            told: Default::default(),
            failures: AtomicU64::new(0),
            no_apps: Notice::new(),
            unsure: Notice::new(),
            unsure_since: AtomicU64::new(NEVER),
        }
    }

    /// A call has failed. `what` is what comes of it.
    pub(super) fn met(&self, reason: &NoAnswer, what: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.tell(reason.kind(), Some(reason), what);
    }

    /// A call that was sent then has failed because the management key was refused: the key's
    /// fault if the gateway is well, else nobody knows.
    pub(super) fn met_refusal(
        &self,
        what: &str,
        gateway: &dyn Gateway,
        sent_at: Duration,
        now: Now,
    ) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if gateway.is_failing(now) {
            self.unsure_since.store(NEVER, Ordering::Relaxed);
            self.tell(TroubleKind::KeyUnchecked, None, what);
        } else if gateway.has_answered_since(sent_at.saturating_sub(JUST_BEFORE)) {
            self.unsure_since.store(NEVER, Ordering::Relaxed);
            self.tell(TroubleKind::KeyRefused, None, what);
        } else {
            // The check that ends next may say.
            let at = nanoseconds(now.monotonic);
            if self.unsure_since.swap(at, Ordering::Relaxed) != NEVER {
                self.tell(TroubleKind::KeyUnchecked, None, what);
            }
        }
    }

    /// A check has ended, answered or not: if there was a refusal no longer ago than `at_most`, it
    /// says whose fault that was. One relaxed load or two if there was none.
    pub(super) fn gateway_heard(
        &self,
        what: impl FnOnce() -> &'static str,
        gateway: &dyn Gateway,
        at_most: Duration,
        now: Now,
    ) {
        let since = self.unsure_since.load(Ordering::Relaxed);
        if since == NEVER && !self.unsure.was_said() {
            return;
        }
        let is_failing = gateway.is_failing(now);
        if !is_failing {
            self.unsure.is_over();
        }
        let is_near = nanoseconds(now.monotonic).saturating_sub(since) <= nanoseconds(at_most);
        if since == NEVER || !is_near {
            return;
        }
        self.unsure_since.store(NEVER, Ordering::Relaxed);
        let kind = match is_failing {
            true => TroubleKind::KeyUnchecked,
            false => TroubleKind::KeyRefused,
        };
        self.tell(kind, None, what());
    }

    /// Says so if it is the first of its kind.
    fn tell(&self, kind: TroubleKind, reason: Option<&NoAnswer>, what: &str) {
        let Some(notice) = self.told.get(kind as usize) else {
            return;
        };
        if !notice.is_first() {
            return;
        }
        match kind {
            TroubleKind::KeyRefused => tracing::error!(
                target: GATE,
                hint = KEY_IS_REFUSED,
                "{what}"
            ),
            TroubleKind::KeyUnchecked => self.unsure.warn_once(
                "the management API answers 401, as it does while it cannot ask the gateway about its key",
            ),
            TroubleKind::OtherDeployment => tracing::error!(
                target: GATE,
                hint = "is it the key of this environment, and `.deployment(..)` right?",
                "the management key belongs to another deployment than the gate"
            ),
            _ => tracing::warn!(
                target: GATE,
                error = reason.map(tracing::field::display),
                cause = reason.and_then(NoAnswer::cause).map(tracing::field::display),
                "{what}"
            ),
        }
    }

    /// Says so once, as long as it is so.
    pub(super) fn no_apps(&self, is_so: bool) {
        if is_so {
            let has_none = "this Wacht deployment has no API auth app, so no key is its own";
            self.no_apps.warn_once(has_none);
        } else {
            self.no_apps.is_over();
        }
    }

    /// The directory is up to date.
    pub(super) fn over(&self) {
        let mut were_told = false;
        for notice in &self.told {
            were_told |= notice.is_over();
        }
        self.unsure_since.store(NEVER, Ordering::Relaxed);
        let failures = self.failures.swap(0, Ordering::Relaxed);
        if were_told {
            tracing::info!(target: GATE, failures, "the apps of the deployment are up to date again");
        }
    }
}

/// What a 401 of the management API says of the client.
pub(crate) const KEY_IS_REFUSED: &str = "the management API does not accept the key of the client \
    (WACHT_API_KEY): is it a management key, and one of this environment?";

const NEVER: u64 = u64::MAX;
/// An answer of the gateway this long before a call of the management API was sent says that the
/// gateway was well when that was answered. Not longer: an outage has to begin some time.
const JUST_BEFORE: Duration = Duration::from_millis(250);
