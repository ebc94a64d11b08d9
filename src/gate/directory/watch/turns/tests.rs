use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use super::*;
use crate::api::api_keys::KeyList;
use crate::gate::directory::Asked;

/// Apps of which no key is in use any more.
#[derive(Default)]
struct Unused(Mutex<HashSet<String>>);

impl KeysInUse for Unused {
    fn drop_unused(&self, app: &str, _: Now) -> bool {
        self.0.lock().unwrap().contains(app)
    }

    fn list_begins(&self) -> u32 {
        1
    }

    fn take_list(&self, _: &str, _: &KeyList, _: Asked) -> Judged {
        Judged::default()
    }

    fn take_confirmation(&self, _: &str, _: &[i64], _: Option<&KeyList>) {}
}

fn at(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(1_000 + seconds),
        unix: Duration::ZERO,
    }
}

/// The turns of the apps `a`, `b` and `c`, each of which has come at 0.
struct Stage {
    turns: Turns,
    budget: Budget,
    unused: Unused,
}

impl Stage {
    fn new(calls_a_minute: u32) -> Self {
        let watch = Watch::every(Duration::from_secs(5)).calls_a_minute(calls_a_minute);
        let mut turns = Turns::new(watch);
        for app in ["a", "b", "c"] {
            turns.add(app.into(), at(0).monotonic, at(0));
        }
        Self {
            turns,
            budget: Budget::new(NonZeroUsize::MIN),
            unused: Unused::default(),
        }
    }

    fn next(&mut self, seconds: u64) -> Result<Next, Option<Duration>> {
        self.turns.next(&mut self.budget, &self.unused, at(seconds))
    }

    /// The app whose list is due now.
    fn list(&mut self, seconds: u64) -> (Place, String) {
        match self.next(seconds) {
            Ok(Next::List(place, app)) => (place, app.to_string()),
            Ok(Next::Confirmation(_, app)) => panic!("{app} is to be confirmed"),
            Err(due) => panic!("nothing before {due:?}"),
        }
    }

    fn read(&mut self, seconds: u64, judged: Judged) -> String {
        let (place, app) = self.list(seconds);
        assert!(self.turns.begin(place).is_some());
        self.turns.read(place, judged, at(seconds).monotonic);
        app
    }

    /// The app whose revoked keys are asked for now, and under which number.
    fn confirmation(&mut self, seconds: u64) -> (u64, String) {
        match self.next(seconds) {
            Ok(Next::Confirmation(number, app)) => (number, app.to_string()),
            Ok(Next::List(_, app)) => panic!("{app} is to be listed"),
            Err(due) => panic!("nothing before {due:?}"),
        }
    }

    fn not_confirmed(&mut self, number: u64, why: Unread, seconds: u64) -> Option<Vec<i64>> {
        self.turns.not_confirmed(number, why, at(seconds))
    }

    fn longest_unseen(&self, seconds: u64) -> u64 {
        let longest = self.turns.longest_unseen(&self.budget, at(seconds));
        longest.as_secs()
    }

    fn not_before(&mut self, seconds: u64) -> u64 {
        let due = self.next(seconds).err().unwrap().unwrap();
        due.as_secs() - 1_000
    }
}

fn missing(keys: &[i64]) -> Judged {
    Judged {
        missing: keys.to_vec(),
        is_overtaken: false,
    }
}

#[test]
fn apps_have_their_turn_one_after_the_other() {
    let mut stage = Stage::new(30);
    assert_eq!(stage.longest_unseen(0), 4, "the last of them is read then");
    let mut read = String::new();
    for seconds in (0..24).step_by(2) {
        read += &stage.read(seconds, Judged::default());
        assert_eq!(stage.longest_unseen(seconds), 6);
    }
    assert_eq!(read, "abcabcabcabc");
    assert_eq!(stage.not_before(23), 24);
}

#[test]
fn one_that_fails_waits_as_long_as_the_others_and_is_unseen_longer() {
    let mut stage = Stage::new(30);
    let (place, app) = stage.list(0);
    assert!(!stage.turns.not_read(place, Unread::Failed, at(0)));
    assert_eq!(app, "a");
    assert_eq!(stage.read(2, Judged::default()), "b");
    assert_eq!(stage.read(4, Judged::default()), "c");
    assert_eq!(stage.read(6, Judged::default()), "a");
    for (seconds, unseen) in [(8, 6), (10, 6)] {
        stage.read(seconds, Judged::default());
        assert_eq!(stage.longest_unseen(seconds), unseen);
    }
}

