//! Rate-limit headers: `RateLimit` and `RateLimit-Policy`, and Wacht's own.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use smallvec::SmallVec;

use super::counters::{CalendarUnit, Level, Window};
use super::rule::Mode;
use crate::stripes::Stripes;

/// Which headers tell callers how much of their rate limits is left.
///
/// Where requests have a [`cost`](crate::WachtAuthLayer::cost), limits are of units: what is left is how
/// much a request may cost now, and the time beside it is until there is at least one unit more.
/// `Retry-After` on a refusal is until what it cost would pass; it is not there where that is more
/// than the rule ever admits at once.
///
/// They are on admitted answers and on those refused for a limit, where this process counts: where
/// the gateway does, only it knows what is left, and there are none. A request that no rule matches
/// gets none either. `Retry-After` on refusals is not affected by this choice.
///
/// A gRPC caller finds them in the metadata that precede the messages. A Trailers-Only answer (any
/// refusal, and a status that the service returns before its first message) has none of them,
/// because they may not stand in trailers; the metadata of a refusal still have `retry-after`, in
/// whole seconds.
///
/// For a rule of 3 requests in 60 seconds per key, the first answer carries:
///
/// ```text
/// Draft:  ratelimit-policy: "per_key:3/60s";q=3;w=60
///         ratelimit: "per_key:3/60s";r=2;t=20
/// Wacht:  x-ratelimit-60s-limit: 3
///         x-ratelimit-60s-remaining: 2
///         x-ratelimit-60s-reset: 20
/// ```
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use wacht_auth::dev::{DevGateway, DevRule};
/// use wacht_auth::{RateLimitHeaders, WachtAuthLayer};
/// # use std::convert::Infallible;
/// # use http_body_util::Full;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// wacht.app("orders").scheme([DevRule::per_key(3, "minute", 1)]);
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client())
///     .app("orders")
///     .rate_limit_headers(RateLimitHeaders::Wacht);
/// let service = gate.layer(service_fn(async |_: Request<String>| {
///     Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
/// }));
/// let request = Request::get("/orders").header("authorization", format!("Bearer {}", key.secret()));
/// let answer = service.oneshot(request.body(String::new())?).await?;
/// assert_eq!(answer.headers()["x-ratelimit-60s-remaining"], "2");
/// assert!(!answer.headers().contains_key("ratelimit"));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitHeaders {
    /// `RateLimit-Policy` and `RateLimit`, as in draft-ietf-httpapi-ratelimit-headers-10: one list
    /// entry per rule, in order of priority. `t` is the number of seconds until more requests may
    /// pass, left out when the limit is untouched. Windows below a second show as `w=1`; for days
    /// and months of the calendar, `w` is the length of the current one. An entry the service
    /// itself has set stays.
    #[default]
    Draft,
    /// `X-RateLimit-{window}-Limit`, `-Remaining` and `-Reset`, with the window as Wacht writes
    /// it: `60s`, `250ms`; a day and a month of the calendar are `86400s` and `2592000s`. `Reset`
    /// is the number of seconds until more requests may pass, 0 when the limit is untouched. Of
    /// two rules with the same window, the one with less left shows.
    Wacht,
    /// Both of them.
    Both,
    /// No headers.
    None,
}

/// The rate-limit header fields of one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateLimitFields {
    draft: Option<Draft>,
    wacht: Option<Box<[(HeaderName, HeaderValue)]>>,
}

#[derive(Clone, Debug)]
struct Draft {
    policy: HeaderValue,
    rate_limit: HeaderValue,
}

/// What the rules that matched have left, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleStates(SmallVec<[RuleState; INLINE_RULES]>);

/// What one rule has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleState {
    /// The rule's place in its set.
    pub(super) place: u32,
    pub(super) remaining: u32,
    /// Whole seconds until there is more; 0 when nothing is used.
    pub(super) more_in: u32,
    /// Whole seconds that the current day or month has; 0 for a rolling window.
    period: u32,
}

