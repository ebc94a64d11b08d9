//! What one client address can make the gate ask the gateway with keys that are no good.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use http::Request;
use http_body_util::Full;
use wacht_auth::dev::{DevGateway, Fault, On};
use wacht_auth::{
    AuthContext, CachePolicy, ClientIp, Limits, PeerAddr, RejectionKind, UnknownKeyLimit,
    WachtAuthLayer, WachtAuthLayerBuilder,
};

use crate::scene::{Echo, Met, Scene, eventually, get, made_up};

const SECOND: Duration = Duration::from_secs(1);
const ATTACKER: &str = "192.0.2.66";
const CUSTOMER: &str = "192.0.2.1";

/// One look-up a second, three at once.
fn three() -> UnknownKeyLimit {
    UnknownKeyLimit::per_second(1).burst(3)
}

fn limited(scene: &Scene) -> WachtAuthLayer {
    limited_builder(scene).build().unwrap()
}

fn limited_builder(scene: &Scene) -> WachtAuthLayerBuilder {
    scene.builder().unknown_key_limit(three())
}

fn from(address: &str, secret: &str) -> Request<Full<Bytes>> {
    let mut request = get(secret);
    let peer = std::net::SocketAddr::new(address.parse().unwrap(), 40_000);
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

impl Echo {
    async fn look_up(&self, address: &str, secret: &str) -> Met {
        self.call(from(address, secret)).await
    }

    /// Uses the attacker's share up.
    async fn use_up(&self, wacht: &DevGateway) {
        for number in 0..3 {
            let met = self.look_up(ATTACKER, &made_up(900_000 + number)).await;
            met.assert_refused(RejectionKind::InvalidKey);
        }
        wacht.journal().clear();
    }
}

#[tokio::test]
async fn an_attacker_is_stopped_after_its_burst_while_everybody_else_goes_on() {
    let scene = Scene::new().await;
    let layer = limited(&scene);
    let echo = Echo::behind(layer.clone());
    let known = scene.key();
    echo.look_up(CUSTOMER, known.secret()).await.assert_ok();
    scene.wacht.journal().clear();

    for number in 0..200 {
        let met = echo.look_up(ATTACKER, &made_up(number)).await;
        match number {
            0..3 => met.assert_refused(RejectionKind::InvalidKey),
            _ => {
                met.assert_refused(RejectionKind::RateLimited);
                assert_eq!(met.retry_after(), 1);
                assert_eq!(met.refusal.unwrap().violated_policies().count(), 0);
                assert!(!met.headers.contains_key("ratelimit-policy"));
            }
        }
    }
    assert_eq!(scene.wacht.journal().checks(), 3);
    assert_eq!(layer.handle().stats().unknown_key_refusals, 197);

    // Others, good and bad, with keys that are new here, and the known key from anywhere.
    echo.look_up(CUSTOMER, scene.key().secret())
        .await
        .assert_ok();
    let met = echo.look_up(CUSTOMER, &made_up(1_000)).await;
    met.assert_refused(RejectionKind::InvalidKey);
    for address in [CUSTOMER, ATTACKER] {
        echo.look_up(address, known.secret()).await.assert_ok();
    }
}

#[tokio::test]
async fn the_share_comes_back_with_time() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    echo.use_up(&scene.wacht).await;
    for round in 0..5 {
        scene.clock.advance(SECOND);
        let met = echo.look_up(ATTACKER, &made_up(2 * round)).await;
        met.assert_refused(RejectionKind::InvalidKey);
        let met = echo.look_up(ATTACKER, &made_up(2 * round + 1)).await;
        met.assert_refused(RejectionKind::RateLimited);
    }
    assert_eq!(scene.wacht.journal().checks(), 5);
    scene.clock.advance(3 * SECOND);
    echo.use_up(&scene.wacht).await;
}

#[tokio::test]
async fn a_key_seen_good_is_never_refused_for_it_not_even_when_it_has_to_be_asked_for_again() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    let key = scene.key();
    echo.look_up(ATTACKER, key.secret()).await.assert_ok();
    // Past the span in which it answers at once, within that for outages.
    scene.clock.advance(100 * SECOND);
    echo.use_up(&scene.wacht).await;
    echo.look_up(ATTACKER, key.secret()).await.assert_ok();
    assert_eq!(scene.wacht.journal().checks(), 1, "the key was asked for");
}

#[tokio::test]
async fn a_good_key_costs_nothing_of_the_share() {
    for limits in [Limits::local(), Limits::gateway()] {
        let scene = Scene::new().await;
        let echo = Echo::behind(limited_builder(&scene).limits(limits).build().unwrap());
        for _ in 0..10 {
            echo.look_up(ATTACKER, scene.key().secret())
                .await
                .assert_ok();
        }
        echo.use_up(&scene.wacht).await;
        let met = echo.look_up(ATTACKER, &made_up(0)).await;
        met.assert_refused(RejectionKind::RateLimited);
        assert_eq!(scene.wacht.journal().checks(), 0);
    }
}

