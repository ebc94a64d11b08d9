//! What a gate learns from the calls of the client it is built on.

use std::time::Duration;

use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::models::{RevokeApiKeyRequest, UpdateApiAuthAppRequest};
use wacht_auth::{RejectionKind, WachtAuthLayer, WachtClient};

use crate::scene::Echo;

/// A Wacht that sticks to a yes for a minute, and a gate that has just let `key` pass.
struct Passed {
    wacht: DevGateway,
    client: WachtClient,
    echo: Echo,
    secret: String,
    key_id: i64,
}

impl Passed {
    async fn new() -> Self {
        let wacht = DevGateway::start()
            .await
            .revocation_lag(Duration::from_secs(60));
        let key = wacht.issue_key("orders").issue();
        let client = wacht.client();
        let echo = Echo::behind(WachtAuthLayer::new(client.clone()).app("orders"));
        echo.get(key.secret()).await.assert_ok();
        Self {
            wacht,
            client,
            echo,
            secret: key.secret().to_owned(),
            key_id: key.key_id(),
        }
    }

    async fn is_refused(&self) -> bool {
        let met = self.echo.get(&self.secret).await;
        match met.kind() {
            None => false,
            Some(RejectionKind::InvalidKey) => true,
            Some(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_gate_refuses_a_key_when_the_call_that_ends_it_returns() {
    let scene = Passed::new().await;
    let keys = scene.client.api_keys();
    let request = RevokeApiKeyRequest::default();
    keys.revoke_api_key("orders", scene.key_id, request)
        .send()
        .await
        .unwrap();
    assert!(scene.is_refused().await);

    let scene = Passed::new().await;
    let keys = scene.client.api_keys();
    let new = keys
        .rotate_api_key("orders", scene.key_id)
        .send()
        .await
        .unwrap();
    assert!(scene.is_refused().await);
    scene.echo.get(&new.secret).await.assert_ok();

    let scene = Passed::new().await;
    scene
        .client
        .api_keys()
        .delete_api_auth_app("orders")
        .send()
        .await
        .unwrap();
    assert!(scene.is_refused().await);
}

#[tokio::test]
async fn a_gate_follows_an_app_that_is_switched_off_and_on() {
    let scene = Passed::new().await;
    let keys = scene.client.api_keys();
    let active = |is_active| UpdateApiAuthAppRequest {
        is_active: Some(is_active),
        ..Default::default()
    };
    keys.update_api_auth_app("orders", active(false))
        .send()
        .await
        .unwrap();
    assert!(scene.is_refused().await);
    keys.update_api_auth_app("orders", active(true))
        .send()
        .await
        .unwrap();
    assert!(!scene.is_refused().await);
    let rename = UpdateApiAuthAppRequest {
        name: Some("Orders".to_owned()),
        ..Default::default()
    };
    keys.update_api_auth_app("orders", rename)
        .send()
        .await
        .unwrap();
    assert!(!scene.is_refused().await);
}

#[tokio::test]
async fn a_lost_answer_refuses_the_key_and_a_refusal_does_not() {
    let scene = Passed::new().await;
    let revoke = |app: &'static str| {
        let keys = scene.client.api_keys();
        keys.revoke_api_key(app, scene.key_id, RevokeApiKeyRequest::default())
    };
    assert!(revoke("another").send().await.unwrap_err().is_not_found());
    assert!(!scene.is_refused().await);

    scene.wacht.fault_times(On::Management, Fault::Drop, 1);
    assert!(revoke("orders").send().await.unwrap_err().is_transient());
    assert!(scene.is_refused().await);
}

#[tokio::test]
async fn a_request_that_is_not_sent_changes_nothing() {
    let scene = Passed::new().await;
    let prefix = UpdateApiAuthAppRequest {
        is_active: Some(false),
        key_prefix: Some("x".to_owned()),
        ..Default::default()
    };
    let call = scene
        .client
        .api_keys()
        .update_api_auth_app("orders", prefix);
    assert!(call.send().await.is_err());
    assert!(!scene.is_refused().await);
}
