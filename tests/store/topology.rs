//! Stores of more than one server: a cluster, and a master that sentinels know.

use std::time::Duration;

use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;

use crate::server::{Redis, connection};
use crate::stage::{Replica, eventually};

/// A cluster of three nodes, each with a third of the slots.
fn cluster() -> Option<[Redis; 3]> {
    let node =
        || Redis::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
    let nodes = [node()?, node()?, node()?];
    for (node, slots) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
        let mut hand = node.connection();
        let add = redis::cmd("CLUSTER")
            .arg("ADDSLOTSRANGE")
            .arg(slots.0)
            .arg(slots.1)
            .exec(&mut hand);
        add.unwrap();
        for other in &nodes {
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(other.port());
            meet.exec(&mut hand).unwrap();
        }
    }
    Some(nodes)
}

async fn is_whole(nodes: &[Redis]) {
    eventually("the nodes of the cluster know each other", async || {
        nodes.iter().all(|node| {
            let info: String = redis::cmd("CLUSTER")
                .arg("INFO")
                .query(&mut node.connection())
                .unwrap();
            let whole = format!("cluster_known_nodes:{}", nodes.len());
            info.contains("cluster_state:ok") && info.contains(&whole)
        })
    })
    .await;
}

#[tokio::test]
async fn a_cluster_is_a_store() {
    let Some(nodes) = cluster() else { return };
    is_whole(&nodes).await;
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let hosts = nodes
        .each_ref()
        .map(|node| format!("127.0.0.1:{}", node.port()));
    // Found through any of them.
    let [one, all] =
        [hosts[2].clone(), hosts.join(",")].map(|hosts| format!("redis+cluster://{hosts}"));
    let [here, there] = [one, all].map(|url| Replica::new(&wacht, &url));
    there.hears(&here, &wacht).await;
    here.hears(&there, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    here.revoke(&key).await;
    there.refuses(&key).await;
    assert!(!there.gate.stats().store.unwrap().away);
}

/// A master, a copy of it, and a sentinel that knows both.
fn watched_master() -> Option<(Redis, Redis, Redis)> {
    let master = Redis::start()?;
    let port = master.port().to_string();
    let copy = Redis::start_with(&["--replicaof", "127.0.0.1", &port])?;
    let sentinel = Redis::start_sentinel()?;
    let mut hand = sentinel.connection();
    for command in [
        vec!["MONITOR", "main", "127.0.0.1", &port, "1"],
        vec!["SET", "main", "down-after-milliseconds", "300"],
        vec!["SET", "main", "failover-timeout", "2000"],
    ] {
        redis::cmd("SENTINEL").arg(command).exec(&mut hand).unwrap();
    }
    Some((master, copy, sentinel))
}

#[tokio::test]
async fn sentinels_may_have_a_password_of_their_own() {
    let Some((_master, _copy, sentinel)) = watched_master() else {
        return;
    };
    let mut hand = sentinel.connection();
    for user in [
        ["gate", "on", ">of-gate", "+@all"],
        ["default", "on", "resetpass", ">of-sentinels"],
    ] {
        let mut set = redis::cmd("ACL");
        set.arg("SETUSER").arg(&user).exec(&mut hand).unwrap();
    }
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let store = |password: Option<&str>| {
        let builder = RedisStore::builder(&url).deadline(Duration::from_secs(10));
        let builder = match password {
            Some(password) => builder.sentinel_password(password),
            None => builder,
        };
        assert!(!format!("{builder:?}").contains("of-sentinels"));
        builder.build().unwrap()
    };
    let knows = || store(Some("of-sentinels"));
    let [here, there] = [(); 2].map(|()| Replica::with(&wacht, knows()));
    there.hears(&here, &wacht).await;
    let user = RedisStore::builder(&url)
        .deadline(Duration::from_secs(10))
        .sentinel_user("gate")
        .sentinel_password("of-gate");
    let user = Replica::with(&wacht, user.build().unwrap());
    user.gate.check().await.unwrap();
    for password in [None, Some("another")] {
        let stranger = Replica::with(&wacht, store(password));
        let error = stranger.gate.check().await.unwrap_err().to_string();
        assert!(!error.contains("another"), "{error}");
    }
    let single = RedisStore::builder("redis://127.0.0.1").sentinel_password("of-sentinels");
    let error = single.build().unwrap_err().to_string();
    assert!(error.contains("sentinels") && !error.contains("of-sentinels"));
}

#[tokio::test]
async fn a_master_that_fails_over_takes_no_revocation_with_it_for_good() {
    let Some((mut master, copy, sentinel)) = watched_master() else {
        return;
    };
    eventually("the sentinel knows the copy", async || {
        let mut hand = sentinel.connection();
        let copies: Vec<redis::Value> = redis::cmd("SENTINEL")
            .arg(&["REPLICAS", "main"])
            .query(&mut hand)
            .unwrap();
        let info: String = redis::cmd("INFO")
            .arg("replication")
            .query(&mut copy.connection())
            .unwrap();
        copies.len() == 1 && info.contains("master_link_status:up")
    })
    .await;
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let store = || {
        let builder = RedisStore::builder(&url).deadline(Duration::from_secs(1));
        builder.build().unwrap()
    };
    let [here, there] = [(); 2].map(|()| Replica::with(&wacht, store()));
    there.hears(&here, &wacht).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    master.kill();
    here.revoke(&key).await;
    there.refuses(&key).await;
    let mut hand = connection(&copy.url()).unwrap();
    let role: redis::Value = redis::cmd("ROLE").query(&mut hand).unwrap();
    assert!(format!("{role:?}").contains("master"), "{role:?}");
    there.hears(&here, &wacht).await;
}
