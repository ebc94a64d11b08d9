use super::*;
use crate::sync::woken::Woken;

/// One that waits, as whom, and how often it was woken.
struct Waiter {
    digest: KeyDigest,
    app: Arc<str>,
    key_id: Option<i64>,
    entry: Arc<Entry>,
    woken: Arc<Woken>,
}

impl Waiter {
    fn enter(waiting: &Waiting, secret: &str, app: &str, key_id: Option<i64>) -> Self {
        let (digest, app) = (KeyDigest::of(secret), Arc::from(app));
        let woken = Arc::<Woken>::default();
        let whose = Awaited {
            digest,
            app: &app,
            key_id,
        };
        let entry = waiting.enter(whose, Arc::clone(&woken).into());
        Self {
            digest,
            app,
            key_id,
            entry,
            woken,
        }
    }

    fn leave(&self, waiting: &Waiting) {
        let whose = Awaited {
            digest: self.digest,
            app: &self.app,
            key_id: self.key_id,
        };
        waiting.leave(whose, &self.entry);
    }

    /// How often it was woken since this was last asked; it is pending again.
    fn woken(&self) -> usize {
        self.entry.wait(&Arc::clone(&self.woken).into());
        self.woken.0.swap(0, Ordering::SeqCst)
    }
}

fn waiting() -> Waiting {
    Waiting::new(Clock::system())
}

/// Keys 1 and 2 of `a`, key 1 of `b`, and a token of `a` whose client has the number 1.
fn four(waiting: &Waiting) -> [Waiter; 4] {
    [
        Waiter::enter(waiting, "first", "a", Some(1)),
        Waiter::enter(waiting, "second", "a", Some(2)),
        Waiter::enter(waiting, "third", "b", Some(1)),
        Waiter::enter(waiting, "token", "a", None),
    ]
}

#[test]
fn an_event_wakes_its_own_and_nobody_else() {
    let waiting = waiting();
    let four = four(&waiting);
    let key = |app, key_id| Name::Key { app, key_id };
    for (name, woken) in [
        (Name::Digest(KeyDigest::of("first")), [1, 0, 0, 0]),
        (Name::Digest(KeyDigest::of("token")), [0, 0, 0, 1]),
        (key("a", 1), [1, 0, 0, 0]),
        (key("b", 1), [0, 0, 1, 0]),
        (key("b", 2), [0, 0, 0, 0]),
        (key("c", 1), [0, 0, 0, 0]),
        (Name::KeyId(1), [1, 0, 1, 0]),
        (Name::App("a"), [1, 1, 0, 1]),
    ] {
        waiting.look_again(name);
        assert_eq!(four.each_ref().map(Waiter::woken), woken, "{name:?}");
        assert!(four.iter().all(|waiter| !waiter.entry.has_ended()));
    }
}

#[test]
fn a_no_is_for_the_credential_as_the_kind_that_it_was_asked_about() {
    let waiting = waiting();
    let four = four(&waiting);
    waiting.refused(KeyDigest::of("token"), true);
    waiting.refused(KeyDigest::of("first"), false);
    assert_eq!(four.each_ref().map(Waiter::woken), [0; 4]);
    waiting.refused(KeyDigest::of("token"), false);
    waiting.refused(KeyDigest::of("first"), true);
    let ended = four.each_ref().map(|waiter| waiter.entry.has_ended());
    assert_eq!(ended, [true, false, false, true]);
    assert_eq!(four.each_ref().map(Waiter::woken), [1, 0, 0, 1]);
}

#[test]
fn what_has_ended_is_told_once_and_stays_so() {
    let waiting = waiting();
    let waiter = Waiter::enter(&waiting, "first", "a", Some(1));
    for woken in [1, 0, 0] {
        waiting.end(Name::App("a"));
        assert_eq!(waiter.woken(), woken);
        assert!(waiter.entry.has_ended());
    }
}

#[test]
fn an_end_that_is_told_or_moves_wakes_who_waits_for_the_key_and_the_same_again_does_not() {
    let waiting = waiting();
    let four = four(&waiting);
    let [first, ..] = &four;
    let soon = Some(Duration::from_secs(7));
    assert_eq!(first.entry.end(), None);
    for (end, woken) in [(soon, 1), (soon, 0), (None, 1), (None, 0), (soon, 1)] {
        waiting.ends_at("a", 1, end);
        assert_eq!(four.each_ref().map(Waiter::woken), [woken, 0, 0, 0]);
        assert_eq!(first.entry.end(), Some(end));
    }
}

