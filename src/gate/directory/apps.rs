//! What is known of the apps, one entry a slug.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::app::App;
use super::app::AppRules;
use super::app::AppStatus;
use super::rules::RuleLists;
use super::rules::Rules;
use crate::api::api_keys::ApiAuthApp;
use crate::clock::Now;
use crate::gate::limit::Limiter;
use crate::gate::limit::RuleSet;
use crate::log::GATE;

/// The apps of our deployment, and those that a key has named.
///
/// Of an app whose keys nobody has shown, a row is all that is kept; its rules are compiled when
/// its first key is seen.
pub(super) struct Apps {
    entries: HashMap<Arc<str>, AppEntry>,
    rules: RuleLists,
    /// About how many bytes the entries of apps take that no key of is in use.
    unused_bytes: usize,
    /// How many of these may be kept.
    unused_max: usize,
    /// Those that have become inactive or gone, of whom nobody has been told yet.
    closed: Vec<Arc<str>>,
}

/// When a call was sent: its place among the calls and events of a directory, and the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallSent {
    pub(super) order: u64,
    pub(super) at: Now,
}

/// Where in a list a row was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) number: u32,
}

struct AppEntry {
    /// The place of what is known among calls and events: what was sent before tells nothing new.
    order: u64,
    row: Option<AppRow>,
    used: Option<Box<Used>>,
    changing: Option<Box<Changing>>,
}

/// What a list or a look-up said.
struct AppRow {
    rules: Arc<Rules>,
    is_active: bool,
    /// It is to be read again before it is used.
    is_unread: bool,
    /// The last reading that had it.
    seen: u32,
    /// The reading under way, or the last one, when it became known.
    since: u32,
}

/// An app of which a key was shown.
struct Used {
    app: Arc<App>,
    /// What the rules in force were compiled from, the first time and last.
    compiled: Option<(Arc<Rules>, Compiled)>,
    /// The rules last counted by, whatever has become of the app since: the next are to know what
    /// they replace.
    counted: Option<Arc<RuleSet>>,
    look_up: Option<LookUp>,
    /// Not looked up before this time: the last answer said nothing about it.
    ask_again_at: Duration,
    /// The reading under way, or the last one, when its first key was shown.
    since: u32,
}

/// `None` where a rule cannot be counted here.
type Compiled = Option<Arc<RuleSet>>;

/// A look-up under way. It ends with its task, or at the deadline.
#[derive(Clone)]
pub(super) struct LookUp {
    pub(super) over: watch::Receiver<()>,
    pub(super) lapses_at: Duration,
}

/// Calls of our own client about the app of which it is not known yet what came of them.
#[derive(Default)]
struct Changing {
    in_flight: u32,
    /// When the last of these is given up if nobody says so.
    lapses_at: Duration,
    /// Until when one that was given up may still be carried out.
    settles_at: Duration,
}

/// What our own client has done to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AppChange {
    /// Made it or activated it.
    Opened,
    /// Deleted it or deactivated it.
    Closed,
    /// Changed something else about it.
    Changed,
    /// Nothing, says the answer.
    Nothing,
}

/// What the map needs to make something of a row.
#[derive(Clone, Copy)]
pub(super) struct With<'a> {
    pub(super) limiter: &'a Limiter,
    pub(super) now: Now,
}

// === impl Apps ===

