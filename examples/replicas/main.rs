//! What this shows: four replicas of a service that share a Redis, behind a balancer.
//!
//! ```sh
//! cargo run --example replicas --features replicas                  # shows it, then serves
//! cargo run --example replicas --features replicas -- --self-test   # shows it alone
//! ```
//!
//! It starts a `redis-server`, four processes of itself and a balancer. A limit of 100 a minute holds for
//! all four together; what one of them revokes is refused by all; while Redis is away each has its
//! share of the limit, and afterwards they count together again.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use wacht_auth::dev::{DevGateway, DevKey, DevRule};

use redis::Redis;
use replica::Replica;
use self_test::SelfTest;

mod balancer;
mod redis;
mod replica;
#[path = "../self_test/mod.rs"]
mod self_test;

const REPLICAS: usize = 4;
/// Requests per key and minute, of all replicas together.
const LIMIT: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than anything takes here, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(45);

struct Demo {
    wacht: DevGateway,
    redis: Redis,
    replicas: Vec<Replica>,
    balancer: SocketAddr,
    report: SelfTest,
}

impl Demo {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let wacht = DevGateway::start().await;
        let limit = DevRule::per_key(i32::try_from(LIMIT)?, "minute", 1);
        wacht.app("orders").scheme([limit]);
        let redis = Redis::start().await?;
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(Replica::start(&wacht, &redis.url()).await?);
        }
        let addresses = replicas.iter().map(|replica| replica.address).collect();
        let balancer = balancer::start(addresses).await?;
        Ok(Self {
            wacht,
            redis,
            replicas,
            balancer,
            report: SelfTest::of(balancer),
        })
    }

    async fn show(&mut self) -> Result<(), Box<dyn Error>> {
        // Each counts the others when it first meets a key.
        let key = self.key("first");
        for number in 0..REPLICAS {
            self.ask(&key, Some(number)).await?;
        }
        self.when_all("replicas that know of four", |store| {
            store["replicas"] == REPLICAS
        })
        .await?;

        println!("\n{LIMIT} a minute, {} requests each", 4 * LIMIT);
        let spread = self.send(&self.key("spread"), None).await?;
        self.row_of("a client that any replica serves", &spread, LIMIT);
        self.report
            .row("replicas that served it", REPLICAS, spread.replicas().len());
        let sticks = self.send(&self.key("sticks"), Some(2)).await?;
        self.row_of("a client that sticks to one", &sticks, LIMIT);
        let has_more = sticks.admitted.len() > LIMIT / REPLICAS;
        self.report
            .row("it gets more than a quarter", true, has_more);

        println!("\na key that is revoked in one replica");
        self.revoked_in_one(false).await?;

        println!("\nRedis is killed");
        self.redis.kill().await?;
        self.when_all("replicas that know it", |store| store["away"] == true)
            .await?;
        let shares = self.send(&self.key("shares"), Some(1)).await?;
        self.row_of("through one replica: its share", &shares, LIMIT / REPLICAS);
        let spread = self.send(&self.key("shares of all"), None).await?;
        self.row_of("through all of them", &spread, LIMIT);
        self.revoked_in_one(true).await?;

        println!("\nRedis is back, empty");
        self.when_all("replicas that share again", |store| {
            store["away"] == false && store["replicas"] == REPLICAS
        })
        .await?;
        let again = self.send(&self.key("again"), None).await?;
        self.row_of("a client that any replica serves", &again, LIMIT);
        self.revoked_in_one(false).await
    }

    /// A key that replica 0 revokes, and all refuse. If Redis is away, they are told when it is back.
    async fn revoked_in_one(&mut self, is_away: bool) -> Result<(), Box<dyn Error>> {
        let key = self.key("revoked");
        for number in 0..REPLICAS {
            self.ask(&key, Some(number)).await?;
        }
        let revoke = format!("/revoke/{}", key.key_id());
        let revoke = Request::post(revoke).header(balancer::REPLICA, 0);
        let answer = self.report.send(revoke.body(String::new())?).await?;
        let status = answer.status().as_u16();
        self.report.row("the call that revokes", 204, status);
        let here = self.ask(&key, Some(0)).await?.status().as_u16();
        self.report.row("the replica that revoked", 401, here);
        if is_away {
            let there = self.ask(&key, Some(1)).await?.status().as_u16();
            self.report.row("another one", 200, there);
            self.redis.come_back().await?;
        }
        let began = Instant::now();
        let mut refusing = 0;
        while refusing < REPLICAS && began.elapsed() < PATIENCE {
            let answer = self.ask(&key, Some(refusing)).await?;
            refusing += usize::from(answer.status() == StatusCode::UNAUTHORIZED);
        }
        let took = began.elapsed().as_millis();
        let what = match is_away {
            true => format!("replicas that refuse it {took} ms later"),
            false => format!("replicas that refuse it, {took} ms"),
        };
        self.report.row(&what, REPLICAS, refusing);
        Ok(())
    }

    fn key(&self, name: &str) -> DevKey {
        self.wacht.issue_key("orders").name(name).issue()
    }

    async fn ask(
        &self,
        key: &DevKey,
        replica: Option<usize>,
    ) -> Result<Response<String>, Box<dyn Error>> {
        let mut request = Request::builder().method(Method::GET).uri("/orders");
        request = request.header("authorization", format!("Bearer {}", key.secret()));
        if let Some(number) = replica {
            request = request.header(balancer::REPLICA, number);
        }
        self.report.send(request.body(String::new())?).await
    }

    /// Sends four times the limit, one request after the other.
    async fn send(&self, key: &DevKey, replica: Option<usize>) -> Result<Sent, Box<dyn Error>> {
        let mut sent = Sent::default();
        for _ in 0..4 * LIMIT {
            let before = Instant::now();
            let answer = self.ask(key, replica).await?;
            match answer.status() {
                StatusCode::OK => sent.admitted.push(Admitted {
                    before,
                    after: Instant::now(),
                    replica: answer.headers()[balancer::REPLICA].to_str()?.to_owned(),
                }),
                StatusCode::TOO_MANY_REQUESTS => sent.limited += 1,
                _ => sent.others += 1,
            }
        }
        Ok(sent)
    }

    fn row_of(&mut self, who: &str, sent: &Sent, limit: usize) {
        let holds = !sent.admitted.is_empty() && sent.most_in_a_minute() <= limit;
        let what = format!("{who}: {}", sent.admitted.len());
        let promised = format!("at most {limit}");
        let got = match holds {
            true => promised.clone(),
            false => format!("{} in a minute", sent.most_in_a_minute()),
        };
        self.report.row(&what, promised, got);
        self.report
            .row("  answers that are no 200 and no 429", 0, sent.others);
    }

    /// Waits until this holds of what each replica says of its store.
    async fn when_all(
        &mut self,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let mut so_far = 0;
        while so_far < REPLICAS && began.elapsed() < PATIENCE {
            let request = Request::get("/health").header(balancer::REPLICA, so_far);
            let answer = self.report.send(request.body(String::new())?).await?;
            let health: Value = serde_json::from_str(answer.body())?;
            so_far += usize::from(holds(&health["store"]));
        }
        self.report.row(what, REPLICAS, so_far);
        Ok(())
    }

    async fn serve(&self) -> Result<(), Box<dyn Error>> {
        let key = self.key("yours");
        println!("\n# a key of yours, {LIMIT} times a minute; -H 'x-replica: 2' sticks to one");
        let header = format!("-H \"Authorization: Bearer {}\"", key.secret());
        println!("curl -i {header} http://{}/orders", self.balancer);
        println!("\n# the replicas, and Redis");
        for replica in &self.replicas {
            println!("curl -s http://{}/health", replica.address);
        }
        println!("redis-cli -u {} shutdown nosave", self.redis.url());
        println!("\nCtrl-C ends all of them.");
        Ok(tokio::signal::ctrl_c().await?)
    }
}

