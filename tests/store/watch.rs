//! One replica reads the lists of keys for all.

use std::time::Duration;

use chrono::DateTime;
use redis::{Commands, Connection};
use wacht_auth::dev::{DevGateway, DevKey, ManualClock};
use wacht_auth::{
    AuthContext, AuthHandle, Limits, RejectionKind, WachtAuthLayer, Watch, WatchStats,
};

use crate::server::Redis;
use crate::stage::{dies_reading, eventually, own_client, patient};

/// So seldom that a test sees one list of each replica.
const SELDOM: Duration = Duration::from_secs(60);
/// As often as may be.
const OFTEN: Duration = Duration::from_secs(1);

/// A Wacht whose gateway says yes for a minute more.
async fn wacht() -> DevGateway {
    let wacht = DevGateway::start().await.revocation_lag(SELDOM);
    wacht.app("orders");
    wacht
}

fn replica(wacht: &DevGateway, url: &str, interval: Duration) -> AuthHandle {
    WachtAuthLayer::builder(own_client(wacht, wacht.management_key()))
        .limits(Limits::off())
        .watch(Watch::every(interval))
        .store(patient(url))
        .build()
        .unwrap()
        .app("orders")
        .handle()
}

fn stats(replica: &AuthHandle) -> WatchStats {
    replica.stats().watch.unwrap()
}

async fn admits(replica: &AuthHandle, key: &DevKey) -> bool {
    let context = AuthContext::new("/orders");
    match replica.authenticate_key(key.secret(), &context).await {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.kind(), RejectionKind::InvalidKey, "{refused:?}");
            false
        }
    }
}

async fn may(replica: &AuthHandle, key: &DevKey, permission: &str) -> bool {
    let context = AuthContext::new("/orders");
    let caller = replica.authenticate_key(key.secret(), &context).await;
    caller.unwrap().permissions().contains(permission)
}

/// The lists that were asked for.
fn calls(wacht: &DevGateway) -> u64 {
    wacht.journal().count("GET", "/api-auth/apps/orders/keys") as u64
}

/// The list of keys in the store, and its turn.
fn page(hand: &mut Connection) -> String {
    let pages: Vec<String> = hand.keys("wacht:page:keys-1-*").unwrap();
    let [page] = &pages[..] else {
        panic!("{pages:?}")
    };
    page.clone()
}

#[tokio::test]
async fn four_replicas_make_the_calls_of_one() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let replicas = [(); 4].map(|()| replica(&wacht, &redis.url(), OFTEN));
    for replica in &replicas {
        assert!(admits(replica, &key).await);
    }
    eventually("each has had some lists", async || {
        let enough = |stats: WatchStats| stats.lists + stats.shared >= 4;
        replicas.iter().map(stats).all(enough)
    })
    .await;
    let all = replicas.iter().map(stats);
    let taken: u64 = all.map(|stats| stats.lists + stats.shared).sum();
    // Four times as many, where the machine has time for all of them.
    let calls = calls(&wacht);
    assert!(taken >= 2 * calls, "{taken} lists by {calls} calls");
}

#[tokio::test]
async fn what_is_revoked_elsewhere_is_refused_by_those_who_have_not_asked() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let replicas = [(); 3].map(|()| replica(&wacht, &redis.url(), OFTEN));
    for replica in &replicas {
        assert!(admits(replica, &key).await);
    }
    eventually("each has had a list", async || {
        replicas
            .iter()
            .map(stats)
            .all(|it| it.lists + it.shared > 0)
    })
    .await;
    wacht.revoke(key.key_id());
    for replica in &replicas {
        eventually("the key is refused", async || !admits(replica, &key).await).await;
    }
}

#[tokio::test]
async fn what_a_key_loses_is_taken_from_it_where_nobody_has_asked() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht
        .issue_key("orders")
        .permissions(["read", "write"])
        .issue();
    let replicas = [(); 3].map(|()| replica(&wacht, &redis.url(), OFTEN));
    for replica in &replicas {
        assert!(may(replica, &key, "write").await);
    }
    wacht.set_permissions(key.key_id(), ["read"]);
    for replica in &replicas {
        eventually("it may not write", async || {
            !may(replica, &key, "write").await
        })
        .await;
        assert!(may(replica, &key, "read").await);
    }
    assert!(replicas.iter().any(|replica| stats(replica).shared > 0));
}

#[tokio::test]
async fn a_key_ends_to_the_moment_that_the_list_of_another_states() {
    let Some(redis) = Redis::start() else { return };
    let clock = ManualClock::new();
    let wacht = wacht().await.clock(&clock);
    // Less than a verdict is good for by itself.
    let left = Duration::from_secs(20);
    let end = clock.unix_time() + left;
    let end = DateTime::from_timestamp_nanos(i64::try_from(end.as_nanos()).unwrap());
    let key = wacht.issue_key("orders").expires_at(end).issue();
    let by_hand = || {
        let client = own_client(&wacht, wacht.management_key());
        let layer = WachtAuthLayer::builder(client)
            .limits(Limits::off())
            .watch(Watch::every(SELDOM))
            .store(patient(&redis.url()))
            .clock(&clock);
        layer.build().unwrap().app("orders").handle()
    };
    let [first, second] = [by_hand(), by_hand()];
    assert!(admits(&first, &key).await);
    eventually("its list is read", async || stats(&first).lists == 1).await;
    assert!(admits(&second, &key).await);
    eventually("it has the list of the first", async || {
        stats(&second).shared == 1
    })
    .await;
    let instant = Duration::from_millis(1);
    clock.advance(left - instant);
    assert!(admits(&second, &key).await);
    clock.advance(instant);
    assert!(!admits(&second, &key).await);
}

