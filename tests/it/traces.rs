//! Spans and events: which there are, what they hold, and that a plain hit makes none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tracing::field::{Empty, Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Instrument, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::client::RetryPolicy;
use wacht_auth::dev::{DevGateway, DevRule, Fault, On};
use wacht_auth::models::RevokeApiKeyRequest;
use wacht_auth::{
    AuthContext, ClientIp, CredentialSource, Limits, PeerAddr, Principal, RejectionKind,
    RequirePermissionsLayer, WachtAuthLayer, WachtClient,
};

use crate::scene::{Echo, Scene, anonymous, eventually, get, made_up, met};

const DOCS: &str = include_str!("../../docs/observability.md");
const SECOND: Duration = Duration::from_secs(1);

type Fields = BTreeMap<&'static str, String>;

/// All spans and events of this thread, of every target and level.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone, Debug)]
enum Seen {
    Span(SpanSeen),
    Event {
        target: &'static str,
        level: Level,
        fields: Fields,
    },
}

#[derive(Clone, Debug)]
struct SpanSeen {
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    target: &'static str,
    level: Level,
    fields: Fields,
}

impl Trace {
    fn start() -> (Self, DefaultGuard) {
        let trace = Self::default();
        let guard = tracing_subscriber::registry()
            .with(trace.clone())
            .set_default();
        (trace, guard)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen since the last time, of any target.
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen())
    }

    /// The crate's spans since the last time; everything else is forgotten.
    fn take_spans(&self) -> Vec<SpanSeen> {
        let seen = self.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Span(span) if span.target.starts_with("wacht_auth") => Some(span),
            _ => None,
        })
        .collect()
    }

    /// The crate's events that are not for debugging: level and message.
    fn take_notable(&self) -> BTreeSet<(String, String)> {
        let seen = self.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Event {
                target,
                level,
                fields,
            } if target.starts_with("wacht_auth") && level <= Level::INFO => {
                let known = ["wacht_auth::gate", "wacht_auth::client"];
                assert!(known.contains(&target), "{target}");
                let level = level.as_str().to_lowercase();
                Some((level, fields["message"].clone()))
            }
            _ => None,
        })
        .collect()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Trace {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Values::default();
        attributes.record(&mut fields);
        let span = context.span(id).unwrap();
        let span = SpanSeen {
            id: id.into_u64(),
            parent: span.parent().map(|parent| parent.id().into_u64()),
            name: span.name(),
            target: span.metadata().target(),
            level: *span.metadata().level(),
            fields: fields.0,
        };
        self.seen().push(Seen::Span(span));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut fields = Values::default();
        values.record(&mut fields);
        // Ids are used again: the last one is the one that is open.
        let mut all = self.seen();
        let span = all.iter_mut().rev().find_map(|seen| match seen {
            Seen::Span(span) if span.id == id.into_u64() => Some(span),
            _ => None,
        });
        if let Some(span) = span {
            span.fields.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Values::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.seen().push(Seen::Event {
            target: metadata.target(),
            level: *metadata.level(),
            fields: fields.0,
        });
    }
}

#[derive(Default)]
struct Values(Fields);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.0.insert(field.name(), text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn fields<const N: usize>(fields: [(&'static str, &str); N]) -> Fields {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

/// What every HTTP client span to this dev gateway has.
fn request_fields(wacht: &DevGateway, method: &str, template: &str) -> Fields {
    let (address, port) = wacht
        .url()
        .trim_start_matches("http://")
        .rsplit_once(':')
        .unwrap();
    fields([
        ("http.request.method", method),
        ("otel.kind", "client"),
        ("otel.name", &format!("{method} {template}")),
        ("server.address", address),
        ("server.port", port),
        ("url.scheme", "http"),
        ("url.template", template),
    ])
}

#[tokio::test]
async fn a_plain_hit_makes_no_span_and_no_event() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1_000, "hour", 1)]);
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    assert!(!trace.take().is_empty());
    // What a pool of connections does with the last one is its own business.
    scene.clock.advance(SECOND);
    eventually(async || trace.take().is_empty()).await;
    for _ in 0..10 {
        echo.get(key.secret()).await.assert_ok();
    }
    let seen = trace.take();
    assert!(seen.is_empty(), "{seen:#?}");

    // A refusal of a key has one: its caller is not told why.
    echo.get("not-a-key").await;
    let seen = trace.take();
    let [Seen::Event { level, fields, .. }] = &seen[..] else {
        panic!("{seen:#?}");
    };
    assert_eq!((*level, &*fields["reason"]), (Level::DEBUG, "malformed"));
}

