//! How soon, for so many apps.

use std::collections::HashMap;

use super::*;

/// So many apps in use are read in turn: of `lists`, so many after so many seconds. No app waits
/// longer for its next list than the bound says, and `stats` says no less than it waits.
async fn holds_for(apps: usize, bound: Duration, seconds: u64, lists: impl Fn(u64) -> u64) {
    let watched = Watched::new().await;
    let wacht = watched.wacht();
    let key = |app| wacht.issue_key(&format!("app-{app}")).issue();
    let keys: Vec<DevKey> = (0..apps).map(key).collect();
    let mut read_at: HashMap<String, u64> = HashMap::new();
    let mut seen = 0;
    for second in 0..=seconds {
        // A verdict that is not used comes to its end, and its app goes.
        if second % 300 == 0 {
            for key in &keys {
                watched.assert_admitted(key).await;
            }
        }
        eventually(async || watched.stats().lists >= lists(second)).await;
        let stats = watched.stats();
        assert_eq!(
            (stats.lists, stats.apps),
            (lists(second), apps as u64),
            "{second} s"
        );
        assert!(stats.longest_unseen <= bound, "{second} s: {stats:?}");
        let entries = watched.wacht().journal().entries();
        for list in entries[seen..].iter().filter(|entry| is_list(&entry.path)) {
            let before = read_at.insert(list.path.clone(), second).unwrap_or(0);
            let waited = Duration::from_secs(second - before);
            assert!(waited <= bound, "{}: {waited:?}", list.path);
        }
        seen = entries.len();
        watched.advance(SECOND);
    }
    assert_eq!(read_at.len(), apps);
}

#[tokio::test]
async fn one_app_is_read_as_often_as_the_interval_says() {
    holds_for(1, INTERVAL, 30, |second| second / 5 + 1).await;
}

#[tokio::test]
async fn two_apps_are_read_as_often_as_the_interval_says() {
    // The first at 0, 5, 10, the other at 2, 7, 12.
    let lists = |second| second / 5 + 1 + (second + 3) / 5;
    holds_for(2, INTERVAL, 30, lists).await;
}

#[tokio::test]
async fn ten_apps_are_read_within_twenty_seconds() {
    holds_for(10, 20 * SECOND, 90, |second| second / 2 + 1).await;
}

#[tokio::test]
async fn two_hundred_apps_are_read_within_four_hundred_seconds() {
    holds_for(200, 400 * SECOND, 820, |second| second / 2 + 1).await;
}

/// A key of one of so many apps is revoked elsewhere right after its list was read, and shown every
/// second: it is refused within the bound, and not because the gateway says so.
async fn refuses_within(apps: usize, bound: Duration) {
    let watched = Watched::lagging(1_000 * SECOND, |builder| builder).await;
    let wacht = watched.wacht();
    let key = |app| wacht.issue_key(&format!("app-{app}")).issue();
    let keys: Vec<DevKey> = (0..apps).map(key).collect();
    let is_of_first = |path: &str| path.ends_with("/app-0/keys");
    let read = || {
        let entries = watched.wacht().journal().entries();
        let paths = entries.iter().map(|entry| &entry.path);
        paths.filter(|path| is_of_first(path)).count()
    };
    let first = keys.first().unwrap();
    for second in 0..=bound.as_secs() {
        if second % 300 == 0 {
            for key in &keys {
                watched.assert_admitted(key).await;
            }
        }
        eventually(async || watched.stats().lists > second / 2 && watched.is_resting()).await;
        match (second, read()) {
            (0, lists) => {
                assert_eq!(lists, 1, "the first to come is the first to be read");
                wacht.revoke(first.key_id());
            }
            (_, 1) => watched.assert_admitted(first).await,
            _ => {
                // The call that looks for it among the revoked ones has its share of the minute, too.
                watched.advance(2 * SECOND);
                eventually(async || watched.stats().confirmations == 1).await;
                watched.assert_refused_soon(first).await;
                return;
            }
        }
        watched.advance(SECOND);
    }
    panic!("it has not been refused within {bound:?}");
}

#[tokio::test]
async fn a_key_of_one_of_ten_apps_is_refused_within_twenty_seconds() {
    refuses_within(10, 20 * SECOND).await;
}

#[tokio::test]
async fn a_key_of_one_of_two_hundred_apps_is_refused_within_four_hundred_seconds() {
    refuses_within(200, 400 * SECOND).await;
}

#[tokio::test]
async fn no_minute_has_more_lists_than_the_budget() {
    let watch = Watch::every(SECOND).calls_a_minute(6);
    let watched = Watched::with(|builder| builder.watch(watch)).await;
    for app in ["a", "b", "c"] {
        let key = watched.wacht().issue_key(app).issue();
        watched.assert_admitted(&key).await;
    }
    for second in 1..=60 {
        watched.advance(SECOND);
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
