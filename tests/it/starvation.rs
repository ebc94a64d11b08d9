//! What is asked for much takes no more than its share, and nothing of what others need.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use wacht_auth::dev::{DevKey, DevRule, Fault, On};
use wacht_auth::{ClientIp, Limits, RejectionKind, UnknownKeyLimit};

use crate::scene::{Echo, Met, Scene, eventually, landed, made_up};

const SECOND: Duration = Duration::from_secs(1);
/// Places for checks of keys that are known, for refreshes, and for keys never seen.
const KNOWN: usize = 512;
const UNKNOWN: usize = 128;

fn keys(scene: &Scene, count: usize) -> Vec<DevKey> {
    (0..count).map(|_| scene.key()).collect()
}

fn spawn_all(echo: &Echo, keys: &[DevKey]) -> Vec<JoinHandle<Met>> {
    keys.iter()
        .map(|key| echo.spawn_get(key.secret()))
        .collect()
}

async fn all_pass(waiting: Vec<JoinHandle<Met>>) {
    for met in join_all(waiting).await {
        met.unwrap().assert_ok();
    }
}

/// Waits until exactly so many checks are out and no more can come.
async fn settles_at(scene: &Scene, checks: usize) {
    let journal = scene.wacht.journal();
    eventually(async || journal.checks() >= checks).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(journal.checks(), checks);
}

#[tokio::test]
async fn a_key_counted_at_the_gateway_takes_a_quarter_of_the_places_and_none_of_refreshes() {
    let scene = Scene::new().await;
    scene.wacht.app("counted");
    let rule = DevRule::per_app(1_000_000, "fortnight", 1);
    scene.wacht.set_scheme("counted", [rule]);
    let echo = Echo::behind(scene.layer());
    let counted = || scene.wacht.issue_key("counted").issue();
    let (hungry, modest, other) = (counted(), counted(), scene.key());
    for key in [&hungry, &modest, &other] {
        echo.get(key.secret()).await.assert_ok();
    }
    scene.clock.advance(31 * SECOND);
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let waiting = (0..2_500)
        .map(|_| echo.spawn_get(hungry.secret()))
        .collect();
    settles_at(&scene, KNOWN / 4).await;
    let own = echo.spawn_get(modest.secret());
    settles_at(&scene, KNOWN / 4 + 1).await;
    let met = echo.get(other.secret()).now_or_never();
    met.expect("it is refreshed behind").assert_ok();
    settles_at(&scene, KNOWN / 4 + 2).await;
    held.release();
    all_pass(waiting).await;
    all_pass(vec![own]).await;
    assert_eq!(scene.wacht.journal().checks(), 2_502);
}

#[tokio::test]
async fn under_limits_at_the_gateway_a_key_takes_a_quarter_of_the_places_known_or_not() {
    let scene = Scene::new().await;
    let builder = scene.builder().limits(Limits::gateway());
    let echo = Echo::behind(builder.build().unwrap());
    let (unseen, seen) = (scene.key(), scene.key());
    echo.get(seen.secret()).await.assert_ok();
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let one: Vec<_> = (0..200).map(|_| echo.spawn_get(unseen.secret())).collect();
    settles_at(&scene, UNKNOWN / 4).await;
    let other: Vec<_> = (0..200).map(|_| echo.spawn_get(seen.secret())).collect();
    settles_at(&scene, UNKNOWN / 4 + KNOWN / 4).await;
    held.release();
    for met in join_all(one.into_iter().chain(other)).await {
        // The app's own limit is the gateway's business.
        assert_ne!(met.unwrap().kind(), Some(RejectionKind::Unavailable));
    }
}

