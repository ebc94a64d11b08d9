//! Models of the races about a key that ends while it is used or asked about: see
//! [`model`](crate::sync::model).
//!
//! Real here: [`Revocations`], [`VerdictCache`] with its hot cache and its open checks, [`Verdict`],
//! as they are in the library, over shuttle's atomics and mutexes in place of std's. moka is real,
//! too, and each call of it is one step, as is each use of a slot. An eviction would be two: moka
//! drops a verdict, then says so. It is made up in `pushed_out`. Made up as well: the threads, and
//! the gateway, which says yes to everything, as it may for 60 s after a revocation. Tables begin
//! with two slots, so that they are outgrown, and two fences are as many as there is room for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::thread;

use crate::client::events::Order;
use crate::clock::Now;
use crate::gate::verdict::cache::{Known, VerdictCache};
use crate::gate::verdict::revocations::{EventNumber, Revocations, Sent};
use crate::gate::verdict::tests::{
    APP, DEADLINE, KEY_ID, REASON, TTL, at, checked, key, waiting, yes,
};
use crate::gate::verdict::{Age, CachePolicy, Verdict};
use crate::gate::waiting::Name;
use crate::sync::atomic::AtomicUsize;
use crate::sync::model::{both, every, many, some};

const BY_KEY: Name<'static> = Name::Key {
    app: APP,
    key_id: KEY_ID,
};
const LIFETIME: u64 = 100;

/// A verdict that is used while events come.
struct InUse {
    revocations: Arc<Revocations>,
    verdict: Arc<Verdict>,
    // Of the model, not of the gate: no step.
    is_ended: AtomicBool,
}

impl InUse {
    /// One against which nothing has spoken so far.
    fn new() -> Arc<Self> {
        let lifetime = std::time::Duration::from_secs(LIFETIME);
        let revocations = Arc::new(Revocations::new(lifetime, waiting()));
        let in_use = Arc::new(Self {
            verdict: asked(&revocations, at(1)),
            revocations,
            is_ended: AtomicBool::new(false),
        });
        assert!(in_use.hit(at(1)));
        in_use
    }

    /// A request that is answered from memory. Says whether it passes.
    fn hit(&self, now: Now) -> bool {
        self.is_good_for(EventNumber::LAST, now, &self.verdict)
    }

    /// A request that the gateway is asked for.
    fn miss(&self, now: Now) {
        let is_too_late = self.is_ended.load(Ordering::SeqCst);
        let came = self.revocations.latest();
        let verdict = asked(&self.revocations, now);
        let against = verdict.contradiction(&self.revocations, came, now);
        assert!(
            !is_too_late || against.is_some(),
            "a request passed after the end"
        );
    }

    fn is_good_for(&self, came: EventNumber, now: Now, verdict: &Verdict) -> bool {
        let is_too_late = self.is_ended.load(Ordering::SeqCst);
        let passes = verdict
            .contradiction(&self.revocations, came, now)
            .is_none();
        assert!(!(passes && is_too_late), "a request passed after the end");
        passes
    }

    /// From now on, nobody may pass.
    fn end(&self, end: impl FnOnce(&Revocations)) {
        end(&self.revocations);
        self.is_ended.store(true, Ordering::SeqCst);
    }
}

/// A yes to a check that is sent now.
fn asked(revocations: &Arc<Revocations>, now: Now) -> Arc<Verdict> {
    let sent = Sent {
        at: now,
        after: revocations.latest(),
    };
    yes(revocations, key(), sent)
}

/// Revokes what is named, by a call that is answered at once.
fn revoke(revocations: &Revocations, name: Name<'_>, now: Now) {
    let id = revocations.record(name, now);
    revocations.confirm(name, id, None, now);
}

/// Every way in which a key is revoked.
const REVOCATIONS: [fn(&Revocations); 3] = [
    |revocations| {
        revocations.record(BY_KEY, at(1));
    },
    |revocations| revoke(revocations, BY_KEY, at(1)),
    |revocations| revoke(revocations, Name::Digest(key().digest), at(1)),
];

