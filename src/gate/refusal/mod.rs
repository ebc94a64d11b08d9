//! Every way a request is refused, and what a stranger is told. One table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::gate::limit::{LimitRefusal, RateLimitFields};
use crate::gate::permission::requirement::Requirement;
use crate::gate::pipeline::Gate;

/// Why a request was refused.
///
/// It stands in the extensions of every refusing response, whatever answers with it, so outer
/// layers and tests read it there instead of parsing a body.
///
/// A rejection holds nothing of the key and nothing of the gateway's words. What an operator has
/// to know goes to the log.
#[derive(Clone)]
pub struct Rejection(Arc<Refusal>);

#[derive(Clone)]
struct Refusal {
    kind: RejectionKind,
    retry_after: Option<Duration>,
    // RFC 6750 `scope`, where the requirement can be said in it.
    scope: Option<String>,
    violated_policies: Vec<Arc<str>>,
    rate_limit_fields: RateLimitFields,
    // Whose realm, `Vary` and `on_reject` the answer takes.
    gate: Option<Arc<Gate>>,
}

/// What kind of refusal it is, and how it is answered.
///
/// | kind | HTTP | gRPC | beside the status |
/// |---|---|---|---|
/// | `MissingCredential` | 401 | 16 | `WWW-Authenticate: Bearer realm="api"`, and nothing more in it |
/// | `MalformedCredential` | 400 | 16 | … `error="invalid_request"` |
/// | `InvalidKey` | 401 | 16 | … `error="invalid_token"` |
/// | `PermissionDenied` | 403 | 7 | … `error="insufficient_scope"`, with `scope="…"` where the requirement is a plain list of permissions that can be scopes (RFC 6749) |
/// | `RateLimited` | 429 | 8 | `Retry-After`; where this process counts, the [rate-limit fields](crate::RateLimitHeaders), and `violated-policies` in the body |
/// | `Unavailable` | 503 | 14 | `Retry-After` |
/// | `Misconfigured` | 500 | 13 | nothing: the reason is in the log |
///
/// An HTTP answer has a body of `application/problem+json` (RFC 9457) with `type`, `title`, `status`
/// and `detail`. A gRPC request is answered with status 200, `grpc-status` and `grpc-message`, and
/// without a body; of the fields above it gets `retry-after` alone, since the others may not stand
/// in trailers. Both have `Cache-Control: no-store`, and `Vary` with the header that holds the key.
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
struct Row {
    status: StatusCode,
    grpc: u8,
    detail: &'static str,
    /// The RFC 9457 body.
    problem: &'static str,
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

