//! The route as the resource.

use std::borrow::Cow;

use axum::extract::MatchedPath;
use http::request::Parts;

use crate::gate::request::peer;

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
