//! What a client does to keys and apps takes effect in every gate built on it, at once.
//!
//! The dev gateway lags as the real one does, so that it goes on saying yes after a revocation.

use std::time::Duration;

use wacht_auth::dev::{DevGateway, DevKey, Fault, ManualClock, On};
use wacht_auth::models::{CreateApiAuthAppRequest, RevokeApiKeyRequest, UpdateApiAuthAppRequest};
use wacht_auth::{Error, RejectionKind, WachtAuthLayer, WachtClient};

use crate::scene::Echo;

const INVALID: RejectionKind = RejectionKind::InvalidKey;

/// One client, two gates on it, and a gateway that takes a minute to hear of a revocation.
struct Scene {
    wacht: DevGateway,
    clock: ManualClock,
    client: WachtClient,
    gates: [Echo; 2],
    key: DevKey,
}

impl Scene {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let lag = Duration::from_secs(60);
        let wacht = DevGateway::start().await.clock(&clock).revocation_lag(lag);
        wacht.app("orders");
        let client = wacht.client();
        let gate = || {
            Echo::behind(
                WachtAuthLayer::builder(client.clone())
                    .clock(&clock)
                    .build()
                    .unwrap(),
            )
        };
        let scene = Self {
            gates: [gate(), gate()],
            key: wacht.issue_key("orders").issue(),
            client,
            wacht,
            clock,
        };
        scene.admitted().await;
        scene
    }

    async fn admitted(&self) {
        for gate in &self.gates {
            gate.get(self.key.secret()).await.assert_ok();
        }
    }

    async fn refused(&self) {
        for gate in &self.gates {
            gate.get(self.key.secret()).await.assert_refused(INVALID);
        }
    }

    async fn revoke(&self) -> Result<(), Error> {
        self.client
            .api_keys()
            .revoke_api_key("orders", self.key.key_id(), RevokeApiKeyRequest::default())
            .send()
            .await
    }

    async fn set_active(&self, is_active: bool) {
        let request = UpdateApiAuthAppRequest {
            is_active: Some(is_active),
            ..Default::default()
        };
        let api_keys = self.client.api_keys();
        let update = api_keys.update_api_auth_app("orders", request);
        update.send().await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_everywhere_before_the_call_returns_and_for_good() {
    let scene = Scene::new().await;
    scene.revoke().await.unwrap();
    let checks = scene.wacht.journal().checks();
    scene.refused().await;
    // The gateway would say yes for another minute.
    let elsewhere = WachtAuthLayer::builder(scene.wacht.client())
        .clock(&scene.clock)
        .build()
        .unwrap();
    Echo::behind(elsewhere)
        .get(scene.key.secret())
        .await
        .assert_ok();
    for _ in 0..20 {
        scene.clock.advance(Duration::from_secs(20));
        scene.refused().await;
    }
    assert!(
        scene.wacht.journal().checks() > checks,
        "it was asked about again"
    );
}

#[tokio::test]
async fn a_rotated_key_is_refused_and_the_new_one_is_not() {
    let scene = Scene::new().await;
    let api_keys = scene.client.api_keys();
    let rotate = api_keys.rotate_api_key("orders", scene.key.key_id());
    let new = rotate.send().await.unwrap();
    scene.refused().await;
    scene.gates[0].get(&new.secret).await.assert_ok();
}

#[tokio::test]
async fn a_key_is_refused_from_the_moment_the_call_is_sent() {
    let scene = Scene::new().await;
    let held = scene.wacht.hold(On::Management);
    let before = scene.wacht.journal().management_calls();
    let revoke = tokio::spawn({
        let (client, key_id) = (scene.client.clone(), scene.key.key_id());
        async move {
            client
                .api_keys()
                .revoke_api_key("orders", key_id, RevokeApiKeyRequest::default())
                .send()
                .await
        }
    });
    let journal = scene.wacht.journal();
    journal.wait_for_management_calls(before + 1).await;
    scene.refused().await;
    // The caller who gives up waiting has still sent it.
    revoke.abort();
    assert!(revoke.await.unwrap_err().is_cancelled());
    scene.refused().await;
    held.release();
}

#[tokio::test]
async fn a_call_nobody_sends_refuses_nothing() {
    let scene = Scene::new().await;
    let api_keys = scene.client.api_keys();
    let call =
        api_keys.revoke_api_key("orders", scene.key.key_id(), RevokeApiKeyRequest::default());
    drop(call.send());
    scene.admitted().await;
}

#[tokio::test]
async fn an_unknown_outcome_keeps_the_key_out() {
    for fault in [
        Fault::Status(500),
        Fault::Status(502),
        Fault::Drop,
        Fault::HalfAnswer,
    ] {
        let scene = Scene::new().await;
        scene.wacht.fault(On::Management, fault.clone());
        scene.revoke().await.unwrap_err();
        scene.wacht.clear_faults();
        scene.refused().await;
        scene.clock.advance(Duration::from_secs(170));
        scene.refused().await;
    }
}

#[tokio::test]
async fn a_definite_answer_that_nothing_was_revoked_lets_the_key_in_again() {
    for status in [400, 403, 404, 422] {
        let scene = Scene::new().await;
        scene.wacht.fault(On::Management, enveloped(status));
        scene.revoke().await.unwrap_err();
        scene.wacht.clear_faults();
        scene.admitted().await;
    }
}

// The management API has the gateway look at the management key, and says 401 when it could not.
#[tokio::test]
async fn an_answer_of_wachts_own_that_says_nothing_keeps_the_key_out() {
    for status in [401, 408, 429] {
        let scene = Scene::new().await;
        scene.wacht.fault(On::Management, enveloped(status));
        scene.revoke().await.unwrap_err();
        scene.wacht.clear_faults();
        scene.refused().await;
    }
}

fn enveloped(status: u16) -> Fault {
    let envelope = format!(r#"{{"errors":[{{"message":"no","code":{status}}}]}}"#);
    Fault::body(status, "application/json", envelope)
}

#[tokio::test]
async fn a_key_that_is_let_in_again_has_its_verdict_and_its_grace() {
    let scene = Scene::new().await;
    let checks = scene.wacht.journal().checks();
    scene.wacht.fault(On::Management, enveloped(400));
    scene.revoke().await.unwrap_err();
    scene.wacht.fault(On::Checks, Fault::Status(503));
    scene.admitted().await;
    assert_eq!(scene.wacht.journal().checks(), checks);
    scene.clock.advance(Duration::from_secs(320));
    scene.admitted().await;
}

#[tokio::test]
async fn revoking_a_key_id_under_another_app_refuses_nobody() {
    let scene = Scene::new().await;
    scene.wacht.app("billing");
    let api_keys = scene.client.api_keys();
    let (key_id, request) = (scene.key.key_id(), RevokeApiKeyRequest::default());
    let revoke = api_keys.revoke_api_key("billing", key_id, request);
    let error = revoke.send().await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    scene.admitted().await;
    // The key of a call that is not answered at all might be that app's.
    scene.wacht.fault(On::Management, Fault::Drop);
    let rotate = api_keys.rotate_api_key("billing", key_id);
    rotate.send().await.unwrap_err();
    scene.admitted().await;
}

#[tokio::test]
async fn an_app_that_is_closed_and_opened_by_calls_that_overlap_stays_closed() {
    for first in [true, false] {
        let scene = Scene::new().await;
        let held = scene.wacht.hold(On::Management);
        let journal = scene.wacht.journal();
        let mut calls = Vec::new();
        for is_active in [first, !first] {
            let before = journal.management_calls();
            let client = scene.client.clone();
            let request = UpdateApiAuthAppRequest {
                is_active: Some(is_active),
                ..Default::default()
            };
            calls.push(tokio::spawn(async move {
                let api_keys = client.api_keys();
                let update = api_keys.update_api_auth_app("orders", request);
                update.send().await.unwrap()
            }));
            journal.wait_for_management_calls(before + 1).await;
        }
        held.release();
        for call in calls {
            call.await.unwrap();
        }
        scene.refused().await;
        // One that is sent after both were answered is clear.
        scene.set_active(true).await;
        scene.admitted().await;
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_wachts_own_lets_no_key_in_again() {
    for status in [400, 403, 404, 429] {
        let scene = Scene::new().await;
        let proxy = Fault::body(status, "text/html", "<h1>proxy</h1>");
        scene.wacht.fault(On::Management, proxy);
        scene.revoke().await.unwrap_err();
        scene.wacht.clear_faults();
        scene.refused().await;
    }
}

#[tokio::test]
async fn rotating_a_key_that_is_revoked_already_keeps_it_out() {
    let scene = Scene::new().await;
    scene.wacht.revoke(scene.key.key_id());
    let api_keys = scene.client.api_keys();
    let rotate = api_keys.rotate_api_key("orders", scene.key.key_id());
    rotate.send().await.unwrap_err();
    scene.refused().await;
}

#[tokio::test]
async fn already_revoked_is_revoked() {
    let scene = Scene::new().await;
    scene.wacht.revoke(scene.key.key_id());
    let error = scene.revoke().await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    scene.refused().await;
}

#[tokio::test]
async fn of_two_calls_the_one_that_failed_takes_nothing_back() {
    let scene = Scene::new().await;
    let elsewhere = scene.client.api_keys().revoke_api_key(
        "no-such-app",
        scene.key.key_id(),
        RevokeApiKeyRequest::default(),
    );
    scene.revoke().await.unwrap();
    elsewhere.send().await.unwrap_err();
    scene.refused().await;
}

#[tokio::test]
async fn a_yes_in_flight_when_the_revocation_is_sent_opens_nothing() {
    let scene = Scene::new().await;
    let cold = scene.wacht.issue_key("orders").issue();
    let held = scene.wacht.hold_checks();
    let before = scene.wacht.journal().checks();
    let waiting = scene.gates[0].spawn_get(cold.secret());
    scene.wacht.journal().wait_for_checks(before + 1).await;
    let api_keys = scene.client.api_keys();
    let revoke = api_keys.revoke_api_key("orders", cold.key_id(), RevokeApiKeyRequest::default());
    revoke.send().await.unwrap();
    held.release();
    waiting.await.unwrap().assert_refused(INVALID);
    scene.gates[0]
        .get(cold.secret())
        .await
        .assert_refused(INVALID);
}

#[tokio::test]
async fn a_revocation_costs_the_checks_of_other_keys_nothing() {
    let scene = Scene::new().await;
    let other = scene.wacht.issue_key("orders").issue();
    let held = scene.wacht.hold_checks();
    let before = scene.wacht.journal().checks();
    let waiting = scene.gates[0].spawn_get(other.secret());
    scene.wacht.journal().wait_for_checks(before + 1).await;
    scene.revoke().await.unwrap();
    held.release();
    waiting.await.unwrap().assert_ok();
    scene.gates[0].get(other.secret()).await.assert_ok();
    assert_eq!(
        scene.wacht.journal().checks(),
        before + 1,
        "its answer was kept"
    );
}

#[tokio::test]
async fn a_deactivated_app_closes_at_once_and_an_activated_one_opens_at_once() {
    let scene = Scene::new().await;
    scene.set_active(false).await;
    scene.refused().await;
    scene.set_active(true).await;
    scene.admitted().await;
}

#[tokio::test]
async fn a_deleted_app_closes_at_once_and_opens_when_it_is_made_again() {
    let scene = Scene::new().await;
    let api_keys = scene.client.api_keys();
    api_keys.delete_api_auth_app("orders").send().await.unwrap();
    scene.refused().await;
    let again = CreateApiAuthAppRequest {
        app_slug: "orders".to_owned(),
        name: "Orders".to_owned(),
        key_prefix: "sk".to_owned(),
        ..Default::default()
    };
    api_keys.create_api_auth_app(again).send().await.unwrap();
    let new = scene.wacht.issue_key("orders").issue();
    for gate in &scene.gates {
        gate.get(new.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn an_update_that_ends_no_key_refuses_nobody_and_brings_the_policy_up_to_date() {
    let scene = Scene::new().await;
    let policies = || scene.wacht.journal().count("GET", "/api-auth/apps/orders");
    let (checks, before) = (scene.wacht.journal().checks(), policies());
    let request = UpdateApiAuthAppRequest {
        name: Some("Orders, renamed".to_owned()),
        ..Default::default()
    };
    let api_keys = scene.client.api_keys();
    let update = api_keys.update_api_auth_app("orders", request);
    update.send().await.unwrap();
    scene.admitted().await;
    assert_eq!(
        scene.wacht.journal().checks(),
        checks,
        "the keys stay known"
    );
    crate::scene::eventually(async || policies() == before + 2).await;
}

#[tokio::test]
async fn a_gate_that_is_built_after_a_revocation_refuses_the_key_as_well() {
    let scene = Scene::new().await;
    let lost = scene.wacht.issue_key("orders").issue();
    scene
        .wacht
        .fault_times(On::Management, Fault::Status(503), 1);
    let api_keys = scene.client.api_keys();
    let revoke = |key: &DevKey| {
        api_keys.revoke_api_key("orders", key.key_id(), RevokeApiKeyRequest::default())
    };
    revoke(&lost).send().await.unwrap_err();
    revoke(&scene.key).send().await.unwrap();

    let other = scene.wacht.issue_key("orders").issue();
    let late = Echo::behind(
        WachtAuthLayer::builder(scene.client.clone())
            .clock(&scene.clock)
            .build()
            .unwrap(),
    );
    for key in [&scene.key, &lost] {
        late.get(key.secret()).await.assert_refused(INVALID);
    }
    late.get(other.secret()).await.assert_ok();
}

#[tokio::test]
async fn what_the_handle_of_one_gate_revokes_is_refused_in_every_gate_of_its_client() {
    for by_id in [true, false] {
        let scene = Scene::new().await;
        let layer = || {
            WachtAuthLayer::builder(scene.client.clone())
                .clock(&scene.clock)
                .build()
                .unwrap()
        };
        let handle = layer().handle();
        match by_id {
            true => handle.revoke_key_id(scene.key.key_id()),
            false => handle.revoke_secret(scene.key.secret()),
        }
        scene.refused().await;
        let late = Echo::behind(layer());
        late.get(scene.key.secret()).await.assert_refused(INVALID);
        let elsewhere = WachtAuthLayer::builder(scene.wacht.client())
            .clock(&scene.clock)
            .build()
            .unwrap();
        let elsewhere = Echo::behind(elsewhere);
        elsewhere.get(scene.key.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn a_gate_that_is_gone_is_no_burden_to_its_client() {
    let scene = Scene::new().await;
    for _ in 0..100 {
        drop(WachtAuthLayer::new(scene.client.clone()));
    }
    scene.revoke().await.unwrap();
    scene.refused().await;
}
