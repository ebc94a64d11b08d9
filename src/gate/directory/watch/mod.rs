//! The watch: one list of keys after the other, of the apps whose keys are in use.
//!
//! An app comes in with its first verdict and goes when none of its verdicts may be used unasked any
//! more. In between it has its [turn](turns) again and again: its list is read and handed to the
//! [keys in use](keys_in_use). A key that a list lacks is looked for among the revoked ones before
//! anything is made of it.
//!
//! It goes on without requests, too: a verdict can be used minutes after the last one.
//!
//! Where replicas share a store, [one of them](list) asks for all: each takes what another has asked for
//! since its own turn before.

mod counters;
mod filed;
mod keys_in_use;
mod list;
mod options;
mod turns;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Weak;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use self::counters::Counters;
use self::counters::count;
use self::filed::Filed;
use self::list::AskedList;
use self::list::What;
use self::turns::Next;
use self::turns::Unread;
use super::CALLS_A_MINUTE;
use super::Contents;
use super::Directory;
use super::budget::Budget;
use super::trouble::NoAnswer;
use crate::api::api_keys::KeyList;
use crate::client::WachtClient;
use crate::clock::Now;
use crate::clock::SleepUntil;
use crate::gate::stats::WatchStats;
use crate::log::GATE;
use crate::log::Notice;

pub(crate) use self::keys_in_use::{Asked, Judged, KeysInUse};
pub use self::options::Watch;
pub(super) use self::turns::Turns;

/// Who is told of lists, and what was done.
pub(super) struct Watching {
    keys: Weak<dyn KeysInUse>,
    counters: Counters,
    filed: Filed,
    /// That a list with revoked keys is too long.
    too_many_revoked: Notice,
}

/// One step: what is asked, or how long nothing is.
pub(super) enum Step {
    List(AskedList),
    Rest(SleepUntil, watch::Receiver<()>),
}

impl Directory {
    /// Reads lists of keys from now on, for those who hold `keys`.
    pub(crate) fn watch(&self, watch: Watch, keys: Weak<dyn KeysInUse>) {
        let mut known = self.known();
        known.budget = Budget::new(CALLS_BESIDE_LISTS);
        known.turns = Some(Turns::new(watch));
        // In vain the second time.
        let _ = self.watching.set(Watching {
            keys,
            counters: Counters::default(),
            filed: Filed::default(),
            too_many_revoked: Notice::new(),
        });
    }

    /// The first key of an app has come into use.
    pub(crate) fn app_in_use(self: &Arc<Self>, app: &Arc<str>) {
        let now = self.clock.now();
        let mut known = self.known();
        if let Some(turns) = &mut known.turns {
            turns.add(Arc::clone(app), self.lapses_at(now), now);
            self.show_due(&known);
        }
        drop(known);
        self.keep_current(now);
    }

    /// What the watch does and has done; `None` where it is off. Without waiting for anybody: as it
    /// was after the last list.
    pub(crate) fn watch_figures(&self) -> Option<WatchStats> {
        Some(self.watching.get()?.counters.read())
    }

    /// Brings the figures up to date.
    pub(crate) fn settle_watch_figures(&self) {
        if self.watching.get().is_some() {
            let (known, now) = (self.known(), self.clock.now());
            self.set_figures(&known, now);
        }
    }

    fn set_figures(&self, known: &Contents, now: Now) {
        if let (Some(watching), Some(turns)) = (self.watching.get(), &known.turns) {
            let longest = turns.longest_unseen(&known.budget, now);
            let counters = &watching.counters;
            counters.set(longest, turns.apps(), turns.left_out());
        }
    }

    /// What to ask next, or how long to rest, unless the claim is another's or no app is in use.
    pub(super) fn next_list(&self, claim: u64) -> Option<Step> {
        let now = self.clock.now();
        let watching = self.watching.get()?;
        let keys = watching.keys.upgrade()?;
        let is_shared = self.client.events().sink().is_some();
        let mut known = self.known();
        let Contents { turns, budget, .. } = &mut *known;
        let turns = turns
            .as_mut()
            .filter(|turns| turns.claim.is_held_by(claim))?;
        turns.set_period(is_shared, budget, now);
        let next = turns.next(budget, &*keys, now);
        let step = match next {
            Ok(next) => {
                turns.claim.renew(self.lapses_at(now));
                let answer_limit = turns.watch.answer_limit;
                let (period, max_age) = (turns.period(), turns.max_age(&next, now));
                let sent = known.sent(now);
                let number = keys.list_begins();
                watching.filed.keep_for(period);
                watching.filed.given(number);
                let (app, what, answer_limit) = match next {
                    Next::List(place, app) => (app, What::Keys(place), answer_limit),
                    Next::Confirmation(number, app) => {
                        let answer_limit = answer_limit.saturating_mul(WITH_REVOKED);
                        (app, What::WithRevoked(number), answer_limit)
                    }
                };
                Some(Step::List(AskedList {
                    app,
                    what,
                    number,
                    sent,
                    answer_limit,
                    max_age,
                    kept_for: period,
                }))
            }
            Err(Some(due_at)) => {
                let until = Now {
                    monotonic: due_at,
                    unix: Duration::MAX,
                };
                turns.claim.renew(self.lapses_at(until));
                let rest = self.clock.sleep_until(until);
                Some(Step::Rest(rest, turns.changed.subscribe()))
            }
            Err(None) => {
                turns.claim.release(Duration::MAX);
                None
            }
        };
        self.show_due(&known);
        self.set_figures(&known, now);
        step
    }

