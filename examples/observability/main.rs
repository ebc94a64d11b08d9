//! What this shows: a gate that can be watched, by Prometheus, by Grafana and in structured logs.
//!
//! ```sh
//! # serves, and prints curl lines to paste
//! cargo run --example observability --features metrics
//! # sends such requests itself
//! cargo run --example observability --features metrics -- --self-test
//! ```
//!
//! `README.md` beside this file describes the panels of `dashboard.json`. The self-test makes the
//! figures move, and fails if the dashboard or an alert asks for what `/metrics` does not have, or if
//! a key or its id shows in the log or the figures.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::Method;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use wacht_auth::dev::{DevGateway, DevKey, DevRule, Fault, On};
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthHandle, Principal, RequirePermissionsLayer, WachtAuthLayer, Watch};

use redis::Redis;
use self_test::SelfTest;

#[path = "../replicas/redis.rs"]
mod redis;
#[path = "../self_test/mod.rs"]
mod self_test;

// --- the service ---

fn service(gate: WachtAuthLayer, prometheus: PrometheusHandle) -> Result<Router, Box<dyn Error>> {
    let write = RequirePermissionsLayer::new("orders:write")?;
    let watched = Watched {
        gate: gate.handle(),
        prometheus,
    };
    let gated = get(list).merge(axum::routing::post(create).route_layer(write));
    Ok(Router::new()
        .route("/orders", gated)
        .layer(gate)
        // Added after the gate's layer: open.
        .route("/metrics", get(scrape))
        .with_state(watched))
}

async fn list(caller: Principal) -> String {
    format!("the orders, for {}\n", caller.key_name())
}

async fn create(caller: Principal) -> String {
    format!("an order, made by {}\n", caller.key_name())
}

#[derive(Clone)]
struct Watched {
    gate: AuthHandle,
    prometheus: PrometheusHandle,
}

async fn scrape(State(watched): State<Watched>) -> String {
    // Settles the cache, so that what the gate holds is told exactly.
    let _ = watched.gate.stats();
    // Without this, the times of calls would pile up between two scrapes.
    watched.prometheus.run_upkeep();
    watched.prometheus.render()
}

// --- what watches it ---

/// Before the first request: a gate that has begun to count does not look for a recorder again.
fn install_prometheus() -> Result<PrometheusHandle, Box<dyn Error>> {
    // In seconds. A check takes milliseconds when all is well, and 2 s at the deadline.
    const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
    let duration = Matcher::Full("wacht_auth.gateway.request.duration".to_owned());
    // A call of the store takes less than one, and is not waited for after 50 ms.
    const STORE: [f64; 8] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05];
    let store_duration = Matcher::Full("wacht_auth.store.call.duration".to_owned());
    let recorder = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets_for_metric(duration, &BUCKETS)?
        .set_buckets_for_metric(store_duration, &STORE)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    Ok(handle)
}

/// One JSON object for each event, and for each span when it ends. `RUST_LOG` chooses which.
fn install_log<W>(writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info,wacht_auth=debug"));
    tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_env_filter(filter)
        .with_writer(writer)
        .init();
}

// --- serving ---

/// Requests per key and minute.
const LIMIT: i32 = 3;

struct Keys {
    reader: DevKey,
    writer: DevKey,
}

/// What is served, for as long as this lives.
struct Stage {
    wacht: DevGateway,
    /// `None` where this machine has no `redis-server`: then the store is away.
    redis: Option<Redis>,
    keys: Keys,
    address: SocketAddr,
}

async fn start() -> Result<Stage, Box<dyn Error>> {
    let prometheus = install_prometheus()?;
    let wacht = DevGateway::start().await;
    let redis = match redis::is_installed().await {
        true => Some(Redis::start().await?),
        false => None,
    };
    let nobody = || "redis://127.0.0.1:1".to_owned();
    let store = RedisStore::connect(redis.as_ref().map_or_else(nobody, Redis::url))?;
    let limit = DevRule::per_key(LIMIT, "minute", 1);
    wacht.app("orders").scheme([limit]);
    let issue = |name: &str, permissions: &[&str]| {
        let key = wacht.issue_key("orders").name(name);
        key.permissions(permissions.iter().copied()).issue()
    };
    let keys = Keys {
        reader: issue("reader", &["orders:read"]),
        writer: issue("writer", &["orders:read", "orders:write"]),
    };
    let watch = Watch::every(Duration::from_secs(5));
    let gate = WachtAuthLayer::builder(wacht.client())
        .watch(watch)
        .store(store)
        .build()?;
    let gate = gate.app("orders");
    let app = service(gate, prometheus.clone())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(Stage {
        wacht,
        redis,
        keys,
        address,
    })
}

