//! The figures of a gate, told to the recorder of the `metrics` crate.
//!
//! Names and units follow OpenTelemetry's rules. No label is made at call time: every handle is
//! made at the first figure, and kept.

mod store;
#[cfg(feature = "redis")]
mod store_calls;

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};

#[cfg(feature = "redis")]
pub(crate) use self::store_calls::StoreCalls;

use self::store::{StoreHandles, no_less, no_less_than};
use crate::client::StoreStats;
use crate::gate::refusal::{InvalidKeyReason, RejectionKind};
use crate::gate::stats::events::{Effect, GatewayResult, GuardProblem, Levels, LimitedBy};
use crate::gate::stats::figures::{OUTCOME_KINDS, OUTCOMES, SOURCES, VerdictSource, WatchStats};

const VERDICTS: &str = "wacht_auth.verdicts";
const INVALID_KEYS: &str = "wacht_auth.invalid_keys";
const CACHE_ENTRIES: &str = "wacht_auth.cache.entries";
const CACHE_SIZE: &str = "wacht_auth.cache.size";
const CACHE_EVICTIONS: &str = "wacht_auth.cache.evictions";
const GATEWAY_REQUESTS: &str = "wacht_auth.gateway.requests";
const GATEWAY_REQUEST_DURATION: &str = "wacht_auth.gateway.request.duration";
const GATEWAY_BREAKER_OPEN: &str = "wacht_auth.gateway.breaker.open";
const REFRESHES: &str = "wacht_auth.refreshes";
const WATCH_LISTS: &str = "wacht_auth.watch.lists";
const WATCH_APPS: &str = "wacht_auth.watch.apps";
const WATCH_LONGEST_UNSEEN: &str = "wacht_auth.watch.longest_unseen";
const LIMITER_SUBJECTS: &str = "wacht_auth.limiter.subjects";
const LIMITER_REFUSALS: &str = "wacht_auth.limiter.refusals";

const GUARD_MISCONFIGURED: &str = "wacht_auth.guard.misconfigured";

const OUTCOME: &str = "wacht_auth.outcome";
const SOURCE: &str = "wacht_auth.source";
const REASON: &str = "wacht_auth.reason";
const CACHE: &str = "wacht_auth.cache";
const RESULT: &str = "wacht_auth.gateway.result";
const LIMIT_MODE: &str = "wacht_auth.limit.mode";
const LIMIT_EFFECT: &str = "wacht_auth.limit.effect";
const WATCH_RESULT: &str = "wacht_auth.watch.result";
const WATCH_STATE: &str = "wacht_auth.watch.state";
const GUARD_PROBLEM: &str = "wacht_auth.guard.problem";

const GOOD_KEYS: &str = "good_keys";
const REFUSED_KEYS: &str = "refused_keys";

/// Tells the recorder of the process what the gate counts.
#[derive(Default)]
pub(super) struct Recorder {
    // Not before the first figure: a program may well install its recorder after the layer was
    // built.
    handles: OnceLock<Handles>,
    told: Mutex<Levels>,
}

struct Handles {
    verdicts: [[Counter; SOURCES]; OUTCOMES],
    invalid_keys: [Counter; InvalidKeyReason::ALL.len()],
    good_keys: Cached,
    refused_keys: Cached,
    cached_bytes: Gauge,
    gateway_requests: [Counter; GatewayResult::ALL.len()],
    gateway_request_duration: [Histogram; GatewayResult::ALL.len()],
    breaker_open: Gauge,
    refreshes: Counter,
    limiter_subjects: Gauge,
    limiter_refusals: [[Counter; Effect::ALL.len()]; LimitedBy::ALL.len()],
    watch: Watched,
    /// Not before there is a store.
    store: OnceLock<StoreHandles>,
}

struct Watched {
    read: Counter,
    failed: Counter,
    confirmed: Counter,
    shared: Counter,
    in_turn: Gauge,
    left_out: Gauge,
    longest_unseen: Gauge,
}

struct Cached {
    entries: Gauge,
    evictions: Counter,
}

impl Recorder {
    pub(super) fn verdict(&self, outcome: usize, source: VerdictSource) {
        debug_assert!(
            can_come_of(OUTCOME_KINDS[outcome], source),
            "{:?} from {source:?} is no series",
            OUTCOME_KINDS[outcome]
        );
        self.handles().verdicts[outcome][source as usize].increment(1);
    }

