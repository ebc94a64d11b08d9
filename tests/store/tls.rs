//! A store behind TLS.

use wacht_auth::dev::DevGateway;
use wacht_auth::store::RedisStore;

use crate::server::Redis;
use crate::stage::{Replica, eventually};

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/certificate.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/key.pem");

#[tokio::test]
async fn a_store_is_trusted_by_its_certificate() {
    let Some(redis) = Redis::start_with_tls(CERTIFICATE, KEY) else {
        return;
    };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let url = format!("rediss://localhost:{}", redis.port());
    let trusting = || {
        let builder =
            RedisStore::builder(&url).root_certificates(std::fs::read(CERTIFICATE).unwrap());
        builder
            .deadline(std::time::Duration::from_secs(10))
            .build()
            .unwrap()
    };
    let [here, there] = [(); 2].map(|()| Replica::with(&wacht, trusting()));
    there.hears(&here, &wacht).await;

    let suspicious = Replica::with(&wacht, RedisStore::connect(&url).unwrap());
    let key = wacht.issue_key("orders").issue();
    assert!(suspicious.admits(&key).await);
    eventually("who does not trust it does without", async || {
        suspicious.gate.stats().store.unwrap().away
    })
    .await;
}
