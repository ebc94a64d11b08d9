//! What goes wrong with the management API: said once for each kind of trouble, then counted.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use http::StatusCode;

use crate::client::Error;
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

/// The troubles there have been since the directory was last up to date.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    told: [Notice; KINDS],
    failures: AtomicU64,
    no_apps: Notice,
}

/// What is told apart in the log.
#[derive(Clone, Copy)]
enum TroubleKind {
    /// The management key is refused, which waiting does not mend.
    KeyRefused,
    OtherDeployment,
    TooMany,
    /// There is no answer, or a 5xx.
    Unavailable,
    /// There is an answer that says nothing.
    Unusable,
}

const KINDS: usize = 5;

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

    pub(super) fn is_too_many(&self) -> bool {
        matches!(self.kind(), TroubleKind::TooMany)
    }

    /// Whether another call of the same kind would end no better.
    pub(super) fn is_about_all(&self) -> bool {
        !matches!(self.kind(), TroubleKind::Unusable)
    }
}

// === impl Troubles ===

impl Troubles {
    /// Says so if it is the first of its kind. `what` is what comes of it.
    pub(super) fn met(&self, reason: &NoAnswer, what: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let kind = reason.kind();
        let Some(notice) = self.told.get(kind as usize) else {
            return;
        };
        if !notice.is_first() {
            return;
        }
        match kind {
            TroubleKind::KeyRefused => tracing::error!(
                target: GATE,
                hint = "the management API does not accept the key of the client (WACHT_API_KEY)",
                "{what}"
            ),
            TroubleKind::OtherDeployment => tracing::error!(
                target: GATE,
                "the management key belongs to another deployment than the gate"
            ),
            _ => tracing::warn!(target: GATE, ?reason, "{what}"),
        }
    }

    /// Says so once, as long as it is so.
    pub(super) fn no_apps(&self, is_so: bool) {
        if is_so {
            self.no_apps
                .warn_once("this Wacht deployment has no API auth app, so no key is its own");
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
        let failures = self.failures.swap(0, Ordering::Relaxed);
        if were_told {
            tracing::info!(target: GATE, failures, "the apps of the deployment are up to date again");
        }
    }
}
