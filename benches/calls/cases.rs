//! A few ways through a warm gate, for the benches that look at single calls.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{
    CachePolicy, Limits, RateLimitHeaders, Rejection, RejectionKind, WachtAuth, WachtAuthLayer,
};

use super::service::{self, Inner, call, inner};

pub(crate) const BARE: &str = "bare inner service";

/// One way through the gate, and callers who go it.
pub(crate) struct Case {
    pub(crate) gate: WachtAuth<Inner>,
    secrets: Vec<Option<String>>,
    meets: Option<RejectionKind>,
}

impl Case {
    /// The case of this name with that many keys, all of which the gate knows. They are the same in
    /// every run.
    pub(crate) fn warm(wacht: &DevGateway, runtime: &Runtime, name: &str, keys: usize) -> Self {
        let mut case = Self::new(wacht, name, keys);
        for number in 0..keys {
            // The first call verifies, and spends what "limited" has.
            let first = case.gate.clone().oneshot(case.request(number));
            let _ = runtime.block_on(first);
            case.check(number);
        }
        case
    }

    fn new(wacht: &DevGateway, name: &str, keys: usize) -> Self {
        // So old that nothing is asked again while it is measured.
        let hour = Duration::from_secs(3600);
        let forever = CachePolicy::default().fresh_for(hour).negative_ttl(hour);
        let builder = WachtAuthLayer::builder(wacht.client()).cache(forever);
        let layer = builder.clone().build().unwrap();
        let app = wacht.app(&name.replace([' ', ','], "-"));
        let issue = |rules: Vec<DevRule>| {
            app.scheme(rules);
            let issue = |number| {
                let secret = format!("sk_{:_<32}{number:011}", app.slug());
                let key = wacht
                    .issue_key(app.slug())
                    .permissions(["orders:read"])
                    .secret(&secret)
                    .issue();
                Some(key.secret().to_owned())
            };
            (0..keys).map(issue).collect()
        };
        let nobody = |secret: String| vec![Some(secret); keys];
        // Regained so slowly that a counter, once used, stays: one at rest may be forgotten.
        let one = || DevRule::per_key(1_000_000, "month", 6);
        let two = || DevRule::per_key(1_000_000, "month", 12);
        let of_app = || DevRule::per_app(1_000_000, "month", 6);
        let (layer, secrets, meets) = match name {
            "hit, limits off" => {
                let layer = builder.limits(Limits::off()).build().unwrap();
                (layer, issue(vec![one()]), None)
            }
            "hit, 10000 keys revoked" => {
                let layer = builder.limits(Limits::off()).build().unwrap();
                // Of nobody: no id is negative.
                for key_id in 1..=10_000 {
                    layer.handle().revoke_key_id(-key_id);
                }
                (layer, issue(vec![one()]), None)
            }
            "hit, one rule, no headers" => (
                layer.rate_limit_headers(RateLimitHeaders::None),
                issue(vec![one()]),
                None,
            ),
            "hit, one rule" => (layer, issue(vec![one()]), None),
            "hit, three rules" => (layer, issue(vec![one(), two(), of_app()]), None),
            "no key" => (
                layer,
                vec![None; keys],
                Some(RejectionKind::MissingCredential),
            ),
            "malformed key" => (
                layer,
                nobody("two,keys".to_owned()),
                Some(RejectionKind::MalformedCredential),
            ),
            "known bad key" => (
                layer,
                nobody(format!("sk_{}", "x".repeat(43))),
                Some(RejectionKind::InvalidKey),
            ),
            "limited" => (
                layer,
                issue(vec![DevRule::per_key(1, "month", 1)]),
                Some(RejectionKind::RateLimited),
            ),
            _ => unreachable!("a case without a gate: {name}"),
        };
        Self {
            gate: layer.app(app.slug()).layer(inner()),
            secrets,
            meets,
        }
    }

    /// The request of the caller of this number.
    pub(crate) fn request(&self, number: usize) -> Request<Empty<Bytes>> {
        request(self.secrets[number].as_deref())
    }

    /// One more call, which has to end as the name of the case says.
    pub(crate) fn check(&mut self, number: usize) {
        let request = self.request(number);
        let answer = call(&mut self.gate, request);
        let rejection = answer.extensions().get::<Rejection>();
        assert_eq!(rejection.map(Rejection::kind), self.meets);
    }
}

/// A request for the bare service, which looks at no key.
pub(crate) fn anybodys_request() -> Request<Empty<Bytes>> {
    request(Some(&format!("sk_{}", "k".repeat(43))))
}

fn request(secret: Option<&str>) -> Request<Empty<Bytes>> {
    let request = service::request("/items");
    match secret {
        Some(secret) => request.header("authorization", format!("Bearer {secret}")),
        None => request,
    }
    .body(Empty::new())
    .unwrap()
}
