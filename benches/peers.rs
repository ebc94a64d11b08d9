//! What other middleware costs that stands where the gate stands, beside the gate, in one run.
//!
//! `cargo bench -p benches --bench peers`. Quote ratios: single times say more about the machine.
//!
//! Every contender is a tower stack around the same inner service, which answers at once with an
//! empty body, and sees the same requests: a few ordinary headers, the peer's address as axum
//! records it, and a bearer credential. There are 100 callers who take turns, each with a
//! credential and an address of its own, so nobody profits from a single hot entry. Everybody
//! admits every measured request; that each refuses a bad credential is looked at before. Nothing
//! is refreshed or expires meanwhile. Whoever identifies the caller leaves what it knows in the
//! request's extensions, as handlers need it there.
//!
//! How each is configured, and why that is fair:
//!
//! - **wacht-auth**: as `new` makes it, but that verdicts stay fresh for an hour, so that no
//!   refresh is measured. Its app has one rule per key, so a hit counts too and writes the header
//!   fields that say what is left. *Without limits* is the one to hold against those that only
//!   authenticate.
//! - **`tower_governor`**: as its documentation begins, by peer address, with a quota that is never
//!   reached; once more with `use_headers`. Its housekeeping thread is left out, as 100 addresses
//!   need none. It knows nothing of credentials: this is what a limit alone costs.
//! - **`ValidateRequestHeaderLayer`** of tower-http: a closure that looks the credential up in a
//!   `HashMap` of the standard library behind an `Arc`. It asks nobody, forgets nothing and holds
//!   the credentials in clear, so this is close to the least that any look-up costs.
//! - **`AsyncRequireAuthorizationLayer`** of tower-http: the same map, by the closure that its
//!   documentation shows, which spares the box that its other example has.
//! - **`jsonwebtoken`**: `decode` in a `ValidateRequestHeaderLayer`, with signature, `exp`, `iss` and
//!   `aud` checked, over aws-lc-rs, the backend that its documentation names first and that signs
//!   and verifies for rustls here too. Key and `Validation` are made once, as it advises. The token
//!   has the claims that access tokens commonly have, and the RSA key 2048 bits, the least that is
//!   accepted. No token is remembered.
//! - **moka**: the cache that is usually written by hand, a function under axum's
//!   `from_fn_with_state` that asks the gateway within `get_with`. The cache is keyed by the
//!   credential in clear and has one span of life for everything; no limit is counted. `from_fn`
//!   boxes the inner service and the future.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::result_large_err,
    reason = "tower-http's closures refuse with a whole response"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tells this run's results from those of an earlier one"
)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::middleware::{Next, from_fn_with_state};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::{Layer, Service};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_http::auth::AsyncRequireAuthorizationLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;
use wacht_auth::api::gateway::CheckRequest;
use wacht_auth::dev::{DevGateway, DevKey, DevRule};
use wacht_auth::{CachePolicy, Limits, WachtAuthLayer, WachtClient};

mod service;

use service::{Inner, call};

const CALLERS: usize = 100;
/// Longer than a run.
const LONG: Duration = Duration::from_secs(3600);
const OURS: &str = "wacht-auth";
const BARE: &str = "bare inner service";

fn inner() -> Inner<Body, Body> {
    service::inner()
}

fn request(caller: usize, credential: &str) -> Request<Body> {
    let host = u8::try_from(caller % 200).unwrap() + 1;
    let peer = SocketAddr::from((Ipv4Addr::new(203, 0, 113, host), 40000));
    service::request("/items")
        .header("authorization", format!("Bearer {credential}"))
        .extension(ConnectInfo(peer))
        .body(Body::empty())
        .unwrap()
}

fn bearer(request: &Request<Body>) -> Option<&str> {
    let credential = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    credential.strip_prefix("Bearer ")
}

fn unauthorized() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

/// What the hand-written ones know of a caller.
#[derive(Debug)]
#[allow(dead_code, reason = "it is there to be handed on")]
struct Caller {
    key_id: i64,
    app: String,
    permissions: Vec<String>,
}

// --- the contest ---

struct Contest<'c> {
    runtime: Runtime,
    group: BenchmarkGroup<'c, WallTime>,
    names: Vec<&'static str>,
}

impl Contest<'_> {
    /// Measures a stack whose callers have these credentials.
    fn enter<S, B>(&mut self, name: &'static str, mut service: S, credentials: &[String])
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    {
        for (caller, credential) in credentials.iter().enumerate() {
            let warm = async { service.call(request(caller, credential)).await };
            let answer = self.runtime.block_on(warm).unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
        }
        // What is measured from here on is decided within `call` and one poll.
        let _guard = self.runtime.enter();
        let mut caller = 0;
        self.group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    caller = (caller + 1) % CALLERS;
                    request(caller, &credentials[caller])
                },
                |request| call(&mut service, request),
                // So few that they are still in the processor's cache, as those of a server are that
                // has just read them.
                BatchSize::NumIterations(32),
            );
        });
        self.names.push(name);
    }

    /// The same for one that looks at the credential.
    fn enter_strict<S, B>(&mut self, name: &'static str, mut service: S, credentials: &[String])
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    {
        // Of the right form, but with one character changed in the last part.
        let mut wrong = credentials[0].clone();
        let place = wrong.len() - 20;
        let other = if &wrong[place..=place] == "x" {
            "y"
        } else {
            "x"
        };
        wrong.replace_range(place..=place, other);
        let refused = async { service.call(request(0, &wrong)).await };
        let status = self.runtime.block_on(refused).unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
        self.enter(name, service, credentials);
    }
}

