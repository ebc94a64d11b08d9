//! The reader: one list of apps after the other, page by page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use super::Contents;
use super::Directory;
use super::app::may_be_looked_up;
use super::apps::CallSent;
use super::apps::Reading;
use super::claim::Claim;
use super::fraction;
use super::look_up::AskedApp;

use super::trouble::NoAnswer;
use crate::api::Page;
use crate::api::api_keys::ApiAuthApp;
use crate::client::Error;
use crate::client::WachtClient;
use crate::clock::Now;
use crate::log::GATE;

/// How far the reading is, and what is due next.
pub(super) struct Reader {
    pub(super) claim: Claim,
    list: Option<List>,
    /// The number of the list that is being read, or of the last one.
    number: u32,
    /// How many pages the last list had, or at least had.
    pages: usize,
    /// The rows of a page, unless one has to be shorter.
    limit: u32,
    /// Whether any page has been read.
    pub(super) has_begun: bool,
    /// Whether the list was empty when last read.
    pub(super) is_list_empty: bool,
    /// The order of the last call of our own client that made or activated an app.
    pub(super) opened: u64,
    /// When the next list is due.
    pub(super) next_at: Duration,
    /// What was read before that is to be read again, whoever has read it.
    pub(super) invalid_before: Option<Duration>,
    /// Apps to be looked up singly, between the lists.
    wanted: VecDeque<Arc<str>>,
}

/// A list that is being read.
struct List {
    started_at: Duration,
    limit: u32,
    offset: u64,
    pages: usize,
    /// The first row of the page before.
    first: Box<str>,
    /// The last rows of the page before, one of which the next has to repeat.
    tail: Vec<Box<str>>,
    /// Whether all pages so far did.
    is_gapless: bool,
    /// Which of the apps that are accepted it has had.
    had: Vec<bool>,
    /// Whether a page was too long although it asked for no more than others.
    was_too_long: bool,
    /// Rows left out one after the other.
    skipped: u32,
}

/// One step: what is asked.
pub(super) enum Step {
    Page(AskedPage),
    App(AskedApp),
}

/// A page of the list that is asked for.
#[derive(Clone, Copy)]
pub(super) struct AskedPage {
    reading: Reading,
    pub(super) limit: u32,
    pub(super) offset: u64,
    sent: CallSent,
    /// What another replica has read before that is none.
    since: Option<Duration>,
}

// === impl Directory ===

impl Directory {
    /// Lets the reader look what there is to do.
    pub(super) fn wake(&self, known: &mut Contents) {
        known.reader.claim.wake();
        self.show_due(known);
    }

    /// Reads on until this holds or nobody can, for so long at most. A reader that has come to
    /// nothing after half of that is taken over.
    pub(super) async fn read_until(
        self: &Arc<Self>,
        wait: Duration,
        holds: impl Fn(&Contents, Now) -> bool,
    ) {
        let mut reader = None;
        let half = wait / 2;
        let read = self.steps_until(&holds, &mut reader);
        if tokio::time::timeout(half, read).await.is_ok() {
            return;
        }
        self.take_over(reader, self.clock.now());
        let read = self.steps_until(&holds, &mut reader);
        // In vain or not: what is known by then decides.
        let _ = tokio::time::timeout(wait.saturating_sub(half), read).await;
    }

    async fn steps_until(
        self: &Arc<Self>,
        holds: impl Fn(&Contents, Now) -> bool,
        reader: &mut Option<u64>,
    ) {
        loop {
            let now = self.clock.now();
            self.keep_current(now);
            let mut steps = {
                let known = self.known();
                if holds(&known, now) {
                    return;
                }
                let Some((claim, mut steps)) = known.reader.claim.steps() else {
                    return;
                };
                *reader = Some(claim);
                steps.mark_unchanged();
                steps
            };
            // An error is the task's end, and another takes the claim.
            let _ = steps.changed().await;
        }
    }

    /// What to ask next, unless the claim is another's or there is nothing to do now.
    pub(super) fn next_page(self: &Arc<Self>, claim: u64) -> Option<Step> {
        let now = self.clock.now();
        let mut known = self.known();
        if !known.reader.claim.is_held_by(claim) {
            return None;
        }
        let step = self.step(&mut known, now);
        match &step {
            Ok(_) => known.reader.claim.renew(self.lapses_at(now)),
            Err(due_at) => known.reader.claim.release(*due_at),
        }
        self.show_due(&known);
        step.ok()
    }

