//! Which calls are made again, and how often.

use std::time::Duration;

use http::StatusCode;

use wacht_auth::client::{RetryPolicy, WachtClientBuilder};
use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::models::{
    ApiAuthApp, CheckRequest, CreateApiKeyRequest, RevokeApiKeyRequest, UpdateApiAuthAppRequest,
};
use wacht_auth::{Error, WachtClient};

fn at(gateway: &DevGateway) -> WachtClientBuilder {
    WachtClient::builder(gateway.management_key())
        .api_url(gateway.url())
        .gateway_url(gateway.url())
}

fn at_once() -> RetryPolicy {
    RetryPolicy::default().first_delay(Duration::ZERO)
}

/// A call that only reads.
async fn read(client: &WachtClient) -> Result<ApiAuthApp, Error> {
    client.api_keys().get_api_auth_app("a").send().await
}

async fn gateway() -> (DevGateway, WachtClient) {
    let gateway = DevGateway::start().await;
    gateway.app("a");
    let client = at(&gateway).retries(at_once()).build().unwrap();
    (gateway, client)
}

#[tokio::test]
async fn a_call_that_only_reads_is_repeated_until_it_succeeds() {
    let (gateway, client) = gateway().await;
    for fault in [
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(429),
        Fault::Drop,
        Fault::HalfAnswer,
    ] {
        gateway.journal().clear();
        gateway.fault_times(On::Management, fault.clone(), 2);
        let app = read(&client).await;
        assert!(app.is_ok(), "{fault:?}: {app:?}");
        assert_eq!(gateway.journal().management_calls(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_call_is_made_as_often_as_the_policy_says() {
    let (gateway, client) = gateway().await;
    gateway.fault(On::Management, Fault::Status(503));
    let with = |policy| at(&gateway).retries(policy).build().unwrap();
    for (client, attempts) in [
        (client, 3),
        (with(at_once().attempts(5)), 5),
        (with(at_once().attempts(0)), 1),
        (with(RetryPolicy::none()), 1),
        (at(&gateway).no_retries().build().unwrap(), 1),
    ] {
        gateway.journal().clear();
        let error = client
            .api_keys()
            .list_api_keys("a")
            .send()
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(gateway.journal().management_calls(), attempts);
    }
}

#[tokio::test]
async fn a_definite_answer_is_not_asked_for_again() {
    let (gateway, client) = gateway().await;
    for status in [400, 403, 404, 409, 422] {
        gateway.journal().clear();
        gateway.fault_times(On::Management, Fault::Status(status), 1);
        let error = read(&client).await.unwrap_err();
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
        assert_eq!(gateway.journal().management_calls(), 1, "{status}");
    }
    gateway.journal().clear();
    gateway.fault_times(On::Management, Fault::body(200, "application/json", "{"), 1);
    let error = read(&client).await;
    assert!(matches!(error, Err(Error::Decode(_))));
    assert_eq!(gateway.journal().management_calls(), 1);
}

#[tokio::test]
async fn a_401_is_tried_once_more_and_no_further() {
    let (gateway, client) = gateway().await;
    gateway.fault_times(On::Management, Fault::Status(401), 1);
    assert!(read(&client).await.is_ok());
    assert_eq!(gateway.journal().management_calls(), 2);

    gateway.journal().clear();
    gateway.fault(On::Management, Fault::Status(401));
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(gateway.journal().management_calls(), 2);
}

#[tokio::test]
async fn a_call_that_changes_something_is_made_once() {
    let (gateway, client) = gateway().await;
    gateway.fault(On::Everything, Fault::Status(503));
    let keys = client.api_keys();
    let update = UpdateApiAuthAppRequest::default();
    let results = [
        keys.create_api_key("a", CreateApiKeyRequest::default())
            .send()
            .await
            .map(drop),
        keys.revoke_api_key("a", 1, RevokeApiKeyRequest::default())
            .send()
            .await,
        keys.rotate_api_key("a", 1).send().await.map(drop),
        keys.update_api_auth_app("a", update).send().await.map(drop),
        keys.delete_api_auth_app("a").send().await,
        keys.delete_rate_limit_scheme("s").send().await,
    ];
    let calls = results.len();
    for result in results {
        assert!(result.unwrap_err().is_transient());
    }
    assert_eq!(gateway.journal().management_calls(), calls);

    let check = CheckRequest::api_key("sk_0");
    assert!(
        client
            .gateway()
            .check(check)
            .send()
            .await
            .unwrap_err()
            .is_transient()
    );
    assert_eq!(gateway.journal().checks(), 1);
}

#[tokio::test]
async fn a_wait_that_is_longer_than_the_time_left_ends_the_call_at_once() {
    use super::{Canned, with_status};

    let server = Canned::start().await;
    let mut busy = with_status(429, "");
    busy.headers_mut().insert("retry-after", 60.into());
    server.answer(busy);
    let client = WachtClient::builder(super::MANAGEMENT_KEY)
        .api_url(server.url())
        .gateway_url(server.url())
        .retries(at_once().total(Duration::from_secs(30)))
        .build()
        .unwrap();
    let error = read(&client).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(server.take_asked().len(), 1);

    let mut soon = with_status(503, "");
    soon.headers_mut().insert("retry-after", 0.into());
    server.answer(soon);
    assert!(read(&client).await.is_err());
    assert_eq!(
        server.take_asked().len(),
        3,
        "no time asked for is no reason to stop"
    );
}

#[tokio::test]
async fn all_attempts_together_end_with_the_total_time() {
    let (gateway, _) = gateway().await;
    gateway.fault(On::Management, Fault::Hang);
    let policy = at_once().attempts(1000).total(Duration::from_millis(100));
    let client = at(&gateway).retries(policy).build().unwrap();
    let error = read(&client).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(gateway.journal().management_calls(), 1);
}

#[tokio::test]
async fn a_dropped_call_is_not_made_again() {
    let (gateway, client) = gateway().await;
    let journal = gateway.journal();
    gateway.fault_times(On::Management, Fault::Hang, 1);
    let keys = client.api_keys();
    tokio::select! {
        result = keys.get_api_auth_app("a").send() => panic!("it hangs: {result:?}"),
        () = journal.wait_for_management_calls(1) => {}
    }
    assert!(keys.get_api_auth_app("a").send().await.is_ok());
    assert_eq!(journal.management_calls(), 2);
}

#[tokio::test]
async fn the_readiness_check_of_a_gate_is_one_management_call() {
    let (gateway, client) = gateway().await;
    gateway.fault(On::Management, Fault::Status(503));
    let gate = wacht_auth::WachtAuthLayer::new(client).app("a");
    assert!(gate.handle().check().await.is_err());
    assert_eq!(gateway.journal().management_calls(), 1);
}