#[tokio::test]
async fn what_costs_no_call_is_neither_charged_nor_refused_for_it() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    let bad = made_up(1);
    for _ in 0..20 {
        let met = echo.look_up(ATTACKER, "sk_malformed").await;
        met.assert_refused(RejectionKind::InvalidKey);
        // Looked up once, then known to be bad.
        let met = echo.look_up(ATTACKER, &bad).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    for number in [2, 3] {
        let met = echo.look_up(ATTACKER, &made_up(number)).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    for (secret, kind) in [
        (&*made_up(4), RejectionKind::RateLimited),
        (&*bad, RejectionKind::InvalidKey),
        ("sk_malformed", RejectionKind::InvalidKey),
    ] {
        echo.look_up(ATTACKER, secret).await.assert_refused(kind);
    }
}

#[tokio::test]
async fn an_outage_is_charged_to_nobody() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    for fault in [
        Fault::body(500, "text/plain", "no"),
        Fault::body(418, "text/plain", "no"),
    ] {
        scene.wacht.fault(On::Checks, fault);
        for number in 0..10 {
            let met = echo.look_up(ATTACKER, &made_up(number)).await;
            met.assert_refused(RejectionKind::Unavailable);
        }
        scene.wacht.clear_faults();
        // Long enough for a breaker to let the next one through.
        scene.clock.advance(60 * SECOND);
    }
    echo.use_up(&scene.wacht).await;
}