    /// What to ask next, or when there will be something.
    fn step(self: &Arc<Self>, known: &mut Contents, now: Now) -> Result<Step, Duration> {
        known.backoff.may_try(now)?;
        if known.reader.list.is_none() && known.reader.next_at <= now.monotonic {
            self.begin(known, now);
        }
        if let Some(list) = &known.reader.list {
            let (limit, offset) = (list.limit, list.offset);
            known.budget.spend(now)?;
            return Ok(Step::Page(AskedPage {
                reading: known.reader.reading(),
                limit,
                offset,
                sent: known.sent(now),
                since: known.reader.invalid_before,
            }));
        }
        while let Some(slug) = known.reader.wanted.pop_front() {
            let Some(app) = known.apps.used(&slug) else {
                continue;
            };
            if !may_be_looked_up(&slug) || known.apps.look_up(&slug, now).is_err() {
                continue;
            }
            if let Err(due_at) = known.budget.spend(now) {
                known.reader.wanted.push_front(slug);
                return Err(due_at);
            }
            return Ok(Step::App(self.ask(known, app, now)));
        }
        Err(known.reader.next_at)
    }

    /// Begins the list that is due. Where fewer apps are in use than it has pages, these are
    /// looked up singly in its place: a deployment may have an app for each of its users.
    fn begin(&self, known: &mut Contents, now: Now) {
        let Contents { apps, reader, .. } = known;
        if reader.pages <= 1 || apps.in_use().count() >= reader.pages {
            reader.number = reader.number.saturating_add(1);
            let accepted = self.accepted.named().map_or(0, <[_]>::len);
            reader.list = Some(List::new(now.monotonic, reader.limit, accepted));
            return;
        }
        if reader.wanted.is_empty() {
            apps.unread_unused();
            reader.wanted.extend(apps.in_use().map(Arc::clone));
            apps.sweep(now);
        }
        reader.rest(now.monotonic, now);
    }

    /// Takes a page, which another replica has asked for so long ago, if one has.
    fn take_page(
        &self,
        mut asked: AskedPage,
        claim: u64,
        answer: Result<Page<ApiAuthApp>, NoAnswer>,
        age: Option<Duration>,
    ) {
        let now = self.clock.now();
        let mut known = self.known();
        if let Some(age) = age {
            asked.sent = known.sent_ago(age, now);
            known.budget.give_back();
        }
        // A page that comes too late for its claim still says something of its apps.
        let is_next = known.reader.claim.is_held_by(claim);
        let page = match answer {
            Ok(page) => page,
            Err(NoAnswer::Failed(error)) if is_next && known.reader.read_less(&error) => return,
            Err(reason) => return self.failed(&mut known, &reason, asked.sent),
        };
        if let Some(app) = page.items.first()
            && self.accept(app.deployment_id).is_err()
        {
            return self.failed(&mut known, &NoAnswer::OtherDeployment, asked.sent);
        }
        known.backoff.clear();
        let is_whole = is_next
            .then(|| known.reader.turn(&page, self.accepted.named()))
            .flatten();
        let says_none = asked.offset == 0 && page.items.is_empty() && !page.has_more;
        // Asked before our own client made an app: it says nothing of that one.
        let is_overtaken = says_none && asked.sent.order < known.reader.opened;
        if is_next {
            known.reader.has_begun = true;
            if asked.offset == 0 || !page.items.is_empty() {
                known.reader.is_list_empty = says_none && !is_overtaken;
                self.troubles.no_apps(known.reader.is_list_empty);
            }
        }
        for app in page.items {
            self.take_app(&mut known, app, asked.sent, asked.reading, now);
        }
        match is_whole {
            Some(is_whole) => self.end(&mut known, is_whole, now),
            None if is_next => self.leave_long_list(&mut known, now),
            None => {}
        }
        if is_overtaken {
            known.reader.next_at = now.monotonic;
            self.wake(&mut known);
        }
    }

    /// The first list is long, and fewer of its apps are in use than it has had pages.
    fn leave_long_list(&self, known: &mut Contents, now: Now) {
        let pages = known.reader.list.as_ref().map_or(0, |list| list.pages);
        if pages >= LONG && known.apps.in_use().take(pages).count() < pages {
            self.end(known, false, now);
        }
    }

    /// The list has been read, to its end or as far as it is of use.
    fn end(&self, known: &mut Contents, is_whole: bool, now: Now) {
        let Contents { apps, reader, .. } = known;
        let Some(list) = reader.list.take() else {
            return;
        };
        if is_whole {
            for slug in apps.missing(reader.reading()) {
                reader.want(slug);
            }
        }
        reader.pages = list.pages;
        reader.rest(list.started_at, now);
        apps.sweep(now);
        tracing::debug!(
            target: GATE,
            pages = list.pages,
            apps = apps.len(),
            "the apps of the deployment have been read"
        );
        self.troubles.over();
    }
}

// === impl AskedPage ===

