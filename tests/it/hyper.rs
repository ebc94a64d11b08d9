//! Plain hyper servers: the layer between a connection and a function, over HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::codegen::tokio_stream;
use tower::{Service, ServiceBuilder};
use wacht_auth::dev::DevRule;
use wacht_auth::{PeerAddr, Principal, WachtAuthLayer};

use crate::scene::Scene;

/// Serves what `connection` makes for each peer, over either version of HTTP.
async fn serve<S, B>(connection: impl Fn(SocketAddr) -> S + Send + 'static) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let service = TowerToHyperService::new(connection(peer));
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// The same with the layer in front of `handler`, and the peer where the layer looks for it.
async fn serve_gated<H, F, B, E>(layer: WachtAuthLayer, handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>> + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    serve(move |peer| {
        ServiceBuilder::new()
            .map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                request
            })
            .layer(layer.clone())
            .service_fn(handler.clone())
    })
    .await
}

/// Answers with the name of the caller.
async fn whoami(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller: &Principal = request
        .extensions()
        .get()
        .expect("the gate lets nobody else");
    let name = caller.key_name().to_owned();
    Ok(Response::new(Full::from(name)))
}

const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

fn client(version: Version) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .http2_only(matches!(version, Version::Http2))
        .build_http()
}

/// One HTTP/1.1 connection, and no other in its place.
async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(address: SocketAddr, secret: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::get(format!("http://{address}/items"))
        .body(Full::default())
        .unwrap();
    if let Some(secret) = secret {
        let bearer = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
    }
    request
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.into()).unwrap()
}

#[tokio::test]
async fn a_request_holds_its_caller_and_a_stranger_gets_the_whole_refusal() {
    let scene = Scene::new().await;
    let key = scene.key();
    let address = serve_gated(scene.layer().app("orders"), whoami).await;
    for version in VERSIONS {
        let client = client(version);
        // The second request finds the answer remembered.
        for _ in 0..2 {
            let admitted = client.request(get(address, Some(key.secret()))).await;
            let admitted = admitted.unwrap();
            assert_eq!(admitted.status(), StatusCode::OK, "{version:?}");
            assert!(admitted.headers().contains_key("ratelimit"));
            assert_eq!(text(admitted).await, "ci");
        }
        let refused = client.request(get(address, None)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{version:?}");
        let headers = refused.headers().clone();
        assert_eq!(headers["www-authenticate"], r#"Bearer realm="api""#);
        assert_eq!(headers["content-type"], "application/problem+json");
        let body = text(refused).await;
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], 401);
        assert_eq!(headers["content-length"], body.len().to_string());
    }
    // Every connection has a clone of the layer, and all clones know the same keys.
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn a_refused_head_request_has_no_body_and_leaves_the_connection_usable() {
    let scene = Scene::new().await;
    let key = scene.key();
    let address = serve_gated(scene.layer(), whoami).await;
    let mut sender = connect(address).await;
    let mut head = get(address, None);
    *head.method_mut() = http::Method::HEAD;
    let refused = sender.send_request(head).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(refused).await, "");
    for (secret, status) in [(None, 401), (Some(key.secret()), 200), (None, 401)] {
        sender.ready().await.unwrap();
        let answer = sender.send_request(get(address, secret)).await.unwrap();
        assert_eq!(answer.status(), status);
        text(answer).await;
    }
}

#[tokio::test]
async fn the_body_of_a_request_that_waited_for_its_key_arrives_whole() {
    let scene = Scene::new().await;
    let address = serve_gated(scene.layer(), async |request: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    })
    .await;
    let sent: Bytes = (0..200_000_u32).map(|n| n as u8).collect();
    for version in VERSIONS {
        let (client, key) = (client(version), scene.key());
        for _ in 0..2 {
            let mut post = get(address, Some(key.secret()));
            *post.method_mut() = http::Method::POST;
            *post.body_mut() = Full::new(sent.clone());
            let answer = client.request(post).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let came = answer.collect().await.unwrap().to_bytes();
            assert!(came == sent, "{version:?}: {} bytes came", came.len());
        }
    }
}

#[tokio::test]
async fn many_streams_of_one_connection_share_one_check() {
    let scene = Scene::new().await;
    let key = scene.key();
    let address = serve_gated(scene.layer(), whoami).await;
    let client = client(Version::Http2);
    let held = scene.wacht.hold_checks();
    let mut streams = JoinSet::new();
    for _ in 0..32 {
        streams.spawn(client.request(get(address, Some(key.secret()))));
    }
    scene.wacht.journal().wait_for_checks(1).await;
    // A stranger does not queue behind those who wait.
    let stranger = client.request(get(address, None)).await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    held.release();
    while let Some(answer) = streams.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn a_limit_per_address_counts_the_inserted_peer() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app_and_ip(2, "minute", 1)]);
    let (key, other) = (scene.key(), scene.key());
    let address = serve_gated(scene.layer(), whoami).await;
    // Two connections from two ports of one address.
    for (version, secret) in [
        (Version::Http1, key.secret()),
        (Version::Http2, other.secret()),
    ] {
        let answer = client(version).request(get(address, Some(secret))).await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
    let mut third = get(address, Some(key.secret()));
    let claim = HeaderValue::from_static("203.0.113.9");
    third.headers_mut().insert("x-forwarded-for", claim);
    let refused = client(Version::Http1).request(third).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "30");
    let asked = scene.wacht.journal().checks_asked();
    assert_eq!(asked[0].client_ip.as_deref(), Some("127.0.0.1"));
}

