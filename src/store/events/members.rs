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
        // While the store could not say so, nobody has gone.
        if let Some(last) = sightings.back() {
            let silent = now
                .monotonic
                .saturating_sub(last.at)
                .saturating_sub(HEARD_EVERY);
            for sighting in sightings.iter_mut() {
                sighting.at += silent;
            }
        }
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

/// And a margin.
const HEARD_EVERY: Duration = Duration::from_secs(5);
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
        // From then on so many are alive.
        let alive = [(0, 3), (1, 5), (2, 4), (3, 2), (60, 4), (121, 1)];
        let most = [(0, 3), (1, 5), (121, 5), (122, 4), (240, 4), (241, 1)];
        for second in 0..250 {
            let now = |values: &[(u64, u32)]| {
                let past = values.iter().rev().find(|(since, _)| *since <= second);
                past.unwrap().1
            };
            members.seen(now(&alive), at(second));
            assert_eq!(members.most_alive(), Some(now(&most)), "at {second} s");
            assert_eq!(members.alive(), Some(now(&alive)));
        }
    }

    #[test]
    fn a_store_that_has_gone_leaves_what_it_said_last() {
        let members = Members::new();
        members.seen(4, at(0));
        assert_eq!(members.most_alive(), Some(4), "an hour later, too");
        members.seen(1, at(3_600));
        assert_eq!(
            members.most_alive(),
            Some(4),
            "the others may be on their way back"
        );
        for second in 3_601..3_721 {
            members.seen(1, at(second));
        }
        assert_eq!(members.most_alive(), Some(1));
    }
}