// --- who takes part ---

fn peers(c: &mut Criterion) {
    let began = SystemTime::now();
    let runtime = Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    wacht
        .app("orders")
        .scheme([DevRule::per_key(2_000_000_000, "minute", 1)]);
    let keys: Vec<DevKey> = (0..CALLERS)
        .map(|_| {
            let key = wacht.issue_key("orders");
            key.permissions(["orders:read", "orders:write"]).issue()
        })
        .collect();
    let secrets: Vec<String> = keys.iter().map(|key| key.secret().to_owned()).collect();

    let mut contest = Contest {
        runtime,
        group: c.benchmark_group("peers"),
        names: Vec::new(),
    };
    contest.enter(BARE, inner(), &secrets);
    wacht_auth(&mut contest, &wacht, &secrets);
    tower_governor(&mut contest, &secrets);
    tower_http(&mut contest, &secrets);
    jsonwebtoken(&mut contest);
    moka(&mut contest, &wacht, &secrets);
    let Contest { group, names, .. } = contest;
    group.finish();
    if !env::args().any(|argument| argument == "--test") {
        print_table(&names, began);
    }
}

fn wacht_auth(contest: &mut Contest<'_>, wacht: &DevGateway, secrets: &[String]) {
    let builder = WachtAuthLayer::builder(wacht.client())
        .cache(CachePolicy::default().fresh_for(LONG))
        .app("orders");
    let layer = builder.clone().build().unwrap();
    contest.enter_strict(OURS, layer.layer(inner()), secrets);
    let off = builder.limits(Limits::off()).build().unwrap();
    contest.enter_strict("wacht-auth without limits", off.layer(inner()), secrets);
}

fn tower_governor(contest: &mut Contest<'_>, secrets: &[String]) {
    // An address may go on for ever: it has back what it used before it can come again.
    let mut config = GovernorConfigBuilder::default();
    config.per_nanosecond(1).burst_size(1_000_000_000);
    let layer = GovernorLayer::new(config.finish().unwrap());
    contest.enter("tower_governor", layer.layer(inner()), secrets);
    let config = config.use_headers().finish().unwrap();
    let layer = GovernorLayer::new(config);
    contest.enter("tower_governor with headers", layer.layer(inner()), secrets);
}

fn tower_http(contest: &mut Contest<'_>, secrets: &[String]) {
    let known = |(key_id, secret): (i64, &String)| {
        let caller = Caller {
            key_id,
            app: "orders".to_owned(),
            permissions: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        };
        (secret.clone(), Arc::new(caller))
    };
    let callers: HashMap<String, Arc<Caller>> = (1..).zip(secrets).map(known).collect();
    let callers = Arc::new(callers);

    let keys = Arc::clone(&callers);
    let layer = ValidateRequestHeaderLayer::custom(move |request: &mut Request<Body>| {
        let caller = bearer(request).and_then(|secret| keys.get(secret));
        let caller = caller.ok_or_else(unauthorized)?;
        request.extensions_mut().insert(Arc::clone(caller));
        Ok(())
    });
    contest.enter_strict("validate request header", layer.layer(inner()), secrets);

    let layer = AsyncRequireAuthorizationLayer::new(move |mut request: Request<Body>| {
        let keys = Arc::clone(&callers);
        async move {
            let caller = bearer(&request).and_then(|secret| keys.get(secret));
            let caller = caller.ok_or_else(unauthorized)?;
            request.extensions_mut().insert(Arc::clone(caller));
            Ok::<_, Response<Body>>(request)
        }
    });
    contest.enter_strict("async require authorization", layer.layer(inner()), secrets);
}

/// What a typical access token says; the rest of it is looked at and not kept.
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code, reason = "it is there to be handed on")]
struct Claims {
    sub: String,
    scope: String,
    exp: u64,
}

