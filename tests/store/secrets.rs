//! What must be nowhere: the password and the place of the store, management keys, callers' keys.

use redis::Commands;
use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;
use wacht_auth::{AuthContext, WachtAuthLayer, WachtClient};

use crate::log::Log;
use crate::server::Redis;
use crate::stage::{Replica, eventually};

const PASSWORD: &str = "p4ssw0rd-of-the-store";
const USER: &str = "user-of-the-store";
const HOST: &str = "host-of-the-store.invalid";

fn assert_hidden(text: &str) {
    for secret in [PASSWORD, USER, HOST] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn nothing_shows_where_the_store_is_or_who_asks_it() {
    for scheme in [
        "redis",
        "rediss",
        "redis+cluster",
        "valkey+cluster",
        "rediss+sentinel",
    ] {
        let path = if scheme.ends_with("sentinel") {
            "/main"
        } else {
            ""
        };
        let url = format!("{scheme}://{USER}:{PASSWORD}@{HOST}:6390{path}");
        let builder = RedisStore::builder(&url);
        assert_hidden(&format!("{builder:?}"));
        let store = builder.build().unwrap();
        assert_hidden(&format!("{store:?}"));
        let client = WachtClient::builder("wk_live_x").store(store.clone());
        assert_hidden(&format!("{client:?}"));
        let client = client.build().unwrap();
        assert_hidden(&format!("{client:?}"));
        let layer = WachtAuthLayer::builder(client).store(store);
        assert_hidden(&format!("{layer:?}"));
        let layer = layer.build().unwrap();
        assert_hidden(&format!("{layer:?} {:?}", layer.handle()));
    }
}

#[test]
fn errors_repeat_nothing_of_a_url() {
    for url in [
        format!("{USER}:{PASSWORD}@{HOST}"),
        format!("http://{USER}:{PASSWORD}@{HOST}"),
        format!("redis://{USER}:{PASSWORD}@{HOST}:not-a-port"),
        format!("redis://{USER}:{PASSWORD}@{HOST}/not-a-number"),
        format!("redis://{USER}:{PASSWORD}@{HOST}?{PASSWORD}"),
        format!("rediss://{USER}:{PASSWORD}@{HOST}#insecure"),
        format!("redis://{USER}:{PASSWORD}@{HOST},{HOST}"),
        format!("redis+cluster://{USER}:{PASSWORD}@{HOST}/2"),
        format!("redis+sentinel://{USER}:{PASSWORD}@{HOST}"),
        format!("redis+{PASSWORD}://{USER}:{PASSWORD}@{HOST}"),
        format!("redis://{USER}:%FF@{HOST}"),
        format!("redis://{USER}:{PASSWORD}@[{HOST}"),
        String::new(),
    ] {
        let error = RedisStore::connect(&url).unwrap_err();
        assert_hidden(&format!("{error} {error:?}"));
    }
    let builder = RedisStore::builder(format!("rediss://{USER}:{PASSWORD}@{HOST}"));
    let error = builder.root_certificates(PASSWORD).build();
    assert_hidden(&format!("{error:?}"));
}

#[tokio::test]
async fn the_log_has_neither_password_nor_user_nor_what_the_server_says() {
    let Some(redis) = Redis::start_with(&["--requirepass", "another"]) else {
        return;
    };
    let log = Log::default();
    let _guard = log.listen();
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let url = format!("redis://{USER}:{PASSWORD}@127.0.0.1:{}", redis.port());
    let replica = Replica::with(&wacht, RedisStore::connect(url).unwrap());
    let key = wacht.issue_key("orders").issue();
    assert!(replica.admits(&key).await);
    eventually("the store is away", async || {
        replica.gate.stats().store.unwrap().away
    })
    .await;
    replica.revoke(&key).await;
    let error = replica.gate.check().await.unwrap_err();
    let error = format!(
        "{error} {error:?} {:?}",
        replica.client.flush_events().await
    );
    let text = log.text();
    for text in [&text, &error] {
        assert_hidden(text);
        assert!(!text.contains(&format!(":{}", redis.port())), "{text}");
        assert!(!text.contains(key.secret()) && !text.contains(wacht.management_key()));
    }
    let times = text.matches("the store is away: nothing is shared").count();
    assert_eq!(times, 1, "said once: {text}");
}

#[tokio::test]
async fn the_store_holds_no_key_in_any_form_that_could_be_used() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let [here, there] = [(); 2].map(|()| Replica::new(&wacht, &redis.url()));
    let key = wacht.issue_key("orders").issue();
    there.hears(&here, &wacht).await;
    here.gate.revoke_secret(key.secret());
    here.gate.invalidate_secret(key.secret());
    there.refuses(&key).await;
    let context = AuthContext::new("/orders");
    assert!(
        here.gate
            .authenticate_key(key.secret(), &context)
            .await
            .is_err()
    );

    let mut hand = redis.connection();
    let keys: Vec<String> = hand.keys("*").unwrap();
    let mut all = keys.join("\n");
    for key in &keys {
        let kind: String = redis::cmd("TYPE").arg(key).query(&mut hand).unwrap();
        let read = match &*kind {
            "hash" => redis::cmd("HGETALL")
                .arg(key)
                .query::<Vec<Vec<u8>>>(&mut hand),
            "zset" => redis::cmd("ZRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .query(&mut hand),
            "string" => redis::cmd("GET")
                .arg(key)
                .query(&mut hand)
                .map(|value| vec![value]),
            "stream" => {
                let entries: redis::Value = redis::cmd("XRANGE")
                    .arg(key)
                    .arg("-")
                    .arg("+")
                    .query(&mut hand)
                    .unwrap();
                Ok(vec![format!("{entries:?}").into_bytes()])
            }
            other => panic!("{key}: {other}"),
        };
        for value in read.unwrap() {
            all += &String::from_utf8_lossy(&value);
        }
    }
    assert!(all.contains("revoke_digest"), "{all}");
    for secret in [key.secret(), wacht.management_key()] {
        assert!(!all.contains(secret));
        assert!(!all.contains(&secret[secret.len() - 16..]));
    }
}