#[tokio::test]
async fn a_miss_is_a_verification_within_the_request_that_waits_for_it() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let key = scene.key();
    let request = tracing::info_span!(target: "service", "GET /items");
    let waiting = echo.get(key.secret()).instrument(request.clone());
    waiting.await.assert_ok();

    let all = trace.take();
    let events: Vec<_> = all
        .iter()
        .filter_map(|seen| match seen {
            Seen::Event {
                target: "wacht_auth::gate",
                level,
                fields,
            } => Some((*level, fields["message"].as_str())),
            _ => None,
        })
        .collect();
    let learned = (Level::DEBUG, "learned the deployment");
    let asked = (Level::DEBUG, "the gateway is asked about a key");
    let read = (Level::DEBUG, "the apps of the deployment have been read");
    let over = (Level::DEBUG, "a verification is over");
    assert_eq!(events, [asked, learned, read, over]);

    *trace.seen() = all;
    let spans = trace.take_spans();
    let [verification, requests @ ..] = spans.as_slice() else {
        panic!("no span");
    };
    assert_eq!(verification.name, "wacht_auth.verify");
    assert_eq!(verification.target, "wacht_auth::gate");
    assert_eq!(verification.level, Level::DEBUG);
    assert_eq!(verification.parent, request.id().map(|id| id.into_u64()));
    let expected = fields([
        ("wacht_auth.verification.refresh", "false"),
        ("wacht_auth.verification.result", "valid"),
    ]);
    assert_eq!(verification.fields, expected);

    // The list of apps is read for everybody: a trace of its own.
    assert_eq!(requests.len(), 2, "check and list: {requests:#?}");
    for (span, (method, template, parent)) in requests.iter().zip([
        ("POST", "/v1/authz/check", Some(verification.id)),
        ("GET", "/api-auth/apps", None),
    ]) {
        assert_eq!(span.name, "wacht_auth.request");
        assert_eq!(span.target, "wacht_auth::client");
        assert_eq!(span.level, Level::DEBUG);
        assert_eq!(span.parent, parent);
        let mut expected = request_fields(&scene.wacht, method, template);
        expected.insert("http.response.status_code", "200".to_owned());
        assert_eq!(span.fields, expected);
    }
}

#[tokio::test]
async fn a_refresh_is_a_trace_of_its_own() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    trace.take();
    scene.clock.advance(31 * SECOND);
    let request = tracing::info_span!(target: "service", "GET /items");
    let stale = echo.get(key.secret()).instrument(request);
    stale.await.assert_ok();
    let handle = layer.handle();
    eventually(async || handle.stats().in_flight == 0).await;

    let spans = trace.take_spans();
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!(spans[0].name, "wacht_auth.verify");
    assert_eq!(spans[0].parent, None);
    assert_eq!(spans[0].fields["wacht_auth.verification.refresh"], "true");
    assert_eq!(spans[0].fields["wacht_auth.verification.result"], "valid");
    assert_eq!(spans[1].parent, Some(spans[0].id));
}

