//! What an entry of the stream does here.

use super::Replica;
use super::entry::{Entry, Event, Stage};
use super::seen::Progress;
use crate::client::events::{Events, ManagementEvent, Order, Outcome};

impl Replica {
    /// Has an entry count as if it had happened here, unless it has already.
    pub(super) fn apply(&self, entry: Entry) {
        let Entry { id, stage, event } = entry;
        let Some(events) = self.events.upgrade() else {
            return;
        };
        let is_own = id.0 == self.id;
        if is_own {
            self.has_come_back(id, stage);
        }
        // What was done here counts here already. Only whether an app was opened after others had
        // closed it can be told by the place among theirs.
        if is_own && !matches!(event, Event::OpenApp { .. }) {
            return;
        }
        // A call of ours that closes it and has no place yet may come after this one.
        let is_in_order = match &event {
            Event::OpenApp { app } => !self.is_closing(app),
            _ => true,
        };
        let now = self.clock.now().monotonic;
        let mut reader = self.reader();
        let progress = reader.seen.progress(id);
        let (sent, is_in_order, is_new) = match (progress, stage) {
            (Some(Progress::Settled), _) | (Some(_), Stage::Sent) => return,
            (Some(Progress::Begun { sent, is_in_order }), _) => (sent, is_in_order, false),
            // Its beginning was not told, so nobody knows what came before it.
            (None, stage) => {
                let is_in_order = is_in_order && stage == Stage::Sent;
                (Order(0), is_in_order, true)
            }
        };
        drop(reader);
        let sent = match is_new {
            true => events.begin_elsewhere(ManagementEvent::from(event)),
            false => sent,
        };
        let progress = match stage.outcome() {
            None => Progress::Begun { sent, is_in_order },
            Some(outcome) => {
                let lifts = is_in_order && stage == Stage::Done;
                events.settle_elsewhere(sent, outcome, lifts);
                Progress::Settled
            }
        };
        reader = self.reader();
        let unsettled = reader.seen.note(id, progress, now);
        drop(reader);
        give_up(&events, unsettled);
    }

    /// Settles what has no outcome for so long that there will be none.
    pub(super) fn settle_overdue(&self) {
        let now = self.clock.now().monotonic;
        let overdue = self.reader().seen.overdue(now);
        if let Some(events) = self.events.upgrade() {
            give_up(&events, overdue);
        }
    }
}

fn give_up(events: &Events, unsettled: Vec<Order>) {
    for sent in unsettled {
        events.settle_elsewhere(sent, Outcome::Indeterminate, false);
    }
}
