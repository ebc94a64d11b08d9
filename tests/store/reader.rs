//! One replica reads the apps of the deployment for all.

use std::time::Duration;

use redis::Commands;
use wacht_auth::CachePolicy;
use wacht_auth::dev::{DevGateway, Fault, On};

use crate::server::Redis;
use crate::stage::{Replica, dies_reading, eventually};

async fn wacht() -> DevGateway {
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    wacht
}

/// How often the list of apps was asked for.
fn lists(wacht: &DevGateway) -> usize {
    wacht.journal().management_calls()
}

#[tokio::test]
async fn a_fleet_asks_for_its_apps_once() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    for _ in 0..5 {
        assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
    }
    assert_eq!(lists(&wacht), 1);
}

#[tokio::test]
async fn replicas_that_start_at_once_ask_once() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let replicas = [(); 4].map(|()| Replica::new(&wacht, &redis.url()));
    let [a, b, c, d] = &replicas;
    let admitted = tokio::join!(
        a.admits(&key),
        b.admits(&key),
        c.admits(&key),
        d.admits(&key)
    );
    assert_eq!(admitted, (true, true, true, true));
    assert_eq!(lists(&wacht), 1);
}

#[tokio::test]
async fn what_was_changed_since_is_not_taken_from_what_another_has_read_before() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    assert!(here.admits(&key).await && there.admits(&key).await);
    assert_eq!(lists(&wacht), 1);
    // Elsewhere, and told to one of them: what it invalidates it does not read from before that.
    wacht.app("orders").set_active(false);
    here.gate.invalidate_all();
    assert!(!here.admits(&key).await);
    there.refuses(&key).await;
}

#[tokio::test]
async fn a_reader_that_has_died_is_taken_over() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
    // The page is gone, and whoever has taken the turn to read it says nothing more.
    let mut hand = redis.connection();
    let pages: Vec<String> = hand.keys("wacht:page:500-0:*").unwrap();
    let [page] = &pages[..] else {
        panic!("{pages:?}")
    };
    dies_reading(&mut hand, page);
    assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
    assert_eq!(lists(&wacht), 2);
    let kept: bool = hand.exists(page).unwrap();
    assert!(kept, "it is there for the next one");
}

#[tokio::test]
async fn a_page_that_nobody_of_ours_has_made_says_nothing() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
    let mut hand = redis.connection();
    let pages: Vec<String> = hand.keys("wacht:page:500-0:*").unwrap();
    let page = &pages[0];
    let body: Vec<u8> = hand.hget(page, "body").unwrap();
    let needle = b"\"is_active\":true";
    let at = body
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    let mut forged = body.clone();
    forged.splice(at..at + needle.len(), *b"\"is_active\":false");
    for body in [forged, Vec::new(), b"garbage".to_vec(), body[..40].to_vec()] {
        let before = lists(&wacht);
        let _: u64 = hand.hset(page, "body", body).unwrap();
        assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
        assert_eq!(lists(&wacht), before + 1);
    }
}

#[tokio::test]
async fn each_reads_alone_while_the_store_is_away() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    redis.kill();
    for _ in 0..2 {
        assert!(Replica::new(&wacht, &redis.url()).admits(&key).await);
    }
    assert_eq!(lists(&wacht), 2);
}

#[tokio::test]
async fn a_page_that_could_not_be_read_is_the_next_ones_turn() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let policy = CachePolicy::default().negative_ttl(Duration::ZERO);
    let [first, second] =
        [(); 2].map(|()| Replica::with_cache(&wacht, &redis.url(), policy.clone()));
    wacht.fault(On::Management, Fault::Status(500));
    let context = wacht_auth::AuthContext::new("/orders");
    let refused = first
        .gate
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), wacht_auth::RejectionKind::Unavailable);
    wacht.clear_faults();
    assert!(second.admits(&key).await);
    eventually("the first has it, too", async || {
        first
            .gate
            .authenticate_key(key.secret(), &context)
            .await
            .is_ok()
    })
    .await;
}
