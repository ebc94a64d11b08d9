//! What a user would write without the gate: tower-http's authorization, which looks a key's digest
//! up in a map, and `tower_governor`, which counts by key and sends its header fields.
//!
//! Nothing expires, is revoked or is shared with another process.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tower_governor::GovernorLayer;
use tower_governor::errors::GovernorError;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::KeyExtractor;
use tower_http::auth::AsyncRequireAuthorizationLayer;

use crate::Result;

/// What is known of a key, for handlers.
#[derive(Debug)]
#[allow(dead_code, reason = "it is there to be handed on")]
struct Caller {
    key_id: i64,
    app: String,
    permissions: Vec<String>,
}

pub(crate) fn authorized(app: Router, secrets: &[String]) -> Router {
    let known = |(key_id, secret): (i64, &String)| {
        let caller = Caller {
            key_id,
            app: "orders".to_owned(),
            permissions: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        };
        (digest(secret), Arc::new(caller))
    };
    let callers: HashMap<[u8; 32], Arc<Caller>> = (1..).zip(secrets).map(known).collect();
    let callers = Arc::new(callers);
    app.layer(AsyncRequireAuthorizationLayer::new(
        move |mut request: Request| {
            let callers = Arc::clone(&callers);
            async move {
                let caller = bearer(&request).and_then(|secret| callers.get(&digest(secret)));
                let refused = || StatusCode::UNAUTHORIZED.into_response();
                let caller = caller.ok_or_else(refused)?;
                request.extensions_mut().insert(Arc::clone(caller));
                Ok::<_, Response>(request)
            }
        },
    ))
}

/// For an app that is authorized before.
pub(crate) fn limited(app: Router) -> Result<Router> {
    let mut config = GovernorConfigBuilder::default();
    // Counted, and never reached.
    config.per_nanosecond(30).burst_size(2_000_000_000);
    let config = config.key_extractor(ByKey).use_headers().finish();
    Ok(app.layer(GovernorLayer::new(config.ok_or("there is no such quota")?)))
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn bearer(request: &Request) -> Option<&str> {
    let credential = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    credential.strip_prefix("Bearer ")
}

/// By the id of the key, which the authorization has found.
#[derive(Clone, Copy, Debug)]
struct ByKey;

impl KeyExtractor for ByKey {
    type Key = i64;

    fn extract<T>(&self, request: &http::Request<T>) -> Result<i64, GovernorError> {
        let caller = request.extensions().get::<Arc<Caller>>();
        let caller = caller.ok_or(GovernorError::UnableToExtractKey)?;
        Ok(caller.key_id)
    }
}
