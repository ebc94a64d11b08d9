//! What this shows: a small service, and how its tests use the dev gateway, a stand-in for Wacht.
//!
//! ```sh
//! WACHT_API_KEY=wk_... cargo run --example testing_your_app   # serves on port 3000
//! cargo test --example testing_your_app                       # runs its tests
//! cargo run --example testing_your_app -- --self-test         # the same, one after the other
//! ```
//!
//! The service takes the gate as an argument. In `main` it is built on the real Wacht; in a test
//! on a `DevGateway`, with a clock that the test moves. Nobody sleeps, and nothing leaves the
//! machine. Each test starts a gateway of its own, so they may run at the same time.

#[cfg(not(test))]
use std::env;
use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use wacht_auth::axum::{Permission, Permitted};
use wacht_auth::{Principal, WachtAuthLayer, WachtClient};

// --- the service: src/lib.rs ---

/// Whatever the service decides about its gate is decided in here, so that tests see it too.
fn app(gate: WachtAuthLayer) -> Router {
    let gate = gate
        .app("orders")
        .skip(|parts| parts.uri.path() == "/health");
    Router::new()
        .route("/health", get(|| async { "up" }))
        .route("/orders", get(list).post(create))
        .layer(gate)
}

async fn list(caller: Principal) -> String {
    format!("the orders of {}", caller.key_name())
}

struct WriteOrders;

impl Permission for WriteOrders {
    const REQUIREMENT: &'static str = "orders:write";
}

async fn create(caller: Permitted<WriteOrders>) -> String {
    format!("an order of {}", caller.key_name())
}

// --- the program: src/main.rs ---

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    #[cfg(not(test))]
    if env::args().any(|argument| argument == "--self-test") {
        tests::all().await;
        return Ok(());
    }
    let gate = WachtAuthLayer::new(WachtClient::from_env()?);
    gate.handle().check().await?;
    let app = app(gate).into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

// --- its tests: tests/api.rs, where each would be a `#[tokio::test]` and no more ---

