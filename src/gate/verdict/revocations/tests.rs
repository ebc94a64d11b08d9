use super::*;
use crate::gate::verdict::identity::PrincipalKind;
use crate::gate::verdict::tests::{APP, KEY_ID, at, key, key_of, waiting, yes};
use crate::gate::verdict::{Verdict, VerdictKey};

const LIFETIME: Duration = Duration::from_secs(100);
const BY_KEY: Name<'static> = Name::Key {
    app: APP,
    key_id: KEY_ID,
};
const SOMEBODY_ELSE: Name<'static> = Name::KeyId(8);

fn revocations() -> Arc<Revocations> {
    Arc::new(Revocations::new(LIFETIME, waiting()))
}

/// Revokes what is named, by a call that is answered at once.
fn revoke(revocations: &Revocations, name: Name<'_>, now: Now) {
    let id = revocations.record(name, now);
    revocations.confirm(name, id, None, now);
}

/// Closes the app, by a call that is answered as this news.
fn close(revocations: &Revocations, answered: u64, now: Now) {
    let id = revocations.record(Name::App(APP), now);
    revocations.confirm(Name::App(APP), id, Some(Order(answered)), now);
}

fn sent(revocations: &Revocations, seconds: u64) -> Sent {
    Sent {
        at: at(seconds),
        after: revocations.latest(),
    }
}

/// A yes whose check is sent now.
fn verdict(revocations: &Arc<Revocations>, seconds: u64) -> Arc<Verdict> {
    yes(revocations, key(), sent(revocations, seconds))
}

/// What speaks against it when it is found in memory.
fn against(revocations: &Revocations, verdict: &Verdict, seconds: u64) -> Option<Contradiction> {
    verdict.contradiction(revocations, EventNumber::LAST, at(seconds))
}

const REVOKED: Option<Contradiction> = Some(Contradiction::Revoked);
const FORGOTTEN: Option<Contradiction> = Some(Contradiction::Forgotten);

#[test]
fn a_name_is_about_those_it_names_and_about_nobody_else() {
    let token = VerdictKey {
        kind: PrincipalKind::OauthAccessToken,
        ..key()
    };
    let digest = key().digest;
    let other = key_of("another key").digest;
    let cases = [
        (Name::Digest(digest), [true, true]),
        (Name::Digest(other), [false, false]),
        (BY_KEY, [true, false]),
        (Name::KeyId(KEY_ID), [true, false]),
        (SOMEBODY_ELSE, [false, false]),
        (
            Name::Key {
                app: APP,
                key_id: 8,
            },
            [false, false],
        ),
        (
            Name::Key {
                app: "billing",
                key_id: KEY_ID,
            },
            [false, false],
        ),
        (Name::App(APP), [true, true]),
        (Name::App("order"), [false, false]),
    ];
    for (name, named) in cases {
        let (revoked, fenced) = (revocations(), revocations());
        let verdicts = |revocations: &Arc<Revocations>| {
            [key(), token].map(|key| yes(revocations, key, sent(revocations, 1)))
        };
        let (of_revoked, of_fenced) = (verdicts(&revoked), verdicts(&fenced));
        revoke(&revoked, name, at(1));
        fenced.fence(name, at(1));
        for (verdict, is_named) in of_revoked.iter().zip(named) {
            let expected = is_named.then_some(Contradiction::Revoked);
            assert_eq!(against(&revoked, verdict, 1), expected, "{name:?}");
        }
        for (verdict, is_named) in of_fenced.iter().zip(named) {
            let expected = is_named.then_some(Contradiction::Forgotten);
            assert_eq!(against(&fenced, verdict, 1), expected, "{name:?}");
        }
        let is_digest = name == Name::Digest(digest);
        assert_eq!(revoked.is_revoked(&digest, at(1)), is_digest);
        assert_eq!(fenced.is_fenced(&digest, EventNumber(0), at(1)), is_digest);
    }
}

#[test]
fn a_revocation_lasts_for_a_lifetime_at_least_and_leaves_nothing_after_two() {
    for (recorded, gone) in [(0, 200), (99, 200), (100, 300)] {
        let revocations = revocations();
        // Begins the generation.
        revoke(&revocations, SOMEBODY_ELSE, at(0));
        revoke(&revocations, BY_KEY, at(recorded));
        revoke(&revocations, Name::Digest(key().digest), at(recorded));
        for seconds in [recorded, recorded + 100, gone - 1] {
            let young = verdict(&revocations, seconds);
            assert_eq!(against(&revocations, &young, seconds), REVOKED);
            assert!(revocations.is_revoked(&key().digest, at(seconds)));
            revocations.expire(at(seconds));
        }
        let young = verdict(&revocations, gone);
        assert_eq!(against(&revocations, &young, gone), None);
        assert!(!revocations.is_revoked(&key().digest, at(gone)));
        assert!(revocations.bytes() > 0, "nobody has tidied up");
        revocations.expire(at(gone));
        assert_eq!(revocations.bytes(), 0);
    }
}

