//! Models of the races about a key that ends while it is asked about.
//!
//! ```text
//! cargo rustc --all-features --lib --profile test -- --cfg wacht_shuttle
//! <the executable it names> interleavings
//! ```
//!
//! Real here: [`Tombstones`], [`VerdictCache`] with its front, [`Verdict`], `end_key` and
//! `forget_key_id`, as they are in the library, over shuttle's atomics and mutexes in place of std's.
//! moka is real, too, and each call of it is one step, as is each use of a slot of the front. An
//! eviction would be two: moka drops a verdict, then says so. It is made up in `pushed_out`. Made
//! up as well: the two threads, the gateway (which says yes to everything,
//! as it may for 60 s after a revocation), and what a request does with what it finds, which is
//! written out in `passes` as `authenticator.rs` does it.
//!
//! `every` goes through all orders of the steps of its threads; `many`, where there are too many of
//! them, through random ones. shuttle runs one step at a time: what weaker memory orders allow is
//! not modelled, and everything that decides admission here is `SeqCst` or behind a lock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

use crate::clock::Now;
use crate::gate::verdict::cache::tests::{TTL, at, front, key, yes};
use crate::gate::verdict::cache::{CachePolicy, Filed, VerdictCache};
use crate::gate::verdict::revocations::{Grave, Tombstones};
use crate::gate::verdict::{Age, Verdict};
use crate::gate::verify::revocation::{end_key, forget_key_id};
use crate::sync::atomic::AtomicUsize;

const KEY_ID: i64 = 7;
const MAX_SCHEDULES: usize = 20_000;
const SAMPLES: usize = 3_000;

struct Gate {
    cache: VerdictCache,
    tombstones: Tombstones,
    // Of the model, not of the gate: no step.
    revoked: AtomicBool,
    taken_back: AtomicBool,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            // Small, so that there is little to make for each schedule.
            cache: VerdictCache::new(CachePolicy::default().capacity_bytes(1 << 15)),
            tombstones: Tombstones::default(),
            revoked: AtomicBool::new(false),
            taken_back: AtomicBool::new(false),
        })
    }

    /// With a yes that the front has.
    fn with_a_yes_in_front() -> Arc<Self> {
        let gate = Self::new();
        gate.flight(at(1));
        gate.hit(at(1));
        assert_eq!(front(&gate.cache).len(), 1);
        gate
    }

    /// With a yes that the front has and moka has just dropped. moka is about to say so.
    fn pushed_out() -> (Arc<Self>, Arc<Verdict>) {
        let gate = Self::new();
        let verdict = yes(at(1));
        front(&gate.cache).put(&key(), &verdict, at(1));
        (gate, verdict)
    }

    /// A verification that the gateway answers with yes, and what the request then does.
    fn flight(&self, sent: Now) {
        let epoch = self.tombstones.epoch();
        let verdict = yes(sent);
        let filed = self
            .cache
            .admit(key(), &verdict, &self.tombstones, epoch, sent);
        if matches!(filed, Filed::Kept | Filed::Overtaken) {
            self.passes(&verdict, sent);
        }
    }

    /// A request that is answered from memory.
    fn hit(&self, now: Now) {
        if self.tombstones.covers_secret(&key(), now) {
            return;
        }
        let verdict = self.cache.look_up(&key(), now);
        let verdict = verdict.filter(|yes| yes.age(&self.cache.policy, now) == Age::Fresh);
        if let Some(verdict) = verdict {
            self.passes(&verdict, now);
        }
    }

    fn passes(&self, verdict: &Verdict, now: Now) {
        let revoked_before = self.revoked.load(Ordering::SeqCst);
        let refused = self.tombstones.covers_identity(&verdict.identity, now);
        assert!(
            refused || !revoked_before,
            "a request passed after the revocation was through"
        );
    }

    fn revoke(&self, now: Now) {
        end_key(&self.tombstones, &self.cache, KEY_ID, now);
        self.revoked.store(true, Ordering::SeqCst);
    }

    /// Takes back what the cache holds, with nothing but the cache to say so.
    fn take_back(&self, end: impl FnOnce(&VerdictCache)) {
        end(&self.cache);
        self.taken_back.store(true, Ordering::SeqCst);
    }

    /// A request that nothing but the cache can stop.
    fn looks(&self, now: Now) {
        let taken_back_before = self.taken_back.load(Ordering::SeqCst);
        let verdict = self.cache.look_up(&key(), now);
        let is_used = verdict.is_some_and(|yes| yes.age(&self.cache.policy, now) == Age::Fresh);
        assert!(
            !is_used || !taken_back_before,
            "a yes was used after it was taken back"
        );
    }

    /// Nothing that was said before the end may be used when the grave is no more.
    fn nothing_is_left(&self) {
        assert!(
            self.cache.look_up(&key(), at(9)).is_none(),
            "a yes outlives the grave"
        );
    }
}

fn runner(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    // Of orderings, of which the head of this file speaks.
    config.silence_warnings = true;
    // moka needs more than the default.
    config.stack_size = 1 << 19;
    Runner::new(scheduler, config).run(model)
}

