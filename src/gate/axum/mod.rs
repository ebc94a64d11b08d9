//! The caller as an axum extractor, with or without a permission, and the route as the resource.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, MatchedPath, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::Rejection;
use crate::gate::request::peer;
use crate::gate::service::guard::caller;

mod permitted;

pub use permitted::{Permission, Permitted};

/// The route that axum matched, such as `/orders/{id}`, as the resource that endpoint rules and
/// the gateway see.
///
/// For [`WachtAuthLayer::resource`](crate::WachtAuthLayer::resource). Where axum has matched no
/// route yet (a layer around the whole router, a fallback) it is the path of the request.
///
/// ```
/// use wacht_auth::{WachtAuthLayer, WachtClient};
///
/// let layer = WachtAuthLayer::new(WachtClient::new("wk_live_..."))
///     .resource(wacht_auth::axum::matched_path);
/// # let _ = layer;
/// ```
#[must_use]
pub fn matched_path(parts: &Parts) -> Cow<'_, str> {
    match parts.extensions.get::<MatchedPath>() {
        Some(route) => Cow::Borrowed(route.as_str()),
        None => Cow::Borrowed(peer::original_path(parts)),
    }
}

/// The default answer for an HTTP request, for handlers that return a rejection.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let (parts, ()) = http::Request::new(()).into_parts();
        let mut response = self.to_response(&parts);
        response.extensions_mut().insert(self);
        response.map(Into::into)
    }
}

/// Rejects with 401 where a gate let the request pass anonymously, and with 500 where there is no
/// gate in front.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        caller(parts)
            .cloned()
            .map_err(|rejection| rejection.answer(parts).map(Into::into))
    }
}

/// `None` where a gate let the request pass anonymously. Without a gate in front it rejects with
/// 500: a forgotten layer must not look like an anonymous caller.
impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Response> {
        if parts.extensions.get::<Anonymous>().is_some() {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(Some)
    }
}
