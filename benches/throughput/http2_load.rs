//! Load over HTTP/2, by hyper's client: all requests of a thread share a connection.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::Result;
use crate::window::{Order, Senders, Times, Window};

pub(crate) type Http2Client = Client<HttpConnector, Empty<Bytes>>;

/// It makes one connection, and keeps it.
pub(crate) fn client() -> Http2Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.http2_only(true).build(connector)
}

pub(crate) fn start(order: &Order, window: &Arc<Window>, streams: usize) -> Result<Senders> {
    let requests: Result<Arc<[_]>> = order
        .secrets
        .iter()
        .map(|secret| request(&format!("http://{}/", order.address), secret))
        .collect();
    let requests = requests?;
    let client = client();
    let mut senders = Senders::new();
    for _ in 0..streams {
        let (client, window) = (client.clone(), Arc::clone(window));
        senders.spawn(send(client, Arc::clone(&requests), window));
    }
    Ok(senders)
}

pub(crate) fn request(url: &str, secret: &str) -> Result<Request<Empty<Bytes>>> {
    Ok(Request::get(url)
        .header("user-agent", "throughput")
        .header("accept", "*/*")
        .header("authorization", format!("Bearer {secret}"))
        .body(Empty::new())?)
}

async fn send(
    client: Http2Client,
    requests: Arc<[Request<Empty<Bytes>>]>,
    window: Arc<Window>,
) -> Result<Times> {
    let mut times = Times::new();
    while let Some(number) = window.next() {
        let request = requests[number % requests.len()].clone();
        let sent = Instant::now();
        ask(&client, request).await?;
        let took = sent.elapsed();
        if window.is_open() {
            times.push(took);
        }
    }
    Ok(times)
}

/// Sends a request whose key is good, and reads the answer to its end.
pub(crate) async fn ask(client: &Http2Client, request: Request<Empty<Bytes>>) -> Result<()> {
    let answer = client.request(request).await?;
    if answer.status() != 200 {
        return Err(format!("a good key was answered {}", answer.status()).into());
    }
    answer.into_body().collect().await?;
    Ok(())
}
