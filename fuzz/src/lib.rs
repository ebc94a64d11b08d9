//! What must hold whatever bytes come in, for a fuzzer to disprove.
//!
//! `cargo fuzz run <target>` looks for counterexamples; `cargo test -p wacht-auth-fuzz --lib` is the
//! short mode, which feeds each target with a few thousand inputs made from a fixed seed.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::{
    CachePolicy, ClientIp, CredentialSource, PeerAddr, Rejection, RejectionKind, Requirement,
    WachtAuthLayer,
};

const PEER: &str = "10.0.0.1:4000";

/// A Wacht and a gate before it, made once.
struct Stage {
    runtime: Runtime,
    wacht: DevGateway,
    layer: WachtAuthLayer,
    key: String,
}

/// One input at a time: what Wacht is told to answer holds for everybody.
fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let stage = STAGE.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime can be made");
        let wacht = runtime.block_on(DevGateway::start());
        let key = wacht.issue_key("orders").issue().secret().to_owned();
        let proxies = ClientIp::trusted_proxies(["10.0.0.0/8"]).expect("a network");
        let layer = WachtAuthLayer::builder(wacht.client())
            .client_ip(proxies)
            .unknown_key_limit(wacht_auth::UnknownKeyLimit::off())
            .build()
            .unwrap();
        Mutex::new(Stage {
            runtime,
            wacht,
            layer,
            key,
        })
    });
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    /// The status of the answer, and the kind of refusal if it is one.
    fn call(
        &self,
        layer: &WachtAuthLayer,
        request: Request<Empty<Bytes>>,
    ) -> (StatusCode, Option<RejectionKind>) {
        let inner = tower::service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let answer = self.runtime.block_on(layer.layer(inner).oneshot(request));
        let answer = answer.expect("the inner service cannot fail");
        // What was asked is of no use here, and grows with every input.
        self.wacht.journal().clear();
        let refusal = answer.extensions().get::<Rejection>().map(Rejection::kind);
        assert_eq!(refusal.is_none(), answer.status() == StatusCode::OK);
        (answer.status(), refusal)
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::get("/items")
            .header("authorization", format!("Bearer {}", self.key))
            .body(Empty::new())
            .expect("a well-formed request");
        let peer = PeerAddr(PEER.parse().expect("an address"));
        request.extensions_mut().insert(peer);
        request
    }

    /// Judges the key by `answer` alone, with nothing remembered before or after.
    fn with_answer(&self, on: On, status: u16, body: &[u8]) -> Option<RejectionKind> {
        let text = String::from_utf8_lossy(body).into_owned();
        self.wacht.clear_faults();
        self.wacht
            .fault(on, Fault::body(status, "application/json", text));
        let layer = WachtAuthLayer::builder(self.wacht.client())
            .cache(CachePolicy::disabled())
            .build()
            .unwrap();
        let (_, refusal) = self.call(&layer, self.request());
        self.wacht.clear_faults();
        refusal
    }
}

/// No credential but the one good key comes in, whatever stands in the header.
pub fn credential(data: &[u8]) {
    let stage = stage();
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut request = stage.request();
    request.headers_mut().insert("authorization", value.clone());
    let (status, _) = stage.call(&stage.layer, request);
    let mut everywhere = stage.request();
    for name in [
        "authorization",
        "x-api-key",
        "cookie",
        "sec-websocket-protocol",
    ] {
        everywhere.headers_mut().insert(name, value.clone());
    }
    let sources = || -> wacht_auth::Result<_> {
        Ok([
            CredentialSource::header("authorization")?.scheme("ApiKey")?,
            CredentialSource::header("x-api-key")?,
            CredentialSource::cookie("key")?,
            CredentialSource::websocket_protocol("key.")?,
        ])
    };
    let layer = stage
        .layer
        .clone()
        .credentials(sources().expect("usable names"));
    let (status_everywhere, _) = stage.call(&layer, everywhere);
    let is_good = data
        .windows(stage.key.len())
        .any(|part| part == stage.key.as_bytes());
    assert!(
        is_good
            || [status, status_everywhere]
                .iter()
                .all(|status| *status != StatusCode::OK)
    );
}

