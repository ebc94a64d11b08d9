//! The connections to Wacht: what is between breaks them, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wacht_auth::client::WachtClientBuilder;
use wacht_auth::dev::{DevKey, Fault, On};
use wacht_auth::models::{CheckRequest, CreateApiKeyRequest, CreateOAuthAppRequest, Logo};
use wacht_auth::{RejectionKind, WachtAuthLayer, WachtClient};

use crate::scene::{Echo, Scene, eventually, in_vain, made_up, once_at};
use crate::wires::{CERTIFICATE, End, Habit, Picky, Wire};

/// For what waits in vain.
const MOMENT: Duration = Duration::from_millis(100);
/// For what waits [`in_vain`] and then does not: long enough for a sound answer on a busy machine.
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);
/// How long the breaker stays open.
const OPEN_FOR: Duration = Duration::from_secs(2);
/// Failures in a row that open the breaker.
const IN_A_ROW: usize = 5;

fn client_at(scene: &Scene, url: &str) -> WachtClientBuilder {
    WachtClient::builder(scene.wacht.management_key())
        .api_url(url)
        .gateway_url(url)
        .root_certificates(CERTIFICATE)
        .timeout(LONG)
        .no_retries()
}

/// A gate whose gateway is at this address, and which asks the management API elsewhere.
fn gate_at(scene: &Scene, url: &str) -> WachtAuthLayer {
    let client = client_at(scene, url).api_url(scene.wacht.url());
    gate_on(scene, &client.build().unwrap(), LONG)
}

/// A gate on a client that others use as well, and its connections with it.
fn gate_on(scene: &Scene, client: &WachtClient, deadline: Duration) -> WachtAuthLayer {
    WachtAuthLayer::builder(client.clone())
        .clock(&scene.clock)
        .deadline(deadline)
        .build()
        .unwrap()
        .app("orders")
}

fn keys(scene: &Scene, count: usize) -> Vec<DevKey> {
    (0..count).map(|_| scene.key()).collect()
}

fn to_make() -> CreateApiKeyRequest {
    CreateApiKeyRequest {
        name: "made".to_owned(),
        ..Default::default()
    }
}

// --- connections that are dead and do not say so ---

#[tokio::test]
async fn over_http2_a_dead_connection_ends_with_the_first_time_out() {
    let scene = Scene::new().await;
    let wire = Wire::tls(scene.wacht.url(), "h2").await;
    dead_connection(scene, wire).await;
}

#[tokio::test]
async fn over_http1_a_dead_connection_ends_with_the_first_time_out() {
    let scene = Scene::new().await;
    let wire = Wire::tls(scene.wacht.url(), "http/1.1").await;
    dead_connection(scene, wire).await;
}

/// One request after the other, of the gate and of the management API.
async fn dead_connection(scene: Scene, wire: Wire) {
    let client = client_at(&scene, &wire.url()).api_url(scene.wacht.url());
    let client = client.build().unwrap();
    let patient = Echo::behind(gate_on(&scene, &client, LONG));
    let hasty = gate_on(&scene, &client, MOMENT);
    patient.get(scene.key().secret()).await.assert_ok();
    wire.end(End::Swallow);
    let (wire, echo, key) = (&wire, Echo::behind(hasty.clone()), scene.key());
    let one_more = |limit| once_at(|| wire.swallowing(), wire.swallowing() + 1, limit);
    let met = in_vain(one_more(MOMENT), echo.get(key.secret())).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(hasty.handle().stats().gateway.timed_out, 1);
    patient.get(scene.key().secret()).await.assert_ok();

    let client = client_at(&scene, &wire.url()).timeout(SHORT);
    let client = client.build().unwrap();
    let read = || client.api_keys().list_api_auth_apps().send();
    let write = || {
        let request = to_make();
        client.api_keys().create_api_key("orders", request).send()
    };
    read().await.unwrap();
    wire.end(End::Swallow);
    let late = in_vain(one_more(SHORT), read()).await;
    assert!(late.unwrap_err().is_timeout());
    read().await.unwrap();
    wire.end(End::Swallow);
    // In real time: what takes the place of connections that are dead stays for a second.
    assert!(write().await.unwrap_err().is_timeout());
    write().await.unwrap();
}

