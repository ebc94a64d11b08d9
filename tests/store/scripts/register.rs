//! Who counts: a server that may have forgotten grants nothing before it has been told.

use super::*;
use crate::server::Redis;

const START: i64 = 1_800_000_000 * SECOND;
const WINDOW: i64 = 10 * SECOND;

/// As if another server had taken the place of the one that opened the register.
fn replace_server(redis: &mut Connection) {
    let mut hset = redis::cmd("HSET");
    hset.arg(&[REGISTER, "server", "another"])
        .exec(redis)
        .unwrap();
}

fn counters() -> [Counter; 2] {
    [Kind::Gcra, Kind::Sliding].map(|kind| Counter::new(kind, format!("{kind:?}"), 10, WINDOW))
}

#[test]
fn nothing_is_granted_until_all_have_told_what_they_had_spent() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for counter in counters() {
        assert_eq!(counter.ask(&mut redis, units(1, 1), START).units, 1);
        replace_server(&mut redis);
        let later = START + 1;
        let at = later.to_string();
        let told = Ask {
            told: 2,
            ..units(1, 4)
        };
        let first = counter.ask(&mut redis, told, later);
        assert_eq!((first.units, first.left, first.is_complete), (0, 7, false));
        assert_eq!(first.register, later);
        let mut enter = |replica, there, told| enter(&mut redis, replica, there, told, true, &at);
        assert!(
            !enter("1", 3, first.register - 1).1,
            "it has told another one"
        );
        assert!(!enter("1", 3, first.register).1);
        assert!(!enter("1", 3, first.register).1, "it is one of three still");
        assert!(!enter("2", 3, first.register).1);
        assert!(!enter("3", 3, 0).1, "it has only looked");
        assert!(enter("3", 3, first.register).1);
        let then = counter.ask(&mut redis, units(1, 4), later);
        assert_eq!((then.units, then.left, then.is_complete), (4, 3, true));
    }
}

#[test]
fn replicas_that_are_gone_hold_nobody_up_for_longer_than_they_are_counted() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let at = START.to_string();
    let (since, _) = enter(&mut redis, "1", 0, 0, true, &at);
    assert!(!enter(&mut redis, "1", 3, since, true, &at).1);
    assert!(!enter(&mut redis, "2", 3, since, true, &at).1);
    // The third one is not seen any more.
    let as_the_second_knows = enter(&mut redis, "1", 2, since, true, &at);
    assert!(!as_the_second_knows.1);
    assert!(enter(&mut redis, "2", 2, since, true, &at).1);
}

#[test]
fn who_tells_late_makes_it_wait_for_the_others_again() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let at = START.to_string();
    // One that is new and alone.
    let (since, _) = enter(&mut redis, "new", 0, 0, false, &at);
    assert!(enter(&mut redis, "new", 1, since, false, &at).1);
    assert!(
        enter(&mut redis, "newer", 2, since, false, &at).1,
        "it has nothing to tell"
    );
    // One that has spent something before knows of three that have, and is joined by two of them.
    assert!(!enter(&mut redis, "old", 3, since, true, &at).1);
    assert!(!enter(&mut redis, "new", 5, 0, false, &at).1);
    assert!(!enter(&mut redis, "new", 5, since, false, &at).1);
    assert!(!enter(&mut redis, "newer", 5, since, false, &at).1);
    assert!(!enter(&mut redis, "older", 4, since, true, &at).1);
    assert!(!enter(&mut redis, "old", 5, since, true, &at).1);
    assert!(!enter(&mut redis, "third", 3, since, true, &at).1);
    assert!(
        enter(&mut redis, "fourth", 4, since, true, &at).1,
        "as the second had known"
    );
}

#[test]
fn what_was_spent_before_the_window_need_not_be_told() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for counter in counters() {
        counter.ask(&mut redis, units(1, 1), START);
        replace_server(&mut redis);
        let opened = counter.ask(&mut redis, units(1, 1), START);
        assert_eq!(opened.units, 0);
        let then = START + WINDOW + counter.lease;
        assert_eq!(counter.ask(&mut redis, units(1, 1), then - 1).units, 0);
        let granted = counter.ask(&mut redis, units(1, 1), then);
        assert_eq!((granted.units, granted.is_complete), (1, true));
    }
    let counter = Counter::calendar("day", "day", 10);
    let midnight = START - START % (86_400 * SECOND);
    counter.ask(&mut redis, units(1, 1), midnight - 2);
    replace_server(&mut redis);
    assert_eq!(counter.ask(&mut redis, units(1, 1), midnight - 1).units, 0);
    assert_eq!(counter.ask(&mut redis, units(1, 1), midnight).units, 1);
}

#[test]
fn what_a_server_has_forgotten_is_counted_once() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for counter in counters() {
        let grant = counter.ask(&mut redis, units(3, 3), START);
        let tell = |known, seen| Ask {
            known,
            seen,
            spent: 4,
            recent: 2,
            ..Ask::default()
        };
        let left = |redis: &mut Connection, ask| counter.ask(redis, ask, START).left;
        let (epoch, now) = (grant.epoch, grant.now);
        assert_eq!(left(&mut redis, tell(0, 0)), 7, "it knows of no epoch");
        assert_eq!(
            left(&mut redis, tell(epoch, now)),
            7,
            "nothing was forgotten"
        );
        counter.forget(&mut redis);
        assert_eq!(left(&mut redis, tell(epoch - 1_000, now)), 6, "all was");
        // Another server, which knows of what was granted first.
        counter.forget(&mut redis);
        counter.ask(&mut redis, units(3, 3), START);
        replace_server(&mut redis);
        let mut left = |ask, at| counter.ask(&mut redis, ask, START + at).left;
        assert_eq!(left(tell(epoch, now), 10), 7, "nothing was forgotten");
        assert_eq!(left(tell(epoch, now + SECOND), 11), 5, "a second was");
        assert_eq!(left(tell(epoch, now + 5 * SECOND), 12), 1, "more than that");
        let has_told = Ask {
            heard: START + 10,
            ..tell(epoch, now + SECOND)
        };
        assert_eq!(left(has_told, 13), 1, "once");
    }
}

