//! A counter that is known beforehand is the one that would be found.

use super::*;
use crate::gate::limit::KnownCounter;

struct KnownKey {
    gate: TestGate,
    counter: KnownCounter,
}

impl KnownKey {
    fn new(limits: &Limits, rules: &[RuleSpec], now: Now) -> Self {
        let limiter = Limiter::new(limits, None);
        let rules = limiter.ruleset(1, &app("shop"), rules, None, now);
        Self {
            gate: TestGate { limiter, rules },
            counter: KnownCounter::default(),
        }
    }

    /// As a request is charged whose counter is looked for.
    fn ask(&self, now: Now) -> ChargeOutcome {
        let caller = Caller {
            key: KeySubject::ApiKey(1),
            resource: "/",
            address: Some(Ipv4Addr::LOCALHOST.into()),
            known: Some(&self.counter),
        };
        let TestGate { limiter, rules } = &self.gate;
        limiter.admit(rules, &caller, 1, None, now)
    }

    /// What is left, where the counter is known and has enough.
    fn charge(&self, cost: u32, now: Now) -> Option<u32> {
        let TestGate { limiter, rules } = &self.gate;
        let left = limiter.charge_known(rules, &self.counter, cost, now)?;
        Some(left.remaining)
    }
}

#[test]
fn it_is_known_once_it_was_charged_and_counts_with_all_others() {
    for (algorithm, window) in kinds() {
        let limits = Limits::local().algorithm(algorithm);
        let key = KnownKey::new(&limits, &[spec(Mode::Key, 4, window)], LEAP);
        assert_eq!(key.charge(1, LEAP), None, "{window:?}: by whom?");
        let first = expect_charged(key.gate.ask(1, 1, "/", LEAP));
        assert_eq!(left(&first), [3]);
        assert_eq!(left(&expect_charged(key.gate.ask(2, 1, "/", LEAP))), [3]);

        assert_eq!(left(&expect_charged(key.ask(LEAP))), [2]);
        assert_eq!(key.charge(1, LEAP), Some(1), "{window:?}");
        assert_eq!(key.charge(2, LEAP), None, "not so much is left");
        assert_eq!(key.charge(1, LEAP), Some(0));
        assert_eq!(key.charge(1, LEAP), None);
        assert!(!key.gate.ask(1, 1, "/", LEAP).is_charged());
        assert_eq!(key.charge(0, LEAP), None, "which is looked at, not charged");
    }
}

#[test]
fn one_that_is_new_is_known_at_once_if_it_finds_room() {
    for (room, left) in [(1, Some(1)), (0, None)] {
        let limits = Limits::local().capacity(room);
        let key = KnownKey::new(&limits, &[spec(Mode::Key, 3, MINUTE)], START);
        assert!(key.ask(START).is_charged());
        assert_eq!(key.charge(1, START), left, "room for {room}");
    }
}

#[test]
fn only_the_counter_of_a_key_under_a_rule_alone_is_known() {
    let per_key = || spec(Mode::Key, 9, MINUTE);
    let cases = [
        vec![spec(Mode::App, 9, MINUTE)],
        vec![spec(Mode::Ip, 9, MINUTE)],
        vec![spec(Mode::KeyAndIp, 9, MINUTE)],
        vec![only(&["/"], per_key())],
        vec![per_key(), spec(Mode::App, 9, MINUTE)],
    ];
    for rules in cases {
        let key = KnownKey::new(&Limits::local(), &rules, START);
        assert!(key.ask(START).is_charged() && key.ask(START).is_charged());
        assert_eq!(key.charge(1, START), None, "{rules:?}");
    }
}

#[test]
fn another_rule_has_another_counter_and_one_that_has_gone_its_say() {
    let mut key = KnownKey::new(&Limits::local(), &[spec(Mode::Key, 3, MINUTE)], START);
    assert!(key.ask(START).is_charged() && key.ask(START).is_charged());
    assert_eq!(key.charge(1, START), Some(0));
    let TestGate { limiter, rules } = &key.gate;
    let more = [spec(Mode::Key, 9, MINUTE)];
    key.gate.rules = limiter.ruleset(1, &app("shop"), &more, Some(rules), START);
    assert_eq!(key.charge(1, START), None);
    assert!(!key.ask(START).is_charged());
}

#[test]
fn one_that_is_idle_is_forgotten_though_it_is_known() {
    let room_for_one = Limits::local().capacity(1);
    let key = KnownKey::new(&room_for_one, &[spec(Mode::Key, 3, MINUTE)], START);
    assert!(key.ask(START).is_charged() && key.ask(START).is_charged());
    // Not before it is: others find no room, and it counts on.
    let before = later(Duration::from_secs(29));
    for other in 2..300 {
        key.gate.ask(other, 1, "/", before);
    }
    assert_eq!(key.charge(1, before), Some(1));
    let idle = later(2 * MINUTE);
    for other in 300..600 {
        key.gate.ask(other, 1, "/", idle);
    }
    assert_eq!(key.charge(1, idle), None);
    assert_eq!(key.gate.limiter.subjects(), 1);
}

#[test]
fn one_that_is_forgotten_while_it_is_charged_admits_no_more() {
    let idle = later(2 * MINUTE);
    for _ in 0..200 {
        let room_for_one = Limits::local().capacity(1);
        let key = KnownKey::new(&room_for_one, &[spec(Mode::Key, 2, MINUTE)], START);
        assert!(key.ask(START).is_charged() && key.ask(START).is_charged());
        let passes = || key.charge(1, idle).is_some() || key.ask(idle).is_charged();
        let requests = || (0..3).filter(|_| passes()).count();
        let admitted = std::thread::scope(|scope| {
            // Those who come new have it forgotten, if nobody holds it.
            scope.spawn(|| (2..60).for_each(|other| drop(key.gate.ask(other, 1, "/", idle))));
            let threads = [scope.spawn(requests), scope.spawn(requests)];
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(admitted.iter().sum::<usize>() <= 2, "{admitted:?}");
    }
}
