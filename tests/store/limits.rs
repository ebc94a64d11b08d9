//! Gates that count together, each as another process would be: with a client and a store of its own.

use std::sync::Arc;

use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{
    Algorithm, AuthContext, AuthHandle, Limits, RejectionKind, WachtAuthLayer, WhenAway,
};

use crate::server::Redis;
use crate::stage::{eventually, own_client, patient};

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

#[tokio::test]
async fn shared_limits_without_a_store_are_an_error_in_the_configuration() {
    let wacht = DevGateway::start().await;
    let layer = WachtAuthLayer::builder(wacht.client()).limits(Limits::shared());
    let error = layer.build().unwrap_err();
    assert!(matches!(error, wacht_auth::Error::Config(_)));
    assert!(error.to_string().contains("store"), "{error}");
}

#[tokio::test]
async fn every_mode_counts_in_the_store_whom_it_counts_here() {
    let Some(server) = Redis::start() else { return };
    let rules = [
        ("per_app", DevRule::per_app(5, "hour", 1), [5, 0, 0]),
        ("per_key", DevRule::per_key(5, "hour", 1), [5, 0, 5]),
        (
            "per_key_and_ip",
            DevRule::per_key_and_ip(5, "hour", 1),
            [5, 5, 5],
        ),
        (
            "per_app_and_ip",
            DevRule::per_app_and_ip(5, "hour", 1),
            [5, 5, 0],
        ),
    ];
    for (mode, rule, expected) in rules {
        let wacht = DevGateway::start().await;
        wacht.set_scheme("orders", [rule]);
        let (one, other) = (
            wacht.issue_key("orders").issue(),
            wacht.issue_key("orders").issue(),
        );
        let replicas = [(); 2].map(|()| replica(&wacht, &server.url(), Limits::shared()));
        let from = |host| AuthContext::new("/").client_ip([192, 0, 2, host].into());
        let mut admitted = [0; 3];
        let callers = [(&one, from(1)), (&one, from(2)), (&other, from(1))];
        for (count, (key, context)) in admitted.iter_mut().zip(callers) {
            for step in 0..16 {
                *count += u32::from(admits(&replicas[step % 2], key.secret(), &context).await);
            }
        }
        assert_eq!(admitted, expected, "{mode}");
    }
}

#[tokio::test]
async fn who_reads_the_store_learns_of_no_key_and_no_address() {
    let Some(server) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key_and_ip(5, "hour", 1)]);
    let key = wacht.issue_key("orders").issue();
    let gate = replica(&wacht, &server.url(), Limits::shared());
    let context = AuthContext::new("/").client_ip([192, 0, 2, 77].into());
    assert!(admits(&gate, key.secret(), &context).await);
    let mut redis = server.connection();
    let names: Vec<String> = redis::cmd("KEYS").arg("*limit*").query(&mut redis).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
    let value: Vec<u8> = redis::cmd("GET").arg(&names[0]).query(&mut redis).unwrap();
    let all = [names[0].as_bytes(), &value].concat();
    for secret in [
        "192.0.2.77",
        "orders",
        key.secret(),
        &key.key_id().to_string(),
    ] {
        let found = all
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} in {names:?}");
    }
    // Another deployment's replica with the same prefix names the same caller differently.
    let other = DevGateway::start().await;
    other.set_scheme("orders", [DevRule::per_key_and_ip(5, "hour", 1)]);
    let gate = replica(&other, &server.url(), Limits::shared());
    let key = other.issue_key("orders").issue();
    assert!(admits(&gate, key.secret(), &context).await);
    let names: Vec<String> = redis::cmd("KEYS").arg("*limit*").query(&mut redis).unwrap();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn a_refused_caller_is_told_what_is_left_of_all_replicas() {
    let Some(server) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key(3, "hour", 1)]);
    let key = wacht.issue_key("orders").issue();
    let limits = || Limits::shared().algorithm(Algorithm::SlidingWindow);
    let replicas = [(); 2].map(|()| replica(&wacht, &server.url(), limits()));
    let context = AuthContext::new("/");
    for step in 0..3 {
        assert!(admits(&replicas[step % 2], key.secret(), &context).await);
    }
    for gate in &replicas {
        let refused = gate.authenticate_key(key.secret(), &context).await;
        let refused = refused.unwrap_err();
        assert!(refused.violated_policies().eq(["per_key:3/3600s"]));
        let wait = refused.retry_after().unwrap().as_secs();
        assert!((3_590..=3_602).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn without_the_store_each_replica_has_its_share() {
    let Some(mut server) = Redis::start() else {
        return;
    };
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key(40, "hour", 1)]);
    let key = wacht.issue_key("orders").issue();
    let limits = || Limits::shared().replicas(4.try_into().unwrap());
    let store = |url: &str| wacht_auth::store::RedisStore::connect(url).unwrap();
    let gate = WachtAuthLayer::builder(own_client(&wacht, wacht.management_key()))
        .limits(limits())
        .store(store(&server.url()))
        .build()
        .unwrap()
        .app("orders")
        .handle();
    let context = AuthContext::new("/");
    server.kill();
    let mut admitted = 0;
    while admits(&gate, key.secret(), &context).await {
        admitted += 1;
    }
    assert_eq!(admitted, 10, "a quarter");
    // Back again, and empty: the others have what is left.
    server.restart();
    let other = replica(&wacht, &server.url(), Limits::shared());
    let told = async || {
        let refused = gate.authenticate_key(key.secret(), &context).await;
        refused.is_ok()
    };
    eventually("the store is asked again", told).await;
    let mut rest = 1;
    while admits(&other, key.secret(), &context).await {
        rest += 1;
    }
    while admits(&gate, key.secret(), &context).await {
        rest += 1;
    }
    assert!((25..=30).contains(&rest), "{rest}: some may be on lease");
}