async fn serve() -> Result<ExitCode, Box<dyn Error>> {
    install_log(io::stdout);
    let stage = start().await?;
    let (keys, address) = (&stage.keys, stage.address);
    for (what, key) in [("a reader", &keys.reader), ("a writer", &keys.writer)] {
        eprintln!("# {what}, up to {LIMIT} times a minute");
        let header = format!("-H \"Authorization: Bearer {}\"", key.secret());
        eprintln!("curl -i {header} http://{address}/orders\n");
    }
    eprintln!("# a stranger\ncurl -i http://{address}/orders\n");
    eprintln!("# the figures\ncurl -s http://{address}/metrics\n");
    tokio::signal::ctrl_c().await?;
    Ok(ExitCode::SUCCESS)
}

// --- the self-test ---

/// The log, kept to be searched.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

async fn try_out() -> Result<ExitCode, Box<dyn Error>> {
    let log = Log::default();
    install_log(log.clone());
    let Stage {
        wacht,
        redis,
        keys,
        address,
    } = start().await?;
    let mut test = SelfTest::of(address);
    if redis.is_none() {
        println!("left out: what a store answers, as there is no `redis-server` here");
    }
    let reader = Some(keys.reader.secret());
    let unknown = |number: usize| format!("sk_test_{number:043}");

    // A miss and two hits, a refusal of each kind that a caller can bring about, then an outage.
    let write = [(Method::POST, reader, 403), (Method::GET, None, 401)];
    let reads = [200, 200, 429].map(|status| (Method::GET, reader, status));
    for (method, key, status) in write.into_iter().chain(reads) {
        let answer = test.ask(&method, "/orders", key).await?;
        test.row("a request", status, answer.status().as_u16());
    }
    for _ in 0..2 {
        test.ask(&Method::GET, "/orders", Some(&unknown(0))).await?;
    }
    wacht.fault(On::Checks, Fault::Status(503));
    for number in 1..=6 {
        let key = unknown(number);
        test.ask(&Method::GET, "/orders", Some(&key)).await?;
    }

    let scrape = test.ask(&Method::GET, "/metrics", None).await?.into_body();
    for (metric, labels, promised) in [
        (VERDICTS, &["admitted", "verified"][..], 1.0),
        (VERDICTS, &["admitted", "fresh"], 2.0),
        (VERDICTS, &["rate_limited", "fresh"], 1.0),
        (VERDICTS, &["missing_credential", "request"], 1.0),
        (VERDICTS, &["invalid_key", "verified"], 1.0),
        (VERDICTS, &["invalid_key", "negative"], 1.0),
        (VERDICTS, &["unavailable", "verified"], 6.0),
        (REQUESTS, &["allowed"], 1.0),
        (REQUESTS, &["denied"], 1.0),
        (REQUESTS, &["failed"], 5.0),
        (
            "wacht_auth_gateway_request_duration_seconds_count",
            &[],
            7.0,
        ),
        ("wacht_auth_gateway_breaker_open", &[], 1.0),
        (
            "wacht_auth_limiter_refusals_total",
            &["per_key", "refused"],
            1.0,
        ),
        ("wacht_auth_limiter_subjects", &[], 1.0),
        ("wacht_auth_cache_entries", &["good_keys"], 1.0),
        ("wacht_auth_cache_entries", &["refused_keys"], 1.0),
        ("wacht_auth_cache_evictions_total", &[], 0.0),
        ("wacht_auth_refreshes_total", &[], 0.0),
        ("wacht_auth_watch_apps", &["in_turn"], 1.0),
        ("wacht_auth_store_leases", &[], 0.0),
        ("wacht_auth_store_events_missed_total", &[], 0.0),
    ] {
        let what = format!("{} {}", &metric["wacht_auth_".len()..], labels.join(" "));
        test.row(&what, promised, sum(&scrape, metric, labels));
    }

    if redis.is_some() {
        let answered = sum(&scrape, "wacht_auth_store_calls_total", &["answered"]);
        test.row("calls of the store", true, answered > 0.0);
        let timed = sum(&scrape, "wacht_auth_store_call_duration_seconds_count", &[]);
        test.row("the time of each is told", true, timed >= answered);
    }

    dashboard(&mut test, &scrape)?;

    let log = log.text();
    let lines = log.lines().map(serde_json::from_str::<Value>);
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let fails =
        "the gateway fails too often: checks are held back, keys not known here are answered 503";
    let warned = lines
        .iter()
        .filter(|line| line["fields"]["message"] == fails);
    test.row("warnings that the breaker opens", 1, warned.count());
    let spans = lines
        .iter()
        .filter(|line| line["span"]["name"] == "wacht_auth.verify");
    test.row("spans of verifications", true, spans.count() >= 8);
    for (what, text) in [("the log", &log), ("the figures", &scrape)] {
        let ids = [&keys.reader, &keys.writer].map(|key| key.key_id().to_string());
        let secrets = [
            keys.reader.secret(),
            keys.writer.secret(),
            wacht.management_key(),
        ];
        let unknown = unknown(0);
        let hidden = ids
            .iter()
            .map(String::as_str)
            .chain(secrets)
            .chain([&*unknown]);
        let shown = hidden.filter(|hidden| text.contains(hidden)).count();
        test.row(&format!("keys and ids in {what}"), 0, shown);
    }
    Ok(test.finish())
}