/// Every order of the steps.
pub(crate) fn every(model: impl Fn() + Send + Sync + 'static) {
    let schedules = runner(DfsScheduler::new(Some(MAX_SCHEDULES), false), model);
    println!("{schedules} schedules");
    assert!(schedules > 1, "the threads share nothing");
    assert!(schedules < MAX_SCHEDULES, "too many to see them all");
}

/// Many orders of the steps: half of them random, half with two preemptions at random places.
pub(crate) fn many(model: impl Fn() + Clone + Send + Sync + 'static) {
    samples(SAMPLES, model);
}

fn samples(count: usize, model: impl Fn() + Clone + Send + Sync + 'static) {
    runner(RandomScheduler::new(count), model.clone());
    runner(PctScheduler::new(3, count), model);
}

fn both(one: impl FnOnce() + Send + 'static, other: impl FnOnce()) {
    let one = thread::spawn(one);
    other();
    one.join().unwrap();
}

#[test]
fn a_yes_that_arrives_while_its_key_is_revoked_is_not_kept() {
    many(|| {
        let gate = Gate::new();
        let revoking = Arc::clone(&gate);
        both(move || revoking.revoke(at(1)), || gate.flight(at(1)));
        gate.nothing_is_left();
    });
}

#[test]
fn a_key_that_is_revoked_while_it_is_used_is_refused_from_then_on() {
    many(|| {
        let gate = Gate::new();
        gate.flight(at(1));
        let revoking = Arc::clone(&gate);
        both(
            move || revoking.revoke(at(1)),
            || {
                gate.hit(at(1));
                gate.hit(at(1));
            },
        );
        gate.nothing_is_left();
    });
}

#[test]
fn a_flight_a_hit_and_a_revocation_at_the_same_time_leave_nothing() {
    many(|| {
        let gate = Gate::new();
        let (revoking, hitting) = (Arc::clone(&gate), Arc::clone(&gate));
        let hits = thread::spawn(move || {
            hitting.hit(at(1));
            hitting.hit(at(1));
        });
        both(move || revoking.revoke(at(1)), || gate.flight(at(1)));
        hits.join().unwrap();
        gate.nothing_is_left();
    });
}

#[test]
fn two_flights_across_a_revocation_leave_nothing() {
    many(|| {
        let gate = Gate::new();
        let (revoking, flying) = (Arc::clone(&gate), Arc::clone(&gate));
        let second = thread::spawn(move || flying.flight(at(1)));
        both(move || revoking.revoke(at(1)), || gate.flight(at(1)));
        second.join().unwrap();
        gate.nothing_is_left();
    });
}

#[test]
fn a_yes_from_before_a_key_was_forgotten_is_not_kept() {
    every(|| {
        let gate = Gate::new();
        let epoch = gate.tombstones.epoch();
        let forgetting = Arc::clone(&gate);
        both(
            move || forget_key_id(&forgetting.tombstones, &forgetting.cache, KEY_ID),
            || {
                let verdict = yes(at(1));
                gate.cache
                    .admit(key(), &verdict, &gate.tombstones, epoch, at(1));
            },
        );
        gate.nothing_is_left();
    });
}

#[test]
fn the_later_of_a_yes_and_a_no_stands_whichever_is_filed_first() {
    for (yes_sent, no_sent, yes_stays) in [(1, 2, false), (2, 1, true), (1, 1, false)] {
        every(move || {
            let gate = Gate::new();
            let refusing = Arc::clone(&gate);
            both(
                move || refusing.cache.refuse(key(), at(no_sent), at(3), TTL),
                || gate.flight(at(yes_sent)),
            );
            let left = gate
                .cache
                .positive(&key())
                .is_some_and(|yes| !yes.is_dead());
            if left {
                assert!(yes_stays, "a yes stands against a no that came later");
            } else {
                // A later yes may be lost to an earlier no, and is then asked for again.
                let no = gate.cache.negative(&key(), at(3));
                assert!(no.is_some() || yes_stays, "neither yes nor no is left");
            }
        });
    }
}

#[test]
fn a_yes_in_front_is_not_used_after_it_was_taken_back() {
    let ends: [fn(&VerdictCache); 3] = [
        |cache| cache.refuse(key(), at(2), at(3), TTL),
        |cache| cache.forget(&key()),
        |cache| cache.forget_if(|_| true),
    ];
    for end in ends {
        for in_front in [false, true] {
            samples(SAMPLES / 6, move || {
                let gate = match in_front {
                    true => Gate::with_a_yes_in_front(),
                    false => Gate::new(),
                };
                if !in_front {
                    gate.flight(at(1));
                }
                let ending = Arc::clone(&gate);
                both(
                    move || ending.take_back(end),
                    || {
                        gate.looks(at(3));
                        gate.looks(at(3));
                    },
                );
                gate.looks(at(3));
                assert_eq!(front(&gate.cache).len(), 0, "the front holds on to it");
            });
        }
    }
}