/// The rules of one set as the header fields show them.
#[derive(Debug)]
pub(super) struct Labels {
    labels: Vec<Label>,
    /// `RateLimit-Policy` for a resource that all rules match, where it is always the same.
    policy: Option<Stripes<HeaderValue>>,
}

/// One rule as the header fields show it, rendered as far as it can be beforehand.
#[derive(Debug)]
struct Label {
    /// Unique within its set; printable ASCII without quotes and backslashes.
    name: Arc<str>,
    /// `"per_key:3/60s";q=3;w=60`, without the last number where it varies.
    policy: Box<str>,
    /// Whether the length of the window depends on the month.
    varies: bool,
    /// `"per_key:3/60s";r=`
    remaining: Box<str>,
    max_requests: u32,
    wacht: WachtNames,
}

#[derive(Debug)]
struct WachtNames {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

// === impl RateLimitFields ===

impl RateLimitFields {
    /// Moves them into an answer, beside what the service itself has set.
    pub(crate) fn write(&mut self, headers: &mut HeaderMap) {
        // A gRPC client takes the headers of an answer that is already over for its trailers, and
        // the fields must not stand in trailers.
        if self.is_empty() || headers.keys().any(|name| *name == GRPC_STATUS) {
            return;
        }
        if let Some(Draft { policy, rate_limit }) = self.draft.take() {
            // Lists, so a line of the service's own may stand beside ours. An answer so full of
            // headers that no more fit goes out without.
            let _ = headers.try_append(RATE_LIMIT_POLICY, policy);
            let _ = headers.try_append(RATE_LIMIT, rate_limit);
        }
        for (name, value) in self.wacht.take().into_iter().flatten() {
            let _ = headers.try_insert(name, value);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let draft = self.draft.iter().flat_map(|draft| {
            [
                (RATE_LIMIT_POLICY, draft.policy.clone()),
                (RATE_LIMIT, draft.rate_limit.clone()),
            ]
        });
        draft.chain(self.wacht.iter().flatten().cloned())
    }

    fn is_empty(&self) -> bool {
        self.draft.is_none() && self.wacht.is_none()
    }
}

// === impl RuleStates ===

impl RuleStates {
    /// Adds what a counter says. Of a rule and those in whose place it is, the one with the least
    /// left speaks.
    pub(super) fn add(&mut self, state: RuleState) {
        match self.0.last_mut() {
            Some(last) if last.place == state.place => {
                let key = |state: &RuleState| (state.remaining, u32::MAX - state.more_in);
                if key(&state) < key(last) {
                    last.remaining = state.remaining;
                    last.more_in = state.more_in;
                }
            }
            _ => self.0.push(state),
        }
    }
}

impl Deref for RuleStates {
    type Target = [RuleState];

    fn deref(&self) -> &[RuleState] {
        &self.0
    }
}

// === impl RuleState ===

impl RuleState {
    /// The state of the rule at this place. `period` is the length of the current day or month.
    pub(super) fn new(place: u32, level: Level, period: Option<Duration>) -> Self {
        Self {
            place,
            remaining: level.remaining,
            more_in: seconds_up(level.more_in),
            period: period.map_or(0, seconds_up),
        }
    }
}

// === impl Labels ===

impl Labels {
    /// In the order of the rules.
    pub(super) fn new(rules: impl Iterator<Item = (Mode, u32, Window)>) -> Self {
        let mut words: Vec<String> = Vec::new();
        let labels: Vec<Label> = rules
            .map(|(mode, max_requests, window)| {
                let word = format!("{}:{max_requests}/{}", mode.as_str(), short(window));
                let alike = words.iter().filter(|other| **other == word).count();
                let name = match alike {
                    0 => word.clone(),
                    _ => format!("{word}#{}", alike + 1),
                };
                words.push(word);
                Label::new(&name, max_requests, window)
            })
            .collect();
        let varies = labels.iter().any(|label| label.varies);
        let policy = (!varies).then(|| {
            let mut text = Vec::new();
            for label in &labels {
                next_item(&mut text, &label.policy);
            }
            Stripes::new(|| {
                // With spare room, `Bytes` counts references from the start; made from an exact
                // vector, it would allocate for that at the first clone.
                let mut copy = Vec::with_capacity(text.len() + 1);
                copy.extend_from_slice(&text);
                value(copy.into())
            })
        });
        Self { labels, policy }
    }