    pub(super) fn invalid_key(&self, reason: InvalidKeyReason) {
        self.handles().invalid_keys[reason as usize].increment(1);
    }

    pub(super) fn gateway_request(&self, result: GatewayResult, took: Duration) {
        let handles = self.handles();
        handles.gateway_requests[result as usize].increment(1);
        handles.gateway_request_duration[result as usize].record(took.as_secs_f64());
    }

    pub(super) fn refresh(&self) {
        self.handles().refreshes.increment(1);
    }

    pub(super) fn limit_refusal(&self, by: LimitedBy, effect: Effect) {
        self.handles().limiter_refusals[by as usize][effect as usize].increment(1);
    }

    /// Tells the difference to what was told before, so that the levels of all gates of a process
    /// add up.
    pub(super) fn levels(&self, levels: &Levels) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever read earlier may come later: what only grows must not be told twice.
        let levels = Levels {
            evicted_keys: levels.evicted_keys.max(told.evicted_keys),
            evicted_refused_keys: levels.evicted_refused_keys.max(told.evicted_refused_keys),
            watch: levels.watch.map(|watch| {
                let before = told.watch.unwrap_or_default();
                WatchStats {
                    lists: watch.lists.max(before.lists),
                    failed: watch.failed.max(before.failed),
                    confirmations: watch.confirmations.max(before.confirmations),
                    shared: watch.shared.max(before.shared),
                    ..watch
                }
            }),
            store: no_less(levels.store, told.store),
            ..*levels
        };
        self.handles().move_levels(&told, &levels);
        *told = levels;
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| {
            describe();
            // So that they stand at 0 before the first: what only appears with it has not grown.
            for problem in [GuardProblem::NoGate, GuardProblem::NoRequirement] {
                drop(guard_misconfigured(problem));
            }
            Handles::new()
        })
    }
}

