use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::gate::directory::AcceptedApps;
use crate::gate::verdict::CachePolicy;
use crate::gate::verdict::cache::Known;
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
        "org_role_permissions": [], "workspace_role_permissions": [], "is_active": true,
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
    cache.take_list(APP, list, number, at(seconds), at(seconds))
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
    let names = |names: &str| -> Permissions { names.split_whitespace().collect() };
    let check = cache.open_check(key(), at(1));
    let verdict = super::super::tests::yes(&cache.revocations, key(), check.sent());
    let verdict = Arc::new(verdict.with_permissions(names("read refund")));
    cache.insert(&check, &verdict, at(1));
    drop(check);
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
    for (sent, expected) in [
        (11, "read export"),
        (70, "read export"),
        (71, "read refund export"),
    ] {
        let still = cache.still_held(APP, KEY_ID, at(sent), says.clone());
        assert_eq!(still, names(expected), "{sent}");
    }
    // Given back.
    let number = begins(&cache);
    let back = list(&[("permissions", json!(["read", "refund"]))]);
    take(&cache, &back, number, 20);
    assert_eq!(cache.still_held(APP, KEY_ID, at(21), says.clone()), says);
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
    assert!(cache.index().unwrap().keys_after(APP, None).is_empty());
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
    assert!(index.keys_after("app-7", None).is_empty());
}
