//! A refusal as gRPC says it: trailers alone.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::gate::refusal::kind::Row;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status and message of the row; the status of HTTP is 200.
pub(super) fn trailers_only(row: &Row) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc)));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.detail));
    response
}

/// Whether the request speaks gRPC. grpc-web is left to the layer that translates it.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let split = value.as_bytes().split_at_checked(GRPC.len());
        split.is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(GRPC)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
    })
}
