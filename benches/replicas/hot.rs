//! A hot subject: what a hit costs, and how often the store is called.

use std::time::Duration;

use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, AuthHandle, Limits, WachtAuthLayer};

use crate::log::now;
use crate::process::Rule;
use crate::server::Redis;

pub(crate) fn run(is_test: bool) {
    println!("# hot: one subject");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let redis = Redis::start();
    for is_sliding in [false, true] {
        let rule = Rule {
            is_sliding,
            is_day: false,
            max: 1_000_000_000,
            seconds: 60,
        };
        let (wacht, key) = runtime.block_on(async {
            let wacht = DevGateway::start().await;
            let key = wacht.issue_key("orders").issue();
            (wacht, key)
        });
        let shared = WachtAuthLayer::builder(wacht.client_with(wacht.management_key()))
            .store(RedisStore::connect(redis.url()).unwrap())
            .limits(rule.limits(Limits::shared()))
            .build()
            .unwrap()
            .app("orders")
            .handle();
        let local = WachtAuthLayer::builder(wacht.client_with(wacht.management_key()))
            .limits(rule.limits(Limits::local()))
            .build()
            .unwrap()
            .app("orders")
            .handle();
        let rounds = if is_test { 5 } else { 41 };
        let mut ratios = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let ours = runtime.block_on(time(&shared, &key));
            let theirs = runtime.block_on(time(&local, &key));
            ratios.push((ours * 1_000.0 / theirs) as u64);
            costs.push(ours as u64);
        }
        println!(
            "{:<8} a hit {} ns, {:.2} x local (median of {rounds})",
            if is_sliding { "sliding" } else { "gcra" },
            crate::log::percentile(&mut costs, 50),
            crate::log::percentile(&mut ratios, 50) as f64 / 1_000.0,
        );
    }
    for (seconds, max) in [(1, 100_000), (60, 6_000_000), (1, 1_000), (60, 60_000)] {
        let rule = Rule {
            is_sliding: false,
            is_day: false,
            max,
            seconds,
        };
        runtime.block_on(calls(&redis, rule, if is_test { 1 } else { 5 }));
    }
}

async fn time(gate: &AuthHandle, key: &DevKey) -> f64 {
    const HITS: u32 = 20_000;
    let context = AuthContext::new("/");
    for _ in 0..1_000 {
        assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    }
    let began = now();
    for _ in 0..HITS {
        assert!(gate.authenticate_key(key.secret(), &context).await.is_ok());
    }
    (now() - began) as f64 / f64::from(HITS)
}

/// At 10 000 requests a second.
async fn calls(redis: &Redis, rule: Rule, lasts: u64) {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("orders").issue();
    let gate = WachtAuthLayer::builder(wacht.client_with(wacht.management_key()))
        .store(RedisStore::connect(redis.url()).unwrap())
        .limits(rule.limits(Limits::shared()))
        .build()
        .unwrap()
        .app("orders")
        .handle();
    let context = AuthContext::new("/");
    let _ = gate.authenticate_key(key.secret(), &context).await;
    let mut connection = redis.connection();
    let (began, before) = (now(), scripts(&mut connection));
    let mut asked = 0_u64;
    let mut admitted = 0_u64;
    while now() < began + lasts * 1_000_000_000 {
        while asked < (now() - began) / 100_000 {
            asked += 1;
            admitted += u64::from(gate.authenticate_key(key.secret(), &context).await.is_ok());
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    let took = (now() - began) as f64 / 1e9;
    let called = scripts(&mut connection) - before;
    println!(
        "limit {:<16} {:.0} requests/s, {admitted} admitted: {:.1} calls/s",
        format!("{}/{} s", rule.max, rule.seconds),
        asked as f64 / took,
        called as f64 / took
    );
}

/// Without those that read what other replicas say.
pub(crate) fn scripts(redis: &mut redis::Connection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
    let calls = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let calls = line.and_then(|line| line.split(',').next()?.parse::<u64>().ok());
        calls.unwrap_or(0)
    };
    calls("cmdstat_evalsha:calls=")
}