#[tokio::test]
async fn a_gate_asks_the_management_api_again_over_a_connection_that_lives() {
    let scene = Scene::new().await;
    let wire = Wire::tls(scene.wacht.url(), "h2").await;
    let client = client_at(&scene, &wire.url()).gateway_url(scene.wacht.url());
    let layer = gate_on(&scene, &client.build().unwrap(), SHORT);
    let layer = layer.apps(["orders", "since"]);
    let echo = Echo::behind(layer.clone());
    echo.get(scene.key().secret()).await.assert_ok();
    wire.end(End::Swallow);
    let key = scene.wacht.issue_key("since").issue();
    let checks_of_a_request = async || {
        let before = layer.handle().stats().checks;
        echo.get(key.secret()).await.assert_ok();
        layer.handle().stats().checks - before
    };
    // Nothing is known of its app, so the gateway counts.
    for _ in 0..2 {
        assert_eq!(checks_of_a_request().await, 1);
    }
    let is_known = async || {
        scene.clock.advance(SHORT);
        checks_of_a_request().await == 0
    };
    let is_stuck = once_at(|| wire.swallowing(), 1, SHORT);
    in_vain(is_stuck, eventually(is_known)).await;
}

#[tokio::test]
async fn many_dead_connections_end_with_the_first_time_out() {
    let scene = Scene::new().await;
    let wire = Wire::to(scene.wacht.url()).await;
    let client = client_at(&scene, &wire.url()).api_url(scene.wacht.url());
    let client = client.build().unwrap();
    let patient = Echo::behind(gate_on(&scene, &client, LONG));
    let layer = gate_on(&scene, &client, SHORT);
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    let first: Vec<_> = keys(&scene, 64)
        .iter()
        .map(|key| patient.spawn_get(key.secret()))
        .collect();
    scene.wacht.journal().wait_for_checks(64).await;
    held.release();
    for met in join_all(first).await {
        met.unwrap().assert_ok();
    }
    assert_eq!(wire.accepted(), 64);

    wire.end(End::Swallow);
    let unlucky = keys(&scene, IN_A_ROW);
    let all = join_all(unlucky.iter().map(|key| echo.get(key.secret())));
    let is_stuck = once_at(|| wire.swallowing(), IN_A_ROW, SHORT);
    for met in in_vain(is_stuck, all).await {
        met.assert_refused(RejectionKind::Unavailable);
    }
    assert!(!layer.handle().stats().gateway_trusted);
    scene.clock.advance(OPEN_FOR);
    for key in keys(&scene, 10) {
        echo.get(key.secret()).await.assert_ok();
    }
    assert!(layer.handle().stats().gateway_trusted);
}

#[tokio::test]
async fn what_runs_on_a_connection_that_was_given_up_may_finish() {
    let scene = Scene::new().await;
    let wire = Wire::tls(scene.wacht.url(), "h2").await;
    let client = client_at(&scene, &wire.url()).build().unwrap();
    let key = scene.key();
    let check = || {
        client
            .gateway()
            .check(CheckRequest::api_key(key.secret()))
            .send()
    };
    check().await.unwrap();
    let held = scene.wacht.hold_checks();
    let patient = tokio::spawn(check());
    scene.wacht.journal().wait_for_checks(2).await;
    // On the same connection, and not as patient.
    let hasty = Echo::behind(gate_on(&scene, &client, MOMENT));
    let met = hasty.get(&made_up(1)).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(wire.accepted(), 1);
    held.release();
    check().await.unwrap();
    assert_eq!(wire.accepted(), 2);
    assert!(patient.await.unwrap().unwrap().allowed);
    // And with that it is closed.
    eventually(async || wire.closed() == 1).await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let scene = Scene::new().await;
    let wire = Wire::to(scene.wacht.url()).await;
    let client = client_at(&scene, &wire.url()).pool_idle_timeout(Duration::from_millis(1));
    let client = client.build().unwrap();
    client.api_keys().list_api_auth_apps().send().await.unwrap();
    // Much sooner than after the thirty seconds of the default.
    eventually(async || wire.closed() == 1).await;
}

// --- runtimes ---

#[test]
fn a_runtime_that_stands_still_keeps_its_connections_to_itself() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let scene = main.block_on(Scene::new());
    let client = client_at(&scene, scene.wacht.url()).build().unwrap();
    let key = scene.key();
    let check = async || {
        let check = client.gateway().check(CheckRequest::api_key(key.secret()));
        check.send().await.unwrap().allowed
    };
    let read = async || client.api_keys().list_api_auth_apps().send().await.unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    // None of them is driven after its own turn, and none is dropped.
    let runtimes: Vec<_> = (0..12).map(|_| runtime()).collect();
    for _ in 0..2 {
        for still in &runtimes {
            assert!(still.block_on(check()));
            still.block_on(read());
        }
    }
    assert!(main.block_on(check()));
    main.block_on(read());
}

