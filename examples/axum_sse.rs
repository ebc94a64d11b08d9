//! What this shows: server-sent events that end when the key that opened them is revoked, with a last
//! event that says so.
//!
//! ```text
//! cargo run --example axum_sse                  # serves, and prints how to call it
//! cargo run --example axum_sse -- --self-test
//! ```
//!
//! A stream outlives the request that opened it, and nobody looks at its key again. `until_ended` does:
//! what is revoked through the client of the gate, or a clone of it, ends the stream at once. What is
//! revoked elsewhere, the watch sees, within the time that the gate's figures say.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::models::RevokeApiKeyRequest;
use wacht_auth::{Principal, WachtAuthLayer, Watch};

/// A greeting, and news as they come; at the end of its key, why there are no more.
async fn news(caller: Principal) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let greeting = Event::default().data(format!("hello {}", caller.key_name()));
    let news = stream::iter([greeting]).chain(stream::pending());
    let goodbye = async { Event::default().event("ended").data("the key has ended") };
    let events = caller.until_ended(news).chain(stream::once(goodbye));
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let gate = WachtAuthLayer::builder(client.clone())
        .watch(Watch::every(Duration::from_secs(1)))
        .build()?
        .app("shop");
    let figures = gate.handle();
    let revoke = async |key: &DevKey| {
        let calls = client.api_keys();
        let why = RevokeApiKeyRequest::default();
        calls.revoke_api_key("shop", key.key_id(), why).send().await
    };

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/news", listener.local_addr()?);
    let app = Router::new().route("/news", get(news)).layer(gate);
    tokio::spawn(async { axum::serve(listener, app).await });

    let [key, other] = ["feed", "other"].map(|name| wacht.issue_key("shop").name(name).issue());
    if !env::args().any(|argument| argument == "--self-test") {
        println!("# the key is revoked after 20 s, and the stream ends:\n");
        println!("curl -N {url} -H 'authorization: Bearer {}'", key.secret());
        tokio::time::sleep(Duration::from_secs(20)).await;
        revoke(&key).await?;
        return Ok(std::future::pending().await);
    }

    let mut body = open(&url, &key).await?;
    revoke(&key).await?;
    assert_eq!(
        rest(&mut body).await?,
        "event: ended\ndata: the key has ended\n\n"
    );
    println!("revoked through the client: ended at once");

    let mut body = open(&url, &other).await?;
    let watch = figures.stats().watch.ok_or("there is a watch")?;
    // And two calls, of 2 s at most.
    let bound = watch.longest_unseen + Duration::from_secs(4);
    wacht.revoke(other.key_id());
    let rest = tokio::time::timeout(bound, rest(&mut body)).await??;
    assert_eq!(rest, "event: ended\ndata: the key has ended\n\n");
    println!("revoked elsewhere: ended within {bound:?}");
    Ok(ExitCode::SUCCESS)
}

/// Opens the stream and reads the greeting.
async fn open(url: &str, key: &DevKey) -> Result<Incoming, Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).header("authorization", format!("Bearer {}", key.secret()));
    let answer = client.request(request.body(Empty::<Bytes>::new())?).await?;
    let mut body = answer.into_body();
    let first = body.frame().await.ok_or("no event")??;
    let first = first.into_data().map_err(|_| "no data")?;
    assert!(first.starts_with(b"data: hello "), "{first:?}");
    Ok(body)
}

async fn rest(body: &mut Incoming) -> Result<String, Box<dyn Error>> {
    let rest = body.collect().await?.to_bytes();
    Ok(String::from_utf8(rest.into())?)
}