impl Apps {
    /// `unused_max` bounds the bytes for apps of which no key is in use.
    pub(super) fn new(unused_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            rules: RuleLists::default(),
            unused_bytes: 0,
            unused_max,
            closed: Vec::new(),
        }
    }

    /// The app with this slug, if its keys need not wait for a look-up.
    pub(super) fn known(
        &mut self,
        deployment: i64,
        slug: &str,
        since: Reading,
        with: With<'_>,
    ) -> Option<Arc<App>> {
        let is_known = self.entries.get(slug)?.is_known();
        is_known.then(|| self.app(deployment, slug, since, with))
    }

    /// The app with this slug, whatever is known of it.
    pub(super) fn app(
        &mut self,
        deployment: i64,
        slug: &str,
        since: Reading,
        with: With<'_>,
    ) -> Arc<App> {
        let slug: Arc<str> = match self.entries.get_key_value(slug) {
            Some((slug, _)) => Arc::clone(slug),
            None => slug.into(),
        };
        let entry = self
            .entries
            .entry(Arc::clone(&slug))
            .or_insert_with(AppEntry::new);
        if entry.used.is_none() && entry.row.is_some() {
            let bytes = entry.weight(&slug);
            self.unused_bytes = self.unused_bytes.saturating_sub(bytes);
        }
        entry.app(deployment, slug, since, with)
    }

    /// The app with this slug, if a key of it was shown.
    pub(super) fn used(&self, slug: &str) -> Option<Arc<App>> {
        let used = self.entries.get(slug)?.used.as_ref()?;
        Some(Arc::clone(&used.app))
    }

    /// Whether the single look-up of the app may be sent now, or which one is under way.
    pub(super) fn look_up(&self, slug: &str, now: Now) -> Result<(), Option<&LookUp>> {
        let used = self.entries.get(slug).and_then(|entry| entry.used.as_ref());
        let Some(used) = used else { return Ok(()) };
        match &used.look_up {
            Some(look_up) if look_up.is_running(now) => Err(Some(look_up)),
            _ if now.monotonic < used.ask_again_at => Err(None),
            _ => Ok(()),
        }
    }

    pub(super) fn begin_look_up(&mut self, slug: &str, look_up: LookUp) {
        if let Some(used) = self.used_mut(slug) {
            used.look_up = Some(look_up);
        }
    }

    /// The answer was about this slug alone, and said nothing.
    pub(super) fn ask_again(&mut self, slug: &str, at: Duration) {
        if let Some(used) = self.used_mut(slug) {
            used.ask_again_at = at;
        }
    }

    /// Takes what the management API has said of an app. Where there is no room for one that no
    /// key was shown of, it is not kept.
    pub(super) fn take(
        &mut self,
        app: ApiAuthApp,
        sent: CallSent,
        reading: Reading,
        with: With<'_>,
    ) {
        if !self.entries.contains_key(&*app.app_slug) {
            let bytes = AppEntry::new().weight(&app.app_slug);
            if self.unused_bytes + self.rules.bytes() + bytes > self.unused_max {
                return;
            }
            self.unused_bytes += bytes;
            let slug = app.app_slug.as_str().into();
            self.entries.insert(slug, AppEntry::new());
        }
        let Some(entry) = self.entries.get_mut(&*app.app_slug) else {
            return;
        };
        if !entry.admits(sent) {
            if let Some(row) = &mut entry.row {
                row.seen = reading.number;
            }
            return;
        }
        let rules = self
            .rules
            .shared(app.rate_limit_scheme_slug, app.rate_limits);
        entry.take(rules, app.is_active, sent, reading, with);
        if !app.is_active && entry.used.is_some() {
            self.closed.push(app.app_slug.as_str().into());
        }
    }

    /// The apps whose keys have ended with them since this was last asked, or may have.
    pub(super) fn take_closed(&mut self) -> Vec<Arc<str>> {
        mem::take(&mut self.closed)
    }

    /// The management API has said that there is no such app.
    pub(super) fn take_gone(&mut self, slug: &str, sent: CallSent) {
        let Some(entry) = self.entries.get_mut(slug) else {
            return;
        };
        if entry.admits(sent) {
            entry.order = sent.order;
            entry.row = None;
            if let Some(used) = &entry.used {
                used.app.set_status(AppStatus::Gone);
                self.closed.push(slug.into());
            }
        }
    }

    /// Our own client is about to send a call that changes the app.
    pub(super) fn change_sent(&mut self, slug: &str, now: Now) {
        let entry = self
            .entries
            .entry(slug.into())
            .or_insert_with(AppEntry::new);
        let changing = entry.changing.get_or_insert_default();
        changing.in_flight += 1;
        changing.lapses_at = now
            .monotonic
            .saturating_add(UNREPORTED)
            .saturating_add(UNSETTLED);
    }

    /// The call was answered.
    pub(super) fn change_answered(
        &mut self,
        slug: &str,
        change: AppChange,
        order: u64,
        with: With<'_>,
    ) {
        let Some(entry) = self.entries.get_mut(slug) else {
            return;
        };
        entry.order = order;
        if let Some(changing) = &mut entry.changing {
            changing.in_flight = changing.in_flight.saturating_sub(1);
        }
        if change != AppChange::Nothing {
            entry.change(change, with);
        }
        if change == AppChange::Closed {
            self.closed.push(slug.into());
        }
    }

    /// The call was given up: it may be carried out yet.
    pub(super) fn change_given_up(&mut self, slug: &str, now: Now) {
        let entry = self.entries.get_mut(slug);
        if let Some(changing) = entry.and_then(|entry| entry.changing.as_mut()) {
            changing.in_flight = changing.in_flight.saturating_sub(1);
            changing.settles_at = now.monotonic.saturating_add(UNSETTLED);
        }
    }

    /// Lets what is known of the app be read again before it is used for another key.
    pub(super) fn unread(&mut self, slug: &str) {
        if let Some(row) = self
            .entries
            .get_mut(slug)
            .and_then(|entry| entry.row.as_mut())
        {
            row.is_unread = true;
        }
    }

    /// The same for every app.
    pub(super) fn unread_all(&mut self) {
        let rows = self
            .entries
            .values_mut()
            .filter_map(|entry| entry.row.as_mut());
        rows.for_each(|row| row.is_unread = true);
    }

    /// The same for every app of which no key is in use.
    pub(super) fn unread_unused(&mut self) {
        for entry in self.entries.values_mut() {
            if !entry.is_in_use()
                && let Some(row) = &mut entry.row
            {
                row.is_unread = true;
            }
        }
    }

    /// Of the apps that were known before this whole reading, those in use that it lacks. Rows of
    /// others that it lacks are forgotten.
    pub(super) fn missing(&mut self, reading: Reading) -> Vec<Arc<str>> {
        let mut missing = Vec::new();
        for (slug, entry) in &mut self.entries {
            let lacks = match (&entry.row, &entry.used) {
                (Some(row), _) => row.seen != reading.number && row.since < reading.number,
                (None, Some(used)) => used.since < reading.number && !used.app.is_gone(),
                (None, None) => false,
            };
            if !lacks {
                continue;
            }
            if entry.is_in_use() {
                missing.push(Arc::clone(slug));
            } else {
                entry.row = None;
            }
        }
        missing
    }

    /// The apps of which a key is in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &Arc<str>> {
        let in_use = self.entries.iter().filter(|(_, entry)| entry.is_in_use());
        in_use.map(|(slug, _)| slug)
    }

    /// Forgets what nobody needs: apps of which nothing is known and no key is in use. Beyond the
    /// bound, the compiled rules of apps not in use go first, and then these apps.
    pub(super) fn sweep(&mut self, now: Now) {
        self.entries.retain(|_, entry| {
            let is_settled = |changing: &mut Box<Changing>| !changing.holds_back(now.monotonic);
            entry.changing.take_if(is_settled);
            entry.is_in_use() || entry.row.is_some() || entry.changing.is_some()
        });
        self.rules.sweep();
        let room = self.unused_max.saturating_sub(self.rules.bytes());
        if self.weigh_unused() > room {
            let unused = self.entries.values_mut().filter(|entry| !entry.is_in_use());
            unused.for_each(|entry| entry.used = None);
        }
        if self.weigh_unused() > room {
            let mut left = room;
            self.entries.retain(|slug, entry| {
                if entry.is_in_use() || entry.changing.is_some() {
                    return true;
                }
                let rest = left.checked_sub(entry.weight(slug));
                left = rest.unwrap_or(left);
                rest.is_some()
            });
        }
        self.unused_bytes = self.weigh_unused();
        self.entries.shrink_to(self.entries.len() * 2);
    }

    fn weigh_unused(&self) -> usize {
        let unused = self.entries.iter().filter(|(_, entry)| !entry.is_in_use());
        unused.map(|(slug, entry)| entry.weight(slug)).sum()
    }

    /// How many apps something is known of.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn used_mut(&mut self, slug: &str) -> Option<&mut Used> {
        self.entries.get_mut(slug)?.used.as_deref_mut()
    }
}

