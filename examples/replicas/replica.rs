//! The service: what runs in each of the four processes, and how the first process starts one.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::Stdio;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;
use wacht_auth::{Algorithm, AuthHandle, Limits, Principal, WachtAuthLayer, WachtClient};

/// The argument of a process that is a replica.
pub(crate) const ROLE: &str = "replica";

// --- the service ---

fn service(client: WachtClient, store: RedisStore) -> Result<Router, wacht_auth::Error> {
    // Never more than its limit in any minute, whichever replicas a caller meets.
    let limits = Limits::shared().algorithm(Algorithm::SlidingWindow);
    let gate = WachtAuthLayer::builder(client.clone())
        .store(store)
        .limits(limits)
        .build()?
        .app("orders");
    let handle = gate.handle();
    Ok(Router::new()
        .route("/orders", get(list))
        .layer(gate)
        // Added after the gate's layer: open. In a service of yours the second would be nobody else's.
        .route("/health", get(health).with_state(handle))
        .route("/revoke/{key_id}", post(revoke).with_state(client)))
}

async fn list(caller: Principal) -> String {
    format!("the orders, for {}\n", caller.key_name())
}

async fn health(State(gate): State<AuthHandle>) -> Json<Value> {
    let store = gate.stats().store;
    let store = store.map(|store| json!({ "away": store.away, "replicas": store.replicas }));
    Json(json!({ "store": store }))
}

/// Through the gate's own client: this replica refuses the key at once, and the others when they hear of
/// it.
async fn revoke(State(client): State<WachtClient>, Path(key_id): Path<i64>) -> StatusCode {
    let keys = client.api_keys();
    let revoked = keys.revoke_api_key("orders", key_id, Default::default());
    match revoked.send().await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// Serves until whoever has started this process is gone.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let store = RedisStore::connect(env::var("REDIS_URL")?)?;
    let app = service(WachtClient::from_env()?, store)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let (mut stdin, mut nothing) = (stdin(), Vec::new());
    tokio::select! {
        served = axum::serve(listener, app) => Ok(served?),
        _ = stdin.read_to_end(&mut nothing) => Ok(()),
    }
}

// --- starting one ---

/// A replica in a process of its own, which goes with this value.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    _process: Child,
}

impl Replica {
    pub(crate) async fn start(wacht: &DevGateway, redis: &str) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(env::current_exe()?)
            .arg(ROLE)
            .env("WACHT_API_KEY", wacht.management_key())
            .env("WACHT_API_URL", wacht.url())
            .env("WACHT_GATEWAY_URL", wacht.url())
            .env("REDIS_URL", redis)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = process.stdout.take().ok_or("a replica says nothing")?;
        let first = BufReader::new(said).lines().next_line().await?;
        Ok(Self {
            address: first.ok_or("a replica did not start")?.parse()?,
            _process: process,
        })
    }
}
