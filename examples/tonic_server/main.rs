//! What this shows: one tonic service behind the gate, health and reflection left open, and what a
//! tonic client sees of it, in single answers and in streams.
//!
//! ```text
//! # serves, and prints how to call it
//! cargo run --example tonic_server --features tonic
//! # calls itself, and fails if anything is off
//! cargo run --example tonic_server --features tonic -- --self-test
//! ```
//!
//! `gate.layer(service)` keeps the name of the service, so it goes into `add_service` like any
//! other. To gate every service of a server there is `Server::builder().layer(gate)`. Wacht itself
//! is a `DevGateway` in this process: nothing leaves the machine.

use std::error::Error;
use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::Layer;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{Principal, Requirement, WachtAuthLayer};

mod orders;

use orders::{CANCEL, Orders, OrdersClient, OrdersServer};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

struct Shop;

impl Orders for Shop {
    async fn list(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(format!(
            "the orders of {}",
            caller.key_name()
        )))
    }

    async fn cancel(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(format!("cancelled by {}", caller.key_name())))
    }

    async fn watch(&self, request: Request<String>) -> Result<Response<BoxStream<String>>, Status> {
        let name = caller(&request)?.key_name();
        let news = ["packed", "sent"].map(|news| Ok(format!("{news}, {name}")));
        Ok(Response::new(Box::pin(tokio_stream::iter(news))))
    }
}

/// tonic hands on the extensions in which the gate has left the caller.
fn caller(request: &Request<String>) -> Result<&Principal, Status> {
    let caller = request.extensions().get();
    caller.ok_or_else(|| Status::internal("this service stands behind no gate"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let wacht = DevGateway::start().await;
    wacht.set_scheme("shop", [DevRule::per_key(3, "hour", 1)]);
    let reader = wacht.issue_key("shop").name("reader").issue();
    let writer = wacht.issue_key("shop").name("writer");
    let writer = writer.permissions(["orders:write"]).issue();

    let write = Arc::new(Requirement::try_from("orders:write")?);
    let gate = WachtAuthLayer::new(wacht.client())
        .app("shop")
        .require_with(move |parts| (parts.uri.path() == CANCEL).then(|| Arc::clone(&write)));

    let (_reporter, health) = tonic_health::server::health_reporter();
    // `Orders` has no descriptor, as it is not made from a `.proto` file. Yours goes in here too.
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let server = Server::builder()
        .add_service(health)
        .add_service(reflection)
        .add_service(gate.layer(OrdersServer::new(Shop)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = server.serve_with_incoming(TcpIncoming::from(listener));

    let (reader, writer) = (reader.secret(), writer.secret());
    if std::env::args().any(|argument| argument == "--self-test") {
        tokio::spawn(serving);
        return self_test(url, reader, writer).await;
    }
    let call = format!(
        r"printf '\0\0\0\0\0' | curl -si --output - --http2-prior-knowledge --data-binary @- -H 'content-type: application/grpc' {url}/shop.v1.Orders"
    );
    println!("The status is in `grpc-status`. Five zero bytes are an empty message.\n");
    println!("16  {call}/List\n");
    println!(" 0  {call}/List -H 'authorization: Bearer {reader}'\n");
    println!(" 7  {call}/Cancel -H 'authorization: Bearer {reader}'\n");
    println!(" 0  {call}/Cancel -H 'authorization: Bearer {writer}'\n");
    println!(" 8  the fourth call within the hour that one key is admitted with");
    serving.await?;
    Ok(())
}

fn request(key: Option<&str>) -> Result<Request<String>> {
    let mut request = Request::new(String::new());
    if let Some(key) = key {
        let bearer = format!("Bearer {key}").parse()?;
        request.metadata_mut().insert("authorization", bearer);
    }
    Ok(request)
}

async fn self_test(url: String, reader: &str, writer: &str) -> Result<()> {
    let channel = Endpoint::from_shared(url)?.connect().await?;
    let mut health = HealthClient::new(channel.clone());
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut orders = OrdersClient::new(channel);
    let unknown = "sk_test_0000000000000000000000000000000000000000000";

    let mut broken = 0;
    let mut promise = |promised: Code, case: &str, answer: Result<String, Status>| {
        let (got, text) = match answer {
            Ok(text) => (Code::Ok, text),
            Err(status) => {
                let wait = status.metadata().get("retry-after");
                let wait = wait.map(|wait| format!(" (retry-after: {wait:?})"));
                (
                    status.code(),
                    status.message().to_owned() + &wait.unwrap_or_default(),
                )
            }
        };
        println!("{:8}  {:3}  {case}: {text}", promised as i32, got as i32);
        broken += usize::from(got != promised);
    };

    println!("promised  got  case");
    let healthy = health.check(HealthCheckRequest::default()).await;
    let healthy = healthy.map(|_| "open to all".to_owned());
    promise(Code::Ok, "health, no key", healthy);
    let question = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let asked = tokio_stream::once(question);
    let answers = reflection.server_reflection_info(asked).await?;
    let services = answers.into_inner().next().await.map(|answer| {
        Ok(match answer?.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                let names = list.service.into_iter().map(|service| service.name);
                names.collect::<Vec<_>>().join(", ")
            }
            _ => return Err(Status::internal("no list of services")),
        })
    });
    let services = services.ok_or("no answer about services")?;
    promise(Code::Ok, "reflection, no key", services);
    for (code, case, key) in [
        (Code::Unauthenticated, "List, no key", None),
        (Code::Unauthenticated, "List, unknown key", Some(unknown)),
        (Code::Ok, "List, good key", Some(reader)),
    ] {
        let answer = orders.list(request(key)?).await;
        promise(code, case, answer.map(Response::into_inner));
    }
    let refused = orders.watch(request(None)?).await;
    let refused = refused.map(|_| "a stream".to_owned());
    promise(Code::Unauthenticated, "Watch, no key", refused);
    let stream = orders.watch(request(Some(reader))?).await?.into_inner();
    let news: Result<Vec<_>, _> = stream.collect().await;
    let news = news.map(|news| news.join("; "));
    promise(Code::Ok, "Watch, good key, to the end", news);
    for (code, case, key) in [
        (Code::PermissionDenied, "Cancel, may not write", reader),
        (Code::Ok, "Cancel, may write", writer),
    ] {
        let answer = orders.cancel(request(Some(key))?).await;
        promise(code, case, answer.map(Response::into_inner));
    }
    for (code, case) in [
        (Code::Ok, "List, the third call"),
        (Code::ResourceExhausted, "List, one too many"),
    ] {
        let answer = orders.list(request(Some(reader))?).await;
        promise(code, case, answer.map(Response::into_inner));
    }
    match broken {
        0 => Ok(()),
        _ => Err(format!("{broken} of these are not as promised").into()),
    }
}
