use super::*;
use crate::gate::verdict::CachePolicy;
use crate::gate::verdict::PrincipalKind;
use crate::gate::verdict::cache::{Known, VerdictCache};
use crate::gate::verdict::revocations::{Revocations, Sent};
use crate::gate::verdict::tests::{
    DEADLINE, REASON, TTL, at, cache, checked, key, key_of, waiting, yes,
};

/// A yes that moka has never seen.
fn of_itself(seconds: u64) -> Arc<Verdict> {
    let revocations = Arc::new(Revocations::new(DEADLINE, waiting()));
    let sent = Sent {
        at: at(seconds),
        after: revocations.latest(),
    };
    yes(&revocations, key(), sent)
}

fn is_found(cache: &VerdictCache, verdict: &Arc<Verdict>) -> bool {
    match cache.look_up(&key(), at(1)) {
        Known::Good(found) => Arc::ptr_eq(&found, verdict),
        Known::Refused | Known::Nothing => false,
    }
}

fn refuse(cache: &VerdictCache) {
    cache.refuse(&cache.open_check(key(), at(2)), REASON, at(2), TTL);
}

#[test]
fn a_verdict_is_found_until_a_newer_one_takes_its_place() {
    let cache = cache();
    let old = checked(&cache, key(), at(1));
    assert!(is_found(&cache, &old));
    assert!(is_found(&cache, &old), "the second time it is hot");
    let new = checked(&cache, key(), at(1));
    assert!(is_found(&cache, &new));
    assert!(old.is_evicted() && !old.is_withdrawn());
}

#[test]
fn a_verdict_that_is_refused_is_not_found() {
    let cache = cache();
    let verdict = checked(&cache, key(), at(1));
    assert!(is_found(&cache, &verdict) && is_found(&cache, &verdict));
    refuse(&cache);
    assert!(!is_found(&cache, &verdict));
    assert!(verdict.is_withdrawn());
}

#[test]
fn a_verdict_that_moka_has_pushed_out_is_not_found() {
    let hot = HotCache::new(0);
    let verdict = of_itself(1);
    hot.put(&key(), &verdict, at(1));
    assert!(hot.get(&key()).is_some());
    verdict.mark_evicted();
    assert!(hot.get(&key()).is_none());
}

#[test]
fn a_verdict_that_moka_has_pushed_out_and_not_said_so_yet_is_withdrawn_with_a_no() {
    let cache = cache();
    let check = cache.open_check(key(), at(1));
    let verdict = yes(&cache.revocations, key(), check.sent());
    drop(check);
    cache.hot().put(&key(), &verdict, at(1));
    assert!(is_found(&cache, &verdict));
    refuse(&cache);
    assert!(!is_found(&cache, &verdict) && verdict.is_withdrawn());
}

#[test]
fn nothing_is_hot_that_the_cache_does_not_hold() {
    let policy = CachePolicy::default().capacity_bytes(8 << 10);
    let cache = VerdictCache::new(policy, DEADLINE, waiting(), None);
    for number in 0..500 {
        let key = key_of(&format!("key {number}"));
        checked(&cache, key, at(1));
        cache.look_up(&key, at(1));
        cache.settle();
    }
    let kept = usize::try_from(cache.good_keys()).unwrap();
    assert!((1..20).contains(&kept), "8 KiB are full");
    assert!(cache.hot().len() <= kept);
    let again = (0..500).filter(|number| {
        let key = key_of(&format!("key {number}"));
        matches!(cache.look_up(&key, at(1)), Known::Good(_))
    });
    assert_eq!(again.count(), kept);
    assert!((1..=kept).contains(&cache.hot().len()));
    cache.forget_all();
    cache.settle();
    assert_eq!(cache.hot().len(), 0);
}

#[test]
fn a_verdict_that_was_evicted_is_not_held_on_to_again() {
    let hot = HotCache::new(0);
    let verdict = of_itself(1);
    verdict.mark_evicted();
    hot.put(&key(), &verdict, at(1));
    assert_eq!(hot.len(), 0);
}

#[test]
fn a_newer_verdict_stays_when_the_one_before_is_evicted() {
    let hot = HotCache::new(0);
    let (old, new) = (of_itself(1), of_itself(2));
    hot.put(&key(), &new, at(2));
    hot.evict(&key(), &old);
    let found = hot.get(&key()).unwrap();
    assert!(Arc::ptr_eq(&found, &new));
}

#[test]
fn two_kinds_of_one_key_are_two_keys() {
    let hot = HotCache::new(0);
    let token = VerdictKey {
        kind: PrincipalKind::OauthAccessToken,
        ..key()
    };
    hot.put(&key(), &of_itself(1), at(1));
    assert!(hot.get(&token).is_none());
    assert!(hot.get(&key()).is_some());
}

#[test]
fn what_the_cache_has_no_room_for_is_not_hot() {
    let policy = CachePolicy::default().capacity_bytes(100);
    let cache = VerdictCache::new(policy, DEADLINE, waiting(), None);
    let verdict = checked(&cache, key(), at(1));
    cache.look_up(&key(), at(1));
    cache.settle();
    assert!(verdict.is_evicted());
    assert!(!is_found(&cache, &verdict));
}
