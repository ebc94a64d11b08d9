//! The stream of events, as it may come to be: with gaps, garbage, doubles, and from a store that has
//! forgotten everything.

use std::time::Duration;

use redis::{Commands, Connection, cmd};
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::{CachePolicy, StoreStats};

use crate::proxy::{Link, Proxy};
use crate::server::Redis;
use crate::stage::{Replica, eventually};

/// A replica that reads, and a hand in the stream.
struct Stage {
    redis: Redis,
    wacht: DevGateway,
    replica: Replica,
    hand: Connection,
    /// Entries so far.
    number: u64,
}

impl Stage {
    async fn new() -> Option<Self> {
        let redis = Redis::start()?;
        let wacht = DevGateway::start().await;
        wacht.app("orders");
        // What is due is due at once.
        let policy = CachePolicy::default().stale_while_revalidate(Duration::ZERO);
        let replica = Replica::with_cache(&wacht, &redis.url(), policy);
        replica
            .hears(&Replica::new(&wacht, &redis.url()), &wacht)
            .await;
        let hand = redis.connection();
        Some(Self {
            redis,
            wacht,
            replica,
            hand,
            number: 0,
        })
    }

    fn key(&self) -> DevKey {
        self.wacht.issue_key("orders").issue()
    }

    fn name(&mut self, of: &str) -> String {
        let keys: Vec<String> = self.hand.keys(format!("wacht:{of}:{{*")).unwrap();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys.into_iter().next().unwrap()
    }

    fn id(&mut self) -> String {
        self.number += 1;
        format!("[7,{}]", self.number)
    }

    /// Appends an entry as the script does.
    fn append(&mut self, event: &str) {
        let (ledger, stream) = (self.name("events"), self.name("events:stream"));
        let born: String = self.hand.hget(&ledger, "born").unwrap();
        let seq: u64 = self.hand.hincr(&ledger, "seq", 1).unwrap();
        let fields = [
            ("born", &*born),
            ("seq", &*seq.to_string()),
            ("event", event),
        ];
        xadd(&mut self.hand, &stream, "*", &fields);
    }

    fn event(&mut self, id: &str, at: &str, event: &str) {
        self.append(&format!(r#"{{"by":{id},"at":"{at}",{event}}}"#));
    }

    /// Waits until all that was appended is read.
    async fn is_read(&mut self) {
        let (key, id) = (self.key(), self.id());
        assert!(self.replica.admits(&key).await);
        self.event(&id, "done", &revoke(&key));
        self.replica.refuses(&key).await;
    }

    fn stats(&self) -> StoreStats {
        self.replica.gate.stats().store.unwrap()
    }
}

/// What anybody who reaches the store can do.
fn xadd(hand: &mut Connection, stream: &str, id: &str, fields: &[(&str, &str)]) {
    let mut xadd = cmd("XADD");
    xadd.arg(stream).arg(id);
    for (name, value) in fields {
        xadd.arg(name).arg(value);
    }
    xadd.exec(hand).unwrap();
}

fn revoke(key: &DevKey) -> String {
    format!(r#""event":"revoke_key_id","key_id":{}"#, key.key_id())
}

#[tokio::test]
async fn garbage_is_skipped_and_counted() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let stream = stage.name("events:stream");
    for fields in [
        vec![("x", "y")],
        vec![("born", "x"), ("seq", "not a number"), ("event", "{}")],
        vec![("seq", "1"), ("born", "x"), ("event", "{}")],
        vec![("born", "x"), ("seq", "1"), ("event", "{}"), ("more", "")],
    ] {
        xadd(&mut stage.hand, &stream, "*", &fields);
    }
    stage.append("what no replica says");
    stage.append(r#"{"by":[7,1],"at":"sent","event":"what a later version says"}"#);
    stage.is_read().await;
    let stats = stage.stats();
    assert_eq!((stats.events_skipped, stats.events_missed), (6, 0));
}

#[tokio::test]
async fn a_million_bytes_of_garbage_do_not_stay() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let stream = stage.name("events:stream");
    let long = "x".repeat(1 << 20);
    for _ in 0..20 {
        xadd(&mut stage.hand, &stream, "*", &[("event", &long)]);
    }
    for number in 0..2_000 {
        let number = number.to_string();
        let entry = [("event", &*number)];
        xadd(&mut stage.hand, &stream, "*", &entry);
    }
    stage.is_read().await;
    assert_eq!(stage.stats().events_skipped, 2_020);
}

#[tokio::test]
async fn an_entry_with_the_highest_of_all_ids_does_not_end_the_stream() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let stream = stage.name("events:stream");
    let last = format!("{}-{}", u64::MAX, u64::MAX);
    xadd(&mut stage.hand, &stream, &last, &[("x", "y")]);
    let other = Replica::new(&stage.wacht, &stage.redis.url());
    stage.replica.hears(&other, &stage.wacht).await;
}

#[tokio::test]
async fn something_else_in_the_place_of_the_stream_is_removed() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let other = Replica::new(&stage.wacht, &stage.redis.url());
    for of in ["events:stream", "events", "replicas"] {
        let name = stage.name(of);
        let () = stage.hand.set(&name, "not what it should be").unwrap();
        stage.replica.hears(&other, &stage.wacht).await;
    }
}

