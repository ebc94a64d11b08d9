//! Where events go to reach other replicas.

use std::pin::Pin;
use std::time::Duration;

use super::event::ManagementEvent;
use super::listener::{Order, Outcome};
use super::pages::SharedPages;
use crate::client::StoreUnavailable;
#[cfg(feature = "redis")]
use crate::client::WachtClient;

/// Tells other replicas of events of this process. What comes back from them goes into
/// [`Events::begin_elsewhere`](super::Events::begin_elsewhere) and what is next to it.
///
/// It is told of one event at a time, in the order of their numbers, and must not come back to the
/// events of the client from there.
pub(crate) trait EventSink: Send + Sync {
    /// The call is about to be sent, as soon as what is handed over is [told](Self::told).
    fn begins(&self, event: &ManagementEvent, sent: Order);

    /// The call was answered, given up or dropped.
    fn settled(&self, event: &ManagementEvent, sent: Order, outcome: Outcome);

    /// Something that needs no call, and has been done here.
    fn done(&self, event: &ManagementEvent);

    /// Waits until all that was handed over is with the others, or for as long as a request may
    /// wait.
    ///
    /// # Errors
    ///
    /// It is not. It is tried again.
    fn told(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreUnavailable>> + Send + '_>>;

    /// Looks whether the store can be used.
    ///
    /// # Errors
    ///
    /// Why not.
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), StoreUnavailable>> + Send + '_>>;

    /// The call goes out although the others may not have been told that it is.
    fn is_sent_untold(&self, sent: Order);

    /// Whether nobody reads what the others tell: one atomic load.
    fn is_idle(&self) -> bool;

    /// Has somebody read it on the current runtime, unless somebody does.
    fn keep_current(&self);

    /// What replicas read for each other.
    fn pages(&self) -> &dyn SharedPages;

    /// What the store and the events of others have come to so far.
    fn stats(&self) -> StoreStats;
}

/// What a gate and the store that it shares with other replicas have come to so far: a part of
/// [`AuthStats`](crate::AuthStats).
///
/// With several gates in a process on one store, calls are those of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Whether the store has failed too often: for some seconds nothing is sent to it but one call
    /// to see.
    pub away: bool,
    /// Replicas that were alive when the store last said so, this one among them. `None` until it has.
    pub replicas: Option<u32>,
    /// Leases of units of shared limits that this gate has been granted and whose time is not over.
    pub leases: u64,
    /// Units of these leases, spent or not. What is left of them comes back to the others at their end,
    /// within 250 ms.
    pub leased_units: u64,
    /// Events of this replica that the others have not been told of yet.
    pub events_untold: u64,
    /// Events of the others that were there and not read, when that was last looked at.
    pub events_behind: u64,
    /// How often events of others may have been missed, after which all keys are verified again.
    pub events_missed: u64,
    /// Entries among the events that no replica of this version makes.
    pub events_skipped: u64,
    /// Calls of the store that were answered.
    pub calls: u64,
    /// Calls that were sent and not answered, or answered by an error.
    pub failed_calls: u64,
    /// How long the answered ones took together.
    pub call_time: Duration,
}

/// What makes a client one of the replicas that hear of each other's events.
#[cfg(feature = "redis")]
pub(crate) trait EventStore: Send + Sync {
    /// Gives the client a sink.
    ///
    /// # Errors
    ///
    /// It has another one.
    fn join(&self, client: &WachtClient) -> crate::Result<()>;
}
