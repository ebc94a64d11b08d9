//! Verdicts to test with, and what the cache does with them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Now};
use crate::gate::directory::App;
use crate::gate::permission::Permissions;
use crate::gate::refusal::InvalidKeyReason;
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::cache::{Known, NegativeKind, VerdictCache};
use crate::gate::verdict::revocations::{Revocations, Sent};
use crate::gate::verdict::{Age, CachePolicy, End, Verdict, VerdictKey};
use crate::gate::verdict::{Identity, PrincipalKind};
use crate::gate::waiting::{Name, Waiting};

pub(super) const DEADLINE: Duration = Duration::from_secs(2);
pub(super) const TTL: Duration = Duration::from_secs(10);
pub(super) const REASON: InvalidKeyReason = InvalidKeyReason::Unknown;
pub(super) const KEY_ID: i64 = 7;
pub(super) const APP: &str = "orders";

pub(super) fn at(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        unix: Duration::from_secs(seconds),
    }
}

pub(super) fn key() -> VerdictKey {
    key_of("a key")
}

pub(super) fn key_of(secret: &str) -> VerdictKey {
    VerdictKey {
        digest: KeyDigest::of(secret),
        kind: PrincipalKind::ApiKey,
    }
}

/// Nobody waits.
pub(super) fn waiting() -> Arc<Waiting> {
    Arc::new(Waiting::new(Clock::system()))
}

pub(super) fn cache() -> VerdictCache {
    VerdictCache::new(CachePolicy::default(), DEADLINE, waiting(), None)
}

/// A yes to a check that was sent then.
pub(super) fn yes(revocations: &Arc<Revocations>, key: VerdictKey, sent: Sent) -> Arc<Verdict> {
    let app = Arc::new(App::new(1, APP.into()));
    let identity = Identity {
        kind: key.kind,
        key_id: KEY_ID,
        key_name: Box::default(),
        app_slug: Arc::clone(app.slug()),
        deployment_id: 1,
        owner_user_id: None.into(),
        organization_id: None.into(),
        workspace_id: None.into(),
        organization_membership_id: None.into(),
        workspace_membership_id: None.into(),
        permissions: Permissions::default(),
        metadata: serde_json::Value::Null,
    };
    let verdict = Verdict::new(key.digest, identity, app, End::Unknown, sent, revocations);
    Arc::new(verdict)
}

/// A check that is sent at once and answered at once.
pub(super) fn checked(cache: &VerdictCache, key: VerdictKey, now: Now) -> Arc<Verdict> {
    let check = cache.open_check(key, now);
    let verdict = yes(&cache.revocations, key, check.sent());
    cache.insert(&check, Arc::clone(&verdict), now);
    verdict
}

pub(super) fn is_good(cache: &VerdictCache, now: Now) -> bool {
    matches!(cache.look_up(&key(), now), Known::Good(_))
}

#[test]
fn of_a_yes_and_a_no_the_one_that_was_asked_for_later_stands_whichever_comes_first() {
    for negative_ttl in [Duration::ZERO, TTL] {
        let policy = CachePolicy::default().negative_ttl(negative_ttl);
        for (yes_sent, no_sent, yes_stands) in [(1, 2, false), (2, 1, true), (1, 1, false)] {
            for yes_first in [true, false] {
                let cache = VerdictCache::new(policy.clone(), DEADLINE, waiting(), None);
                let yes_check = cache.open_check(key(), at(yes_sent));
                let no_check = cache.open_check(key(), at(no_sent));
                let verdict = yes(&cache.revocations, key(), yes_check.sent());
                let insert = || cache.insert(&yes_check, Arc::clone(&verdict), at(3));
                let refuse = || cache.refuse(&no_check, REASON, at(3), TTL);
                if yes_first {
                    insert();
                    refuse();
                } else {
                    refuse();
                    insert();
                }
                assert_eq!(is_good(&cache, at(3)), yes_stands);
                assert_eq!(verdict.is_withdrawn(), !yes_stands);
                let no = cache.negative(&key(), at(3));
                let is_remembered = !yes_stands && !negative_ttl.is_zero();
                let no_left = is_remembered.then_some((NegativeKind::Invalid(REASON), TTL));
                assert_eq!(no, no_left);
            }
        }
    }
}

