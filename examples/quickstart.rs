//! What this shows: an axum service behind the gate, and the five things its callers can meet.
//!
//! ```sh
//! cargo run --example quickstart                  # serves, and prints curl lines to paste
//! cargo run --example quickstart -- --self-test   # sends those requests itself
//! WACHT_API_KEY=wk_... cargo run --example quickstart   # asks the real Wacht instead
//! ```
//!
//! Without `WACHT_API_KEY` nothing leaves this machine: a `DevGateway` stands in for Wacht. With
//! it, `WACHT_APP` names the API auth app whose keys are accepted.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::{get, post};
use http::Method;
use tokio::net::TcpListener;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{Principal, RequirePermissionsLayer, WachtAuthLayer, WachtClient};

use self_test::SelfTest;

mod self_test;

// --- the service ---

fn service(gate: WachtAuthLayer) -> Result<Router, wacht_auth::Error> {
    let read = RequirePermissionsLayer::new("orders:read")?;
    let write = RequirePermissionsLayer::new("orders:write")?;
    let orders = get(list)
        .route_layer(read)
        .merge(post(create).route_layer(write));
    Ok(Router::new().route("/orders", orders).layer(gate))
}

async fn list(caller: Principal) -> String {
    format!("the orders, for {}\n", caller.key_name())
}

async fn create(caller: Principal) -> String {
    format!("an order, made by {}\n", caller.key_name())
}

// --- what its callers meet ---

/// One thing a caller can meet: printed as a `curl` line, or tried out by the self-test.
struct Promise<'a> {
    what: &'static str,
    method: Method,
    key: Option<&'a str>,
    times: usize,
    /// Of the last answer.
    status: u16,
}

fn promises<'a>(reader: &'a str, writer: &'a str) -> [Promise<'a>; 5] {
    // Well-formed, but nobody's.
    const WRONG: &str = "sk_test_0000000000000000000000000000000000000000000";
    let promise = |what, method, key, status| Promise {
        what,
        method,
        key,
        times: 1,
        status,
    };
    let limited = promise("rate limited", Method::GET, Some(writer), 429);
    [
        promise("allowed", Method::GET, Some(reader), 200),
        promise("no key", Method::GET, None, 401),
        promise("wrong key", Method::GET, Some(WRONG), 401),
        promise("missing permission", Method::POST, Some(reader), 403),
        Promise {
            times: LIMIT + 1,
            ..limited
        },
    ]
}

impl Promise<'_> {
    fn print_curl(&self, service: SocketAddr) {
        let Self { method, times, .. } = self;
        let key = self.key.map_or(String::new(), |key| {
            format!(" -H \"Authorization: Bearer {key}\"")
        });
        println!("# {}: {}", self.what, self.status);
        match times {
            1 => println!("curl -i -X {method}{key} http://{service}/orders"),
            _ => println!(
                "for i in $(seq {times}); do \
                 curl -s -o /dev/null -w '%{{http_code}}\\n' -X {method}{key} \
                 http://{service}/orders; done"
            ),
        }
        println!();
    }

    async fn try_out(&self, test: &mut SelfTest) -> Result<(), Box<dyn Error>> {
        for _ in 1..self.times {
            test.ask(&self.method, "/orders", self.key).await?;
        }
        let answer = test.ask(&self.method, "/orders", self.key).await?;
        test.row(self.what, self.status, answer.status().as_u16());
        Ok(())
    }
}

// --- against the dev gateway, or against Wacht ---

/// Requests per key and minute, at the dev gateway.
const LIMIT: usize = 3;

async fn with_dev_gateway(self_test: bool) -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    let limit = DevRule::per_key(LIMIT.try_into()?, "minute", 1);
    wacht.app("orders").scheme([limit]);
    let issue = |name: &str, permissions: &[&str]| {
        let key = wacht.issue_key("orders").name(name);
        key.permissions(permissions.iter().copied()).issue()
    };
    let reader = issue("reader", &["orders:read"]);
    let writer = issue("writer", &["orders:read", "orders:write"]);

    let gate = WachtAuthLayer::new(wacht.client()).app("orders");
    let (listener, address) = listen().await?;
    let serving = serve(listener, service(gate)?);
    let promises = promises(reader.secret(), writer.secret());
    if !self_test {
        println!("# paste these into another terminal:\n");
        for promise in &promises {
            promise.print_curl(address);
        }
        serving.await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::spawn(serving);
    let mut test = SelfTest::of(address);
    for promise in &promises {
        promise.try_out(&mut test).await?;
    }
    // One for each of the two keys and one for the wrong one. The rest was decided here.
    test.row("calls of the gateway", 3, wacht.journal().checks());
    Ok(test.finish())
}

async fn with_wacht(self_test: bool) -> Result<ExitCode, Box<dyn Error>> {
    if self_test {
        let why = "--self-test needs keys that only the dev gateway can issue: unset WACHT_API_KEY";
        return Err(why.into());
    }
    let mut gate = WachtAuthLayer::new(WachtClient::from_env()?);
    if let Ok(app) = env::var("WACHT_APP") {
        gate = gate.app(app);
    }
    // Both services answer, and the management key is good: better known now than later.
    gate.handle().check().await?;

    let (listener, address) = listen().await?;
    println!("# put two API keys of your app into the variables READER (with the permission");
    println!("# orders:read) and WRITER (with orders:write too), and paste these.");
    println!("# How soon the last one is limited, the rate-limit scheme of the app decides.\n");
    for promise in promises("$READER", "$WRITER") {
        promise.print_curl(address);
    }
    serve(listener, service(gate)?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn listen() -> Result<(TcpListener, SocketAddr), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve(listener: TcpListener, app: Router) -> std::io::Result<()> {
    // Rate limits that count by address need the peer's.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let self_test = env::args().any(|argument| argument == "--self-test");
    let outcome = match env::var_os("WACHT_API_KEY") {
        None => with_dev_gateway(self_test).await,
        Some(_) => with_wacht(self_test).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
