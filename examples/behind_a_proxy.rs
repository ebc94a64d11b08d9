//! What this shows: limits per client address behind a load balancer, and why a caller cannot
//! choose the address that is counted.
//!
//! ```sh
//! cargo run --example behind_a_proxy                  # serves, and prints curl lines to paste
//! cargo run --example behind_a_proxy -- --self-test   # sends such requests itself
//! ```
//!
//! A proxy appends the address it was called from to `X-Forwarded-For`. So the entries on the
//! right are the proxies' own, and what stands left of them is what the caller wrote. The gate
//! reads the header only when the peer is a proxy that you have named, and walks it from the
//! right to the first address that is none.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::routing::get;
use http::Request;
use tokio::net::TcpListener;
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{ClientIp, Principal, WachtAuthLayer, WachtAuthLayerBuilder};

use self_test::SelfTest;

mod self_test;

/// What stands before the service: here a load balancer on this machine, and one before that.
const PROXIES: [&str; 2] = ["127.0.0.1", "10.0.0.0/8"];

fn service(gate: WachtAuthLayerBuilder) -> Result<Router, Box<dyn Error>> {
    let gate = gate
        .client_ip(ClientIp::trusted_proxies(PROXIES)?)
        .build()?;
    Ok(Router::new().route("/orders", get(orders)).layer(gate))
}

async fn orders(caller: Principal) -> String {
    format!("the orders of {}\n", caller.key_name())
}

async fn serve(gate: WachtAuthLayerBuilder) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Without the peer's address the gate could not tell a proxy from anybody else.
    let app = service(gate)?.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let wacht = DevGateway::start().await;
    let rule = DevRule::per_app_and_ip(2, "hour", 1);
    wacht.app("shop").scheme([rule]);
    let key = wacht.issue_key("shop").name("reader").issue();
    let address = serve(WachtAuthLayer::builder(wacht.client()).app("shop")).await?;

    if !env::args().any(|argument| argument == "--self-test") {
        println!(
            "# two requests an hour for each address; this is what the balancer would send:\n"
        );
        println!("KEY={}", key.secret());
        println!(
            "curl -i http://{address}/orders -H \"Authorization: Bearer $KEY\" \
             -H 'X-Forwarded-For: 203.0.113.1'"
        );
        std::future::pending::<()>().await;
    }

    let mut test = SelfTest::of(address);
    for (what, forwarded_for, promised) in [
        ("a caller", "203.0.113.1", 200),
        (
            "the same, by way of both proxies",
            "203.0.113.1, 10.0.0.7",
            200,
        ),
        ("the same, a third time", "203.0.113.1", 429),
        (
            "the same, pretending to be another",
            "192.0.2.99, 203.0.113.1",
            429,
        ),
        (
            "the same, pretending to be a proxy",
            "10.9.9.9, 203.0.113.1",
            429,
        ),
        ("another caller", "203.0.113.2", 200),
        ("IPv6, one of 2^64 addresses", "2001:db8:1:1::1", 200),
        ("IPv6, its neighbour", "2001:db8:1:1::2", 200),
        ("IPv6, one more of them", "2001:db8:1:1:ffff::3", 429),
    ] {
        let request = Request::get("/orders")
            .header("authorization", format!("Bearer {}", key.secret()))
            .header("x-forwarded-for", forwarded_for);
        let answer = test.send(request.body(String::new())?).await?;
        test.row(what, promised, answer.status().as_u16());
    }
    Ok(test.finish())
}
