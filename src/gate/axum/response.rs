//! A refusal as a handler's answer.

use axum::response::{IntoResponse, Response};

use crate::gate::refusal::Rejection;

/// The default answer for an HTTP request, for handlers that return a rejection.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let (parts, ()) = http::Request::new(()).into_parts();
        let mut response = self.to_response(&parts);
        response.extensions_mut().insert(self);
        response.map(Into::into)
    }
}
