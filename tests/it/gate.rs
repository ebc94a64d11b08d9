//! The straight path: what goes in, what comes out, and what the gateway was asked.

use std::time::Duration;

use chrono::DateTime;
use wacht_auth::client::ConfigErrorKind;
use wacht_auth::dev::{DevRule, Fault, On};
use wacht_auth::{
    AuthContext, ClientIp, Error, PrincipalKind, RejectionKind, Requirement, WachtAuthLayer,
    WachtClient,
};

use crate::scene::{Echo, Scene, anonymous, get};

#[tokio::test]
async fn a_known_key_is_asked_about_once_and_its_caller_reaches_the_handler() {
    let scene = Scene::new().await;
    let key = scene.key();
    let echo = Echo::behind(scene.layer().app("orders"));
    for _ in 0..5 {
        let met = echo.get(key.secret()).await;
        met.assert_ok();
        assert_eq!(met.body, "ci");
    }
    let journal = scene.wacht.journal();
    assert_eq!(journal.checks(), 1);
    assert_eq!(journal.count("GET", "/api-auth/apps"), 1);
    assert_eq!(journal.management_calls(), 1);
}

#[tokio::test]
async fn no_key_and_a_wrong_key_never_reach_the_handler() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.layer());
    echo.call(anonymous())
        .await
        .assert_refused(RejectionKind::MissingCredential);
    let unknown = format!("sk_{}", "a".repeat(43));
    echo.get(&unknown)
        .await
        .assert_refused(RejectionKind::InvalidKey);
    echo.get("short")
        .await
        .assert_refused(RejectionKind::InvalidKey);
    assert_eq!(echo.reached(), 0);
    assert_eq!(
        scene.wacht.journal().checks(),
        1,
        "only the well-formed key was worth asking about"
    );
}

#[tokio::test]
async fn a_requirement_said_twice_is_two_requirements() {
    let scene = Scene::new().await;
    let both = scene
        .wacht
        .issue_key("orders")
        .permissions(["a", "b"])
        .issue();
    let one = scene.wacht.issue_key("orders").permissions(["b"]).issue();
    let layer = scene.layer().require("a").unwrap().require("b").unwrap();
    let echo = Echo::behind(layer);
    echo.get(both.secret()).await.assert_ok();
    echo.get(one.secret())
        .await
        .assert_refused(RejectionKind::PermissionDenied);
}