#[tokio::test]
async fn a_flood_of_made_up_keys_keeps_no_good_key_waiting_when_all_is_forgotten() {
    let scene = Scene::new().await;
    let three = UnknownKeyLimit::per_second(1).burst(3);
    let builder = scene.builder().client_ip(ClientIp::peer());
    let layer = builder.unknown_key_limit(three).build().unwrap();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    let good = keys(&scene, 20);
    all_pass(spawn_all(&echo, &good)).await;
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let flood: Vec<_> = (0..300).map(|n| echo.spawn_get(&made_up(n))).collect();
    settles_at(&scene, UNKNOWN).await;
    handle.invalidate_all();
    let waiting = spawn_all(&echo, &good);
    settles_at(&scene, UNKNOWN + good.len()).await;
    held.release();
    all_pass(waiting).await;
    for met in join_all(flood).await {
        met.unwrap().assert_refused(RejectionKind::InvalidKey);
    }
    // The address has used up its share, and good keys need none of it.
    echo.get(&made_up(1_000))
        .await
        .assert_refused(RejectionKind::RateLimited);
    handle.invalidate_all();
    all_pass(spawn_all(&echo, &good)).await;
}

#[tokio::test]
async fn a_key_that_is_good_no_longer_is_treated_as_never_seen() {
    let scene = Scene::new().await;
    let three = UnknownKeyLimit::per_second(1).burst(3);
    let builder = scene.builder().client_ip(ClientIp::peer());
    let layer = builder.unknown_key_limit(three).build().unwrap();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    let key = scene.key();
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.revoke(key.key_id());
    handle.invalidate_all();
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::InvalidKey);
    for number in 0..3 {
        let met = echo.get(&made_up(number)).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    handle.invalidate_all();
    let met = echo.get(key.secret()).await;
    met.assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn hot_keys_are_asked_about_all_at_once_when_the_wall_clock_steps_too_far() {
    let scene = Scene::new().await;
    let builder = scene.builder().limits(Limits::off());
    let builder = builder.known_keys_in_flight(200);
    let echo = Echo::behind(builder.build().unwrap());
    let hot = keys(&scene, 300);
    all_pass(spawn_all(&echo, &hot)).await;
    scene.wacht.journal().clear();
    let step = scene.clock.unix_time() + 400 * SECOND;
    scene.clock.set_unix_time(step);
    let held = scene.wacht.hold_checks();
    let waiting = spawn_all(&echo, &hot);
    settles_at(&scene, 200).await;
    held.release();
    all_pass(waiting).await;
    assert_eq!(scene.wacht.journal().checks(), hot.len());
}

#[tokio::test]
async fn hot_keys_are_refreshed_behind_the_requests_when_the_wall_clock_steps() {
    let scene = Scene::new().await;
    let builder = scene.builder().limits(Limits::off());
    let layer = builder.known_keys_in_flight(200).build().unwrap();
    let echo = Echo::behind(layer.clone());
    let hot = keys(&scene, 300);
    all_pass(spawn_all(&echo, &hot)).await;
    scene.wacht.journal().clear();
    let step = scene.clock.unix_time() + 45 * SECOND;
    scene.clock.set_unix_time(step);
    let held = scene.wacht.hold_checks();
    for _ in 0..2 {
        for key in &hot {
            let met = echo.get(key.secret()).now_or_never();
            met.expect("nobody waits").assert_ok();
        }
    }
    settles_at(&scene, 200).await;
    held.release();
    landed(&layer).await;
    assert_eq!(scene.wacht.journal().checks(), hot.len());
}

#[tokio::test]
async fn ninety_invalidations_a_second_of_other_keys_disturb_no_check_and_no_verdict() {
    let scene = Scene::new().await;
    scene.wacht.app("billing");
    let key = scene.key();
    let layer = scene.layer();
    let (echo, handle) = (Echo::behind(layer.clone()), layer.handle());
    echo.get(key.secret()).await.assert_ok();
    scene.wacht.journal().clear();
    let mut sent = 0;
    // Ten minutes. Every verdict is refreshed after half a minute, and each check joined.
    for tick in 0_u32..600 * 90 {
        match tick % 3 {
            0 => handle.invalidate_secret(&made_up(tick as usize)),
            1 => handle.invalidate_key_id(-i64::from(tick)),
            _ => handle.invalidate_app(&format!("app-{tick}")),
        }
        scene.clock.advance(SECOND / 90);
        if tick % 9 != 0 {
            continue;
        }
        let met = echo.get(key.secret()).now_or_never();
        met.expect("it is known").assert_ok();
        if layer.handle().stats().in_flight > 0 {
            sent += 1;
            landed(&layer).await;
        }
    }
    assert_eq!(scene.wacht.journal().checks(), sent);
    assert!(sent <= 20, "{sent} checks in ten minutes");
}

#[tokio::test]
async fn a_request_has_one_deadline_for_all_that_it_waits_for() {
    let scene = Scene::new().await;
    let deadline = 15 * SECOND;
    let layer = scene.builder().deadline(deadline).build().unwrap();
    let echo = Echo::behind(layer);
    echo.get(scene.key().secret()).await.assert_ok();
    // An app made since, whose look-up hangs.
    scene.wacht.app("new");
    let key = scene.wacht.issue_key("new").issue();
    scene.wacht.fault(On::Management, Fault::Hang);
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let waiting = echo.spawn_get(key.secret());
    scene.wacht.journal().wait_for_checks(1).await;
    // The gateway takes all the time there is.
    scene.clock.advance(deadline);
    held.release();
    let met = tokio::time::timeout(7 * SECOND, waiting).await;
    met.expect("nothing is left to wait for")
        .unwrap()
        .assert_ok();
}

#[tokio::test]
async fn how_many_are_asked_about_at_once_is_what_the_builder_was_told() {
    for (known, unknown) in [(3, 2), (0, 0)] {
        let scene = Scene::new().await;
        let builder = scene.builder().known_keys_in_flight(known);
        let layer = builder.unknown_keys_in_flight(unknown).build().unwrap();
        let echo = Echo::behind(layer.clone());
        let good = keys(&scene, 10);
        all_pass(spawn_all(&echo, &good)).await;
        scene.wacht.journal().clear();
        let held = scene.wacht.hold_checks();
        let flood: Vec<_> = (0..10).map(|n| echo.spawn_get(&made_up(n))).collect();
        settles_at(&scene, unknown.max(1)).await;
        scene.clock.advance(31 * SECOND);
        for key in &good {
            let met = echo.get(key.secret()).now_or_never();
            met.expect("nobody waits").assert_ok();
        }
        settles_at(&scene, unknown.max(1) + known.max(1)).await;
        layer.handle().invalidate_all();
        let waiting = spawn_all(&echo, &good);
        settles_at(&scene, unknown.max(1) + 2 * known.max(1)).await;
        held.release();
        all_pass(waiting).await;
        for met in join_all(flood).await {
            met.unwrap().assert_refused(RejectionKind::InvalidKey);
        }
    }
}

#[tokio::test]
async fn who_finds_the_queue_full_is_told_so_at_once() {
    let scene = Scene::new().await;
    let layer = scene.builder().unknown_keys_in_flight(1).build().unwrap();
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    let first = (0..33).map(|n| echo.spawn_get(&made_up(n)));
    let first: Vec<_> = first.collect();
    settles_at(&scene, 1).await;
    let met = tokio::time::timeout(7 * SECOND, echo.get(&made_up(33))).await;
    let met = met.expect("there is no room to wait");
    met.assert_refused(RejectionKind::Unavailable);
    assert_eq!(met.retry_after(), 1);
    held.release();
    for met in join_all(first).await {
        met.unwrap().assert_refused(RejectionKind::InvalidKey);
    }
    assert!(layer.handle().stats().gateway_trusted);
}

#[tokio::test]
async fn a_full_queue_is_no_outage_and_buys_no_key_any_time() {
    let scene = Scene::new().await;
    let layer = scene.builder().known_keys_in_flight(1).build().unwrap();
    let echo = Echo::behind(layer.clone());
    let good = keys(&scene, 34);
    all_pass(spawn_all(&echo, &good)).await;
    // An outage would let them pass.
    scene.clock.advance(61 * SECOND);
    scene.wacht.journal().clear();
    let held = scene.wacht.hold_checks();
    let (last, first) = good.split_last().unwrap();
    let waiting = spawn_all(&echo, first);
    settles_at(&scene, 1).await;
    for _ in 0..2 {
        let met = tokio::time::timeout(7 * SECOND, echo.get(last.secret())).await;
        let met = met.expect("there is no room to wait");
        met.assert_refused(RejectionKind::Unavailable);
        scene.clock.advance(2 * SECOND);
    }
    assert!(layer.handle().stats().gateway_trusted);
    held.release();
    all_pass(waiting).await;
    echo.get(last.secret()).await.assert_ok();
}
