//! All subjects of all replicas ask at once, as when a day begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use wacht_auth::dev::DevGateway;
use wacht_auth::models::RateLimitUnit;
use wacht_auth::{AuthContext, RejectionKind};

use crate::log::{now, percentile};
use crate::seldom::per_address;
use crate::server::Redis;

pub(crate) fn run(is_test: bool) {
    let (replicas, subjects) = if is_test { (4, 100) } else { (16, 1_000) };
    let redis = Redis::start();
    // The store's stalls, as a client of its own sees them.
    let (is_over, longest) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let watcher = {
        let (is_over, longest) = (is_over.clone(), longest.clone());
        let mut connection = redis.connection();
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let began = now();
                let _: String = redis::cmd("PING").query(&mut connection).unwrap();
                longest.fetch_max(now() - began, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let wacht = DevGateway::start().await;
        let key = Arc::new(wacht.issue_key("orders").issue());
        let mut gates = Vec::new();
        for _ in 0..replicas {
            let gate = per_address(&redis, &wacht, RateLimitUnit::CalendarDay).await;
            let context = AuthContext::new("/").client_ip([127, 0, 0, 1].into());
            let _ = gate.authenticate_key(key.secret(), &context).await;
            gates.push(Arc::new(gate));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        longest.store(0, Ordering::SeqCst);
        let began = now();
        let mut requests = Vec::new();
        for subject in 0..subjects {
            for gate in &gates {
                let (gate, key) = (gate.clone(), key.clone());
                requests.push(tokio::spawn(async move {
                    let address = std::net::Ipv4Addr::from_bits(subject << 8);
                    let context = AuthContext::new("/").client_ip(address.into());
                    let began = now();
                    let answer = gate.authenticate_key(key.secret(), &context).await;
                    let kind = answer.err().map(|refused| refused.kind());
                    (now() - began, kind)
                }));
            }
        }
        let (mut waits, mut refused) = (Vec::new(), 0);
        for request in requests {
            let (wait, kind) = request.await.unwrap();
            waits.push(wait);
            refused += u32::from(kind == Some(RejectionKind::Unavailable));
        }
        let took = now() - began;
        println!(
            "# opening: {replicas} replicas x {subjects} subjects in {} ms: longest stall {} ms, p99 of requests {} ms, {refused} by no share",
            took / 1_000_000,
            longest.load(Ordering::SeqCst) / 1_000_000,
            percentile(&mut waits, 99) / 1_000_000,
        );
    });
    is_over.store(true, Ordering::SeqCst);
    watcher.join().unwrap();
}