// === impl Entry ===

impl AppEntry {
    fn new() -> Self {
        Self {
            order: 0,
            row: None,
            used: None,
            changing: None,
        }
    }

    /// Bytes that it takes, near enough to bound them by: the map grows by doubling.
    fn weight(&self, slug: &str) -> usize {
        let used = self.used.as_ref().map_or(0, |_| Used::WEIGHT);
        2 * mem::size_of::<(Arc<str>, Self)>() + 32 + slug.len() + used
    }

    fn is_known(&self) -> bool {
        let is_gone = || self.used.as_ref().is_some_and(|used| used.app.is_gone());
        match &self.row {
            Some(row) => !row.is_unread,
            None => is_gone(),
        }
    }

    /// Whether a key of it is cached or waited for.
    fn is_in_use(&self) -> bool {
        let is_held = |used: &Used| Arc::strong_count(&used.app) > 1;
        self.used.as_deref().is_some_and(is_held)
    }

    /// Whether what comes of a call that was sent then is news.
    fn admits(&self, sent: CallSent) -> bool {
        let changing = self.changing.as_ref();
        sent.order > self.order
            && !changing.is_some_and(|changing| changing.holds_back(sent.at.monotonic))
    }

    fn app(&mut self, deployment: i64, slug: Arc<str>, since: Reading, with: With<'_>) -> Arc<App> {
        let (row, used) = (&self.row, &mut self.used);
        let used = used.get_or_insert_with(|| {
            let mut used = Used::new(App::new(deployment, slug), since);
            if let Some(row) = row {
                used.judge_by(row, with);
            }
            Box::new(used)
        });
        Arc::clone(&used.app)
    }