#[test]
fn what_is_to_be_confirmed_goes_first_and_is_unseen_until_then() {
    let mut stage = Stage::new(30);
    assert_eq!(stage.read(0, missing(&[7, 8])), "a");
    assert!(stage.longest_unseen(3) >= 5);
    let (number, app) = stage.confirmation(0);
    assert_eq!(app, "a");
    // As often as it takes.
    assert_eq!(stage.confirmation(0), (number, app));
    assert_eq!(stage.turns.confirmed(number + 1), None, "of another");
    assert_eq!(stage.turns.confirmed(number), Some(vec![7, 8]));
    assert_eq!(stage.turns.confirmed(number), None);
    assert_eq!(stage.list(2).1, "b");
}

#[test]
fn confirmations_are_given_up_after_three_failures_and_others_have_their_turn_meanwhile() {
    let mut stage = Stage::new(60);
    stage.read(0, missing(&[7]));
    let (number, _) = stage.confirmation(0);
    assert_eq!(stage.not_confirmed(number + 1, Unread::Failed, 0), None);
    assert_eq!(stage.not_confirmed(number, Unread::Failed, 0), None);
    assert_eq!(stage.not_before(0), 1);
    assert_eq!(stage.read(1, Judged::default()), "b");
    assert_eq!(stage.confirmation(1).0, number);
    assert_eq!(stage.not_confirmed(number, Unread::Failed, 1), None);
    assert_eq!(stage.read(2, Judged::default()), "c");
    assert_eq!(stage.confirmation(3).0, number);
    let given_up = stage.not_confirmed(number, Unread::Failed, 3);
    assert_eq!(given_up, Some(vec![7]));
    // What has become of it is not known, and it is looked for when the next list lacks it, too.
    assert!(stage.longest_unseen(4) >= 5);
    assert_eq!(stage.read(5, missing(&[7])), "a");
    assert_ne!(stage.confirmation(5).0, number);
    assert!(stage.longest_unseen(9) >= 10);
}

#[test]
fn a_confirmation_that_has_failed_lets_a_list_go_first_that_is_due() {
    let mut stage = Stage::new(30);
    stage.read(0, missing(&[7]));
    let (number, _) = stage.confirmation(0);
    assert_eq!(stage.not_confirmed(number, Unread::Failed, 0), None);
    assert_eq!(stage.not_before(1), 2, "`b` is due");
    let (place, app) = stage.list(2);
    assert_eq!(app, "b");
    assert_eq!(stage.confirmation(2).0, number);
    assert!(stage.turns.begin(place).is_some());
    // Nor does it wait for ever, if the others go.
    stage.turns.read(place, Judged::default(), at(2).monotonic);
    assert_eq!(stage.not_confirmed(number, Unread::Failed, 2), None);
    for app in ["a", "b", "c"] {
        stage.unused.0.lock().unwrap().insert(app.to_owned());
    }
    stage.unused.0.lock().unwrap().remove("a");
    assert_eq!(stage.confirmation(4).0, number);
}

#[test]
fn a_confirmation_that_is_too_long_is_not_asked_for_again_before_the_next_list() {
    let mut stage = Stage::new(30);
    stage.read(0, missing(&[7]));
    let (number, _) = stage.confirmation(0);
    let given_up = stage.not_confirmed(number, Unread::TooLong, 0);
    assert_eq!(given_up, Some(vec![7]));
    assert_eq!(stage.list(2).1, "b");
}

#[test]
fn what_a_younger_list_says_takes_the_place_of_what_is_to_be_confirmed() {
    let mut stage = Stage::new(60);
    for app in ["b", "c"] {
        stage.unused.0.lock().unwrap().insert(app.to_owned());
    }
    stage.read(0, missing(&[7]));
    let (late, _) = stage.confirmation(0);
    for seconds in [0, 1] {
        assert_eq!(stage.not_confirmed(late, Unread::Failed, seconds), None);
    }
    stage.confirmation(3);
    stage.turns.confirming[0].due_at = at(60).monotonic;
    assert_eq!(stage.read(5, missing(&[8])), "a");
    let (number, _) = stage.confirmation(5);
    assert_eq!(stage.turns.confirmed(late), None);
    assert_eq!(stage.turns.confirmed(number), Some(vec![8]));
}

#[test]
fn a_list_that_was_overtaken_is_read_again_at_once_and_only_once() {
    let overtaken = || Judged {
        missing: Vec::new(),
        is_overtaken: true,
    };
    let mut stage = Stage::new(30);
    assert_eq!(stage.read(0, overtaken()), "a");
    assert_eq!(stage.read(0, overtaken()), "a");
    assert_eq!(stage.not_before(0), 2);
    assert_eq!(stage.read(2, Judged::default()), "b");
}

#[test]
fn one_that_is_too_long_is_left_out_of_the_bound_and_tried_again() {
    let mut stage = Stage::new(30);
    let (place, _) = stage.list(0);
    assert!(stage.turns.not_read(place, Unread::TooLong, at(0)));
    assert_eq!((stage.turns.apps(), stage.turns.left_out()), (3, 1));
    let mut read = String::new();
    for seconds in (2..=600).step_by(3) {
        read += &stage.read(seconds, Judged::default());
    }
    assert!(!read.contains('a'));
    let (place, app) = stage.list(603);
    assert_eq!(app, "a");
    assert!(
        !stage.turns.not_read(place, Unread::TooLong, at(603)),
        "told once"
    );
}