// --- requests that were not processed ---

/// Reads, writes, one of these with a file, and checks.
async fn all_kinds_of_calls(client: &WachtClient, secret: &str, number: usize) {
    let (keys, oauth) = (client.api_keys(), client.oauth());
    let check = client.gateway().check(CheckRequest::api_key(secret));
    assert!(check.send().await.unwrap().allowed);
    keys.list_api_auth_apps().send().await.unwrap();
    let request = to_make();
    keys.create_api_key("orders", request).send().await.unwrap();
    let png: &'static [u8] = b"\x89PNG\r\n\x1a\n";
    let request = CreateOAuthAppRequest {
        slug: format!("app-{number}"),
        name: "App".to_owned(),
        ..Default::default()
    };
    let app = oauth.create_oauth_app(request);
    app.logo(Logo::new(png, "image/png")).send().await.unwrap();
}

#[tokio::test]
async fn what_the_server_says_it_did_not_process_is_sent_again() {
    let scene = Scene::new().await;
    let server = Picky::before(scene.wacht.url(), Habit::Refuses).await;
    let client = client_at(&scene, &server.url()).build().unwrap();
    let key = scene.key();
    for number in 0..5 {
        all_kinds_of_calls(&client, key.secret(), number).await;
    }
    let journal = scene.wacht.journal();
    assert_eq!((journal.checks(), journal.management_calls()), (5, 15));
}

#[tokio::test]
async fn servers_that_are_restarted_one_by_one_go_unnoticed() {
    let scene = Scene::new().await;
    let server = Picky::before(scene.wacht.url(), Habit::Restarts(20)).await;
    let client = client_at(&scene, &server.url()).build().unwrap();
    let key = scene.key();
    let work = (0..32).map(async |worker| {
        for round in 0..5 {
            all_kinds_of_calls(&client, key.secret(), worker * 100 + round).await;
        }
    });
    join_all(work).await;
    assert!(server.accepted() > 10, "{}", server.accepted());
    let journal = scene.wacht.journal();
    assert_eq!((journal.checks(), journal.management_calls()), (160, 480));
}

// --- connections that are closed as they are used again ---

#[tokio::test]
async fn a_check_whose_connection_is_closed_under_it_is_sent_once_more() {
    for end in [End::Close, End::Reset] {
        let scene = Scene::new().await;
        let wire = Wire::to(scene.wacht.url()).await;
        let layer = gate_at(&scene, &wire.url());
        let echo = Echo::behind(layer.clone());
        let held = scene.wacht.hold_checks();
        let first: Vec<_> = keys(&scene, 16)
            .iter()
            .map(|key| echo.spawn_get(key.secret()))
            .collect();
        scene.wacht.journal().wait_for_checks(16).await;
        held.release();
        join_all(first).await;
        // All sixteen that wait to be used again; used one by one, or all together.
        wire.end(end);
        for key in keys(&scene, 4) {
            echo.get(key.secret()).await.assert_ok();
        }
        wire.end(end);
        let more = keys(&scene, 16);
        for met in join_all(more.iter().map(|key| echo.get(key.secret()))).await {
            met.assert_ok();
        }
        let stats = layer.handle().stats();
        assert_eq!((stats.checks, stats.gateway.failed), (36, 0), "{end:?}");
        assert!(stats.gateway_trusted);
    }
}

#[tokio::test]
async fn over_http2_checks_whose_connection_is_closed_under_them_are_sent_once_more() {
    for end in [End::Close, End::Reset] {
        let scene = Scene::new().await;
        let wire = Wire::tls(scene.wacht.url(), "h2").await;
        let layer = gate_at(&scene, &wire.url());
        let echo = Echo::behind(layer.clone());
        echo.get(scene.key().secret()).await.assert_ok();
        wire.end(end);
        let more = keys(&scene, 16);
        for met in join_all(more.iter().map(|key| echo.get(key.secret()))).await {
            met.assert_ok();
        }
        let stats = layer.handle().stats();
        assert_eq!((stats.checks, stats.gateway.failed), (17, 0), "{end:?}");
    }
}

