//! Stands in for Wacht where a million keys have to be verified: every key has a number, and the
//! answers are ready but for it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body_util::Empty;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use wacht_auth::{CachePolicy, Limits, WachtAuth, WachtAuthLayer, WachtClient};

use super::service::{Inner, inner, request};

/// A path with a limit per key that is regained so slowly that a counter, once used, stays: one
/// that is at rest may be forgotten when another key needs room.
pub(crate) const COUNTED: &str = "/counted";
/// A path with a limit per key that a single key cannot use up.
pub(crate) const PLENTY: &str = "/plenty";
/// A path without rules.
pub(crate) const UNCOUNTED: &str = "/uncounted";

pub(crate) struct StandIn {
    /// Behind it, [`SHAPE`] and a number may say of what shape all keys are.
    pub(crate) url: String,
}

/// Permissions and metadata, as JSON, of a key of this number, by the number of its shape.
pub(crate) type OfShape = fn(usize, u64) -> Option<(String, String)>;

impl StandIn {
    /// On a thread of its own, which ends with the process.
    pub(crate) fn start(of_shape: OfShape) -> Self {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || runtime.block_on(serve(listener, of_shape)));
        Self { url }
    }

    /// A gate with room for all keys, which knows none yet.
    pub(crate) fn gate(&self) -> WachtAuth<Inner> {
        self.layer().layer(inner())
    }

    pub(crate) fn layer(&self) -> WachtAuthLayer {
        let client = WachtClient::builder("wk_live_of-the-stand-in")
            .api_url(&self.url)
            .gateway_url(&self.url)
            .build()
            .unwrap();
        let policy = CachePolicy::default()
            .capacity_bytes(4 << 30)
            .fresh_for(Duration::from_secs(3600));
        WachtAuthLayer::builder(client)
            .cache(policy)
            .limits(Limits::local().capacity(2_000_000))
            // The machine may be busy with 128 checks at once.
            .deadline(Duration::from_secs(30))
            .build()
            .unwrap()
            .app(APP)
    }
}

/// A request with the key of this number.
pub(crate) fn request_of(number: u64, path: &str) -> Request<Empty<Bytes>> {
    request(path)
        .header("authorization", format!("Bearer {}", key(number)))
        .body(Empty::new())
        .unwrap()
}

/// Has the keys of these numbers verified, 128 at once.
pub(crate) fn fill(gate: &WachtAuth<Inner>, runtime: &Runtime, numbers: Range<u64>) {
    let next = Arc::new(AtomicU64::new(numbers.start));
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..128 {
            let (gate, next) = (gate.clone(), Arc::clone(&next));
            callers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    let request = request_of(number, UNCOUNTED);
                    let answer = gate.clone().oneshot(request).await.unwrap();
                    assert_eq!(answer.status(), 200, "the key of number {number}");
                }
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    });
}

const APP: &str = "crowd";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Letters that it takes to write a number.
const NUMBER: usize = 11;

/// `sk_`, the number, and what looks random.
fn key(number: u64) -> String {
    let mut key = String::with_capacity(46);
    key.push_str("sk_");
    let mut digits = number;
    let mut random = number;
    for place in 0..43 {
        let letter = if place < NUMBER {
            let letter = digits % 64;
            digits /= 64;
            letter
        } else {
            random = mixed(random);
            random >> 58
        };
        key.push(char::from(ALPHABET[letter as usize]));
    }
    key
}

fn number_of(digits: &[u8]) -> Option<u64> {
    digits.iter().rev().try_fold(0_u64, |number, letter| {
        let digit = ALPHABET.iter().position(|of| of == letter)?;
        Some(number.wrapping_mul(64).wrapping_add(digit as u64))
    })
}

/// A step of splitmix64.
pub(crate) fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

async fn serve(listener: TcpListener, of_shape: OfShape) {
    let mut callers = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        callers.spawn(converse(stream, of_shape));
    }
}

