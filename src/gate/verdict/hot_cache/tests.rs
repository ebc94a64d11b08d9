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
    hot.put(&key(), &verdict, 1, at(1));
    assert!(hot.with(&key(), |_| ()).is_some());
    verdict.mark_evicted();
    assert!(hot.with(&key(), |_| ()).is_none());
}

#[test]
fn a_verdict_that_moka_has_pushed_out_and_not_said_so_yet_is_withdrawn_with_a_no() {
    let cache = cache();
    let check = cache.open_check(key(), at(1));
    let verdict = yes(&cache.revocations, key(), check.sent());
    drop(check);
    cache.hot().put(&key(), &verdict, 1, at(1));
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
    hot.put(&key(), &verdict, 1, at(1));
    assert_eq!(hot.len(), 0);
}

#[test]
fn a_newer_verdict_stays_when_the_one_before_is_evicted() {
    let hot = HotCache::new(0);
    let (old, new) = (of_itself(1), of_itself(2));
    hot.put(&key(), &new, 1, at(2));
    hot.evict(&key(), &old);
    let found = hot.with(&key(), Arc::clone).unwrap();
    assert!(Arc::ptr_eq(&found, &new));
}

#[test]
fn two_kinds_of_one_key_are_two_keys() {
    let hot = HotCache::new(0);
    let token = VerdictKey {
        kind: PrincipalKind::OauthAccessToken,
        ..key()
    };
    hot.put(&key(), &of_itself(1), 1, at(1));
    assert!(hot.with(&token, |_| ()).is_none());
    assert!(hot.with(&key(), |_| ()).is_some());
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

/// A yes about each of so many keys that moka has never seen.
fn many(number: usize) -> Vec<(VerdictKey, Arc<Verdict>)> {
    let revocations = Arc::new(Revocations::new(DEADLINE, waiting()));
    let sent = Sent {
        at: at(1),
        after: revocations.latest(),
    };
    let key = |number| key_of(&format!("key {number}"));
    let keys = (0..number).map(key);
    keys.map(|key| (key, yes(&revocations, key, sent)))
        .collect()
}

fn put_all(hot: &HotCache, verdicts: &[(VerdictKey, Arc<Verdict>)], held: u64) {
    for (key, verdict) in verdicts {
        hot.put(key, verdict, held, at(1));
    }
}

fn found(hot: &HotCache, verdicts: &[(VerdictKey, Arc<Verdict>)]) -> usize {
    let is_found = |(key, verdict): &&(VerdictKey, Arc<Verdict>)| {
        hot.with(key, |found| Arc::ptr_eq(found, verdict)) == Some(true)
    };
    verdicts.iter().filter(is_found).count()
}

#[test]
fn it_grows_with_what_is_known_and_has_room_for_nearly_all_of_it() {
    let hot = HotCache::new(64 << 20);
    let verdicts = many(3_000);
    let mut held = 0;
    for (key, verdict) in &verdicts {
        held += 1;
        hot.put(key, verdict, held, at(1));
        assert!(hot.used.load(Ordering::Relaxed) as u64 <= held.div_ceil(VERDICTS_PER_PAGE) * 2);
    }
    // What was put there before it grew is on the wrong page, and looked for in moka.
    for (key, verdict) in &verdicts {
        if hot.with(key, |_| ()).is_none() {
            hot.put(key, verdict, held, at(1));
        }
    }
    let found = found(&hot, &verdicts);
    assert!(found > 2_850, "{found}");
}

#[test]
fn what_is_evicted_after_it_has_grown_is_let_go_of_wherever_it_was_put() {
    let hot = HotCache::new(64 << 20);
    let verdicts = many(50);
    // It doubles with each of the first that come: those have moved by the next round.
    for held in [1, 1_000, 1_000, 10_000, 10_000] {
        put_all(&hot, &verdicts, held);
    }
    assert_eq!(found(&hot, &verdicts), verdicts.len());
    for (key, verdict) in &verdicts {
        verdict.mark_evicted();
        hot.evict(key, verdict);
    }
    assert_eq!(hot.len(), 0);
    assert!(
        verdicts
            .iter()
            .all(|(_, verdict)| Arc::strong_count(verdict) == 1)
    );
}

#[test]
fn what_has_moved_to_another_page_leaves_its_place_to_others() {
    let hot = HotCache::new(64 << 20);
    let few = many(VERDICTS_PER_PAGE as usize);
    put_all(&hot, &few, 1);
    let many = many(2_000);
    put_all(&hot, &many, 2_000);
    let found = found(&hot, &many);
    assert!(found > 1_900, "{found}");
}

#[test]
fn a_no_takes_back_what_is_still_on_the_page_of_before() {
    let hot = HotCache::new(64 << 20);
    let verdicts = many(20);
    put_all(&hot, &verdicts, 1);
    hot.used.store(64, Ordering::Relaxed);
    for (key, verdict) in &verdicts {
        hot.withdraw(key);
        assert!(verdict.is_withdrawn());
    }
}

#[test]
fn keys_that_share_a_bucket_and_a_tag_are_told_apart() {
    let hot = HotCache::new(0);
    let mut verdicts = many(2_000);
    let place = |key: &VerdictKey| (bucket_of(key), key.digest.tag());
    verdicts.sort_by_key(|(key, _)| place(key));
    let mut alike = verdicts.chunk_by(|(one, _), (other, _)| place(one) == place(other));
    let verdicts = alike.find(|verdicts| verdicts.len() > 1).unwrap();
    for (number, (key, verdict)) in verdicts.iter().enumerate() {
        assert!(hot.with(key, |_| ()).is_none());
        hot.put(key, verdict, 1, at(1));
        assert_eq!(found(&hot, verdicts), number + 1);
    }
}