#[tokio::test]
async fn a_call_that_fails_says_how() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    let soon = RetryPolicy::default().first_delay(Duration::from_millis(1));
    let client = WachtClient::builder(scene.wacht.management_key())
        .api_url(scene.wacht.url())
        .gateway_url(scene.wacht.url())
        .retries(soon)
        .build()
        .unwrap();
    let keys = client.api_keys();
    let last = || trace.take_spans().pop().unwrap().fields;

    // Made again, and answered in the end.
    scene
        .wacht
        .fault_times(On::Management, Fault::Status(503), 2);
    keys.list_api_keys("orders").send().await.unwrap();
    let spans = trace.take_spans();
    let template = "/api-auth/apps/{app_slug}/keys";
    for (place, span) in spans.iter().enumerate() {
        let mut expected = request_fields(&scene.wacht, "GET", template);
        let status = if place < 2 { "503" } else { "200" };
        expected.insert("http.response.status_code", status.to_owned());
        if place > 0 {
            expected.insert("http.request.resend_count", place.to_string());
        }
        if place < 2 {
            expected.insert("error.type", "503".to_owned());
            expected.insert("otel.status_code", "ERROR".to_owned());
        }
        assert_eq!(span.fields, expected);
    }
    assert_eq!(spans.len(), 3);

    let reason = RevokeApiKeyRequest::default();
    let revoke = keys.revoke_api_key("orders", 4_242, reason).send();
    revoke.await.unwrap_err();
    let revoked = last();
    let template = "/api-auth/apps/{app_slug}/keys/{key_id}/revoke";
    assert_eq!(revoked["url.template"], template);
    assert_eq!(revoked["error.type"], "404");

    let check = || wacht_auth::models::CheckRequest::api_key(made_up(1));
    let patient = |url: &str, limit: Duration| {
        let client = WachtClient::builder(scene.wacht.management_key())
            .gateway_url(url)
            .timeout(limit);
        client.build().unwrap()
    };
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let garbage = || Fault::body(200, "application/json", "{");
    for (fault, url, error_type) in [
        (Some(Fault::Hang), scene.wacht.url(), "timeout"),
        (Some(Fault::Drop), scene.wacht.url(), "request"),
        (Some(Fault::Huge(5_000_000)), scene.wacht.url(), "decode"),
        (None, nobody.as_str(), "connect"),
    ] {
        let limit = match error_type {
            "timeout" => Duration::from_millis(50),
            _ => 60 * SECOND,
        };
        let client = patient(url, limit);
        // Without an answer it is sent once more.
        let times = if error_type == "request" { 2 } else { 1 };
        if let Some(fault) = fault {
            scene.wacht.fault_times(On::Checks, fault, times);
        }
        client.gateway().check(check()).send().await.unwrap_err();
        let fields = last();
        assert_eq!(fields["error.type"], error_type);
        let resends = fields.get("http.request.resend_count");
        assert_eq!(resends.map(|count| &**count), (times == 2).then_some("1"));
    }
    // What is in the body is read when the exchange is over.
    scene.wacht.fault_times(On::Checks, garbage(), 1);
    client.gateway().check(check()).send().await.unwrap_err();
    assert!(!last().contains_key("error.type"));
}

#[tokio::test]
async fn a_span_that_is_switched_off_leaves_the_callers_alone() {
    let trace = Trace::default();
    let _guard = tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(trace.clone())
        .set_default();
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    let key = scene.key();
    let client = scene.wacht.client();
    let work = async {
        echo.get(key.secret()).await.assert_ok();
        let keys = client.api_keys();
        keys.list_api_keys("nowhere").send().await.unwrap_err();
    };
    let request = tracing::info_span!(
        target: "service",
        "GET /items",
        "error.type" = Empty,
        http.response.status_code = Empty,
        otel.status_code = Empty,
        wacht_auth.verification.result = Empty,
    );
    work.instrument(request).await;
    let spans: Vec<_> = trace
        .take()
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Span(span) => Some((span.name, span.fields)),
            Seen::Event { .. } => None,
        })
        .collect();
    assert_eq!(spans, [("GET /items", Fields::new())]);
}

#[tokio::test]
async fn a_verification_says_what_came_of_it() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "hour", 1)]);
    let verified = || trace.take_spans()[0].fields["wacht_auth.verification.result"].clone();
    let echo = Echo::behind(scene.layer().app("orders"));
    echo.get(&made_up(1)).await;
    assert_eq!(verified(), "invalid");
    scene.wacht.fault_times(On::Checks, Fault::Status(503), 1);
    echo.get(&made_up(2)).await;
    assert_eq!(verified(), "unknown");

    let asks = scene.builder().limits(Limits::gateway()).build().unwrap();
    let key = scene.key();
    Echo::behind(asks.clone())
        .get(key.secret())
        .await
        .assert_ok();
    trace.take();
    Echo::behind(asks.clone()).get(key.secret()).await;
    assert_eq!(verified(), "rate_limited");
    let strict = asks.require("orders:write").unwrap();
    Echo::behind(strict).get(scene.key().secret()).await;
    assert_eq!(verified(), "permission_denied");
}

