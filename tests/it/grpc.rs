//! Real tonic clients and servers: what a gRPC caller is told, as codes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tonic::codegen::tokio_stream;
use tonic::codegen::{BoxStream, tokio_stream::StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;
use wacht_auth::dev::{DevRule, Fault, On};
use wacht_auth::{
    AuthContext, ClientIp, CredentialSource, Principal, RejectionKind, RequirePermissionsLayer,
    Requirement, WachtAuthLayer, WachtClient,
};

use crate::scene::Scene;

#[path = "../../examples/tonic_server/orders.rs"]
mod orders;

use orders::{CANCEL, Orders, OrdersClient, OrdersServer, Text};

/// Answers with its caller's name, and counts how often it was reached.
#[derive(Clone, Default)]
struct Shop {
    reached: Arc<AtomicUsize>,
}

impl Shop {
    fn caller(&self, request: &Request<String>) -> Result<String, Status> {
        self.reached.fetch_add(1, Ordering::SeqCst);
        let caller = request.extensions().get::<Principal>();
        let caller = caller.ok_or_else(|| Status::unknown("nobody called"))?;
        Ok(caller.key_name().to_owned())
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

impl Orders for Shop {
    async fn list(&self, request: Request<String>) -> Result<Response<String>, Status> {
        self.caller(&request).map(Response::new)
    }

    /// What may be cancelled, the message decides: it names the permission.
    async fn cancel(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let name = self.caller(&request)?;
        let caller = request.extensions().get::<Principal>();
        if let (Some(caller), false) = (caller, request.get_ref().is_empty()) {
            let requirement = Requirement::try_from(request.get_ref().as_str());
            caller.require(requirement.expect("the tests name permissions"))?;
        }
        Ok(Response::new(name))
    }

    async fn watch(&self, request: Request<String>) -> Result<Response<BoxStream<String>>, Status> {
        let name = self.caller(&request)?;
        let news = (1..=3).map(move |n| Ok(format!("{name} {n}")));
        Ok(Response::new(Box::pin(tokio_stream::iter(news))))
    }
}

async fn listen() -> (TcpIncoming, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (TcpIncoming::from(listener), endpoint)
}

/// A tonic server with the one gated service, and a channel to it.
async fn serve(layer: WachtAuthLayer, shop: &Shop) -> Channel {
    let (incoming, endpoint) = listen().await;
    let gated = layer.layer(OrdersServer::new(shop.clone()));
    let server = Server::builder().add_service(gated);
    tokio::spawn(server.serve_with_incoming(incoming));
    endpoint.connect().await.unwrap()
}

async fn orders_behind(layer: WachtAuthLayer) -> OrdersClient {
    OrdersClient::new(serve(layer, &Shop::default()).await)
}

fn anonymous() -> Request<String> {
    Request::new(String::new())
}

fn bearing(secret: &str) -> Request<String> {
    with_metadata(&[("authorization", &format!("Bearer {secret}"))])
}

fn with_metadata(metadata: &[(&'static str, &str)]) -> Request<String> {
    let mut request = anonymous();
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn unknown_key() -> String {
    format!("sk_{}", "a".repeat(43))
}

/// The whole of what a caller is told, next to the kind's own row.
#[track_caller]
fn assert_refused(status: &Status, kind: RejectionKind, retry_after: Option<&str>) {
    assert_eq!(
        status.code(),
        Code::from(i32::from(kind.grpc_code())),
        "{status:?}"
    );
    let wait = status.metadata().get("retry-after");
    assert_eq!(
        wait.map(|value| value.to_str().unwrap()),
        retry_after,
        "{status:?}"
    );
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    let pushback = pushback.map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    let in_seconds = pushback.map(|milliseconds| milliseconds.div_ceil(1000).to_string());
    assert_eq!(in_seconds.as_deref(), retry_after, "{status:?}");
    assert!(!status.message().is_empty(), "{status:?}");
}

#[tokio::test]
async fn a_good_key_is_answered_and_the_method_sees_its_caller() {
    let scene = Scene::new().await;
    let key = scene.key();
    let mut orders = orders_behind(scene.layer().app("orders")).await;

    // The first call waits for the gateway, the second does not.
    for _ in 0..2 {
        let answer = orders.list(bearing(key.secret())).await.unwrap();
        assert_eq!(answer.get_ref(), "ci");
    }
    let stream = orders.watch(bearing(key.secret())).await.unwrap();
    let news: Vec<_> = stream.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(news, ["ci 1", "ci 2", "ci 3"]);
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn bad_credentials_are_unauthenticated_and_reach_no_method() {
    let scene = Scene::new().await;
    let key = scene.key();
    let shop = Shop::default();
    let mut orders = OrdersClient::new(serve(scene.layer(), &shop).await);

    let bearer = format!("Bearer {}", key.secret());
    let twice = [("authorization", &*bearer), ("authorization", &*bearer)];
    let cases = [
        (RejectionKind::MissingCredential, anonymous()),
        (RejectionKind::MalformedCredential, with_metadata(&twice)),
        (RejectionKind::InvalidKey, bearing("short")),
        (RejectionKind::InvalidKey, bearing(&unknown_key())),
    ];
    let mut messages = Vec::new();
    for (kind, request) in cases {
        let copy = Request::from_parts(
            request.metadata().clone(),
            http::Extensions::new(),
            String::new(),
        );
        let unary = orders.list(request).await.unwrap_err();
        assert_refused(&unary, kind, None);
        assert_eq!(unary.code(), Code::Unauthenticated);
        // The refusal is the answer to the call itself, not an item of its stream.
        let streaming = orders.watch(copy).await.unwrap_err();
        assert_refused(&streaming, kind, None);
        assert_eq!(unary.message(), streaming.message());
        messages.push(unary.message().to_owned());
    }
    assert_eq!(messages[2], messages[3], "one text for every invalid key");
    messages.dedup();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(shop.reached(), 0);
}

#[tokio::test]
async fn a_caller_who_never_ends_its_requests_is_refused_at_once() {
    let scene = Scene::new().await;
    let shop = Shop::default();
    let mut grpc = tonic::client::Grpc::new(serve(scene.layer(), &shop).await);
    for secret in [None, Some(unknown_key())] {
        let mut request = Request::new(tokio_stream::pending::<String>());
        if let Some(secret) = secret {
            let bearer = format!("Bearer {secret}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/shop.v1.Orders/Converse");
        let answer: Result<Response<Streaming<String>>, _> =
            grpc.streaming(request, path, Text).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_told_only_to_known_callers() {
    let scene = Scene::new().await;
    let key = scene.key();
    let mut grpc = tonic::client::Grpc::new(serve(scene.layer(), &Shop::default()).await);
    for (request, code) in [
        (anonymous(), Code::Unauthenticated),
        (bearing(key.secret()), Code::Unimplemented),
    ] {
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/shop.v1.Orders/Nothing");
        let answer: Result<Response<String>, _> = grpc.unary(request, path, Text).await;
        assert_eq!(answer.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_requirement_per_method_is_permission_denied_and_costs_nothing() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
    let reader = scene
        .wacht
        .issue_key("orders")
        .permissions(["orders:read"])
        .issue();
    let write = Arc::new(Requirement::try_from("orders:write").unwrap());
    let layer = scene
        .layer()
        .require_with(move |parts| (parts.uri.path() == CANCEL).then(|| Arc::clone(&write)));
    let mut orders = orders_behind(layer).await;
    for _ in 0..3 {
        let refused = orders.cancel(bearing(reader.secret())).await.unwrap_err();
        assert_refused(&refused, RejectionKind::PermissionDenied, None);
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    // The one request that the limit allows is still there.
    orders.list(bearing(reader.secret())).await.unwrap();
}

#[tokio::test]
async fn a_requirement_of_the_whole_layer_is_permission_denied_for_streams_too() {
    let scene = Scene::new().await;
    let key = scene.key();
    let mut orders = orders_behind(scene.layer().require("orders:read").unwrap()).await;
    let unary = orders.list(bearing(key.secret())).await.unwrap_err();
    assert_eq!(unary.code(), Code::PermissionDenied);
    let streaming = orders.watch(bearing(key.secret())).await.unwrap_err();
    assert_eq!(streaming.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_method_refuses_with_the_rejection_of_its_caller() {
    let scene = Scene::new().await;
    let reader = scene
        .wacht
        .issue_key("orders")
        .permissions(["orders:read"])
        .issue();
    let mut orders = orders_behind(scene.layer()).await;
    for (permission, code) in [
        ("orders:read", Code::Ok),
        ("orders:write", Code::PermissionDenied),
    ] {
        let mut request = bearing(reader.secret());
        *request.get_mut() = permission.to_owned();
        let answer = orders.cancel(request).await;
        assert_eq!(answer.map_or_else(|s| s.code(), |_| Code::Ok), code);
    }
}

#[tokio::test]
async fn a_limit_per_key_is_resource_exhausted_and_says_when_it_ends() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(3, "minute", 1)]);
    let (key, other) = (scene.key(), scene.key());
    let mut orders = orders_behind(scene.layer()).await;
    for _ in 0..2 {
        orders.list(bearing(key.secret())).await.unwrap();
    }
    orders.watch(bearing(key.secret())).await.unwrap();
    let unary = orders.list(bearing(key.secret())).await.unwrap_err();
    assert_refused(&unary, RejectionKind::RateLimited, Some("20"));
    assert_eq!(unary.code(), Code::ResourceExhausted);
    let streaming = orders.watch(bearing(key.secret())).await.unwrap_err();
    assert_refused(&streaming, RejectionKind::RateLimited, Some("20"));

    orders.list(bearing(other.secret())).await.unwrap();
    scene.clock.advance(Duration::from_secs(20));
    orders.list(bearing(key.secret())).await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_down_is_unavailable_and_says_when_to_come_back() {
    let scene = Scene::new().await;
    let (known, new) = (scene.key(), scene.key());
    let mut orders = orders_behind(scene.layer()).await;
    orders.list(bearing(known.secret())).await.unwrap();
    scene.wacht.refuse_connections(true);

    for refused in [
        orders.list(bearing(new.secret())).await.unwrap_err(),
        orders.watch(bearing(new.secret())).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::Unavailable);
        // A broken connection to the server itself would be the same code, but from tonic.
        assert_eq!(
            refused.message(),
            "API keys cannot be verified at the moment: try again later."
        );
        let wait = refused.metadata().get("retry-after").unwrap();
        assert!(wait.to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    orders.list(bearing(known.secret())).await.unwrap();
}

#[tokio::test]
async fn a_client_that_cannot_be_used_is_internal_and_does_not_say_why() {
    let mut orders = orders_behind(WachtAuthLayer::new(WachtClient::new("a\nb"))).await;
    for refused in [
        orders.list(bearing(&unknown_key())).await.unwrap_err(),
        orders.watch(anonymous()).await.unwrap_err(),
    ] {
        assert_refused(&refused, RejectionKind::Misconfigured, None);
        assert_eq!(refused.code(), Code::Internal);
        assert_eq!(
            refused.message(),
            "This service is not set up to verify API keys."
        );
    }
}

#[tokio::test]
async fn one_service_is_gated_and_health_stays_open() {
    let scene = Scene::new().await;
    let key = scene.key();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("shop.v1.Orders", ServingStatus::Serving)
        .await;
    let (incoming, endpoint) = listen().await;
    let gated = scene.layer().layer(OrdersServer::new(Shop::default()));
    let server = Server::builder().add_service(health).add_service(gated);
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = endpoint.connect().await.unwrap();

    let question = || HealthCheckRequest {
        service: "shop.v1.Orders".to_owned(),
    };
    let mut health = HealthClient::new(channel.clone());
    health.check(question()).await.unwrap();
    let mut watching = health.watch(question()).await.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();

    let mut orders = OrdersClient::new(channel);
    let refused = orders.list(anonymous()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    orders.list(bearing(key.secret())).await.unwrap();
}

#[tokio::test]
async fn a_layer_on_the_server_gates_every_service() {
    let scene = Scene::new().await;
    let key = scene.key();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let (incoming, endpoint) = listen().await;
    let server = Server::builder()
        .layer(scene.layer())
        .add_service(health)
        .add_service(OrdersServer::new(Shop::default()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let channel = endpoint.connect().await.unwrap();

    let mut health = HealthClient::new(channel.clone());
    let question = HealthCheckRequest::default();
    let refused = health.check(question.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = health.watch(question.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut question = Request::new(question);
    *question.metadata_mut() = bearing(key.secret()).metadata().clone();
    health.check(question).await.unwrap();

    let mut orders = OrdersClient::new(channel);
    let refused = orders.list(anonymous()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    orders.list(bearing(key.secret())).await.unwrap();
}

#[tokio::test]
async fn a_guarded_service_within_a_gated_server_keeps_its_name() {
    let scene = Scene::new().await;
    let reader = scene
        .wacht
        .issue_key("orders")
        .permissions(["orders:read"])
        .issue();
    let nobody = scene.key();
    let guard = RequirePermissionsLayer::new("orders:read").unwrap();
    let (incoming, endpoint) = listen().await;
    let server = Server::builder()
        .layer(scene.layer().optional())
        .add_service(guard.layer(OrdersServer::new(Shop::default())));
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut orders = OrdersClient::new(endpoint.connect().await.unwrap());

    orders.list(bearing(reader.secret())).await.unwrap();
    let refused = orders.list(bearing(nobody.secret())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = orders.list(anonymous()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_guard_without_a_gate_is_internal() {
    let guard = RequirePermissionsLayer::new("orders:read").unwrap();
    let (incoming, endpoint) = listen().await;
    let guarded = guard.layer(OrdersServer::new(Shop::default()));
    let server = Server::builder().add_service(guarded);
    tokio::spawn(server.serve_with_incoming(incoming));
    let mut orders = OrdersClient::new(endpoint.connect().await.unwrap());
    let refused = orders.list(bearing(&unknown_key())).await.unwrap_err();
    assert_refused(&refused, RejectionKind::Misconfigured, None);
}

#[tokio::test]
async fn the_key_may_come_in_metadata_of_another_name() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene
        .layer()
        .credentials(CredentialSource::header("x-api-key").unwrap());
    let mut orders = orders_behind(layer).await;
    orders
        .list(with_metadata(&[("x-api-key", key.secret())]))
        .await
        .unwrap();
    let refused = orders.list(bearing(key.secret())).await.unwrap_err();
    assert_refused(&refused, RejectionKind::MissingCredential, None);
}

#[tokio::test]
async fn a_limit_per_address_counts_the_peer_that_tonic_recorded() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app_and_ip(2, "minute", 1)]);
    let (key, other) = (scene.key(), scene.key());
    let mut orders = orders_behind(scene.layer()).await;
    orders.list(bearing(key.secret())).await.unwrap();
    orders.list(bearing(other.secret())).await.unwrap();
    // What the caller claims changes nothing: nobody is trusted.
    let bearer = format!("Bearer {}", key.secret());
    let refused = orders
        .list(with_metadata(&[
            ("authorization", &bearer),
            ("x-forwarded-for", "203.0.113.9"),
        ]))
        .await
        .unwrap_err();
    assert_refused(&refused, RejectionKind::RateLimited, Some("30"));
    let asked = scene.wacht.journal().checks_asked();
    let addresses: Vec<_> = asked
        .iter()
        .map(|check| check.client_ip.as_deref())
        .collect();
    assert_eq!(addresses, [Some("127.0.0.1"), Some("127.0.0.1")]);
}

#[tokio::test]
async fn a_limit_per_address_looks_through_a_trusted_proxy() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_app_and_ip(1, "minute", 1)]);
    let key = scene.key();
    let proxies = ClientIp::trusted_proxies(["127.0.0.0/8"]).unwrap();
    let mut orders = orders_behind(scene.builder().client_ip(proxies).build().unwrap()).await;
    let bearer = format!("Bearer {}", key.secret());
    let from = |address| with_metadata(&[("authorization", &bearer), ("x-forwarded-for", address)]);
    orders.list(from("203.0.113.9")).await.unwrap();
    orders.list(from("203.0.113.10")).await.unwrap();
    let refused = orders.list(from("203.0.113.9")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_rejection_becomes_a_status_with_its_code_and_its_wait() {
    let scene = Scene::new().await;
    scene
        .wacht
        .set_scheme("orders", [DevRule::per_key(1, "minute", 1)]);
    let key = scene.key();
    let handle = scene.layer().handle();
    let context = AuthContext::new("/jobs");
    handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    let limited = handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap_err();
    let message = limited.message().to_owned();
    let status = Status::from(limited);
    assert_refused(&status, RejectionKind::RateLimited, Some("60"));
    assert_eq!(status.message(), message);

    let invalid = handle.authenticate_key("short", &context).await;
    let status = Status::from(invalid.unwrap_err());
    assert_refused(&status, RejectionKind::InvalidKey, None);

    scene.wacht.fault(On::Checks, Fault::Status(503));
    let unavailable = handle
        .authenticate_key(scene.key().secret(), &context)
        .await;
    let status = Status::from(unavailable.unwrap_err());
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.metadata().contains_key("retry-after"));
}

/// What goes over the wire for `POST /shop.v1.Orders/List` without a key, as HTTP.
async fn raw_answer(content_type: &str) -> http::Response<hyper::body::Incoming> {
    let scene = Scene::new().await;
    let (incoming, endpoint) = listen().await;
    let gated = scene.layer().layer(OrdersServer::new(Shop::default()));
    let server = Server::builder().add_service(gated);
    tokio::spawn(server.serve_with_incoming(incoming));
    let uri = endpoint.uri().clone();
    let stream = TcpStream::connect(uri.authority().unwrap().as_str())
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("{uri}shop.v1.Orders/List"))
        .header("content-type", content_type)
        .body(Empty::<Bytes>::new())
        .unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_refusal_is_trailers_only_on_the_wire() {
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "Application/GRPC",
        "application/grpc;charset=utf-8",
    ] {
        let answer = raw_answer(content_type).await;
        assert_eq!(answer.status(), 200, "{content_type}");
        assert_eq!(answer.headers()["grpc-status"], "16", "{content_type}");
        assert_eq!(
            answer.headers()["grpc-message"],
            "This request carries no API key: send it as `Authorization: Bearer <key>`."
        );
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert!(!answer.headers().contains_key("www-authenticate"));
        // The headers carried the end of the stream: nothing follows them.
        assert!(answer.body().is_end_stream(), "{content_type}");
    }
}

#[tokio::test]
async fn grpc_web_and_lookalikes_get_the_http_answer() {
    for content_type in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text+proto",
        "application/grpcish",
        "application/json",
    ] {
        let answer = raw_answer(content_type).await;
        assert_eq!(answer.status(), 401, "{content_type}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(
            answer.headers()["www-authenticate"],
            r#"Bearer realm="api""#
        );
        assert!(!answer.headers().contains_key("grpc-status"));
        assert!(!answer.collect().await.unwrap().to_bytes().is_empty());
    }
}