#[tokio::test]
async fn keys_of_other_customers_are_charged_like_those_of_nobody() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    let other = scene.wacht.other_deployment();
    for _ in 0..3 {
        let stranger = other.issue_key("orders").issue();
        let met = echo.look_up(ATTACKER, stranger.secret()).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    let met = echo.look_up(ATTACKER, &made_up(0)).await;
    met.assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn who_joins_a_look_up_does_not_pay_for_it() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    let held = scene.wacht.hold_checks();
    let bad = made_up(0);
    let mut first = Box::pin(echo.look_up(ATTACKER, &bad));
    assert!(poll_immediate(&mut first).await.is_none());
    let mut others = join_all((0..5).map(|_| Box::pin(echo.look_up(CUSTOMER, &bad))));
    assert!(poll_immediate(&mut others).await.is_none());
    held.release();
    first.await.assert_refused(RejectionKind::InvalidKey);
    for met in others.await {
        met.assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(scene.wacht.journal().checks(), 1);
    for (address, left) in [(ATTACKER, 2), (CUSTOMER, 3)] {
        for number in 0..left {
            let secret = format!("{address:a<12}{number:0>34}").replace('.', "_");
            let met = echo.look_up(address, &secret).await;
            met.assert_refused(RejectionKind::InvalidKey);
        }
        let met = echo.look_up(address, &made_up(1)).await;
        met.assert_refused(RejectionKind::RateLimited);
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_pays_all_the_same() {
    let scene = Scene::new().await;
    let layer = limited(&scene);
    let echo = Echo::behind(layer.clone());
    let held = scene.wacht.hold_checks();
    for number in 0..3 {
        let secret = made_up(number);
        let mut asked = Box::pin(echo.look_up(ATTACKER, &secret));
        assert!(poll_immediate(&mut asked).await.is_none());
    }
    held.release();
    eventually(async || layer.handle().stats().in_flight == 0).await;
    let met = echo.look_up(ATTACKER, &made_up(10)).await;
    met.assert_refused(RejectionKind::RateLimited);
}

#[tokio::test]
async fn a_check_that_was_sent_is_charged_and_remembered_whoever_still_waits() {
    for limits in [Limits::local(), Limits::gateway()] {
        let scene = Scene::new().await;
        let layer = limited_builder(&scene).limits(limits).build().unwrap();
        let echo = Echo::behind(layer.clone());
        let held = scene.wacht.hold_checks();
        for number in 0..3 {
            let echo = echo.clone();
            let asked = tokio::spawn(async move { echo.look_up(ATTACKER, &made_up(number)).await });
            scene.wacht.journal().wait_for_checks(number + 1).await;
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        }
        held.release();
        eventually(async || layer.handle().stats().in_flight == 0).await;
        let met = echo.look_up(ATTACKER, &made_up(10)).await;
        met.assert_refused(RejectionKind::RateLimited);
        let met = echo.look_up(CUSTOMER, &made_up(0)).await;
        met.assert_refused(RejectionKind::InvalidKey);
        assert_eq!(scene.wacht.journal().checks(), 3, "it is remembered");
    }
}

#[tokio::test]
async fn a_check_of_ones_own_that_nobody_waits_for_is_not_sent() {
    let scene = Scene::new().await;
    let layer = limited_builder(&scene)
        .limits(Limits::gateway())
        .build()
        .unwrap();
    let echo = Echo::behind(layer.clone());
    let secret = made_up(7);
    let mut asked = Box::pin(echo.look_up(ATTACKER, &secret));
    assert!(poll_immediate(&mut asked).await.is_none());
    drop(asked);
    eventually(async || layer.handle().stats().in_flight == 0).await;
    assert_eq!(scene.wacht.journal().checks(), 0);
}

#[tokio::test]
async fn look_ups_at_the_same_time_are_paid_for_afterwards() {
    let scene = Scene::new().await;
    let echo = Echo::behind(limited(&scene));
    let secrets: Vec<String> = (0..40).map(made_up).collect();
    let held = scene.wacht.hold_checks();
    let all = secrets
        .iter()
        .map(|secret| Box::pin(echo.look_up(ATTACKER, secret)));
    let mut all = join_all(all);
    assert!(poll_immediate(&mut all).await.is_none());
    held.release();
    for met in all.await {
        met.assert_refused(RejectionKind::InvalidKey);
    }
    // 40 at once, of which 3 were free.
    let met = echo.look_up(ATTACKER, &made_up(100)).await;
    met.assert_refused(RejectionKind::RateLimited);
    assert_eq!(met.retry_after(), 38);
    scene.clock.advance(38 * SECOND);
    let met = echo.look_up(ATTACKER, &made_up(101)).await;
    met.assert_refused(RejectionKind::InvalidKey);
    assert_eq!(scene.wacht.journal().checks(), 41);
}

#[tokio::test]
async fn without_anything_remembered_the_limit_holds_all_the_same() {
    let scene = Scene::new().await;
    let echo = Echo::behind(
        limited_builder(&scene)
            .cache(CachePolicy::disabled())
            .build()
            .unwrap(),
    );
    let bad = made_up(0);
    for _ in 0..3 {
        let met = echo.look_up(ATTACKER, &bad).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    let met = echo.look_up(ATTACKER, &bad).await;
    met.assert_refused(RejectionKind::RateLimited);
    echo.look_up(CUSTOMER, scene.key().secret())
        .await
        .assert_ok();
}

#[tokio::test]
async fn many_addresses_of_one_network_share_and_a_request_without_address_is_not_limited() {
    let scene = Scene::new().await;
    let layer = limited(&scene);
    let echo = Echo::behind(layer.clone());
    for number in 0..3 {
        let address = format!("2001:db8::{number:x}");
        let met = echo.look_up(&address, &made_up(number)).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    for (address, kind) in [
        ("2001:db8::ffff", RejectionKind::RateLimited),
        ("2001:db8:0:1::1", RejectionKind::InvalidKey),
    ] {
        echo.look_up(address, &made_up(10))
            .await
            .assert_refused(kind);
    }
    for number in 20..40 {
        let mut request = get(&made_up(number));
        request.extensions_mut().remove::<PeerAddr>();
        let met = echo.call(request).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }
    // Keys that come another way count by the address that is said of them.
    let context = AuthContext::new("/jobs").client_ip("2001:db8::7".parse().unwrap());
    let refused = layer
        .handle()
        .authenticate_key(&made_up(50), &context)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::RateLimited);
    assert_eq!(refused.retry_after(), Some(SECOND));
}

#[tokio::test]
async fn it_is_off_until_the_gate_is_told_whose_address_counts() {
    let behind_a_proxy = || ClientIp::trusted_proxies(["10.0.0.0/8"]).unwrap();
    let scene = Scene::new().await;
    for (layer, stopped_after) in [
        (scene.layer(), None),
        (
            scene.builder().client_ip(behind_a_proxy()).build().unwrap(),
            Some(100),
        ),
        (
            scene.builder().client_ip(ClientIp::peer()).build().unwrap(),
            Some(100),
        ),
        // Whatever is said of it stands, before and after.
        (
            limited_builder(&scene)
                .client_ip(behind_a_proxy())
                .build()
                .unwrap(),
            Some(3),
        ),
        (
            scene
                .builder()
                .client_ip(behind_a_proxy())
                .unknown_key_limit(three())
                .build()
                .unwrap(),
            Some(3),
        ),
        (
            scene
                .builder()
                .unknown_key_limit(UnknownKeyLimit::off())
                .client_ip(behind_a_proxy())
                .build()
                .unwrap(),
            None,
        ),
    ] {
        let echo = Echo::behind(layer);
        let mut reached = 0;
        while reached < 120 {
            let met = echo.look_up(ATTACKER, &made_up(reached)).await;
            if met.kind() == Some(RejectionKind::RateLimited) {
                break;
            }
            met.assert_refused(RejectionKind::InvalidKey);
            reached += 1;
        }
        assert_eq!(
            Some(reached).filter(|reached| *reached < 120),
            stopped_after
        );
    }
}

#[tokio::test]
async fn the_default_share_is_a_hundred_and_then_ten_a_second() {
    let scene = Scene::new().await;
    let echo = Echo::behind(scene.builder().client_ip(ClientIp::peer()).build().unwrap());
    for number in 0..150 {
        echo.look_up(ATTACKER, &made_up(number)).await;
    }
    assert_eq!(scene.wacht.journal().checks(), 100);
    for seconds in 1..=3 {
        scene.clock.advance(SECOND);
        for number in 0..20 {
            echo.look_up(ATTACKER, &made_up(1_000 * seconds + number))
                .await;
        }
        assert_eq!(scene.wacht.journal().checks(), 100 + 10 * seconds);
    }
}
