//! Bodies that end with their caller.

use std::error::Error;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::*;

type Frames = mpsc::UnboundedReceiver<Frame<Bytes>>;
type Sender = mpsc::UnboundedSender<Frame<Bytes>>;

/// What is sent goes out, and the body ends when nobody sends any more.
fn frames(receiver: Frames) -> impl Body<Data = Bytes, Error = Infallible> + Send {
    let frames = stream::unfold(receiver, async |mut receiver| {
        Some((Ok(receiver.recv().await?), receiver))
    });
    StreamBody::new(Box::pin(frames))
}

/// A key, and a service that answers each request with a body that is made from here.
struct Live {
    scene: Scene,
    key: DevKey,
    layer: WachtAuthLayer,
    headers: HeaderMap,
}

impl Live {
    async fn new() -> Self {
        let scene = Scene::new().await;
        Self {
            key: scene.key(),
            layer: scene.layer().app("orders").end_streams(),
            headers: HeaderMap::new(),
            scene,
        }
    }

    fn revoke(&self) {
        self.layer.handle().revoke_secret(self.key.secret());
    }

    fn waits(&self) -> usize {
        self.layer.handle().stats().awaited_ends
    }

    /// The answer to one request, and what sends its body.
    async fn answer(
        &self,
    ) -> (
        Response<impl Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>> + Send>,
        Sender,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut receiver = Some(receiver);
        let inner = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let body = frames(receiver.take().expect("one request"));
            std::future::ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let headers = self.headers.clone();
        let inner = tower::ServiceBuilder::new()
            .map_response(move |mut response: Response<_>| {
                *response.headers_mut() = headers.clone();
                response
            })
            .service(Once::new(inner));
        let service = self.layer.layer(inner);
        (
            service.oneshot(get(self.key.secret())).await.unwrap(),
            sender,
        )
    }

    /// The same over a socket, for a client that speaks this version.
    async fn over(&self, version: Version) -> (Response<hyper::body::Incoming>, Sender) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
        let headers = self.headers.clone();
        let inner = tower::service_fn(move |_: Request<hyper::body::Incoming>| {
            let receiver = receiver.lock().unwrap().take().expect("one request");
            let mut response = Response::new(frames(receiver));
            *response.headers_mut() = headers.clone();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let address = serve(self.layer.layer(inner)).await;
        let request = Request::get(format!("http://{address}/live"))
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {}", self.key.secret()))
            .body(Empty::<Bytes>::new())
            .unwrap();
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let response = if version == Version::HTTP_2 {
            let (mut client, connection) = conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            client.send_request(request).await.unwrap()
        } else {
            let (mut client, connection) = conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            client.send_request(request).await.unwrap()
        };
        assert_eq!(response.status(), 200);
        (response, sender)
    }
}

/// A service that is cloned, as a gate wants it, and called once.
struct Once<S>(Arc<std::sync::Mutex<S>>);

impl<S> Once<S> {
    fn new(service: S) -> Self {
        Self(Arc::new(std::sync::Mutex::new(service)))
    }
}

impl<S> Clone for Once<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: tower::Service<R>, R> tower::Service<R> for Once<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.lock().unwrap().poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.lock().unwrap().call(request)
    }
}

async fn serve<S, B>(service: S) -> SocketAddr
where
    S: tower::Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

fn data(bytes: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes.as_bytes()))
}

#[tokio::test]
async fn a_body_whose_caller_has_ended_is_broken_off_with_the_rejection() {
    let live = Live::new().await;
    let (response, sender) = live.answer().await;
    let mut body = pin!(response.into_body());
    sender.send(data("first")).unwrap();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    assert!(body.frame().now_or_never().is_none());
    assert_eq!(live.waits(), 1);
    live.revoke();
    sender.send(data("second")).unwrap();
    let cut = body.frame().await.unwrap().unwrap_err();
    let rejection: &Rejection = cut.downcast_ref().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::InvalidKey);
    assert!(
        sender.is_closed(),
        "what the handler streams from is let go of"
    );
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!(live.waits(), 0);
}

#[tokio::test]
async fn a_body_that_ends_by_itself_has_all_that_it_had_and_nobody_waits_any_more() {
    let live = Live::new().await;
    let (response, sender) = live.answer().await;
    let body = response.into_body();
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().lower(), 0);
    sender.send(data("a")).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    sender.send(Frame::trailers(trailers.clone())).unwrap();
    drop(sender);
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "a");
    assert_eq!(live.waits(), 0);
}

