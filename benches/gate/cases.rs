//! Every way a request can go through a warm gate without waiting.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule, Fault, On};
use wacht_auth::{
    Algorithm, CachePolicy, Limits, PeerAddr, RateLimitHeaders, RejectionKind, WachtAuth,
    WachtAuthLayer, WachtAuthLayerBuilder,
};

use super::service::{Inner, call, inner, request};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) gate: WachtAuth<Inner>,
    pub(crate) caller: Caller,
    meets: Option<RejectionKind>,
}

/// Who sends the request, and how.
#[derive(Clone, Default)]
pub(crate) struct Caller {
    keys: Vec<String>,
    has_address: bool,
    is_grpc: bool,
}

/// A Wacht with an app for each case, and what is measured before it.
struct Stage<'a> {
    wacht: &'a DevGateway,
    runtime: &'a Runtime,
    cases: Vec<Case>,
}

const MODES: [&str; 5] = [
    "per_app",
    "per_key",
    "per_key_and_ip",
    "per_app_and_ip",
    "per_ip",
];
/// More than any run uses up.
const PLENTY: i32 = 2_000_000_000;

/// Gates whose verdicts and policies are warm.
pub(crate) fn cases(wacht: &DevGateway, runtime: &Runtime) -> Vec<Case> {
    let mut stage = Stage {
        wacht,
        runtime,
        cases: Vec::new(),
    };
    stage.hits();
    stage.modes();
    stage.refusals();
    for case in &mut stage.cases {
        case.check();
    }
    stage.cases
}

impl Caller {
    pub(crate) fn of_key(key: &str) -> Self {
        Self {
            keys: vec![key.to_owned()],
            ..Self::default()
        }
    }

    pub(crate) fn with_address(self) -> Self {
        Self {
            has_address: true,
            ..self
        }
    }

    pub(crate) fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = request("/items");
        for key in &self.keys {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if self.is_grpc {
            request = request
                .method("POST")
                .version(http::Version::HTTP_2)
                .header("content-type", "application/grpc");
        }
        if self.has_address {
            request = request.extension(PeerAddr(([192, 0, 2, 1], 40_000).into()));
        }
        request.body(Empty::new()).unwrap()
    }
}

impl Case {
    /// Whether the gate does what the name says.
    fn check(&mut self) {
        let answer = call(&mut self.gate, self.caller.request());
        let rejection = answer.extensions().get::<wacht_auth::Rejection>();
        let met = rejection.map(wacht_auth::Rejection::kind);
        assert_eq!(met, self.meets, "{}", self.name);
    }
}

