//! Good keys that nobody knows yet, all at once: how soon they are served, against how soon the
//! gateway could have checked them.
//!
//! A server that has just started is sent one request of each key, all at once, over 64 connections
//! of HTTP/2. What it is held against is the same checks made by a plain client that keeps 64
//! connections to the gateway busy. Both share the machine with the gateway, which answers at once
//! or after some milliseconds, as one that is farther away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::median::median;
use crate::process::{self, Process, Role};
use crate::server::{Kind, Serve};
use crate::wacht::Wacht;
use crate::{AT_ONCE, Result, Size, http2_load, report};

/// After so long, a burst has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// One request of each key to this server, all at once.
    Requests(SocketAddr, Vec<String>),
    /// One check of each key at this gateway, as many at once as there are connections.
    Checks(String, Vec<String>),
}

/// What came of one burst: milliseconds from its start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Burst {
    p50_ms: f64,
    p99_ms: f64,
    all_ms: f64,
    /// Answers that are not 200.
    refused: usize,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    delay_ms: u128,
    keys: usize,
    checks_alone_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// The p99, times what the checks alone take.
    ratio: f64,
    refused: usize,
}

pub(crate) fn compare(size: Size) -> Result<()> {
    let keys = 2 * size.keys;
    let mut wacht = Wacht::start(keys, 0)?;
    let mut load = Process::start(Role::Burst)?;
    println!();
    println!("{keys} keys that nobody knows, at once over {AT_ONCE} connections, milliseconds:");
    println!(
        "{:<20} {:>14} {:>8} {:>8} {:>8} {:>8}",
        "", "checks alone", "p50", "p99", "times", "refused"
    );
    let mut rows = Vec::new();
    for delay in [0, 10].map(Duration::from_millis) {
        wacht.delay_checks(delay)?;
        let mut rounds = Vec::new();
        for _ in 0..size.rounds {
            let stage = &wacht.stage;
            let checks = Order::Checks(stage.url.clone(), stage.secrets.clone());
            let alone: Burst = load.ask(&checks)?;
            // It knows nothing.
            let mut server = Process::start(Role::Server)?;
            let address = server.ask(&Serve {
                kind: Kind::AxumGate,
                threads: None,
                stage: stage.clone(),
            })?;
            let gate: Burst = load.ask(&Order::Requests(address, stage.secrets.clone()))?;
            rounds.push((alone, gate));
            wacht.count_checks()?;
        }
        let of = |figure: fn(&(Burst, Burst)) -> f64| median(rounds.iter().map(figure));
        let row = Row {
            delay_ms: delay.as_millis(),
            keys,
            checks_alone_ms: of(|(alone, _)| alone.all_ms),
            p50_ms: of(|(_, gate)| gate.p50_ms),
            p99_ms: of(|(_, gate)| gate.p99_ms),
            ratio: of(|(alone, gate)| gate.p99_ms / alone.all_ms),
            refused: rounds.iter().map(|(_, gate)| gate.refused).sum(),
        };
        println!(
            "{:<20} {:>14.0} {:>8.0} {:>8.0} {:>8.2} {:>8}",
            format!("a check takes {delay:?}"),
            row.checks_alone_ms,
            row.p50_ms,
            row.p99_ms,
            row.ratio,
            row.refused
        );
        rows.push(row);
    }
    report::write("burst", size, &json!({ "rows": rows }))
}

pub(crate) fn play() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    process::answer_orders(|order: Order| {
        let burst = async {
            match order {
                Order::Requests(address, secrets) => request_all(address, secrets).await,
                Order::Checks(url, secrets) => check_all(&url, secrets).await,
            }
        };
        runtime.block_on(async { timeout(PATIENCE, burst).await? })
    })
}

async fn request_all(address: SocketAddr, secrets: Vec<String>) -> Result<Burst> {
    let clients: Vec<_> = (0..AT_ONCE).map(|_| http2_load::client()).collect();
    let url = format!("http://{address}/");
    let start = Instant::now();
    let mut requests = JoinSet::new();
    for (secret, client) in secrets.iter().zip(clients.iter().cycle()) {
        let request = http2_load::request(&url, secret)?;
        let client = client.clone();
        requests.spawn(async move {
            let answer = http2_load::ask(&client, request).await;
            (start.elapsed(), answer.is_ok())
        });
    }
    Ok(Burst::of(requests.join_all().await))
}

async fn check_all(url: &str, secrets: Vec<String>) -> Result<Burst> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    let url = format!("{url}/v1/authz/check");
    let secrets: Arc<[String]> = secrets.into();
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (client, secrets, next) = (client.clone(), Arc::clone(&secrets), Arc::clone(&next));
        let url = url.clone();
        connections.spawn(async move {
            let mut ended = Vec::new();
            while let Some(secret) = secrets.get(next.fetch_add(1, Ordering::Relaxed)) {
                let check = json!({
                    "principal": { "type": "api_key", "value": secret },
                    "resource": "/",
                    "method": "GET",
                });
                let check = Request::post(&url)
                    .header("content-type", "application/json")
                    .body(Full::from(check.to_string()))?;
                let answer = client.request(check).await?;
                let is_good = answer.status() == 200;
                answer.into_body().collect().await?;
                ended.push((start.elapsed(), is_good));
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(ended)
        });
    }
    let ended: Result<Vec<_>> = connections.join_all().await.into_iter().collect();
    Ok(Burst::of(ended?.concat()))
}

impl Burst {
    fn of(mut ended: Vec<(Duration, bool)>) -> Self {
        ended.sort_unstable();
        let at = |share: f64| {
            let last = (ended.len() - 1) as f64;
            1e3 * ended[(last * share) as usize].0.as_secs_f64()
        };
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            all_ms: at(1.0),
            refused: ended.iter().filter(|(_, is_good)| !is_good).count(),
        }
    }
}