#[tokio::test]
async fn an_event_that_comes_twice_counts_once() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let (key, id) = (stage.key(), stage.id());
    assert!(stage.replica.admits(&key).await);
    stage.event(&id, "sent", &revoke(&key));
    stage.replica.refuses(&key).await;
    stage.event(&id, "sent", &revoke(&key));
    stage.event(&id, "nothing", &revoke(&key));
    stage.event(&id, "nothing", &revoke(&key));
    stage.event(&id, "sent", &revoke(&key));
    stage.is_read().await;
    assert!(
        stage.replica.admits(&key).await,
        "it was taken back, whatever came after that"
    );
}

#[tokio::test]
async fn an_outcome_may_come_before_its_beginning() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let [nothing, done] = [stage.key(), stage.key()];
    assert!(stage.replica.admits(&nothing).await && stage.replica.admits(&done).await);
    for (key, outcome) in [(&nothing, "nothing"), (&done, "done")] {
        let id = stage.id();
        stage.event(&id, outcome, &revoke(key));
        stage.event(&id, "sent", &revoke(key));
    }
    stage.is_read().await;
    assert!(stage.replica.admits(&nothing).await);
    assert!(!stage.replica.admits(&done).await);
}

#[tokio::test]
async fn an_app_is_opened_again_by_what_came_behind_its_closing_alone() {
    let app = r#""event":"close_app","app":"orders""#;
    let open = r#""event":"open_app","app":"orders""#;
    // What is first, and whether the app is open at the end.
    let one_after_the_other = [
        ("close", "sent"),
        ("close", "done"),
        ("open", "sent"),
        ("open", "done"),
    ];
    let overlapping = [
        ("close", "sent"),
        ("open", "sent"),
        ("close", "done"),
        ("open", "done"),
    ];
    let untold = [
        ("close", "sent"),
        ("close", "done"),
        ("open", "sent"),
        ("open", "done_untold"),
    ];
    let without_beginning = [
        ("close", "sent"),
        ("close", "done"),
        ("open", "done"),
        ("open", "sent"),
    ];
    for (order, is_open) in [
        (one_after_the_other, true),
        (overlapping, false),
        (untold, false),
        (without_beginning, false),
    ] {
        let Some(mut stage) = Stage::new().await else {
            return;
        };
        let key = stage.key();
        assert!(stage.replica.admits(&key).await);
        let (closing, opening) = (stage.id(), stage.id());
        for (what, at) in order {
            match what {
                "close" => stage.event(&closing, at, app),
                _ => stage.event(&opening, at, open),
            }
        }
        // The app of the entry that says that all was read must not be the closed one.
        stage.wacht.app("others");
        eventually("all is read", async || {
            let stats = stage.replica.gate.stats().store.unwrap();
            stats.events_behind == 0 && stage.replica.admits(&key).await == is_open
        })
        .await;
    }
}