    fn of(&self, place: u32) -> Option<&Label> {
        self.labels.get(usize::try_from(place).ok()?)
    }

    pub(super) fn name(&self, place: u32) -> Option<Arc<str>> {
        self.of(place).map(|label| Arc::clone(&label.name))
    }

    /// The chosen fields. The states must be those of rules of this set.
    pub(super) fn fields(&self, states: &[RuleState], chosen: RateLimitHeaders) -> RateLimitFields {
        let (draft, wacht) = match chosen {
            _ if states.is_empty() => (false, false),
            RateLimitHeaders::Draft => (true, false),
            RateLimitHeaders::Wacht => (false, true),
            RateLimitHeaders::Both => (true, true),
            RateLimitHeaders::None => (false, false),
        };
        RateLimitFields {
            draft: draft.then(|| Draft {
                policy: self.policy(states),
                rate_limit: self.rate_limit(states),
            }),
            wacht: wacht.then(|| self.wacht(states)),
        }
    }

    fn policy(&self, states: &[RuleState]) -> HeaderValue {
        if let (Some(policy), true) = (&self.policy, states.len() == self.labels.len()) {
            return policy.local().clone();
        }
        let mut text = Vec::new();
        for state in states {
            if let Some(label) = self.of(state.place) {
                next_item(&mut text, &label.policy);
                if label.varies {
                    write_number(&mut text, state.period);
                }
            }
        }
        value(text.into())
    }

    /// Written once, into as much memory as it takes: this runs on every answer.
    fn rate_limit(&self, states: &[RuleState]) -> HeaderValue {
        let items = states.iter();
        let items = items.filter_map(|state| Some((self.of(state.place)?, state)));
        let lengths = items.clone().map(|(label, state)| {
            let more_in = match state.more_in {
                0 => 0,
                more_in => MORE_IN.len() + digits(more_in),
            };
            SEPARATOR.len() + label.remaining.len() + digits(state.remaining) + more_in
        });
        let length = lengths.sum::<usize>().saturating_sub(SEPARATOR.len());
        let mut text = Vec::with_capacity(length);
        for (label, state) in items {
            next_item(&mut text, &label.remaining);
            write_number(&mut text, state.remaining);
            if state.more_in > 0 {
                text.extend_from_slice(MORE_IN);
                write_number(&mut text, state.more_in);
            }
        }
        value(text.into())
    }

