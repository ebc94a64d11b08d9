//! The gate among other people's layers: tower's `ServiceBuilder`, tower-http, axum's `from_fn`,
//! and what happens to a websocket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::middleware::{self, Next};
use axum::routing::get;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN,
};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::cors::{Any, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::dev::{DevKey, DevRule, Fault, On};
use wacht_auth::{Principal, Rejection, RejectionKind, RequirePermissionsLayer, WachtAuthLayer};

use crate::scene::{Met, Scene};
use crate::secrets::Log;

/// Longer than any test may take.
const NEVER: Duration = Duration::from_secs(600);

fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET])
        .allow_headers([AUTHORIZATION])
}

/// A service that knows nothing of axum, under the layers in the order we recommend.
fn full_stack(
    gate: WachtAuthLayer,
    time_limit: Duration,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>>,
    Error = Infallible,
> + Clone {
    ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([AUTHORIZATION]))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().include_headers(true)),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(cors())
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            time_limit,
        ))
        .layer(gate)
        .layer(RequirePermissionsLayer::new("items:read").unwrap())
        .service_fn(|request: Request<Full<Bytes>>| async move {
            let caller = request.extensions().get::<Principal>();
            let name = caller.map_or("nobody", Principal::key_name).to_owned();
            Ok(Response::new(Full::<Bytes>::from(name)))
        })
}

async fn send<S, B>(service: &S, request: Request<Full<Bytes>>) -> Met
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    Met::of(service.clone().oneshot(request).await.unwrap()).await
}

async fn ask(app: &Router, request: Request<Body>) -> Met {
    Met::of(app.clone().oneshot(request).await.unwrap()).await
}

/// `GET /items` from a web page.
fn get_items<B: Default>(key: Option<&DevKey>) -> Request<B> {
    let mut request = Request::get("/items").header(ORIGIN, "https://app.example");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.secret()));
    }
    request.body(B::default()).unwrap()
}

fn preflight<B: Default>() -> Request<B> {
    let mut request = get_items(None);
    *request.method_mut() = Method::OPTIONS;
    let method = "GET".parse().unwrap();
    request
        .headers_mut()
        .insert(ACCESS_CONTROL_REQUEST_METHOD, method);
    request
}

fn reader(scene: &Scene) -> DevKey {
    let key = scene.wacht.issue_key("orders").name("ci");
    key.permissions(["items:read"]).issue()
}

// --- tower-http ---

#[tokio::test]
async fn in_the_recommended_order_a_page_can_read_every_answer_and_name_its_request() {
    let scene = Scene::new().await;
    let rule = DevRule::per_key(1, "minute", 1);
    scene.wacht.set_scheme("orders", [rule]);
    let (key, clerk) = (reader(&scene), scene.key());
    let service = full_stack(scene.layer(), NEVER);

    let refused = |kind: RejectionKind| (kind.status(), Some(kind));
    for (request, (status, kind)) in [
        (preflight(), (StatusCode::OK, None)),
        (get_items(Some(&key)), (StatusCode::OK, None)),
        (get_items(Some(&key)), refused(RejectionKind::RateLimited)),
        (get_items(None), refused(RejectionKind::MissingCredential)),
        (
            get_items(Some(&clerk)),
            refused(RejectionKind::PermissionDenied),
        ),
    ] {
        let met = send(&service, request).await;
        assert_eq!((met.status, met.kind()), (status, kind), "{met:?}");
        assert_eq!(met.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");
        assert_eq!(met.header("x-request-id").len(), 36, "a UUID: {met:?}");
    }
    assert_eq!(scene.wacht.journal().checks(), 2, "none for the preflight");
}

#[tokio::test]
async fn waiting_for_a_verification_counts_against_a_time_limit_outside_the_gate() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    // The deadline of the gate itself is far away.
    scene.wacht.fault(On::Checks, Fault::Hang);
    let service = full_stack(scene.layer(), Duration::from_millis(20));
    let met = send(&service, get_items(Some(&key))).await;
    assert_eq!(met.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(met.refusal.is_none(), "it was not the gate that gave up");
    assert_eq!(met.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");
    assert!(!met.header("x-request-id").is_empty());
}

#[tokio::test]
async fn a_caller_whom_the_time_limit_cut_off_spoils_the_verification_for_nobody() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    let gate = scene.layer();
    let held = scene.wacht.hold_checks();
    let hasty = full_stack(gate.clone(), Duration::from_millis(20));
    let met = send(&hasty, get_items(Some(&key))).await;
    assert_eq!(met.status, StatusCode::SERVICE_UNAVAILABLE);
    held.release();

    let patient = full_stack(gate, NEVER);
    let met = send(&patient, get_items(Some(&key))).await;
    met.assert_ok();
    assert_eq!(met.body, "ci");
    assert_eq!(scene.wacht.journal().checks(), 1, "the first one went on");
}

/// What a trace that writes all headers shows of a request with this key.
async fn traced(scene: &Scene, key: &DevKey, marked_before: bool, inside: bool) -> String {
    let (log, _logging) = Log::begin();
    let trace =
        || TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().include_headers(true));
    let mark = || SetSensitiveRequestHeadersLayer::new([AUTHORIZATION]);
    let mut app = Router::new().route("/items", get(|| async {}));
    if inside {
        app = app.layer(trace());
    }
    app = app.layer(scene.layer());
    if !inside {
        app = app.layer(trace());
    }
    if marked_before {
        app = app.layer(mark());
    }
    ask(&app, get_items(Some(key))).await.assert_ok();
    let text = log.text();
    assert!(text.contains("started processing request"), "{text}");
    text
}

