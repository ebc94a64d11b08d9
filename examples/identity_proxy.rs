//! What this shows: a reverse proxy that verifies keys, keeps them to itself, and tells the
//! upstream who is calling in `x-wacht-*` headers.
//!
//! ```sh
//! cargo run --example identity_proxy                  # serves, and prints curl lines to paste
//! cargo run --example identity_proxy -- --self-test   # sends such requests itself
//! ```
//!
//! The upstream may believe these headers because nobody else can write them: the gate drops every
//! inbound `x-wacht-*` header, whoever sends it, and the upstream listens where only the proxy can
//! reach it. Bodies are passed on as they come, in both directions.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::routing::{any, post};
use axum::{Json, Router};
use futures_util::stream;
use http::header::{CONNECTION, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wacht_auth::dev::DevGateway;
use wacht_auth::{Principal, WachtAuthLayer};

use self_test::SelfTest;

mod self_test;

#[derive(Clone)]
struct Upstream {
    authority: Authority,
    client: Client<HttpConnector, Body>,
}

fn proxy(gate: WachtAuthLayer, upstream: Upstream) -> Router {
    Router::new()
        .fallback(forward)
        .with_state(upstream)
        .layer(gate.strip_credential())
}

async fn forward(
    State(upstream): State<Upstream>,
    caller: Principal,
    request: Request,
) -> Result<Response<Body>, StatusCode> {
    let (mut parts, body) = request.into_parts();
    // First what is between the caller and this proxy alone, then what is ours: a caller who
    // names one of our headers in `Connection` must not have it removed further on.
    remove_hop_by_hop(&mut parts.headers);
    name_caller(&mut parts.headers, &caller);
    parts.headers.remove(HOST);
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.authority)
        .path_and_query(path.unwrap_or(PathAndQuery::from_static("/")))
        .build()
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    parts.version = Version::HTTP_11;

    let request = Request::from_parts(parts, body);
    let answer = upstream.client.request(request).await;
    let mut answer = answer.map_err(|error| {
        tracing::error!(%error, "the upstream does not answer");
        StatusCode::BAD_GATEWAY
    })?;
    remove_hop_by_hop(answer.headers_mut());
    Ok(answer.map(Body::new))
}

fn name_caller(headers: &mut HeaderMap, caller: &Principal) {
    let mut tell = |name: &'static str, id: Option<i64>| {
        if let Some(id) = id {
            headers.insert(HeaderName::from_static(name), id.into());
        }
    };
    tell("x-wacht-key-id", Some(caller.key_id()));
    tell("x-wacht-user-id", caller.owner_user_id());
    tell("x-wacht-organization-id", caller.organization_id());
    tell("x-wacht-workspace-id", caller.workspace_id());
    // As JSON: a name may hold a space or a comma, and one name must not become two.
    let permissions: Vec<_> = caller.permissions().iter().collect();
    let texts = [
        ("x-wacht-app", json!(caller.app_slug())),
        ("x-wacht-key-name", json!(caller.key_name())),
        ("x-wacht-permissions", json!(permissions)),
    ];
    for (name, text) in texts {
        if let Ok(text) = HeaderValue::try_from(text.to_string()) {
            headers.insert(HeaderName::from_static(name), text);
        }
    }
}

/// RFC 9110, section 7.6.1.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    let old = ["keep-alive", "proxy-connection"].map(HeaderName::from_static);
    for name in named.into_iter().chain(always).chain(old) {
        headers.remove(name);
    }
}

/// What stands behind the proxy. It knows nothing of keys.
fn upstream_service() -> Router {
    let whoami = |headers: HeaderMap| async move {
        let headers = headers.iter();
        let pairs = headers.map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.to_string(), Value::String(value))
        });
        Json(Value::Object(pairs.collect()))
    };
    let echo = |request: Request| async { request.into_body() };
    Router::new()
        .route("/whoami", any(whoami))
        .route("/echo", post(echo))
}

async fn serve(app: Router) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("shop").name("Jürgen").organization_id(7);
    let key = key.permissions(["orders:read", "orders:write"]).issue();
    let gate = WachtAuthLayer::new(wacht.client()).app("shop");
    let upstream = Upstream {
        authority: serve(upstream_service()).await?.to_string().parse()?,
        client: Client::builder(TokioExecutor::new()).build_http(),
    };
    let address = serve(proxy(gate, upstream)).await?;

    if !env::args().any(|argument| argument == "--self-test") {
        println!("# paste these into another terminal:\n");
        println!("KEY={}", key.secret());
        let curl = "curl -i -H \"Authorization: Bearer $KEY\"";
        println!("{curl} http://{address}/whoami");
        println!("{curl} http://{address}/whoami -H 'X-Wacht-User-Id: 1'");
        println!("{curl} http://{address}/echo --data-binary 'to be echoed'");
        std::future::pending::<()>().await;
    }

    let mut test = SelfTest::of(address);
    let stranger = Request::get("/whoami").body(String::new())?;
    let answer = test.send(stranger).await?;
    test.row("no key", 401, answer.status().as_u16());

    let request = Request::get("/whoami")
        .header("authorization", format!("Bearer {}", key.secret()))
        .header("connection", "x-wacht-key-id, x-wacht-permissions, x-mine")
        .header("x-mine", "for the proxy alone")
        .header("x-yours", "for the upstream")
        .header("x-wacht-user-id", "1")
        .header("x_wacht_workspace_id", "2")
        .header("x-wacht-permissions", "[\"admin\"]")
        .body(String::new())?;
    let answer = test.send(request).await?;
    test.row("good key", 200, answer.status().as_u16());
    let seen: Value = serde_json::from_str(answer.body())?;
    let key_id = key.key_id().to_string();
    for (header, promised) in [
        ("x-wacht-key-id", Some(&*key_id)),
        ("x-wacht-app", Some("\"shop\"")),
        ("x-wacht-key-name", Some("\"Jürgen\"")),
        ("x-wacht-organization-id", Some("7")),
        (
            "x-wacht-permissions",
            Some(r#"["orders:read","orders:write"]"#),
        ),
        ("x-wacht-user-id", None),
        ("x_wacht_workspace_id", None),
        ("authorization", None),
        ("x-mine", None),
        ("x-yours", Some("for the upstream")),
    ] {
        let got = seen.get(header).and_then(Value::as_str);
        test.row(header, promised.unwrap_or("-"), got.unwrap_or("-"));
    }
    let secret_seen = answer.body().contains(key.secret());
    test.row("the upstream has seen the key", false, secret_seen);

    // The second half is sent when the first has come back, so nobody in between waits for all.
    let (halves, to_come) = mpsc::channel::<Bytes>(1);
    let body = Body::from_stream(stream::unfold(to_come, async |mut to_come| {
        let half = to_come.recv().await?;
        Some((Ok::<_, std::io::Error>(half), to_come))
    }));
    let request = Request::post(format!("http://{address}/echo"))
        .header("authorization", format!("Bearer {}", key.secret()));
    halves.send(Bytes::from_static(b"first")).await?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut echo = client.request(request.body(body)?).await?.into_body();
    let first = echo.frame().await.ok_or("no first half")??;
    test.row("a body on its way", "first", text(&first));
    halves.send(Bytes::from_static(b"second")).await?;
    let second = echo.frame().await.ok_or("no second half")??;
    test.row("the rest of it", "second", text(&second));
    drop(halves);
    test.row("and its end", true, echo.frame().await.is_none());
    Ok(test.finish())
}

fn text(frame: &hyper::body::Frame<Bytes>) -> String {
    let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
    String::from_utf8_lossy(data).into_owned()
}
