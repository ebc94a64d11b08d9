//! What one replica revokes and changes, all of them know.

use wacht_auth::Error;
use wacht_auth::client::ConfigErrorKind;
use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::models::{CreateApiAuthAppRequest, UpdateApiAuthAppRequest};
use wacht_auth::store::RedisStore;
use wacht_auth::{WachtAuthLayer, WachtClient};

use crate::server::Redis;
use crate::stage::{Replica, eventually, own_client, patient};

async fn three(redis: &Redis) -> (DevGateway, [Replica; 3]) {
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let replicas = [(); 3].map(|()| Replica::new(&wacht, &redis.url()));
    for replica in &replicas {
        replica.hears(&replicas[0], &wacht).await;
    }
    (wacht, replicas)
}

#[tokio::test]
async fn a_revocation_in_one_replica_is_refused_in_all_although_the_gateway_says_yes() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, replicas) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    for replica in &replicas {
        assert!(replica.admits(&key).await);
    }
    let other = wacht.issue_key("orders").issue();
    replicas[0].gate.revoke_key_id(key.key_id());
    for replica in &replicas {
        replica.refuses(&key).await;
        assert!(replica.admits(&other).await, "nobody else is meant");
    }
}

#[tokio::test]
async fn every_way_to_end_a_key_travels() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let [revoked, rotated, by_secret, by_id] = [(); 4].map(|()| wacht.issue_key("orders").issue());
    for key in [&revoked, &rotated, &by_secret, &by_id] {
        assert!(there.admits(key).await);
    }
    here.revoke(&revoked).await;
    let keys = here.client.api_keys();
    keys.rotate_api_key("orders", rotated.key_id())
        .send()
        .await
        .unwrap();
    here.gate.revoke_secret(by_secret.secret());
    here.gate.revoke_key_id(by_id.key_id());
    for key in [&revoked, &rotated, &by_secret, &by_id] {
        there.refuses(key).await;
    }
}

#[tokio::test]
async fn a_key_is_refused_elsewhere_while_the_call_is_still_out() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    wacht.fault(On::Management, Fault::Hang);
    let client = here.client.clone();
    let id = key.key_id();
    let call = tokio::spawn(async move {
        let keys = client.api_keys();
        keys.revoke_api_key("orders", id, Default::default())
            .send()
            .await
    });
    there.refuses(&key).await;
    assert!(!call.is_finished());
    // Given up: nobody knows what came of it, so it stays as it is.
    call.abort();
    assert!(call.await.is_err());
    there.hears(&here, &wacht).await;
    assert!(!there.admits(&key).await);
}

#[tokio::test]
async fn a_call_that_has_revoked_nothing_is_taken_back_everywhere() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    let held = wacht.hold(On::Management);
    let client = here.client.clone();
    let id = key.key_id();
    let call = tokio::spawn(async move {
        let keys = client.api_keys();
        keys.revoke_api_key("an-app-that-is-not", id, Default::default())
            .send()
            .await
    });
    drop(held);
    assert!(call.await.unwrap().unwrap_err().is_not_found());
    there.hears(&here, &wacht).await;
    assert!(there.admits(&key).await && here.admits(&key).await);
}

#[tokio::test]
async fn an_app_that_is_closed_and_opened_again_is_so_everywhere() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, third]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(here.admits(&key).await && there.admits(&key).await && third.admits(&key).await);
    let active = |is_active| UpdateApiAuthAppRequest {
        is_active: Some(is_active),
        ..Default::default()
    };
    for _ in 0..3 {
        let apps = here.client.api_keys();
        apps.update_api_auth_app("orders", active(false))
            .send()
            .await
            .unwrap();
        there.refuses(&key).await;
        third.refuses(&key).await;
        // By another one than has closed it: the order is that of the stream.
        let apps = there.client.api_keys();
        apps.update_api_auth_app("orders", active(true))
            .send()
            .await
            .unwrap();
        for replica in [&here, &there, &third] {
            eventually("it is open again", async || replica.admits(&key).await).await;
        }
    }
}

#[tokio::test]
async fn an_app_that_is_opened_at_once_by_another_replica_is_open_there() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(here.admits(&key).await && there.admits(&key).await);
    let active = |is_active| UpdateApiAuthAppRequest {
        is_active: Some(is_active),
        ..Default::default()
    };
    let apps = here.client.api_keys();
    apps.update_api_auth_app("orders", active(false))
        .send()
        .await
        .unwrap();
    // Before it has read that the app was closed, perhaps.
    let apps = there.client.api_keys();
    apps.update_api_auth_app("orders", active(true))
        .send()
        .await
        .unwrap();
    for replica in [&here, &there] {
        eventually("it is open", async || replica.admits(&key).await).await;
    }
}

#[tokio::test]
async fn a_deleted_app_and_a_created_one_are_known_everywhere() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    here.client
        .api_keys()
        .delete_api_auth_app("orders")
        .send()
        .await
        .unwrap();
    there.refuses(&key).await;
    let request = CreateApiAuthAppRequest {
        app_slug: "orders".to_owned(),
        name: "orders".to_owned(),
        key_prefix: "sk_test".to_owned(),
        ..Default::default()
    };
    let apps = there.client.api_keys();
    apps.create_api_auth_app(request).send().await.unwrap();
    let fresh = wacht.issue_key("orders").issue();
    eventually("a key of the new app passes", async || {
        here.admits(&fresh).await && there.admits(&fresh).await
    })
    .await;
}