#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::extract::connect_info::MockConnectInfo;
    use http::{Method, Request, Response, StatusCode};
    use tower::ServiceExt;
    use wacht_auth::dev::{DevGateway, DevKey, DevRule, ManualClock};
    use wacht_auth::models::RevokeApiKeyRequest;
    use wacht_auth::{Rejection, RejectionKind, WachtClient};

    use super::*;

    /// The service, its Wacht, and the time that both go by.
    struct Scene {
        wacht: DevGateway,
        clock: ManualClock,
        client: WachtClient,
        app: Router,
    }

    impl Scene {
        async fn new() -> Self {
            let clock = ManualClock::new();
            let wacht = DevGateway::start().await.clock(&clock);
            wacht.app("orders");
            let client = wacht.client();
            let gate = WachtAuthLayer::builder(client.clone())
                .clock(&clock)
                .build()
                .expect("nothing in it can be wrong");
            // What `into_make_service_with_connect_info` records of a real connection.
            let peer = MockConnectInfo(SocketAddr::from(([192, 0, 2, 1], 50_000)));
            Self {
                wacht,
                clock,
                client,
                app: app(gate).layer(peer),
            }
        }

        fn key(&self, permissions: &[&str]) -> DevKey {
            let permissions = permissions.iter().copied();
            let key = self.wacht.issue_key("orders").name("ci");
            key.permissions(permissions).issue()
        }

        async fn ask(&self, method: Method, path: &str, key: Option<&DevKey>) -> Response<Body> {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {}", key.secret()));
            }
            let request = request.body(Body::empty()).expect("a request");
            let answer = self.app.clone().oneshot(request).await;
            answer.expect("a router always answers")
        }

        async fn list(&self, key: &DevKey) -> StatusCode {
            let answer = self.ask(Method::GET, "/orders", Some(key)).await;
            answer.status()
        }
    }

    #[cfg_attr(test, tokio::test)]
    async fn a_good_key_is_served_and_asked_about_once() {
        let scene = Scene::new().await;
        let key = scene.key(&[]);
        for _ in 0..5 {
            assert_eq!(scene.list(&key).await, StatusCode::OK);
        }
        assert_eq!(scene.wacht.journal().checks(), 1);
    }

    #[cfg_attr(test, tokio::test)]
    async fn strangers_see_the_health_check_alone() {
        let scene = Scene::new().await;
        let health = scene.ask(Method::GET, "/health", None).await;
        assert_eq!(health.status(), StatusCode::OK);
        let orders = scene.ask(Method::GET, "/orders", None).await;
        assert_eq!(orders.status(), StatusCode::UNAUTHORIZED);
        let elsewhere = scene.wacht.issue_key("billing").issue();
        assert_eq!(scene.list(&elsewhere).await, StatusCode::UNAUTHORIZED);
    }

    #[cfg_attr(test, tokio::test)]
    async fn only_writers_create_orders() {
        let scene = Scene::new().await;
        let (reader, writer) = (scene.key(&["orders:read"]), scene.key(&["orders:write"]));
        let refused = scene.ask(Method::POST, "/orders", Some(&reader)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        // Every refusal says why in its extensions: no need to parse a body.
        let why = refused.extensions().get().map(Rejection::kind);
        assert_eq!(why, Some(RejectionKind::PermissionDenied));
        let created = scene.ask(Method::POST, "/orders", Some(&writer)).await;
        assert_eq!(created.status(), StatusCode::OK);
    }

    #[cfg_attr(test, tokio::test)]
    async fn a_key_revoked_elsewhere_is_refused_when_its_yes_is_too_old() {
        let scene = Scene::new().await;
        let key = scene.key(&[]);
        assert_eq!(scene.list(&key).await, StatusCode::OK);
        scene.wacht.revoke(key.key_id());
        assert_eq!(scene.list(&key).await, StatusCode::OK, "from memory");
        scene.clock.advance(Duration::from_secs(61));
        assert_eq!(scene.list(&key).await, StatusCode::UNAUTHORIZED);
    }

    #[cfg_attr(test, tokio::test)]
    async fn a_key_revoked_by_this_service_is_refused_at_once() {
        let scene = Scene::new().await;
        let key = scene.key(&[]);
        assert_eq!(scene.list(&key).await, StatusCode::OK);
        let keys = scene.client.api_keys();
        let why = RevokeApiKeyRequest::default();
        let revoked = keys
            .revoke_api_key("orders", key.key_id(), why)
            .send()
            .await;
        revoked.expect("a key can be revoked");
        assert_eq!(scene.list(&key).await, StatusCode::UNAUTHORIZED);
    }

    #[cfg_attr(test, tokio::test)]
    async fn a_caller_over_the_limit_is_told_when_to_come_back() {
        let scene = Scene::new().await;
        let rule = DevRule::per_key(2, "minute", 1);
        scene.wacht.set_scheme("orders", [rule]);
        let key = scene.key(&[]);
        assert_eq!(scene.list(&key).await, StatusCode::OK);
        assert_eq!(scene.list(&key).await, StatusCode::OK);
        let refused = scene.ask(Method::GET, "/orders", Some(&key)).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "30");
        scene.clock.advance(Duration::from_secs(30));
        assert_eq!(scene.list(&key).await, StatusCode::OK);
    }

    #[cfg_attr(test, tokio::test)]
    async fn an_outage_is_felt_by_new_keys_alone() {
        let scene = Scene::new().await;
        let (known, new) = (scene.key(&[]), scene.key(&[]));
        assert_eq!(scene.list(&known).await, StatusCode::OK);
        scene.wacht.refuse_connections(true);
        scene.clock.advance(Duration::from_secs(120));
        assert_eq!(scene.list(&known).await, StatusCode::OK);
        assert_eq!(scene.list(&new).await, StatusCode::SERVICE_UNAVAILABLE);

        scene.wacht.refuse_connections(false);
        scene.clock.advance(Duration::from_secs(30));
        assert_eq!(scene.list(&new).await, StatusCode::OK);
    }

    /// For the self-test. `cargo test` finds them by itself.
    #[cfg(not(test))]
    pub(super) async fn all() {
        a_good_key_is_served_and_asked_about_once().await;
        strangers_see_the_health_check_alone().await;
        only_writers_create_orders().await;
        a_key_revoked_elsewhere_is_refused_when_its_yes_is_too_old().await;
        a_key_revoked_by_this_service_is_refused_at_once().await;
        a_caller_over_the_limit_is_told_when_to_come_back().await;
        an_outage_is_felt_by_new_keys_alone().await;
        println!("all seven pass");
    }
}