#[tokio::test]
async fn a_trace_shows_no_key_once_the_header_is_marked() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    // Outside the gate it takes tower-http's layer; inside, the gate has marked the header.
    let unmarked = traced(&scene, &key, false, false).await;
    assert!(unmarked.contains(key.secret()), "so this test can fail");
    for (marked_before, inside) in [(true, false), (false, true), (true, true)] {
        let text = traced(&scene, &key, marked_before, inside).await;
        assert!(text.contains("\"authorization\": Sensitive"), "{text}");
        assert!(!text.contains(key.secret()), "{text}");
    }
}

#[tokio::test]
async fn a_house_format_can_name_the_request() {
    let scene = Scene::new().await;
    let gate = scene.layer().on_reject(|rejection, parts| {
        let id = parts.headers["x-request-id"].to_str().unwrap();
        let mut response = Response::new(Bytes::from(format!("refused: {id}")));
        *response.status_mut() = rejection.kind().status();
        response
    });
    let met = send(&full_stack(gate, NEVER), get_items(None)).await;
    met.assert_refused(RejectionKind::MissingCredential);
    assert_eq!(met.body, format!("refused: {}", met.header("x-request-id")));
    assert!(met.header("www-authenticate").starts_with("Bearer"));
}

#[tokio::test]
async fn preflights_can_be_skipped_where_cors_stands_inside() {
    let scene = Scene::new().await;
    let is_preflight = |parts: &http::request::Parts| {
        parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    };
    let gate = scene.layer().skip(is_preflight);
    let app = Router::new()
        .route("/items", get(|_: Principal| async {}))
        .layer(cors())
        .layer(gate);
    let met = ask(&app, preflight()).await;
    met.assert_ok();
    assert_eq!(met.header(ACCESS_CONTROL_ALLOW_ORIGIN.as_str()), "*");

    // Any other OPTIONS, and any other method that pretends, still needs a key.
    let mut options = get_items(None);
    *options.method_mut() = Method::OPTIONS;
    let mut pretending = preflight();
    *pretending.method_mut() = Method::GET;
    for request in [options, pretending] {
        ask(&app, request)
            .await
            .assert_refused(RejectionKind::MissingCredential);
    }
}

// --- axum's own middleware ---

async fn name_caller(
    caller: Option<Principal>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let name = caller.as_ref().map_or("nobody", Principal::key_name);
    let name = name.parse().unwrap();
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-caller", name);
    response
}