#[test]
fn a_no_is_the_last_word_for_no_longer_than_an_older_check_is_out() {
    let cache = VerdictCache::new(
        CachePolicy::default().negative_ttl(Duration::ZERO),
        DEADLINE,
        waiting(),
        None,
    );
    let check = cache.open_check(key(), at(1));
    cache.refuse(&check, REASON, at(1), TTL);
    drop(check);
    // Sent at the same instant, by a clock that stands still.
    checked(&cache, key(), at(1));
    assert!(is_good(&cache, at(1)));
}

#[test]
fn of_two_yeses_the_one_that_was_asked_for_later_stays() {
    let cache = cache();
    let older = cache.open_check(key(), at(1));
    let younger = checked(&cache, key(), at(2));
    let verdict = yes(&cache.revocations, key(), older.sent());
    cache.insert(&older, Arc::clone(&verdict), at(3));
    let found = cache.positive(&key()).unwrap();
    assert!(Arc::ptr_eq(&found, &younger));
}

#[test]
fn a_yes_from_before_an_invalidation_is_not_kept_and_takes_no_place() {
    let cache = cache();
    let before = cache.open_check(key(), at(1));
    cache.revocations.fence(Name::App(APP), at(1));
    let verdict = yes(&cache.revocations, key(), before.sent());
    cache.insert(&before, Arc::clone(&verdict), at(1));
    assert!(cache.positive(&key()).is_none());
    let younger = checked(&cache, key(), at(1));
    cache.insert(&before, Arc::clone(&verdict), at(1));
    let found = cache.positive(&key()).unwrap();
    assert!(Arc::ptr_eq(&found, &younger));
    assert!(is_good(&cache, at(1)));
}

#[test]
fn a_key_that_is_revoked_is_refused_from_memory_and_good_again_when_that_is_taken_back() {
    let cache = cache();
    for known_before in [true, false] {
        let revocations = &cache.revocations;
        if known_before {
            checked(&cache, key(), at(1));
        }
        let id = revocations.record(Name::KeyId(KEY_ID), at(2));
        if !known_before {
            checked(&cache, key(), at(2));
        }
        assert!(matches!(cache.look_up(&key(), at(2)), Known::Refused));
        revocations.undo(id);
        assert!(is_good(&cache, at(2)));
    }
}

#[test]
fn a_no_is_forgotten_with_its_key_and_with_everything_but_not_with_another_key() {
    let other = key_of("another key");
    let refused = |key| {
        let cache = cache();
        let check = cache.open_check(key, at(1));
        cache.refuse(&check, REASON, at(1), TTL);
        drop(check);
        cache
    };
    let cache = refused(key());
    cache.revocations.fence(Name::Digest(other.digest), at(1));
    assert!(cache.negative(&key(), at(1)).is_some());
    cache.revocations.fence(Name::Digest(key().digest), at(1));
    assert!(cache.negative(&key(), at(1)).is_none());
    let cache = refused(key());
    cache.revocations.fence_all();
    assert!(cache.negative(&key(), at(1)).is_none());
}

#[test]
fn an_answer_that_means_nothing_does_not_take_the_place_of_a_no() {
    let cache = cache();
    cache.refuse(&cache.open_check(key(), at(1)), REASON, at(1), TTL);
    cache.indeterminate(&cache.open_check(key(), at(2)), at(2), at(3).monotonic);
    let left = Duration::from_secs(9);
    assert_eq!(
        cache.negative(&key(), at(2)),
        Some((NegativeKind::Invalid(REASON), left))
    );
    cache.indeterminate(&cache.open_check(key(), at(11)), at(11), at(12).monotonic);
    assert_eq!(
        cache.negative(&key(), at(11)),
        Some((NegativeKind::Indeterminate, TTL))
    );
}

