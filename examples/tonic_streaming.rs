//! What this shows: gRPC streams, to the client and both ways, that end with code 16 when the key that
//! opened them is revoked, without a line about it in the service.
//!
//! ```text
//! cargo run --example tonic_streaming --features tonic
//! cargo run --example tonic_streaming --features tonic -- --self-test    # the same
//! ```
//!
//! `end_streams` on the gate is all: an answer in gRPC has its status in trailers, whatever came before.

use std::error::Error;
use std::time::Duration;

use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::Layer;
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::models::RevokeApiKeyRequest;
use wacht_auth::{WachtAuthLayer, Watch};

// Stands in for code made from a `.proto` file.
#[path = "tonic_server/orders.rs"]
mod orders;

use orders::{Orders, OrdersClient, OrdersServer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

struct Shop;

impl Orders for Shop {
    async fn watch(&self, _: Request<String>) -> Result<Response<BoxStream<String>>, Status> {
        let news = tokio_stream::once(Ok("packed".to_owned()));
        let for_ever = news.chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(for_ever)))
    }

    async fn talk(
        &self,
        request: Request<Streaming<String>>,
    ) -> Result<Response<BoxStream<String>>, Status> {
        let echo = request.into_inner().map(|word| Ok(format!("{}!", word?)));
        Ok(Response::new(Box::pin(echo)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let gate = WachtAuthLayer::builder(client.clone())
        .watch(Watch::every(Duration::from_secs(1)))
        .build()?
        .app("shop")
        .end_streams();
    let figures = gate.handle();
    let server = Server::builder().add_service(gate.layer(OrdersServer::new(Shop)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut orders = OrdersClient::new(Endpoint::from_shared(url)?.connect().await?);

    let [key, other] = [(); 2].map(|()| wacht.issue_key("shop").issue());
    let mut streams = Streams::open(&mut orders, &key).await?;
    let calls = client.api_keys();
    let why = RevokeApiKeyRequest::default();
    calls
        .revoke_api_key("shop", key.key_id(), why)
        .send()
        .await?;
    assert_eq!(streams.end().await?, [Code::Unauthenticated; 2]);
    println!("revoked through the client: ended at once");

    let mut streams = Streams::open(&mut orders, &other).await?;
    let watch = figures.stats().watch.ok_or("there is a watch")?;
    // And two calls, of 2 s at most.
    let bound = watch.longest_unseen + Duration::from_secs(4);
    wacht.revoke(other.key_id());
    let codes = tokio::time::timeout(bound, streams.end()).await??;
    assert_eq!(codes, [Code::Unauthenticated; 2]);
    println!("revoked elsewhere: ended within {bound:?}");
    Ok(())
}

/// A stream to the client, and one both ways.
struct Streams {
    news: Streaming<String>,
    talk: Streaming<String>,
    // As long as it is there, the client has more to say.
    _words: mpsc::UnboundedSender<String>,
}

impl Streams {
    async fn open(orders: &mut OrdersClient, key: &DevKey) -> Result<Self> {
        let bearer: AsciiMetadataValue = format!("Bearer {}", key.secret()).parse()?;
        let mut request = Request::new(String::new());
        request
            .metadata_mut()
            .insert("authorization", bearer.clone());
        let mut news = orders.watch(request).await?.into_inner();
        assert_eq!(news.message().await?.as_deref(), Some("packed"));

        let (words, said) = mpsc::unbounded_channel();
        let said = stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
        let mut request = Request::new(said);
        request.metadata_mut().insert("authorization", bearer);
        let mut talk = orders.talk(request).await?.into_inner();
        words.send("hello".to_owned())?;
        assert_eq!(talk.message().await?.as_deref(), Some("hello!"));
        Ok(Self {
            news,
            talk,
            _words: words,
        })
    }

    /// What each of them ends with.
    async fn end(&mut self) -> Result<[Code; 2]> {
        let mut codes = [Code::Ok; 2];
        for (code, stream) in codes.iter_mut().zip([&mut self.news, &mut self.talk]) {
            let status = stream.message().await.err().ok_or("it goes on")?;
            println!("{:?}: {}", status.code(), status.message());
            *code = status.code();
        }
        Ok(codes)
    }
}
