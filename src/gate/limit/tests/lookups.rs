use std::net::Ipv4Addr;
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
fn an_address_too_many_is_not_limited_and_pushes_nobody_out() {
    let failed = FailedLookups::new(UnknownKeyLimit::per_second(1).burst(1));
    let count = u32::try_from(CAPACITY).unwrap();
    for number in 0..2 * count {
        failed.charge(source(number), at(0));
    }
    assert_eq!(failed.sources(), CAPACITY);
    assert!((0..count).all(|number| failed.look(source(number), at(0)).is_err()));
    assert!(failed.look(source(count), at(0)).is_ok());
    // Whoever has waited makes room.
    failed.charge(source(count), at(2_000));
    assert!(failed.look(source(count), at(2_000)).is_err());
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
