//! What this shows: the gate among tower-http's layers, in the order we recommend, and a house
//! format for refusals.
//!
//! ```sh
//! cargo run --example axum_full_stack                  # serves, and prints curl lines to paste
//! cargo run --example axum_full_stack -- --self-test   # sends such requests itself
//! ```
//!
//! In a `ServiceBuilder` the first layer is the outermost: it sees a request first and its answer
//! last.
//!
//! | layer | why it stands there |
//! |---|---|
//! | sensitive headers | before anything that writes logs; the gate marks them too, but too late for a trace outside |
//! | request id, set | before the trace, so that the span has it |
//! | trace | outside whatever may answer, so that it sees refusals, time-outs and preflights too |
//! | request id, propagate | the same: every answer has the id |
//! | access log | outside whatever may answer: a line for each request, with its caller or why it was refused |
//! | CORS | outside the gate: a preflight has no key, and a page may read a refusal only with CORS headers |
//! | time-out | outside the gate, so that waiting for a verification counts; inside CORS, so that a page can read it |
//! | the gate | outside whatever needs a caller |
//! | your middleware | inside the gate, where the `Principal` is |

use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::cors::CorsLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{Principal, Rejection, WachtAuthLayer};

use self_test::SelfTest;

mod self_test;

const SITE: &str = "https://shop.example";
const TIME_LIMIT: Duration = Duration::from_secs(3);

fn service(gate: WachtAuthLayer) -> Router {
    let gate = gate
        .skip(|parts| parts.uri.path() == "/health")
        .tell_outside()
        .on_reject(in_house_format)
        .strip_credential();

    // Two views of one gate: a key is verified once and has one counter, wherever it is shown.
    let open = Router::new()
        .route("/", get(welcome))
        .route_layer(gate.clone().optional());
    let gated = ServiceBuilder::new()
        .layer(gate)
        .layer(middleware::from_fn(note_caller));
    let closed = Router::new()
        .route("/health", get(|| async { "up" }))
        .route("/orders", get(orders).post(order))
        .route("/report", get(report))
        .route_layer(gated);

    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(SITE))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        // Without this a page sees the refusal, but not when to try again.
        .expose_headers([
            RETRY_AFTER,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
            HeaderName::from_static("x-request-id"),
        ]);
    let stack = ServiceBuilder::new()
        .layer(SetSensitiveRequestHeadersLayer::new([
            AUTHORIZATION,
            COOKIE,
        ]))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().include_headers(true)),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(middleware::from_fn(log_access))
        .layer(cors)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            TIME_LIMIT,
        ));
    open.merge(closed).layer(stack)
}