#[tokio::test]
async fn a_gap_has_every_key_verified_again() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let key = stage.key();
    assert!(stage.replica.admits(&key).await);
    stage.is_read().await;
    let checks = stage.wacht.journal().checks();
    assert!(stage.replica.admits(&key).await);
    assert_eq!(stage.wacht.journal().checks(), checks, "fresh");

    // Revoked elsewhere, and the entry was lost.
    stage.wacht.revoke(key.key_id());
    let ledger = stage.name("events");
    let _: u64 = stage.hand.hincr(ledger, "seq", 1).unwrap();
    let id = stage.id();
    stage.event(&id, "done", r#""event":"change_app","app":"others""#);
    stage.replica.refuses(&key).await;
    assert_eq!(stage.stats().events_missed, 1);
}

#[tokio::test]
async fn entries_that_were_dropped_unread_are_missed() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let network = Proxy::to(redis.port()).await;
    let policy = CachePolicy::default().stale_while_revalidate(Duration::ZERO);
    let cut_off = Replica::with_cache(&wacht, &network.url(), policy);
    let other = Replica::new(&wacht, &redis.url());
    cut_off.hears(&other, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(cut_off.admits(&key).await && other.admits(&key).await);

    network.is_now(Link::Cut);
    other.gate.revoke_key_id(key.key_id());
    let mut hand = redis.connection();
    eventually("it is told", async || {
        other.gate.stats().store.unwrap().events_untold == 0
    })
    .await;
    let streams: Vec<String> = hand.keys("wacht:events:stream:*").unwrap();
    let dropped: u64 = cmd("XTRIM")
        .arg(&streams[0])
        .arg("MAXLEN")
        .arg(0)
        .query(&mut hand)
        .unwrap();
    assert!(dropped > 0);
    wacht.revoke(key.key_id());
    network.is_now(Link::Good);
    cut_off.refuses(&key).await;
    assert_eq!(cut_off.gate.stats().store.unwrap().events_missed, 1);
    cut_off.hears(&other, &wacht).await;
}

#[tokio::test]
async fn what_comes_while_a_replica_is_cut_off_it_reads_afterwards() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let network = Proxy::to(redis.port()).await;
    let cut_off = Replica::new(&wacht, &network.url());
    let other = Replica::new(&wacht, &redis.url());
    cut_off.hears(&other, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(cut_off.admits(&key).await);
    network.is_now(Link::Cut);
    other.gate.revoke_key_id(key.key_id());
    // What it says itself waits.
    let its_own = wacht.issue_key("orders").issue();
    assert!(other.admits(&its_own).await);
    cut_off.gate.revoke_key_id(its_own.key_id());
    eventually("it is known to be cut off", async || {
        cut_off.gate.stats().store.unwrap().away
    })
    .await;
    network.is_now(Link::Good);
    cut_off.refuses(&key).await;
    other.refuses(&its_own).await;
    let stats = cut_off.gate.stats().store.unwrap();
    assert_eq!(stats.events_missed, 0, "a stream that is whole is no gap");
}

#[tokio::test]
async fn a_store_that_restarts_empty_has_every_key_verified_again() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    let key = stage.key();
    assert!(stage.replica.admits(&key).await);
    stage.wacht.revoke(key.key_id());
    assert!(stage.replica.admits(&key).await, "fresh");
    stage.redis.restart();
    stage.replica.refuses(&key).await;
    assert_eq!(stage.stats().events_missed, 1);
    let other = Replica::new(&stage.wacht, &stage.redis.url());
    stage.replica.hears(&other, &stage.wacht).await;
}

#[tokio::test]
async fn replicas_that_are_alive_are_counted() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let replicas = [(); 3].map(|()| Replica::new(&wacht, &redis.url()));
    let key = wacht.issue_key("orders").issue();
    for replica in &replicas {
        assert!(replica.admits(&key).await);
    }
    eventually("all three are counted", async || {
        let seen = replicas
            .iter()
            .map(|replica| replica.gate.stats().store.unwrap().replicas);
        seen.eq([Some(3); 3])
    })
    .await;
}

#[tokio::test]
async fn the_stream_goes_when_nobody_uses_it() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    for of in ["events", "events:stream", "replicas"] {
        let name = stage.name(of);
        let left: i64 = stage.hand.pttl(name).unwrap();
        assert!(left > 24 * 3600 * 1000, "{of}: {left} ms");
    }
}
