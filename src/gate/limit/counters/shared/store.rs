//! What a limit asks of whoever counts for all replicas.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::registers::{RegisterBook, RegisterId, Registers};

/// Counts units for all replicas.
pub(crate) trait LeaseStore: RegisterBook + fmt::Debug {
    /// Grants units, or none, and counts what it is told.
    fn ask(&self, request: LeaseRequest) -> Answer<Result<Grant, NoGrant>>;

    /// Takes back what was not spent, as far as it is still known who granted it.
    fn give_back(&self, request: LeaseRequest, units: u32, of: GrantId) -> Answer<()>;

    /// Whether it failed so often that nobody should wait for it.
    fn is_away(&self) -> bool;

    /// How many replicas share it: the most seen alive lately. `None` where it was never seen.
    fn replicas(&self) -> Option<NonZeroU32>;

    /// Those that this replica has met.
    fn registers(&self) -> &Arc<Registers>;

    /// How long a request waits for it at most.
    fn deadline(&self) -> Duration;
}

pub(crate) type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Whom a rule counts, as all replicas call it and nobody else can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubjectId(pub(crate) [u8; 16]);

/// How the store counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Gcra,
    Sliding,
    Day,
    Month,
}

/// What is asked and told about one subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseRequest {
    pub(crate) subject: SubjectId,
    pub(crate) counting: Counting,
    pub(crate) max: u32,
    /// Of a calendar's rule, the longest.
    pub(crate) window: Duration,
    pub(crate) lease: Duration,
    /// So many units or none; at most `want`.
    pub(crate) need: u32,
    pub(crate) want: u32,
    /// Units spent without having been granted, to be counted whatever is left.
    pub(crate) told: u32,
    /// The epoch this replica knows, 0 for none, and when it was granted units last. By these the
    /// store knows what it has forgotten of the next two.
    pub(crate) epoch: u64,
    pub(crate) seen: u64,
    /// Units spent in the last window beside what is told.
    pub(crate) spent: u32,
    /// Of these, what was granted within four seconds before that.
    pub(crate) recent: u32,
    /// The register that has been told all of that.
    pub(crate) heard: RegisterId,
    /// When the day or month of `told` and `spent` began, in seconds since 1970; else 0.
    pub(crate) period: u64,
    /// Units booked after a request had passed.
    pub(crate) debt: u32,
    /// The register that was met last when this was written.
    pub(crate) register: RegisterId,
    /// All units of leases that had been spent by then. Not sent.
    pub(crate) leased: u64,
}

/// What the store grants; no unit where there are not as many as needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) units: u32,
    /// What the subject has left, of all replicas.
    pub(crate) left: u32,
    /// When there is more, or as much as was needed; `None` for never.
    pub(crate) more_in: Option<Duration>,
    /// How long they may be spent, from when they were asked for.
    pub(crate) lease: Duration,
    pub(crate) id: GrantId,
    pub(crate) register: RegisterId,
    /// Whether units are granted at all: otherwise others have still to tell what they have spent.
    pub(crate) is_complete: bool,
    /// From when it was asked to when it answered.
    pub(crate) took: Duration,
}

/// Who granted, and when by its own clock: only that one takes units back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantId {
    pub(crate) connection: u64,
    pub(crate) epoch: u64,
    pub(crate) at: u64,
}

/// The store did not answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoGrant {
    /// Whether it may have counted what it was told all the same.
    pub(crate) may_have_counted: bool,
}

impl LeaseRequest {
    /// Whether it is there to tell what was spent, and nobody waits for it.
    pub(crate) fn tells(&self) -> bool {
        self.want == 0
    }
}

impl GrantId {
    /// Whether it is of this epoch of the subject, or of the one before or after the store's clock was
    /// seen to step back.
    pub(super) fn is_of(self, epoch: u64) -> bool {
        self.epoch / 1_000 == epoch / 1_000
    }
}