    const fn row(self) -> Row {
        match self {
            Self::MissingCredential => row!(
                401,
                16,
                "about:blank",
                "Unauthorized",
                "This request carries no API key."
            ),
            Self::MalformedCredential => row!(
                400,
                16,
                "about:blank",
                "Bad Request",
                "The credentials of this request cannot be read: send exactly one API key."
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

/// What decides the answer in place of the table:
/// [`on_reject`](crate::WachtAuthLayer::on_reject).
pub(crate) type OnReject = Arc<dyn Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync>;

/// The parts of a refusal that only the layer's options decide, rendered once.
#[derive(Debug)]
pub(crate) struct Challenge {
    missing: HeaderValue,
    malformed: HeaderValue,
    invalid: HeaderValue,
    denied: HeaderValue,
    realm: String,
    vary: HeaderValue,
}

impl Challenge {
    pub(crate) fn new(realm: &str, vary: HeaderValue) -> Self {
        // What a quoted-string cannot hold is left out (RFC 9110, section 5.6.4).
        let mut quoted = String::with_capacity(realm.len());
        for c in realm.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        Self {
            missing: challenge(&quoted, "", None),
            malformed: challenge(&quoted, "invalid_request", None),
            invalid: challenge(&quoted, "invalid_token", None),
            denied: challenge(&quoted, "insufficient_scope", None),
            realm: quoted,
            vary,
        }
    }

    pub(crate) fn vary(&self) -> &HeaderValue {
        &self.vary
    }

    pub(crate) fn with_vary(&self, vary: HeaderValue) -> Self {
        Self {
            missing: self.missing.clone(),
            malformed: self.malformed.clone(),
            invalid: self.invalid.clone(),
            denied: self.denied.clone(),
            realm: self.realm.clone(),
            vary,
        }
    }

    /// `WWW-Authenticate` as in RFC 6750, section 3.
    fn of(&self, refusal: &Refusal) -> Option<HeaderValue> {
        match refusal.kind {
            RejectionKind::MissingCredential => Some(self.missing.clone()),
            RejectionKind::MalformedCredential => Some(self.malformed.clone()),
            RejectionKind::InvalidKey => Some(self.invalid.clone()),
            RejectionKind::PermissionDenied => Some(match &refusal.scope {
                None => self.denied.clone(),
                Some(scope) => challenge(&self.realm, "insufficient_scope", Some(scope)),
            }),
            RejectionKind::RateLimited
            | RejectionKind::Unavailable
            | RejectionKind::Misconfigured => None,
        }
    }
}

impl Default for Challenge {
    fn default() -> Self {
        Self::new("api", HeaderValue::from_static("authorization"))
    }
}

fn challenge(realm: &str, error: &str, scope: Option<&str>) -> HeaderValue {
    let mut text = format!("Bearer realm=\"{realm}\"");
    if !error.is_empty() {
        text = text + ", error=\"" + error + "\"";
    }
    if let Some(scope) = scope {
        text = text + ", scope=\"" + scope + "\"";
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

impl Rejection {
    fn new(kind: RejectionKind) -> Self {
        Self(Arc::new(Refusal {
            kind,
            retry_after: None,
            scope: None,
            violated_policies: Vec::new(),
            rate_limit_fields: RateLimitFields::default(),
            gate: None,
        }))
    }

    pub(crate) fn missing_credential() -> Self {
        Self::new(RejectionKind::MissingCredential)
    }

    pub(crate) fn malformed_credential() -> Self {
        Self::new(RejectionKind::MalformedCredential)
    }

    pub(crate) fn invalid_key() -> Self {
        Self::new(RejectionKind::InvalidKey)
    }

    pub(crate) fn permission_denied(requirement: &Requirement) -> Self {
        Self::permission_denied_by_gateway().with(|refusal| refusal.scope = requirement.scope())
    }

    pub(crate) fn permission_denied_by_gateway() -> Self {
        Self::new(RejectionKind::PermissionDenied)
    }

    /// `fields` are the rate-limit header fields that go with the answer.
    pub(crate) fn rate_limited(limits: LimitRefusal, fields: RateLimitFields) -> Self {
        Self::rate_limited_plainly(limits.retry_after).with(|refusal| {
            refusal.violated_policies = limits.violated;
            refusal.rate_limit_fields = fields;
        })
    }

    /// Without the name of a policy: the gateway gives none, and strangers need none.
    pub(crate) fn rate_limited_plainly(retry_after: Duration) -> Self {
        Self::new(RejectionKind::RateLimited)
            .with(|refusal| refusal.retry_after = Some(retry_after))
    }

    pub(crate) fn unavailable(retry_after: Duration) -> Self {
        Self::new(RejectionKind::Unavailable)
            .with(|refusal| refusal.retry_after = Some(retry_after))
    }

    pub(crate) fn misconfigured() -> Self {
        Self::new(RejectionKind::Misconfigured)
    }

    /// Lets the answer take this gate's realm, `Vary` and `on_reject`.
    pub(crate) fn of(self, gate: &Arc<Gate>) -> Self {
        self.with(|refusal| refusal.gate = Some(Arc::clone(gate)))
    }

    fn with(mut self, change: impl FnOnce(&mut Refusal)) -> Self {
        // Copies only what somebody else has already been handed.
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// What kind of refusal it is.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// When it makes sense to try again, for [`RateLimited`](RejectionKind::RateLimited) and
    /// [`Unavailable`](RejectionKind::Unavailable).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// `Retry-After` counts whole seconds (RFC 9110, section 10.2.3): rounded up, and never zero.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.0.retry_after?;
        let rounding = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(rounding).max(1))
    }

    /// The rate-limit policies that the request would have violated, by the names they have in
    /// the `RateLimit-Policy` field; empty for every other kind.
    pub fn violated_policies(&self) -> impl Iterator<Item = &str> {
        self.0.violated_policies.iter().map(|name| &**name)
    }

    /// A sentence for the caller. It names no key and no cause that a stranger should not know.
    #[must_use]
    pub fn message(&self) -> &'static str {
        self.0.kind.row().detail
    }

    /// The default answer to a request with these parts.
    ///
    /// For HTTP, the status of the kind with an RFC 9457 `application/problem+json` body; for a
    /// gRPC request (`content-type: application/grpc…`, but not grpc-web), a Trailers-Only answer:
    /// status 200 with `grpc-status` and an empty body. Both with `Cache-Control: no-store`, and
    /// with what belongs to the kind: `WWW-Authenticate` (RFC 6750), `Retry-After`, the rate-limit
    /// fields, `Vary`.
    ///
    /// An [`on_reject`](crate::WachtAuthLayer::on_reject) can start from it:
    ///
    /// ```
    /// use wacht_auth::{WachtAuthLayer, WachtClient};
    ///
    /// let layer = WachtAuthLayer::new(WachtClient::new("wk_live_...")).on_reject(|rejection, parts| {
    ///     let mut response = rejection.to_response(parts);
    ///     response.headers_mut().insert("x-docs", "https://example.com/errors".parse().unwrap());
    ///     response
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn to_response(&self, parts: &Parts) -> Response<Bytes> {
        self.default_response(is_grpc(&parts.headers))
    }

    /// What the gate sends: the default answer or its own `on_reject`'s, and always with what the
    /// table requires.
    pub(crate) fn answer(&self, parts: &Parts) -> Response<Bytes> {
        let is_grpc = is_grpc(&parts.headers);
        let gate = self.0.gate.as_ref();
        let mut response = match gate.and_then(|gate| gate.options.on_reject.as_ref()) {
            // A gRPC client reads trailers, and nobody's house format.
            Some(on_reject) if !is_grpc => {
                let mut response = on_reject(self, parts);
                self.complete(&mut response, is_grpc);
                response
            }
            _ => self.default_response(is_grpc),
        };
        response.extensions_mut().insert(self.clone());
        response
    }

    fn default_response(&self, is_grpc: bool) -> Response<Bytes> {
        let row = self.0.kind.row();
        let mut response;
        if is_grpc {
            response = Response::new(Bytes::new());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc)));
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.detail));
        } else {
            response = Response::new(self.problem(&row));
            *response.status_mut() = row.status;
            response.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            );
        }
        self.complete(&mut response, is_grpc);
        response
    }

    /// Adds what the table requires and the answer does not have.
    fn complete(&self, response: &mut Response<Bytes>, is_grpc: bool) {
        let refusal = &*self.0;
        let fallback;
        let challenge = match &refusal.gate {
            Some(gate) => &*gate.options.challenge,
            None => {
                fallback = Challenge::default();
                &fallback
            }
        };
        let headers = response.headers_mut();
        let mut require = |name: HeaderName, value: HeaderValue| {
            // A house answer so full of headers that no more fit goes out as it is.
            if let Ok(entry) = headers.try_entry(name) {
                let _ = entry.or_try_insert(value);
            }
        };
        require(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            require(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Neither field may stand in trailers, which is what a gRPC client takes them for.
        if !is_grpc {
            if let Some(value) = challenge.of(refusal) {
                require(WWW_AUTHENTICATE, value);
            }
            for (name, value) in refusal.rate_limit_fields.iter() {
                require(name, value);
            }
        }
        vary_by(headers, &challenge.vary);
    }

    fn problem(&self, row: &Row) -> Bytes {
        let violated = &self.0.violated_policies;
        match row.problem.strip_suffix('}') {
            Some(open) if !violated.is_empty() => {
                const MEMBER: &[u8] = br#","violated-policies":"#;
                let names: usize = violated.iter().map(|name| name.len() + 3).sum();
                let mut body = Vec::with_capacity(open.len() + MEMBER.len() + names + 2);
                body.extend_from_slice(open.as_bytes());
                body.extend_from_slice(MEMBER);
                // Their names hold nothing that JSON would have escaped.
                for (place, name) in violated.iter().enumerate() {
                    body.extend_from_slice(if place == 0 { b"[\"" } else { b",\"" });
                    body.extend_from_slice(name.as_bytes());
                    body.push(b'"');
                }
                body.push(b']');
                body.push(b'}');
                body.into()
            }
            _ => Bytes::from_static(row.problem.as_bytes()),
        }
    }
}

/// Adds to `Vary` what it does not name yet, of a list of header names.
fn vary_by(headers: &mut HeaderMap, names: &HeaderValue) {
    if !headers.contains_key(VARY) {
        let _ = headers.try_append(VARY, names.clone());
        return;
    }
    let listed = |value: &HeaderValue, name: &str| {
        let mut members = value.as_bytes().split(|byte| *byte == b',');
        members.any(|member| {
            let member = member.trim_ascii();
            member == b"*" || member.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    let lacks = |name: &str| {
        let mut lines = headers.get_all(VARY).iter();
        !lines.any(|line| listed(line, name))
    };
    let names = names.to_str().unwrap_or("*").split(", ");
    let missing: Vec<_> = names.filter(|name| lacks(name)).collect();
    if !missing.is_empty()
        && let Ok(missing) = HeaderValue::try_from(missing.join(", "))
    {
        let _ = headers.try_append(VARY, missing);
    }
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether the request speaks gRPC. grpc-web is left to the layer that translates it.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let split = value.as_bytes().split_at_checked(GRPC.len());
        split.is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(GRPC)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
    })
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.0.kind)
            .field("retry_after", &self.0.retry_after)
            .field("violated_policies", &self.0.violated_policies)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Rejection {}
