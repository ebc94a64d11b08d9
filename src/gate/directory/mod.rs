//! The directory: the apps of our deployment, and what the management API says of them.
//!
//! The gateway says yes to any valid key of any Wacht customer. What comes in here is the
//! deployment and the app that it has named for a key; what goes out is whether that deployment is
//! ours, and the [`App`] whose [status](AppStatus) judges all its keys.
//!
//! 1. The [reader](reader) keeps the list of all apps: from the first request that needs it, and
//!    every minute while there is traffic. Nobody waits for it but for its first page.
//! 2. An app that is not in it is [looked up](look_up) singly, and so is one that it has lost.
//! 3. What our own client does to an app goes in at once; an answer that was asked for before is
//!    no news then.
//! 4. The [watch] reads what keys the apps in use have, if it is on.
//! 5. While somebody waits for the end of a caller, this goes on without requests: see [`alarm`].
//! 6. Lists are read by one replica [for all](shared) that have a store in common.
//! 7. All calls come out of one [budget], and what goes on in the background are [tasks](task) on
//!    the runtimes of those who ask.

mod accepted;
mod alarm;
mod app;
mod apps;
mod backoff;
mod budget;
mod claim;
mod look_up;
mod page;
mod reader;
mod rules;
mod shared;
mod task;
mod tenancy;
mod trouble;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use self::apps::Apps;
use self::apps::CallSent;
use self::apps::Reading;
use self::apps::With;
use self::backoff::Backoff;
use self::budget::Budget;
use self::reader::Reader;
use self::trouble::NoAnswer;
use self::trouble::Troubles;
use self::watch::Turns;
use self::watch::Watching;
use crate::api::api_keys::ApiAuthApp;
use crate::client::WachtClient;
use crate::clock::Clock;
use crate::clock::Now;
use crate::gate::limit::Limiter;
use crate::gate::waiting::Name;
use crate::gate::waiting::Waiting;

pub(crate) use self::accepted::AcceptedApps;
pub(crate) use self::app::App;
pub(crate) use self::app::AppStatus;
pub(crate) use self::app::KnownApp;
pub(crate) use self::app::Reserved;
pub(crate) use self::apps::AppChange;
pub(crate) use self::tenancy::Ours;
pub(crate) use self::trouble::Gateway;
pub(crate) use self::trouble::KEY_IS_REFUSED;
pub use self::watch::Watch;
pub(crate) use self::watch::{Asked, Judged, KeysInUse};

/// The apps of our deployment. One per state.
pub(crate) struct Directory {
    client: WachtClient,
    clock: Clock,
    /// Who waits for the end of a caller, and is told of apps that are closed.
    waiting: Arc<Waiting>,
    /// Whether a task of one of those sleeps until something is due.
    has_alarm: AtomicBool,
    deadline: Duration,
    /// The deployment whose keys are ours, where the program says so.
    configured: Option<i64>,
    /// The apps that any view of the state accepts keys of.
    accepted: AcceptedApps,
    limiter: Arc<Limiter>,
    gateway: Arc<dyn Gateway>,
    troubles: Troubles,
    /// Monotonic nanoseconds: when there is something to do, for those who only want to know.
    due_at: AtomicU64,
    watching: OnceLock<Watching>,
    known: Mutex<Contents>,
}

/// What changes.
struct Contents {
    apps: Apps,
    reader: Reader,
    /// Where lists of keys are read.
    turns: Option<Turns>,
    budget: Budget,
    backoff: Backoff,
    /// How many calls and events there have been, and one more: what came before them is no news of
    /// what they were about.
    order: u64,
    /// When the last of them were, to find the place of a call that another replica has made.
    recent: VecDeque<(Duration, u64)>,
}

