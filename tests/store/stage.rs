//! Replicas of one service: gates with clients and stores of their own, as in processes of their own.

use std::time::Duration;

use redis::{Commands, Connection};
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::store::RedisStore;
use wacht_auth::{
    AuthContext, AuthHandle, CachePolicy, Limits, RejectionKind, WachtAuthLayer, WachtClient,
};

use crate::server::PATIENCE;

/// One replica.
pub struct Replica {
    pub client: WachtClient,
    pub gate: AuthHandle,
}

impl Replica {
    /// One that shares this store. Slow machines are not to look like a store that is down.
    pub fn new(wacht: &DevGateway, url: &str) -> Self {
        Self::with(wacht, patient(url))
    }

    pub fn with(wacht: &DevGateway, store: RedisStore) -> Self {
        Self::of(own_client(wacht, wacht.management_key()), store)
    }

    pub fn of(client: WachtClient, store: RedisStore) -> Self {
        Self::build(client, store, CachePolicy::default())
    }

    pub fn with_cache(wacht: &DevGateway, url: &str, policy: CachePolicy) -> Self {
        let client = own_client(wacht, wacht.management_key());
        Self::build(client, patient(url), policy)
    }

    fn build(client: WachtClient, store: RedisStore, policy: CachePolicy) -> Self {
        let layer = WachtAuthLayer::builder(client.clone())
            .limits(Limits::off())
            .cache(policy)
            .store(store);
        let gate = layer.build().unwrap().app("orders").handle();
        Self { client, gate }
    }

    /// Whether the key passes now.
    pub async fn admits(&self, key: &DevKey) -> bool {
        let context = AuthContext::new("/orders");
        match self.gate.authenticate_key(key.secret(), &context).await {
            Ok(_) => true,
            Err(rejection) => {
                assert_eq!(rejection.kind(), RejectionKind::InvalidKey, "{rejection:?}");
                false
            }
        }
    }

    pub async fn refuses(&self, key: &DevKey) {
        eventually("the key is refused", async || !self.admits(key).await).await;
    }

    pub async fn revoke(&self, key: &DevKey) {
        let keys = self.client.api_keys();
        let revoked = keys.revoke_api_key("orders", key.key_id(), Default::default());
        revoked.send().await.unwrap();
    }

    /// Waits until what the others say is read here.
    pub async fn hears(&self, other: &Self, wacht: &DevGateway) {
        let probe = wacht.issue_key("orders").issue();
        assert!(self.admits(&probe).await);
        other.gate.revoke_key_id(probe.key_id());
        self.refuses(&probe).await;
    }
}

/// A client that shares nothing with other clients of this process.
pub fn own_client(wacht: &DevGateway, management_key: &str) -> WachtClient {
    wacht.client_with(management_key)
}

/// A store that is given all the time there is.
pub fn patient(url: &str) -> RedisStore {
    let builder = RedisStore::builder(url).deadline(Duration::from_secs(10));
    builder.build().unwrap()
}

/// Waits until this holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until_then = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, until_then).await;
    assert!(in_time.is_ok(), "in vain: {what}");
}

/// The page is gone, and whoever has taken the turn to read it says nothing more.
pub fn dies_reading(hand: &mut Connection, page: &str) {
    let turn = page.replacen("wacht:page:", "wacht:page:reader:", 1);
    let _: u64 = hand.del(page).unwrap();
    let mut set = redis::cmd("SET");
    set.arg(turn).arg("a dead one 1").arg("PX").arg(300);
    set.exec(hand).unwrap();
}