/// The table of events in the page: level and message.
fn documented_events() -> BTreeSet<(String, String)> {
    // Those of the watch have a test beside it, and those of the store come where there is one.
    let (of_wacht, _) = DOCS.split_once("### Of the watch").unwrap();
    let rows = of_wacht.lines().filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let level = cells.next()?;
        let message = cells.next()?;
        let is_row = matches!(level, "error" | "warn" | "info");
        is_row.then(|| (level.to_owned(), message.to_owned()))
    });
    rows.collect()
}

#[tokio::test]
async fn every_event_that_may_need_a_person_is_documented_and_comes() {
    let (trace, _guard) = Trace::start();
    let mut seen = BTreeSet::new();
    trouble_of_the_gateway().await;
    seen.append(&mut trace.take_notable());
    trouble_of_the_management_api().await;
    seen.append(&mut trace.take_notable());
    trouble_of_the_program().await;
    seen.append(&mut trace.take_notable());
    assert_eq!(seen, documented_events());
}

async fn trouble_of_the_gateway() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer().app("orders"));
    scene.wacht.fault(On::Checks, Fault::Status(503));
    for number in 0..5 {
        echo.get(&made_up(number)).await;
    }
    scene.wacht.clear_faults();
    scene.clock.advance(2 * SECOND);
    echo.get(scene.key().secret()).await.assert_ok();

    let nobody = Fault::body(200, "application/json", r#"{"allowed":true}"#);
    let garbage = Fault::body(200, "application/json", "{");
    let faults = [Fault::Huge(5_000_000), garbage, nobody, Fault::Status(400)];
    for (number, fault) in faults.into_iter().enumerate() {
        scene.wacht.fault_times(On::Checks, fault, 1);
        echo.get(&made_up(10 + number)).await;
    }

    let odd = r#"{"request_id":"1","allowed":false,"reason":"on_a_whim"}"#;
    let odd = Fault::body(200, "application/json", odd);
    scene.wacht.fault_times(On::Checks, odd, 1);
    echo.get(&made_up(9)).await;
}