/// Replicas that know of each other, whose store is restarted when one of them has spent 30 of 40.
/// How many the other one admits from then on.
async fn after_a_restart(algorithm: Algorithm, mut server: Redis) -> u32 {
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key(40, "hour", 1)]);
    let [key, another] = [(); 2].map(|()| wacht.issue_key("orders").issue());
    let context = AuthContext::new("/");
    let limits = || Limits::shared().algorithm(algorithm);
    let [one, other] = [(); 2].map(|()| replica(&wacht, &server.url(), limits()));
    for _ in 0..30 {
        assert!(admits(&one, key.secret(), &context).await);
    }
    // One that was not asked about this key takes part as well.
    eventually("both know of each other", async || {
        let mut know_of_two = true;
        for replica in [&one, &other] {
            admits(replica, another.secret(), &context).await;
            know_of_two &= replica.stats().store.unwrap().replicas == Some(2);
        }
        know_of_two
    })
    .await;
    server.restart();
    let mut admitted = 0;
    eventually("the other one is told what there is", async || {
        let is_admitted = admits(&other, key.secret(), &context).await;
        admitted += u32::from(is_admitted);
        !is_admitted
    })
    .await;
    eventually("both go by the store", async || {
        for replica in [&one, &other] {
            admitted += u32::from(admits(replica, key.secret(), &context).await);
        }
        [&one, &other]
            .iter()
            .all(|replica| !replica.stats().store.unwrap().away)
    })
    .await;
    admitted
}

#[tokio::test]
async fn after_an_empty_restart_nothing_is_granted_that_another_has_spent() {
    for algorithm in ALGORITHMS {
        let Some(server) = Redis::start() else {
            return;
        };
        let admitted = after_a_restart(algorithm, server).await;
        // Its share of 20, and of the 10 that are left what it has not told of that.
        assert!((10..=30).contains(&admitted), "{algorithm:?}: {admitted}");
    }
}

#[tokio::test]
async fn a_restart_with_all_data_counts_nothing_twice() {
    for algorithm in ALGORITHMS {
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let Some(server) = Redis::start_with(&durable) else {
            return;
        };
        let admitted = after_a_restart(algorithm, server).await;
        assert!((10..=30).contains(&admitted), "{algorithm:?}: {admitted}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_as_the_options_say() {
    let wacht = DevGateway::start().await;
    wacht.set_scheme("orders", [DevRule::per_key(2, "hour", 1)]);
    let key = wacht.issue_key("orders").issue();
    let context = AuthContext::new("/");
    // Nobody listens there.
    let nowhere = format!("redis://127.0.0.1:{}", crate::server::free_port());
    for (when_away, passes) in [(WhenAway::Refuse, false), (WhenAway::Admit, true)] {
        let limits = Limits::shared().when_away(when_away);
        let store = wacht_auth::store::RedisStore::connect(&nowhere).unwrap();
        let gate = WachtAuthLayer::builder(own_client(&wacht, wacht.management_key()))
            .limits(limits)
            .store(store)
            .build()
            .unwrap()
            .app("orders")
            .handle();
        let away = async || gate.stats().store.is_some_and(|store| store.away);
        eventually("the store is away", async || {
            let _ = gate.authenticate_key(key.secret(), &context).await;
            away().await
        })
        .await;
        for _ in 0..10 {
            let answer = gate.authenticate_key(key.secret(), &context).await;
            assert_eq!(answer.is_ok(), passes, "{when_away:?}");
            if let Err(refused) = answer {
                assert_eq!(refused.kind(), RejectionKind::Unavailable);
            }
        }
    }
}
