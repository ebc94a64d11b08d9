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

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::Layer;
use wacht_auth::WachtAuthLayer;
use wacht_auth::dev::DevGateway;
use wacht_auth::models::RevokeApiKeyRequest;

mod live;
#[allow(dead_code, reason = "its messages alone are of use here")]
#[path = "../tonic_server/orders.rs"]
mod orders;

use live::{Live, LiveClient, LiveServer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

struct Shop;

impl Live for Shop {
    async fn follow(&self, _: Request<String>) -> Result<Response<BoxStream<String>>, Status> {
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
    let gate = WachtAuthLayer::new(client.clone())
        .app("shop")
        .end_streams();
    let server = Server::builder().add_service(gate.layer(LiveServer::new(Shop)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let mut live = LiveClient::new(Endpoint::from_shared(url)?.connect().await?);

    let key = wacht.issue_key("shop").issue();
    let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {}", key.secret()).parse()?;
    let mut request = Request::new(String::new());
    request
        .metadata_mut()
        .insert("authorization", bearer.clone());
    let mut news = live.follow(request).await?;
    println!("follow: {:?}", news.message().await?);

    let (words, said) = mpsc::unbounded_channel();
    let said =
        futures_util::stream::unfold(said, async |mut said| Some((said.recv().await?, said)));
    let mut request = Request::new(said);
    request.metadata_mut().insert("authorization", bearer);
    let mut talk = live.talk(request).await?;
    words.send("hello".to_owned())?;
    println!("talk:   {:?}", talk.message().await?);

    let call = client.api_keys();
    let call = call.revoke_api_key("shop", key.key_id(), RevokeApiKeyRequest::default());
    call.send().await?;
    for (what, stream) in [("follow", &mut news), ("talk", &mut talk)] {
        let status = stream.message().await.expect_err("its key is revoked");
        println!("{what}: {:?}: {}", status.code(), status.message());
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    Ok(())
}
