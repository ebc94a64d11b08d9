//! What there is to count, and the levels that go with it.

use crate::client::StoreStats;
use crate::gate::limit::Mode;
use crate::gate::stats::figures::WatchStats;

/// What a check of the gateway came to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GatewayResult {
    Allowed,
    Denied,
    RateLimited,
    PermissionDenied,
    Indeterminate,
    Failed,
    TimedOut,
}

/// Which limit refused a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LimitedBy {
    PerApp,
    PerKey,
    PerKeyAndIp,
    PerAppAndIp,
    PerIp,
    Gateway,
    UnknownKeys,
}

/// Whether the refusal was meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    Refused,
    Shadow,
}

/// Why what stands behind a gate can judge nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuardProblem {
    NoGate,
    NoRequirement,
}

/// What a gate holds at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    pub(crate) cached_keys: u64,
    pub(crate) cached_bytes: u64,
    pub(crate) refused_keys: u64,
    pub(crate) evicted_keys: u64,
    pub(crate) evicted_refused_keys: u64,
    pub(crate) limiter_subjects: usize,
    pub(crate) is_breaker_open: bool,
    pub(crate) watch: Option<WatchStats>,
    pub(crate) store: Option<StoreStats>,
}

// === impl GatewayResult ===

impl GatewayResult {
    pub(super) const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Denied,
        Self::RateLimited,
        Self::PermissionDenied,
        Self::Indeterminate,
        Self::Failed,
        Self::TimedOut,
    ];
}

// === impl LimitedBy ===

impl LimitedBy {
    pub(super) const ALL: [Self; 7] = [
        Self::PerApp,
        Self::PerKey,
        Self::PerKeyAndIp,
        Self::PerAppAndIp,
        Self::PerIp,
        Self::Gateway,
        Self::UnknownKeys,
    ];
}

impl From<Mode> for LimitedBy {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::App => Self::PerApp,
            Mode::Key => Self::PerKey,
            Mode::KeyAndIp => Self::PerKeyAndIp,
            Mode::AppAndIp => Self::PerAppAndIp,
            Mode::Ip => Self::PerIp,
        }
    }
}

// === impl Effect ===

impl Effect {
    pub(super) const ALL: [Self; 2] = [Self::Refused, Self::Shadow];
}
