//! The code of the second guide, word for word, against the crate itself: it is given its client.

use wacht_auth::dev::DevGateway;
use wacht_auth::models::{
    CreateOAuthAppRequest, RateLimitMode, RateLimitUnit, UpdateOAuthScopeRequest,
};

#[allow(clippy::all, reason = "a guide is not linted")]
mod as_written {
    include!("api_auth_and_oauth.rs");
}

// S23, S24
#[tokio::test]
async fn api_auth_and_oauth_example() {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let app = CreateOAuthAppRequest {
        slug: "acme-oauth".to_owned(),
        name: "Acme OAuth".to_owned(),
        supported_scopes: Some(vec!["openid".to_owned(), "email".to_owned()]),
        ..Default::default()
    };
    client.oauth().create_oauth_app(app).send().await.unwrap();
    let words = UpdateOAuthScopeRequest {
        display_name: Some("Your address".to_owned()),
        ..Default::default()
    };
    let call = client
        .oauth()
        .update_oauth_scope("acme-oauth", "email", words);
    call.send().await.unwrap();

    as_written::api_auth_and_oauth_example(&client)
        .await
        .unwrap();

    let scheme = client.api_keys().get_rate_limit_scheme("internal-default");
    let scheme = scheme.send().await.unwrap();
    assert_eq!(scheme.name, "Internal Default");
    let rule = &scheme.rules[0];
    assert_eq!(
        (&rule.unit, rule.max_requests, &rule.mode),
        (&RateLimitUnit::Minute, 120, &Some(RateLimitMode::PerKey))
    );
    let app = client.oauth().list_oauth_apps().send().await.unwrap();
    let app = &app[0];
    assert_eq!(app.name, "Acme OAuth v2");
    assert_eq!(app.supported_scopes, ["email", "openid", "profile"]);
    assert_eq!(
        app.scope_definitions[0].display_name, "Your address",
        "no definitions in the request are no wish to lose them"
    );
}