#[test]
fn who_leaves_is_not_found_any_more_in_whatever_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let waiting = waiting();
        let same = [(); 3].map(|()| Waiter::enter(&waiting, "first", "a", Some(1)));
        for (gone, index) in order.into_iter().enumerate() {
            assert_eq!(waiting.len(), 3 - gone);
            let leaver = &same[index];
            leaver.leave(&waiting);
            // Twice is once.
            leaver.leave(&waiting);
            waiting.look_again(Name::KeyId(1));
            let left = &order[gone + 1..];
            for (index, waiter) in same.iter().enumerate() {
                let woken = usize::from(left.contains(&index));
                assert_eq!(waiter.woken(), woken, "{order:?} {gone} {index}");
            }
        }
        assert_eq!((waiting.len(), waiting.waits_for_key_of("a")), (0, false));
    }
}

#[test]
fn it_says_which_apps_and_keys_are_waited_for() {
    let waiting = waiting();
    let four = four(&waiting);
    let _rotated = Waiter::enter(&waiting, "rotated", "a", Some(2));
    let waits = |app| waiting.waits_for_key_of(app);
    assert!(waits("a") && waits("b") && !waits("c"));
    assert_eq!(waiting.key_ids("a"), [1, 2]);
    assert_eq!(waiting.key_ids("b"), [1]);
    assert!(waiting.key_ids("c").is_empty());
    let [_, _, third, _] = &four;
    third.leave(&waiting);
    assert!(waits("a") && !waits("b"));
}

#[test]
fn one_is_woken_at_a_time_and_each_in_its_turn() {
    let waiting = waiting();
    let four = four(&waiting);
    for _ in 0..2 {
        let mut seen = [0; 4];
        for _ in 0..4 {
            waiting.wake_one();
            let woken = four.each_ref().map(Waiter::woken);
            assert_eq!(woken.iter().sum::<usize>(), 1);
            for (seen, woken) in seen.iter_mut().zip(woken) {
                *seen += woken;
            }
        }
        assert_eq!(seen, [1; 4]);
    }
    // One that was woken and has not looked yet does not stand for the others.
    let [first, second, third, token] = &four;
    for waiter in [second, third, token] {
        waiter.leave(&waiting);
    }
    waiting.wake_one();
    waiting.wake_one();
    assert_eq!(first.woken(), 1);
    first.leave(&waiting);
    waiting.wake_one();
}

#[test]
fn one_that_was_called_and_leaves_without_having_looked_passes_it_on() {
    let waiting = waiting();
    let [first, second, third, fourth] = four(&waiting);
    waiting.wake_one();
    assert_eq!(first.woken.times(), 1);
    first.leave(&waiting);
    let others = [&second, &third, &fourth];
    let is_called = |waiter: &&Waiter| waiter.woken.times() == 1;
    let called = others.iter().position(is_called);
    let next = others[called.expect("the next one is called")];
    // This one looks, so nobody else need be called.
    assert_eq!(next.woken(), 1);
    let whose = Awaited {
        digest: next.digest,
        app: &next.app,
        key_id: next.key_id,
    };
    waiting.waited_for(whose, &next.entry, Clock::system().now());
    next.leave(&waiting);
    let left = others.map(|waiter| waiter.woken.times());
    assert_eq!(left, [0; 3]);
}

#[test]
fn nobody_is_held_by_a_registry_that_is_gone() {
    let waiting = waiting();
    let waiter = Waiter::enter(&waiting, "first", "a", Some(1));
    assert!(Arc::strong_count(&waiter.woken) > 1);
    drop(waiting);
    assert_eq!(Arc::strong_count(&waiter.woken), 1);
}

/// Calls who waits while that is being looked after, as an alarm does that ends on another thread.
struct CallsMeanwhile {
    waiting: Weak<Waiting>,
    asked: AtomicUsize,
}

impl Background for CallsMeanwhile {
    fn waited_for(&self, _: Awaited<'_>, _: Now) {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(waiting) = self.waiting.upgrade()
        {
            waiting.wake_one();
        }
    }
}

#[test]
fn who_is_called_while_he_looks_looks_once_more() {
    let waiting = Arc::new(waiting());
    let background = Arc::new(CallsMeanwhile {
        waiting: Arc::downgrade(&waiting),
        asked: AtomicUsize::new(0),
    });
    let weak: Weak<CallsMeanwhile> = Arc::downgrade(&background);
    waiting.keep_going(weak);
    let one = Waiter::enter(&waiting, "first", "a", Some(1));
    let whose = Awaited {
        digest: one.digest,
        app: &one.app,
        key_id: one.key_id,
    };
    let now = waiting.clock().now();
    for asked in [1, 2, 2] {
        waiting.waited_for(whose, &one.entry, now);
        assert_eq!(background.asked.load(Ordering::SeqCst), asked);
    }
    assert_eq!(one.woken(), 1);
}
