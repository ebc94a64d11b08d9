//! Lists that do not come, or say nothing.

use std::collections::BTreeSet;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::*;
use crate::directory::Log;
use crate::scene::landed;

/// A list that goes wrong in this way changes nothing, and the next one is read.
async fn changes_nothing(fault: Fault) {
    let watched = Watched::with(|builder| builder.deadline(SECOND)).await;
    let (key, revoked) = (watched.known_key().await, watched.known_key().await);
    watched.wacht().revoke(revoked.key_id());
    watched.wacht().fault(on_lists(), fault.clone());
    watched.advance(INTERVAL);
    eventually(async || watched.stats().failed == 1).await;
    watched.assert_admitted(&key).await;
    watched.assert_admitted(&revoked).await;
    let unseen = watched.stats().longest_unseen;
    assert!(unseen >= 2 * INTERVAL, "{fault:?} {unseen:?}");

    watched.wacht().clear_faults();
    watched.next_list().await;
    watched.assert_refused_soon(&revoked).await;
    watched.assert_admitted(&key).await;
    eventually(async || watched.stats().longest_unseen == INTERVAL).await;
}

#[tokio::test]
async fn a_list_that_fails_is_cut_or_garbled_changes_nothing() {
    for fault in [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Status(404),
        Fault::HalfAnswer,
        Fault::Drop,
        Fault::body(200, "application/json", "{\"keys\":[]"),
        Fault::body(200, "application/json", "{\"keys\":[{\"id\":\"1\"}]}"),
        Fault::body(200, "application/json", "{\"keys\":[],\"has_more\":true}"),
        Fault::body(200, "text/html", "<p>soon</p>"),
    ] {
        changes_nothing(fault).await;
    }
}

#[tokio::test]
async fn a_list_that_never_comes_changes_nothing() {
    changes_nothing(Fault::Hang).await;
}

#[tokio::test]
async fn an_empty_list_refuses_nobody_before_another_shows_the_keys_as_revoked() {
    let watched = Watched::new().await;
    let keys = [watched.known_key().await, watched.known_key().await];
    let empty = empty_list();
    watched.wacht().fault_times(on_lists(), empty.clone(), 1);
    watched.next_list().await;
    eventually(async || watched.stats().confirmations == 1).await;
    for key in &keys {
        watched.assert_admitted(key).await;
    }
    // Nor if that one is empty, too.
    watched.wacht().fault_times(on_lists(), empty, 2);
    watched.next_list().await;
    eventually(async || watched.stats().confirmations == 2).await;
    watched.next_list().await;
    for key in &keys {
        watched.assert_admitted(key).await;
    }
}

#[tokio::test]
async fn a_confirmation_that_fails_is_asked_for_again() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().revoke(key.key_id());
    let list = empty_list();
    watched.wacht().fault_times(on_lists(), list, 1);
    watched
        .wacht()
        .fault_times(on_lists(), Fault::Status(503), 1);
    watched.next_list().await;
    eventually(async || watched.stats().failed == 1).await;
    watched.assert_admitted(&key).await;
    watched.advance(SECOND);
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_confirmation_that_never_succeeds_has_the_key_verified_again() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().revoke(key.key_id());
    let list = empty_list();
    watched.wacht().fault_times(on_lists(), list, 1);
    watched
        .wacht()
        .fault_times(on_lists(), Fault::Status(503), 3);
    watched.next_list().await;
    for (failed, wait) in [(1, 1), (2, 2), (3, 4)] {
        eventually(async || watched.stats().failed == failed).await;
        watched.assert_admitted(&key).await;
        watched.advance(wait * SECOND);
    }
    // Some time within `stale_while_revalidate` it is asked about, and then a list finds it.
    let mut lists = 0;
    while watched.echo.get(key.secret()).await.caller.is_some() {
        landed(&watched.layer).await;
        watched.next_list().await;
        lists += 1;
        assert!(lists <= 7, "{:?}", watched.stats());
    }
}

