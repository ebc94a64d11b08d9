use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::gate::directory::AcceptedApps;
use crate::gate::refusal::InvalidKeyReason;
use crate::gate::verdict::CachePolicy;
use crate::gate::verdict::cache::{Known, NegativeKind};
use crate::gate::verdict::key_index::{AppKeys, MOST_GONE};
use crate::gate::verdict::tests::{APP, DEADLINE, KEY_ID, at, checked, key, waiting};

fn cache() -> VerdictCache {
    let index = KeyIndex::new(AcceptedApps::default());
    let index = Some(Arc::new(index));
    VerdictCache::new(CachePolicy::default(), DEADLINE, waiting(), index)
}

const NO_KEYS: [i64; 0] = [];

/// A list with the key that the tests of this room know, as these members say.
fn list(members: &[(&str, serde_json::Value)]) -> KeyList {
    let mut row = json!({
        "id": KEY_ID, "deployment_id": 1, "app_slug": APP, "permissions": [],
        "org_role_permissions": [], "workspace_role_permissions": [], "is_active": true, "expires_at": null,
    });
    for (name, value) in members {
        row[*name] = value.clone();
    }
    decoded(&json!({ "keys": [row] }))
}

fn empty() -> KeyList {
    decoded(&json!({"keys": []}))
}

fn decoded(body: &serde_json::Value) -> KeyList {
    KeyList::decode(body.to_string().as_bytes(), 1, APP).unwrap()
}

fn begins(cache: &VerdictCache) -> u32 {
    cache.index().unwrap().list_begins()
}

/// What a list under this number, sent and taken then, leaves to do.
fn take(cache: &VerdictCache, list: &KeyList, number: u32, seconds: u64) -> (Judged, Vec<i64>) {
    let asked = Asked {
        number,
        sent: at(seconds),
        is_again: false,
    };
    cache.take_list(APP, list, asked, at(seconds))
}

/// The same by one that is read again, as the one before was overtaken.
fn take_again(cache: &VerdictCache, list: &KeyList, number: u32, seconds: u64) -> Judged {
    let asked = Asked {
        number,
        sent: at(seconds),
        is_again: true,
    };
    cache.take_list(APP, list, asked, at(seconds)).0
}

fn names(names: &str) -> Permissions {
    names.split_whitespace().collect()
}

/// A yes to a check that was sent then, with these permissions.
fn checked_with(cache: &VerdictCache, permissions: &str, seconds: u64) -> Arc<Verdict> {
    let check = cache.open_check(key(), at(seconds));
    let verdict = super::super::tests::yes(&cache.revocations, key(), check.sent());
    let verdict = Arc::new(verdict.with_permissions(names(permissions)));
    cache.insert(&check, verdict, at(seconds)).verdict
}

fn ends_at(seconds: u64) -> (&'static str, serde_json::Value) {
    let end = chrono::DateTime::from_timestamp_secs(i64::try_from(seconds).unwrap());
    ("expires_at", json!(end))
}

fn missing(cache: &VerdictCache, number: u32, seconds: u64) -> Vec<i64> {
    let (judged, revoked) = take(cache, &empty(), number, seconds);
    assert!(revoked.is_empty());
    judged.missing
}