#[tokio::test]
async fn an_option_holds_for_what_is_built_after_it_even_if_the_layer_has_answered_before() {
    let scene = Scene::new().await;
    let key = scene.key();
    let before = scene.layer().realm("before");
    let old = Echo::behind(before.clone());
    for _ in 0..2 {
        old.get("")
            .await
            .assert_refused(RejectionKind::MalformedCredential);
        old.get(key.secret()).await.assert_ok();
    }
    let new = Echo::behind(before.realm("after").require("not-held").unwrap());
    let met = new.get(key.secret()).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert!(met.header("www-authenticate").contains(r#"realm="after""#));
    old.get(key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[tokio::test]
async fn a_handler_checks_by_text_or_by_a_parsed_requirement() {
    let scene = Scene::new().await;
    let key = scene.wacht.issue_key("orders").permissions(["a"]).issue();
    let handle = scene.layer().handle();
    let caller = handle
        .authenticate(&get(key.secret()).into_parts().0)
        .await
        .unwrap();
    let parsed = Requirement::try_from("a OR b").unwrap();
    caller.require(&parsed).unwrap();
    caller.require("a").unwrap();
    let denied = caller.require("a AND b").unwrap_err();
    assert_eq!(denied.kind(), RejectionKind::PermissionDenied);
    let wrong = caller.require("a AND").unwrap_err();
    assert_eq!(wrong.kind(), RejectionKind::Misconfigured);
}

#[tokio::test]
async fn the_handle_judges_requests_and_bare_keys_as_the_layer_does() {
    let scene = Scene::new().await;
    scene
        .wacht
        .app("orders")
        .scheme([DevRule::per_key(2, "minute", 1)]);
    let key = scene.key();
    let layer = scene.layer().app("orders");
    let handle = layer.handle();
    let (parts, _) = get(key.secret()).into_parts();
    let caller = handle.authenticate(&parts).await.unwrap();
    assert_eq!(caller.key_id(), key.key_id());
    let context = AuthContext::new("jobs/import").client_ip("192.0.2.9".parse().unwrap());
    let caller = handle
        .authenticate_key(key.secret(), &context)
        .await
        .unwrap();
    assert_eq!(caller.key_name(), "ci");
    // Both were charged, and to the same counter as the layer's requests.
    let limited = handle.authenticate_key(key.secret(), &context).await;
    assert_eq!(limited.unwrap_err().kind(), RejectionKind::RateLimited);
    Echo::behind(layer)
        .get(key.secret())
        .await
        .assert_refused(RejectionKind::RateLimited);
    for (secret, kind) in [
        ("", RejectionKind::MalformedCredential),
        ("with space", RejectionKind::MalformedCredential),
        ("short", RejectionKind::InvalidKey),
    ] {
        let refused = handle.authenticate_key(secret, &context).await;
        assert_eq!(refused.unwrap_err().kind(), kind, "{secret:?}");
    }
    let nobody = handle.authenticate(&anonymous().into_parts().0).await;
    assert_eq!(nobody.unwrap_err().kind(), RejectionKind::MissingCredential);
    assert_eq!(scene.wacht.journal().checks(), 1);
}

#[test]
fn what_a_layer_is_told_and_cannot_use_has_a_kind() {
    fn networks() -> wacht_auth::Result<()> {
        ClientIp::trusted_proxies(["10.0.0.0/33"])?;
        Ok(())
    }
    fn requirement() -> wacht_auth::Result<()> {
        Requirement::try_from("a AND")?;
        Ok(())
    }
    assert_config(networks(), ConfigErrorKind::ClientIp, "10.0.0.0/33");
    assert_config(requirement(), ConfigErrorKind::Requirement, "");
}

fn assert_config(result: wacht_auth::Result<()>, kind: ConfigErrorKind, text: &str) {
    let Err(Error::Config(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[tokio::test]
async fn check_says_what_keeps_keys_from_being_verified() {
    let scene = Scene::new().await;
    scene.layer().handle().check().await.unwrap();

    let elsewhere = scene
        .builder()
        .deployment(1)
        .build()
        .unwrap()
        .handle()
        .check()
        .await;
    assert_config(elsewhere, ConfigErrorKind::DeploymentMismatch, "");

    let unusable = WachtAuthLayer::new(WachtClient::new("line\nbreak"));
    let unusable = unusable.handle().check().await;
    assert_config(unusable, ConfigErrorKind::ManagementKey, "");

    let nowhere = scene.layer().credentials([]).handle().check().await;
    assert_config(nowhere, ConfigErrorKind::Credentials, "");

    let url = scene.wacht.url();
    let stranger = WachtClient::builder(format!("sk_{}", "k".repeat(43)))
        .api_url(url)
        .gateway_url(url)
        .build()
        .unwrap();
    let refused = WachtAuthLayer::new(stranger).handle().check().await;
    assert_config(refused, ConfigErrorKind::ManagementKey, "WACHT_API_KEY");

    let empty = scene.wacht.other_deployment();
    let empty = scene.wacht.client_with(empty.management_key());
    let empty = WachtAuthLayer::new(empty).handle().check().await;
    assert_config(empty, ConfigErrorKind::NoApps, "");

    let mistyped = scene.layer().apps(["orders", "odrers"]).handle();
    assert_config(
        mistyped.check().await,
        ConfigErrorKind::AppNotFound,
        "`odrers`",
    );

    scene.wacht.fault(On::Checks, Fault::Drop);
    let down = scene.layer().handle().check().await;
    assert!(matches!(down, Err(Error::Request(_))), "{down:?}");
}

#[tokio::test]
async fn options_of_the_view_share_state_and_options_of_the_state_start_afresh() {
    let scene = Scene::new().await;
    let key = scene.key();
    let layer = scene.layer();
    let checks = || scene.wacht.journal().checks();
    Echo::behind(layer.clone())
        .get(key.secret())
        .await
        .assert_ok();
    let view = layer
        .clone()
        .app("orders")
        .realm("x")
        .optional()
        .strip_credential();
    Echo::behind(view).get(key.secret()).await.assert_ok();
    assert_eq!(checks(), 1, "another view of the same state");
    Echo::behind(scene.layer())
        .get(key.secret())
        .await
        .assert_ok();
    assert_eq!(checks(), 2, "two builds are two states");
}

#[tokio::test]
async fn an_unusable_client_or_credential_source_is_a_500_and_not_a_panic() {
    let scene = Scene::new().await;
    let key = scene.key();
    let client = WachtAuthLayer::new(WachtClient::new("line\nbreak"));
    let source = scene.layer().credentials([]);
    for layer in [client, source] {
        Echo::behind(layer)
            .get(key.secret())
            .await
            .assert_refused(RejectionKind::Misconfigured);
    }
}

#[tokio::test]
async fn a_token_is_accepted_only_where_tokens_are_and_never_past_its_end() {
    let scene = Scene::new().await;
    let end = scene.clock.unix_time() + Duration::from_secs(10);
    let token = scene
        .wacht
        .issue_token("orders")
        .scopes(["read"])
        .expires_at(DateTime::from_timestamp(end.as_secs().cast_signed(), 0).unwrap())
        .issue();
    let layer = scene.layer();
    Echo::behind(layer.clone())
        .get(token.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    let layer = layer.accept_oauth_tokens();
    let (parts, _) = get(token.secret()).into_parts();
    let caller = layer.handle().authenticate(&parts).await.unwrap();
    assert_eq!(caller.kind(), PrincipalKind::OauthAccessToken);
    assert!(caller.client_id().is_some());
    assert!(caller.permissions().contains("read"));
    let echo = Echo::behind(layer);
    scene.clock.advance(Duration::from_secs(9));
    echo.get(token.secret()).await.assert_ok();
    scene.clock.advance(Duration::from_secs(1));
    echo.get(token.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
}
