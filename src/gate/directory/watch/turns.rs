//! Whose turn it is: the apps in use, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::keys_in_use::{Judged, KeysInUse};
use super::options::Watch;
use crate::clock::Now;
use crate::gate::directory::backoff::Backoff;
use crate::gate::directory::budget::Budget;
use crate::gate::directory::claim::Claim;

/// The apps whose lists of keys are read, and what is to be asked next.
pub(crate) struct Turns {
    pub(in crate::gate::directory) claim: Claim,
    pub(super) backoff: Backoff,
    pub(super) watch: Watch,
    queue: BTreeMap<Place, Turn>,
    places: u64,
    confirming: Option<Confirming>,
    /// Wakes whoever rests until the next turn: there may be one before.
    pub(super) news: Arc<Notify>,
}

/// When an app is due, and its number among those that are due then.
type Place = (Duration, u64);

struct Turn {
    app: Arc<str>,
    /// When the last list was sent that could be read, or when its first key came: what has become of
    /// a key since is not known.
    known_at: Duration,
    is_left_out: bool,
    /// Whether it is read again without waiting for its turn.
    is_again: bool,
}

/// Keys that a list lacks, to be looked for among the revoked ones.
struct Confirming {
    app: Arc<str>,
    missing: Vec<i64>,
    /// Where the app is, and when the list was sent: nothing is known before this is over.
    place: Place,
    listed_at: Duration,
    failures: u32,
}

/// The next list.
pub(super) enum Next {
    List(Place, Arc<str>),
    Confirmation(Arc<str>),
}

/// Why an app's turn has brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The list has not come, or was not to be understood.
    Failed,
    /// The list is too long.
    TooLong,
}

impl Turns {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            claim: Claim::due(Duration::MAX),
            backoff: Backoff::default(),
            watch,
            queue: BTreeMap::new(),
            places: 0,
            confirming: None,
            news: Arc::default(),
        }
    }

    /// The first key of an app has come.
    pub(super) fn add(&mut self, app: Arc<str>, now: Now) {
        let turn = Turn {
            app,
            known_at: now.monotonic,
            is_left_out: false,
            is_again: false,
        };
        self.queue_up(turn, now.monotonic);
        self.claim.wake();
        self.news.notify_one();
    }

    fn queue_up(&mut self, turn: Turn, due_at: Duration) -> Place {
        self.places += 1;
        let place = (due_at, self.places);
        self.queue.insert(place, turn);
        place
    }

    /// What to ask next.
    ///
    /// # Errors
    ///
    /// When there will be something, or nothing before another app comes.
    pub(super) fn next(
        &mut self,
        budget: &mut Budget,
        keys: &dyn KeysInUse,
        now: Now,
    ) -> Result<Next, Option<Duration>> {
        self.backoff.may_try(now)?;
        let a_minute = self.watch.calls_a_minute;
        if let Some(confirming) = &self.confirming {
            budget.spend_list(a_minute, true, now)?;
            return Ok(Next::Confirmation(Arc::clone(&confirming.app)));
        }
        while let Some(first) = self.queue.first_entry() {
            let place = *first.key();
            let (due_at, _) = place;
            if due_at > now.monotonic {
                return Err(Some(due_at));
            }
            let app = &first.get().app;
            if keys.drop_unused(app, now) {
                first.remove();
                continue;
            }
            budget.spend_list(a_minute, first.get().is_again, now)?;
            return Ok(Next::List(place, Arc::clone(app)));
        }
        Err(None)
    }

    /// The app at this place has been read, by a list that was sent then and lacks these keys.
    pub(super) fn read(&mut self, place: Place, judged: Judged, sent: Duration) {
        // Another task may have asked for the same.
        let Some(mut turn) = self.queue.remove(&place) else {
            return;
        };
        turn.is_left_out = false;
        if judged.is_overtaken && !turn.is_again {
            turn.is_again = true;
            self.queue_up(turn, Duration::ZERO);
            return;
        }
        turn.is_again = false;
        if judged.missing.is_empty() {
            turn.known_at = sent;
        }
        let app = Arc::clone(&turn.app);
        let place = self.queue_up(turn, sent.saturating_add(self.watch.interval));
        if !judged.missing.is_empty() {
            self.confirming = Some(Confirming {
                app,
                missing: judged.missing,
                place,
                listed_at: sent,
                failures: 0,
            });
        }
    }

    /// The app at this place has not been read. Says whether it is left out from now on.
    pub(super) fn not_read(&mut self, place: Place, why: Unread, now: Now) -> bool {
        let Some(mut turn) = self.queue.remove(&place) else {
            return false;
        };
        let is_left_out = why == Unread::TooLong;
        let is_new = is_left_out && !turn.is_left_out;
        turn.is_left_out = is_left_out;
        turn.is_again = false;
        let wait = match why {
            Unread::Failed => self.watch.interval,
            Unread::TooLong => TRY_AGAIN,
        };
        self.queue_up(turn, now.monotonic.saturating_add(wait));
        is_new
    }

    /// The keys that were to be looked for have been, or will not be.
    pub(super) fn confirmed(&mut self, app: &str) -> Vec<i64> {
        let of_app = self
            .confirming
            .take_if(|confirming| *confirming.app == *app);
        let Some(confirming) = of_app else {
            return Vec::new();
        };
        if let Some(turn) = self.queue.get_mut(&confirming.place) {
            turn.known_at = confirming.listed_at;
        }
        confirming.missing
    }

    /// Whether they are to be looked for no longer: time and again there was no answer.
    pub(super) fn gives_up(&mut self, app: &str) -> bool {
        let confirming = self.confirming.as_mut();
        confirming
            .filter(|confirming| *confirming.app == *app)
            .is_some_and(|confirming| {
                confirming.failures += 1;
                confirming.failures >= MOST_FAILURES
            })
    }

    /// The longest that what becomes of a key of an app in turn goes unseen, from the list before to
    /// the next one, if the calls go on as they may now.
    pub(super) fn longest_unseen(&self, budget: &Budget, now: Now) -> Duration {
        let gap = budget.gap(self.watch.calls_a_minute, now);
        let not_before = self.backoff.may_try(now).err().unwrap_or_default();
        let next = budget.next_list_at(self.watch.calls_a_minute, now);
        let mut next = next.max(not_before);
        let mut longest = Duration::ZERO;
        for ((due_at, _), turn) in &self.queue {
            if !turn.is_left_out {
                next = next.max(*due_at);
                longest = longest.max(next.saturating_sub(turn.known_at));
                next = next.saturating_add(gap);
            }
        }
        longest
    }

    pub(super) fn apps(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn left_out(&self) -> usize {
        let turns = self.queue.values();
        turns.filter(|turn| turn.is_left_out).count()
    }
}

/// Whoever rests need not wait for its end.
impl Drop for Turns {
    fn drop(&mut self) {
        self.news.notify_one();
    }
}

/// When an app is asked for again whose list was too long.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// Of a reading that includes the revoked keys, one after the other.
const MOST_FAILURES: u32 = 3;

#[cfg(test)]
mod tests;
