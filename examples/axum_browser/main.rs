//! What this shows: a service for browsers, called from a page of another site: CORS, server-sent
//! events, and websockets.
//!
//! ```text
//! cargo run --example axum_browser --features browser                  # serves; open the site
//! cargo run --example axum_browser --features browser -- --self-test
//! ```
//!
//! A script can put a key into a header of `fetch` alone. `EventSource` takes nothing but a URL, so its
//! key stands in the query; `WebSocket` takes protocols as well, so its key is one of those that it
//! offers. The page, `page.html`, does all of it, and shows what it got to see.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::body::Body;
use axum::extract::WebSocketUpgrade;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower_http::cors::CorsLayer;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{CredentialSource, Principal, WachtAuthLayer};

use self_test::SelfTest;

#[path = "../self_test/mod.rs"]
mod self_test;

const PAGE: &str = include_str!("page.html");

/// The protocol that the handler speaks. A client offers it beside its key.
const PROTOCOL: &str = "orders.v1";

fn service(gate: WachtAuthLayer, site: &str) -> Result<Router, Box<dyn Error>> {
    let gate = gate.credentials([
        CredentialSource::bearer(),
        CredentialSource::query("key")?,
        CredentialSource::websocket_protocol("key.")?,
    ]);
    let cors = CorsLayer::new()
        .allow_origin(site.parse::<HeaderValue>()?)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        // Without this a script sees the refusal, but not when to try again.
        .expose_headers([
            RETRY_AFTER,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
        ]);
    Ok(Router::new()
        .route("/orders", get(orders).post(order))
        .route("/scarce", get(orders))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .layer(gate)
        // Outside the gate: a preflight has no key, and a page may read refusals.
        .layer(cors))
}

async fn orders(caller: Principal) -> String {
    format!("the orders of {}", caller.key_name())
}

async fn order(caller: Principal, order: Bytes) -> String {
    format!("{} bytes of {}", order.len(), caller.key_name())
}

/// One event, and then nothing for a long time.
async fn events(caller: Principal) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = Event::default().data(caller.key_name());
    let events = stream::iter([Ok(first)]).chain(stream::pending());
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn socket(caller: Principal, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .on_upgrade(async move |mut socket| {
            let greeting = caller.key_name().to_owned();
            if socket.send(greeting.into()).await.is_ok() {
                while let Some(Ok(message)) = socket.recv().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            }
        })
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    wacht.app("shop").scheme([
        DevRule::per_key(1, "hour", 1).endpoints(["/scarce"]),
        DevRule::per_key(100_000, "hour", 1),
    ]);
    let key = wacht.issue_key("shop").name("page").issue();

    let (api, site) = (bind().await?, bind().await?);
    let address = api.local_addr()?;
    let origin = format!("http://{}", site.local_addr()?);
    let app = service(WachtAuthLayer::new(wacht.client()).app("shop"), &origin)?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let serving = async { axum::serve(api, app).await };

    if !env::args().any(|argument| argument == "--self-test") {
        // A real page would ask its user for the key, or its own server for one that ends soon.
        let page = PAGE.replace("API_ADDRESS", &address.to_string());
        let page = page.replace("API_KEY", key.secret());
        let page = Router::new().route("/", get(async || Html(page)));
        tokio::spawn(async { axum::serve(site, page).await });
        println!("# open the site, or paste these into another terminal:\n");
        println!("SITE={origin}\nAPI={address}\nKEY={}", key.secret());
        println!(
            "curl -i http://$API/orders -H \"Authorization: Bearer $KEY\" -H \"Origin: $SITE\""
        );
        println!("curl -iN \"http://$API/events?key=$KEY\"");
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }

    tokio::spawn(serving);
    let mut test = SelfTest::of(address);
    let bearer = format!("Bearer {}", key.secret());
    for (what, method, path, key, promised) in [
        ("preflight", "OPTIONS", "/orders", None, "200"),
        ("fetch", "GET", "/orders", Some(&bearer), "200"),
        ("fetch, POST", "POST", "/orders", Some(&bearer), "200"),
        ("fetch without a key", "GET", "/orders", None, "401"),
        ("scarce", "GET", "/scarce", Some(&bearer), "200"),
        ("one too many", "GET", "/scarce", Some(&bearer), "429"),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("origin", &origin);
        if method == "OPTIONS" {
            request = request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization");
        }
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let answer = test.send(request.body(String::new())?).await?;
        let mut got = answer.status().as_str().to_owned();
        let headers = answer.headers();
        if headers.get("access-control-allow-origin") != Some(&origin.parse()?) {
            got += " without CORS";
        }
        if promised == "429" && !headers.contains_key("retry-after") {
            got += " without Retry-After";
        }
        test.row(what, promised, got);
    }

    let open = format!("/events?key={}", key.secret());
    for (what, path, promised) in [
        ("EventSource", open.as_str(), "data: page"),
        ("EventSource, no key", "/events", "401"),
    ] {
        test.row(what, promised, first_event(address, path).await?);
    }
    for (what, offered, promised) in [
        (
            "WebSocket",
            format!("{PROTOCOL}, key.{}", key.secret()),
            "101 orders.v1",
        ),
        ("WebSocket, no key", PROTOCOL.to_owned(), "401"),
        (
            "WebSocket, a key alone",
            format!("key.{}", key.secret()),
            "400",
        ),
    ] {
        let request = Request::get("/socket")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", offered);
        let answer = test.send(request.body(String::new())?).await?;
        let selected = answer.headers().get("sec-websocket-protocol");
        let selected = selected.map_or("", |protocol| protocol.to_str().unwrap_or("no text"));
        let got = format!("{} {selected}", answer.status().as_str());
        test.row(what, promised, got.trim_end());
    }
    Ok(test.finish())
}

async fn bind() -> std::io::Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await
}

/// The first line of a stream that does not end, or the status of a refusal.
async fn first_event(address: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(format!("http://{address}{path}")).body(Body::empty())?;
    let answer = client.request(request).await?;
    if !answer.status().is_success() {
        return Ok(answer.status().as_str().to_owned());
    }
    let mut body = answer.into_body();
    let frame = body.frame().await.ok_or("no event")??;
    let text = frame.into_data().map_err(|_| "no data")?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
