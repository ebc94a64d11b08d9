use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::super::lookups::{CAPACITY, FailedLookups, LookupSource, UnknownKeyLimit};
use crate::clock::Now;
use crate::gate::request::client_ip::ClientIp;

fn at(millis: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(millis),
        unix: Duration::from_millis(millis),
    }
}

fn source(number: u32) -> LookupSource {
    let address = Ipv4Addr::from_bits(number).into();
    LookupSource::new(address, &ClientIp::peer())
}

#[test]
fn what_was_asked_at_once_beyond_the_share_is_paid_for_afterwards() {
    let failed = FailedLookups::new(UnknownKeyLimit::per_second(1).burst(3));
    for _ in 0..8 {
        failed.charge(source(1), at(0));
    }
    let wait = Duration::from_secs(6);
    assert_eq!(failed.look(source(1), at(0)), Err(wait));
    assert_eq!(failed.look(source(1), at(6_000)), Ok(()));
    assert_eq!(failed.look(source(2), at(0)), Ok(()));
}

#[test]
fn no_debt_lasts_much_longer_than_a_minute() {
    let failed = FailedLookups::new(UnknownKeyLimit::per_second(1).burst(3));
    for _ in 0..4_096 {
        failed.charge(source(1), at(0));
    }
    assert_eq!(failed.look(source(1), at(0)), Err(Duration::from_secs(61)));
}

#[test]
fn a_network_with_too_many_addresses_shares_one_counter_and_pushes_nobody_out() {
    let failed = FailedLookups::new(UnknownKeyLimit::per_second(1).burst(1));
    failed.charge(source(1), at(0));
    // All networks of 64 bits in one of 48, each with a look-up that fails.
    let of_one_network = |number: u32| {
        let bits = (0x2001_0db8_0007_u128 << 80) | (u128::from(number) << 64) | 1;
        LookupSource::new(Ipv6Addr::from_bits(bits).into(), &ClientIp::peer())
    };
    let mut allowed = 0;
    for number in 0..65_536 {
        if failed.look(of_one_network(number), at(0)).is_ok() {
            allowed += 1;
            failed.charge(of_one_network(number), at(0));
        }
    }
    // One look-up for each that found room, one for all the others.
    assert_eq!(allowed, failed.sources());
    assert!(failed.sources() <= CAPACITY / 16, "{}", failed.sources());
    assert!(failed.look(source(1), at(0)).is_err(), "counted as before");
    // Everybody else has room: 100 others, of whom two may meet by chance.
    let others = (1..=100).filter(|number| {
        let other = source(number << 8);
        let allowed = failed.look(other, at(0)).is_ok();
        failed.charge(other, at(0));
        allowed && failed.look(other, at(0)).is_err()
    });
    assert!(others.count() >= 98);
    // Whoever has waited makes room.
    assert!(failed.look(of_one_network(65_535), at(2_000)).is_ok());
}

#[test]
fn addresses_too_many_of_many_networks_push_nobody_out() {
    let failed = FailedLookups::new(UnknownKeyLimit::per_second(1).burst(1));
    let mut counted = Vec::new();
    for number in 0..2 * u32::try_from(CAPACITY).unwrap() {
        let before = failed.sources();
        failed.charge(source(number << 8), at(0));
        if failed.sources() > before {
            counted.push(source(number << 8));
        }
    }
    assert!(failed.sources() <= CAPACITY);
    assert!(failed.sources() > CAPACITY * 9 / 10, "{}", failed.sources());
    assert!(
        counted
            .iter()
            .all(|source| failed.look(*source, at(0)).is_err())
    );
}

#[test]
fn extreme_settings_neither_overflow_nor_shut_everybody_out() {
    for limit in [
        UnknownKeyLimit::per_second(0).burst(0),
        UnknownKeyLimit::per_second(1).burst(u32::MAX),
        UnknownKeyLimit::per_second(u32::MAX).burst(1),
        UnknownKeyLimit::per_second(u32::MAX),
    ] {
        let failed = FailedLookups::new(limit);
        for now in [at(0), at(u64::MAX)] {
            assert!(failed.look(source(1), now).is_ok());
            failed.charge(source(1), now);
        }
    }
    let off = FailedLookups::new(UnknownKeyLimit::off().burst(1));
    off.charge(source(1), at(0));
    assert!(off.look(source(1), at(0)).is_ok());
}