#[tokio::test]
async fn what_one_replica_forgets_all_ask_about_again() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    let forgets: [&dyn Fn(&Replica); 4] = [
        &|replica| replica.gate.invalidate_secret(key.secret()),
        &|replica| replica.gate.invalidate_key_id(key.key_id()),
        &|replica| replica.gate.invalidate_app("orders"),
        &|replica| replica.gate.invalidate_all(),
    ];
    for forget in forgets {
        assert!(there.admits(&key).await);
        let before = wacht.journal().checks();
        forget(&here);
        eventually("the key is asked about again", async || {
            assert!(there.admits(&key).await);
            wacht.journal().checks() > before
        })
        .await;
    }
}

#[tokio::test]
async fn a_job_that_only_revokes_needs_no_gate() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [_, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(there.admits(&key).await);
    let client = WachtClient::builder(wacht.management_key())
        .api_url(wacht.url())
        .gateway_url(wacht.url())
        .store(RedisStore::connect(redis.url()).unwrap())
        .build()
        .unwrap();
    let keys = client.api_keys();
    keys.revoke_api_key("orders", key.key_id(), Default::default())
        .send()
        .await
        .unwrap();
    there.refuses(&key).await;
}

#[tokio::test]
async fn a_replica_that_starts_late_reads_what_was_revoked_before() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, ..]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    here.gate.revoke_key_id(key.key_id());
    here.hears(&here, &wacht).await;
    let late = Replica::new(&wacht, &redis.url());
    late.refuses(&key).await;
}

#[tokio::test]
async fn two_deployments_in_one_store_do_not_hear_each_other() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let ours = Replica::new(&wacht, &redis.url());
    let other = wacht.other_deployment();
    let theirs = Replica::of(
        own_client(&wacht, other.management_key()),
        patient(&redis.url()),
    );
    let same_as_ours = Replica::new(&wacht, &redis.url());

    let key = wacht.issue_key("orders").issue();
    assert!(ours.admits(&key).await && same_as_ours.admits(&key).await);
    // What it names could be ours, were it not another's.
    theirs.gate.revoke_key_id(key.key_id());
    theirs.gate.revoke_secret(key.secret());
    ours.hears(&same_as_ours, &wacht).await;
    assert!(ours.admits(&key).await);
}

#[tokio::test]
async fn two_management_keys_of_one_deployment_share_where_the_store_names_it() {
    let Some(redis) = Redis::start() else { return };
    let wacht = DevGateway::start().await;
    wacht.app("orders");
    let other = wacht.other_deployment();
    let store = || {
        let builder = RedisStore::builder(redis.url()).deployment(7);
        builder
            .deadline(std::time::Duration::from_secs(10))
            .build()
            .unwrap()
    };
    let here = Replica::with(&wacht, store());
    // Another key; that it is another deployment's makes no difference to what is said.
    let there = Replica::of(own_client(&wacht, other.management_key()), store());
    let key = wacht.issue_key("orders").issue();
    assert!(here.admits(&key).await);
    there.gate.revoke_key_id(key.key_id());
    here.refuses(&key).await;
}

#[tokio::test]
async fn a_client_has_one_store() {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let [one, two] =
        [1, 2].map(|port| RedisStore::connect(format!("redis://127.0.0.1:{port}")).unwrap());
    let build = |store: &RedisStore| {
        WachtAuthLayer::builder(client.clone())
            .store(store.clone())
            .build()
    };
    assert!(build(&one).is_ok());
    assert!(build(&one).is_ok(), "the same once more");
    match build(&two) {
        Err(Error::Config(error)) => assert_eq!(error.kind(), ConfigErrorKind::Store),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn own_events_come_back_and_change_nothing() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let key = wacht.issue_key("orders").issue();
    assert!(here.admits(&key).await);
    let checks = wacht.journal().checks();
    here.gate.invalidate_key_id(key.key_id());
    assert!(here.admits(&key).await);
    // By now it has come back.
    here.hears(&there, &wacht).await;
    let probe = 1;
    assert!(here.admits(&key).await);
    assert_eq!(
        wacht.journal().checks(),
        checks + 1 + probe,
        "forgotten once"
    );
}

/// Two gates on one client are one replica, and each hears of an event once.
#[tokio::test]
async fn gates_on_one_client_share_one_reader() {
    let Some(redis) = Redis::start() else { return };
    let (wacht, [here, there, _]) = three(&redis).await;
    let store = patient(&redis.url());
    let second = WachtAuthLayer::builder(there.client.clone())
        .build()
        .unwrap();
    drop(store);
    let second = Replica {
        client: there.client.clone(),
        gate: second.app("orders").handle(),
    };
    let key = wacht.issue_key("orders").issue();
    assert!(second.admits(&key).await && there.admits(&key).await);
    here.gate.revoke_key_id(key.key_id());
    second.refuses(&key).await;
    there.refuses(&key).await;
}
