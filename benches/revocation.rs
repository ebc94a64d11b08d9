//! How soon a revocation in one replica is refused in all.
//!
//! ```sh
//! cargo bench -p benches --bench revocation             # some seconds
//! cargo bench -p benches --bench revocation -- --test   # once, to see that it runs
//! ```
//!
//! Starts a `redis-server` on loopback; without one it says so and ends. Four replicas, each with a
//! client and a store of its own as in a process of its own, know a key. One revokes it, and each of
//! the others asks until the key is refused. What is printed is the time from before the revocation
//! to the last of the refusals: the stream, the readers' way through it, and the asking.
#![allow(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what is timed here is the machine, and a bench fails by panicking"
)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, AuthHandle, Limits, WachtAuthLayer};

const REPLICAS: usize = 4;
const ROUNDS: usize = 1_000;
const ROUNDS_OF_A_TEST: usize = 10;

#[tokio::main]
async fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let Some(redis) = Redis::start() else {
        println!("there is no redis-server: nothing is measured");
        return;
    };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let replicas = [(); REPLICAS].map(|()| replica(&wacht, &redis.url()));
    // Until each of them reads.
    for _ in 0..10 {
        round(&wacht, &replicas).await;
    }
    let mut times = Vec::new();
    for _ in 0..if is_test { ROUNDS_OF_A_TEST } else { ROUNDS } {
        times.push(round(&wacht, &replicas).await);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "a revocation in one of {REPLICAS} replicas, until all refuse: p50 {:?}, p99 {:?}, longest {:?} ({} rounds)",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

fn replica(wacht: &DevGateway, url: &str) -> AuthHandle {
    let client = wacht.client_with(wacht.management_key());
    let store = RedisStore::connect(url).unwrap();
    let layer = WachtAuthLayer::builder(client)
        .limits(Limits::off())
        .store(store);
    layer.build().unwrap().app("orders").handle()
}

async fn round(wacht: &DevGateway, replicas: &[AuthHandle]) -> Duration {
    let key = wacht.issue_key("orders").issue();
    for replica in replicas {
        assert!(is_admitted(replica, &key).await);
    }
    let began = Instant::now();
    replicas[0].revoke_key_id(key.key_id());
    for replica in replicas {
        while is_admitted(replica, &key).await {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it is never refused"
            );
            tokio::task::yield_now().await;
        }
    }
    began.elapsed()
}

async fn is_admitted(replica: &AuthHandle, key: &DevKey) -> bool {
    let context = AuthContext::new("/orders");
    replica
        .authenticate_key(key.secret(), &context)
        .await
        .is_ok()
}

/// A server that keeps nothing, and goes with this value.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
