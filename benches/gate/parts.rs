//! What a hit cannot do without, each part by itself, straight from the crate that does it.
//!
//! What each part leaves behind is dropped where a hit would drop it: within the measured time,
//! but for the headers of the answer.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use governor::clock::Clock;
use governor::{Quota, RateLimiter};
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::BATCH;
use super::cases::Caller;
use super::keys::{Digest, Entry};
use super::run::Run;

pub(crate) fn measure(criterion: &mut Criterion, run: &Run) {
    if !run.wants("parts") {
        return;
    }
    let mut group = criterion.benchmark_group("parts");
    let key = format!("sk_{}", "x".repeat(43));

    let request = Caller::of_key(&key).request();
    group.bench_function("bearer", |b| {
        b.iter(|| bearer(black_box(request.headers())))
    });

    group.bench_function("SHA-256", |b| {
        b.iter(|| <[u8; 32]>::from(Sha256::digest(black_box(key.as_bytes()))));
    });

    let cache: Cache<Digest, Arc<Entry>> = Cache::builder()
        .max_capacity(64 << 20)
        .weigher(|_, _| 512)
        .build();
    let digest = Digest::of(1);
    cache.insert(digest, Arc::new(Entry([1; 38])));
    group.bench_function("moka get", |b| b.iter(|| cache.get(black_box(&digest))));

    // The time is handed to it: clocks are a part of their own.
    let quota = Quota::per_minute(NonZeroU32::new(2_000_000_000).unwrap());
    let limiter = RateLimiter::hashmap_with_clock(quota, StandsStill);
    group.bench_function("governor check", |b| {
        b.iter(|| limiter.check_key(black_box(&7_i64)).is_ok());
    });

    let found = Arc::new(Entry([1; 38]));
    group.bench_function("extension", |b| {
        b.iter(|| {
            let mut extensions = Extensions::new();
            // As large as a `Principal`: two pointers.
            extensions.insert((Arc::clone(&found), black_box(1_usize)));
            extensions
        });
    });

    let origin = Instant::now();
    // The wall clock is read once a millisecond, by one of a thousand requests.
    group.bench_function("clock", |b| b.iter(|| origin.elapsed()));

    let policy = HeaderValue::from_maybe_shared(bytes::Bytes::from(
        "\"per_key:2000000000/60s\";q=2000000000;w=60".to_owned(),
    ))
    .unwrap();
    // As if the numbers in it were written for nothing.
    let limit = b"\"per_key:2000000000/60s\";r=1999999999;t=1";
    group.bench_function("headers", |b| {
        b.iter_batched(
            HeaderMap::new,
            |mut headers| {
                let limit = HeaderValue::from_bytes(black_box(limit)).unwrap();
                headers.append(RATE_LIMIT_POLICY, policy.clone());
                headers.append(RATE_LIMIT, limit);
                headers
            },
            BATCH,
        );
    });
    group.finish();
}

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The key of the one `Authorization: Bearer`, if it could be one of Wacht's.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let (scheme, key) = line.to_str().ok()?.split_once(' ')?;
    let tail = key.len().checked_sub(43)?;
    let is_well_formed = scheme.eq_ignore_ascii_case("bearer")
        && (46..=512).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic())
        && key.as_bytes()[tail..]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_well_formed.then_some(key)
}

#[derive(Clone)]
struct StandsStill;

impl Clock for StandsStill {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_secs(1_000)
    }
}
