//! The other replicas, as far as the store has heard of them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Now;

/// How many replicas are alive, by each step of the reader.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<VecDeque<Sighting>>);

#[derive(Clone, Copy, Debug)]
struct Sighting {
    alive: u32,
    at: Duration,
}

impl Members {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn seen(&self, alive: u32, now: Now) {
        let mut sightings = self.sightings();
        // Of what is no more than this, and older, nobody asks any more.
        while sightings.back().is_some_and(|last| last.alive <= alive) {
            sightings.pop_back();
        }
        sightings.push_back(Sighting {
            alive,
            at: now.monotonic,
        });
        // The last one stays: a store that is away takes no replica with it.
        while sightings.len() > 1 && sightings.front().is_some_and(|first| first.is_old(now)) {
            sightings.pop_front();
        }
    }

    /// The most replicas that were alive at once within the last two minutes in which the store
    /// could say so, this one among them. `None`: it never could.
    pub(crate) fn most_alive(&self) -> Option<u32> {
        self.sightings().front().map(|first| first.alive)
    }

    /// How many were alive when the store last said so.
    pub(crate) fn alive(&self) -> Option<u32> {
        self.sightings().back().map(|last| last.alive)
    }

    fn sightings(&self) -> std::sync::MutexGuard<'_, VecDeque<Sighting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sighting {
    fn is_old(self, now: Now) -> bool {
        now.monotonic.saturating_sub(self.at) > REMEMBERED
    }
}

const REMEMBERED: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::ZERO,
        }
    }

    #[test]
    fn the_most_of_the_last_two_minutes_counts_and_then_what_is_left() {
        let members = Members::new();
        assert_eq!(members.most_alive(), None);
        for (second, alive, most) in [
            (0, 3, 3),
            (1, 5, 5),
            (2, 4, 5),
            (3, 2, 5),
            (60, 4, 5),
            (121, 1, 5),
            (122, 1, 4),
            (181, 1, 1),
        ] {
            members.seen(alive, at(second));
            assert_eq!(members.most_alive(), Some(most), "at {second} s");
            assert_eq!(members.alive(), Some(alive));
        }
    }

    #[test]
    fn a_store_that_has_gone_leaves_what_it_said_last() {
        let members = Members::new();
        members.seen(4, at(0));
        assert_eq!(members.most_alive(), Some(4), "an hour later, too");
    }
}