    /// Of two rules with the same window, only the one with the least left.
    fn wacht(&self, states: &[RuleState]) -> Box<[(HeaderName, HeaderValue)]> {
        let mut tightest_last = SmallVec::<[RuleState; INLINE_RULES]>::from_slice(states);
        tightest_last.sort_by_key(|state| std::cmp::Reverse(state.remaining));
        let mut fields = Vec::with_capacity(3 * tightest_last.len());
        for state in tightest_last.iter().rev() {
            let Some(label) = self.of(state.place) else {
                continue;
            };
            let WachtNames {
                limit,
                remaining,
                reset,
            } = &label.wacht;
            if fields.iter().any(|(name, _)| name == limit) {
                continue;
            }
            fields.push((limit.clone(), HeaderValue::from(label.max_requests)));
            fields.push((remaining.clone(), state.remaining.into()));
            fields.push((reset.clone(), state.more_in.into()));
        }
        fields.into()
    }
}

// === impl Label ===

impl Label {
    fn new(name: &str, max_requests: u32, window: Window) -> Self {
        let mut policy = format!("\"{name}\";q={max_requests};w=");
        let varies = window == Window::Calendar(CalendarUnit::Month);
        if !varies {
            policy += &seconds_up(nominal(window)).max(1).to_string();
        }
        let short = short(nominal(window).into());
        Self {
            name: name.into(),
            policy: policy.into(),
            varies,
            remaining: format!("\"{name}\";r=").into(),
            max_requests,
            wacht: WachtNames {
                limit: header_name(&short, "limit"),
                remaining: header_name(&short, "remaining"),
                reset: header_name(&short, "reset"),
            },
        }
    }
}

/// Whole seconds, as callers are told them: who comes back after as many is not too early.
pub(super) fn seconds_up(time: Duration) -> u32 {
    let started = u64::from(time.subsec_nanos() > 0);
    let whole = time.as_secs().saturating_add(started);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

/// The window as Wacht's rule strings have it; days and months of the calendar by their names, as
/// they would else be mistaken for rolling ones.
fn short(window: Window) -> String {
    match window {
        Window::Rolling(length) if length < Duration::from_secs(1) => {
            format!("{}ms", length.as_millis().max(1))
        }
        Window::Rolling(length) => format!("{}s", length.as_secs()),
        Window::Calendar(CalendarUnit::Day) => "calendar_day".to_owned(),
        Window::Calendar(CalendarUnit::Month) => "calendar_month".to_owned(),
    }
}

/// The length that Wacht takes a window to have.
fn nominal(window: Window) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    match window {
        Window::Rolling(length) => length,
        Window::Calendar(CalendarUnit::Day) => DAY,
        Window::Calendar(CalendarUnit::Month) => 30 * DAY,
    }
}

#[expect(
    clippy::expect_used,
    reason = "the name is made of digits, lower-case letters and hyphens"
)]
fn header_name(window: &str, what: &str) -> HeaderName {
    HeaderName::try_from(format!("x-ratelimit-{window}-{what}")).expect("a valid header name")
}

#[expect(
    clippy::expect_used,
    reason = "names of rules and numbers are visible ASCII"
)]
fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("a valid header value")
}

fn next_item(text: &mut Vec<u8>, item: &str) {
    if !text.is_empty() {
        text.extend_from_slice(SEPARATOR);
    }
    text.extend_from_slice(item.as_bytes());
}

/// Decimal digits, without the cost of `fmt`.
fn write_number(text: &mut Vec<u8>, number: u32) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// How many decimal digits a number has.
fn digits(number: u32) -> usize {
    let more = number.checked_ilog10().unwrap_or(0);
    more as usize + 1
}

const SEPARATOR: &[u8] = b", ";
const MORE_IN: &[u8] = b";t=";

/// Up to this many matching rules, admitting allocates nothing.
pub(super) const INLINE_RULES: usize = 4;

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 99, 100, 1_234_567, u32::MAX] {
            let mut text = b"r=".to_vec();
            write_number(&mut text, number);
            assert_eq!(&*text, format!("r={number}").as_bytes());
            assert_eq!(digits(number), text.len() - 2);
        }
    }

    #[test]
    fn windows_are_written_as_wacht_does() {
        for (millis, text) in [
            (1, "1ms"),
            (250, "250ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_500, "1s"),
            (60_000, "60s"),
            (2_592_000_000, "2592000s"),
        ] {
            assert_eq!(short(Duration::from_millis(millis).into()), text);
        }
    }

    #[test]
    fn extreme_rules_have_valid_labels() {
        let windows = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
        let rules = windows.into_iter().flat_map(|window| {
            [0, u32::MAX].map(|max_requests| (Mode::KeyAndIp, max_requests, window.into()))
        });
        let labels = Labels::new(rules);
        let policy = labels.policy.as_ref().unwrap().local();
        assert!(policy.to_str().unwrap().contains(";q=4294967295;w=1, "));
    }
}
