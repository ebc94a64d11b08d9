use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::gate::limit::counters::LimitCounter;

fn subject(number: u32) -> Subject {
    Subject {
        rule: 1,
        key: None,
        address: Some(Ipv4Addr::from_bits(number).into()),
        resource: 0,
    }
}

fn counter(max_requests: u32, nanos: u64) -> LimitCounter {
    LimitCounter::gcra(max_requests, Duration::from_nanos(nanos))
}

fn at(nanos: u64) -> Reading {
    Reading {
        monotonic: Moment(nanos),
        unix: Duration::ZERO,
    }
}

#[test]
fn a_subject_keeps_its_state() {
    let subjects = Subjects::new(10);
    let overflow = counter(1, 1).unused();
    let first = subjects.state(subject(1), &overflow, at(1)).unwrap();
    let again = subjects.state(subject(1), &overflow, at(2)).unwrap();
    let other = subjects.state(subject(2), &overflow, at(3)).unwrap();
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
        let state = subjects.state(subject(number), &overflow, at(1)).unwrap();
        let gcra = if number < 100 { &long } else { &short };
        gcra.charge(&state, at(1)).unwrap();
    }
    let later = at(1_000);
    for number in 1_000..20_000 {
        let state = subjects.state(subject(number), &overflow, later).unwrap();
        short.charge(&state, at(1_000 + u64::from(number))).unwrap();
    }
    let remembered = subjects.len();
    let count: usize = subjects
        .shards
        .iter()
        .map(|s| s.lock().unwrap().states.len())
        .sum();
    assert_eq!(remembered, count);
    for number in 0..100 {
        let state = subjects.state(subject(number), &overflow, later).unwrap();
        assert!(long.look(&state, later).is_err(), "{number} was forgotten");
    }
    assert_eq!(subjects.len(), remembered);

    // Two looks that find something would do; a few rounds of newcomers shrink the rest.
    for number in 20_000..40_000 {
        let at = at(1_000_000 + u64::from(number));
        drop(subjects.state(subject(number), &overflow, at));
    }
    assert!(subjects.len() < 2_000, "{} left", subjects.len());
}

#[test]
fn a_state_in_somebodys_hands_is_not_forgotten() {
    let subjects = Subjects::new(1_000_000);
    let overflow = counter(1, 1).unused();
    let held = subjects.state(subject(1), &overflow, at(1)).unwrap();
    for number in 2..5_000 {
        drop(subjects.state(subject(number), &overflow, at(u64::from(number))));
    }
    let again = subjects.state(subject(1), &overflow, at(9_000)).unwrap();
    assert!(Arc::ptr_eq(&held, &again));
}

#[test]
fn a_request_with_an_older_reading_of_the_clock_gains_nothing() {
    let subjects = Subjects::new(10_000);
    let overflow = counter(1, 1).unused();
    let gcra = counter(1, 100);
    let first = subjects.state(subject(0), &overflow, at(1)).unwrap();
    gcra.charge(&first, at(1)).unwrap();
    drop(first);
    // Newcomers at 101 find the first one idle and have it forgotten.
    for number in 1..5_000 {
        drop(subjects.state(subject(number), &overflow, at(101)));
    }
    let back = subjects.state(subject(0), &overflow, at(100)).unwrap();
    assert_eq!(gcra.look(&back, at(100)), Err(Duration::from_nanos(1)));
}

#[test]
fn a_newcomer_inherits_the_overflow_state() {
    let subjects = Subjects::new(1);
    let gcra = counter(1, 100);
    let overflow = counter(1, 1).unused();
    gcra.charge(&overflow, at(1)).unwrap();
    let state = subjects.state(subject(1), &overflow, at(2)).unwrap();
    assert!(gcra.look(&state, at(2)).is_err());
    assert!(gcra.look(&state, at(101)).is_ok());
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
fn without_room_there_is_no_state() {
    let subjects = Subjects::new(0);
    let overflow = counter(1, 1).unused();
    assert!(subjects.state(subject(1), &overflow, at(1)).is_none());
    assert_eq!(subjects.len(), 0);
}
