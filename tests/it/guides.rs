//! The two published guides, as written. Their code and their lists are numbered S1 to S24 as they
//! are printed: S1 to S20 are the "API Keys Guide", S21 to S24 are "API Auth and OAuth".
//!
//! `guides/api_keys.rs` and `guides/api_auth_and_oauth.rs` hold their snippets word for word, with
//! the name of the crate changed in `use` lines, and no other change but in the two calls that
//! differ by decision: revoking and rotating a key (S13, S14) need the slug of its app. Every
//! snippet is compiled against the crate and then run against a dev gateway. What the guides only
//! list is used in the shape it has there.

use std::cell::RefCell;
use std::error::Error;

use chrono::TimeDelta;
use serde_json::json;

use wacht_auth::WachtClient;
use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::models::{
    ApiKey, CheckRequest, CreateRateLimitSchemeRequest, RateLimit, RateLimitMode, RateLimitUnit,
};

mod calls;
mod second;

/// Takes names that stand one below the other, as the guide lists them.
macro_rules! named {
    ($($kind:ident :: $name:ident)*) => {
        vec![$($kind::$name.as_str().to_owned()),*]
    };
}

/// The snippets against the crate itself, where `WachtClient::new` leads to the real Wacht: they
/// are compiled, and those that ask nobody are run.
#[allow(
    dead_code,
    unused_imports,
    unused_variables,
    clippy::all,
    reason = "a guide is not linted"
)]
mod as_written {
    include!("guides/api_keys.rs");
}

/// The same text with another `WachtClient::new`, and with printing that is kept.
#[allow(
    dead_code,
    unused_imports,
    unused_variables,
    clippy::all,
    reason = "a guide is not linted"
)]
mod on_stage {
    /// The crate, but for one name, which is found before what comes by `*`.
    mod wacht_auth {
        pub use ::wacht_auth::*;

        pub struct WachtClient;

        impl WachtClient {
            pub fn new(key: &str) -> ::wacht_auth::WachtClient {
                assert_eq!(key, "wk_live_...");
                super::super::STAGE.with(|stage| stage.client.clone())
            }
        }
    }

    macro_rules! println {
        ($($said:tt)*) => { super::say(format!($($said)*)) };
    }
    macro_rules! eprintln {
        ($($said:tt)*) => { super::say(format!($($said)*)) };
    }

    include!("guides/api_keys.rs");
}

/// What a snippet finds when it runs.
struct Stage {
    client: WachtClient,
    said: RefCell<Vec<String>>,
}

tokio::task_local! {
    static STAGE: Stage;
}

fn say(line: String) {
    STAGE.with(|stage| stage.said.borrow_mut().push(line));
}

/// Runs a snippet against this Wacht, and gives its value and what it printed.
async fn run<T>(
    wacht: &DevGateway,
    snippet: impl Future<Output = Result<T, Box<dyn Error>>>,
) -> (T, Vec<String>) {
    let stage = Stage {
        client: wacht.client(),
        said: RefCell::default(),
    };
    let run = async {
        let value = snippet.await.expect("a guide's code works");
        (value, STAGE.with(|stage| stage.said.take()))
    };
    STAGE.scope(stage, run).await
}

/// The last call that arrived, and what it was answered.
fn last_call(wacht: &DevGateway) -> String {
    let entry = wacht.journal().entries().pop().unwrap();
    let query = entry
        .query
        .map_or(String::new(), |query| format!("?{query}"));
    let status = entry.status.unwrap();
    format!("{} {}{query} {status}", entry.method, entry.path)
}

async fn keys(wacht: &DevGateway) -> Vec<ApiKey> {
    let keys = wacht.client().api_keys();
    let list = keys.list_api_keys("my-integration").include_inactive(true);
    list.send().await.unwrap()
}

async fn accepts(wacht: &DevGateway, secret: &str) -> bool {
    let check = CheckRequest::api_key(secret).resource("/orders");
    let answer = wacht.client().gateway().check(check).send().await;
    answer.is_ok_and(|answer| answer.allowed)
}

// S1. With a runtime of its own, and against the crate itself: making a client asks nobody.
#[test]
fn prerequisites() {
    as_written::prerequisites().unwrap();
}