/// Every way in which a key is invalidated.
const FENCES: [fn(&Revocations); 4] = [
    |revocations| revocations.fence(BY_KEY, at(1)),
    |revocations| revocations.fence_all(),
    // More than there is room for: everything is fenced.
    |revocations| {
        revocations.fence(BY_KEY, at(1));
        revocations.fence(Name::KeyId(100), at(1));
        revocations.fence(Name::KeyId(101), at(1));
    },
    |revocations| {
        revocations.fence(Name::KeyId(100), at(1));
        revocations.fence(Name::KeyId(101), at(1));
        revocations.fence(BY_KEY, at(1));
    },
];

#[test]
fn nobody_passes_with_a_key_once_it_is_revoked() {
    for revoke in REVOCATIONS {
        many(move || {
            let key = InUse::new();
            let (revoking, missing) = (Arc::clone(&key), Arc::clone(&key));
            let miss = thread::spawn(move || missing.miss(at(1)));
            both(
                move || revoking.end(revoke),
                || {
                    key.hit(at(1));
                    key.hit(at(1));
                },
            );
            key.hit(at(1));
            miss.join().unwrap();
            key.miss(at(1));
        });
    }
}

#[test]
fn a_revocation_is_found_while_the_table_grows() {
    many(|| {
        let key = InUse::new();
        let (revoking, crowding) = (Arc::clone(&key), Arc::clone(&key));
        let crowd = thread::spawn(move || {
            for key_id in 100..103 {
                revoke(&crowding.revocations, Name::KeyId(key_id), at(1));
            }
        });
        both(
            move || revoking.end(REVOCATIONS[0]),
            || {
                key.hit(at(1));
                key.hit(at(1));
            },
        );
        key.hit(at(1));
        crowd.join().unwrap();
        key.hit(at(1));
    });
}

#[test]
fn a_revocation_is_found_while_the_generations_turn() {
    many(|| {
        let key = InUse::new();
        key.end(REVOCATIONS[0]);
        let (turning, tidying) = (Arc::clone(&key), Arc::clone(&key));
        let later = at(1 + LIFETIME);
        let turn = thread::spawn(move || revoke(&turning.revocations, Name::KeyId(100), later));
        both(
            move || tidying.revocations.expire(later),
            || {
                key.miss(later);
                key.miss(later);
            },
        );
        turn.join().unwrap();
        key.miss(later);
    });
}

#[test]
fn a_new_revocation_is_found_while_the_old_ones_are_forgotten() {
    many(|| {
        let key = InUse::new();
        revoke(&key.revocations, Name::KeyId(100), at(1));
        let now = at(1 + 2 * LIFETIME);
        let tidying = Arc::clone(&key);
        both(
            move || tidying.revocations.expire(now),
            || {
                key.end(|revocations| revoke(revocations, BY_KEY, now));
                key.miss(now);
            },
        );
        key.miss(now);
    });
}

#[test]
fn a_call_that_has_revoked_nothing_takes_no_other_revocation_with_it() {
    many(|| {
        let key = InUse::new();
        let failing = Arc::clone(&key);
        let mut other = None;
        both(
            move || {
                let id = failing.revocations.record(BY_KEY, at(1));
                failing.revocations.undo(id);
            },
            || {
                other = Some(key.revocations.record(BY_KEY, at(1)));
                key.is_ended.store(true, Ordering::SeqCst);
                key.hit(at(1));
            },
        );
        key.hit(at(1));
        key.is_ended.store(false, Ordering::SeqCst);
        key.revocations.undo(other.unwrap());
        assert!(key.hit(at(1)), "both are taken back");
    });
}

#[test]
fn a_key_is_refused_without_a_gap_from_the_call_to_its_outcome() {
    let (same, next) = (at(1), at(1 + LIFETIME));
    // The outcome comes in the same generation, in one that it begins, and in one that has begun
    // and is full.
    for (now, crowd) in [(same, 0), (next, 0), (next, 1), (next, 2)] {
        many(move || {
            let key = InUse::new();
            let id = key.revocations.record(BY_KEY, at(1));
            for key_id in 0..crowd {
                key.revocations.record(Name::KeyId(100 + key_id), now);
            }
            key.is_ended.store(true, Ordering::SeqCst);
            let settling = Arc::clone(&key);
            both(
                move || settling.revocations.confirm(BY_KEY, id, None, now),
                || {
                    key.miss(now);
                    key.miss(now);
                },
            );
            key.miss(now);
        });
    }
}

