//! Whose turn it is: the apps in use, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

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
    /// How long after a list was sent the app is due again.
    period: Duration,
    queue: BTreeMap<Place, Turn>,
    /// Those whose lists have come and are being held against the keys in use.
    judging: BTreeMap<Place, Turn>,
    places: u64,
    confirming: Vec<Confirming>,
    /// Wakes all who rest until the next turn: there may be one before, and one of them may stand still.
    pub(super) changed: watch::Sender<()>,
}

/// When an app is due, and its number among all that were ever due: what is asked for at a place is
/// taken once, and not when the app has been given another.
pub(super) type Place = (Duration, u64);

struct Turn {
    app: Arc<str>,
    /// When the last list was sent that could be read, or when its first key came: what has become of
    /// a key since is not known.
    known_at: Duration,
    is_left_out: bool,
    /// When the last list was sent, if one has come.
    listed_at: Option<Duration>,
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
    number: u64,
    /// Not before, after a failure.
    due_at: Duration,
    /// Whether a list goes first that is due, as it has failed.
    is_behind: bool,
    failures: u32,
}

/// The next list.
pub(super) enum Next {
    List(Place, Arc<str>),
    Confirmation(u64, Arc<str>),
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
            period: watch.interval,
            watch,
            queue: BTreeMap::new(),
            judging: BTreeMap::new(),
            places: 0,
            confirming: Vec::new(),
            changed: watch::Sender::new(()),
        }
    }

    /// The first key of an app has come. Whoever has the claim and rests lapses then, unless it looks.
    pub(super) fn add(&mut self, app: Arc<str>, lapses_at: Duration, now: Now) {
        let turn = Turn {
            app,
            known_at: now.monotonic,
            is_left_out: false,
            listed_at: None,
            is_again: false,
        };
        self.queue_up(turn, now.monotonic);
        self.claim.lapse_by(lapses_at);
        self.wake();
    }

    /// Sets how long after a list was sent its app is due again. Where replicas read for each other, that is
    /// as long as all apps take by the calls that there are: then all of them are due at the same time,
    /// and one of them asks.
    pub(super) fn set_period(&mut self, is_shared: bool, budget: &Budget, now: Now) {
        self.period = self.watch.interval;
        if is_shared {
            let apps = self.apps() - self.left_out();
            let apps = u32::try_from(apps).unwrap_or(u32::MAX);
            let gap = budget.gap(self.watch.calls_a_minute, now);
            self.period = self.period.max(gap.saturating_mul(apps));
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.period
    }

    /// How old a list may be that another replica has asked for.
    pub(super) fn max_age(&self, next: &Next, now: Now) -> Duration {
        let since = |then: Duration| now.monotonic.saturating_sub(then);
        match next {
            Next::List(place, _) => match self.queue.get(place) {
                Some(turn) if !turn.is_again => match turn.listed_at {
                    None => self.period,
                    // Younger than that, with room for what two replicas take for the same moment.
                    Some(listed_at) => since(listed_at).saturating_sub(self.period / 2),
                },
                _ => Duration::ZERO,
            },
            // No older than the list that lacked the keys.
            Next::Confirmation(number, _) => {
                let mut all = self.confirming.iter();
                let confirming = all.find(|confirming| confirming.number == *number);
                confirming.map_or(Duration::ZERO, |confirming| since(confirming.listed_at))
            }
        }
    }

    fn wake(&mut self) {
        self.claim.wake();
        self.changed.send_replace(());
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
        self.drop_unused(keys, now);
        let a_minute = self.watch.calls_a_minute;
        let first = self.queue.first_key_value();
        let is_due = |due_at: &Duration| *due_at <= now.monotonic;
        let list = first.filter(|((due_at, _), _)| is_due(due_at));
        let goes_first = |confirming: &&Confirming| {
            is_due(&confirming.due_at) && !(confirming.is_behind && list.is_some())
        };
        if let Some(confirming) = self.confirming.iter().find(goes_first) {
            budget.spend_list(a_minute, true, now)?;
            let app = Arc::clone(&confirming.app);
            return Ok(Next::Confirmation(confirming.number, app));
        }
        let confirmations = self.confirming.iter().map(|confirming| confirming.due_at);
        let lists = first.into_iter().map(|((due_at, _), _)| *due_at);
        let later = confirmations.chain(lists).filter(|at| !is_due(at)).min();
        let Some((place, turn)) = list else {
            return Err(later);
        };
        let spent = budget.spend_list(a_minute, turn.is_again, now);
        spent.map_err(|at| Some(later.map_or(at, |later| later.min(at))))?;
        let next = Next::List(*place, Arc::clone(&turn.app));
        for confirming in &mut self.confirming {
            confirming.is_behind = false;
        }
        Ok(next)
    }

    /// Lets go of the apps that are due and of which no key is in use any more.
    fn drop_unused(&mut self, keys: &dyn KeysInUse, now: Now) {
        while let Some(first) = self.queue.first_entry()
            && first.key().0 <= now.monotonic
            && keys.drop_unused(&first.get().app, now)
        {
            let app = first.remove().app;
            self.confirming.retain(|confirming| confirming.app != app);
        }
    }

    /// The list has come that was asked for at this place: whether it is to be held against the keys in
    /// use, and if so, whether the one before was overtaken. Not if another has come since it was sent,
    /// which is younger. [`read`](Self::read) has to follow.
    pub(super) fn begin(&mut self, place: Place) -> Option<bool> {
        let turn = self.queue.remove(&place)?;
        let is_again = turn.is_again;
        self.judging.insert(place, turn);
        Some(is_again)
    }

    /// The app at this place has been read, by a list that was sent then and lacks these keys.
    pub(super) fn read(&mut self, place: Place, judged: Judged, sent: Duration) {
        let Some(mut turn) = self.judging.remove(&place) else {
            return;
        };
        let is_alone = self.queue.is_empty();
        self.confirming
            .retain(|confirming| confirming.app != turn.app);
        turn.is_left_out = false;
        turn.listed_at = Some(sent);
        if judged.is_overtaken && !turn.is_again {
            turn.is_again = true;
            self.queue_up(turn, Duration::ZERO);
        } else {
            turn.is_again = false;
            if judged.missing.is_empty() {
                turn.known_at = sent;
            }
            let app = Arc::clone(&turn.app);
            let place = self.queue_up(turn, sent.saturating_add(self.period));
            if !judged.missing.is_empty() {
                self.confirming.push(Confirming {
                    app,
                    missing: judged.missing,
                    place,
                    listed_at: sent,
                    number: self.places,
                    due_at: Duration::ZERO,
                    is_behind: false,
                    failures: 0,
                });
            }
        }
        if is_alone {
            // Whoever has the claim by now has found nothing to do.
            self.wake();
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

    /// The keys that were to be looked for under this number have been. `None` if a list has come
    /// since that says which there are now.
    pub(super) fn confirmed(&mut self, number: u64) -> Option<Vec<i64>> {
        let confirming = self.take_confirming(number)?;
        if let Some(turn) = self.queue.get_mut(&confirming.place) {
            turn.known_at = confirming.listed_at;
        }
        Some(confirming.missing)
    }

    /// They have not been. They are looked for again a little later, if that may help; else they are
    /// given back, and looked for when the next list lacks them, too.
    pub(super) fn not_confirmed(&mut self, number: u64, why: Unread, now: Now) -> Option<Vec<i64>> {
        let is_asked = |confirming: &&mut Confirming| confirming.number == number;
        let confirming = self.confirming.iter_mut().find(is_asked)?;
        confirming.failures += 1;
        if why == Unread::Failed && confirming.failures < MOST_FAILURES {
            let wait = RETRY_AFTER.saturating_mul(confirming.failures);
            confirming.due_at = now.monotonic.saturating_add(wait);
            confirming.is_behind = true;
            return None;
        }
        Some(self.take_confirming(number)?.missing)
    }

    fn take_confirming(&mut self, number: u64) -> Option<Confirming> {
        let mut all = self.confirming.iter();
        let place = all.position(|confirming| confirming.number == number)?;
        Some(self.confirming.remove(place))
    }

    /// The longest that what becomes of a key of an app in turn goes unseen, from the list before to
    /// the next one, if the calls go on as they may now.
    pub(super) fn longest_unseen(&self, budget: &Budget, now: Now) -> Duration {
        let gap = budget.gap(self.watch.calls_a_minute, now);
        let not_before = self.backoff.may_try(now).err().unwrap_or_default();
        let next = budget.next_list_at(self.watch.calls_a_minute, now);
        // Each of them goes ahead of the lists.
        let confirming = u32::try_from(self.confirming.len()).unwrap_or(u32::MAX);
        let next = next.saturating_add(gap.saturating_mul(confirming));
        let mut next = next.max(not_before);
        let mut longest = Duration::ZERO;
        for ((due_at, _), turn) in self.judging.iter().chain(&self.queue) {
            if !turn.is_left_out {
                next = next.max(*due_at);
                longest = longest.max(next.saturating_sub(turn.known_at));
                next = next.saturating_add(gap);
            }
        }
        longest
    }

    pub(super) fn apps(&self) -> usize {
        self.queue.len() + self.judging.len()
    }

    pub(super) fn left_out(&self) -> usize {
        let turns = self.queue.values().chain(self.judging.values());
        turns.filter(|turn| turn.is_left_out).count()
    }
}

/// When an app is asked for again whose list was too long.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// Of a reading that includes the revoked keys, one after the other.
const MOST_FAILURES: u32 = 3;
/// How long after the first of them, and longer with each.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
