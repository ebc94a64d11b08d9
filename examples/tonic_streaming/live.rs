//! The service `shop.v1.Live` and its client, in the shape that code made from a `.proto` file has.

#![allow(unreachable_pub, reason = "stands in for generated code")]

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, BoxStream};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, service_fn};

use super::orders::Text;

const FOLLOW: &str = "/shop.v1.Live/Follow";
const TALK: &str = "/shop.v1.Live/Talk";

type Answer = Result<Response<BoxStream<String>>, Status>;

pub trait Live: Send + Sync + 'static {
    /// Many answers to one message.
    fn follow(&self, request: Request<String>) -> impl Future<Output = Answer> + Send;

    /// Messages both ways.
    fn talk(&self, request: Request<Streaming<String>>) -> impl Future<Output = Answer> + Send;
}

#[derive(Debug)]
pub struct LiveServer<T>(Arc<T>);

impl<T> LiveServer<T> {
    pub fn new(live: T) -> Self {
        Self(Arc::new(live))
    }
}

impl<T> Clone for LiveServer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> NamedService for LiveServer<T> {
    const NAME: &'static str = "shop.v1.Live";
}

impl<T: Live> Service<http::Request<Body>> for LiveServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let live = Arc::clone(&self.0);
        Box::pin(async move {
            let live = &live;
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                FOLLOW => {
                    let follow = service_fn(|request| {
                        let live = Arc::clone(live);
                        async move { live.follow(request).await }
                    });
                    grpc.server_streaming(follow, request).await
                }
                TALK => {
                    let talk = service_fn(|request| {
                        let live = Arc::clone(live);
                        async move { live.talk(request).await }
                    });
                    grpc.streaming(talk, request).await
                }
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

#[derive(Clone, Debug)]
pub struct LiveClient {
    grpc: tonic::client::Grpc<Channel>,
}

impl LiveClient {
    pub fn new(channel: Channel) -> Self {
        Self {
            grpc: tonic::client::Grpc::new(channel),
        }
    }

    pub async fn follow(&mut self, request: Request<String>) -> Result<Streaming<String>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(FOLLOW);
        let answer = self.grpc.server_streaming(request, path, Text).await?;
        Ok(answer.into_inner())
    }

    pub async fn talk<S>(&mut self, request: Request<S>) -> Result<Streaming<String>, Status>
    where
        S: Stream<Item = String> + Send + 'static,
    {
        self.ready().await?;
        let path = PathAndQuery::from_static(TALK);
        Ok(self.grpc.streaming(request, path, Text).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::unknown(format!("no connection: {error}")))
    }
}