#[test]
fn a_yes_that_moka_is_dropping_is_not_used_after_it_was_taken_back() {
    let ends: [fn(&VerdictCache); 3] = [
        |cache| cache.refuse(key(), at(2), at(3), TTL),
        |cache| cache.forget(&key()),
        |cache| cache.forget_if(|_| true),
    ];
    for end in ends {
        samples(SAMPLES / 3, move || {
            let (gate, verdict) = Gate::pushed_out();
            let (ending, telling) = (Arc::clone(&gate), Arc::clone(&gate));
            let tells = thread::spawn(move || {
                verdict.leave();
                thread::yield_now();
                front(&telling.cache).let_go(&key(), &verdict);
            });
            both(
                move || ending.take_back(end),
                || {
                    gate.looks(at(3));
                    gate.looks(at(3));
                },
            );
            gate.looks(at(3));
            tells.join().unwrap();
            assert_eq!(front(&gate.cache).len(), 0, "the front holds on to it");
        });
    }
}

#[test]
fn a_yes_is_not_found_any_more_once_a_newer_one_is_filed() {
    many(|| {
        let gate = Gate::new();
        let old = yes(at(1));
        let epoch = gate.tombstones.epoch();
        let file = move |gate: &Gate, verdict: &Arc<Verdict>| {
            let cache = &gate.cache;
            cache.admit(key(), verdict, &gate.tombstones, epoch, at(2));
        };
        let look = |gate: &Gate, old: &Arc<Verdict>| {
            for _ in 0..2 {
                let is_over = gate.taken_back.load(Ordering::SeqCst);
                let found = gate.cache.look_up(&key(), at(2)).unwrap();
                let is_old = Arc::ptr_eq(&found, old);
                assert!(!is_over || !is_old, "the old one was found");
            }
        };
        file(&gate, &old);
        let (filing, looking) = (Arc::clone(&gate), Arc::clone(&gate));
        let known = Arc::clone(&old);
        let looks = thread::spawn(move || look(&looking, &known));
        both(
            move || {
                file(&filing, &yes(at(2)));
                filing.taken_back.store(true, Ordering::SeqCst);
            },
            || look(&gate, &old),
        );
        looks.join().unwrap();
        let found = gate.cache.look_up(&key(), at(2)).unwrap();
        assert!(!Arc::ptr_eq(&found, &old));
        let again = gate.cache.look_up(&key(), at(2)).unwrap();
        assert!(Arc::ptr_eq(&found, &again));
    });
}

#[test]
fn a_burial_that_is_taken_back_takes_no_other_with_it() {
    every(|| {
        let tombstones = Arc::new(Tombstones::default());
        let failing = Arc::clone(&tombstones);
        both(
            move || {
                // Sent, and answered: nothing was revoked.
                let ticket = failing.bury(Grave::KeyId(KEY_ID), at(1));
                failing.lift(&Grave::KeyId(KEY_ID), ticket);
            },
            || {
                tombstones.bury(Grave::KeyId(KEY_ID), at(1));
                assert!(tombstones.covers_identity(&yes(at(1)).identity, at(1)));
            },
        );
        assert!(tombstones.covers_identity(&yes(at(1)).identity, at(1)));
    });
}

#[test]
fn burials_that_are_both_taken_back_leave_no_grave() {
    every(|| {
        let tombstones = Arc::new(Tombstones::default());
        let there_and_back = |tombstones: &Tombstones| {
            let ticket = tombstones.bury(Grave::KeyId(KEY_ID), at(1));
            tombstones.announce();
            tombstones.lift(&Grave::KeyId(KEY_ID), ticket);
        };
        let other = Arc::clone(&tombstones);
        both(
            move || there_and_back(&other),
            || there_and_back(&tombstones),
        );
        assert!(!tombstones.covers_identity(&yes(at(1)).identity, at(1)));
    });
}

#[test]
fn a_grave_that_has_ended_does_not_take_a_new_one_with_it() {
    every(|| {
        let tombstones = Arc::new(Tombstones::default());
        tombstones.bury(Grave::KeyId(KEY_ID), at(1));
        let late = 1_000;
        let looking = Arc::clone(&tombstones);
        both(
            move || {
                // Clears the old grave away.
                looking.covers_identity(&yes(at(late)).identity, at(late));
            },
            || {
                tombstones.bury(Grave::KeyId(KEY_ID), at(late));
            },
        );
        assert!(tombstones.covers_identity(&yes(at(late)).identity, at(late)));
    });
}

#[test]
fn a_stale_verdict_is_refreshed_once() {
    every(|| {
        let verdict = yes(at(1));
        // shuttle's, so that there are steps while the claim is held.
        let claims = Arc::new(AtomicUsize::new(0));
        let claim = |verdict: &Verdict, claims: &AtomicUsize| {
            if verdict.claim_refresh(at(40)) {
                let before = claims.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "two refreshes at the same time");
                claims.fetch_sub(1, Ordering::SeqCst);
                verdict.refresh_over();
            }
        };
        let (other, others) = (Arc::clone(&verdict), Arc::clone(&claims));
        both(move || claim(&other, &others), || claim(&verdict, &claims));
        assert!(verdict.claim_refresh(at(40)), "the claim is given back");
    });
}
