//! Subjects that are seen for the first time, or seldom.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::models::{RateLimit, RateLimitMode, RateLimitUnit};
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, AuthHandle, Limits, WachtAuthLayer};

use crate::hot::scripts;
use crate::log::{now, percentile};
use crate::process::Chance;
use crate::server::Redis;

pub(crate) async fn per_address(
    redis: &Redis,
    wacht: &DevGateway,
    unit: RateLimitUnit,
) -> AuthHandle {
    let limit = RateLimit {
        unit,
        duration: 1,
        max_requests: 100,
        mode: Some(RateLimitMode::PerKeyAndIp),
    };
    WachtAuthLayer::builder(wacht.client_with(wacht.management_key()))
        .store(RedisStore::connect(redis.url()).unwrap())
        .limits(Limits::shared().rules([limit]).unwrap().capacity(1_000_000))
        .build()
        .unwrap()
        .app("orders")
        .handle()
}

pub(crate) async fn ask(gate: &AuthHandle, key: &DevKey, address: u32) -> u64 {
    let address = IpAddr::V4(Ipv4Addr::from_bits(address));
    let context = AuthContext::new("/").client_ip(address);
    let began = now();
    let answer = gate.authenticate_key(key.secret(), &context).await;
    assert!(answer.is_ok(), "{answer:?}");
    now() - began
}

pub(crate) fn cold(is_test: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let redis = Redis::start();
    runtime.block_on(async {
        let wacht = DevGateway::start().await;
        let key = wacht.issue_key("orders").issue();
        let gate = per_address(&redis, &wacht, RateLimitUnit::Minute).await;
        let client = redis::Client::open(redis.url()).unwrap();
        let mut bare = client.get_multiplexed_async_connection().await.unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let _ = gate
            .authenticate_key(
                key.secret(),
                &AuthContext::new("/").client_ip(Ipv4Addr::LOCALHOST.into()),
            )
            .await;
        for number in 0..if is_test { 200 } else { 5_000 } {
            ours.push(ask(&gate, &key, number << 8).await);
            let began = now();
            let _: String = redis::cmd("PING").query_async(&mut bare).await.unwrap();
            theirs.push(now() - began);
        }
        let (one, other) = (percentile(&mut ours, 50), percentile(&mut theirs, 50));
        println!(
            "# cold: a new subject {} us, a bare round trip {} us: {} us more (medians)",
            one / 1_000,
            other / 1_000,
            one.saturating_sub(other) / 1_000
        );
    });
}

pub(crate) fn run(is_test: bool) {
    const SUBJECTS: usize = 100_000;
    const A_SECOND: u64 = 2_000;
    let lasts: u64 = if is_test { 1 } else { 15 };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let redis = Redis::start();
    runtime.block_on(async {
        let wacht = DevGateway::start().await;
        let key = wacht.issue_key("orders").issue();
        let gate = std::sync::Arc::new(per_address(&redis, &wacht, RateLimitUnit::Minute).await);
        let key = std::sync::Arc::new(key);
        let _ = gate.authenticate_key(key.secret(), &AuthContext::new("/").client_ip(Ipv4Addr::LOCALHOST.into())).await;
        let client = redis::Client::open(redis.url()).unwrap();
        let bare = client.get_multiplexed_async_connection().await.unwrap();
        let mut connection = redis.connection();
        let before = scripts(&mut connection);
        let mut chance = Chance(7);
        let (began, mut asked) = (now(), 0_u64);
        let mut waits = Vec::new();
        while now() < began + lasts * 1_000_000_000 {
            while asked < (now() - began) * A_SECOND / 1_000_000_000 {
                asked += 1;
                let number = u32::try_from(chance.below(SUBJECTS)).unwrap() << 4;
                let (gate, key) = (gate.clone(), key.clone());
                let mut bare = bare.clone();
                waits.push(tokio::spawn(async move {
                    let ours = ask(&gate, &key, number).await;
                    let began = now();
                    let mut incr = redis::cmd("INCR");
                    incr.arg(number);
                    incr.query_async::<i64>(&mut bare).await.unwrap();
                    (ours, now() - began)
                }));
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for wait in waits {
            let (one, other) = wait.await.unwrap();
            ours.push(one);
            theirs.push(other);
        }
        let called = scripts(&mut connection) - before;
        let (one, other) = (percentile(&mut ours, 99), percentile(&mut theirs, 99));
        println!(
            "# seldom: {asked} requests of {SUBJECTS} subjects, {:.3} calls each; p99 {} us, of INCR {} us: {:.2} x",
            called as f64 / asked as f64,
            one / 1_000,
            other / 1_000,
            one as f64 / other as f64
        );
    });
}
