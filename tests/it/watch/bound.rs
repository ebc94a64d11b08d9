//! How soon, for so many apps.

use std::collections::HashMap;

use super::*;

/// No app waits longer for its next list than the bound says, and `stats` says no less than it waits.
async fn holds_for(apps: usize, bound: Duration) {
    let watched = Watched::new().await;
    let slug = |app: usize| format!("app-{app}");
    for app in 0..apps {
        let key = watched.scene.wacht.issue_key(&slug(app)).issue();
        watched.assert_admitted(&key).await;
    }
    let mut read_at: HashMap<String, Duration> = HashMap::new();
    let mut longest = Duration::ZERO;
    let mut seen = 0;
    let began = watched.scene.clock.unix_time();
    while watched.scene.clock.unix_time() - began < 3 * bound.min(100 * SECOND) {
        eventually(async || watched.is_resting()).await;
        let entries = watched.scene.wacht.journal().entries();
        let lists: Vec<_> = entries
            .iter()
            .filter(|entry| is_list(&entry.path))
            .collect();
        let now = watched.scene.clock.unix_time();
        for list in lists.iter().skip(seen) {
            if let Some(before) = read_at.insert(list.path.clone(), now) {
                longest = longest.max(now - before);
            }
        }
        seen = lists.len();
        let stats = watched.stats();
        assert_eq!(stats.apps, apps as u64);
        assert!(stats.longest_unseen <= bound, "{apps} apps: {stats:?}");
        watched.scene.clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    assert!(longest <= bound, "{apps} apps: {longest:?}");
    assert!(seen > 0, "{apps} apps");
}

#[tokio::test]
async fn one_app_is_read_as_often_as_the_interval_says() {
    holds_for(1, INTERVAL + SECOND).await;
}

#[tokio::test]
async fn two_apps_are_read_as_often_as_the_interval_says() {
    holds_for(2, INTERVAL + 2 * SECOND).await;
}

#[tokio::test]
async fn ten_apps_are_read_within_twenty_seconds() {
    holds_for(10, 21 * SECOND).await;
}

#[tokio::test]
async fn two_hundred_apps_are_read_within_four_hundred_seconds() {
    holds_for(200, 401 * SECOND).await;
}

#[tokio::test]
async fn no_minute_has_more_lists_than_the_budget() {
    let watch = Watch::every(SECOND).calls_a_minute(6);
    let watched = Watched::with(|builder| builder.watch(watch)).await;
    for app in ["a", "b", "c"] {
        let key = watched.scene.wacht.issue_key(app).issue();
        watched.assert_admitted(&key).await;
    }
    for second in 1..=60 {
        watched.scene.clock.advance(SECOND);
        eventually(async || watched.is_resting()).await;
        let most = 1 + second / 10;
        assert!(watched.asked().len() <= most, "{second} s");
    }
}

/// Once against real time, by an event: the answer to the next list.
#[tokio::test]
async fn in_real_time_too() {
    let wacht = wacht_auth::dev::DevGateway::start()
        .await
        .revocation_lag(LAG);
    let watch = Watch::every(SECOND);
    let layer = WachtAuthLayer::builder(wacht.client()).watch(watch);
    let layer = layer.build().unwrap().app("orders");
    let key = wacht.issue_key("orders").issue();
    let gate = layer.handle();
    let caller = gate
        .authenticate_key(key.secret(), &AuthContext::new("/"))
        .await;
    let ended = caller.unwrap().ended();
    wacht.revoke(key.key_id());
    // The gateway says yes for a minute more, and nobody sends a request.
    let soon = tokio::time::timeout(Duration::from_secs(20), ended);
    let rejection = soon.await.expect("a list has said so");
    assert_eq!(rejection.kind(), RejectionKind::InvalidKey);
}
