//! Lists on their way, and what happens meanwhile.

use super::*;
use crate::scene::landed;

#[tokio::test]
async fn a_key_made_while_a_list_is_under_way_is_not_refused_by_it() {
    let watched = Watched::new().await;
    watched.known_key().await;
    let held = watched.held_list().await;
    let key = watched.scene.key();
    watched.assert_admitted(&key).await;
    held.release();
    eventually(async || watched.is_resting()).await;
    watched.next_list().await;
    watched.assert_admitted(&key).await;
    assert_eq!(watched.stats().confirmations, 0);
}

#[tokio::test]
async fn a_key_verified_while_a_list_is_under_way_is_not_refused_by_it() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    // One that lacks it, as it would if the key had been made since.
    let list = empty_list();
    watched.wacht().fault_times(on_lists(), list, 1);
    let held = watched.held_list().await;
    watched.layer.handle().invalidate_all();
    // Forgotten for good, so that the key is as new.
    watched.stats();
    watched.assert_admitted(&key).await;
    let lists = watched.stats().lists;
    held.release();
    eventually(async || watched.stats().lists > lists && watched.is_resting()).await;
    watched.assert_admitted(&key).await;
    watched.next_list().await;
    watched.assert_admitted(&key).await;
    assert_eq!(watched.stats().confirmations, 0);
}

#[tokio::test]
async fn a_key_revoked_while_it_is_verified_anew_is_found_by_the_list_under_way() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().revoke(key.key_id());
    let held = watched.held_list().await;
    // By the gateway's stale yes.
    watched.advance(40 * SECOND);
    watched.assert_admitted(&key).await;
    landed(&watched.layer).await;
    held.release();
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_key_rotated_while_a_list_is_under_way_is_refused_by_the_next() {
    let watched = Watched::new().await;
    let old = watched.known_key().await;
    let held = watched.held_list().await;
    let elsewhere = watched.wacht().client();
    let rotate = elsewhere.api_keys().rotate_api_key("orders", old.key_id());
    // A list is held back whoever asks for it, a rotation is not.
    let new = rotate.send().await.unwrap();
    watched.echo.get(&new.secret).await.assert_ok();
    held.release();
    eventually(async || watched.is_resting()).await;
    watched.assert_admitted(&old).await;
    watched.echo.get(&new.secret).await.assert_ok();
    watched.next_list().await;
    watched.assert_refused_soon(&old).await;
    watched.echo.get(&new.secret).await.assert_ok();
}

#[tokio::test]
async fn what_a_role_loses_while_a_key_is_verified_anew_is_taken_by_the_list_that_follows_at_once()
{
    let watched = Watched::new().await;
    let key = watched.wacht().issue_key("orders");
    let key = key.role_permissions(["refund"]).issue();
    watched.show(&key).await;
    watched.wacht().set_role_permissions(key.key_id(), [""; 0]);
    let held = watched.held_list().await;
    watched.layer.handle().invalidate_all();
    assert_eq!(watched.held(&key).await, ["refund"]);
    held.release();
    // Without the clock being moved.
    eventually(async || watched.held(&key).await.is_empty()).await;
}

/// As under limits that the gateway counts, where each request brings a verdict.
#[tokio::test]
async fn a_key_that_each_request_verifies_loses_what_its_role_loses() {
    let watched = Watched::with(|builder| builder.limits(wacht_auth::Limits::gateway())).await;
    let limits = [DevRule::per_key(1_000_000, "minute", 1)];
    watched.wacht().set_scheme("orders", limits);
    let key = watched.wacht().issue_key("orders");
    let key = key.role_permissions(["refund"]).issue();
    watched.show(&key).await;
    watched.wacht().set_role_permissions(key.key_id(), [""; 0]);
    let held = watched.held_list().await;
    assert_eq!(watched.held(&key).await, ["refund"]);
    held.release();
    eventually(async || watched.held(&key).await.is_empty()).await;
    assert!(watched.held(&key).await.is_empty(), "by a stale yes");
}

#[tokio::test]
async fn a_request_that_is_dropped_takes_no_list_with_it() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let held = watched.wacht().hold_checks();
    watched.layer.handle().invalidate_all();
    let journal = watched.wacht().journal();
    let checks = journal.checks();
    let request = watched.echo.spawn_get(key.secret());
    journal.wait_for_checks(checks + 1).await;
    request.abort();
    held.release();
    landed(&watched.layer).await;
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
}