#[test]
fn an_app_without_keys_in_use_loses_its_turn_and_costs_no_call() {
    let mut stage = Stage::new(30);
    stage.unused.0.lock().unwrap().insert("a".to_owned());
    assert_eq!(stage.read(0, Judged::default()), "b");
    assert_eq!(stage.turns.apps(), 2);
    for app in ["b", "c"] {
        stage.unused.0.lock().unwrap().insert(app.to_owned());
    }
    assert!(matches!(stage.next(60), Err(None)));
    assert_eq!(stage.longest_unseen(60), 0);
}

#[test]
fn a_turn_that_another_task_has_taken_is_taken_once() {
    let mut stage = Stage::new(30);
    let (place, _) = stage.list(0);
    assert_eq!(stage.turns.begin(place), Some(false));
    // While it is held against the keys in use, and after that.
    for _ in 0..2 {
        assert_eq!(stage.turns.begin(place), None);
        assert!(!stage.turns.not_read(place, Unread::TooLong, at(0)));
        assert_eq!((stage.turns.apps(), stage.turns.left_out()), (3, 0));
        stage.turns.read(place, Judged::default(), at(0).monotonic);
    }
    stage.turns.read(place, missing(&[7]), at(0).monotonic);
    assert!(stage.turns.confirming.is_empty());
}

#[test]
fn who_has_found_nothing_to_do_is_woken_when_a_list_has_been_taken() {
    let mut stage = Stage::new(60);
    for app in ["b", "c"] {
        stage.unused.0.lock().unwrap().insert(app.to_owned());
    }
    let (place, _) = stage.list(0);
    stage.turns.begin(place);
    assert!(matches!(stage.next(0), Err(None)));
    stage.turns.claim.release(Duration::MAX);
    stage.turns.read(place, Judged::default(), at(0).monotonic);
    assert_eq!(stage.turns.claim.due_at(), Duration::ZERO);
}

#[test]
fn a_429_and_failures_are_in_what_may_go_unseen() {
    let mut stage = Stage::new(30);
    for seconds in [0, 2, 4] {
        stage.read(seconds, Judged::default());
    }
    assert_eq!(stage.longest_unseen(4), 6);
    stage.budget.too_many(at(4));
    assert_eq!(stage.longest_unseen(5), 68, "`c` at 72, half as often");
    let mut stage = Stage::new(30);
    stage.turns.backoff.failed(at(0));
    assert_eq!(stage.longest_unseen(0), 5);
    assert_eq!(stage.not_before(0), 1);
}

#[test]
fn replicas_that_share_are_due_together_and_take_what_is_younger_than_theirs() {
    let mut stage = Stage::new(30);
    let share = |stage: &mut Stage, seconds| {
        let Stage { turns, budget, .. } = stage;
        turns.set_period(true, budget, at(seconds));
    };
    let max_age = |stage: &mut Stage, seconds| {
        let next = stage.next(seconds).unwrap();
        let Next::List(place, _) = next else {
            panic!("a list is due")
        };
        let max_age = stage.turns.max_age(&next, at(seconds));
        (place, max_age.as_secs())
    };
    share(&mut stage, 0);
    assert_eq!(stage.turns.period().as_secs(), 6, "three apps, 2 s each");
    let (place, first) = max_age(&mut stage, 0);
    assert_eq!(first, 6, "whatever there is");
    // Another has asked a second before this.
    stage.budget.give_back_list();
    stage.turns.begin(place);
    let sent = at(0).monotonic - Duration::from_secs(1);
    stage.turns.read(place, Judged::default(), sent);
    stage.read(0, Judged::default());
    stage.read(2, Judged::default());
    // Due as long after that as at the other one.
    assert_eq!(stage.not_before(4), 5);
    let (place, younger) = max_age(&mut stage, 5);
    assert_eq!(younger, 3, "and not the one from before");
    // One that was overtaken is asked for again, by whomever.
    let overtaken = Judged {
        is_overtaken: true,
        ..Judged::default()
    };
    stage.turns.begin(place);
    stage.turns.read(place, overtaken, at(5).monotonic);
    assert_eq!(max_age(&mut stage, 5).1, 0);
}

#[test]
fn what_confirms_a_list_is_no_older_than_that() {
    let mut stage = Stage::new(30);
    stage.read(0, missing(&[7]));
    let next = stage.next(3).unwrap();
    assert!(matches!(next, Next::Confirmation(..)));
    assert_eq!(stage.turns.max_age(&next, at(3)), Duration::from_secs(3));
}