fn garbled() -> Fault {
    Fault::body(200, "application/json", "{\"keys\":[{\"id\":\"1\"}]}")
}

/// The next list is empty, and so many confirmations that follow go wrong in this way.
fn spoil_confirmations(watched: &Watched, fault: Fault, times: usize) {
    let wacht = watched.wacht();
    let empty = empty_list();
    wacht.fault_times(on_lists(), empty, 1);
    wacht.fault_times(on_lists(), fault, times);
}

#[tokio::test]
async fn a_confirmation_that_says_nothing_is_asked_for_again_whatever_is_wrong_with_it() {
    for fault in [
        garbled(),
        Fault::HalfAnswer,
        Fault::Status(404),
        Fault::Status(500),
    ] {
        let watched = Watched::new().await;
        let key = watched.known_key().await;
        watched.wacht().revoke(key.key_id());
        spoil_confirmations(&watched, fault, 1);
        watched.next_list().await;
        eventually(async || watched.stats().failed == 1).await;
        watched.advance(SECOND);
        watched.assert_refused_soon(&key).await;
    }
}

/// Who waits for the end of a key sends no request that would have it verified again.
#[tokio::test]
async fn a_key_whose_confirmations_say_nothing_is_looked_for_when_the_next_list_lacks_it_too() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let context = AuthContext::new("/");
    let gate = watched.layer.handle();
    let caller = gate.authenticate_key(key.secret(), &context).await;
    let ended = tokio::spawn(caller.unwrap().ended());
    eventually(async || gate.stats().awaited_ends == 1).await;
    watched.wacht().revoke(key.key_id());
    spoil_confirmations(&watched, garbled(), 3);
    watched.next_list().await;
    for (failed, wait) in [(1, 1), (2, 2)] {
        eventually(async || watched.stats().failed == failed).await;
        watched.advance(wait * SECOND);
    }
    eventually(async || watched.stats().failed == 3 && watched.is_resting()).await;
    assert!(!ended.is_finished());
    let unseen = watched.stats().longest_unseen;
    assert!(unseen >= 2 * INTERVAL, "{unseen:?}");
    watched.next_list().await;
    assert_eq!(ended.await.unwrap().kind(), RejectionKind::InvalidKey);
}