fn tokens(algorithm: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> Vec<String> {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = part(&json!({ "alg": algorithm, "typ": "JWT", "kid": "2026-01" }));
    (0..CALLERS)
        .map(|caller| {
            let claims = part(&json!({
                "iss": "https://login.example.com/", "aud": "https://api.example.com",
                "sub": format!("user_{caller:024}"), "scope": "orders:read orders:write",
                // The first of January 2100.
                "iat": 1_767_225_600, "exp": 4_102_444_800_u64,
            }));
            let signed = format!("{header}.{claims}");
            let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
            format!("{signed}.{signature}")
        })
        .collect()
}

fn jsonwebtoken(contest: &mut Contest<'_>) {
    let random = SystemRandom::new();
    let mut enter = |name, algorithm, key: DecodingKey, tokens: Vec<String>| {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&["https://login.example.com/"]);
        validation.set_audience(&["https://api.example.com"]);
        let checks = Arc::new((key, validation));
        let layer = ValidateRequestHeaderLayer::custom(move |request: &mut Request<Body>| {
            let (key, validation) = &*checks;
            let token = bearer(request).ok_or_else(unauthorized)?;
            let token = decode::<Claims>(token, key, validation);
            let claims = token.map_err(|_| unauthorized())?.claims;
            request.extensions_mut().insert(claims);
            Ok(())
        });
        contest.enter_strict(name, layer.layer(inner()), &tokens);
    };

    let secret = [7; 32];
    let signing = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let signed = tokens("HS256", |text| hmac::sign(&signing, text).as_ref().to_vec());
    let key = DecodingKey::from_secret(&secret);
    enter("jsonwebtoken HS256", Algorithm::HS256, key, signed);

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let signed = tokens("ES256", |text| {
        pair.sign(&random, text).unwrap().as_ref().to_vec()
    });
    let key = DecodingKey::from_ec_der(pair.public_key().as_ref());
    enter("jsonwebtoken ES256", Algorithm::ES256, key, signed);

    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let signed = tokens("RS256", |text| {
        let mut signature = vec![0; pair.public_modulus_len()];
        let signed = pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature);
        signed.map(|()| signature).unwrap()
    });
    let key = DecodingKey::from_rsa_der(pair.public_key().as_ref());
    enter("jsonwebtoken RS256", Algorithm::RS256, key, signed);
}

#[derive(Clone)]
struct HandWritten {
    client: WachtClient,
    verdicts: moka::future::Cache<String, Option<Arc<Caller>>>,
}

fn moka(contest: &mut Contest<'_>, wacht: &DevGateway, secrets: &[String]) {
    let verdicts = moka::future::Cache::builder()
        .max_capacity(10_000)
        .time_to_live(LONG)
        .build();
    let client = wacht.client();
    let layer = from_fn_with_state(HandWritten { client, verdicts }, verified);
    contest.enter_strict("moka get_with in from_fn", layer.layer(inner()), secrets);
}

async fn verified(
    State(state): State<HandWritten>,
    mut request: axum::extract::Request,
    next: Next,
) -> Result<Response<Body>, StatusCode> {
    let secret = bearer(&request).ok_or(StatusCode::UNAUTHORIZED)?.to_owned();
    let ask = ask_gateway(&state.client, &secret);
    let caller = state.verdicts.get_with(secret.clone(), ask).await;
    let caller = caller.ok_or(StatusCode::UNAUTHORIZED)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn ask_gateway(client: &WachtClient, secret: &str) -> Option<Arc<Caller>> {
    let check = CheckRequest::api_key(secret)
        .method("GET")
        .resource("/items");
    let answer = client.gateway().check(check).send().await.ok()?;
    let identity = answer.identity.filter(|_| answer.allowed)?;
    Some(Arc::new(Caller {
        key_id: identity.key_id,
        app: identity.app_slug,
        permissions: answer.permissions,
    }))
}

// --- what came of it ---

/// The medians that criterion has written, in the order of entry.
fn print_table(names: &[&str], began: SystemTime) {
    let medians: Vec<(&str, f64)> = names
        .iter()
        .filter_map(|name| Some((*name, median(name, began)?)))
        .collect();
    let of = |wanted| {
        let found = medians.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, median)| *median)
    };
    // Only some of them were asked for.
    let (Some(bare), Some(ours)) = (of(BARE), of(OURS)) else {
        return;
    };
    println!(
        "{:<28} {:>10} {:>12} {:>16}",
        "", "median ns", "less bare", "times wacht-auth"
    );
    for (name, median) in &medians {
        let added = median - bare;
        let ratio = added / (ours - bare);
        println!("{name:<28} {median:>10.0} {added:>12.0} {ratio:>16.2}");
    }
}

/// In nanoseconds, if this run has measured it.
fn median(name: &str, began: SystemTime) -> Option<f64> {
    let estimates = results().join(name).join("new/estimates.json");
    if fs::metadata(&estimates).ok()?.modified().ok()? < began {
        return None;
    }
    let estimates: Value = serde_json::from_str(&fs::read_to_string(estimates).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn results() -> PathBuf {
    let executable = env::current_exe().unwrap();
    let mut folders = executable.ancestors().map(|f| f.join("criterion/peers"));
    // The target directory is one of them.
    folders.find(|folder| folder.is_dir()).unwrap_or_default()
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
}

criterion_group! {
    name = benches;
    config = short();
    targets = peers
}
criterion_main!(benches);