/// A runtime that is dropped in the middle of a list leaves it to another.
#[test]
fn a_list_that_a_dropped_runtime_has_begun_is_read_by_another() {
    let (first, second) = (runtime(), runtime());
    let (watched, key, held) = first.block_on(async {
        let watched = Watched::new().await;
        let key = watched.known_key().await;
        watched.wacht().revoke(key.key_id());
        let held = watched.held_list().await;
        (watched, key, held)
    });
    drop(first);
    held.release();
    // So far apart are two lists.
    watched.advance(2 * SECOND);
    second.block_on(watched.assert_refused_soon(&key));
}

/// A list that was sent before another and is answered after it says nothing any more.
#[test]
fn a_list_that_is_taken_late_does_not_undo_what_a_younger_one_has_said() {
    let (first, second) = (runtime(), runtime());
    let (watched, key, lists, held) = first.block_on(async {
        // The first runtime stands still for longer than a list may take.
        let watched = Watched::with(|builder| builder.deadline(5 * SECOND)).await;
        let key = watched.wacht().issue_key("orders");
        let key = key.permissions(["read"]).issue();
        watched.show(&key).await;
        let end = watched.after(20 * SECOND);
        watched.wacht().set_expires_at(key.key_id(), Some(end));
        watched.wacht().set_permissions(key.key_id(), [""; 0]);
        let lists = watched.stats().lists;
        let held = watched.held_list().await;
        (watched, key, lists, held)
    });
    watched.wacht().set_expires_at(key.key_id(), None);
    watched.wacht().set_permissions(key.key_id(), ["read"]);
    held.release();
    second.block_on(async {
        watched.advance(8 * SECOND);
        eventually(async || {
            watched.assert_admitted(&key).await;
            watched.stats().lists > lists
        })
        .await;
        landed(&watched.layer).await;
    });
    let younger = watched.stats().lists;
    // So that no other follows.
    let held = watched.wacht().hold(on_lists());
    first.block_on(eventually(async || watched.stats().lists > younger));
    watched.advance(8 * SECOND);
    second.block_on(async {
        assert_eq!(watched.held(&key).await, ["read"]);
    });
    drop(held);
}

/// Whoever has the turns may stand still while it rests: an app that comes is read all the same.
#[test]
fn an_app_that_comes_while_the_runtime_of_the_watch_stands_still_is_read_by_another() {
    let (first, second) = (runtime(), runtime());
    let watched = first.block_on(async {
        let watch = Watch::every(1_000 * SECOND);
        let watched = Watched::with(|builder| builder.watch(watch).deadline(SECOND)).await;
        watched.assert_admitted(&watched.scene.key()).await;
        eventually(async || watched.stats().lists == 1).await;
        // It rests until the next one.
        eventually(async || watched.stats().longest_unseen == 1_000 * SECOND).await;
        watched
    });
    second.block_on(async {
        let key = watched.wacht().issue_key("billing").issue();
        watched.assert_admitted(&key).await;
        // What a step may take at most.
        watched.advance(30 * SECOND);
        watched.assert_admitted(&key).await;
        // By a connection that may be the first runtime's.
        eventually(async || watched.stats().lists + watched.stats().failed == 2).await;
    });
}

/// The same where nobody sends a request: who waits for the end of a key goes on.
#[test]
fn a_list_that_a_dropped_runtime_has_begun_is_read_for_those_who_wait() {
    let (first, second) = (runtime(), runtime());
    let (watched, ended, held) = first.block_on(async {
        let watched = Watched::new().await;
        let key = watched.known_key().await;
        let caller = watched.caller(&key).await;
        // Both runtimes have somebody who waits.
        tokio::spawn(caller.ended());
        tokio::task::yield_now().await;
        watched.wacht().revoke(key.key_id());
        let held = watched.held_list().await;
        (watched, caller.ended(), held)
    });
    let ended = second.spawn(ended);
    second.block_on(eventually(async || {
        watched.layer.handle().stats().awaited_ends == 2
    }));
    drop(first);
    held.release();
    watched.advance(2 * SECOND);
    second.block_on(async {
        let soon = tokio::time::timeout(Duration::from_secs(20), ended);
        soon.await.expect("it has been told").unwrap();
    });
}