#[tokio::test]
async fn a_middleware_inside_the_gate_has_the_caller_and_sees_no_refused_request() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let count = middleware::from_fn(move |request: axum::extract::Request, next: Next| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.run(request)
    });
    let inside = ServiceBuilder::new()
        .layer(scene.layer().optional())
        .layer(middleware::from_fn(name_caller))
        .layer(count);
    let app = Router::new()
        .route("/items", get(|| async {}))
        .layer(inside);
    for (key, name) in [(Some(&key), "ci"), (None, "nobody")] {
        let met = ask(&app, get_items(key)).await;
        met.assert_ok();
        assert_eq!(met.header("x-caller"), name);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2);

    scene.wacht.revoke(key.key_id());
    scene.clock.advance(Duration::from_secs(600));
    let met = ask(&app, get_items(Some(&key))).await;
    met.assert_refused(RejectionKind::InvalidKey);
    assert_eq!(met.header("x-caller"), "");
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_middleware_outside_the_gate_sees_refusals_and_their_reason_but_no_caller() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    let observe = |request: axum::extract::Request, next: Next| async {
        assert!(request.extensions().get::<Principal>().is_none());
        let mut response = next.run(request).await;
        let why = response.extensions().get().map(Rejection::kind);
        let why = why.map_or_else(|| "admitted".to_owned(), |why| format!("{why:?}"));
        let name = HeaderName::from_static("x-why");
        response.headers_mut().insert(name, why.parse().unwrap());
        response
    };
    let app = Router::new()
        .route("/items", get(|_: Principal| async {}))
        .layer(scene.layer())
        .layer(middleware::from_fn(observe));
    let met = ask(&app, get_items(Some(&key))).await;
    assert_eq!(met.header("x-why"), "admitted");
    let met = ask(&app, get_items(None)).await;
    assert_eq!(met.header("x-why"), "MissingCredential");
}

#[tokio::test]
async fn a_middleware_that_asks_for_the_caller_outside_the_gate_is_a_500() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    let app = Router::new()
        .route("/items", get(|| async {}))
        .layer(scene.layer())
        .layer(middleware::from_fn(name_caller));
    ask(&app, get_items(Some(&key)))
        .await
        .assert_refused(RejectionKind::Misconfigured);
}

struct ReadItems;

impl Permission for ReadItems {
    const REQUIREMENT: &'static str = "items:read";
}

#[tokio::test]
async fn the_extractors_guard_whole_routers_as_middleware_too() {
    let scene = Scene::new().await;
    let (key, clerk) = (reader(&scene), scene.key());
    let callers = Router::new()
        .route("/items", get(|| async {}))
        .route_layer(middleware::from_extractor::<Principal>());
    let readers = Router::new()
        .route("/items", get(|| async {}))
        .route_layer(middleware::from_extractor::<Permitted<ReadItems>>());
    for (app, clerk_is) in [
        (callers, None),
        (readers, Some(RejectionKind::PermissionDenied)),
    ] {
        let app = app.layer(scene.layer().optional());
        ask(&app, get_items(Some(&key))).await.assert_ok();
        assert_eq!(ask(&app, get_items(Some(&clerk))).await.kind(), clerk_is);
        ask(&app, get_items(None))
            .await
            .assert_refused(RejectionKind::MissingCredential);
    }
}

// --- websockets ---

/// Says the caller's name, and hangs up.
async fn greet(upgrade: WebSocketUpgrade, caller: Principal) -> axum::response::Response {
    upgrade.on_upgrade(async move |mut socket| {
        let greeting = format!("hello, {}", caller.key_name());
        socket.send(Message::Text(greeting.into())).await.unwrap();
    })
}

/// Asks for a websocket, over a connection of its own.
async fn open(address: SocketAddr, key: Option<&DevKey>) -> Response<Incoming> {
    let connection = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get("/greeting")
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {}", key.secret()));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_websocket_is_refused_before_its_upgrade_or_knows_its_caller() {
    let scene = Scene::new().await;
    let key = reader(&scene);
    let app = Router::new()
        .route("/greeting", get(greet))
        .layer(scene.layer());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });

    let refused = open(address, None).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(!refused.headers().contains_key("upgrade"));
    assert!(refused.headers().contains_key("www-authenticate"));

    let admitted = open(address, Some(&key)).await;
    assert_eq!(admitted.status(), StatusCode::SWITCHING_PROTOCOLS);
    let socket = hyper::upgrade::on(admitted).await.unwrap();
    // One text frame, whole and unmasked: RFC 6455, section 5.2.
    let expected = b"\x81\x09hello, ci";
    let mut frame = [0; 11];
    TokioIo::new(socket).read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, expected);
    serving.abort();
}