/// What a gate held goes with it. What it counted stays.
impl Drop for Recorder {
    fn drop(&mut self) {
        let told = *self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = self.handles.get() {
            let nothing = Levels {
                evicted_keys: told.evicted_keys,
                evicted_refused_keys: told.evicted_refused_keys,
                watch: told.watch.map(|watch| WatchStats {
                    longest_unseen: Duration::ZERO,
                    apps: 0,
                    left_out: 0,
                    ..watch
                }),
                store: told
                    .store
                    .map(|store| no_less_than(StoreStats::default(), store)),
                ..Levels::default()
            };
            handles.move_levels(&told, &nothing);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Handles {
    fn new() -> Self {
        Self {
            verdicts: OUTCOME_KINDS.map(|kind| {
                VerdictSource::ALL.map(|source| {
                    let labels = [(OUTCOME, outcome_word(kind)), (SOURCE, source.as_str())];
                    counter_if(can_come_of(kind, source), VERDICTS, &labels)
                })
            }),
            invalid_keys: InvalidKeyReason::ALL
                .map(|reason| counter(INVALID_KEYS, &[(REASON, reason.as_str())])),
            good_keys: Cached::new(GOOD_KEYS),
            refused_keys: Cached::new(REFUSED_KEYS),
            cached_bytes: gauge(CACHE_SIZE, &[]),
            gateway_requests: GatewayResult::ALL
                .map(|result| counter(GATEWAY_REQUESTS, &[(RESULT, result_word(result))])),
            gateway_request_duration: GatewayResult::ALL.map(|result| {
                histogram(GATEWAY_REQUEST_DURATION, &[(RESULT, result_word(result))])
            }),
            breaker_open: gauge(GATEWAY_BREAKER_OPEN, &[]),
            refreshes: counter(REFRESHES, &[]),
            limiter_subjects: gauge(LIMITER_SUBJECTS, &[]),
            limiter_refusals: LimitedBy::ALL.map(|by| {
                Effect::ALL.map(|effect| {
                    let labels = [
                        (LIMIT_MODE, mode_word(by)),
                        (LIMIT_EFFECT, effect_word(effect)),
                    ];
                    // Neither is counted by rules, which alone have a shadow.
                    let has_shadow = !matches!(by, LimitedBy::Gateway | LimitedBy::UnknownKeys);
                    let comes = has_shadow || matches!(effect, Effect::Refused);
                    counter_if(comes, LIMITER_REFUSALS, &labels)
                })
            }),
            watch: Watched::new(),
            store: OnceLock::new(),
        }
    }

    fn move_levels(&self, from: &Levels, to: &Levels) {
        let (good, refused) = (&self.good_keys, &self.refused_keys);
        move_gauge(&good.entries, from.cached_keys, to.cached_keys);
        move_gauge(&refused.entries, from.refused_keys, to.refused_keys);
        move_gauge(&self.cached_bytes, from.cached_bytes, to.cached_bytes);
        let subjects = |levels: &Levels| levels.limiter_subjects as u64;
        move_gauge(&self.limiter_subjects, subjects(from), subjects(to));
        let open = |levels: &Levels| u64::from(levels.is_breaker_open);
        move_gauge(&self.breaker_open, open(from), open(to));
        let evicted = to.evicted_keys - from.evicted_keys;
        good.evictions.increment(evicted);
        let evicted = to.evicted_refused_keys - from.evicted_refused_keys;
        refused.evictions.increment(evicted);
        if let Some(watch) = &to.watch {
            let before = from.watch.unwrap_or_default();
            self.watch.move_levels(&before, watch);
        }
        if let Some(store) = &to.store {
            let handles = self.store.get_or_init(StoreHandles::new);
            handles.move_levels(&from.store.unwrap_or_default(), store);
        }
    }
}

impl Watched {
    fn new() -> Self {
        let lists = |result| counter(WATCH_LISTS, &[(WATCH_RESULT, result)]);
        let apps = |state| gauge(WATCH_APPS, &[(WATCH_STATE, state)]);
        Self {
            read: lists("read"),
            failed: lists("failed"),
            confirmed: lists("confirmed"),
            shared: lists("shared"),
            in_turn: apps("in_turn"),
            left_out: apps("left_out"),
            longest_unseen: gauge(WATCH_LONGEST_UNSEEN, &[]),
        }
    }

    fn move_levels(&self, from: &WatchStats, to: &WatchStats) {
        self.read.increment(to.lists - from.lists);
        self.failed.increment(to.failed - from.failed);
        self.confirmed
            .increment(to.confirmations - from.confirmations);
        self.shared.increment(to.shared - from.shared);
        let move_gauge = |gauge: &Gauge, from: f64, to: f64| gauge.increment(to - from);
        let in_turn = |stats: &WatchStats| stats.apps.saturating_sub(stats.left_out) as f64;
        move_gauge(&self.in_turn, in_turn(from), in_turn(to));
        let (before, after) = (from.left_out as f64, to.left_out as f64);
        move_gauge(&self.left_out, before, after);
        let unseen = |stats: &WatchStats| stats.longest_unseen.as_secs_f64();
        move_gauge(&self.longest_unseen, unseen(from), unseen(to));
    }
}

fn move_gauge(gauge: &Gauge, from: u64, to: u64) {
    match to.checked_sub(from) {
        Some(0) => {}
        Some(more) => gauge.increment(more as f64),
        None => gauge.decrement((from - to) as f64),
    }
}

impl Cached {
    fn new(cache: &'static str) -> Self {
        Self {
            entries: gauge(CACHE_ENTRIES, &[(CACHE, cache)]),
            evictions: counter(CACHE_EVICTIONS, &[(CACHE, cache)]),
        }
    }
}

/// A request that no gate was in front of, or that was asked for what is no requirement. It belongs
/// to no gate, so its handle is not kept: whoever listens now hears of it.
pub(crate) fn guard_problem(problem: GuardProblem) {
    guard_misconfigured(problem).increment(1);
}

fn guard_misconfigured(problem: GuardProblem) -> Counter {
    with_recorder(|recorder| {
        recorder.describe_counter(
            GUARD_MISCONFIGURED.into(),
            Some(Unit::Count),
            "Requests answered 500 since what asks for a caller or a permission is set up wrongly."
                .into(),
        );
    });
    counter(
        GUARD_MISCONFIGURED,
        &[(GUARD_PROBLEM, problem_word(problem))],
    )
}

/// Unit and meaning of every metric of a gate, for exporters that show them.
fn describe() {
    let counters = [
        (
            VERDICTS,
            "Requests decided, by outcome and by what they were decided from.",
        ),
        (
            INVALID_KEYS,
            "Keys refused, by the reason that their callers are not told.",
        ),
        (CACHE_EVICTIONS, "Keys forgotten for want of room."),
        (
            GATEWAY_REQUESTS,
            "Checks of the Wacht gateway that are over, by result.",
        ),
        (REFRESHES, "Refreshes of known keys sent in the background."),
        (
            WATCH_LISTS,
            "Lists of keys that the watch has read, by result.",
        ),
        (
            LIMITER_REFUSALS,
            "Requests that a rate limit refused, by the limit's mode.",
        ),
    ];
    let gauges = [
        (CACHE_ENTRIES, Unit::Count, "Keys held in memory."),
        (
            CACHE_SIZE,
            Unit::Bytes,
            "What the keys known to be good take in memory.",
        ),
        (
            GATEWAY_BREAKER_OPEN,
            Unit::Count,
            "Gates that hold checks back because the Wacht gateway fails too often.",
        ),
        (
            WATCH_APPS,
            Unit::Count,
            "Apps whose lists of keys the watch reads, or leaves out.",
        ),
        (
            WATCH_LONGEST_UNSEEN,
            Unit::Seconds,
            "The longest that a revocation elsewhere may go unseen now.",
        ),
        (
            LIMITER_SUBJECTS,
            Unit::Count,
            "Keys and addresses that rate limits count apart.",
        ),
    ];
    with_recorder(|recorder| {
        for (name, description) in counters {
            recorder.describe_counter(name.into(), Some(Unit::Count), description.into());
        }
        for (name, unit, description) in gauges {
            recorder.describe_gauge(name.into(), Some(unit), description.into());
        }
        recorder.describe_histogram(
            GATEWAY_REQUEST_DURATION.into(),
            Some(Unit::Seconds),
            "How long checks of the Wacht gateway took, by result.".into(),
        );
    });
}

/// Whether requests are decided so: what cannot be is no series.
fn can_come_of(outcome: Option<RejectionKind>, source: VerdictSource) -> bool {
    match outcome {
        None => !matches!(source, VerdictSource::Request | VerdictSource::Negative),
        Some(RejectionKind::MissingCredential | RejectionKind::MalformedCredential) => {
            matches!(source, VerdictSource::Request)
        }
        Some(RejectionKind::InvalidKey | RejectionKind::Unavailable) => true,
        Some(
            RejectionKind::PermissionDenied
            | RejectionKind::RateLimited
            | RejectionKind::Misconfigured,
        ) => !matches!(source, VerdictSource::Negative),
    }
}

fn counter_if(comes: bool, name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
    match comes {
        true => counter(name, labels),
        false => Counter::noop(),
    }
}

fn counter(name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
    with_recorder(|recorder| recorder.register_counter(&key(name, labels), &METADATA))
}

fn gauge(name: &'static str, labels: &[(&'static str, &'static str)]) -> Gauge {
    with_recorder(|recorder| recorder.register_gauge(&key(name, labels), &METADATA))
}

fn histogram(name: &'static str, labels: &[(&'static str, &'static str)]) -> Histogram {
    with_recorder(|recorder| recorder.register_histogram(&key(name, labels), &METADATA))
}

fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
    let labels = labels.iter();
    let labels: Vec<_> = labels
        .map(|(name, value)| Label::from_static_parts(name, value))
        .collect();
    Key::from_parts(name, labels)
}

static METADATA: Metadata<'static> = Metadata::new("wacht_auth", Level::INFO, None);

fn outcome_word(refused: Option<RejectionKind>) -> &'static str {
    refused.map_or("admitted", RejectionKind::as_str)
}

const fn result_word(result: GatewayResult) -> &'static str {
    match result {
        GatewayResult::Allowed => "allowed",
        GatewayResult::Denied => "denied",
        GatewayResult::RateLimited => "rate_limited",
        GatewayResult::PermissionDenied => "permission_denied",
        GatewayResult::Indeterminate => "indeterminate",
        GatewayResult::Failed => "failed",
        GatewayResult::TimedOut => "timed_out",
    }
}

const fn mode_word(by: LimitedBy) -> &'static str {
    match by {
        LimitedBy::PerApp => "per_app",
        LimitedBy::PerKey => "per_key",
        LimitedBy::PerKeyAndIp => "per_key_and_ip",
        LimitedBy::PerAppAndIp => "per_app_and_ip",
        LimitedBy::PerIp => "per_ip",
        LimitedBy::Gateway => "gateway",
        LimitedBy::UnknownKeys => "unknown_keys",
    }
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Refused => "refused",
        Effect::Shadow => "shadow",
    }
}

const fn problem_word(problem: GuardProblem) -> &'static str {
    match problem {
        GuardProblem::NoGate => "no_gate",
        GuardProblem::NoRequirement => "no_requirement",
    }
}