/// One connection, kept alive for as long as the client likes.
async fn converse(mut stream: TcpStream, of_shape: OfShape) {
    let mut read = BytesMut::with_capacity(4096);
    loop {
        while let Some(length) = whole_request(&read) {
            let answer = answer(&read[..length], of_shape);
            read.advance(length);
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The length of the first request, once all of it has been read.
fn whole_request(read: &[u8]) -> Option<usize> {
    let head = find(read, b"\r\n\r\n")? + 4;
    let lines = read[..head].split(|byte| *byte == b'\n');
    let length = lines
        .filter_map(|line| std::str::from_utf8(line).ok()?.trim().split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    (read.len() >= head + length).then_some(head + length)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn answer(request: &[u8], of_shape: OfShape) -> String {
    let (method, path) = method_and_path(request).unwrap_or_default();
    let (shape, path) = shape_and_path(path);
    let body = if (method, path) == ("POST", "/v1/authz/check") {
        let of_shape = |number| of_shape(shape?, number);
        verdict(request, of_shape)
    } else if (method, path) == ("GET", "/api-auth/apps/crowd") {
        Some(app())
    } else if method == "GET" && path.starts_with("/api-auth/apps?") {
        let app = app();
        Some(format!(
            r#"{{"data":[{app}],"has_more":false,"limit":1,"offset":0}}"#
        ))
    } else {
        None
    };
    match body {
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
    }
}

fn method_and_path(request: &[u8]) -> Option<(&str, &str)> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    Some((words.next()?, words.next()?))
}

/// The number of a shape with which a path may begin, and the rest.
fn shape_and_path(path: &str) -> (Option<usize>, &str) {
    let read = || {
        let (number, _) = path.strip_prefix(SHAPE)?.split_once('/')?;
        let rest = &path[SHAPE.len() + number.len()..];
        Some((number.parse().ok()?, rest))
    };
    read().map_or((None, path), |(shape, rest)| (Some(shape), rest))
}

/// As the gateway answers for a key without an owner: of this shape, or with four permissions.
fn verdict(request: &[u8], of_shape: impl Fn(u64) -> Option<(String, String)>) -> Option<String> {
    let start = find(request, b"sk_")? + 3;
    let number = number_of(request.get(start..start + NUMBER)?)?;
    let plain = || (FOUR.to_owned(), "{}".to_owned());
    let (permissions, metadata) = of_shape(number).unwrap_or_else(plain);
    Some(format!(
        r#"{{"request_id":"req_1","allowed":true,"reason":null,"blocked_rule":null,"identity":{{"key_id":"{}","deployment_id":"{DEPLOYMENT}","app_slug":"{APP}","key_name":"key {number}","owner_user_id":null,"organization_id":null,"workspace_id":null,"organization_membership_id":null,"workspace_membership_id":null}},"permissions":{permissions},"metadata":{metadata},"rate_limits":[],"retry_after":null,"headers":{{}}}}"#,
        number + 1
    ))
}

fn app() -> String {
    let rule = |max: u32, unit: &str, path: &str| {
        format!(
            r#"{{"unit":"{unit}","duration":1,"max_requests":{max},"mode":"per_key","priority":0,"endpoints":["{path}"]}}"#
        )
    };
    let slow = rule(50_000, "month", COUNTED);
    let plenty = rule(2_000_000_000, "minute", PLENTY);
    format!(
        r#"{{"deployment_id":"{DEPLOYMENT}","app_slug":"{APP}","name":"Crowd","description":null,"is_active":true,"key_prefix":"sk","permissions":[],"resources":[],"rate_limits":[{slow},{plenty}],"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","deleted_at":null}}"#
    )
}

/// Before the path: which shape the keys have.
pub(crate) const SHAPE: &str = "/shape-";
const FOUR: &str = r#"["orders:read","orders:write","users:read","reports:read"]"#;
const DEPLOYMENT: &str = "7000000000000001";
