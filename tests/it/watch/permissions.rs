//! What a key may do, and what is taken from it or added.

use super::*;
use crate::scene::landed;

async fn key_with(watched: &Watched, own: &[&str], of_role: &[&str]) -> DevKey {
    let key = watched.wacht().issue_key("orders");
    let key = key
        .permissions(own.to_vec())
        .role_permissions(of_role.to_vec());
    let key = key.workspace_role_permissions(["ws"]).issue();
    watched.show(&key).await;
    key
}

#[tokio::test]
async fn what_a_role_loses_is_taken_from_the_key_at_once_and_a_stale_yes_does_not_bring_it_back() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read"], &["export", "refund"]).await;
    let before = watched.echo.get(key.secret()).await.caller.unwrap();
    watched
        .wacht()
        .set_role_permissions(key.key_id(), ["export"]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["export", "read", "ws"]).await;
    assert!(
        before.permissions().contains("refund"),
        "who has it in hands keeps it"
    );
    for _ in 0..11 {
        watched.layer.handle().invalidate_all();
        // So that the cache has let go of it.
        watched.stats();
        assert_eq!(watched.held(&key).await, ["export", "read", "ws"]);
        watched.next_list().await;
    }
    watched.advance(LAG);
    assert_eq!(watched.held(&key).await, ["export", "read", "ws"]);
}

#[tokio::test]
async fn what_the_key_itself_loses_is_taken_from_it_at_once() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read", "write"], &[]).await;
    watched.wacht().set_permissions(key.key_id(), ["read"]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["read", "ws"]).await;
}

#[tokio::test]
async fn what_is_added_has_the_key_asked_about_now_and_once_more_when_the_gateway_knows() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read"], &[]).await;
    let checks = || watched.wacht().journal().checks();
    watched
        .wacht()
        .set_role_permissions(key.key_id(), ["refund"]);
    let before = checks();
    watched.next_list().await;
    // Used, and asked about behind it: the gateway does not say so yet.
    eventually(async || {
        watched.assert_admitted(&key).await;
        checks() > before
    })
    .await;
    landed(&watched.layer).await;
    assert_eq!(watched.held(&key).await, ["read", "ws"]);
    for _ in 0..3 {
        watched.next_list().await;
        watched.assert_admitted(&key).await;
    }
    landed(&watched.layer).await;
    assert_eq!(checks(), before + 1, "not with every list");
    watched.advance(LAG);
    eventually(async || watched.held(&key).await == ["read", "refund", "ws"]).await;
}

#[tokio::test]
async fn a_key_that_is_to_be_asked_about_anyhow_is_looked_for_among_the_revoked_ones_too() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read"], &[]).await;
    watched
        .wacht()
        .set_role_permissions(key.key_id(), ["refund"]);
    watched.next_list().await;
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    eventually(async || watched.stats().confirmations == 1).await;
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_role_that_is_taken_and_given_back_is_back() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read"], &["refund"]).await;
    watched.wacht().set_role_permissions(key.key_id(), [""; 0]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["read", "ws"]).await;
    watched
        .wacht()
        .set_role_permissions(key.key_id(), ["refund"]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["read", "refund", "ws"]).await;
}

#[tokio::test]
async fn what_has_come_in_the_place_of_a_verdict_is_judged_by_the_lists_that_follow() {
    let watched = Watched::new().await;
    let key = key_with(&watched, &["read", "write"], &[]).await;
    watched.wacht().set_permissions(key.key_id(), ["read"]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["read", "ws"]).await;
    watched.wacht().set_permissions(key.key_id(), [""; 0]);
    watched.next_list().await;
    eventually(async || watched.held(&key).await == ["ws"]).await;
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
}
