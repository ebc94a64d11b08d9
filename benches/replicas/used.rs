//! How much of a limit can be used.

use std::sync::Arc;
use std::time::Duration;

use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, AuthHandle, Limits, WachtAuthLayer};

use crate::log::{Perfect, now};
use crate::process::{Chance, Rule};
use crate::server::Redis;

#[derive(Clone, Copy, Debug)]
enum Spread {
    Evenly,
    /// Nine in ten come to one replica.
    Skewed,
    /// All come to one replica for half a second, then to the next.
    Alternating,
}

pub(crate) fn run(is_test: bool) {
    println!("# use: of what a perfect log admits at 1.2 times the limit, Poisson arrivals");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let redis = Redis::start();
    runtime.block_on(async {
        let wacht = DevGateway::start().await;
        let mut runs = Vec::new();
        for (seconds, max) in [(1, 100), (5, 500), (10, 1_000), (60, 600)] {
            for is_sliding in [false, true] {
                for replicas in [1, 4, 16] {
                    let rule = Rule {
                        is_sliding,
                        is_day: false,
                        max,
                        seconds,
                    };
                    let gates: Arc<Vec<AuthHandle>> =
                        Arc::new((0..replicas).map(|_| gate(&wacht, &redis, rule)).collect());
                    for spread in [Spread::Evenly, Spread::Skewed, Spread::Alternating] {
                        let key = wacht.issue_key("orders").issue().secret().to_owned();
                        let gates = Arc::clone(&gates);
                        let windows = if is_test {
                            2
                        } else {
                            (120 / seconds).clamp(2, 20)
                        };
                        if is_test && seconds > 1 {
                            continue;
                        }
                        runs.push(tokio::spawn(async move {
                            let used = one(&gates, &key, rule, spread, windows).await;
                            (rule, gates.len(), spread, used)
                        }));
                    }
                }
            }
        }
        for run in runs {
            let (rule, replicas, spread, used) = run.await.unwrap();
            let target = if rule.seconds >= 10 { 0.95 } else { 0.90 };
            println!(
                "{:<18} {replicas:>2} replicas, {:<12} {:.3} {}",
                rule.name(),
                format!("{spread:?}"),
                used,
                if used >= target { "" } else { "SHORT" },
            );
        }
    });
}

fn gate(wacht: &DevGateway, redis: &Redis, rule: Rule) -> AuthHandle {
    WachtAuthLayer::builder(wacht.client_with(wacht.management_key()))
        .store(RedisStore::connect(redis.url()).unwrap())
        .limits(rule.limits(Limits::shared()))
        .build()
        .unwrap()
        .app("orders")
        .handle()
}

async fn one(gates: &[AuthHandle], key: &str, rule: Rule, spread: Spread, windows: u32) -> f64 {
    let context = AuthContext::new("/");
    for gate in gates {
        let _ = gate.authenticate_key(key, &context).await;
    }
    let window = u64::from(rule.seconds) * 1_000_000_000;
    // What was used on the way here is forgotten.
    tokio::time::sleep(Duration::from_secs(u64::from(rule.seconds) + 1)).await;
    let gap = window as f64 / (1.2 * f64::from(rule.max));
    let (began, until) = (now(), now() + window * u64::from(windows));
    let mut chance = Chance(began);
    let mut due = began;
    let mut perfect = Perfect::new(rule.max, rule.window());
    let (mut admitted, mut ideal) = (0, 0);
    while due < until {
        due += (-chance.fraction().ln() * gap) as u64;
        let ahead = due.saturating_sub(now());
        if ahead > 0 {
            tokio::time::sleep(Duration::from_nanos(ahead)).await;
        }
        let place = match spread {
            Spread::Evenly => chance.below(gates.len()),
            Spread::Skewed if chance.below(10) > 0 => 0,
            Spread::Skewed => chance.below(gates.len()),
            Spread::Alternating => ((now() - began) / 500_000_000) as usize % gates.len(),
        };
        ideal += u32::from(perfect.admits(now()));
        let answer = gates[place].authenticate_key(key, &context).await;
        admitted += u32::from(answer.is_ok());
    }
    f64::from(admitted) / f64::from(ideal)
}
