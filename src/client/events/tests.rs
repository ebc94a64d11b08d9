//! What listeners hear, in every order of calls.

use std::collections::BTreeMap;
use std::future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::ManagementEvent::{ChangeApp, CloseApp, OpenApp, RevokeDigest, RevokeKey, RevokeKeyId};
use super::*;
use crate::client::DecodeError;
use crate::client::config_error::{ConfigError, ConfigErrorKind};
use crate::client::error::Error;
use crate::client::request_error::{RequestError, RequestErrorKind};
use crate::dev::{DevGateway, ManualClock};

mod told;

/// Writes down what it hears, and refuses as a gate has to.
#[derive(Default)]
struct Gate(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    begun: Vec<(ManagementEvent, Order)>,
    settled: Vec<(ManagementEvent, Settled)>,
    revocations: BTreeMap<u64, (ManagementEvent, Option<Settled>)>,
}

impl Gate {
    fn on(events: &Events) -> Arc<Self> {
        let gate = Arc::new(Self::default());
        let listener: Weak<dyn Listener> =
            Arc::downgrade(&(Arc::clone(&gate) as Arc<dyn Listener>));
        events.listen(listener);
        gate
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap()
    }

    fn begun(&self) -> Vec<ManagementEvent> {
        let heard = self.heard();
        heard.begun.iter().map(|(event, _)| event.clone()).collect()
    }

    fn outcomes(&self) -> Vec<(ManagementEvent, Outcome)> {
        let heard = self.heard();
        let outcome =
            |(event, settled): &(ManagementEvent, Settled)| (event.clone(), settled.outcome);
        heard.settled.iter().map(outcome).collect()
    }

    /// What is refused now.
    fn refuses(&self, event: &ManagementEvent) -> bool {
        let heard = self.heard();
        heard
            .revocations
            .values()
            .any(|(refused, _)| refused == event)
    }
}

impl Listener for Gate {
    fn begins(&self, event: &ManagementEvent, sent: Order) -> RevocationId {
        let mut heard = self.heard();
        heard.begun.push((event.clone(), sent));
        let id = heard.begun.len() as u64;
        if !matches!(event, OpenApp(_) | ChangeApp(_)) {
            heard.revocations.insert(id, (event.clone(), None));
        }
        RevocationId(id)
    }

    fn settled(&self, event: &ManagementEvent, id: RevocationId, settled: Settled) {
        let mut heard = self.heard();
        let begun = heard.begun.get(id.0 as usize - 1).cloned();
        let begun = begun.map(|(event, sent)| match settled.sent {
            // It came from elsewhere, and may have overlapped with anything.
            Order(0) => (event, Order(0)),
            _ => (event, sent),
        });
        assert_eq!(
            begun,
            Some((event.clone(), settled.sent)),
            "what comes back belongs to what began"
        );
        heard.settled.push((event.clone(), settled));
        if settled.outcome == Outcome::Nothing {
            heard.revocations.remove(&id.0);
        } else if let Some((_, outcome)) = heard.revocations.get_mut(&id.0) {
            *outcome = Some(settled);
        }
        if let (OpenApp(slug), Outcome::Done) = (event, settled.outcome) {
            let closed = CloseApp(slug.clone());
            heard.revocations.retain(|_, (revoked, outcome)| {
                let was_over = outcome.is_some_and(|outcome| outcome.was_over_before(settled.sent));
                !(*revoked == closed && was_over)
            });
        }
    }

    #[cfg(feature = "redis")]
    fn missed(&self) {}
}

fn events() -> (Events, ManualClock) {
    let clock = ManualClock::new();
    (Events::new((&clock).into()), clock)
}

fn revoke(key_id: i64) -> ManagementEvent {
    RevokeKey {
        app: "orders".into(),
        key_id,
    }
}

fn close() -> ManagementEvent {
    CloseApp("orders".into())
}

fn open() -> ManagementEvent {
    OpenApp("orders".into())
}

fn answer(status: u16, body: &str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    Error::from_answer(status, &HeaderMap::new(), body.as_bytes(), "")
}

fn enveloped(status: u16, message: &str) -> Error {
    let body = serde_json::json!({"errors": [{"message": message, "code": status}]});
    answer(status, &body.to_string())
}