impl Directory {
    /// A directory that is empty until a request needs it. Every step of it takes at most
    /// `deadline`.
    pub(crate) fn new(
        client: WachtClient,
        waiting: Arc<Waiting>,
        deadline: Duration,
        deployment: Option<i64>,
        accepted: AcceptedApps,
        limiter: Arc<Limiter>,
        gateway: Arc<dyn Gateway>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            clock: waiting.clock().clone(),
            waiting,
            has_alarm: AtomicBool::new(false),
            deadline,
            configured: deployment,
            accepted,
            limiter,
            gateway,
            troubles: Troubles::new(),
            due_at: AtomicU64::new(0),
            watching: OnceLock::new(),
            known: Mutex::new(Contents {
                apps: Apps::new(UNUSED_MAX),
                reader: Reader::new(),
                turns: None,
                budget: Budget::new(CALLS_A_MINUTE),
                backoff: Backoff::default(),
                order: 1,
                recent: VecDeque::new(),
            }),
        })
    }

    /// Our own client is about to send a call that changes this app: what is asked from now on
    /// until it is answered is no news.
    pub(crate) fn change_sent(&self, slug: &str) {
        if self.accepts(slug) {
            let now = self.clock.now();
            self.known().apps.change_sent(slug, now);
        }
    }

    /// The call was answered. What is known of the app changes at once, and is read again.
    pub(crate) fn change_answered(self: &Arc<Self>, slug: &str, change: AppChange) {
        if !self.accepts(slug) {
            return;
        }
        let now = self.clock.now();
        let mut known = self.known();
        let order = known.next(now);
        known
            .apps
            .change_answered(slug, change, order, self.with(now));
        if change == AppChange::Opened {
            known.reader.opened = order;
            if known.reader.is_list_empty {
                known.reader.is_list_empty = false;
                known.reader.next_at = now.monotonic;
                self.wake(&mut known);
            }
        }
        drop(known);
        if change != AppChange::Nothing {
            self.look_up_soon(slug);
        }
    }

    /// Nobody knows what came of the call: it may be carried out yet.
    pub(crate) fn change_given_up(&self, slug: &str) {
        let now = self.clock.now();
        self.known().apps.change_given_up(slug, now);
    }

    /// Lets this app be asked for before the next key of it is judged.
    pub(crate) fn invalidate(&self, slug: &str) {
        self.known().apps.unread(slug);
    }

    /// Lets every app be asked for again: the list is due.
    pub(crate) fn invalidate_all(&self) {
        let mut known = self.known();
        known.apps.unread_all();
        known.reader.next_at = Duration::ZERO;
        known.reader.invalid_before = Some(self.clock.now().monotonic);
        self.wake(&mut known);
    }

    fn known(&self) -> Known<'_> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Known {
            waiting: &self.waiting,
            known: Some(known),
        }
    }

    fn with(&self, now: Now) -> With<'_> {
        With {
            limiter: &self.limiter,
            now,
        }
    }

    /// When a step that is taken now lapses. Its own time-out, which goes by another clock, should
    /// come first.
    fn lapses_at(&self, now: Now) -> Duration {
        let step = self.deadline.saturating_add(Duration::from_secs(1));
        now.monotonic.saturating_add(step)
    }

    fn accepts(&self, slug: &str) -> bool {
        self.accepted.has(slug)
    }

    fn take_app(
        &self,
        known: &mut Contents,
        app: ApiAuthApp,
        sent: CallSent,
        reading: Reading,
        now: Now,
    ) {
        // One key of the management API finds the apps of one deployment.
        if Some(app.deployment_id) == self.deployment() && self.accepts(&app.app_slug) {
            known.apps.take(app, sent, reading, self.with(now));
        }
    }

    /// A call has failed as the next one would. How long none is made counts from when it was
    /// sent, which is the time of the request that it was sent for.
    fn failed(&self, known: &mut Contents, reason: &NoAnswer, sent: CallSent) {
        if reason.is_too_many() {
            known.budget.too_many(sent.at);
        } else {
            known.backoff.failed(sent.at);
        }
        self.tell(reason, sent, self.what_fails());
    }

    fn tell(&self, reason: &NoAnswer, sent: CallSent, what: &'static str) {
        if reason.is_key_refused() {
            let (gateway, now) = (&*self.gateway, self.clock.now());
            let sent_at = sent.at.monotonic;
            self.troubles.met_refusal(what, gateway, sent_at, now);
        } else {
            self.troubles.met(reason, what);
        }
    }

    /// A check has ended, answered or not, which may say why the management API answers as it does.
    pub(crate) fn gateway_heard(&self, now: Now) {
        let what = || self.what_fails();
        self.troubles
            .gateway_heard(what, &*self.gateway, self.deadline, now);
    }

    fn what_fails(&self) -> &'static str {
        match self.deployment() {
            None => "could not learn the deployment: no key can be verified",
            Some(_) => "could not read the apps of the deployment: changes of them are not seen",
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("deployment", &self.deployment())
            .field("apps", &self.known().apps.len())
            .finish_non_exhaustive()
    }
}