#[test]
fn what_is_known_is_as_young_as_the_last_look() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for counter in counters() {
        let grant = counter.ask(&mut redis, units(3, 3), START);
        // Nothing of this subject for six seconds, and then something that is lost.
        enter(
            &mut redis,
            "1",
            1,
            0,
            false,
            &(START + 5 * SECOND).to_string(),
        );
        replace_server(&mut redis);
        let lost = Ask {
            known: grant.epoch,
            seen: START + 6 * SECOND,
            spent: 4,
            recent: 1,
            ..Ask::default()
        };
        let answer = counter.ask(&mut redis, lost, START + 6 * SECOND);
        let refilled = i64::from(counter.script.get_hash() == Kind::Gcra.script().get_hash()) * 3;
        assert_eq!(answer.left, 6 + refilled);
        redis::cmd("DEL").arg(REGISTER).exec(&mut redis).unwrap();
    }
}

#[test]
fn a_server_that_comes_back_with_its_data_is_another_one() {
    let Some(mut server) = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    else {
        return;
    };
    let [_, counter] = counters();
    let before = counter.ask_now(&mut server.connection(), units(3, 3));
    server.restart();
    let mut redis = server.connection();
    let ping = |redis: &mut Connection| redis::cmd("PING").exec(redis).is_ok();
    while !ping(&mut redis) {}
    let after = counter.ask_now(&mut redis, units(1, 1));
    assert_eq!(
        (after.units, after.left),
        (0, 7),
        "it knows what was granted"
    );
    assert_eq!(after.epoch, before.epoch);
    assert!(after.register > before.register && !after.is_complete);
}

#[test]
fn something_else_in_its_place_is_no_register() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let at = START.to_string();
    redis::cmd("SET")
        .arg(&[REGISTER, "garbage"])
        .exec(&mut redis)
        .unwrap();
    assert_eq!(enter(&mut redis, "1", 0, 0, false, &at), (START, false));
    let mut hset = redis::cmd("HSET");
    hset.arg(&[REGISTER, "since", "garbage", "all", "1"])
        .exec(&mut redis)
        .unwrap();
    assert_eq!(enter(&mut redis, "1", 1, 0, false, &at), (START, false));
}

/// One server has granted what the next one has not heard of, and that one is followed by a third before
/// it was told.
#[test]
fn what_one_server_lacks_the_next_one_lacks_too() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    for counter in counters() {
        let after = |tenths: i64| START + tenths * SECOND / 10;
        let grant = counter.ask(&mut redis, units(1, 1), START);
        // Nine more at 0.5 s, which the next server does not know of.
        let lost = Ask {
            known: grant.epoch,
            seen: after(5),
            spent: 9,
            recent: 9,
            ..Ask::default()
        };
        for tenths in [6, 8] {
            // Another replica tells it, looks at it and enters itself.
            replace_server(&mut redis);
            let other = Ask {
                told: 1,
                ..Ask::default()
            };
            assert!(!counter.ask(&mut redis, other, after(tenths)).is_complete);
            let at = after(tenths).to_string();
            let (since, _) = enter(&mut redis, "1", 2, 0, true, &at);
            assert!(!enter(&mut redis, "1", 2, since, true, &at).1);
        }
        assert_eq!(counter.ask(&mut redis, lost, after(8)).left, 0);
        redis::cmd("DEL").arg(REGISTER).exec(&mut redis).unwrap();
    }
}

#[test]
fn who_is_gone_stands_in_for_nobody_and_counts_nobody() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let at = |seconds: i64| (START + seconds * SECOND).to_string();
    let (since, _) = enter(&mut redis, "1", 0, 0, true, &at(0));
    assert!(!enter(&mut redis, "1", 3, since, true, &at(0)).1);
    assert!(!enter(&mut redis, "2", 3, since, true, &at(0)).1);
    // The second is replaced, and the third has not told yet.
    assert!(!enter(&mut redis, "1", 3, since, true, &at(6)).1);
    assert!(!enter(&mut redis, "new", 3, since, false, &at(6)).1);
    // Both of the others are gone for good.
    assert!(enter(&mut redis, "1", 1, since, true, &at(120)).1);
}

#[test]
fn a_server_that_others_have_stood_in_for_has_to_be_told_again() {
    let Some(server) = Redis::start() else {
        return;
    };
    let mut redis = server.connection();
    let counter = Counter::new(Kind::Sliding, "counter", 10, WINDOW);
    let grant = counter.ask(&mut redis, units(1, 1), START);
    assert!(grant.is_complete);
    for met in [START + SECOND, START + 3 * SECOND] {
        let ask = Ask { met, ..units(1, 1) };
        let again = counter.ask(&mut redis, ask, START + 2 * SECOND);
        assert_eq!((again.units, again.is_complete), (0, false));
        // It is the last one from then on, however its clock goes.
        assert!(again.register > met);
    }
}