const VERDICTS: &str = "wacht_auth_verdicts_total";
const REQUESTS: &str = "wacht_auth_gateway_requests_total";

/// The sum of a metric over the series that have all these label values.
fn sum(scrape: &str, metric: &str, labels: &[&str]) -> f64 {
    let series = scrape.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, of) = series.split_once('{').unwrap_or((series, ""));
        let all = labels
            .iter()
            .all(|label| of.contains(&format!("=\"{label}\"")));
        (name == metric && all).then(|| value.parse::<f64>().ok())?
    });
    series.sum()
}

/// The dashboard asks for nothing that is not there, leaves nothing out, and is described.
fn dashboard(test: &mut SelfTest, scrape: &str) -> Result<(), Box<dyn Error>> {
    let dashboard: Value = serde_json::from_str(include_str!("dashboard.json"))?;
    let panels = dashboard["panels"].as_array().ok_or("no panels")?;
    let mut asked = BTreeSet::new();
    let mut undescribed = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().ok_or("no title")?;
        if !include_str!("README.md").contains(&format!("| {title} |")) {
            undescribed.push(title);
        }
        for target in panel["targets"].as_array().ok_or("no targets")? {
            asked.extend(ours(target["expr"].as_str().ok_or("no expression")?));
        }
    }
    let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let mut names = ours(line);
        metrics.extend(names.next());
        labels.extend(names);
    }
    let known = &metrics | &labels;
    let alerts: BTreeSet<_> = ours(include_str!("alerts.yml")).collect();
    let missing: Vec<_> = alerts.difference(&known).collect();
    test.row(
        "names that only the alerts have",
        "[]",
        format!("{missing:?}"),
    );
    let missing: Vec<_> = asked.difference(&known).collect();
    test.row(
        "names that only the dashboard has",
        "[]",
        format!("{missing:?}"),
    );
    // A histogram is three metrics here; a panel takes one of them.
    let of_histogram = |name: &&&str| name.ends_with("_sum") || name.ends_with("_count");
    let unseen: Vec<_> = metrics.difference(&asked).collect();
    let unseen: Vec<_> = unseen.iter().filter(|name| !of_histogram(name)).collect();
    test.row("metrics without a panel", "[]", format!("{unseen:?}"));
    test.row(
        "panels without a description",
        "[]",
        format!("{undescribed:?}"),
    );
    Ok(())
}

/// The crate's names in a text, in their order.
fn ours(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("wacht_auth_"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match env::args().any(|argument| argument == "--self-test") {
        true => try_out().await,
        false => serve().await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