#[tokio::test]
async fn without_a_peer_a_limit_per_address_is_an_error_and_not_a_pass() {
    let scene = Scene::new().await;
    let rule = DevRule::per_app_and_ip(2, "minute", 1).endpoints(["/items"]);
    scene.wacht.set_scheme("orders", [rule]);
    let key = scene.key();
    let layer = scene.layer();
    let address = serve(move |_| {
        ServiceBuilder::new()
            .layer(layer.clone())
            .service_fn(whoami)
    })
    .await;
    let client = client(Version::Http1);
    let refused = client.request(get(address, Some(key.secret()))).await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text(refused).await.contains("PeerAddr"));
    // A path without such a rule needs no address.
    let mut elsewhere = get(address, Some(key.secret()));
    *elsewhere.uri_mut() = format!("http://{address}/other").parse().unwrap();
    let answer = client.request(elsewhere).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Serves bodies of this kind behind the gate, and reads one and a refusal.
async fn answers_with<B>(body: fn() -> B) -> Vec<(Version, HeaderMap, String)>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let scene = Scene::new().await;
    let key = scene.key();
    let address = serve_gated(scene.layer(), move |_: Request<Incoming>| async move {
        Ok::<_, Infallible>(Response::new(body()))
    })
    .await;
    let mut answers = Vec::new();
    for version in VERSIONS {
        let client = client(version);
        let refused = client.request(get(address, None)).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert!(text(refused).await.contains("no API key"));
        let answer = client.request(get(address, Some(key.secret()))).await;
        let answer = answer.unwrap();
        let headers = answer.headers().clone();
        answers.push((version, headers, text(answer).await));
    }
    answers
}

#[tokio::test]
async fn every_body_that_hyper_serves_passes_the_gate_unchanged() {
    for (version, headers, body) in answers_with(|| Full::new(Bytes::from_static(b"full"))).await {
        assert_eq!(body, "full", "{version:?}");
        assert_eq!(headers["content-length"], "4", "{version:?}");
    }
    for (version, headers, body) in answers_with(Empty::<Bytes>::new).await {
        assert_eq!(body, "", "{version:?}");
        if let Version::Http1 = version {
            assert_eq!(headers["content-length"], "0");
        }
    }
    let boxed: fn() -> BoxBody<Bytes, Infallible> = || BoxBody::new(Full::from("boxed"));
    for (version, _, body) in answers_with(boxed).await {
        assert_eq!(body, "boxed", "{version:?}");
    }
    let unsync: fn() -> UnsyncBoxBody<Bytes, io::Error> =
        || UnsyncBoxBody::new(Full::from("unsync").map_err(io::Error::other));
    for (version, _, body) in answers_with(unsync).await {
        assert_eq!(body, "unsync", "{version:?}");
    }
    let parts = || {
        let frames = ["a", "b", "c"].map(|part| Frame::data(Bytes::from(part)));
        StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)))
    };
    for (version, headers, body) in answers_with(parts).await {
        assert_eq!(body, "abc", "{version:?}");
        assert!(!headers.contains_key("content-length"), "{version:?}");
    }
    for (version, _, body) in answers_with(|| "text".to_owned()).await {
        assert_eq!(body, "text", "{version:?}");
    }
}

#[tokio::test]
async fn trailers_of_the_inner_service_pass_the_gate() {
    let scene = Scene::new().await;
    let key = scene.key();
    let address = serve_gated(scene.layer(), async |_: Request<Incoming>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("294"));
        let frames = [
            Frame::data(Bytes::from_static(b"abc")),
            Frame::trailers(trailers),
        ];
        let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
        Ok::<_, Infallible>(Response::new(body))
    })
    .await;
    let client = client(Version::Http2);
    let answer = client.request(get(address, Some(key.secret()))).await;
    let collected = answer.unwrap().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "294");
    assert_eq!(collected.to_bytes(), "abc");
}

#[tokio::test]
async fn the_error_of_the_inner_service_reaches_the_server_as_it_was() {
    let scene = Scene::new().await;
    let key = scene.key();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ServiceBuilder::new().layer(scene.layer()).service_fn(
        async |_: Request<Incoming>| -> Result<Response<Full<Bytes>>, io::Error> {
            Err(io::Error::other("the shelf is broken"))
        },
    );
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .await
    });
    let mut sender = connect(address).await;
    let refused = sender.send_request(get(address, None)).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    text(refused).await;
    sender.ready().await.unwrap();
    let broken = sender.send_request(get(address, Some(key.secret()))).await;
    broken.unwrap_err();
    let error = server.await.unwrap().unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref());
    let source: &io::Error = source.expect("the service's own error");
    assert_eq!(source.to_string(), "the shelf is broken");
}