async fn trouble_of_the_management_api() {
    let scene = Scene::new().await;
    // The deployment cannot be learned, then the apps cannot be read; for want of an answer, and
    // because the management key is refused.
    for status in [500, 401] {
        let key = scene.key();
        let echo = Echo::behind(scene.layer().app("orders"));
        scene.wacht.fault(On::Management, Fault::Status(status));
        echo.get(key.secret()).await;
        let layer = scene
            .builder()
            .deployment(scene.wacht.deployment_id())
            .build()
            .unwrap();
        Echo::behind(layer.app("orders")).get(key.secret()).await;
        scene.wacht.clear_faults();
    }

    // The gateway cannot be asked about the management key.
    let echo = Echo::behind(scene.layer().app("orders"));
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.fault(On::Checks, Fault::Status(503));
    scene.wacht.fault(On::Management, Fault::Status(401));
    scene.clock.advance(72 * SECOND);
    let journal = scene.wacht.journal();
    let calls = journal.management_calls();
    // Of the first of two calls everything has been said.
    eventually(async || {
        echo.get(key.secret()).await;
        scene.clock.advance(SECOND);
        journal.management_calls() >= calls + 2
    })
    .await;
    scene.wacht.clear_faults();

    // An app that is not in the list cannot be looked up.
    let echo = Echo::behind(scene.layer());
    echo.get(scene.key().secret()).await.assert_ok();
    let since = scene.wacht.issue_key("since").issue();
    scene
        .wacht
        .fault_times(On::Management, Fault::Status(403), 1);
    echo.get(since.secret()).await.assert_ok();
    scene.clock.advance(72 * SECOND);
    let again = || echo.get(since.secret());
    eventually(async || !again().await.header("ratelimit").is_empty()).await;

    let rule = DevRule::per_key(1, "fortnight", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let echo = Echo::behind(scene.layer().app("orders"));
    echo.get(scene.key().secret()).await;

    let other = scene.wacht.other_deployment();
    let theirs = other.issue_key("orders").issue();
    let layer = scene
        .builder()
        .deployment(other.id())
        .build()
        .unwrap()
        .app("orders");
    Echo::behind(layer).get(theirs.secret()).await;

    let empty = DevGateway::start().await;
    let theirs = empty.other_deployment().issue_key("orders").issue();
    let layer = WachtAuthLayer::new(empty.client()).app("orders");
    Echo::behind(layer).get(theirs.secret()).await;
}

/// What the compiler cannot see to be no requirement.
#[derive(Debug)]
struct Unreadable;

impl Permission for Unreadable {
    const REQUIREMENT: &'static str = "orders\u{200b}:read";
}

fn request_of(caller: Principal) -> Parts {
    let (parts, ()) = http::Request::get("/")
        .extension(caller)
        .body(())
        .unwrap()
        .into_parts();
    parts
}

async fn trouble_of_the_program() {
    let scene = Scene::new().await;
    let key = scene.key();
    let unusable = WachtClient::new("no header value\n");
    let refused = |met: crate::scene::Met| met.assert_refused(RejectionKind::Misconfigured);
    refused(
        Echo::behind(WachtAuthLayer::new(unusable))
            .get(key.secret())
            .await,
    );
    let nowhere = scene.layer().credentials([]);
    refused(Echo::behind(nowhere).get(key.secret()).await);

    // No address, no app named.
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app_and_ip(1, "hour", 1)]);
    let mut request = get(key.secret());
    request.extensions_mut().remove::<PeerAddr>();
    refused(Echo::behind(scene.layer()).call(request).await);

    // Behind proxies that nobody named, or that everybody is.
    let everybody = ClientIp::trusted_proxies(["0.0.0.0/0"]).unwrap();
    for client_ip in [ClientIp::peer(), everybody] {
        let layer = scene.builder().client_ip(client_ip).build().unwrap();
        let mut request = get(made_up(1).as_str());
        let forwarded = http::HeaderValue::from_static("203.0.113.9");
        request.headers_mut().insert("x-forwarded-for", forwarded);
        Echo::behind(layer.app("orders")).call(request).await;
    }

    // A good key where only those of another app are good.
    let misspelt = Echo::behind(scene.layer().app("oders"));
    for _ in 0..2 {
        let met = misspelt.get(key.secret()).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }

    let behind = tower::service_fn(
        |_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<
                bytes::Bytes,
            >::default()))
        },
    );
    let alone = RequirePermissionsLayer::new("orders:read").unwrap();
    refused(met(tower::Layer::layer(&alone, behind), anonymous()).await);

    let handle = scene
        .builder()
        .limits(Limits::off())
        .build()
        .unwrap()
        .handle();
    let context = AuthContext::new("/jobs");
    let caller = handle.authenticate_key(key.secret(), &context);
    let caller = caller.await.unwrap();
    caller.require("AND AND").unwrap_err();
    let mut parts = request_of(caller);
    let permitted = Permitted::<Unreadable>::from_request_parts(&mut parts, &()).await;
    assert_eq!(permitted.unwrap_err().status(), 500);

    // No runtime. The future is polled by hand, on this thread.
    let lost = scene.layer().handle();
    let secret = key.secret().to_owned();
    let without_runtime = move || {
        let context = AuthContext::new("/jobs");
        let asked = lost.authenticate_key(&secret, &context);
        futures_util::FutureExt::now_or_never(asked).unwrap()
    };
    let current = tracing::dispatcher::get_default(Clone::clone);
    let refusal = std::thread::spawn(move || {
        tracing::dispatcher::with_default(&current, without_runtime).unwrap_err()
    });
    let refusal = refusal.join().unwrap();
    assert_eq!(refusal.kind(), RejectionKind::Misconfigured);
}

