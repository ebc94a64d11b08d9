//! What this shows: a plain hyper server behind the gate, over HTTP/1.1 and HTTP/2.
//!
//! ```text
//! cargo run --example hyper_server                  # serves, and prints how to call it
//! cargo run --example hyper_server -- --self-test   # calls itself, and fails if anything is off
//! ```
//!
//! The gate is a tower layer, so three things make it fit hyper: tower's `ServiceBuilder` puts it
//! in front of the handler, `TowerToHyperService` turns the whole into hyper's kind of service,
//! and `PeerAddr` tells it who is at the other end of the connection. Wacht itself is a
//! `DevGateway` in this process: nothing leaves the machine.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{PeerAddr, Principal, Requirement, WachtAuthLayer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The handler. Whoever gets here has shown a good key, except on `/health`.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.extensions().get::<Principal>() {
        Some(caller) => format!("{} by {}\n", request.method(), caller.key_name()),
        None => "in good health\n".to_owned(),
    };
    Ok(Response::new(Full::from(text)))
}

async fn serve(listener: TcpListener, gate: WachtAuthLayer) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            // Clones share what they know: one key is one key, whatever connection it comes by.
            .layer(gate.clone())
            .service_fn(answer);
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(service);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection from {peer} broke: {error}");
            }
        });
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let wacht = DevGateway::start().await;
    wacht.set_scheme(
        "shop",
        [
            DevRule::per_key(3, "hour", 1),
            DevRule::per_app_and_ip(100, "hour", 1),
        ],
    );
    let reader = wacht.issue_key("shop").name("reader").issue();
    let writer = wacht.issue_key("shop").name("writer");
    let writer = writer.permissions(["orders:write"]).issue();

    let write = Arc::new(Requirement::try_from("orders:write")?);
    let gate = WachtAuthLayer::new(wacht.client())
        .app("shop")
        .skip(|parts| parts.uri.path() == "/health")
        .require_with(move |parts| (parts.method != Method::GET).then(|| Arc::clone(&write)));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (reader, writer) = (reader.secret(), writer.secret());
    if std::env::args().any(|argument| argument == "--self-test") {
        tokio::spawn(serve(listener, gate));
        return self_test(&url, reader, writer).await;
    }
    println!("200  curl -i {url}/health");
    println!("401  curl -i {url}/orders");
    println!("200  curl -i {url}/orders -H 'authorization: Bearer {reader}'");
    println!("403  curl -i {url}/orders -H 'authorization: Bearer {reader}' -X POST");
    println!("200  curl -i {url}/orders -H 'authorization: Bearer {writer}' -X POST");
    println!("429  the fourth request within the hour that one key is admitted with");
    println!("add --http2-prior-knowledge for HTTP/2");
    serve(listener, gate).await
}

async fn self_test(url: &str, reader: &str, writer: &str) -> Result<()> {
    let http1 = Client::builder(TokioExecutor::new()).build_http();
    let http2 = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let unknown = "sk_test_0000000000000000000000000000000000000000000";
    let promises = [
        ("no key needed", Method::GET, "/health", None, 200),
        ("no key", Method::GET, "/orders", None, 401),
        ("unknown key", Method::GET, "/orders", Some(unknown), 401),
        ("good key", Method::GET, "/orders", Some(reader), 200),
        ("may not write", Method::POST, "/orders", Some(reader), 403),
        ("may write", Method::POST, "/orders", Some(writer), 200),
        ("second", Method::GET, "/orders", Some(reader), 200),
        ("third", Method::GET, "/orders", Some(reader), 200),
        ("one too many", Method::GET, "/orders", Some(reader), 429),
    ];
    let mut broken = 0;
    println!("promised  got over HTTP/  case");
    for (n, (case, method, path, key, promised)) in promises.into_iter().enumerate() {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        // The versions take turns, and the counters do not care.
        let client = if n % 2 == 0 { &http1 } else { &http2 };
        let answer = client
            .request(request.body(Full::<Bytes>::default())?)
            .await?;
        let (status, version) = (answer.status().as_u16(), answer.version());
        let body = answer.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body);
        println!(
            "{promised}       {status} {version:?}       {case}: {}",
            body.trim()
        );
        broken += usize::from(status != promised);
    }
    match broken {
        0 => Ok(()),
        _ => Err(format!("{broken} of these are not as promised").into()),
    }
}