    fn take(
        &mut self,
        rules: Arc<Rules>,
        is_active: bool,
        sent: CallSent,
        reading: Reading,
        with: With<'_>,
    ) {
        // Made again: keys of the one before are none of this one's.
        self.used.take_if(|used| used.app.is_gone());
        let since = self.row.as_ref().map_or(reading.number, |row| row.since);
        let row = self.row.insert(AppRow {
            rules,
            is_active,
            is_unread: false,
            seen: reading.number,
            since,
        });
        self.order = sent.order;
        if let Some(used) = &mut self.used {
            used.judge_by(row, with);
        }
    }

    fn change(&mut self, change: AppChange, with: With<'_>) {
        if change == AppChange::Opened {
            self.used.take_if(|used| used.app.is_gone());
        }
        match &mut self.row {
            Some(row) => {
                row.is_unread = true;
                match change {
                    AppChange::Opened => row.is_active = true,
                    AppChange::Closed => row.is_active = false,
                    AppChange::Changed | AppChange::Nothing => {}
                }
                if let Some(used) = &mut self.used {
                    used.judge_by(row, with);
                }
            }
            None => {
                if let (AppChange::Closed, Some(used)) = (change, &self.used)
                    && !used.app.is_gone()
                {
                    used.app.set_status(AppStatus::Inactive);
                }
            }
        }
        if let Some(used) = &mut self.used {
            // One that is under way was sent before.
            used.look_up = None;
            used.ask_again_at = Duration::ZERO;
        }
    }
}

// === impl Used ===

impl Used {
    /// Bytes that one takes beside its entry, its rules compiled, near enough to bound them by.
    const WEIGHT: usize = 2048;

    fn new(app: App, since: Reading) -> Self {
        Self {
            app: Arc::new(app),
            compiled: None,
            counted: None,
            look_up: None,
            ask_again_at: Duration::ZERO,
            since: since.number,
        }
    }

    /// Lets the app's keys be judged by the row. Where it says what it said before, nothing
    /// changes.
    fn judge_by(&mut self, row: &AppRow, with: With<'_>) {
        let is_same = |(rules, _): &(Arc<Rules>, Compiled)| Arc::ptr_eq(rules, &row.rules);
        let has_same_rules = self.compiled.as_ref().is_some_and(is_same);
        match (&**self.app.status(), row.is_active) {
            (AppStatus::Gone, _) | (AppStatus::Inactive, false) => return,
            (AppStatus::Active(_), true) if has_same_rules => return,
            _ => {}
        }
        if !row.is_active {
            return self.app.set_status(AppStatus::Inactive);
        }
        let compiled = match self.compiled.take() {
            Some((_, compiled)) if has_same_rules => compiled,
            _ => self.compile(&row.rules, with),
        };
        let rules = compiled.as_ref().map(Arc::clone);
        self.app.set_status(AppStatus::Active(match rules {
            Some(rules) => AppRules::Local(rules),
            None => AppRules::AtGateway,
        }));
        self.compiled = Some((Arc::clone(&row.rules), compiled));
    }

    fn compile(&mut self, rules: &Rules, with: With<'_>) -> Compiled {
        let app = &self.app;
        let Some(specs) = with.limiter.specs(&rules.list) else {
            if rules.uncountable.is_first() {
                tracing::warn!(
                    target: GATE,
                    app = &**app.slug(),
                    scheme = rules.scheme.as_deref(),
                    hint = "it has a unit or mode that this version does not know, or allows less than \
                        one request for each of the replicas",
                    "a rate-limit rule cannot be counted here: the gateway is asked on every request"
                );
            }
            return None;
        };
        let (slug, before) = (app.slug(), self.counted.as_deref());
        let compiled = with
            .limiter
            .ruleset(app.deployment(), slug, &specs, before, with.now);
        let compiled = Arc::new(compiled);
        self.counted = Some(Arc::clone(&compiled));
        Some(compiled)
    }
}

// === impl LookUp ===

impl LookUp {
    fn is_running(&self, now: Now) -> bool {
        // The sender is the task's own.
        self.over.has_changed().is_ok() && now.monotonic < self.lapses_at
    }
}

// === impl Changing ===

impl Changing {
    /// Whether what was sent at this time may not know yet what the call did.
    fn holds_back(&self, at: Duration) -> bool {
        (self.in_flight > 0 && at < self.lapses_at) || at < self.settles_at
    }
}

/// How long a call that was given up may still be carried out.
const UNSETTLED: Duration = Duration::from_secs(60);
/// How long a call takes at most of which nobody says what became of it.
const UNREPORTED: Duration = Duration::from_secs(60);
