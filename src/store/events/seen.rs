//! Which events have been read already.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::entry::EventId;
use crate::client::events::Order;

/// The events of the last quarter of an hour, at most [`MOST`]: an entry may come twice, and the
/// outcome of an event before its beginning.
#[derive(Default)]
pub(super) struct Seen {
    events: HashMap<EventId, Progress>,
    in_order: VecDeque<(EventId, Duration)>,
}

/// How far an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Begun {
        sent: Order,
        /// Whether nothing of ours that has not come back yet may have overlapped with it.
        is_in_order: bool,
    },
    Settled,
}

impl Seen {
    pub(super) fn progress(&self, id: EventId) -> Option<Progress> {
        self.events.get(&id).copied()
    }

    /// Notes how far an event is. What has to make room for it and was never settled comes back.
    pub(super) fn note(&mut self, id: EventId, progress: Progress, now: Duration) -> Vec<Order> {
        if self.events.insert(id, progress).is_none() {
            self.in_order.push_back((id, now));
        }
        let mut unsettled = Vec::new();
        while let Some((first, since)) = self.in_order.front().copied() {
            let is_old = now.saturating_sub(since) >= KEPT_FOR;
            if !is_old && self.in_order.len() <= MOST {
                break;
            }
            self.in_order.pop_front();
            if let Some(Progress::Begun { sent, .. }) = self.events.remove(&first) {
                unsettled.push(sent);
            }
        }
        unsettled
    }

    /// Events whose outcome has not come for so long that it will not.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Order> {
        let mut overdue = Vec::new();
        let of_age = self.in_order.iter();
        let of_age = of_age.take_while(|(_, since)| now.saturating_sub(*since) >= OVERDUE_AFTER);
        for (id, _) in of_age {
            if let Some(progress) = self.events.get_mut(id)
                && let Progress::Begun { sent, .. } = *progress
            {
                *progress = Progress::Settled;
                overdue.push(sent);
            }
        }
        overdue
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.events.len()
    }
}

const KEPT_FOR: Duration = Duration::from_secs(15 * 60);
/// About 20 MB.
const MOST: usize = 200_000;
/// A call is given up well before that: 60 s, and a margin.
const OVERDUE_AFTER: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(number: u64) -> Progress {
        Progress::Begun {
            sent: Order(number),
            is_in_order: true,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_event_without_an_outcome_is_overdue_once() {
        let mut seen = Seen::default();
        seen.note(EventId(1, 1), begun(7), at(0));
        seen.note(EventId(1, 2), begun(8), at(1));
        seen.note(EventId(1, 2), Progress::Settled, at(2));
        assert!(seen.overdue(at(74)).is_empty());
        assert_eq!(seen.overdue(at(100)), [Order(7)]);
        assert!(seen.overdue(at(200)).is_empty());
        assert_eq!(seen.progress(EventId(1, 1)), Some(Progress::Settled));
    }

    #[test]
    fn memory_is_bounded_and_what_makes_room_is_not_left_open() {
        let mut seen = Seen::default();
        for number in 0..MOST as u64 + 10 {
            let unsettled = seen.note(EventId(1, number), begun(number), at(1));
            assert_eq!(unsettled.is_empty(), number < MOST as u64);
        }
        assert_eq!(seen.len(), MOST);
        let unsettled = seen.note(EventId(2, 0), Progress::Settled, at(1) + KEPT_FOR);
        assert_eq!((unsettled.len(), seen.len()), (MOST, 1));
    }
}
