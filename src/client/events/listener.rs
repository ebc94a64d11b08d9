//! Who hears of events, and what they are told.

use super::event::ManagementEvent;

/// Whoever wants to know. For each event, [`begins`](Self::begins) is called once, and
/// [`settled`](Self::settled) once after it.
///
/// It is told of one event at a time, in the order of their numbers, and must not come back to the
/// events of the client from here. The same revocation may come twice, by two calls that name the
/// same key, or as a new one of something that is refused already: it has to be idempotent.
pub(crate) trait Listener: Send + Sync {
    /// The call is about to be sent. What is returned comes back with the outcome.
    fn begins(&self, event: &ManagementEvent, sent: Order) -> RevocationId;

    /// The call was answered, given up or dropped.
    fn settled(&self, event: &ManagementEvent, id: RevocationId, settled: Settled);

    /// Events of other replicas were missed, nobody knows which.
    #[cfg(feature = "redis")]
    fn missed(&self);
}

/// Tells one announcement from another, for the listener that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RevocationId(pub(crate) u64);

/// The place of a moment among all moments at which calls of a client, or its clones, were sent or
/// answered. A lower number was earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order(pub(crate) u64);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    /// Taken just before the call was sent; before everything, for one of another replica's that may
    /// have overlapped with anything.
    pub(crate) sent: Order,
    /// Taken when the call was answered; `None` for one that never was, or whose answer says
    /// nothing: it may still be on its way.
    pub(crate) answered: Option<Order>,
}

/// What the answer to a call says about what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done, by this call or by an earlier one.
    Done,
    /// Definitely nothing happened: Wacht said so, or nothing was sent.
    Nothing,
    /// It may have happened, or may still: there was no answer, or one that says nothing.
    Indeterminate,
}

impl Settled {
    /// Whether this was over before a call that was sent at `sent`. If not, the two overlapped, and
    /// nobody knows in which order Wacht has processed them.
    ///
    /// Opening an app lifts the closures of it that were over before, and no other.
    pub(crate) fn was_over_before(&self, sent: Order) -> bool {
        self.answered.is_some_and(|answered| answered < sent)
    }
}
