use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::room::PLACES;
use super::super::subject::KeySubject;
use super::*;
use crate::gate::limit::counters::{LimitCounter, Shortage};

/// Each of a network of its own.
fn subject(number: u32) -> LimitSubject {
    LimitSubject {
        rule: 1,
        key: None,
        address: Some(Ipv4Addr::from_bits(number << 8).into()),
        resource: 0,
    }
}

fn counter(max_requests: u32, nanos: u64) -> LimitCounter {
    LimitCounter::gcra(max_requests, Duration::from_nanos(nanos))
}

/// So many nanoseconds after all that has been charged before has been at rest for the longest time.
fn rested(nanos: u64) -> ClockReading {
    at(nanos + LONGEST_AT_REST.as_nanos() as u64)
}

fn at(nanos: u64) -> ClockReading {
    ClockReading {
        monotonic: Moment(nanos),
        unix: Duration::ZERO,
    }
}

#[test]
fn a_subject_keeps_its_state() {
    let subjects = Subjects::new(10);
    let overflow = counter(1, 1).unused();
    let first = subjects.state(&subject(1), &overflow, at(1)).unwrap();
    let again = subjects.state(&subject(1), &overflow, at(2)).unwrap();
    let other = subjects.state(&subject(2), &overflow, at(3)).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert!(!Arc::ptr_eq(&first, &other));
    assert_eq!(subjects.len(), 2);
}

#[test]
fn idle_subjects_are_forgotten_and_limited_ones_are_not() {
    let subjects = Subjects::new(1_000_000);
    let overflow = counter(1, 1).unused();
    let long = counter(1, 1_000_000_000_000_000);
    let short = counter(1, 10);
    for number in 0..1_000 {
        let state = subjects.state(&subject(number), &overflow, at(1)).unwrap();
        let gcra = if number < 100 { &long } else { &short };
        gcra.charge(&state, at(1), 1, true).unwrap();
    }
    for number in 1_000..5_000 {
        let state = subjects.state(&subject(number), &overflow, at(1_000));
        short.charge(&state.unwrap(), at(1_000), 1, true).unwrap();
    }
    assert_eq!(subjects.len(), 5_000, "they may come again");
    let later = rested(1_000);
    for number in 5_000..20_000 {
        let state = subjects.state(&subject(number), &overflow, later).unwrap();
        let now = rested(1_000 + u64::from(number));
        short.charge(&state, now, 1, true).unwrap();
    }
    let remembered = subjects.len();
    let count: usize = subjects
        .shards
        .iter()
        .map(|s| s.lock().unwrap().states.len())
        .sum();
    assert_eq!(remembered, count);
    for number in 0..100 {
        let state = subjects.state(&subject(number), &overflow, later).unwrap();
        assert!(
            long.look(&state, later, 1, true).is_err(),
            "{number} was forgotten"
        );
    }
    assert_eq!(subjects.len(), remembered);

    // Two looks that find something would do; a few rounds of newcomers shrink the rest.
    for number in 20_000..40_000 {
        let a_second_each = at(120_000_000_000_000 + 1_000_000_000 * u64::from(number));
        drop(subjects.state(&subject(number), &overflow, a_second_each));
    }
    assert!(subjects.len() < 2_000, "{} left", subjects.len());
}

#[test]
fn a_state_in_somebodys_hands_is_not_forgotten() {
    let subjects = Subjects::new(1_000_000);
    let overflow = counter(1, 1).unused();
    let held = subjects.state(&subject(1), &overflow, at(1)).unwrap();
    for number in 2..5_000 {
        drop(subjects.state(&subject(number), &overflow, at(u64::from(number))));
    }
    let again = subjects.state(&subject(1), &overflow, at(9_000)).unwrap();
    assert!(Arc::ptr_eq(&held, &again));
}

#[test]
fn a_request_with_an_older_reading_of_the_clock_gains_nothing() {
    let subjects = Subjects::new(10_000);
    let overflow = counter(1, 1).unused();
    let gcra = counter(1, 100);
    let first = subjects.state(&subject(0), &overflow, at(1)).unwrap();
    gcra.charge(&first, at(1), 1, true).unwrap();
    drop(first);
    // Newcomers at 101 find the first one idle and have it forgotten.
    for number in 1..5_000 {
        drop(subjects.state(&subject(number), &overflow, at(101)));
    }
    let back = subjects.state(&subject(0), &overflow, at(100)).unwrap();
    assert_eq!(
        gcra.look(&back, at(100), 1, true),
        Err(Shortage::Wait(Duration::from_nanos(1)))
    );
}

