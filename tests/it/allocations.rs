//! What a hit allocates of its own: over what `http` needs for the two pointers of a `Principal`
//! and for the rate-limit fields, and in axum's router over what any such layer costs there.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::future::FutureExt;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Limited;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use wacht_auth::dev::{DevKey, DevRule};
use wacht_auth::{Limits, RateLimitHeaders, WachtAuthLayer};

use crate::scene::{Echo, Scene};

#[tokio::test]
async fn a_hit_allocates_nothing_and_once_for_the_rate_limit_fields_however_many_rules_there_are() {
    for rules in [one_rule(), three_rules()] {
        let stage = Stage::new(rules).await;
        let silent = stage.silent().layer(inner());
        assert_eq!(stage.of_hit(silent).await - of_http(&[]), 0);
        let telling = stage.telling().layer(inner());
        assert_eq!(stage.of_hit(telling).await - of_http(&FIELDS), 1);
    }
}

#[tokio::test]
async fn a_hit_allocates_nothing_where_nobody_counts() {
    let stage = Stage::new(one_rule()).await;
    let uncounted = stage.uncounted().layer(inner());
    assert_eq!(stage.of_hit(uncounted).await - of_http(&[]), 0);
}

#[tokio::test]
async fn a_hit_allocates_nothing_more_however_many_keys_are_revoked() {
    let stage = Stage::new(one_rule()).await;
    let layer = stage.silent();
    let mut silent = layer.clone().layer(inner());
    stage.of_hit(silent.clone()).await;
    for revoked in [1, 10_000] {
        // Of nobody: no id is negative.
        for key_id in 1..=revoked {
            layer.handle().revoke_key_id(-key_id);
            layer.handle().invalidate_key_id(-key_id - revoked);
        }
        // The first looks at what is new, the others know.
        for _ in 0..2 {
            let request = stage.request();
            let first = count(|| {
                let answer = silent.call(request).now_or_never().unwrap().unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
            });
            assert_eq!(first - of_http(&[]), 0);
        }
    }
}

#[tokio::test]
async fn to_revoke_and_to_invalidate_costs_the_same_with_many_keys_as_with_one() {
    let mut costs = Vec::new();
    for keys in [1, 500] {
        let scene = Scene::new().await;
        let layer = scene.layer();
        for _ in 0..keys {
            let echo = Echo::behind(layer.clone());
            echo.get(scene.key().secret()).await.assert_ok();
        }
        let handle = layer.handle();
        let of_all = || {
            handle.revoke_key_id(1);
            handle.revoke_secret("a key");
            handle.invalidate_key_id(2);
            handle.invalidate_secret("another key");
            handle.invalidate_app("billing");
        };
        // Makes the table.
        of_all();
        costs.push(count(of_all));
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn in_axums_router_a_hit_adds_the_same_to_what_any_layer_costs_there() {
    let stage = Stage::new(one_rule()).await;
    let router = Router::new().route("/items", get(async || ()));
    let bare = stage.of_hit(router.clone()).await;

    // They do in the simplest way what the gate has to.
    let caller = (Arc::new(1), Arc::new(2));
    let plain = ServiceBuilder::new()
        .map_request(move |mut request: Request<Body>| {
            request.extensions_mut().insert(caller.clone());
            request
        })
        .map_response(|answer: Response<Body>| answer.map(|body| Limited::new(body, 1024)));
    let with_fields = plain.clone().map_response(|mut answer: Response<_>| {
        insert(answer.headers_mut(), &FIELDS);
        answer
    });

    let without_fields = stage.of_hit(router.clone().layer(plain)).await;
    assert_eq!(without_fields - bare, OF_A_LAYER);
    for layer in [stage.uncounted(), stage.silent()] {
        let gated = stage.of_hit(router.clone().layer(layer)).await;
        assert_eq!(gated - without_fields, 0);
    }
    let with_fields = stage.of_hit(router.clone().layer(with_fields)).await;
    let gated = stage.of_hit(router.layer(stage.telling())).await;
    assert_eq!(gated - with_fields, 1);
}

/// What axum adds for a layer that inserts an extension and answers with a body of its own: boxes
/// for the service, its future and the body, and `http`'s for the extension.
const OF_A_LAYER: u64 = 7;

const FIELDS: [&str; 2] = ["ratelimit-policy", "ratelimit"];

struct Stage {
    scene: Scene,
    key: DevKey,
}

impl Stage {
    async fn new(rules: Vec<DevRule>) -> Self {
        let scene = Scene::new().await;
        scene.wacht.set_scheme("orders", rules);
        let key = scene.key();
        Self { scene, key }
    }

    fn uncounted(&self) -> WachtAuthLayer {
        self.scene.builder().limits(Limits::off()).build().unwrap()
    }

    /// Counts, and tells nobody.
    fn silent(&self) -> WachtAuthLayer {
        self.telling().rate_limit_headers(RateLimitHeaders::None)
    }

    fn telling(&self) -> WachtAuthLayer {
        self.scene.layer()
    }

    /// The allocations of one call; of several the median, as moka keeps house in some of them.
    async fn of_hit<S, B>(&self, mut service: S) -> u64
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    {
        let verified = service.clone().oneshot(self.request()).await.unwrap();
        assert_eq!(verified.status(), StatusCode::OK);
        let mut counts = [0; 9];
        for counted in &mut counts {
            let request = self.request();
            *counted = count(|| {
                let answer = service.call(request).now_or_never().unwrap().unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
            });
        }
        counts.sort_unstable();
        counts[4]
    }

    fn request(&self) -> Request<Body> {
        Request::get("/items")
            .header("authorization", format!("Bearer {}", self.key.secret()))
            .body(Body::empty())
            .unwrap()
    }
}

fn one_rule() -> Vec<DevRule> {
    vec![DevRule::per_key(1_000, "minute", 1)]
}

fn three_rules() -> Vec<DevRule> {
    vec![
        DevRule::per_key(1_000, "minute", 1),
        DevRule::per_key(1_000, "hour", 1),
        DevRule::per_app(1_000, "minute", 1),
    ]
}

fn inner() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    tower::service_fn(|_| ready(Ok(Response::new(Body::empty()))))
}

/// What `http` allocates for the caller in a request and these fields in an answer, which have
/// nothing of the kind yet.
fn of_http(fields: &[&'static str]) -> u64 {
    let caller = (Arc::new(1), Arc::new(2));
    let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
    count(|| {
        extensions.insert(caller);
        insert(&mut headers, fields);
    })
}

fn insert(headers: &mut HeaderMap, fields: &[&'static str]) {
    for name in fields {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
}

fn count(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}
