//! Where events go to reach other replicas.

use std::pin::Pin;

use super::event::ManagementEvent;
use super::listener::{Order, Outcome};
#[cfg(feature = "redis")]
use crate::client::{Result, WachtClient};

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
    /// wait. Whether it is.
    fn told(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// The call goes out although the others may not have been told that it is.
    fn is_sent_untold(&self, sent: Order);

    /// Whether nobody reads what the others tell: one atomic load.
    fn is_idle(&self) -> bool;

    /// Has somebody read it on the current runtime, unless somebody does.
    fn keep_current(&self);

    /// Events that the others have not been told of yet.
    fn untold(&self) -> usize;
}

/// What makes a client one of the replicas that hear of each other's events.
#[cfg(feature = "redis")]
pub(crate) trait EventStore: Send + Sync {
    /// Gives the client a sink.
    ///
    /// # Errors
    ///
    /// It has another one.
    fn join(&self, client: &WachtClient) -> Result<()>;
}
