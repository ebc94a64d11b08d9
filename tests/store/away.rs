//! A store that is not there, or not well: the gate goes on, and says so.

use std::time::Duration;

use futures_util::FutureExt;
use redis::Commands;
use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, RejectionKind};

use crate::proxy::{Link, Proxy};
use crate::server::{PATIENCE, Redis, free_port};
use crate::stage::{Replica, eventually};

async fn wacht() -> DevGateway {
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    wacht
}

/// A replica whose store has the deadline that stores have.
fn replica(wacht: &DevGateway, url: &str) -> Replica {
    Replica::with(wacht, RedisStore::connect(url).unwrap())
}

async fn is_away(replica: &Replica) {
    eventually("the store is away", async || {
        replica.gate.stats().store.unwrap().away
    })
    .await;
}

async fn is_back(replica: &Replica) {
    eventually("the store is back", async || {
        let stats = replica.gate.stats().store.unwrap();
        !stats.away && stats.events_untold == 0
    })
    .await;
}

#[tokio::test]
async fn without_a_store_keys_pass_and_calls_have_their_result() {
    let wacht = wacht().await;
    let replica = replica(&wacht, &format!("redis://127.0.0.1:{}", free_port()));
    let [key, rotated] = [(); 2].map(|()| wacht.issue_key("orders").issue());
    assert!(replica.admits(&key).await && replica.admits(&rotated).await);
    // The new key is in the answer and nowhere else.
    let keys = replica.client.api_keys();
    let new = keys
        .rotate_api_key("orders", rotated.key_id())
        .send()
        .await
        .unwrap();
    assert!(!new.secret.is_empty());
    assert!(!replica.admits(&rotated).await && replica.admits(&key).await);
    is_away(&replica).await;
    assert_eq!(replica.gate.stats().store.unwrap().events_untold, 2);
    replica.revoke(&key).await;
    assert!(!replica.admits(&key).await, "here it counts at once");
}

#[tokio::test]
async fn what_could_not_be_told_is_told_when_the_store_is_back() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let wacht = wacht().await;
    let [here, there] = [(); 2].map(|()| replica(&wacht, &redis.url()));
    there.hears(&here, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    redis.kill();
    is_away(&there).await;
    here.revoke(&key).await;
    assert!(here.gate.stats().store.unwrap().events_untold > 0);
    redis.restart();
    there.refuses(&key).await;
    is_back(&here).await;
}

#[tokio::test]
async fn a_store_that_hangs_delays_no_known_key() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let [here, there] = [(); 2].map(|()| replica(&wacht, &redis.url()));
    there.hears(&here, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await && here.admits(&key).await);
    redis.stop();
    // A hit asks nobody: it is decided before anything is waited for.
    let context = wacht_auth::AuthContext::new("/orders");
    for _ in 0..1_000 {
        let hit = there.gate.authenticate_key(key.secret(), &context);
        assert!(futures_util::FutureExt::now_or_never(hit).unwrap().is_ok());
    }
    here.revoke(&key).await;
    is_away(&here).await;
    redis.go_on();
    there.refuses(&key).await;
    is_back(&here).await;
}

#[tokio::test]
async fn a_slow_store_is_none_that_is_away() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let network = Proxy::to(redis.port()).await;
    network.is_now(Link::Slow(Duration::from_millis(5)));
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &network.url()));
    there.hears(&here, &wacht).await;
    assert!(!there.gate.stats().store.unwrap().away);
}

#[tokio::test]
async fn a_store_that_is_slower_than_the_deadline_is_told_all_the_same() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let network = Proxy::to(redis.port()).await;
    let store = RedisStore::builder(network.url()).deadline(Duration::from_millis(1));
    let here = Replica::with(&wacht, store.build().unwrap());
    let there = Replica::new(&wacht, &redis.url());
    there.hears(&here, &wacht).await;
    network.is_now(Link::Slow(Duration::from_millis(20)));
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    here.revoke(&key).await;
    there.refuses(&key).await;
}