#[tokio::test]
async fn who_does_not_answer_and_why_is_in_the_log() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let at = |api_url: &str, gateway_url: &str| {
        let client = WachtClient::builder(scene.wacht.management_key());
        let client = client.api_url(api_url).gateway_url(gateway_url);
        client.build().unwrap()
    };
    let (url, key) = (scene.wacht.url(), scene.key());
    for (client, said, service) in [
        (
            at(url, &nobody),
            "the gateway does not answer",
            "the Wacht gateway",
        ),
        (
            at(&nobody, url),
            "could not learn the deployment: no key can be verified",
            "the Wacht management API",
        ),
    ] {
        let layer = WachtAuthLayer::builder(client).clock(&scene.clock);
        let layer = layer.build().unwrap().app("orders");
        let refused = Echo::behind(layer).get(key.secret()).await;
        refused.assert_refused(RejectionKind::Unavailable);
        let event = trace.take().into_iter().find_map(|seen| match seen {
            Seen::Event { fields, .. } if fields["message"] == said => Some(fields),
            _ => None,
        });
        let event = event.unwrap();
        let place = format!("could not connect to {service} at {nobody}: ");
        assert!(event["error"].starts_with(&place), "{event:?}");
        assert!(event["cause"].contains("refused"), "{event:?}");
    }
}

#[tokio::test]
async fn an_answer_that_means_nothing_is_explained_once_for_each_kind() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let warnings = || -> Vec<Fields> {
        let seen = trace.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Event {
                target: "wacht_auth::gate",
                level: Level::WARN,
                fields,
            } => Some(fields),
            _ => None,
        })
        .collect()
    };
    let text = |status, body: &str| Fault::body(status, "text/plain", body);
    let mut number = 0;
    for (fault, field, says) in [
        (Fault::Huge(5_000_000), "error", "longer than 4194304 bytes"),
        (text(200, "[]"), "error", "another type"),
        (
            text(200, r#"{"allowed":true}"#),
            "message",
            "whose a key is",
        ),
        (Fault::Status(400), "status", "400"),
        (Fault::Status(404), "status", "404"),
        (text(401, "Unauthorized"), "status", "401"),
    ] {
        scene.wacht.fault(On::Checks, fault.clone());
        for _ in 0..3 {
            number += 1;
            echo.get(&made_up(number)).await;
        }
        scene.wacht.clear_faults();
        let said = warnings();
        assert_eq!(said.len(), 1, "{fault:?}: {said:#?}");
        assert!(said[0][field].contains(says), "{said:#?}");
        assert!(!said[0]["hint"].is_empty());
    }
    assert_eq!(layer.handle().stats().gateway.indeterminate, 18);
}

#[tokio::test]
async fn what_a_program_does_wrong_on_every_request_is_an_error_once() {
    let (trace, _guard) = Trace::start();
    let levels = || -> Vec<Level> {
        let seen = trace.take().into_iter();
        seen.filter_map(|seen| match seen {
            Seen::Event {
                target: "wacht_auth::gate",
                level,
                ..
            } => Some(level),
            _ => None,
        })
        .collect()
    };
    let once = [Level::ERROR, Level::DEBUG, Level::DEBUG];
    let echo = || {
        tower::service_fn(
            async |_: http::Request<http_body_util::Full<bytes::Bytes>>| {
                let body = http_body_util::Full::<bytes::Bytes>::default();
                Ok::<_, std::convert::Infallible>(http::Response::new(body))
            },
        )
    };
    // Each guard says so: one may be forgotten where another is not.
    for _ in 0..2 {
        let guard = RequirePermissionsLayer::new("orders:read").unwrap();
        for _ in 0..3 {
            let met = met(tower::Layer::layer(&guard, echo()), anonymous()).await;
            met.assert_refused(RejectionKind::Misconfigured);
        }
        assert_eq!(levels(), once);
    }

    let scene = Scene::new().await;
    let handle = scene.layer().handle();
    let key = scene.key();
    let context = AuthContext::new("/jobs");
    let caller = handle.authenticate_key(key.secret(), &context);
    let caller = caller.await.unwrap();
    trace.take();
    // Texts that a request chooses are no more than the place where they are read.
    for number in 0..3 {
        caller.require(format!("(orders:{number}")).unwrap_err();
    }
    assert_eq!(levels(), once);
    caller.require("(orders").unwrap_err();
    assert_eq!(levels(), [Level::ERROR]);
}