#[test]
fn an_answer_that_means_nothing_says_nothing_of_a_younger_yes() {
    let in_outage = |cache: &VerdictCache| match cache.look_up(&key(), at(200)) {
        Known::Good(verdict) => verdict.age(&cache.policy, true, at(200)),
        _ => Age::Over,
    };
    for is_overtaken in [true, false] {
        let cache = cache();
        let (nothing, good) = match is_overtaken {
            true => (
                cache.open_check(key(), at(1)),
                cache.open_check(key(), at(2)),
            ),
            false => {
                let good = cache.open_check(key(), at(1));
                (cache.open_check(key(), at(2)), good)
            }
        };
        let verdict = yes(&cache.revocations, key(), good.sent());
        cache.insert(&good, Arc::clone(&verdict), at(3));
        cache.indeterminate(&nothing, at(4), at(5).monotonic);
        assert_eq!(cache.negative(&key(), at(4)).is_none(), is_overtaken);
        // Nothing takes it the grace that a yes has in an outage.
        assert_eq!(in_outage(&cache) != Age::Over, is_overtaken);
    }
}

#[test]
fn a_revocation_is_remembered_for_as_long_as_a_yes_that_it_contradicts_may_be_about() {
    let seconds = |seconds| Duration::from_secs(seconds);
    let policy = CachePolicy::default();
    // 60 s of the gateway, 5 deadlines, 30 s fresh, 300 s of grace, and a minute.
    assert_eq!(policy.revocation_lifetime(seconds(2)), seconds(460));
    let policy = policy.stale_if_error(Duration::ZERO);
    assert_eq!(policy.revocation_lifetime(seconds(2)), seconds(190));
    let disabled = CachePolicy::disabled();
    assert_eq!(disabled.revocation_lifetime(seconds(20)), seconds(220));
    let endless = CachePolicy::default().fresh_for(Duration::MAX);
    assert_eq!(endless.revocation_lifetime(seconds(2)), Duration::MAX);
}

#[test]
fn when_something_may_have_been_missed_every_verdict_is_due_within_the_time_for_refreshes() {
    let policy = CachePolicy::default().fresh_for(Duration::from_secs(300));
    let cache = VerdictCache::new(policy.clone(), DEADLINE, waiting(), None);
    let keys: Vec<_> = (0..100)
        .map(|number| key_of(&format!("key {number}")))
        .collect();
    let verdicts: Vec<_> = keys
        .iter()
        .map(|key| checked(&cache, *key, at(1)))
        .collect();
    let sent_before = cache.open_check(key(), at(1));
    cache.verify_all_again(at(2));
    let due = |now| {
        let ages = verdicts
            .iter()
            .map(|verdict| verdict.age(&policy, false, now));
        ages.inspect(|age| assert!(age.is_usable()))
            .filter(|age| *age == Age::Stale)
            .count()
    };
    // Spread over 30 s.
    let [first, middle, last] = [3, 17, 32].map(|second| due(at(second)));
    assert!(
        first < 20 && (20..80).contains(&middle) && last == 100,
        "{first} {middle} {last}"
    );

    // What had been asked before that came to be known is due when it comes.
    let verdict = yes(&cache.revocations, key(), sent_before.sent());
    cache.insert(&sent_before, Arc::clone(&verdict), at(3));
    assert_eq!(verdict.age(&policy, false, at(3)), Age::Stale);
    // What is asked from then on is not.
    let verdict = checked(&cache, key_of("another"), at(3));
    assert_eq!(verdict.age(&policy, false, at(200)), Age::Fresh);
}

#[test]
fn what_a_hit_looks_at_stands_in_128_bytes_with_the_counts_of_the_arc() {
    assert!(Verdict::END_OF_FRONT + 2 * size_of::<usize>() <= 128);
}