// S2, S3
#[tokio::test]
async fn list_api_auth_apps() {
    let wacht = DevGateway::start().await;
    wacht.app("my-integration");
    wacht.app("retired").set_active(false);

    let ((), said) = run(&wacht, on_stage::list_api_auth_apps()).await;
    assert_eq!(said, ["my-integration (active: true)"]);
    assert_eq!(
        last_call(&wacht),
        "GET /api-auth/apps?limit=100&offset=0 200"
    );
    let (all, _) = run(&wacht, on_stage::include_inactive_apps()).await;
    assert_eq!(all, 2);
    assert_eq!(
        last_call(&wacht),
        "GET /api-auth/apps?limit=100&offset=0&include_inactive=true 200"
    );
}

// S5, S4
#[tokio::test]
async fn create_api_auth_app_and_get_it() {
    let wacht = DevGateway::start().await;
    let ((), said) = run(&wacht, on_stage::basic_app_creation()).await;
    assert_eq!(said, ["Created app: my-integration"]);
    assert_eq!(last_call(&wacht), "POST /api-auth/apps 200");

    let ((), said) = run(&wacht, on_stage::get_api_auth_app()).await;
    assert_eq!(said, ["App: My Integration (ID: my-integration)"]);
    assert_eq!(last_call(&wacht), "GET /api-auth/apps/my-integration 200");

    let keys = wacht.client().api_keys();
    let app = keys.get_api_auth_app("my-integration").send().await;
    let app = app.unwrap();
    assert_eq!(app.key_prefix, "sk_live");
    assert_eq!(
        app.description.as_deref(),
        Some("Integration with external service")
    );
    assert_eq!(app.rate_limit_scheme_slug, None);
}

// S6, with the scheme that it takes for granted made from S17.
#[tokio::test]
async fn create_api_auth_app_with_rate_limiting() {
    let wacht = DevGateway::start().await;
    let keys = wacht.client().api_keys();
    let scheme = CreateRateLimitSchemeRequest {
        slug: "my-rate-limit-scheme".to_owned(),
        name: "Mine".to_owned(),
        description: None,
        rules: vec![on_stage::example_rate_limit_configuration()],
    };
    keys.create_rate_limit_scheme(scheme).send().await.unwrap();

    run(&wacht, on_stage::with_rate_limiting()).await;
    let app = keys.get_api_auth_app("my-integration-with-rate-limit");
    let app = app.send().await.unwrap();
    assert_eq!(
        app.rate_limit_scheme_slug.as_deref(),
        Some("my-rate-limit-scheme")
    );
    assert_eq!(app.rate_limits[0].max_requests, 100);
}

// S7
#[tokio::test]
async fn update_api_auth_app() {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("my-integration").issue();
    assert!(accepts(&wacht, key.secret()).await);

    run(&wacht, on_stage::update_api_auth_app()).await;
    assert_eq!(last_call(&wacht), "PATCH /api-auth/apps/my-integration 200");
    let app = wacht.client().api_keys().get_api_auth_app("my-integration");
    let app = app.send().await.unwrap();
    assert_eq!(
        (app.name.as_str(), app.is_active),
        ("Updated Integration Name", false)
    );
    assert!(!accepts(&wacht, key.secret()).await);
}

// S8
#[tokio::test]
async fn delete_api_auth_app() {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("my-integration").issue();
    run(&wacht, on_stage::delete_api_auth_app()).await;
    assert_eq!(
        last_call(&wacht),
        "DELETE /api-auth/apps/my-integration 200"
    );
    assert!(!accepts(&wacht, key.secret()).await);
}

// S9, S10
#[tokio::test]
async fn list_api_keys() {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("my-integration").name("ci").issue();
    let old = wacht.issue_key("my-integration").issue();
    wacht.revoke(old.key_id());

    let ((), said) = run(&wacht, on_stage::list_api_keys()).await;
    let suffix = &key.secret()[key.secret().len() - 8..];
    assert_eq!(said, [format!("ci: sk_test***{suffix} (active: true)")]);
    assert_eq!(
        last_call(&wacht),
        "GET /api-auth/apps/my-integration/keys 200"
    );
    let (all, _) = run(&wacht, on_stage::include_inactive_keys()).await;
    assert_eq!(all, 2);
}

// S11
#[tokio::test]
async fn create_api_key() {
    let wacht = DevGateway::start().await;
    wacht.app("my-integration");
    let ((), said) = run(&wacht, on_stage::basic_key_creation()).await;
    assert_eq!(
        last_call(&wacht),
        "POST /api-auth/apps/my-integration/keys 200"
    );
    let secret = said[0].strip_prefix("API Key: ").unwrap();
    assert!(accepts(&wacht, secret).await);
    let key = keys(&wacht).await.remove(0);
    assert_eq!(
        (key.name.as_str(), key.expires_at),
        ("Production Key", None)
    );
}