/// A good key passes, whatever is said about where it comes from.
pub fn forwarded(data: &[u8]) {
    let stage = stage();
    let mut request = stage.request();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request
                .headers_mut()
                .append("x-forwarded-for", value.clone());
            request.headers_mut().append("forwarded", value);
        }
    }
    let (status, refusal) = stage.call(&stage.layer, request);
    assert!(status == StatusCode::OK || refusal == Some(RejectionKind::RateLimited));
}

/// What parses as a requirement is the same requirement when it is printed and parsed again, and
/// nobody without permissions satisfies it.
pub fn requirement(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(requirement) = Requirement::try_from(text) {
        assert_eq!(
            Requirement::try_from(requirement.to_string()).as_ref(),
            Ok(&requirement)
        );
        assert!(!requirement.satisfied_by(&wacht_auth::Permissions::default()));
    }
}

/// A management API that says anything about an app brings no panic; the answer is from the table.
pub fn scheme(data: &[u8]) {
    stage().with_answer(On::Path("/api-auth/apps/orders".to_owned()), 200, data);
}

/// Only a 200 that allows the key lets it in.
pub fn gateway_answer(data: &[u8]) {
    let (status, body) = match data {
        [first, body @ ..] => (200 + u16::from(*first) % 400, body),
        [] => (200, data),
    };
    let refusal = stage().with_answer(On::Checks, status, body);
    let allows = status == 200 && body.windows(9).any(|part| part == b"\"allowed\"");
    assert!(allows || refusal.is_some());
}

#[cfg(test)]
mod tests {
    /// Bytes of a xorshift generator from a fixed seed, mixed with pieces that mean something.
    fn inputs(pieces: &[&str], count: usize) -> Vec<Vec<u8>> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut input = || {
            let mut bytes = Vec::new();
            for _ in 0..next() % 8 {
                let choice = next();
                match pieces.get(usize::try_from(choice % 16).unwrap_or(0)) {
                    Some(piece) => bytes.extend_from_slice(piece.as_bytes()),
                    None => bytes
                        .extend_from_slice(&choice.to_le_bytes()[..1 + (choice as usize >> 9) % 7]),
                }
            }
            bytes
        };
        (0..count).map(|_| input()).collect()
    }

    #[test]
    fn credentials_hold_for_a_while() {
        let filler = "a".repeat(46);
        let pieces = [
            "Bearer ", "bearer\t", "Basic ", ",", " ", "sk_", &filler, "-_", "key=", "key.", "; ",
        ];
        inputs(&pieces, 5_000)
            .iter()
            .for_each(|data| super::credential(data));
    }

    #[test]
    fn forwarded_addresses_hold_for_a_while() {
        let pieces = [
            "10.0.0.2",
            ", ",
            "for=",
            "\"[2001:db8::1]:80\"",
            "unknown",
            ";",
            "_x",
            "::ffff:1.2.3.4",
            "\n",
            "%eth0",
        ];
        inputs(&pieces, 3_000)
            .iter()
            .for_each(|data| super::forwarded(data));
    }

    #[test]
    fn requirements_hold_for_a_while() {
        let pieces = [
            "a",
            " AND ",
            " OR ",
            "(",
            ")",
            "orders:read",
            ",",
            " ",
            "true",
            "and",
        ];
        inputs(&pieces, 20_000)
            .iter()
            .for_each(|data| super::requirement(data));
    }

    #[test]
    fn schemes_hold_for_a_while() {
        let app = r#"{"deployment_id":"7000000000000001","app_slug":"orders","name":"n","is_active":true,"#;
        let pieces = [
            app,
            r#""rate_limits":["#,
            r#"{"unit":"minute","#,
            r#""duration":1,"#,
            r#""max_requests":-1,"#,
            "]",
            "}",
            "null",
            "1e99",
            r#""mode":7"#,
        ];
        inputs(&pieces, 500)
            .iter()
            .for_each(|data| super::scheme(data));
    }

    #[test]
    fn gateway_answers_hold_for_a_while() {
        let pieces = [
            "\0",
            "{",
            "}",
            r#""allowed""#,
            ":true",
            ":false",
            ",",
            r#""identity":{"#,
            "null",
            "[",
        ];
        inputs(&pieces, 500)
            .iter()
            .for_each(|data| super::gateway_answer(data));
    }
}
