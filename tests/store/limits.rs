//! Gates that count together, each as another process would be: with a client and a store of its own.

use std::sync::Arc;

use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{Algorithm, AuthContext, AuthHandle, Limits, RejectionKind, WachtAuthLayer};

use crate::server::Redis;
use crate::stage::{own_client, patient};

pub const ALGORITHMS: [Algorithm; 2] = [Algorithm::Gcra, Algorithm::SlidingWindow];

/// One more replica.
pub fn replica(wacht: &DevGateway, url: &str, limits: Limits) -> AuthHandle {
    WachtAuthLayer::builder(own_client(wacht, wacht.management_key()))
        .limits(limits)
        .store(patient(url))
        .build()
        .unwrap()
        .app("orders")
        .handle()
}

async fn admits(replica: &AuthHandle, secret: &str, context: &AuthContext) -> bool {
    match replica.authenticate_key(secret, context).await {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.kind(), RejectionKind::RateLimited, "{refused:?}");
            false
        }
    }
}

#[tokio::test]
async fn replicas_together_admit_the_limit_whichever_is_asked() {
    let Some(server) = Redis::start() else {
        return;
    };
    for algorithm in ALGORITHMS {
        for unit in ["hour", "calendar_day", "calendar_month"] {
            let wacht = DevGateway::start().await;
            wacht.set_scheme("orders", [DevRule::per_key(20, unit, 1)]);
            let key = wacht.issue_key("orders").issue();
            let limits = || Limits::shared().algorithm(algorithm);
            let replicas: Vec<AuthHandle> = (0..3)
                .map(|_| replica(&wacht, &server.url(), limits()))
                .collect();
            let context = AuthContext::new("/");
            let mut admitted = 0;
            for step in 0..60 {
                let replica = &replicas[step * step % 3];
                admitted += u32::from(admits(replica, key.secret(), &context).await);
            }
            for replica in &replicas {
                while admits(replica, key.secret(), &context).await {
                    admitted += 1;
                }
            }
            assert_eq!(admitted, 20, "{algorithm:?}, {unit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_admitted_to_the_limit_exactly() {
    let Some(server) = Redis::start() else {
        return;
    };
    for algorithm in ALGORITHMS {
        let wacht = DevGateway::start().await;
        wacht.set_scheme("orders", [DevRule::per_key(100, "hour", 1)]);
        let key = wacht.issue_key("orders").issue();
        let limits = || Limits::shared().algorithm(algorithm);
        let replicas: Vec<Arc<AuthHandle>> = (0..3)
            .map(|_| Arc::new(replica(&wacht, &server.url(), limits())))
            .collect();
        for replica in &replicas {
            let free = AuthContext::new("/");
            let _ = replica.authenticate_key(key.secret(), &free).await;
        }
        let tasks: Vec<_> = (0..300)
            .map(|number: usize| {
                let replica = Arc::clone(&replicas[number % 3]);
                let secret = key.secret().to_owned();
                tokio::spawn(async move {
                    let context = AuthContext::new("/");
                    admits(&replica, &secret, &context).await
                })
            })
            .collect();
        let mut admitted = 3;
        for task in tasks {
            admitted += u32::from(task.await.unwrap());
        }
        assert!(admitted <= 100, "{algorithm:?}: {admitted}");
        // What was on lease and not spent was given back, or will be.
        assert!(admitted >= 50, "{algorithm:?}: {admitted}");
    }
}
