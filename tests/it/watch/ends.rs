//! When a key ends, and who waits for that.

use std::task::{Context, Poll, Waker};

use chrono::{DateTime, Utc};
use wacht_auth::Principal;

use super::*;

/// So long after what the wall clock shows.
fn after(watched: &Watched, span: Duration) -> DateTime<Utc> {
    let at = watched.scene.clock.unix_time() + span;
    DateTime::from_timestamp_nanos(i64::try_from(at.as_nanos()).unwrap())
}

#[tokio::test]
async fn a_key_ends_to_the_moment_that_its_list_states() {
    let watched = Watched::new().await;
    let end = after(&watched, 20 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    let left = 15 * SECOND;
    watched.scene.clock.advance(left - Duration::from_millis(1));
    watched.assert_admitted(&key).await;
    watched.scene.clock.advance(Duration::from_millis(1));
    watched.assert_refused(&key).await;
}

#[tokio::test]
async fn a_key_ends_in_an_outage_too() {
    let watched = Watched::new().await;
    let end = after(&watched, 200 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    watched.scene.wacht.refuse_connections(true);
    watched.scene.clock.advance(194 * SECOND);
    watched.assert_admitted(&key).await;
    watched.scene.clock.advance(SECOND);
    assert!(watched.echo.get(key.secret()).await.caller.is_none());
}

#[tokio::test]
async fn a_key_ends_when_the_wall_clock_alone_says_so() {
    let watched = Watched::new().await;
    let end = after(&watched, 1000 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    watched.scene.wacht.refuse_connections(true);
    let clock = &watched.scene.clock;
    clock.set_unix_time(clock.unix_time() + 995 * SECOND);
    assert!(watched.echo.get(key.secret()).await.caller.is_none());
}

#[tokio::test]
async fn a_refresh_does_not_forget_when_a_key_ends() {
    let watched = Watched::new().await;
    let end = after(&watched, 50 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    // From now on only the gateway answers, which says nothing of it.
    watched
        .scene
        .wacht
        .fault(on_lists(), wacht_auth::dev::Fault::Status(500));
    watched.scene.clock.advance(35 * SECOND);
    watched.assert_admitted(&key).await;
    crate::scene::landed(&watched.layer).await;
    watched.scene.clock.advance(10 * SECOND);
    watched.scene.wacht.set_expires_at(key.key_id(), None);
    watched.assert_refused(&key).await;
}

#[tokio::test]
async fn an_end_that_is_moved_or_taken_away_is_followed() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let wacht = &watched.scene.wacht;
    wacht.set_expires_at(key.key_id(), Some(after(&watched, 12 * SECOND)));
    watched.next_list().await;
    wacht.set_expires_at(key.key_id(), Some(after(&watched, 22 * SECOND)));
    watched.next_list().await;
    watched.scene.clock.advance(4 * SECOND);
    watched.assert_admitted(&key).await;
    watched.next_list().await;
    wacht.set_expires_at(key.key_id(), None);
    watched.next_list().await;
    watched.next_list().await;
    watched.scene.clock.advance(SECOND);
    watched.assert_admitted(&key).await;
    // The gateway agrees, when it is asked again.
    watched.layer.handle().invalidate_all();
    watched.scene.clock.advance(LAG);
    watched.assert_admitted(&key).await;
    wacht.expire(key.key_id());
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_key_that_was_renewed_while_lists_fail_is_good_again_when_the_gateway_must_know() {
    let watched = Watched::new().await;
    let end = after(&watched, 300 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    let fault = wacht_auth::dev::Fault::Status(500);
    watched.scene.wacht.fault(on_lists(), fault);
    watched.scene.wacht.set_expires_at(key.key_id(), None);
    watched.scene.clock.advance(295 * SECOND);
    watched.assert_refused(&key).await;
    watched.scene.clock.advance(60 * SECOND);
    watched.assert_refused(&key).await;
    // What is remembered of that is over, too.
    watched.scene.clock.advance(30 * SECOND);
    watched.assert_admitted(&key).await;
    watched.scene.clock.advance(300 * SECOND);
    watched.assert_admitted(&key).await;
}

#[tokio::test]
async fn a_key_past_its_end_costs_no_check_with_each_request() {
    let watched = Watched::new().await;
    let end = after(&watched, 20 * SECOND);
    let key = watched
        .scene
        .wacht
        .issue_key("orders")
        .expires_at(end)
        .issue();
    watched.show(&key).await;
    watched.scene.clock.advance(15 * SECOND);
    let checks = watched.scene.wacht.journal().checks();
    for _ in 0..20 {
        watched.assert_refused(&key).await;
    }
    assert!(watched.scene.wacht.journal().checks() <= checks + 1);
}

async fn caller(watched: &Watched, key: &DevKey) -> Principal {
    let context = AuthContext::new("/");
    let gate = watched.layer.handle();
    gate.authenticate_key(key.secret(), &context).await.unwrap()
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_key_hears_of_a_revocation_elsewhere_without_any_request() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let ended = tokio::spawn(caller(&watched, &key).await.ended());
    watched.scene.wacht.revoke(key.key_id());
    watched.next_list().await;
    assert_eq!(ended.await.unwrap().kind(), RejectionKind::InvalidKey);
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_key_hears_when_that_is() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let mut ended = Box::pin(caller(&watched, &key).await.ended());
    let mut poll = || ended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    let end = after(&watched, 30 * SECOND);
    watched.scene.wacht.set_expires_at(key.key_id(), Some(end));
    watched.next_list().await;
    watched.scene.clock.advance(24 * SECOND);
    assert!(poll().is_pending());
    watched.scene.clock.advance(SECOND);
    assert!(
        matches!(poll(), Poll::Ready(rejection) if rejection.kind() == RejectionKind::InvalidKey)
    );
}

#[tokio::test]
async fn a_key_that_is_waited_for_is_watched_when_its_verdict_is_long_gone() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let ended = tokio::spawn(caller(&watched, &key).await.ended());
    eventually(async || watched.layer.handle().stats().awaited_ends == 1).await;
    watched.layer.handle().invalidate_all();
    for _ in 0..100 {
        watched.next_list().await;
    }
    assert_eq!(watched.stats().apps, 1, "after 500 s");
    watched.scene.wacht.revoke(key.key_id());
    watched.next_list().await;
    ended.await.unwrap();
    watched.scene.clock.advance(INTERVAL);
    eventually(async || watched.stats().apps == 0).await;
}

#[tokio::test]
async fn a_key_that_no_list_has_keeps_those_waiting_who_wait_for_its_end() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let mut ended = Box::pin(caller(&watched, &key).await.ended());
    let mut poll = || ended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    watched.scene.wacht.delete_key(key.key_id());
    watched.layer.handle().invalidate_all();
    for _ in 0..10 {
        watched.next_list().await;
        assert!(poll().is_pending());
    }
    assert_eq!(watched.stats().confirmations, 1, "once is enough");
}