#[tokio::test]
async fn a_confirmation_that_fails_keeps_no_other_app_from_its_turn() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    let other = watched.wacht().issue_key("billing").issue();
    watched.assert_admitted(&other).await;
    watched.advance(2 * SECOND);
    eventually(async || watched.stats().apps == 2 && watched.is_resting()).await;
    let of_other = || {
        let entries = watched.wacht().journal().entries();
        entries
            .iter()
            .filter(|entry| entry.path.contains("billing/keys"))
            .count()
    };
    watched.wacht().revoke(key.key_id());
    spoil_confirmations(&watched, Fault::Status(503), 3);
    let listed = of_other();
    let client = watched.wacht().client();
    let keys = client.api_keys();
    eventually(async || {
        if watched.is_resting() {
            watched.advance(SECOND);
        }
        // In the time that a call takes, the one that has become due is answered as well: the clock does
        // not run away from it.
        keys.list_api_auth_apps().send().await.unwrap();
        watched.stats().confirmations == 1
    })
    .await;
    assert_eq!(watched.stats().failed, 3);
    assert!(of_other() > listed);
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_list_that_is_too_long_is_left_out_and_tried_again_after_ten_minutes() {
    let log = Log::default();
    let _guard = tracing_subscriber::registry()
        .with(log.clone())
        .set_default();
    let watch = Watch::every(INTERVAL).answer_limit(4_000);
    let watched = Watched::with(|builder| builder.watch(watch)).await;
    let key = watched.known_key().await;
    for _ in 0..20 {
        watched.scene.key();
    }
    watched.advance(INTERVAL);
    eventually(async || watched.stats().left_out == 1).await;
    assert_eq!(
        watched.stats().longest_unseen,
        Duration::ZERO,
        "of none that is in turn"
    );
    let said = "the list of an app's keys is too long: the watch leaves the app out";
    assert_eq!(log.count(said), 1);
    let asked = watched.asked().len();
    for _ in 0..119 {
        watched.advance(INTERVAL);
        // By the refreshes of a key in use, time and again.
        watched.assert_admitted(&key).await;
        landed(&watched.layer).await;
        assert_eq!(watched.asked().len(), asked);
    }
    watched.advance(INTERVAL);
    eventually(async || watched.asked().len() == asked + 1 && watched.is_resting()).await;
    assert_eq!(watched.stats().left_out, 1);
    assert_eq!(log.count(said), 1, "it is no news");
    watched.wacht().revoke(key.key_id());
    // As without the watch.
    watched.advance(LAG);
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn a_429_pauses_the_lists_and_halves_them() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched
        .wacht()
        .fault_times(on_lists(), Fault::Status(429), 1);
    watched.advance(INTERVAL);
    eventually(async || watched.stats().failed == 1).await;
    let asked = watched.asked().len();
    for _ in 0..11 {
        watched.assert_admitted(&key).await;
        watched.advance(INTERVAL);
    }
    assert_eq!(watched.asked().len(), asked);
    let unseen = watched.stats().longest_unseen;
    assert!(unseen >= 65 * SECOND, "{unseen:?}");
    watched.advance(INTERVAL);
    eventually(async || watched.asked().len() > asked).await;
}

#[tokio::test]
async fn a_management_key_of_three_calls_a_minute_is_enough_in_the_end() {
    let watched = Watched::new().await;
    watched.wacht().management_limit(3);
    let key = watched.scene.key();
    watched.assert_admitted(&key).await;
    watched.wacht().revoke(key.key_id());
    let mut seconds = 0;
    while watched.echo.get(key.secret()).await.caller.is_some() {
        // Only the watch is asked: the gateway would say so by itself after 60 s.
        watched.advance(SECOND);
        seconds += 1;
        assert!(seconds < 200, "{:?}", watched.stats());
        // In the time of a check, the call that has become due is answered as well.
        watched.assert_admitted(&watched.scene.key()).await;
    }
}

#[tokio::test]
async fn every_warning_of_the_watch_is_documented_and_comes() {
    let log = Log::default();
    let _guard = tracing_subscriber::registry()
        .with(log.clone())
        .set_default();
    let watch = Watch::every(INTERVAL).answer_limit(4_000);
    let watched = Watched::with(|builder| builder.watch(watch)).await;
    let key = watched.known_key().await;
    let wacht = watched.wacht();
    wacht.fault_times(on_lists(), Fault::Status(500), 1);
    watched.advance(INTERVAL);
    eventually(async || watched.stats().failed == 1).await;
    // The key is looked for among too many, of which the list before did not speak.
    let many: Vec<DevKey> = (0..300).map(|_| watched.scene.key()).collect();
    for key in many.iter().chain([&key]) {
        wacht.revoke(key.key_id());
    }
    watched.next_list().await;
    eventually(async || watched.stats().failed == 2).await;
    for _ in 0..20 {
        watched.scene.key();
    }
    watched.advance(INTERVAL);
    eventually(async || watched.stats().left_out == 1).await;

    let page = include_str!("../../../docs/observability.md");
    let (_, of_watch) = page.split_once("### Of the watch").unwrap();
    let (of_watch, _) = of_watch.split_once("\n### ").unwrap();
    let documented: BTreeSet<String> = of_watch
        .lines()
        .filter_map(|line| line.strip_prefix("| warn | ")?.split(" | ").next())
        .map(str::to_owned)
        .collect();
    assert_eq!(BTreeSet::from_iter(log.warnings()), documented);
}