    /// A verdict of an API key has been filed.
    pub(crate) fn key_filed(&self) {
        let Some(watching) = self.watching.get() else {
            return;
        };
        // Whoever asks himself need not know.
        if self.client.events().sink().is_some()
            && let Some(keys) = watching.keys.upgrade()
        {
            let now = self.clock.now().monotonic;
            watching.filed.note(now, || keys.list_begins());
        }
    }

    /// Takes a list, which another replica has asked for so long ago, if one has.
    fn take_list(
        self: &Arc<Self>,
        mut asked: AskedList,
        answer: Result<KeyList, NoAnswer>,
        age: Option<Duration>,
    ) {
        let Some(watching) = self.watching.get() else {
            return;
        };
        if let Some(age) = age {
            let now = self.clock.now();
            let mut known = self.known();
            known.budget.give_back_list();
            asked.sent = known.sent_ago(age, now);
            asked.number = watching.filed.number_at(asked.sent.at.monotonic);
            count(&watching.counters.shared);
        }
        let asked = &asked;
        let list = match answer {
            Ok(list) => list,
            Err(reason) => return self.no_list(asked, watching, &reason),
        };
        let Some(keys) = watching.keys.upgrade() else {
            return;
        };
        // What is taken is the youngest that has come: whoever asked for this may have stood still.
        let mut known = self.known();
        let Some(turns) = &mut known.turns else {
            return;
        };
        turns.backoff.clear();
        let app = &asked.app;
        match asked.what {
            What::Keys(place) => {
                if age.is_none() {
                    count(&watching.counters.lists);
                }
                let Some(is_again) = turns.begin(place) else {
                    return;
                };
                drop(known);
                let (number, sent) = (asked.number, asked.sent.at);
                let how = Asked {
                    number,
                    sent,
                    is_again,
                };
                let judged = keys.take_list(app, &list, how);
                let mut known = self.known();
                if let Some(turns) = &mut known.turns {
                    turns.read(place, judged, sent.monotonic);
                }
                self.show_due(&known);
            }
            What::WithRevoked(number) => {
                if age.is_none() {
                    count(&watching.counters.confirmations);
                }
                let missing = turns.confirmed(number);
                drop(known);
                if let Some(missing) = missing {
                    keys.take_confirmation(app, &missing, Some(&list));
                }
            }
        }
    }

    /// The list did not come, or says nothing: it changes nothing.
    fn no_list(self: &Arc<Self>, asked: &AskedList, watching: &Watching, reason: &NoAnswer) {
        let now = self.clock.now();
        count(&watching.counters.failed);
        let mut known = self.known();
        if reason.is_too_many() {
            known.budget.too_many(asked.sent.at);
        }
        let Some(turns) = &mut known.turns else {
            return;
        };
        let is_too_long = reason.is_too_long();
        let why = match is_too_long {
            true => Unread::TooLong,
            false => Unread::Failed,
        };
        let mut given_up = None;
        let is_left_out = match asked.what {
            What::Keys(place) => {
                if reason.is_about_all() && !reason.is_too_many() {
                    turns.backoff.failed(asked.sent.at);
                }
                turns.not_read(place, why, now)
            }
            What::WithRevoked(number) => {
                given_up = turns.not_confirmed(number, why, now);
                false
            }
        };
        drop(known);
        if is_left_out {
            tracing::warn!(
                target: GATE,
                app = &*asked.app,
                answer_limit = asked.answer_limit,
                hint = RAISE_THE_LIMIT,
                "the list of an app's keys is too long: the watch leaves the app out"
            );
        } else if !is_too_long {
            self.tell(reason, asked.sent, WHAT_FAILS);
        } else if asked.is_confirmation() && watching.too_many_revoked.is_first() {
            tracing::warn!(
                target: GATE,
                app = &*asked.app,
                answer_limit = asked.answer_limit,
                hint = RAISE_THE_LIMIT,
                "the list of an app's revoked keys is too long: keys of it are refused when the gateway says so"
            );
        }
        if let (Some(missing), Some(keys)) = (given_up, watching.keys.upgrade()) {
            keys.take_confirmation(&asked.app, &missing, None);
        }
        if reason.is_app_not_found() {
            self.look_up_soon(&asked.app);
        }
    }
}

// === impl Step ===

impl Step {
    /// Asks and takes what comes, or rests.
    pub(super) async fn take(
        self,
        directory: &Weak<Directory>,
        client: WachtClient,
        deadline: Duration,
    ) {
        match self {
            Self::List(asked) => asked.send(directory, &client, deadline).await,
            Self::Rest(rest, mut changed) => {
                let (mut rest, mut changed) = (pin!(rest), pin!(changed.changed()));
                // Whichever comes first; that nobody can change anything any more is a change, too.
                poll_fn(|cx| match changed.as_mut().poll(cx) {
                    Poll::Ready(_) => Poll::Ready(()),
                    Poll::Pending => rest.as_mut().poll(cx),
                })
                .await;
            }
        }
    }
}

/// How many calls are left for the lists of apps and single look-ups where lists of keys are read:
/// the others are theirs.
const CALLS_BESIDE_LISTS: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(CALLS_A_MINUTE.get() / 2).unwrap();
/// How many times as long a list with the revoked keys may be: it is read when one is missing, and has
/// all keys that there ever were.
const WITH_REVOKED: usize = 8;
const RAISE_THE_LIMIT: &str = "raise `Watch::answer_limit`, if there is memory for such lists";
const WHAT_FAILS: &str = "could not read the keys of an app: what ends elsewhere is not seen";
