//! The service `shop.v1.Orders` and its client, in the shape that code made from a `.proto` file
//! has. It is written by hand, with plain text for messages, so that no `protoc` is needed.

#![allow(dead_code, unreachable_pub, reason = "stands in for generated code")]

use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, BoxStream};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tower::{Service, service_fn};

const LIST: &str = "/shop.v1.Orders/List";
pub const CANCEL: &str = "/shop.v1.Orders/Cancel";
const WATCH: &str = "/shop.v1.Orders/Watch";
const TALK: &str = "/shop.v1.Orders/Talk";

type Answer<T> = Result<Response<T>, Status>;

/// What a service does not have is `Unimplemented`.
pub trait Orders: Send + Sync + 'static {
    fn list(&self, _: Request<String>) -> impl Future<Output = Answer<String>> + Send {
        future::ready(Err(unimplemented()))
    }

    fn cancel(&self, _: Request<String>) -> impl Future<Output = Answer<String>> + Send {
        future::ready(Err(unimplemented()))
    }

    /// Many answers to one message.
    fn watch(&self, _: Request<String>) -> impl Future<Output = Answer<BoxStream<String>>> + Send {
        future::ready(Err(unimplemented()))
    }

    /// Messages both ways.
    fn talk(
        &self,
        _: Request<Streaming<String>>,
    ) -> impl Future<Output = Answer<BoxStream<String>>> + Send {
        future::ready(Err(unimplemented()))
    }
}

fn unimplemented() -> Status {
    Status::unimplemented("there is no such method")
}

#[derive(Debug)]
pub struct OrdersServer<T>(Arc<T>);

impl<T> OrdersServer<T> {
    pub fn new(orders: T) -> Self {
        Self(Arc::new(orders))
    }
}

impl<T> Clone for OrdersServer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> NamedService for OrdersServer<T> {
    const NAME: &'static str = "shop.v1.Orders";
}

impl<T: Orders> Service<http::Request<Body>> for OrdersServer<T> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let orders = Arc::clone(&self.0);
        Box::pin(async move {
            let orders = &orders;
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                LIST => {
                    let list = service_fn(|request| {
                        let orders = Arc::clone(orders);
                        async move { orders.list(request).await }
                    });
                    grpc.unary(list, request).await
                }
                CANCEL => {
                    let cancel = service_fn(|request| {
                        let orders = Arc::clone(orders);
                        async move { orders.cancel(request).await }
                    });
                    grpc.unary(cancel, request).await
                }
                WATCH => {
                    let watch = service_fn(|request| {
                        let orders = Arc::clone(orders);
                        async move { orders.watch(request).await }
                    });
                    grpc.server_streaming(watch, request).await
                }
                TALK => {
                    let talk = service_fn(|request| {
                        let orders = Arc::clone(orders);
                        async move { orders.talk(request).await }
                    });
                    grpc.streaming(talk, request).await
                }
                _ => unimplemented().into_http(),
            })
        })
    }
}

#[derive(Clone, Debug)]
pub struct OrdersClient {
    grpc: tonic::client::Grpc<Channel>,
}

impl OrdersClient {
    pub fn new(channel: Channel) -> Self {
        Self {
            grpc: tonic::client::Grpc::new(channel),
        }
    }

    pub async fn list(&mut self, request: Request<String>) -> Answer<String> {
        self.ready().await?;
        let path = PathAndQuery::from_static(LIST);
        self.grpc.unary(request, path, Text).await
    }

    pub async fn cancel(&mut self, request: Request<String>) -> Answer<String> {
        self.ready().await?;
        let path = PathAndQuery::from_static(CANCEL);
        self.grpc.unary(request, path, Text).await
    }

    pub async fn watch(&mut self, request: Request<String>) -> Answer<Streaming<String>> {
        self.ready().await?;
        let path = PathAndQuery::from_static(WATCH);
        self.grpc.server_streaming(request, path, Text).await
    }

    pub async fn talk<S>(&mut self, request: Request<S>) -> Answer<Streaming<String>>
    where
        S: Stream<Item = String> + Send + 'static,
    {
        self.ready().await?;
        let path = PathAndQuery::from_static(TALK);
        self.grpc.streaming(request, path, Text).await
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::unknown(format!("no connection: {error}")))
    }
}

/// Messages that are UTF-8 text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let text = String::from_utf8(bytes.into());
        text.map(Some)
            .map_err(|_| Status::internal("the message is no text"))
    }
}
