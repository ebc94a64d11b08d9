//! A refusal as gRPC says it, trailers alone, and to whom.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version};

use crate::gate::refusal::challenge::Text;
use crate::gate::refusal::kind::Row;

/// Which refusals are gRPC's: status 200 with `grpc-status` and `grpc-message`, without a body, and
/// past [`on_reject`](crate::WachtAuthLayer::on_reject). Default: [`Auto`](Self::Auto).
///
/// Set by [`WachtAuthLayer::grpc`](crate::WachtAuthLayer::grpc). What a caller sends must not turn
/// the refusal of a plain HTTP service into a success, so a service without gRPC says
/// [`Never`](Self::Never):
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{GrpcRefusals, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let (call, ()) = Request::post("/shop.v1.Orders/List")
///     .version(http::Version::HTTP_2)
///     .header("content-type", "application/grpc")
///     .body(())?
///     .into_parts();
/// for (rule, status) in [(GrpcRefusals::Auto, 200), (GrpcRefusals::Never, 401)] {
///     let gate = WachtAuthLayer::new(wacht.client()).grpc(rule).handle();
///     let refused = gate.authenticate(&call).await.unwrap_err();
///     assert_eq!(refused.to_response(&call).status(), status);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GrpcRefusals {
    /// Those of every request, whatever it looks like.
    Always,
    /// Those of requests that are gRPC calls: `POST` with the content type `application/grpc`, alone
    /// or followed by `+` or `;`, over HTTP/2 (or later) or with `te: trailers`, as the calls have that
    /// a grpc-web layer translates. grpc-web itself is HTTP: its layer stands outside the gate.
    #[default]
    Auto,
    /// None: each refusal is HTTP's.
    Never,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// After which time a client with a retry policy tries again.
pub(crate) const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status and message of the row, unless the gate has a text of its own; the status of HTTP is
/// 200.
pub(super) fn trailers_only(row: &Row, text: Option<&Text>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    say(headers, row, text);
    response
}

/// What ends an answer that has begun.
pub(super) fn trailers(row: &Row, text: Option<&Text>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    say(&mut trailers, row, text);
    trailers
}

fn say(headers: &mut HeaderMap, row: &Row, text: Option<&Text>) {
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc)));
    let message = match text {
        Some(text) => text.grpc_message.clone(),
        None => HeaderValue::from_static(row.detail),
    };
    headers.insert(GRPC_MESSAGE, message);
}

impl GrpcRefusals {
    /// Whether the refusal of this request is gRPC's.
    pub(super) fn apply_to(self, parts: &Parts) -> bool {
        match self {
            Self::Always => true,
            Self::Auto => is_grpc_call(parts),
            Self::Never => false,
        }
    }
}

fn is_grpc_call(parts: &Parts) -> bool {
    parts.method == Method::POST
        && has_grpc_content(&parts.headers)
        && (parts.version >= Version::HTTP_2 || takes_trailers(parts))
}

/// Whether what these headers are of is gRPC's: a call, or an answer that ends with trailers.
pub(crate) fn has_grpc_content(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let split = value.as_bytes().split_at_checked(GRPC.len());
        split.is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';'))
        })
    })
}

fn takes_trailers(parts: &Parts) -> bool {
    let lines = parts.headers.get_all(TE).iter();
    let mut members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
