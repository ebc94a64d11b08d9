//! What the routes answer.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::call::Side;

/// What the routes answer, before any fault.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: Option<&'static str>,
    allow: Option<&'static str>,
    body: Bytes,
}

impl Answer {
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self {
            status,
            content_type: Some(JSON),
            allow: None,
            body,
        }
    }

    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: Some(TEXT),
            allow: None,
            body: body.into(),
        }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            content_type: None,
            allow: None,
            body: Bytes::new(),
        }
    }

    /// As the management API says that there is nothing to say.
    pub(super) fn no_content() -> Self {
        Self {
            content_type: Some(JSON),
            ..Self::empty(StatusCode::NO_CONTENT)
        }
    }

    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The management API's envelope around one message.
    pub(super) fn error(status: StatusCode, message: &str) -> Self {
        let error = json!({ "message": message, "code": status.as_u16() });
        Self::json(status, &json!({ "errors": [error] }))
    }

    /// As the management API answers where the framework, not a handler, does.
    pub(super) fn generic(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            400 => "Bad request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not found",
            405 => "Method not allowed",
            422 => "Invalid request payload",
            429 => "Rate limit exceeded",
            500..=599 => "Something went wrong",
            _ => "Request failed",
        };
        Self::error(status, message)
    }

    pub(super) fn of_fault(side: Side, status: u16) -> Self {
        let status = status_code(status);
        match side {
            Side::Management => Self::generic(status),
            Side::Check | Side::Elsewhere => {
                Self::text(status, status.canonical_reason().unwrap_or_default())
            }
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::whole(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }

    pub(super) fn into_half_response(mut self) -> Response<Body> {
        let length = self.body.len();
        let half = self.body.split_to(length / 2);
        let mut response = self.into_response().map(|_| Body::half(half));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    }
}

/// A number that is no final status becomes 500: hyper could not send it.
pub(super) fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