#[test]
fn a_newcomer_inherits_what_it_would_have_been_counted_in() {
    let subjects = Subjects::new(1);
    let gcra = counter(1, 100);
    let overflow = counter(1, 1).unused();
    gcra.charge(&overflow, at(1), 1, true).unwrap();
    let state = subjects.state(&subject(1), &overflow, at(2)).unwrap();
    assert!(gcra.look(&state, at(2), 1, true).is_err());
    assert!(gcra.look(&state, at(101), 1, true).is_ok());
}

#[test]
fn no_shard_of_a_large_map_is_much_larger_than_those_of_others() {
    for (capacity, expected) in [
        (0, 64),
        (1, 64),
        (100_000, 64),
        (1_000_000, 625),
        (usize::MAX, 16_384),
    ] {
        assert_eq!(shards(capacity), expected, "{capacity}");
        assert_eq!(Subjects::new(capacity).shards.len(), expected);
    }
}

#[test]
fn who_finds_no_room_shares_a_state_with_its_owner_and_with_few_others() {
    let subjects = Subjects::new(0);
    let last = counter(1, 1).unused();
    let state = |subject| subjects.state(&subject, &last, at(1)).unwrap();
    let of_network = |network: u32, host: u32| LimitSubject {
        address: Some(Ipv4Addr::from_bits(network << 8 | host).into()),
        ..subject(0)
    };
    let first = state(of_network(0, 0));
    for host in 1..256 {
        assert!(Arc::ptr_eq(&first, &state(of_network(0, host))));
    }
    let another_rule = LimitSubject {
        rule: 2,
        ..of_network(0, 0)
    };
    let others = (1..1_000).map(|network| of_network(network, 0));
    let met = [another_rule]
        .into_iter()
        .chain(others)
        .filter(|other| Arc::ptr_eq(&first, &state(*other)));
    // One in 16 384 of them would be usual.
    assert!(met.count() <= 2);
    assert_eq!(subjects.len(), 0);
}

#[test]
fn all_addresses_of_a_network_and_all_resources_of_a_key_have_one_owner() {
    let at_address = |address: &str| LimitSubject {
        address: Some(address.parse().unwrap()),
        ..subject(0)
    };
    let has_one_owner = |one: LimitSubject, other: LimitSubject| one.owner() == other.owner();
    for (address, neighbour, other) in [
        ("192.0.2.1", "192.0.2.255", "192.0.3.1"),
        ("2001:db8:1::", "2001:db8:1:ffff::", "2001:db8:2::"),
    ] {
        let [address, neighbour, other] = [address, neighbour, other].map(at_address);
        assert!(has_one_owner(address, neighbour));
        assert!(!has_one_owner(address, other));
    }
    let key = |id, resource| LimitSubject {
        key: Some(KeySubject::ApiKey(id)),
        address: None,
        resource,
        rule: 1,
    };
    assert!(has_one_owner(key(1, 3), key(1, 5)));
    assert!(!has_one_owner(key(1, 3), key(2, 3)));
    let of_another_rule = LimitSubject {
        rule: 2,
        ..key(1, 3)
    };
    assert!(!has_one_owner(key(1, 3), of_another_rule));
}

#[test]
fn overflow_states_are_bounded_and_forgotten_when_they_are_idle() {
    let subjects = Subjects::new(0);
    let gcra = counter(1, 100);
    let last = gcra.unused();
    let charge = |number, now| {
        let state = subjects.state(&subject(number), &last, at(now));
        state.is_some_and(|state| gcra.charge(&state, at(now), 1, true).is_ok())
    };
    let states = || -> usize {
        let shards = subjects.shards.iter();
        shards.map(|shard| shard.lock().unwrap().states.len()).sum()
    };
    for rule in 0..3 {
        for number in 0..60_000 {
            let other = LimitSubject {
                rule,
                ..subject(number)
            };
            if let Some(state) = subjects.state(&other, &last, at(1)) {
                let _ = gcra.charge(&state, at(1), 1, true);
            }
        }
        assert!(states() <= PLACES, "{}", states());
    }
    assert_eq!(states(), PLACES);
    let unlucky = (0..60_000).find(|number| !charge(*number, 1));
    assert!(unlucky.is_some());
    // All at rest: whoever comes now makes room for itself.
    assert!(
        (60_000..120_000)
            .filter(|number| charge(*number, 1_000))
            .count()
            > 10_000
    );
    assert!(states() <= PLACES);
}