// --- outcomes ---

/// What listeners hear when the call ends so.
async fn outcome_of(event: ManagementEvent, end: Result<()>) -> Outcome {
    let (events, _) = events();
    let gate = Gate::on(&events);
    let is_ok = end.is_ok();
    let result = events.announced(event.clone(), future::ready(end)).await;
    assert_eq!(result.is_ok(), is_ok);
    let [(settled, outcome)] = gate.outcomes().try_into().unwrap();
    assert_eq!(settled, event);
    assert_eq!(gate.refuses(&event), outcome != Outcome::Nothing);
    outcome
}

#[tokio::test]
async fn a_revocation_stands_when_it_was_done_now_or_before() {
    assert_eq!(outcome_of(revoke(7), Ok(())).await, Outcome::Done);
    for message in [
        "API key not found or already revoked",
        "API key not found or inactive",
    ] {
        let end = enveloped(404, message);
        assert_eq!(outcome_of(revoke(7), Err(end)).await, Outcome::Done);
    }
}

#[tokio::test]
async fn a_revocation_is_lifted_by_wachts_own_word_that_nothing_was_done() {
    for (status, message) in [
        (400, "Bad request"),
        (403, "Forbidden"),
        (404, "API key not found"),
        (404, "API key app not found"),
        (404, "API key app not found or inactive"),
        (409, "Resource already exists"),
        (415, "Request failed"),
        (422, "Invalid request payload"),
    ] {
        let end = enveloped(status, message);
        let outcome = outcome_of(revoke(7), Err(end)).await;
        assert_eq!(outcome, Outcome::Nothing, "{status} {message}");
    }
    // What stands in the text of a 404 about an app is about no key.
    let end = enveloped(404, "API key not found or already revoked");
    assert_eq!(outcome_of(close(), Err(end)).await, Outcome::Nothing);
}

#[tokio::test]
async fn a_revocation_is_lifted_when_nothing_was_sent() {
    let no_runtime = ConfigError::new(ConfigErrorKind::Runtime, "no runtime");
    for end in [
        Error::InvalidRequest("a slug".to_owned()),
        Error::Config(no_runtime),
    ] {
        assert_eq!(outcome_of(revoke(7), Err(end)).await, Outcome::Nothing);
    }
}

