//! Every way a request is refused, and what a stranger is told. One table.

use http::StatusCode;

/// What kind of refusal it is, and how it is answered.
///
/// | kind | HTTP | gRPC | beside the status |
/// |---|---|---|---|
/// | `MissingCredential` | 401 | 16 | `WWW-Authenticate: Bearer realm="api"`, and nothing more in it; the detail says where the key belongs |
/// | `MalformedCredential` | 400 | 16 | … `error="invalid_request"` |
/// | `InvalidKey` | 401 | 16 | … `error="invalid_token"` |
/// | `PermissionDenied` | 403 | 7 | … `error="insufficient_scope"`, with `scope="…"` where the requirement is a plain list of permissions that can be scopes (RFC 6749) |
/// | `RateLimited` | 429 | 8 | `Retry-After`, but for a request that costs more than its rule ever admits; where this process counts, the [rate-limit fields](crate::RateLimitHeaders), and `violated-policies` in the body |
/// | `Unavailable` | 503 | 14 | `Retry-After` |
/// | `Misconfigured` | 500 | 13 | nothing: the reason is in the log |
///
/// Where [`credentials`](crate::WachtAuthLayer::credentials) names other places, each has its own
/// challenge, as the table of [`CredentialSource`](crate::CredentialSource) shows, in a line of its own.
/// That of `Basic` cannot say what is wrong, and stands on a 401 alone.
///
/// An HTTP answer has a body of `application/problem+json` (RFC 9457) with `type`, `title`, `status`
/// and `detail`. A gRPC call, as [`GrpcRefusals`](crate::GrpcRefusals) says, is answered with status 200, `grpc-status` and `grpc-message`, and
/// without a body; of the fields above it gets `retry-after` alone, since the others may not stand
/// in trailers, and `grpc-retry-pushback-ms` beside it. Both have `Cache-Control: no-store`, and `Vary` with the header that holds the key.
///
/// [`realm`](crate::WachtAuthLayer::realm) and
/// [`rate_limit_headers`](crate::WachtAuthLayer::rate_limit_headers) change fields of the answer,
/// [`on_reject`](crate::WachtAuthLayer::on_reject) the whole of it, except to gRPC requests. The log
/// is written with `tracing`: without a subscriber nobody sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// No credential in any of the places looked at: 401, gRPC 16.
    MissingCredential,
    /// More than one credential, or one that cannot be read: 400, gRPC 16.
    MalformedCredential,
    /// The key is unknown, revoked, expired, another customer's or another app's: 401, gRPC 16.
    /// Which of them it is, nobody is told: the answers are alike byte for byte.
    InvalidKey,
    /// The caller is known and may not do this: 403, gRPC 7.
    PermissionDenied,
    /// A rate limit is reached: 429, gRPC 8.
    RateLimited,
    /// Whether the key is good cannot be found out now: 503, gRPC 14.
    Unavailable,
    /// The service is put together wrongly: 500, gRPC 13. The log says how to mend it.
    Misconfigured,
}

/// One row of the table of answers.
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) grpc: u8,
    pub(super) detail: &'static str,
    /// The RFC 9457 body.
    pub(super) problem: &'static str,
}

/// A row whose body is put together by the compiler: a refusal costs no serialisation.
macro_rules! row {
    ($status:literal, $grpc:literal, $type:literal, $title:literal, $detail:literal) => {
        Row {
            status: match StatusCode::from_u16($status) {
                Ok(status) => status,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
            },
            grpc: $grpc,
            detail: $detail,
            problem: concat!(
                r#"{"type":""#,
                $type,
                r#"","title":""#,
                $title,
                r#"","status":"#,
                $status,
                r#","detail":""#,
                $detail,
                r#""}"#
            ),
        }
    };
}

impl RejectionKind {
    /// The word for it, such as `rate_limited`: in metrics and spans, and for a field of your own
    /// in an [`on_reject`](crate::WachtAuthLayer::on_reject).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingCredential => "missing_credential",
            Self::MalformedCredential => "malformed_credential",
            Self::InvalidKey => "invalid_key",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
        }
    }

    pub(super) const fn row(self) -> Row {
        match self {
            Self::MissingCredential => row!(
                401,
                16,
                "about:blank",
                "Unauthorized",
                "This request carries no API key: send it as `Authorization: Bearer <key>`."
            ),
            Self::MalformedCredential => row!(
                400,
                16,
                "about:blank",
                "Bad Request",
                "The credentials of this request cannot be read: send exactly one API key, as `Authorization: Bearer <key>`."
            ),
            Self::InvalidKey => row!(
                401,
                16,
                "about:blank",
                "Unauthorized",
                "This API key is not valid."
            ),
            Self::PermissionDenied => row!(
                403,
                7,
                "about:blank",
                "Forbidden",
                "This API key does not permit this request."
            ),
            Self::RateLimited => row!(
                429,
                8,
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Too Many Requests",
                "A rate limit is reached: try again later."
            ),
            Self::Unavailable => row!(
                503,
                14,
                "about:blank",
                "Service Unavailable",
                "API keys cannot be verified at the moment: try again later."
            ),
            Self::Misconfigured => row!(
                500,
                13,
                "about:blank",
                "Internal Server Error",
                "This service is not set up to verify API keys."
            ),
        }
    }

    /// The HTTP status of the answer. A gRPC request is answered with 200 and
    /// [`grpc_code`](Self::grpc_code).
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code of the answer to a gRPC request.
    #[must_use]
    pub const fn grpc_code(self) -> u8 {
        self.row().grpc
    }
}