/// What is known, while nobody else looks.
struct Known<'a> {
    waiting: &'a Waiting,
    /// `None` while it is dropped.
    known: Option<MutexGuard<'a, Contents>>,
}

impl Deref for Known<'_> {
    type Target = Contents;

    #[expect(clippy::expect_used, reason = "taken by `drop` alone")]
    fn deref(&self) -> &Contents {
        self.known.as_ref().expect("it is dropped")
    }
}

impl DerefMut for Known<'_> {
    #[expect(clippy::expect_used, reason = "taken by `drop` alone")]
    fn deref_mut(&mut self) -> &mut Contents {
        self.known.as_mut().expect("it is dropped")
    }
}

impl Drop for Known<'_> {
    /// Who waits for keys of apps that have been closed meanwhile is told without the lock.
    fn drop(&mut self) {
        let closed = self.known.take().map(|mut known| known.apps.take_closed());
        for slug in closed.into_iter().flatten() {
            self.waiting.end(Name::App(&slug));
        }
    }
}

impl Contents {
    /// The place of the next call or event among all.
    fn next(&mut self, now: Now) -> u64 {
        self.order += 1;
        self.recent.push_back((now.monotonic, self.order));
        let is_old = |(at, _): &(Duration, u64)| now.monotonic.saturating_sub(*at) > RECENT;
        // One older than that stays, for what came between it and the next.
        while self.recent.get(1).is_some_and(is_old) {
            self.recent.pop_front();
        }
        self.order
    }

    fn sent(&mut self, now: Now) -> CallSent {
        CallSent {
            order: self.next(now),
            at: now,
        }
    }

    /// What a call is taken for that another replica has sent so long ago: before any of ours that
    /// may have been later.
    fn sent_ago(&self, age: Duration, now: Now) -> CallSent {
        let at = Now {
            monotonic: now.monotonic.saturating_sub(age),
            unix: now.unix.saturating_sub(age),
        };
        let before = self.recent.iter().rev();
        let before = before.map(|(at, order)| (*at, *order));
        let place = before.into_iter().find(|(then, _)| *then < at.monotonic);
        CallSent {
            order: place.map_or(1, |(_, order)| order),
            at,
        }
    }
}

/// A number from 0 to 1 that differs between processes and calls, for jitter alone.
fn fraction() -> f64 {
    let random = RandomState::new().hash_one(());
    // The upper 53 bits: what an f64 holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Longer than a page that another replica has read is of use.
const RECENT: Duration = Duration::from_secs(120);
/// How many calls of the management API a gate makes in any minute. All gates and the customer's
/// own calls share 1000.
const CALLS_A_MINUTE: NonZeroUsize = NonZeroUsize::new(60).unwrap();
/// How many bytes apps take of which no key is in use.
const UNUSED_MAX: usize = 16 << 20;
