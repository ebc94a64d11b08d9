//! What the gate costs on top of the service it stands before, in time and in allocations.
//!
//! `cargo bench --bench gate`; every case is the same request through the same inner service, in
//! one run. Quote ratios: single times say more about the machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::future::FutureExt;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt};
use wacht_auth::dev::{DevGateway, DevRule};
use wacht_auth::{CachePolicy, Limits, RateLimitHeaders, RejectionKind, WachtAuth, WachtAuthLayer};

type Inner =
    tower::util::ServiceFn<fn(Request<()>) -> Ready<Result<Response<Empty<Bytes>>, Infallible>>>;

fn inner() -> Inner {
    tower::service_fn(|request| {
        black_box(&request);
        ready(Ok(Response::new(Empty::new())))
    })
}

fn request(secret: Option<&str>) -> Request<()> {
    let request = Request::get("/items")
        .header("host", "api.example.com")
        .header("user-agent", "curl/8.0")
        .header("accept", "*/*");
    match secret {
        Some(secret) => request.header("authorization", format!("Bearer {secret}")),
        None => request,
    }
    .body(())
    .unwrap()
}

struct Case {
    name: &'static str,
    gate: WachtAuth<Inner>,
    secret: Option<String>,
    meets: Option<RejectionKind>,
}

/// Gates whose caches and policies are warm.
fn cases(wacht: &DevGateway, runtime: &tokio::runtime::Runtime) -> Vec<Case> {
    wacht
        .app("one-rule")
        .scheme([DevRule::per_key(2_000_000_000, "minute", 1)]);
    wacht.app("three-rules").scheme([
        DevRule::per_key(2_000_000_000, "minute", 1),
        DevRule::per_key(2_000_000_000, "hour", 1),
        DevRule::per_app(2_000_000_000, "minute", 1),
    ]);
    wacht.app("shut").scheme([DevRule::per_key(1, "month", 1)]);
    let one = wacht
        .issue_key("one-rule")
        .permissions(["orders:read"])
        .issue();
    let three = wacht.issue_key("three-rules").issue();
    let limited = wacht.issue_key("shut").issue();
    let unknown = format!("sk_{}", "x".repeat(43));

    // So old that nothing is asked again while it is measured.
    let hour = Duration::from_secs(3600);
    let forever = CachePolicy::default().fresh_for(hour).negative_ttl(hour);
    let layer = || WachtAuthLayer::new(wacht.client()).cache(forever.clone());
    let off = || layer().limits(Limits::off());
    let bare_headers = || layer().rate_limit_headers(RateLimitHeaders::None);
    let case = |name, layer: WachtAuthLayer, secret: Option<&str>, meets| Case {
        name,
        gate: layer.layer(inner()),
        secret: secret.map(str::to_owned),
        meets,
    };
    let (one, three, limited) = (
        Some(one.secret()),
        Some(three.secret()),
        Some(limited.secret()),
    );
    let invalid = Some(RejectionKind::InvalidKey);
    let cases = vec![
        case("hit, limits off", off(), one, None),
        case("hit, one rule, no headers", bare_headers(), one, None),
        case("hit, one rule", layer(), one, None),
        case("hit, three rules", layer(), three, None),
        case(
            "no key",
            layer(),
            None,
            Some(RejectionKind::MissingCredential),
        ),
        case("malformed key", layer(), Some("too-short"), invalid),
        case("known bad key", layer(), Some(&unknown), invalid),
        case(
            "limited",
            layer(),
            limited,
            Some(RejectionKind::RateLimited),
        ),
    ];
    for case in &cases {
        // Twice: the first verifies, and spends what "shut" has.
        for _ in 0..2 {
            let call = case.gate.clone().oneshot(request(case.secret.as_deref()));
            let _ = runtime.block_on(call);
        }
    }
    cases
}

fn call<S>(service: &mut S, request: Request<()>) -> S::Response
where
    S: Service<Request<()>, Error = Infallible>,
{
    // Whatever is measured here is decided within `call`: nothing may wait.
    service.call(request).now_or_never().unwrap().unwrap()
}

fn hit(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let mut cases = cases(&wacht, &runtime);
    // Policies are refreshed in the background; a long run sees a few of them.
    let _guard = runtime.enter();

    println!("allocations per call, beside the request itself:");
    let count = |mut run: Box<dyn FnMut(Request<()>) + '_>, secret: Option<&str>| {
        let request = request(secret);
        allocation_counter::measure(|| run(request)).count_total
    };
    let mut bare = inner();
    let secret = cases[0].secret.clone();
    let allocated = count(Box::new(|r| drop(call(&mut bare, r))), secret.as_deref());
    println!("{allocated:>4}  bare inner service");
    for case in &mut cases {
        let secret = case.secret.clone();
        let response = call(&mut case.gate, request(secret.as_deref()));
        let met = response.extensions().get::<wacht_auth::Rejection>();
        assert_eq!(
            met.map(wacht_auth::Rejection::kind),
            case.meets,
            "{}",
            case.name
        );
        let gate = &mut case.gate;
        let allocated = count(Box::new(|r| drop(call(gate, r))), secret.as_deref());
        println!("{allocated:>4}  {}", case.name);
    }

    let mut group = c.benchmark_group("gate");
    group.bench_function("bare inner service", |b| {
        b.iter_batched(
            || request(secret.as_deref()),
            |request| call(&mut bare, request),
            BatchSize::SmallInput,
        );
    });
    for case in &mut cases {
        group.bench_function(case.name, |b| {
            let secret = case.secret.as_deref();
            b.iter_batched(
                || request(secret),
                |request| call(&mut case.gate, request),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, hit);
criterion_main!(benches);
