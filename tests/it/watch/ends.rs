//! When a key ends, and who waits for that.

use std::task::{Context, Poll, Waker};

use super::*;

#[tokio::test]
async fn a_key_ends_to_the_moment_that_its_list_states() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(20 * SECOND).await;
    let left = 15 * SECOND;
    watched.advance(left - Duration::from_millis(1));
    watched.assert_admitted(&key).await;
    watched.advance(Duration::from_millis(1));
    watched.assert_refused(&key).await;
}

#[tokio::test]
async fn a_key_ends_in_an_outage_too() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(200 * SECOND).await;
    watched.wacht().refuse_connections(true);
    watched.advance(194 * SECOND);
    watched.assert_admitted(&key).await;
    watched.advance(SECOND);
    assert!(watched.echo.get(key.secret()).await.caller.is_none());
}

#[tokio::test]
async fn a_key_ends_when_the_wall_clock_alone_says_so() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(1000 * SECOND).await;
    watched.wacht().refuse_connections(true);
    let clock = &watched.scene.clock;
    clock.set_unix_time(clock.unix_time() + 995 * SECOND);
    assert!(watched.echo.get(key.secret()).await.caller.is_none());
}

#[tokio::test]
async fn a_refresh_does_not_forget_when_a_key_ends() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(50 * SECOND).await;
    // From now on only the gateway answers, which says nothing of it.
    watched.wacht().fault(on_lists(), Fault::Status(500));
    watched.advance(35 * SECOND);
    watched.assert_admitted(&key).await;
    crate::scene::landed(&watched.layer).await;
    watched.advance(10 * SECOND);
    watched.wacht().set_expires_at(key.key_id(), None);
    watched.assert_refused(&key).await;
}

#[tokio::test]
async fn an_end_that_is_moved_or_taken_away_is_followed() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let wacht = watched.wacht();
    wacht.set_expires_at(key.key_id(), Some(watched.after(12 * SECOND)));
    watched.next_list().await;
    wacht.set_expires_at(key.key_id(), Some(watched.after(22 * SECOND)));
    watched.next_list().await;
    watched.advance(4 * SECOND);
    watched.assert_admitted(&key).await;
    watched.next_list().await;
    wacht.set_expires_at(key.key_id(), None);
    watched.next_list().await;
    watched.next_list().await;
    watched.advance(SECOND);
    watched.assert_admitted(&key).await;
    // The gateway agrees, when it is asked again.
    watched.layer.handle().invalidate_all();
    watched.advance(LAG);
    watched.assert_admitted(&key).await;
    wacht.expire(key.key_id());
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_key_that_was_renewed_while_lists_fail_is_good_again_when_the_gateway_must_know() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(300 * SECOND).await;
    let fault = Fault::Status(500);
    watched.wacht().fault(on_lists(), fault);
    watched.wacht().set_expires_at(key.key_id(), None);
    watched.advance(295 * SECOND);
    watched.assert_refused(&key).await;
    watched.advance(60 * SECOND);
    watched.assert_refused(&key).await;
    // What is remembered of that is over, too.
    watched.advance(30 * SECOND);
    watched.assert_admitted(&key).await;
    watched.advance(300 * SECOND);
    watched.assert_admitted(&key).await;
}

#[tokio::test]
async fn a_key_past_its_end_costs_no_check_with_each_request() {
    let watched = Watched::new().await;
    let key = watched.key_that_ends_in(20 * SECOND).await;
    watched.advance(15 * SECOND);
    let checks = watched.wacht().journal().checks();
    for _ in 0..20 {
        watched.assert_refused(&key).await;
    }
    assert!(watched.wacht().journal().checks() <= checks + 1);
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_key_hears_of_a_revocation_elsewhere_without_any_request() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let ended = tokio::spawn(watched.caller(&key).await.ended());
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    assert_eq!(ended.await.unwrap().kind(), RejectionKind::InvalidKey);
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_key_hears_when_that_is() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let mut ended = Box::pin(watched.caller(&key).await.ended());
    let mut poll = || ended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    let end = watched.after(30 * SECOND);
    watched.wacht().set_expires_at(key.key_id(), Some(end));
    watched.next_list().await;
    watched.advance(24 * SECOND);
    assert!(poll().is_pending());
    watched.advance(SECOND);
    assert!(
        matches!(poll(), Poll::Ready(rejection) if rejection.kind() == RejectionKind::InvalidKey)
    );
}

#[tokio::test]
async fn a_key_that_is_waited_for_is_watched_when_its_verdict_is_long_gone() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let ended = tokio::spawn(watched.caller(&key).await.ended());
    eventually(async || watched.layer.handle().stats().awaited_ends == 1).await;
    watched.layer.handle().invalidate_all();
    for _ in 0..100 {
        watched.next_list().await;
    }
    assert_eq!(watched.stats().apps, 1, "after 500 s");
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    ended.await.unwrap();
    watched.advance(INTERVAL);
    eventually(async || watched.stats().apps == 0).await;
}

#[tokio::test]
async fn a_key_that_no_list_has_keeps_those_waiting_who_wait_for_its_end() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let mut ended = Box::pin(watched.caller(&key).await.ended());
    let mut poll = || ended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    watched.wacht().delete_key(key.key_id());
    watched.layer.handle().invalidate_all();
    for _ in 0..10 {
        watched.next_list().await;
        assert!(poll().is_pending());
    }
    assert_eq!(watched.stats().confirmations, 1, "once is enough");
}