#[tokio::test]
async fn a_full_store_is_away_until_it_has_room() {
    let Some(redis) = Redis::start_with(&["--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let wacht = wacht().await;
    let [here, there] = [(); 2].map(|()| replica(&wacht, &redis.url()));
    there.hears(&here, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    let mut hand = redis.connection();
    let set = |hand: &mut redis::Connection, bytes: &str| {
        let set = redis::cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory")
            .arg(bytes)
            .exec(hand);
        set.unwrap();
    };
    set(&mut hand, "1");
    here.revoke(&key).await;
    is_away(&here).await;
    assert!(here.gate.stats().store.unwrap().events_untold > 0);
    set(&mut hand, "0");
    there.refuses(&key).await;
    is_back(&here).await;
    assert_eq!(there.gate.stats().store.unwrap().events_missed, 0);
}

#[tokio::test]
async fn a_read_only_replica_is_no_store() {
    let Some(master) = Redis::start() else { return };
    let port = master.port().to_string();
    let Some(copy) = Redis::start_with(&["--replicaof", "127.0.0.1", &port]) else {
        return;
    };
    let wacht = wacht().await;
    let replica = replica(&wacht, &copy.url());
    let key = wacht.issue_key("orders").issue();
    assert!(replica.admits(&key).await);
    is_away(&replica).await;
    replica.revoke(&key).await;
    assert!(!replica.admits(&key).await);
}

#[tokio::test]
async fn a_wrong_password_is_a_store_that_is_away() {
    let Some(redis) = Redis::start_with(&["--requirepass", "the-right-one"]) else {
        return;
    };
    let wacht = wacht().await;
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", redis.port());
    let wrong = replica(&wacht, &url("a-wrong-one"));
    let key = wacht.issue_key("orders").issue();
    assert!(wrong.admits(&key).await);
    is_away(&wrong).await;
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &url("the-right-one")));
    there.hears(&here, &wacht).await;
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_told_apart_from_a_store_that_is_down() {
    let Some(redis) = Redis::start() else { return };
    let mut hand = redis.connection();
    let user = redis::cmd("ACL")
        .arg(&["SETUSER", "reader", "on", ">a-password", "~*", "+@read"])
        .exec(&mut hand);
    user.unwrap();
    let wacht = wacht().await;
    let url = format!("redis://reader:a-password@127.0.0.1:{}", redis.port());
    let replica = replica(&wacht, &url);
    let key = wacht.issue_key("orders").issue();
    assert!(replica.admits(&key).await);
    is_away(&replica).await;
    let error = replica.gate.check().await.unwrap_err().to_string();
    assert!(
        error.contains("may not run scripts") && !error.contains("reader"),
        "{error}"
    );
}

#[tokio::test]
async fn scripts_that_the_store_forgets_are_sent_again() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    there.hears(&here, &wacht).await;
    let mut hand = redis.connection();
    for _ in 0..3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut hand).unwrap();
        there.hears(&here, &wacht).await;
    }
    assert!(!there.gate.stats().store.unwrap().away);
}

#[tokio::test]
async fn a_connection_that_the_store_closes_is_opened_again() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    there.hears(&here, &wacht).await;
    let mut hand = redis.connection();
    for _ in 0..3 {
        let killed: u64 = redis::cmd("CLIENT")
            .arg(&["KILL", "SKIPME", "yes", "TYPE", "normal"])
            .query(&mut hand)
            .unwrap();
        assert!(killed > 0);
        there.hears(&here, &wacht).await;
    }
    assert_eq!(there.gate.stats().store.unwrap().events_missed, 0);
}

#[tokio::test]
async fn the_check_looks_at_the_store() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let wacht = wacht().await;
    let replica = replica(&wacht, &redis.url());
    replica.gate.check().await.unwrap();
    redis.kill();
    let error = replica.gate.check().await.unwrap_err();
    assert!(error.to_string().contains("store"), "{error}");
    assert!(error.is_transient());
}

/// A reader whose runtime is gone is taken over by whoever asks next.
#[test]
fn a_reader_goes_on_in_another_runtime() {
    let Some(redis) = Redis::start() else { return };
    let runtime = || {
        let builder = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        builder.unwrap()
    };
    let outer = runtime();
    let wacht = outer.block_on(wacht());
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    for _ in 0..3 {
        let runtime = runtime();
        runtime.block_on(there.hears(&here, &wacht));
    }
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_caller_hears_of_it_when_the_readers_runtime_has_ended() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    // A runtime that carries one request, and all that goes on behind it.
    let (wacht, key, there) = (&wacht, &key, &there);
    let caller = std::thread::scope(|scope| {
        let request = scope.spawn(|| {
            let builder = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            builder.unwrap().block_on(async {
                there.hears(&here, wacht).await;
                let context = AuthContext::new("/orders");
                let caller = there.gate.authenticate_key(key.secret(), &context).await;
                caller.unwrap()
            })
        });
        request.join().unwrap()
    });
    let mut ended = caller.ended();
    assert!((&mut ended).now_or_never().is_none());
    here.revoke(key).await;
    let ended = tokio::time::timeout(PATIENCE, ended).await;
    assert_eq!(ended.unwrap().kind(), RejectionKind::InvalidKey);
}

#[tokio::test]
async fn keys_of_the_store_have_the_prefix_that_was_chosen() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let store = || {
        let builder = RedisStore::builder(redis.url()).key_prefix("billing");
        builder.deadline(Duration::from_secs(10)).build().unwrap()
    };
    let [here, there] = [(); 2].map(|()| Replica::with(&wacht, store()));
    there.hears(&here, &wacht).await;
    let keys: Vec<String> = redis.connection().keys("*").unwrap();
    assert!(!keys.is_empty());
    assert!(
        keys.iter().all(|key| key.starts_with("billing:")),
        "{keys:?}"
    );
}

#[tokio::test]
async fn the_user_that_the_guide_names_is_enough() {
    let Some(redis) = Redis::start() else { return };
    const GUIDE: &str = include_str!("../../src/guide/replicas.md");
    let rules = "~wacht:* +@scripting +@read +@write +@connection +time +info";
    assert!(GUIDE.contains(rules));
    let mut user = redis::cmd("ACL");
    user.arg(&["SETUSER", "gate", "on", ">a-password", "-@all"]);
    user.arg(rules.split(' ').collect::<Vec<_>>());
    user.exec(&mut redis.connection()).unwrap();
    let wacht = wacht().await;
    let url = format!("redis://gate:a-password@127.0.0.1:{}", redis.port());
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &url));
    there.hears(&here, &wacht).await;
    here.gate.check().await.unwrap();
    let key = wacht.issue_key("orders").issue();
    assert!(here.admits(&key).await, "the apps are read, too");
    assert_eq!(here.gate.stats().store.unwrap().failed_calls, 0);
}