fn held(cache: &VerdictCache, seconds: u64) -> Arc<Verdict> {
    match cache.look_up(&key(), at(seconds)) {
        Known::Good(verdict) => verdict,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_key_that_came_before_a_list_was_sent_can_be_missing_from_it() {
    let cache = cache();
    let before = begins(&cache);
    checked(&cache, key(), at(1));
    let after = begins(&cache);
    assert_eq!(missing(&cache, before, 2), NO_KEYS);
    assert_eq!(missing(&cache, after, 2), [KEY_ID]);
    // In whichever order they are answered.
    assert_eq!(missing(&cache, before, 2), NO_KEYS);
}

#[test]
fn a_key_that_is_verified_anew_meanwhile_is_still_the_key_that_came_before() {
    let cache = cache();
    checked(&cache, key(), at(1));
    let number = begins(&cache);
    checked(&cache, key(), at(2));
    assert_eq!(missing(&cache, number, 3), [KEY_ID]);
    // What it may do is another matter: the answer may be younger than the list.
    let role = list(&[("org_role_permissions", json!(["refund"]))]);
    let (judged, _) = take(&cache, &role, number, 3);
    assert!(judged.is_overtaken && judged.missing.is_empty());
    assert_eq!(held(&cache, 3).age(&cache.policy, false, at(3)), Age::Fresh);
}

#[test]
fn a_key_that_has_been_forgotten_is_held_against_no_list() {
    let cache = cache();
    checked(&cache, key(), at(1));
    let number = begins(&cache);
    cache.forget(&key());
    cache.settle();
    assert_eq!(missing(&cache, number, 2), NO_KEYS);
    checked(&cache, key(), at(3));
    assert_eq!(missing(&cache, number, 3), NO_KEYS, "it is new");
}

#[test]
fn a_row_that_shows_a_key_as_revoked_is_enough() {
    let cache = cache();
    let number = begins(&cache);
    checked(&cache, key(), at(1));
    for member in [
        ("is_active", json!(false)),
        ("revoked_at", json!("2026-01-01T00:00:00Z")),
    ] {
        let (judged, revoked) = take(&cache, &list(&[member]), number, 2);
        assert_eq!((judged.missing, revoked), (vec![], vec![KEY_ID]));
    }
}

#[test]
fn an_end_holds_for_the_verdicts_that_follow_until_a_list_says_otherwise() {
    let cache = cache();
    let first = checked(&cache, key(), at(1));
    let end = first.sent().unix + Duration::from_secs(50);
    let end = chrono::DateTime::from_timestamp_nanos(i64::try_from(end.as_nanos()).unwrap());
    let number = begins(&cache);
    take(&cache, &list(&[("expires_at", json!(end))]), number, 2);
    let second = checked(&cache, key(), at(40));
    for verdict in [&first, &second] {
        assert!(!verdict.has_ended(at(50)) && verdict.has_ended(at(51)));
    }
    assert_eq!(second.age(&cache.policy, true, at(51)), Age::Over);
    let number = begins(&cache);
    take(&cache, &list(&[]), number, 45);
    assert!(!second.has_ended(at(51)));
}

#[test]
fn a_key_that_no_list_has_is_due_within_the_time_that_a_stale_yes_is_used() {
    let cache = cache();
    checked(&cache, key(), at(1));
    let number = begins(&cache);
    assert_eq!(missing(&cache, number, 2), [KEY_ID]);
    cache.in_no_list(APP, KEY_ID, at(2));
    let last = 2 + cache.policy.stale_while_revalidate.as_secs();
    let verdict = held(&cache, 2);
    let due = (2..=last)
        .find(|second| verdict.is_due(at(*second)))
        .unwrap();
    assert_eq!(verdict.age(&cache.policy, false, at(due)), Age::Stale);
    let number = begins(&cache);
    assert_eq!(
        missing(&cache, number, due),
        NO_KEYS,
        "nobody has asked yet"
    );
    assert!(cache.is_unlisted(APP, KEY_ID));
    checked(&cache, key(), at(due));
    assert!(!cache.is_unlisted(APP, KEY_ID));
}

#[test]
fn what_a_list_has_taken_is_taken_from_the_answers_of_the_next_minute() {
    let cache = cache();
    let verdict = checked_with(&cache, "read refund", 1);
    let number = begins(&cache);
    take(
        &cache,
        &list(&[("permissions", json!(["read"]))]),
        number,
        10,
    );
    assert_eq!(held(&cache, 10).identity.permissions, names("read"));
    assert_eq!(
        verdict.identity.permissions,
        names("read refund"),
        "for who has it"
    );
    let says = names("read refund export");
    let still_held = |cache: &VerdictCache, sent| {
        let index = cache.index().unwrap();
        index.still_held(APP, KEY_ID, at(sent), &says)
    };
    for (sent, expected) in [
        (11, "read export"),
        (70, "read export"),
        (71, "read refund export"),
    ] {
        let still = still_held(&cache, sent).unwrap_or_else(|| says.clone());
        assert_eq!(still, names(expected), "{sent}");
    }
    // Given back.
    let number = begins(&cache);
    let back = list(&[("permissions", json!(["read", "refund"]))]);
    take(&cache, &back, number, 20);
    assert_eq!(still_held(&cache, 21), None);
    assert!(held(&cache, 20).is_due(at(20)), "the gateway is asked");
}

#[test]
fn an_app_is_held_while_its_verdicts_may_be_used_or_somebody_waits() {
    let cache = cache();
    let index = cache.index().unwrap();
    let unused_for = cache.policy.longest_use();
    let drop_app = |seconds, waits| index.drop_app(APP, unused_for, || waits, at(seconds));
    checked(&cache, key(), at(1));
    assert!(!drop_app(330, false));
    assert!(!drop_app(331, true));
    assert!(drop_app(331, false));
    let app: Arc<str> = APP.into();
    assert!(index.add_app(&app, at(331)) && !index.add_app(&app, at(331)));
    assert!(!drop_app(332, true));
    assert!(drop_app(332, false), "it has no key");
}

#[test]
fn tokens_and_apps_that_are_not_accepted_are_in_no_index() {
    let index = KeyIndex::new(AcceptedApps::only(["another"]));
    let cache = VerdictCache::new(
        CachePolicy::default(),
        DEADLINE,
        waiting(),
        Some(Arc::new(index)),
    );
    checked(&cache, key(), at(1));
    assert!(cache.index().unwrap().keys_after(APP, None).keys.is_empty());
    assert!(!cache.index().unwrap().add_app(&APP.into(), at(1)));
}

#[test]
fn the_index_takes_little_for_each_key() {
    const KEYS: i64 = 10_000;
    const APPS: i64 = 200;
    let cache = cache();
    let index = cache.index().unwrap();
    let check = cache.open_check(key(), at(1));
    let verdict = |number: i64| {
        let mut verdict = super::super::tests::yes(&cache.revocations, key(), check.sent());
        let identity = &mut Arc::get_mut(&mut verdict).unwrap().identity;
        // Ids grow, and keys are shown in any order.
        identity.key_id = (number * 7_919) % KEYS;
        identity.app_slug = format!("app-{}", number % APPS).into();
        verdict
    };
    let verdicts: Vec<_> = (0..KEYS).map(verdict).collect();
    let measured = allocation_counter::measure(|| {
        for verdict in &verdicts {
            index.add(verdict, at(1));
        }
    });
    let each = measured.bytes_current / KEYS;
    println!("{each} bytes a key");
    assert!((16..64).contains(&each), "{each} bytes a key");
    for verdict in &verdicts {
        index.remove(verdict);
    }
    assert!(index.keys_after("app-7", None).keys.is_empty());
}

#[test]
fn what_a_list_has_taken_stays_taken_when_the_cache_lets_go_of_the_key() {
    let cache = cache();
    let index = cache.index().unwrap();
    let unused_for = cache.policy.longest_use();
    let drop_app = |seconds| index.drop_app(APP, unused_for, || false, at(seconds));
    checked_with(&cache, "read refund", 1);
    let number = begins(&cache);
    let less = list(&[("permissions", json!(["read"])), ends_at(500)]);
    take(&cache, &less, number, 10);
    for seconds in [11, 70] {
        cache.forget(&key());
        cache.settle();
        assert!(!drop_app(seconds), "the gateway may not know yet");
        checked_with(&cache, "read refund", seconds);
        let verdict = held(&cache, seconds);
        assert_eq!(verdict.identity.permissions, names("read"));
        assert!(verdict.has_ended(at(500)) && !verdict.has_ended(at(499)));
    }
    cache.forget(&key());
    cache.settle();
    assert!(drop_app(71));
}

#[test]
fn what_is_kept_of_keys_that_are_gone_is_bounded_and_forgotten() {
    let mut app = AppKeys::default();
    let difference = |end| {
        let end = Some((Duration::from_secs(end), Duration::from_secs(1)));
        Some(Box::new(Difference {
            end,
            ..Difference::default()
        }))
    };
    app.keep(0, difference(1_000));
    for key_id in 1..10_000 {
        app.keep(key_id, difference(5));
    }
    assert_eq!(app.gone.len(), MOST_GONE);
    app.forget_gone(at(61));
    assert!(app.contradicts_gateway(at(61)) && !app.contradicts_gateway(at(62)));
    app.forget_gone(at(100));
    assert_eq!(app.gone.keys().collect::<Vec<_>>(), [&0]);
    app.forget_gone(at(1_100));
    assert!(app.gone.is_empty());
}

/// As under limits that the gateway counts, where each request brings a verdict.
#[test]
fn a_key_that_is_verified_all_the_time_loses_what_the_list_lacks_that_is_read_again() {
    let cache = cache();
    checked_with(&cache, "read refund", 1);
    let number = begins(&cache);
    checked_with(&cache, "read refund", 2);
    let less = list(&[("permissions", json!(["read"])), ends_at(100)]);
    let (judged, _) = take(&cache, &less, number, 2);
    assert!(judged.is_overtaken);
    let number = begins(&cache);
    checked_with(&cache, "read refund", 3);
    assert!(!take_again(&cache, &less, number, 3).is_overtaken);
    for seconds in [3, 4] {
        let verdict = held(&cache, seconds);
        assert_eq!(verdict.identity.permissions, names("read"));
        assert!(verdict.has_ended(at(100)));
        checked_with(&cache, "read refund", 4);
    }
}

#[test]
fn an_answer_that_comes_while_a_list_is_taken_is_filed_without_what_the_list_lacks() {
    let cache = cache();
    checked_with(&cache, "read refund", 1);
    // What it may do has been looked at before the list was taken.
    let check = cache.open_check(key(), at(2));
    let verdict = super::super::tests::yes(&cache.revocations, key(), check.sent());
    let verdict = Arc::new(verdict.with_permissions(names("read refund")));
    let number = begins(&cache);
    take(
        &cache,
        &list(&[("permissions", json!(["read"]))]),
        number,
        2,
    );
    let filed = cache.insert(&check, verdict, at(3));
    assert_eq!(held(&cache, 3).identity.permissions, names("read"));
    let waited_for = &filed.verdict.identity;
    assert_eq!(
        waited_for.permissions,
        names("read"),
        "for who waited for it"
    );
}

#[test]
fn a_verdict_that_takes_the_place_of_one_that_is_gone_is_in_the_index() {
    let cache = cache();
    let index = cache.index().unwrap();
    let verdict = checked_with(&cache, "read refund", 1);
    index.remove(&verdict);
    let less = Arc::new(verdict.with_permissions(names("read")));
    index.replace(&less);
    let some = index.keys_after(APP, None);
    assert!(some.keys.iter().any(|key| Arc::ptr_eq(&key.verdict, &less)));
}

#[test]
fn a_yes_of_a_gateway_that_must_know_better_is_not_past_the_end_that_was_listed() {
    let cache = cache();
    checked(&cache, key(), at(1));
    let number = begins(&cache);
    take(&cache, &list(&[ends_at(50)]), number, 2);
    // The yes may be from before the end for so long, and be older than the list.
    let stale = checked(&cache, key(), at(110));
    assert!(stale.has_ended(at(110)));
    let renewed = checked(&cache, key(), at(111));
    assert!(!renewed.has_ended(at(111)) && !renewed.has_ended(at(1_000)));
}

#[test]
fn a_key_past_its_end_is_not_asked_about_with_each_request() {
    let cache = cache();
    checked(&cache, key(), at(1));
    let number = begins(&cache);
    take(&cache, &list(&[ends_at(50)]), number, 2);
    checked(&cache, key(), at(51));
    let (kind, wait) = cache.negative(&key(), at(51)).unwrap();
    assert_eq!(kind, NegativeKind::Invalid(InvalidKeyReason::Expired));
    assert_eq!(wait, cache.policy.negative_ttl);
}

#[test]
fn ends_that_no_atomic_can_hold_overtake_no_list() {
    for end in ["9999-12-31T23:59:59Z", "1960-01-01T00:00:00Z"] {
        let cache = cache();
        checked(&cache, key(), at(1));
        let number = begins(&cache);
        checked(&cache, key(), at(2));
        let (judged, _) = take(&cache, &list(&[("expires_at", json!(end))]), number, 2);
        assert!(!judged.is_overtaken, "{end}");
    }
}

#[test]
fn keys_that_the_cache_lets_go_of_end_no_walk_through_the_others() {
    let cache = cache();
    let index = cache.index().unwrap();
    let check = cache.open_check(key(), at(1));
    let verdict = |key_id: i64| {
        let mut verdict = super::super::tests::yes(&cache.revocations, key(), check.sent());
        Arc::get_mut(&mut verdict).unwrap().identity.key_id = key_id;
        index.add(&verdict, at(1));
        verdict
    };
    for key_id in 1..1_500 {
        drop(verdict(key_id));
    }
    let last = verdict(2_000);
    let number = begins(&cache);
    assert_eq!(missing(&cache, number, 2), [2_000]);
    drop(last);
}

#[test]
fn that_no_list_has_a_key_is_forgotten_with_the_key_unless_somebody_waits_for_it() {
    let cache = cache();
    checked(&cache, key(), at(1));
    cache.in_no_list(APP, KEY_ID, at(2));
    cache.keep_unlisted(APP, &[]);
    assert!(cache.is_unlisted(APP, KEY_ID));
    cache.forget(&key());
    cache.settle();
    cache.keep_unlisted(APP, &[KEY_ID]);
    assert!(cache.is_unlisted(APP, KEY_ID));
    cache.keep_unlisted(APP, &[]);
    assert!(!cache.is_unlisted(APP, KEY_ID));
}