// S12
#[tokio::test]
async fn create_api_key_with_permissions_and_expiration() {
    let wacht = DevGateway::start().await;
    wacht.app("my-integration");
    let ((), said) = run(&wacht, on_stage::with_permissions_and_expiration()).await;
    let secret = said[0].strip_prefix("API Key: ").unwrap();
    assert!(accepts(&wacht, secret).await);
    let key = keys(&wacht).await.remove(0);
    let expires_at = key.expires_at.unwrap();
    assert_eq!(said[1], format!("Expires: {expires_at}"));
    let passed = key.created_at + TimeDelta::days(365) - expires_at;
    assert!((0..60).contains(&passed.num_seconds()), "{passed}");
    assert_eq!(key.permissions, ["users:read", "orgs:read"]);
    assert_eq!(key.metadata, json!({"environment": "production"}));
}

// S13, in the form that names the app.
#[tokio::test]
async fn revoke_api_key() {
    let wacht = DevGateway::start().await;
    let key = wacht.issue_key("my-integration").issue();
    let id = key.key_id().to_string();
    run(&wacht, on_stage::revoke_api_key(&id)).await;
    assert_eq!(
        last_call(&wacht),
        format!("POST /api-auth/apps/my-integration/keys/{id}/revoke 200")
    );
    assert!(!accepts(&wacht, key.secret()).await);
    let reason = keys(&wacht).await.remove(0).revoked_reason;
    assert_eq!(reason.as_deref(), Some("Key no longer needed"));
}

// S14, in the form that names the app.
#[tokio::test]
async fn rotate_api_key() {
    let wacht = DevGateway::start().await;
    let old = wacht.issue_key("my-integration").issue();
    let id = old.key_id().to_string();
    let ((), said) = run(&wacht, on_stage::rotate_api_key(&id)).await;
    assert_eq!(
        last_call(&wacht),
        format!("POST /api-auth/apps/my-integration/keys/{id}/rotate 200")
    );
    let new = said[0].strip_prefix("New key: ").unwrap();
    assert!(accepts(&wacht, new).await);
    assert!(!accepts(&wacht, old.secret()).await);
}

// S15, S16, S17
#[test]
fn rate_limit_units_modes_and_the_example_configuration() {
    assert_eq!(
        as_written::rate_limit_units(),
        ["second", "minute", "hour", "day"]
    );
    assert_eq!(
        as_written::rate_limit_modes(),
        ["per_key", "per_ip", "per_key_and_ip"]
    );
    let RateLimit {
        unit,
        duration,
        max_requests,
        mode,
    } = as_written::example_rate_limit_configuration();
    assert_eq!(
        (unit, duration, max_requests, mode),
        (RateLimitUnit::Minute, 1, 100, Some(RateLimitMode::PerKey))
    );
}

// S18, S19. One request of the guide is no type here: rotating a key needs no more than its name.
#[test]
fn builders_and_request_models_have_the_names_of_the_guide() {
    use wacht_auth::api::api_keys::{ListApiAuthAppsBuilder, ListApiKeysBuilder};
    #[expect(unused_imports, reason = "that the names are there is the test")]
    use wacht_auth::models::{
        CreateApiAuthAppRequest, CreateApiKeyRequest, RevokeApiKeyRequest, UpdateApiAuthAppRequest,
    };

    let keys = WachtClient::new("wk_live_...").api_keys();
    let _: ListApiAuthAppsBuilder = keys.list_api_auth_apps().include_inactive(true);
    let _: ListApiKeysBuilder = keys.list_api_keys("my-integration").include_inactive(true);
}

// S20: the match of the guide in each of its arms. No other test of this process may call `init`.
#[tokio::test]
async fn error_handling() {
    let wacht = DevGateway::start().await;
    let handle_errors = || async {
        let snippet = async {
            on_stage::error_handling().await;
            Ok(())
        };
        run(&wacht, snippet).await.1.remove(0)
    };

    let said = handle_errors().await;
    assert!(
        said.starts_with("Other error: ") && said.contains("init"),
        "{said}"
    );
    let client = WachtClient::builder(wacht.management_key())
        .api_url(wacht.url())
        .no_retries();
    wacht_auth::init(client.build().unwrap()).unwrap();
    assert_eq!(
        handle_errors().await,
        "API Error 404 Not Found: API key app not found"
    );
    wacht.app("my-integration");
    assert_eq!(handle_errors().await, "App: my-integration");
    wacht.fault(On::Management, Fault::Drop);
    let said = handle_errors().await;
    assert!(said.starts_with("Network error: "), "{said}");
}