impl Stage<'_> {
    fn layer(&self) -> WachtAuthLayer {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> WachtAuthLayerBuilder {
        // So old that nothing is asked again while it is measured.
        let hour = Duration::from_secs(3600);
        let policy = CachePolicy::default().fresh_for(hour).negative_ttl(hour);
        WachtAuthLayer::builder(self.wacht.client()).cache(policy)
    }

    /// A caller whose app has these rules.
    fn caller(&self, app: &str, rules: impl IntoIterator<Item = DevRule>) -> Caller {
        self.wacht.app(app).scheme(rules);
        let permissions = ["orders:read", "orders:write", "users:read", "reports:read"];
        let key = self.wacht.issue_key(app).permissions(permissions).issue();
        Caller::of_key(key.secret())
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        layer: &WachtAuthLayer,
        caller: Caller,
        meets: Option<RejectionKind>,
    ) {
        let gate: WachtAuth<Inner> = layer.layer(inner());
        // Twice: the first verifies, and spends what there is of a small limit.
        for _ in 0..2 {
            let call = gate.clone().oneshot(caller.request());
            let _ = self.runtime.block_on(call);
        }
        self.cases.push(Case {
            name: name.into(),
            gate,
            caller,
            meets,
        });
    }

    fn hits(&mut self) {
        let rule = || DevRule::per_key(PLENTY, "minute", 1);
        let elsewhere = self.caller("elsewhere", [rule().endpoints(["/elsewhere"])]);
        let one = self.caller("one-rule", [rule()]);
        let three = self.caller(
            "three-rules",
            [
                rule(),
                DevRule::per_key(PLENTY, "hour", 1),
                DevRule::per_app(PLENTY, "minute", 1),
            ],
        );
        let fields = |fields| self.layer().rate_limit_headers(fields);
        let none = fields(RateLimitHeaders::None);
        let required = self.layer().require("orders:read").unwrap();
        let revoked = |keys| {
            let layer = self.layer();
            // Of nobody: no id is negative.
            for key_id in 1..=keys {
                layer.handle().revoke_key_id(-key_id);
            }
            layer
        };
        let cases = [
            (
                "hit, limits off",
                self.builder().limits(Limits::off()).build().unwrap(),
                one.clone(),
            ),
            ("hit, no rule matches", self.layer(), elsewhere),
            ("hit, one rule, no headers", none.clone(), one.clone()),
            ("hit, one rule", self.layer(), one.clone()),
            ("hit, one rule, 1 key revoked", revoked(1), one.clone()),
            (
                "hit, one rule, 10000 keys revoked",
                revoked(10_000),
                one.clone(),
            ),
            (
                "hit, one rule, Wacht's headers",
                fields(RateLimitHeaders::Wacht),
                one.clone(),
            ),
            (
                "hit, one rule, both headers",
                fields(RateLimitHeaders::Both),
                one.clone(),
            ),
            ("hit, one rule, permission required", required, one),
            ("hit, three rules, no headers", none, three.clone()),
            ("hit, three rules", self.layer(), three),
        ];
        for (name, layer, caller) in cases {
            self.add(name, &layer, caller, None);
        }
    }

    /// One rule of each mode, counted in each way.
    fn modes(&mut self) {
        let algorithms = [
            ("GCRA", Algorithm::Gcra),
            ("sliding window", Algorithm::SlidingWindow),
        ];
        for mode in MODES {
            let rule = serde_json::json!({
                "unit": "minute", "duration": 1, "max_requests": PLENTY, "mode": mode,
                "priority": 0,
            });
            let mut caller = self.caller(&format!("app-{mode}"), [DevRule::raw(rule)]);
            if mode.contains("ip") {
                caller = caller.with_address();
            }
            for (words, algorithm) in algorithms {
                let layer = self
                    .builder()
                    .limits(Limits::local().algorithm(algorithm))
                    .build()
                    .unwrap();
                self.add(
                    format!("hit, {mode}, {words}"),
                    &layer,
                    caller.clone(),
                    None,
                );
            }
        }
    }

    fn refusals(&mut self) {
        let good = self.caller("good", [DevRule::per_key(PLENTY, "minute", 1)]);
        let shut = self.caller("shut", [DevRule::per_key(1, "month", 1)]);
        let by_address = self.caller("by-address", [DevRule::raw(serde_json::json!({
            "unit": "minute", "duration": 1, "max_requests": PLENTY, "mode": "per_ip", "priority": 0,
        }))]);
        let unknown = Caller::of_key(&format!("sk_{}", "x".repeat(43)));
        let unclear = Caller::of_key(&format!("sk_{}", "y".repeat(43)));
        let twice = Caller {
            keys: [&good.keys[..], &good.keys].concat(),
            ..Caller::default()
        };
        let grpc = Caller {
            is_grpc: true,
            ..unknown.clone()
        };
        let elsewhere = self.layer().app("elsewhere");
        let forbidding = self.layer().require("orders:delete").unwrap();
        let cases = [
            (
                "no key",
                self.layer(),
                Caller::default(),
                RejectionKind::MissingCredential,
            ),
            (
                "two keys",
                self.layer(),
                twice,
                RejectionKind::MalformedCredential,
            ),
            (
                "malformed key",
                self.layer(),
                Caller::of_key("too-short"),
                RejectionKind::InvalidKey,
            ),
            (
                "known bad key",
                self.layer(),
                unknown,
                RejectionKind::InvalidKey,
            ),
            (
                "known bad key, gRPC",
                self.layer(),
                grpc,
                RejectionKind::InvalidKey,
            ),
            (
                "another app's key",
                elsewhere,
                good.clone(),
                RejectionKind::InvalidKey,
            ),
            (
                "permission missing",
                forbidding,
                good,
                RejectionKind::PermissionDenied,
            ),
            ("limited", self.layer(), shut, RejectionKind::RateLimited),
            (
                "no address",
                self.layer(),
                by_address,
                RejectionKind::Misconfigured,
            ),
        ];
        for (name, layer, caller, kind) in cases {
            self.add(name, &layer, caller, Some(kind));
        }
        self.wacht.fault(On::Checks, Fault::Status(422));
        let layer = self.layer();
        self.add(
            "cannot be verified now",
            &layer,
            unclear,
            Some(RejectionKind::Unavailable),
        );
        self.wacht.clear_faults();
    }
}