#[tokio::test]
async fn a_revocation_stands_when_nobody_knows() {
    let lost = |kind| {
        let source = std::io::Error::other("lost");
        Error::from(RequestError::new("Wacht", "nowhere".into(), kind, source))
    };
    let stands = async |end: &dyn Fn() -> Error| {
        for event in [revoke(7), close()] {
            let outcome = outcome_of(event, Err(end())).await;
            assert_eq!(outcome, Outcome::Indeterminate, "{:?}", end());
        }
    };
    for kind in [
        RequestErrorKind::Timeout,
        RequestErrorKind::Connect { is_timeout: true },
        RequestErrorKind::Connect { is_timeout: false },
        RequestErrorKind::Unanswered,
        RequestErrorKind::Other,
    ] {
        stands(&|| lost(kind)).await;
    }
    stands(&|| DecodeError::new("an answer", "not JSON").into()).await;
    for status in [401, 408, 429, 500, 502, 503, 504] {
        stands(&|| enveloped(status, "no")).await;
        stands(&|| enveloped(status, "API key not found or already revoked")).await;
    }
    // Without Wacht's envelope.
    for status in [307, 400, 401, 403, 404, 408, 422, 429, 500] {
        stands(&|| answer(status, "<h1>a proxy</h1>")).await;
        stands(&|| answer(status, r#"{"error":"a proxy"}"#)).await;
        stands(&|| answer(status, "API key not found or already revoked")).await;
    }
}

// --- one call ---

#[test]
fn a_call_that_is_dropped_on_the_way_was_never_answered() {
    let (events, _) = events();
    let gate = Gate::on(&events);
    {
        let call = events.announced(revoke(7), future::pending::<Result<()>>());
        let mut call = pin!(call);
        assert!(gate.begun().is_empty(), "nobody has sent it yet");
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(gate.begun(), [revoke(7)]);
        assert!(gate.outcomes().is_empty());
    }
    let heard = gate.heard();
    let [(_, settled)] = &heard.settled[..] else {
        panic!("{:?}", heard.settled);
    };
    assert_eq!(settled.outcome, Outcome::Indeterminate);
    assert_eq!(settled.answered, None);
    assert!(!settled.was_over_before(Order(u64::MAX)));
    drop(heard);
    assert!(gate.refuses(&revoke(7)));
}

#[tokio::test]
async fn the_numbers_of_calls_go_up_as_they_are_sent_and_answered() {
    let (events, _) = events();
    let gate = Gate::on(&events);
    let first = events.begin(revoke(1));
    let second = events.begin(revoke(2));
    events.settle(second, Outcome::Done);
    events.settle(first, Outcome::Nothing);
    events
        .announced(revoke(3), future::ready(Ok(())))
        .await
        .unwrap();
    let heard = gate.heard();
    let order = |key_id| {
        let (_, settled) = heard
            .settled
            .iter()
            .find(|(e, _)| *e == revoke(key_id))
            .unwrap();
        (settled.sent, settled.answered.unwrap())
    };
    let ((a, d), (b, c), (e, f)) = (order(1), order(2), order(3));
    assert!(a < b && b < c && c < d && d < e && e < f);
}

#[tokio::test]
async fn what_needs_no_call_is_heard_by_all_at_once() {
    let (events, _) = events();
    let gates = [Gate::on(&events), Gate::on(&events)];
    for event in [RevokeKeyId(7), RevokeDigest([7; 32])] {
        events.publish(event.clone());
        for gate in &gates {
            assert_eq!(
                gate.outcomes().last(),
                Some(&(event.clone(), Outcome::Done))
            );
            assert!(gate.refuses(&event));
        }
        assert!(Gate::on(&events).refuses(&event), "a later one, too");
    }
}

#[tokio::test]
async fn revoking_and_rotating_name_the_app_under_which_the_key_is_sought() {
    let wacht = DevGateway::start().await;
    wacht.app("billing");
    let key_id = wacht.issue_key("orders").issue().key_id();
    let client = wacht.client();
    let gate = Gate::on(client.events());
    let named = |app: &str| RevokeKey {
        app: app.into(),
        key_id,
    };

    // Another app's key: nothing was revoked.
    let api_keys = client.clone().api_keys();
    let revoke = |app: &str| api_keys.revoke_api_key(app, key_id, Default::default());
    revoke("billing").send().await.unwrap_err();
    let rotate = api_keys.rotate_api_key("billing", key_id);
    rotate.send().await.unwrap_err();
    let nothing = (named("billing"), Outcome::Nothing);
    assert_eq!(gate.outcomes(), [nothing.clone(), nothing]);
    assert!(!gate.refuses(&named("billing")));

    api_keys
        .rotate_api_key("orders", key_id)
        .send()
        .await
        .unwrap();
    revoke("orders").send().await.unwrap_err();
    let done = (named("orders"), Outcome::Done);
    assert_eq!(gate.outcomes()[2..], [done.clone(), done]);
}

#[tokio::test]
async fn creating_changing_and_deleting_an_app_name_it() {
    use crate::models::{CreateApiAuthAppRequest, UpdateApiAuthAppRequest};

    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let gate = Gate::on(client.events());
    let api_keys = client.api_keys();
    let new = CreateApiAuthAppRequest {
        app_slug: "orders".to_owned(),
        name: "Orders".to_owned(),
        key_prefix: "sk".to_owned(),
        ..Default::default()
    };
    api_keys.create_api_auth_app(new).send().await.unwrap();
    for is_active in [Some(false), Some(true), None] {
        let update = UpdateApiAuthAppRequest {
            is_active,
            ..Default::default()
        };
        let update = api_keys.update_api_auth_app("orders", update);
        update.send().await.unwrap();
    }
    let delete = api_keys.delete_api_auth_app("orders");
    delete.send().await.unwrap();
    assert_eq!(
        gate.begun(),
        [open(), close(), open(), ChangeApp("orders".into()), close()]
    );
}

// --- two calls ---

/// A closure and an opening of the same app, in this order of sending and answers.
type Interleaving = [Step; 4];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CloseIsSent,
    CloseIsAnswered,
    OpenIsSent,
    OpenIsAnswered,
}

use Step::{CloseIsAnswered, CloseIsSent, OpenIsAnswered, OpenIsSent};

/// Makes the steps. A further gate comes before each of them, and after the last.
fn gates_after(steps: Interleaving, closing: Outcome, opening: Outcome) -> Vec<Arc<Gate>> {
    let (events, _) = events();
    let mut gates = vec![Gate::on(&events)];
    let (mut close_sent, mut open_sent) = (None, None);
    for step in steps {
        match step {
            CloseIsSent => close_sent = Some(events.begin(close())),
            OpenIsSent => open_sent = Some(events.begin(open())),
            CloseIsAnswered => events.settle(close_sent.unwrap(), closing),
            OpenIsAnswered => events.settle(open_sent.unwrap(), opening),
        }
        gates.push(Gate::on(&events));
    }
    gates
}

const OPENED_AFTERWARDS: Interleaving = [CloseIsSent, CloseIsAnswered, OpenIsSent, OpenIsAnswered];

const OTHERWISE: [Interleaving; 5] = [
    [OpenIsSent, OpenIsAnswered, CloseIsSent, CloseIsAnswered],
    [CloseIsSent, OpenIsSent, CloseIsAnswered, OpenIsAnswered],
    [CloseIsSent, OpenIsSent, OpenIsAnswered, CloseIsAnswered],
    [OpenIsSent, CloseIsSent, CloseIsAnswered, OpenIsAnswered],
    [OpenIsSent, CloseIsSent, OpenIsAnswered, CloseIsAnswered],
];

#[test]
fn an_opening_lifts_a_closure_that_was_answered_before_it_was_sent() {
    for (index, gate) in gates_after(OPENED_AFTERWARDS, Outcome::Done, Outcome::Done)
        .iter()
        .enumerate()
    {
        assert!(!gate.refuses(&close()), "gate {index}");
    }
}

#[test]
fn a_closure_that_came_later_or_overlaps_stands() {
    for steps in OTHERWISE {
        for (index, gate) in gates_after(steps, Outcome::Done, Outcome::Done)
            .iter()
            .enumerate()
        {
            assert!(gate.refuses(&close()), "gate {index}, {steps:?}");
        }
    }
}

#[test]
fn a_closure_that_was_never_answered_stands_whatever_is_opened() {
    for steps in OTHERWISE.into_iter().chain([OPENED_AFTERWARDS]) {
        for gate in gates_after(steps, Outcome::Indeterminate, Outcome::Done) {
            assert!(gate.refuses(&close()), "{steps:?}");
        }
    }
}

#[test]
fn an_opening_that_did_nothing_or_was_never_answered_lifts_nothing() {
    for steps in OTHERWISE.into_iter().chain([OPENED_AFTERWARDS]) {
        for opening in [Outcome::Nothing, Outcome::Indeterminate] {
            for gate in gates_after(steps, Outcome::Done, opening) {
                assert!(gate.refuses(&close()), "{steps:?}");
            }
        }
    }
}

#[test]
fn a_closure_that_did_nothing_closes_nothing_in_any_order() {
    for steps in OTHERWISE.into_iter().chain([OPENED_AFTERWARDS]) {
        for opening in [Outcome::Done, Outcome::Nothing, Outcome::Indeterminate] {
            for gate in gates_after(steps, Outcome::Nothing, opening) {
                assert!(!gate.refuses(&close()), "{steps:?}");
            }
        }
    }
}

#[test]
fn an_opening_is_for_its_own_app_and_for_no_key() {
    let (events, _) = events();
    let gate = Gate::on(&events);
    let others = [
        CloseApp("billing".into()),
        revoke(7),
        RevokeKeyId(7),
        RevokeDigest([7; 32]),
    ];
    for event in others.clone() {
        events.publish(event);
    }
    events.publish(open());
    let later = Gate::on(&events);
    for event in others {
        assert!(gate.refuses(&event) && later.refuses(&event), "{event:?}");
    }
}

// --- a gate that comes later ---

#[test]
fn a_later_gate_hears_of_what_was_revoked_and_of_nothing_else() {
    let (events, _) = events();
    for (key_id, outcome) in [
        (1, Outcome::Done),
        (2, Outcome::Nothing),
        (3, Outcome::Indeterminate),
    ] {
        let sent = events.begin(revoke(key_id));
        events.settle(sent, outcome);
    }
    events.publish(ChangeApp("orders".into()));
    events.publish(open());
    let gate = Gate::on(&events);
    assert_eq!(
        gate.outcomes(),
        [
            (revoke(1), Outcome::Done),
            (revoke(3), Outcome::Indeterminate)
        ]
    );
    assert_eq!(gate.begun(), [revoke(1), revoke(3)]);
}

#[test]
fn a_later_gate_hears_how_a_call_under_way_ends() {
    let (events, _) = events();
    let first = Gate::on(&events);
    let sent = [revoke(1), revoke(2), open()].map(|event| events.begin(event));
    let later = Gate::on(&events);
    assert_eq!(later.begun(), [revoke(1), revoke(2), open()]);
    assert!(later.outcomes().is_empty());
    for (sent, outcome) in
        sent.into_iter()
            .zip([Outcome::Nothing, Outcome::Done, Outcome::Indeterminate])
    {
        events.settle(sent, outcome);
    }
    assert_eq!(later.outcomes(), first.outcomes());
    assert!(!later.refuses(&revoke(1)) && later.refuses(&revoke(2)));
}

#[test]
fn a_revocation_is_kept_for_two_minutes_after_it_was_settled() {
    let (events, clock) = events();
    let sent = events.begin(revoke(1));
    clock.advance(recent::KEPT_FOR * 2);
    assert_eq!(Gate::on(&events).begun(), [revoke(1)], "still under way");
    events.settle(sent, Outcome::Indeterminate);
    clock.advance(recent::KEPT_FOR / 2);
    events.publish(RevokeKeyId(2));
    clock.advance(recent::KEPT_FOR / 2 - Duration::from_nanos(1));
    assert_eq!(Gate::on(&events).begun(), [revoke(1), RevokeKeyId(2)]);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(Gate::on(&events).begun(), [RevokeKeyId(2)]);
    clock.advance(recent::KEPT_FOR);
    assert!(Gate::on(&events).begun().is_empty());
}

#[test]
fn of_too_many_revocations_the_oldest_are_dropped_for_later_gates_alone() {
    let (events, _) = events();
    let first = Gate::on(&events);
    let most = i64::try_from(recent::KEPT_AT_MOST).unwrap();
    for key_id in 0..=most {
        events.publish(RevokeKeyId(key_id));
    }
    let later = Gate::on(&events).begun();
    assert_eq!(later.len(), recent::KEPT_AT_MOST);
    assert_eq!(later.first(), Some(&RevokeKeyId(1)));
    assert_eq!(first.begun().len(), recent::KEPT_AT_MOST + 1);
}

#[test]
fn a_gate_that_comes_in_the_midst_of_announcements_misses_none_and_hears_each_once() {
    const EACH: i64 = 200;

    let (events, _) = events();
    let gates = thread::scope(|scope| {
        for thread in 0..3 {
            let events = &events;
            scope.spawn(move || {
                for n in 0..EACH {
                    let sent = events.begin(revoke(thread * EACH + n));
                    events.settle(sent, Outcome::Done);
                }
            });
        }
        let listening = scope.spawn(|| (0..100).map(|_| Gate::on(&events)).collect::<Vec<_>>());
        listening.join().unwrap()
    });
    for gate in gates {
        let mut keys: Vec<i64> = gate
            .outcomes()
            .into_iter()
            .map(|(event, _)| match event {
                RevokeKey { key_id, .. } => key_id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(gate.begun().len(), keys.len());
        keys.sort_unstable();
        assert!(keys.into_iter().eq(0..3 * EACH));
    }
}

#[test]
fn a_gate_that_is_gone_is_let_go_of() {
    let (events, _) = events();
    let gone = Gate::on(&events);
    let sent = events.begin(revoke(1));
    drop(gone);
    events.settle(sent, Outcome::Done);
    let gate = Gate::on(&events);
    assert_eq!(events.board().listeners.len(), 1);
    events.publish(RevokeKeyId(2));
    assert_eq!(gate.begun(), [revoke(1), RevokeKeyId(2)]);
}