#[test]
fn an_app_that_is_closed_again_while_it_is_opened_stays_closed() {
    many(|| {
        let key = InUse::new();
        let close = |key: &InUse, answered| {
            let id = key.revocations.record(Name::App(APP), at(1));
            let answered = Some(Order(answered));
            key.revocations.confirm(Name::App(APP), id, answered, at(1));
        };
        close(&key, 1);
        let opening = Arc::clone(&key);
        both(
            move || opening.revocations.reopen(APP, Order(2)),
            || {
                close(&key, 3);
                key.is_ended.store(true, Ordering::SeqCst);
                key.hit(at(1));
            },
        );
        key.hit(at(1));
    });
}

#[test]
fn nobody_passes_with_a_yes_from_before_its_key_was_invalidated() {
    for fence in FENCES {
        many(move || {
            let key = InUse::new();
            let fencing = Arc::clone(&key);
            both(
                move || fencing.end(fence),
                || {
                    key.hit(at(1));
                    key.hit(at(1));
                },
            );
            key.hit(at(1));
            let verdict = asked(&key.revocations, at(1));
            key.is_ended.store(false, Ordering::SeqCst);
            assert!(key.is_good_for(EventNumber::LAST, at(1), &verdict));
        });
    }
}

/// Two fences, and so no room for a third.
fn fill(revocations: &Revocations) {
    revocations.fence(BY_KEY, at(1));
    revocations.fence(Name::KeyId(100), at(1));
}

#[test]
fn an_invalidation_is_found_while_another_takes_its_room() {
    many(|| {
        let key = InUse::new();
        key.end(fill);
        let crowding = Arc::clone(&key);
        both(
            move || crowding.revocations.fence(Name::KeyId(101), at(1)),
            || {
                key.hit(at(1));
            },
        );
        key.hit(at(1));
    });
}

#[test]
fn a_revocation_outlives_the_fences_that_go_to_make_room() {
    many(|| {
        let key = InUse::new();
        fill(&key.revocations);
        key.end(REVOCATIONS[0]);
        let crowding = Arc::clone(&key);
        both(
            move || crowding.revocations.fence(Name::KeyId(101), at(1)),
            || key.miss(at(1)),
        );
        key.miss(at(1));
    });
}

#[test]
fn who_comes_after_an_invalidation_is_not_answered_by_a_check_that_was_sent_before() {
    for fence in FENCES {
        many(move || {
            let key = InUse::new();
            let check = asked(&key.revocations, at(1));
            let fencing = Arc::clone(&key);
            both(
                move || fencing.end(fence),
                || {
                    // Joins the check.
                    let is_too_late = key.is_ended.load(Ordering::SeqCst);
                    let came = key.revocations.latest();
                    let against = check.contradiction(&key.revocations, came, at(1));
                    assert!(!is_too_late || against.is_some(), "answered from before");
                    // Later ones find it in memory.
                    key.is_good_for(EventNumber::LAST, at(1), &check);
                },
            );
            key.is_good_for(EventNumber::LAST, at(1), &check);
        });
    }
}

/// What is known of the key, and how that ends.
struct Gate {
    cache: VerdictCache,
    // Of the model, not of the gate: no step.
    is_ended: AtomicBool,
}

impl Gate {
    fn new() -> Arc<Self> {
        // Small, so that there is little to make for each schedule.
        let policy = CachePolicy::default().capacity_bytes(1 << 15);
        Arc::new(Self {
            cache: VerdictCache::new(policy, DEADLINE, waiting(), None),
            is_ended: AtomicBool::new(false),
        })
    }

    /// With a yes that was used before, so that it is hot and nothing speaks against it.
    fn with_a_yes() -> (Arc<Self>, Arc<Verdict>) {
        let gate = Self::new();
        let verdict = checked(&gate.cache, key(), at(1));
        assert!(gate.hit(at(1)));
        (gate, verdict)
    }

    /// With a yes that is hot and that moka has just dropped. moka is about to say so.
    fn pushed_out() -> (Arc<Self>, Arc<Verdict>) {
        let gate = Self::new();
        let verdict = asked(&gate.cache.revocations, at(1));
        gate.cache.hot().put(&key(), &verdict, 1, at(1));
        (gate, verdict)
    }