impl AskedPage {
    /// How old the page of another replica may be.
    fn max_age(&self) -> Duration {
        let sent = self.sent.at.monotonic;
        let since = self.since.map(|since| sent.saturating_sub(since));
        since.unwrap_or(Duration::MAX)
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            claim: Claim::due(Duration::ZERO),
            list: None,
            number: 0,
            pages: 0,
            limit: LIMIT,
            has_begun: false,
            is_list_empty: false,
            opened: 0,
            next_at: Duration::ZERO,
            invalid_before: None,
            wanted: VecDeque::new(),
        }
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            number: self.number,
        }
    }

    /// Lets this app be looked up before the next list.
    pub(super) fn want(&mut self, slug: Arc<str>) {
        if !self.wanted.contains(&slug) {
            self.wanted.push_back(slug);
        }
    }

    /// Whether nothing is left to be read before the next list.
    pub(super) fn is_done(&self) -> bool {
        self.list.is_none() && self.wanted.is_empty()
    }

    /// Goes on behind this page. At the end of the list: whether all of it was read without a gap.
    fn turn(&mut self, page: &Page<ApiAuthApp>, accepted: Option<&[Box<str>]>) -> Option<bool> {
        let list = self.list.as_mut()?;
        list.pages += 1;
        list.skipped = 0;
        list.limit = list.limit.saturating_mul(2).min(self.limit);
        let slugs = page.items.iter().map(|app| &*app.app_slug);
        let overlaps = slugs
            .clone()
            .any(|slug| list.tail.iter().any(|t| **t == *slug));
        list.is_gapless &= list.offset == 0 || overlaps;
        for (had, accepted) in list.had.iter_mut().zip(accepted.unwrap_or_default()) {
            *had |= slugs.clone().any(|slug| *slug == **accepted);
        }
        if !page.has_more {
            return Some(list.is_gapless);
        }
        let first = slugs.clone().next()?;
        // A server that ignores the offset would go on for ever.
        let is_stuck = list.offset > 0 && *list.first == *first;
        let has_all = accepted.is_some() && list.had.iter().all(|had| *had);
        if is_stuck || has_all {
            return Some(false);
        }
        let length = page.items.len();
        let overlap = OVERLAP.min(length / 2);
        list.first = first.into();
        list.tail = slugs.skip(length - overlap).map(Into::into).collect();
        list.offset = list.offset.saturating_add((length - overlap) as u64);
        None
    }

    /// Asks for a shorter page where that may help: the answer was too long, or a row of it could
    /// not be read. A row that is of no use alone is left out.
    fn read_less(&mut self, error: &Error) -> bool {
        let (Error::Decode(error), Some(list)) = (error, &mut self.list) else {
            return false;
        };
        let is_about_a_row = error.path().is_some_and(|path| path.contains('['));
        if !error.is_too_long() && !is_about_a_row {
            return false;
        }
        if list.limit > 1 {
            if error.is_too_long() && list.limit == self.limit {
                // Once it may be a single row, twice it is all of them.
                if list.was_too_long {
                    self.limit /= 2;
                }
                list.was_too_long = true;
            }
            list.limit /= 2;
            return true;
        }
        list.skipped += 1;
        list.offset = list.offset.saturating_add(1);
        list.is_gapless = false;
        // Not one row after the other: then it is not the rows.
        list.skipped < SKIPPED_MAX
    }

    /// Nothing is due for a minute, give or take a fifth so that gates do not read all at once.
    fn rest(&mut self, started_at: Duration, now: Now) {
        let period = PERIOD.mul_f64(0.8 + 0.4 * fraction());
        let next_at = started_at.saturating_add(period);
        self.next_at = match next_at > now.monotonic {
            true => next_at,
            false => now.monotonic.saturating_add(period),
        };
    }
}

// === impl List ===

impl List {
    fn new(started_at: Duration, limit: u32, accepted: usize) -> Self {
        Self {
            started_at,
            limit,
            offset: 0,
            pages: 0,
            first: Box::default(),
            tail: Vec::new(),
            is_gapless: true,
            had: vec![false; accepted],
            was_too_long: false,
            skipped: 0,
        }
    }
}

// === impl Step ===

impl Step {
    /// Asks, and takes what comes.
    pub(super) async fn take(
        self,
        directory: &Weak<Directory>,
        client: WachtClient,
        deadline: Duration,
        claim: u64,
    ) {
        match self {
            Self::Page(asked) => {
                let max_age = asked.max_age();
                let (page, age) = asked.send(&client, max_age, deadline).await;
                let answer = page.map_err(NoAnswer::Failed);
                if let Some(directory) = directory.upgrade() {
                    directory.take_page(asked, claim, answer, age);
                }
            }
            Self::App(asked) => asked.send().await,
        }
    }
}

/// How many apps are asked for in one call.
const LIMIT: u32 = 500;
/// How many rows a page repeats of the one before, so that apps made and deleted meanwhile, which
/// shift all pages behind them, leave no gap unnoticed.
const OVERLAP: usize = 10;
/// How often the list is read.
const PERIOD: Duration = Duration::from_secs(60);
/// How many pages make a list long: as many calls as one minute has.
const LONG: usize = 40;
const SKIPPED_MAX: u32 = 10;
