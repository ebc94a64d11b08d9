//! What a page in a browser sends, as bytes: recorded from Chromium 156, with another key. `.ci/clients`
//! runs it and other clients.

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::get;
use tower_http::cors::CorsLayer;
use wacht_auth::dev::DevRule;
use wacht_auth::{CredentialSource, Principal};

use crate::raw::{RawAnswer, send, serve};
use crate::scene::{Scene, made_up};

const SITE: &str = "http://127.0.0.1:4800";

/// An API for pages of [`SITE`], which admits each key twice an hour.
async fn api(scene: &Scene) -> std::net::SocketAddr {
    let rule = DevRule::per_key(2, "hour", 1).endpoints(["/orders"]);
    scene.wacht.set_scheme("orders", [rule]);
    let gate = scene.layer().credentials([
        CredentialSource::bearer(),
        CredentialSource::query("key").unwrap(),
        CredentialSource::websocket_protocol("key.").unwrap(),
    ]);
    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(SITE))
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("ratelimit")]);
    let name = async |caller: Principal| caller.key_name().to_owned();
    let socket = async |upgrade: WebSocketUpgrade| -> Response {
        upgrade.protocols(["orders.v1"]).on_upgrade(async |_| {})
    };
    let app = Router::new()
        .route("/orders", get(name))
        .route("/events", get(async |uri: Uri| uri.to_string()))
        .route("/socket", get(socket))
        .layer(gate)
        .layer(cors);
    serve(app).await
}

/// What Chromium adds to all that a script of the page asks for.
fn of_page<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let always = [
        r#"sec-ch-ua-platform: "Linux""#,
        "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36",
        r#"sec-ch-ua: "Not:A-Brand";v="8", "Chromium";v="156""#,
        "sec-ch-ua-mobile: ?0",
        "origin: http://127.0.0.1:4800",
        "sec-fetch-site: same-site",
        "sec-fetch-mode: cors",
        "sec-fetch-dest: empty",
        "referer: http://127.0.0.1:4800/",
        "accept-encoding: gzip, deflate, br, zstd",
        "accept-language: en-US,en;q=0.9",
    ];
    [&always, more].concat()
}

#[track_caller]
fn assert_readable(answer: &RawAnswer) {
    assert_eq!(answer.header("access-control-allow-origin"), SITE);
    let exposed = answer.header("access-control-expose-headers");
    assert_eq!(exposed, "retry-after,ratelimit", "{answer:?}");
}

#[tokio::test]
async fn fetch_of_a_page_passes_its_preflight_and_may_read_every_refusal() {
    let scene = Scene::new().await;
    let (key, unknown) = (scene.key(), made_up(1));
    let address = api(&scene).await;
    let preflight = of_page(&[
        "accept: */*",
        "access-control-request-method: GET",
        "access-control-request-headers: authorization",
    ]);
    let preflight = send(address, "OPTIONS /orders HTTP/1.1", &preflight).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), SITE);
    let allowed = preflight.header("access-control-allow-headers");
    assert!(allowed.contains("authorization"), "{allowed}");

    for (secret, status) in [
        (unknown.as_str(), 401),
        (key.secret(), 200),
        (key.secret(), 200),
        (key.secret(), 429),
    ] {
        let bearer = format!("authorization: Bearer {secret}");
        let answer = send(
            address,
            "GET /orders HTTP/1.1",
            &of_page(&["accept: */*", &bearer]),
        )
        .await;
        assert_eq!(answer.status, status);
        assert_readable(&answer);
        let limited = status == 429;
        assert_eq!(!answer.header("retry-after").is_empty(), limited);
        assert_eq!(answer.header("ratelimit").is_empty(), status == 401);
    }
}

#[tokio::test]
async fn event_source_of_a_page_has_its_key_in_the_query() {
    let scene = Scene::new().await;
    let (key, unknown) = (scene.key(), made_up(1));
    let address = api(&scene).await;
    let headers = of_page(&[
        "accept: text/event-stream",
        "pragma: no-cache",
        "cache-control: no-cache",
    ]);
    for (secret, status) in [(key.secret(), 200), (unknown.as_str(), 401)] {
        let line = format!("GET /events?key={secret} HTTP/1.1");
        let answer = send(address, &line, &headers).await;
        assert_eq!(answer.status, status);
        assert_readable(&answer);
        assert!(!answer.body.contains(secret), "{}", answer.body);
    }
}

#[tokio::test]
async fn websocket_of_a_page_has_its_key_among_the_protocols() {
    let scene = Scene::new().await;
    let (key, unknown) = (scene.key(), made_up(1));
    let address = api(&scene).await;
    for (secret, connection, status, selected) in [
        (key.secret(), "Upgrade", 101, "orders.v1"),
        // With an end, as what is refused is no upgrade and would stay open.
        (unknown.as_str(), "Upgrade, close", 401, ""),
    ] {
        let connection = format!("connection: {connection}");
        let offered = format!("sec-websocket-protocol: orders.v1, key.{secret}");
        let headers = [
            &connection,
            "pragma: no-cache",
            "cache-control: no-cache",
            "upgrade: websocket",
            "origin: http://127.0.0.1:4800",
            "sec-websocket-version: 13",
            "accept-encoding: gzip, deflate, br, zstd",
            "accept-language: en-US,en;q=0.9",
            "sec-websocket-key: 0yxDRYK/CfoLsN+ooQ8rNw==",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
            &offered,
        ];
        let answer = send(address, "GET /socket HTTP/1.1", &headers).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("sec-websocket-protocol"), selected);
    }
}