    /// A request that is answered from memory, or not at all. Says whether it passes.
    fn hit(&self, now: Now) -> bool {
        let is_too_late = self.is_ended.load(Ordering::SeqCst);
        let passes = match self.cache.look_up(&key(), now) {
            Known::Good(yes) => yes.age(&self.cache.policy, false, now) == Age::Fresh,
            Known::Refused | Known::Nothing => false,
        };
        assert!(!(passes && is_too_late), "a request passed after the end");
        passes
    }

    /// From now on, nobody may pass.
    fn end(&self, end: impl FnOnce(&VerdictCache)) {
        end(&self.cache);
        self.is_ended.store(true, Ordering::SeqCst);
    }

    fn refuse(&self) {
        self.end(|cache| cache.refuse(&cache.open_check(key(), at(2)), REASON, at(3), TTL));
    }
}

/// Of models with a moka, which takes its time to make.
const FEWER: usize = 500;

#[test]
fn a_yes_that_arrives_while_its_key_is_revoked_is_kept_and_refused() {
    some(FEWER, || {
        let gate = Gate::new();
        let revoking = Arc::clone(&gate);
        let mut verdict = None;
        both(
            move || revoking.end(|cache| revoke(&cache.revocations, BY_KEY, at(1))),
            || {
                verdict = Some(checked(&gate.cache, key(), at(1)));
                gate.hit(at(1));
            },
        );
        gate.hit(at(1));
        let kept = gate.cache.positive(&key()).unwrap();
        assert!(Arc::ptr_eq(&kept, &verdict.unwrap()));
    });
}

#[test]
fn a_check_that_an_invalidation_crosses_leaves_nothing_to_use_and_takes_no_place() {
    for fence in FENCES {
        some(FEWER / 2, move || {
            let gate = Gate::new();
            let fencing = Arc::clone(&gate);
            let check = gate.cache.open_check(key(), at(1));
            let verdict = yes(&gate.cache.revocations, key(), check.sent());
            both(
                move || fencing.end(|cache| fence(&cache.revocations)),
                || {
                    gate.cache.insert(&check, Arc::clone(&verdict), at(1));
                    gate.hit(at(1));
                },
            );
            gate.hit(at(1));
            // A check that is sent now is good, and stays whatever comes from before.
            gate.is_ended.store(false, Ordering::SeqCst);
            checked(&gate.cache, key(), at(1));
            assert!(gate.hit(at(1)));
            gate.cache.insert(&check, Arc::clone(&verdict), at(1));
            assert!(gate.hit(at(1)));
        });
    }
}

#[test]
fn the_later_of_a_yes_and_a_no_stands_whichever_is_filed_first() {
    for (yes_sent, no_sent) in [(1, 2), (2, 1), (1, 1)] {
        for negative_ttl in [TTL, std::time::Duration::ZERO] {
            let yes_stands = yes_sent > no_sent;
            some(FEWER / 4, move || {
                let policy = CachePolicy::default()
                    .capacity_bytes(1 << 15)
                    .negative_ttl(negative_ttl);
                let gate = Arc::new(Gate {
                    cache: VerdictCache::new(policy, DEADLINE, waiting(), None),
                    is_ended: AtomicBool::new(false),
                });
                let yes_check = gate.cache.open_check(key(), at(yes_sent));
                let verdict = yes(&gate.cache.revocations, key(), yes_check.sent());
                let refusing = Arc::clone(&gate);
                let no_is_out = Arc::new(crate::sync::atomic::AtomicBool::new(false));
                let is_out = Arc::clone(&no_is_out);
                both(
                    move || {
                        let check = refusing.cache.open_check(key(), at(no_sent));
                        is_out.store(true, Ordering::SeqCst);
                        refusing.cache.refuse(&check, REASON, at(3), TTL);
                        drop(check);
                        refusing.is_ended.store(!yes_stands, Ordering::SeqCst);
                    },
                    || {
                        // Both are out at the same time, or it is no race.
                        while !no_is_out.load(Ordering::SeqCst) {
                            thread::yield_now();
                        }
                        gate.cache.insert(&yes_check, Arc::clone(&verdict), at(3));
                        drop(yes_check);
                        gate.hit(at(3));
                    },
                );
                assert_eq!(gate.hit(at(3)), yes_stands);
                let no = gate.cache.negative(&key(), at(3));
                assert_eq!(no.is_some(), !yes_stands && !negative_ttl.is_zero());
                let revocations = &gate.cache.revocations;
                let against = verdict.contradiction(revocations, EventNumber::LAST, at(3));
                assert_eq!(against.is_none(), yes_stands);
            });
        }
    }
}