#[tokio::test]
async fn the_size_of_a_whole_body_is_told_and_an_empty_one_is_at_its_end() {
    let live = Live::new().await;
    for text in ["", "whole"] {
        let inner = tower::service_fn(move |_: Request<Full<Bytes>>| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                text.as_bytes(),
            ))))
        });
        let service = live.layer.layer(inner);
        let body = service.oneshot(get(live.key.secret())).await.unwrap();
        let body = body.into_body();
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        assert_eq!(body.is_end_stream(), text.is_empty());
        assert_eq!(body.collect().await.unwrap().to_bytes(), text);
    }
}

#[tokio::test]
async fn without_the_option_or_without_a_caller_a_body_goes_on() {
    let mut live = Live::new().await;
    live.layer = live.scene.layer().app("orders");
    let (response, sender) = live.answer().await;
    live.revoke();
    sender.send(data("on")).unwrap();
    drop(sender);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "on"
    );

    live.layer = live.scene.layer().end_streams().skip(|_| true);
    let (response, sender) = live.answer().await;
    sender.send(data("on")).unwrap();
    drop(sender);
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "on"
    );
    assert_eq!(live.waits(), 0);
}

#[tokio::test]
async fn a_client_of_http_1_sees_that_the_body_was_cut() {
    let live = Live::new().await;
    let (mut response, sender) = live.over(Version::HTTP_11).await;
    sender.send(data("first")).unwrap();
    let first = response.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    live.revoke();
    let cut = response.frame().await.expect("no plain end").unwrap_err();
    let eof: &std::io::Error = cut.source().unwrap().downcast_ref().unwrap();
    assert_eq!(eof.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(live.waits(), 0);
}

#[tokio::test]
async fn a_client_of_http_2_sees_that_the_stream_was_reset() {
    let live = Live::new().await;
    let (mut response, sender) = live.over(Version::HTTP_2).await;
    sender.send(data("first")).unwrap();
    let first = response.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    live.revoke();
    let cut = response.frame().await.expect("no plain end").unwrap_err();
    let reset: &h2::Error = cut.source().unwrap().downcast_ref().unwrap();
    assert!(reset.is_reset() && reset.is_remote(), "{reset:?}");
    assert_eq!(live.waits(), 0);
}

#[tokio::test]
async fn a_content_length_that_is_not_reached_is_seen_as_such() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut live = Live::new().await;
        live.headers
            .insert("content-length", HeaderValue::from_static("10"));
        let (mut response, sender) = live.over(version).await;
        sender.send(data("first")).unwrap();
        response.frame().await.unwrap().unwrap();
        live.revoke();
        assert!(response.frame().await.expect("no plain end").is_err());
    }
}

#[tokio::test]
async fn an_answer_of_grpc_ends_with_its_status() {
    let mut live = Live::new().await;
    let grpc = HeaderValue::from_static("application/grpc+proto");
    live.headers.insert("content-type", grpc);
    let (mut response, sender) = live.over(Version::HTTP_2).await;
    sender.send(data("message")).unwrap();
    response.frame().await.unwrap().unwrap();
    live.revoke();
    let last = response.frame().await.unwrap().unwrap();
    let trailers = last.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "16");
    assert!(trailers.contains_key("grpc-message"));
    assert!(response.frame().await.is_none());
}

#[tokio::test]
async fn a_gate_within_a_gate_cuts_what_the_outer_one_does_not() {
    let mut live = Live::new().await;
    let outer = live.scene.layer();
    // One state: the inner gate takes the caller of the outer one.
    let inner = outer.clone().end_streams();
    live.layer = inner.clone();
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let echo = tower::service_fn(move |_: Request<Full<Bytes>>| {
        let receiver = receiver.lock().unwrap().take().expect("one request");
        std::future::ready(Ok::<_, Infallible>(Response::new(frames(receiver))))
    });
    let service = outer.layer(inner.layer(echo));
    let response = service.oneshot(get(live.key.secret())).await.unwrap();
    let mut body = pin!(response.into_body());
    assert!(body.frame().now_or_never().is_none());
    outer.handle().revoke_secret(live.key.secret());
    assert!(body.frame().await.unwrap().is_err());
    assert!(sender.is_closed());
}