/// `{"error":{"code":…,"message":…,"request":…}}`. What a refusal needs besides, such as
/// `WWW-Authenticate` and `Retry-After`, the gate adds.
fn in_house_format(rejection: &Rejection, parts: &Parts) -> Response<Bytes> {
    let id = parts.headers.get("x-request-id");
    let body = json!({ "error": {
        "code": format!("{:?}", rejection.kind()),
        "message": rejection.message(),
        "request": id.and_then(|id| id.to_str().ok()),
    }});
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = rejection.kind().status();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The access log. It stands outside the gate, which tells it the caller in the answer's extensions.
async fn log_access(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let caller = response.extensions().get::<Principal>();
    let refusal = response.extensions().get::<Rejection>();
    tracing::info!(
        %method,
        path,
        status = response.status().as_u16(),
        key = caller.map(Principal::key_id),
        app = caller.map(Principal::app_slug),
        refusal = refusal.map(|refusal| refusal.kind().as_str()),
        "answered"
    );
    response
}

/// A middleware of one's own. It takes the caller as a handler does; `/health` has none.
async fn note_caller(caller: Option<Principal>, request: Request, next: Next) -> Response {
    if let Some(caller) = caller {
        tracing::info!(key = caller.key_id(), path = request.uri().path(), "called");
    }
    next.run(request).await
}

async fn welcome(caller: Option<Principal>) -> String {
    match caller {
        Some(caller) => format!("welcome, {}", caller.key_name()),
        None => "welcome, stranger".to_owned(),
    }
}

async fn orders(caller: Principal) -> String {
    format!("the orders of {}", caller.key_name())
}

struct WriteOrders;

impl Permission for WriteOrders {
    const REQUIREMENT: &'static str = "orders:write";
}

async fn order(caller: Permitted<WriteOrders>) -> String {
    format!("ordered by {}", caller.key_name())
}

/// Is never done.
async fn report(_: Principal) {
    std::future::pending().await
}

// --- trying it out ---

/// The log, to be read by the self-test.
#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

impl Log {
    fn text(&self) -> String {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_to<W>(writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours = ["tower_http", "wacht_auth", "axum_full_stack"];
    tracing_subscriber::registry()
        .with(Targets::new().with_targets(ours.map(|target| (target, Level::TRACE))))
        .with(fmt::layer().with_ansi(false).with_writer(writer))
        .init();
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    wacht.app("shop").scheme([DevRule::per_key(4, "hour", 1)]);
    let reader = wacht.issue_key("shop").name("reader").issue();
    let writer = wacht.issue_key("shop").name("writer");
    let writer = writer.permissions(["orders:write"]).issue();

    let app = service(WachtAuthLayer::new(wacht.client()).app("shop"));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = async { axum::serve(listener, app).await };

    let (reader, writer) = (reader.secret(), writer.secret());
    if !env::args().any(|argument| argument == "--self-test") {
        log_to(io::stderr);
        let url = format!("http://{address}");
        println!("# paste these into another terminal:\n");
        println!("READER={reader}\nWRITER={writer}");
        println!("curl -i {url}/health");
        println!("curl -i {url}/");
        println!("curl -i {url}/orders -H 'Origin: {SITE}'");
        println!("curl -i {url}/orders -H \"Authorization: Bearer $READER\"");
        println!("curl -i {url}/orders -H \"Authorization: Bearer $READER\" -X POST");
        println!("curl -i {url}/orders -H \"Authorization: Bearer $WRITER\" -X POST");
        println!("curl -i {url}/report -H \"Authorization: Bearer $WRITER\"");
        println!(
            "curl -i {url}/orders -X OPTIONS -H 'Origin: {SITE}' \
             -H 'Access-Control-Request-Method: POST'"
        );
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }

    let log = Arc::new(Log::default());
    log_to(Arc::clone(&log));
    tokio::spawn(serving);
    let mut test = SelfTest::of(address);
    for (what, method, path, key, promised) in [
        ("skipped", "GET", "/health", None, "200"),
        ("optional, no key", "GET", "/", None, "200"),
        ("optional, reader", "GET", "/", Some(reader), "200"),
        ("preflight, no key", "OPTIONS", "/orders", None, "200"),
        ("no key", "GET", "/orders", None, "401"),
        ("reader reads", "GET", "/orders", Some(reader), "200"),
        ("reader writes", "POST", "/orders", Some(reader), "403"),
        ("writer writes", "POST", "/orders", Some(writer), "200"),
        ("too slow", "GET", "/report", Some(writer), "503"),
        ("reader's fourth", "GET", "/orders", Some(reader), "200"),
        ("one too many", "GET", "/orders", Some(reader), "429"),
        ("no such path", "GET", "/nowhere", None, "404"),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("origin", SITE);
        if method == "OPTIONS" {
            request = request.header("access-control-request-method", "POST");
        }
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let answer = test.send(request.body(String::new())?).await?;
        let header = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let id = header("x-request-id").unwrap_or("none");
        // Every answer, whoever gives it, may be read by the page and has the request's id.
        let mut got = answer.status().as_str().to_owned();
        if header("access-control-allow-origin") != Some(SITE) {
            got += " without CORS";
        }
        if id == "none" {
            got += " without id";
        }
        let refused_by_gate = matches!(answer.status().as_u16(), 401 | 403 | 429);
        let in_house = answer.body().contains(&format!("\"request\":\"{id}\""));
        if refused_by_gate != in_house {
            got += " in no house format";
        }
        test.row(what, promised, got);
    }

    let log = log.text();
    test.row(
        "the log tells the caller",
        true,
        log.contains("called key="),
    );
    let access = log.lines().filter(|line| line.contains(" answered "));
    let access: Vec<&str> = access.collect();
    let named = |line: &&&str| line.contains("key=") && line.contains("app=\"shop\"");
    let refused = |line: &&&str| line.contains("refusal=");
    test.row("access log: answers", 12, access.len());
    test.row(
        "access log: callers",
        5,
        access.iter().filter(named).count(),
    );
    test.row(
        "access log: refusals",
        3,
        access.iter().filter(refused).count(),
    );
    let hidden = "\"authorization\": Sensitive";
    test.row(
        "the log shows requests' headers",
        true,
        log.contains(hidden),
    );
    let told = [reader, writer].iter().any(|key| log.contains(*key));
    test.row("the log has a key in it", false, told);
    Ok(test.finish())
}