#[tokio::test]
async fn proxies_that_nobody_named_are_told_of_once_and_at_each_check() {
    let (trace, _guard) = Trace::start();
    let told = || {
        let seen = trace.take().into_iter();
        let hints = seen.filter_map(|seen| match seen {
            Seen::Event { fields, .. } if fields.get("message")?.contains("forwarded") => {
                Some(fields["hint"].clone())
            }
            _ => None,
        });
        hints.collect::<Vec<_>>()
    };
    let scene = Scene::new().await;
    let forwarded = |name: &'static str| {
        let mut request = get(scene.key().secret());
        let value = http::HeaderValue::from_static("for=203.0.113.9");
        request.headers_mut().insert(name, value);
        request
    };
    let proxies = ClientIp::trusted_proxies(["10.0.0.0/8"]).unwrap();
    for (client_ip, name, times) in [
        (ClientIp::peer(), "x-forwarded-for", 1),
        (ClientIp::peer(), "forwarded", 1),
        (ClientIp::peer(), "x-other", 0),
        (ClientIp::from_extension(), "x-forwarded-for", 0),
        (proxies, "x-forwarded-for", 0),
    ] {
        let layer = scene.builder().client_ip(client_ip).build().unwrap();
        let layer = layer.app("orders");
        let echo = Echo::behind(layer.clone());
        for _ in 0..3 {
            echo.call(forwarded(name)).await.assert_ok();
        }
        let first = told();
        assert_eq!(first.len(), times, "{name}: {first:?}");
        assert!(
            first
                .iter()
                .all(|hint| hint.contains("ClientIp::trusted_proxies(["))
        );
        for _ in 0..2 {
            layer.handle().check().await.unwrap();
            assert_eq!(told(), first, "{name}");
        }
    }
}

#[tokio::test]
async fn no_span_and_no_event_holds_a_key_or_names_one() {
    let (trace, _guard) = Trace::start();
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(3, "hour", 1)]);
    let layer = scene.layer().app("orders");
    let echo = Echo::behind(layer.clone());
    let (key, unknown) = (scene.key(), made_up(1));
    for wait in [0, 0, 31, 0, 61] {
        scene.clock.advance(wait * SECOND);
        echo.get(key.secret()).await;
        echo.get(&unknown).await;
    }
    let by_query = CredentialSource::query("api_key").unwrap();
    let by_query = Echo::behind(layer.clone().credentials(by_query));
    for secret in [key.secret(), &unknown, "hunter2"] {
        let mut request = anonymous();
        *request.uri_mut() = format!("/items?api_key={secret}").parse().unwrap();
        by_query.call(request).await;
    }
    for fault in [Fault::Status(503), Fault::HalfAnswer, Fault::Status(404)] {
        scene.wacht.fault_times(On::Everything, fault, 4);
        scene.clock.advance(100 * SECOND);
        echo.get(key.secret()).await;
        echo.get(&unknown).await;
    }
    scene.wacht.clear_faults();
    let client = scene.wacht.client();
    let keys = client.api_keys();
    let revoke = keys.revoke_api_key("orders", key.key_id(), Default::default());
    revoke.send().await.unwrap();
    echo.get(key.secret()).await;

    let ours = trace.take().into_iter().filter(|seen| match seen {
        Seen::Span(span) => span.target.starts_with("wacht_auth"),
        Seen::Event { target, .. } => target.starts_with("wacht_auth"),
    });
    let ours: Vec<_> = ours.collect();
    assert!(ours.len() > 20, "{ours:#?}");
    let text = format!("{ours:?}");
    let id = key.key_id().to_string();
    let management = scene.wacht.management_key();
    for hidden in [
        key.secret(),
        &unknown,
        management,
        &id,
        "198.51.100.7",
        "hunter2",
    ] {
        assert!(!text.contains(hidden), "{text}");
    }
}