#[test]
fn a_revocation_that_comes_late_begins_a_generation_of_its_own() {
    let revocations = revocations();
    revoke(&revocations, SOMEBODY_ELSE, at(0));
    revoke(&revocations, BY_KEY, at(1_000));
    let verdict = verdict(&revocations, 1_099);
    assert_eq!(against(&revocations, &verdict, 1_099), REVOKED);
}

#[test]
fn an_endless_policy_makes_endless_revocations() {
    let revocations = Arc::new(Revocations::new(Duration::MAX, waiting()));
    for seconds in 0..5 {
        revoke(
            &revocations,
            Name::KeyId(100 + seconds),
            at(seconds.unsigned_abs()),
        );
    }
    revoke(&revocations, BY_KEY, at(5));
    for number in 100..105 {
        revoke(&revocations, Name::KeyId(number), at(6));
    }
    let verdict = verdict(&revocations, 1 << 40);
    assert_eq!(against(&revocations, &verdict, 1 << 40), REVOKED);
}

#[test]
fn of_several_calls_each_takes_back_its_own() {
    let revocations = revocations();
    let verdict = verdict(&revocations, 1);
    let (one, other) = (
        revocations.record(BY_KEY, at(1)),
        revocations.record(BY_KEY, at(1)),
    );
    revocations.keep(BY_KEY, other, at(1));
    revocations.undo(one);
    assert_eq!(against(&revocations, &verdict, 1), REVOKED);
    // No more than once, and nothing that was never begun.
    revocations.undo(one);
    revocations.undo(RevocationId::default());
    assert_eq!(against(&revocations, &verdict, 1), REVOKED);
    revocations.undo(other);
    assert_eq!(against(&revocations, &verdict, 1), None);
    revocations.record(BY_KEY, at(2));
    assert_eq!(against(&revocations, &verdict, 2), REVOKED);
}

#[test]
fn what_was_answered_is_taken_back_by_nobody() {
    let revocations = revocations();
    let verdict = verdict(&revocations, 1);
    let (one, other) = (
        revocations.record(BY_KEY, at(1)),
        revocations.record(BY_KEY, at(1)),
    );
    revocations.confirm(BY_KEY, one, None, at(2));
    revocations.undo(one);
    revocations.undo(other);
    assert_eq!(against(&revocations, &verdict, 2), REVOKED);
}

#[test]
fn a_call_is_taken_back_in_whichever_generation_it_began() {
    let revocations = revocations();
    let (one, other) = (
        revocations.record(BY_KEY, at(0)),
        revocations.record(BY_KEY, at(0)),
    );
    // Given up so late that it goes on into the next generation.
    revocations.keep(BY_KEY, other, at(150));
    let young = verdict(&revocations, 150);
    revocations.undo(one);
    assert_eq!(against(&revocations, &young, 150), REVOKED);
    let younger = verdict(&revocations, 240);
    assert_eq!(against(&revocations, &younger, 240), REVOKED);
    revocations.undo(other);
    assert_eq!(against(&revocations, &young, 150), None);
}

#[test]
fn an_app_is_opened_by_a_call_that_was_sent_after_each_that_closed_it_was_answered() {
    // Closings: when each was answered. Opening: when it was sent.
    for (answered, opening, opens) in [
        (&[1][..], 2, true),
        (&[2], 1, false),
        (&[1, 3], 2, false),
        (&[3, 1], 2, false),
        (&[1, 2], 3, true),
        (&[], 1, true),
    ] {
        for generations in [false, true] {
            let revocations = revocations();
            // Two closings a lifetime apart, or next to each other.
            let mut seconds = 0;
            for answered in answered {
                seconds += if generations { 100 } else { 1 };
                close(&revocations, *answered, at(seconds));
            }
            let verdict = verdict(&revocations, seconds);
            revocations.reopen(APP, Order(opening));
            let against = against(&revocations, &verdict, seconds);
            assert_eq!(against.is_none(), opens, "{answered:?} {opening}");
        }
    }
}

#[test]
fn opening_an_app_takes_back_no_closing_that_is_not_answered_and_no_key() {
    let revocations = revocations();
    let verdict = verdict(&revocations, 1);
    let id = revocations.record(Name::App(APP), at(1));
    revocations.reopen(APP, Order(2));
    assert_eq!(against(&revocations, &verdict, 1), REVOKED);
    revocations.keep(Name::App(APP), id, at(1));
    revocations.reopen(APP, Order(2));
    assert_eq!(against(&revocations, &verdict, 1), REVOKED);
    revocations.confirm(Name::App(APP), id, Some(Order(3)), at(1));
    revoke(&revocations, BY_KEY, at(1));
    revocations.reopen(APP, Order(4));
    assert_eq!(against(&revocations, &verdict, 1), REVOKED, "the key is");
}

