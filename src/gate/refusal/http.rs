//! A refusal as an answer: HTTP's, or that of a gRPC service.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::gate::refusal::grpc::{RETRY_PUSHBACK, trailers, trailers_only};
use crate::gate::refusal::kind::Row;
use crate::gate::refusal::rejection::Rejection;

impl Rejection {
    /// The default answer to a request with these parts.
    ///
    /// For HTTP, the status of the kind with an RFC 9457 `application/problem+json` body; for a
    /// gRPC call, as [`GrpcRefusals`](crate::GrpcRefusals) says, a Trailers-Only answer: status 200
    /// with `grpc-status` and an empty body. Both with `Cache-Control: no-store`, and
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
        self.default_response(self.answers().grpc().apply_to(parts))
    }

    /// What the gate sends: the default answer or its own `on_reject`'s, and always with what the
    /// table requires.
    pub(crate) fn answer(&self, parts: &Parts) -> Response<Bytes> {
        let is_grpc = self.answers().grpc().apply_to(parts);
        let mut response = match self.answers().on_reject() {
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

    /// What ends a gRPC answer that has begun.
    pub(crate) fn grpc_trailers(&self) -> HeaderMap {
        let text = self.answers().challenge().text(self.kind());
        trailers(&self.kind().row(), text)
    }

    fn default_response(&self, is_grpc: bool) -> Response<Bytes> {
        let row = self.kind().row();
        let mut response;
        if is_grpc {
            response = trailers_only(&row, self.answers().challenge().text(self.kind()));
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
        let challenge = self.answers().challenge();
        let headers = response.headers_mut();
        require(headers, CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            require(headers, RETRY_AFTER, HeaderValue::from(seconds));
        }
        if is_grpc && let Some(milliseconds) = self.retry_pushback() {
            require(
                headers,
                HeaderName::from_static(RETRY_PUSHBACK),
                HeaderValue::from(milliseconds),
            );
        }
        // Neither field may stand in trailers, which is what a gRPC client takes them for.
        if !is_grpc {
            let challenges = challenge.of(self.kind(), self.scope());
            if !headers.contains_key(WWW_AUTHENTICATE) {
                // One line each: few parsers tell a comma within a challenge from one between two.
                for value in challenges.as_slice() {
                    let _ = headers.try_append(WWW_AUTHENTICATE, value.clone());
                }
            }
            for (name, value) in self.rate_limit_fields().iter() {
                require(headers, name, value);
            }
        }
        if let Some(names) = challenge.vary() {
            vary_by(headers, names);
        }
    }

    fn problem(&self, row: &Row) -> Bytes {
        // With quotes and a comma. Their names hold nothing that JSON would have escaped.
        let names: usize = self.violated_policies().map(|name| name.len() + 3).sum();
        match row.problem.strip_suffix('}') {
            Some(open) if names > 0 => {
                const MEMBER: &[u8] = br#","violated-policies":"#;
                let mut body = Vec::with_capacity(open.len() + MEMBER.len() + names + 2);
                body.extend_from_slice(open.as_bytes());
                body.extend_from_slice(MEMBER);
                for (place, name) in self.violated_policies().enumerate() {
                    body.extend_from_slice(if place == 0 { b"[\"" } else { b",\"" });
                    body.extend_from_slice(name.as_bytes());
                    body.push(b'"');
                }
                body.push(b']');
                body.push(b'}');
                body.into()
            }
            _ => match self.answers().challenge().text(self.kind()) {
                Some(text) => text.problem.clone(),
                None => Bytes::from_static(row.problem.as_bytes()),
            },
        }
    }
}

fn require(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    // A house answer so full of headers that no more fit goes out as it is.
    if let Ok(entry) = headers.try_entry(name) {
        let _ = entry.or_try_insert(value);
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