#[tokio::test]
async fn a_list_from_before_a_key_was_shown_does_not_speak_against_it() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let first = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&first, &key).await);
    eventually("its list is read", async || stats(&first).lists == 1).await;
    let younger = wacht.issue_key("orders").issue();
    let second = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&second, &younger).await);
    eventually("it has the list of the first", async || {
        stats(&second).shared == 1
    })
    .await;
    assert!(admits(&second, &younger).await);
    let had = stats(&second);
    assert_eq!((had.lists, had.confirmations, had.failed), (0, 0, 0));
    assert_eq!(calls(&wacht), 1);
}

#[tokio::test]
async fn a_list_has_ids_and_permissions_and_neither_names_nor_parts_of_keys() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht
        .issue_key("orders")
        .name("name-of-a-key")
        .permissions(["orders:read"])
        .metadata(serde_json::json!({"plan": "gold-plan"}));
    let key = key.issue();
    let first = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&first, &key).await);
    eventually("its list is read", async || stats(&first).lists == 1).await;
    let mut hand = redis.connection();
    let name = page(&mut hand);
    let body: Vec<u8> = hand.hget(&name, "body").unwrap();
    let text = format!("{name} {}", String::from_utf8_lossy(&body));
    assert!(text.contains(&key.key_id().to_string()) && text.contains("orders:read"));
    let text = text.replace("orders:read", "");
    let secret = key.secret();
    let parts = [&secret[..12], &secret[secret.len() - 4..]];
    for hidden in [
        "name-of-a-key",
        "gold-plan",
        "orders",
        wacht.management_key(),
    ]
    .into_iter()
    .chain(parts)
    {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}

#[tokio::test]
async fn a_list_that_nobody_of_ours_has_made_for_this_turn_is_read_again() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let first = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&first, &key).await);
    eventually("its list is read", async || stats(&first).lists == 1).await;
    let mut hand = redis.connection();
    let name = page(&mut hand);
    let (turn, body): (String, Vec<u8>) = hand.hmget(&name, &["turn", "body"]).unwrap();
    let revoked = String::from_utf8_lossy(&body).replace(",false,", ",true,");
    assert_ne!(revoked, String::from_utf8_lossy(&body));
    let (reader, at) = turn.rsplit_once(' ').unwrap();
    let younger = format!("{reader} {}", at.parse::<u64>().unwrap() + 1);
    for (turn, body) in [
        (&turn, revoked.into_bytes()),
        (&turn, b"garbage".to_vec()),
        (&turn, Vec::new()),
        (&younger, body.clone()),
    ] {
        let before = calls(&wacht);
        let fields = [("turn", turn.as_bytes()), ("body", &body)];
        let (): () = hand.hset_multiple(&name, &fields).unwrap();
        let another = replica(&wacht, &redis.url(), SELDOM);
        assert!(admits(&another, &key).await);
        eventually("it reads for itself", async || stats(&another).lists == 1).await;
        assert!(admits(&another, &key).await);
        assert_eq!((stats(&another).shared, calls(&wacht)), (0, before + 1));
    }
}

#[tokio::test]
async fn a_reader_of_keys_that_has_died_is_taken_over() {
    let Some(redis) = Redis::start() else { return };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let first = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&first, &key).await);
    eventually("its list is read", async || stats(&first).lists == 1).await;
    let mut hand = redis.connection();
    let name = page(&mut hand);
    dies_reading(&mut hand, &name);
    let second = replica(&wacht, &redis.url(), SELDOM);
    assert!(admits(&second, &key).await);
    eventually("the second reads", async || stats(&second).lists == 1).await;
    let kept: bool = hand.exists(&name).unwrap();
    assert!(kept, "it is there for the next one");
}

#[tokio::test]
async fn replicas_that_are_left_go_on_reading() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let wacht = wacht().await;
    let key = wacht.issue_key("orders").issue();
    let [first, second] = [(); 2].map(|()| replica(&wacht, &redis.url(), OFTEN));
    assert!(admits(&first, &key).await && admits(&second, &key).await);
    eventually("both have had lists", async || {
        [&first, &second]
            .map(stats)
            .iter()
            .all(|it| it.lists + it.shared > 1)
    })
    .await;
    drop(first);
    let before = stats(&second).lists;
    eventually("the second reads", async || stats(&second).lists > before).await;
    redis.kill();
    let before = stats(&second).lists;
    eventually("and without a store", async || {
        stats(&second).lists > before
    })
    .await;
}