#[test]
fn a_yes_that_is_hot_is_not_used_after_a_no() {
    some(FEWER, || {
        let (gate, _) = Gate::with_a_yes();
        let refusing = Arc::clone(&gate);
        both(
            move || refusing.refuse(),
            || {
                gate.hit(at(3));
                gate.hit(at(3));
            },
        );
        gate.hit(at(3));
        assert_eq!(gate.cache.hot().len(), 0, "the hot cache holds on to it");
    });
}

#[test]
fn a_yes_that_moka_is_dropping_is_not_used_after_a_no() {
    some(FEWER, || {
        let (gate, verdict) = Gate::pushed_out();
        let (refusing, telling) = (Arc::clone(&gate), Arc::clone(&gate));
        let tells = thread::spawn(move || {
            verdict.mark_evicted();
            thread::yield_now();
            telling.cache.hot().evict(&key(), &verdict);
        });
        both(
            move || refusing.refuse(),
            || {
                gate.hit(at(3));
                gate.hit(at(3));
            },
        );
        gate.hit(at(3));
        tells.join().unwrap();
        assert_eq!(gate.cache.hot().len(), 0, "the hot cache holds on to it");
    });
}

#[test]
fn a_yes_is_not_found_any_more_once_a_newer_one_is_filed() {
    some(FEWER, || {
        let (gate, old) = Gate::with_a_yes();
        let look = |gate: &Gate, old: &Arc<Verdict>| {
            for _ in 0..2 {
                let is_over = gate.is_ended.load(Ordering::SeqCst);
                let Known::Good(found) = gate.cache.look_up(&key(), at(2)) else {
                    panic!("there is always one");
                };
                let is_old = Arc::ptr_eq(&found, old);
                assert!(!is_over || !is_old, "the old one was found");
            }
        };
        let (filing, looking) = (Arc::clone(&gate), Arc::clone(&gate));
        let known = Arc::clone(&old);
        let looks = thread::spawn(move || look(&looking, &known));
        both(
            move || {
                filing.end(|cache| {
                    checked(cache, key(), at(2));
                });
            },
            || look(&gate, &old),
        );
        looks.join().unwrap();
        look(&gate, &old);
    });
}

#[test]
fn a_stale_verdict_is_refreshed_once() {
    every(|| {
        let verdict = asked(
            &Arc::new(Revocations::new(std::time::Duration::MAX, waiting())),
            at(1),
        );
        // shuttle's, so that there are steps while the claim is held.
        let claims = Arc::new(AtomicUsize::new(0));
        let claim = |verdict: &Verdict, claims: &AtomicUsize| {
            if let Some(claim) = verdict.claim_refresh(at(40), TTL) {
                let before = claims.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "two refreshes at the same time");
                claims.fetch_sub(1, Ordering::SeqCst);
                verdict.refresh_over(claim);
            }
        };
        let (other, others) = (Arc::clone(&verdict), Arc::clone(&claims));
        both(move || claim(&other, &others), || claim(&verdict, &claims));
        assert!(
            verdict.claim_refresh(at(40), TTL).is_some(),
            "the claim is given back"
        );
    });
}

#[test]
fn a_claim_that_has_lapsed_is_taken_by_one_whenever_its_holder_comes_back() {
    every(|| {
        let verdict = asked(
            &Arc::new(Revocations::new(std::time::Duration::MAX, waiting())),
            at(1),
        );
        let lapsed = verdict.claim_refresh(at(40), TTL).unwrap();
        let (late, other) = (Arc::clone(&verdict), Arc::clone(&verdict));
        let comes_back = thread::spawn(move || late.refresh_over(lapsed));
        let claims = thread::spawn(move || other.claim_refresh(at(60), TTL));
        let own = verdict.claim_refresh(at(60), TTL);
        let others = claims.join().unwrap();
        comes_back.join().unwrap();
        assert!(own.is_none() || others.is_none(), "two refreshes at once");
        if own.is_none() && others.is_none() {
            // Both met the late one: the next request has it.
            assert!(verdict.claim_refresh(at(60), TTL).is_some());
        }
    });
}