#[test]
fn a_fence_forgets_what_was_sent_before_it() {
    let fences: [fn(&Revocations); 2] = [
        |revocations| revocations.fence(BY_KEY, at(1)),
        |revocations| revocations.fence_all(),
    ];
    for fence in fences {
        let revocations = revocations();
        let before = verdict(&revocations, 1);
        assert_eq!(against(&revocations, &before, 1), None);
        fence(&revocations);
        let after = verdict(&revocations, 1);
        for seconds in [1, 30] {
            assert_eq!(against(&revocations, &before, seconds), FORGOTTEN);
            assert_eq!(against(&revocations, &after, seconds), None);
        }
        revocations.fence(SOMEBODY_ELSE, at(30));
        assert_eq!(against(&revocations, &before, 30), FORGOTTEN);
        assert_eq!(against(&revocations, &after, 30), None);
    }
}

#[test]
fn who_asked_before_the_check_was_sent_may_use_its_answer_whatever_is_forgotten_meanwhile() {
    let revocations = revocations();
    revocations.fence(SOMEBODY_ELSE, at(1));
    let asked = revocations.latest();
    let verdict = verdict(&revocations, 1);
    revocations.fence(BY_KEY, at(1));
    let asked_later = revocations.latest();
    revocations.fence(BY_KEY, at(1));
    let against = |asked| verdict.contradiction(&revocations, asked, at(1));
    assert_eq!(against(asked), None);
    assert_eq!(against(asked_later), FORGOTTEN);
    assert_eq!(
        against(EventNumber::LAST),
        FORGOTTEN,
        "once was not for good"
    );
    revoke(&revocations, BY_KEY, at(1));
    assert_eq!(against(asked), REVOKED);
}

#[test]
fn a_verdict_from_further_back_than_anything_is_remembered_is_forgotten() {
    let revocations = revocations();
    let verdict = verdict(&revocations, 10);
    revoke(&revocations, SOMEBODY_ELSE, at(10));
    // A lifetime less the gateway's lag.
    assert_eq!(against(&revocations, &verdict, 10 + 41), FORGOTTEN);
    assert_eq!(against(&revocations, &verdict, 10 + 40), None);
}

#[test]
fn names_are_found_after_growth_and_through_both_generations() {
    let revocations = revocations();
    let names = |from: i64| from..from + 5_000;
    for key_id in names(0) {
        revoke(&revocations, Name::KeyId(key_id), at(1));
    }
    let EventNumber(before) = revocations.latest();
    for key_id in names(10_000) {
        revocations.fence(Name::KeyId(key_id), at(150));
    }
    let generations = revocations.generations.load();
    let generations = generations.as_ref().unwrap();
    let entry = |key_id| {
        let name = revocations.fingerprint(Name::KeyId(key_id));
        let entries = generations.entries(name, at(150));
        entries.fold((false, 0), |(stands, fence), entry| {
            (stands | entry.stands(), entry.fence.max(fence))
        })
    };
    assert!(names(0).all(|key_id| entry(key_id) == (true, 0)));
    let mut fences = (before + 1..).zip(names(10_000));
    assert!(fences.all(|(number, key_id)| entry(key_id) == (false, number)));
    assert!(names(5_000).all(|key_id| entry(key_id) == (false, 0)));
}

#[test]
fn a_million_revocations_take_64_mib_at_most_while_the_table_grows_too() {
    const MILLION: i64 = 1_000_000;
    let revocations = revocations();
    let taken = allocation_counter::measure(|| {
        for key_id in 0..MILLION {
            revoke(&revocations, Name::Key { app: APP, key_id }, at(1));
        }
    });
    assert!(taken.bytes_max <= 64 << 20, "{} bytes", taken.bytes_max);
    let left = u64::try_from(taken.bytes_current).unwrap();
    assert!(left <= revocations.bytes() as u64 + 4096, "{left} bytes");
    let generations = revocations.generations.load();
    let generations = generations.as_ref().unwrap();
    let mut key_ids = (0..MILLION).step_by(97);
    assert!(key_ids.all(|key_id| {
        let name = revocations.fingerprint(Name::Key { app: APP, key_id });
        generations.entries(name, at(1)).any(|entry| entry.stands())
    }));
}

#[test]
fn more_fences_than_there_is_room_for_forget_everything_once_and_take_no_more_room() {
    let revocations = revocations();
    revoke(&revocations, BY_KEY, at(1));
    let closing = revocations.record(Name::App(APP), at(1));
    let many = i64::try_from(MOST_FENCES).unwrap();
    for key_id in 0..many {
        revocations.fence(Name::KeyId(key_id + 1_000), at(1));
    }
    let full = revocations.bytes();
    assert_eq!(revocations.all.load(Ordering::SeqCst), 0);
    for round in 1..=3 {
        for key_id in 0..1_000 {
            revocations.fence(Name::KeyId(-key_id - 1_000 * round), at(1));
        }
        // The first of the first round.
        assert_eq!(
            revocations.all.load(Ordering::SeqCst),
            u64::try_from(many).unwrap() + 4
        );
    }
    assert!(revocations.bytes() < full / 64);
    let verdict = verdict(&revocations, 1);
    assert_eq!(against(&revocations, &verdict, 1), REVOKED);
    revocations.undo(closing);
    assert_eq!(against(&revocations, &verdict, 1), REVOKED, "the key is");
}
