//! Refusals of requests whose body is on its way: the client sees the answer, and no reset.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tower::ServiceBuilder;
use wacht_auth::{RequirePermissionsLayer, WachtAuthLayer};

use crate::raw::serve as serve_axum;
use crate::scene::{Scene, made_up};

/// More than sockets and HTTP/2 windows hold: who does not read it stops its sender.
const UPLOAD: usize = 7 << 20;

async fn length(body: Bytes) -> String {
    body.len().to_string()
}

async fn serve_hyper(gate: WachtAuthLayer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = ServiceBuilder::new().layer(gate.clone()).service_fn(
                async |request: Request<Incoming>| {
                    let body = request.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(Response::new(Full::from(length(body).await)))
                },
            );
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(service);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// Both servers, each behind a gate.
async fn servers(scene: &Scene) -> [(&'static str, SocketAddr); 2] {
    let app = Router::new().route("/", post(length)).layer(scene.layer());
    [
        ("axum", serve_axum(app).await),
        ("hyper", serve_hyper(scene.layer()).await),
    ]
}

/// One connection, and what is read from it.
struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn to(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The head of the next answer, in lower case, once all of the answer has come.
    async fn answer(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.0.read_u8().await.unwrap()));
        }
        let head = head.to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let (length, _) = length.split_once("\r\n").unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        head
    }

    /// Nothing more comes, and the end is no reset.
    async fn ends(&mut self) {
        assert_eq!(self.0.read(&mut [0]).await.unwrap(), 0);
    }
}

fn head(key: Option<&str>, headers: &str) -> String {
    let key = key.map_or_else(String::new, |key| {
        format!("authorization: Bearer {key}\r\n")
    });
    format!("POST / HTTP/1.1\r\nhost: localhost\r\n{key}{headers}\r\n")
}

#[tokio::test]
async fn an_upload_that_is_refused_at_once_may_be_sent_to_its_end() {
    let scene = Scene::new().await;
    let unknown = made_up(1);
    for (server, address) in servers(&scene).await {
        for key in [None, Some(unknown.as_str())] {
            for expect in ["", "expect: 100-continue\r\n"] {
                let mut connection = Connection::to(address).await;
                let length = format!("{expect}content-length: {UPLOAD}\r\n");
                connection.send(head(key, &length)).await;
                // The answer does not wait for the upload, and gives no leave to send it.
                let answer = connection.answer().await;
                assert!(answer.starts_with("http/1.1 401"), "{server}: {answer}");
                assert!(answer.contains("connection: close"), "{server}: {answer}");
                connection.send(vec![b'x'; UPLOAD]).await;
                connection.ends().await;
            }
        }
    }
}

#[tokio::test]
async fn an_upload_in_chunks_that_is_refused_at_once_may_be_sent_to_its_end() {
    let scene = Scene::new().await;
    for (server, address) in servers(&scene).await {
        let mut connection = Connection::to(address).await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        connection
            .send(head(None, "transfer-encoding: chunked\r\n"))
            .await;
        connection.send(&chunk).await;
        let answer = connection.answer().await;
        assert!(answer.starts_with("http/1.1 401"), "{server}: {answer}");
        assert!(answer.contains("connection: close"), "{server}: {answer}");
        for _ in 1..UPLOAD / 0x10000 {
            connection.send(&chunk).await;
        }
        connection.send("0\r\n\r\n").await;
        connection.ends().await;
    }
}

#[tokio::test]
async fn a_refusal_of_a_request_without_body_leaves_the_connection_to_the_next() {
    let scene = Scene::new().await;
    let key = scene.key();
    for (server, address) in servers(&scene).await {
        let mut connection = Connection::to(address).await;
        for headers in ["", "content-length: 0\r\n"] {
            connection.send(head(None, headers)).await;
            let answer = connection.answer().await;
            assert!(answer.starts_with("http/1.1 401"), "{server}: {answer}");
            assert!(!answer.contains("connection:"), "{server}: {answer}");
        }
        // Who is admitted has its body read, and the connection goes on as well.
        for _ in 0..2 {
            let three = head(Some(key.secret()), "content-length: 3\r\n");
            connection.send(three + "abc").await;
            let answer = connection.answer().await;
            assert!(answer.starts_with("http/1.1 200"), "{server}: {answer}");
            assert!(!answer.contains("connection:"), "{server}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_guard_on_a_route_lets_an_upload_end_like_the_gate() {
    let scene = Scene::new().await;
    let key = scene.key();
    let guard = RequirePermissionsLayer::new("orders:write").unwrap();
    let app = Router::new().route("/", post(length).route_layer(guard));
    let address = serve_axum(app.layer(scene.layer())).await;
    let mut connection = Connection::to(address).await;
    let length = format!("content-length: {UPLOAD}\r\n");
    connection.send(head(Some(key.secret()), &length)).await;
    let answer = connection.answer().await;
    assert!(answer.starts_with("http/1.1 403"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    connection.send(vec![b'x'; UPLOAD]).await;
    connection.ends().await;
}

#[tokio::test]
async fn over_http_2_a_refused_upload_is_read_to_its_end_and_its_stream_is_not_reset() {
    let scene = Scene::new().await;
    let unknown = made_up(1);
    for (server, address) in servers(&scene).await {
        for key in [made_up(2), unknown.clone()] {
            let client = Client::builder(TokioExecutor::new())
                .http2_only(true)
                .build_http();
            let (upload, frames) = mpsc::channel(1);
            let request = Request::post(format!("http://{address}/"))
                .header("authorization", format!("Bearer {key}"))
                .body(StreamBody::new(ReceiverStream::new(frames)))
                .unwrap();
            let answer = client.request(request).await.unwrap();
            assert_eq!(answer.status(), 401, "{server}");
            assert!(!answer.headers().contains_key("connection"), "{server}");
            answer.collect().await.unwrap();
            // A client lets go of the body of a stream that was reset.
            let frame = Bytes::from_static(&[b'x'; 0x10000]);
            for _ in 0..UPLOAD / 0x10000 {
                let frame = Ok::<_, Infallible>(Frame::data(frame.clone()));
                upload.send(frame).await.unwrap();
            }
        }
    }
}