#[tokio::test]
async fn a_check_is_not_sent_again_once_its_answer_has_begun() {
    let scene = Scene::new().await;
    let echo = Echo::behind(gate_at(&scene, scene.wacht.url()));
    let journal = scene.wacht.journal();
    scene.wacht.fault_times(On::Checks, Fault::HalfAnswer, 1);
    let met = echo.get(scene.key().secret()).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(journal.checks(), 1);
    journal.clear();
    // Nor a third time.
    scene.wacht.fault(On::Checks, Fault::Drop);
    let met = echo.get(scene.key().secret()).await;
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(journal.checks(), 2);
}

#[tokio::test]
async fn of_the_management_api_only_what_reads_is_sent_again() {
    let scene = Scene::new().await;
    let wire = Wire::to(scene.wacht.url()).await;
    let client = WachtClient::builder(scene.wacht.management_key())
        .api_url(wire.url())
        .gateway_url(wire.url())
        .build()
        .unwrap();
    let journal = scene.wacht.journal();
    for end in [End::Close, End::Reset] {
        let read = || client.api_keys().list_api_auth_apps().send();
        read().await.unwrap();
        wire.end(end);
        read().await.unwrap();
        wire.end(end);
        journal.clear();
        let request = to_make();
        let write = client.api_keys().create_api_key("orders", request).send();
        let error = write.await.unwrap_err();
        assert!(matches!(error, wacht_auth::Error::Request(_)), "{error:?}");
        assert_eq!(journal.management_calls(), 0);
    }
}

// --- answers that nobody asked for ---

/// When a server sends one answer too many.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unasked {
    /// In one piece with the one that was asked for.
    Together,
    /// When the connection is idle.
    Later,
}

/// Answers each check with its number; what nobody asked for says so. Tells of each connection that
/// the client has closed.
async fn talkative(unasked: Unasked, closed: mpsc::UnboundedSender<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let number = Arc::<AtomicUsize>::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (number, closed) = (Arc::clone(&number), closed.clone());
            tokio::spawn(async move {
                let _ = talk(stream, unasked, number).await;
                let _ = closed.send(());
            });
        }
    });
    url
}

async fn talk(
    mut stream: TcpStream,
    unasked: Unasked,
    number: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let answer = |id: &str| {
        let body = format!(r#"{{"request_id":"{id}","allowed":false,"reason":"{id}"}}"#);
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..length]);
        // The body is JSON, and the only one to end so.
        if !request.ends_with(b"}") {
            continue;
        }
        request.clear();
        let mut said = answer(&number.fetch_add(1, Ordering::SeqCst).to_string());
        if unasked == Unasked::Together {
            said.push_str(&answer("unasked"));
        }
        stream.write_all(said.as_bytes()).await?;
        if unasked == Unasked::Later {
            stream.write_all(answer("unasked").as_bytes()).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_asked_for_is_nobodys_answer() {
    for unasked in [Unasked::Together, Unasked::Later] {
        let (tx, mut closed) = mpsc::unbounded_channel();
        let url = talkative(unasked, tx).await;
        let client = WachtClient::builder("wk_0").gateway_url(&url);
        let client = client.api_url(&url).timeout(LONG).build().unwrap();
        for number in 0..100 {
            let request = CheckRequest::api_key(made_up(number));
            let answer = client.gateway().check(request).send().await.unwrap();
            assert_eq!(answer.request_id, number.to_string());
            if unasked == Unasked::Later {
                // With what nobody asked for, the connection is no good any more.
                closed.recv().await.unwrap();
            }
        }
    }
}

// --- answers that are long ---

#[tokio::test]
async fn a_key_with_thousands_of_permissions_is_a_key() {
    let scene = Scene::new().await;
    let name = |number| format!("reports:of-the-department-with-the-number-{number:08}:read");
    let many = |count| {
        let key = scene.wacht.issue_key("orders");
        key.permissions((0..count).map(name)).issue()
    };
    let echo = Echo::behind(gate_at(&scene, scene.wacht.url()));
    let met = echo.get(many(30_000).secret()).await;
    met.assert_ok();
    let caller = met.caller.unwrap();
    caller.require(name(29_999)).unwrap();
    let met = echo.get(many(60_000).secret()).await;
    met.assert_refused(RejectionKind::Unavailable);

    let client = client_at(&scene, scene.wacht.url()).answer_limit(8 << 20);
    let layer = gate_on(&scene, &client.build().unwrap(), LONG);
    let met = Echo::behind(layer).get(many(60_000).secret()).await;
    met.assert_ok();
}