/// What has become of some requests.
#[derive(Default)]
struct Sent {
    admitted: Vec<Admitted>,
    limited: usize,
    others: usize,
}

struct Admitted {
    before: Instant,
    after: Instant,
    replica: String,
}

impl Sent {
    /// Surely admitted within one minute: each between its two times.
    fn most_in_a_minute(&self) -> usize {
        let of = |first: &Admitted| {
            let within = |one: &&Admitted| {
                one.before >= first.before && one.after.duration_since(first.before) < MINUTE
            };
            self.admitted.iter().filter(within).count()
        };
        self.admitted.iter().map(of).max().unwrap_or_default()
    }

    fn replicas(&self) -> BTreeSet<&str> {
        self.admitted.iter().map(|one| &*one.replica).collect()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let argument = env::args().nth(1);
    let outcome = match argument.as_deref() {
        Some(replica::ROLE) => replica::run().await.map(|()| ExitCode::SUCCESS),
        argument => show(argument == Some("--self-test")).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

async fn show(is_self_test: bool) -> Result<ExitCode, Box<dyn Error>> {
    if !redis::is_installed().await {
        println!("left out: all of it. There is no `redis-server` here; on Debian and Ubuntu,");
        println!("`apt install redis-server` has one.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut demo = Demo::start().await?;
    demo.show().await?;
    if !is_self_test {
        demo.serve().await?;
    }
    Ok(demo.report.finish())
}
