//! What is remembered, of whom, and for how long.

use std::net::Ipv6Addr;

use super::*;

#[test]
fn rules_nobody_holds_are_remembered_until_they_are_idle() {
    for mode in [Mode::App, Mode::Key] {
        let limiter = Limiter::new(&Limits::local(), None);
        let rules = limiter.ruleset(1, &app("shop"), &[spec(mode, 1, MINUTE)], None, START);
        assert!(ask(&limiter, &rules, 1, 1, "/", START).is_charged());
        drop(rules);
        let crowd = |from: u32, now| {
            for number in from..from + 1_000 {
                let other = [spec(Mode::App, number, Duration::from_millis(1))];
                drop(limiter.ruleset(1, &app("crowd"), &other, None, now));
            }
        };
        crowd(1, later(Duration::from_secs(59)));
        let again = limiter.ruleset(1, &app("shop"), &[spec(mode, 1, MINUTE)], None, START);
        assert!(!ask(&limiter, &again, 1, 1, "/", START).is_charged());
        drop(again);
        crowd(2_001, later(MINUTE));
        crowd(4_001, later(3 * MINUTE));
        crowd(6_001, later(5 * MINUTE));
        let remembered = limiter.rules();
        assert!(remembered < 200, "{remembered}");
    }
}

#[test]
fn a_flood_of_addresses_stays_within_capacity_and_frees_nobody() {
    const CAPACITY: usize = 1_000;
    const NETWORKS: u32 = 4_000;
    let limiter = Limiter::new(&Limits::local().capacity(CAPACITY), None);
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    let admits = |ip, now| usize::from(ask(&limiter, &rules, 1, ip, "/", now).is_charged());
    assert_eq!(
        (0..10)
            .map(|ip| admits(ip, START) + admits(ip, START))
            .sum::<usize>(),
        20
    );
    let mut admitted = 0;
    // 16 addresses of each.
    for ip in (1..=NETWORKS).flat_map(|network| (0..16).map(move |host| network << 8 | host)) {
        admitted += admits(ip, START);
        assert!(limiter.subjects() <= CAPACITY);
    }
    assert_eq!(limiter.subjects(), CAPACITY);
    // Everybody with a counter once, and each network twice through the one that it shares.
    let of_networks = admitted - (CAPACITY - 10);
    assert!(of_networks <= 2 * NETWORKS as usize, "{admitted}");
    assert!(of_networks >= NETWORKS as usize, "{admitted}");
    assert!((0..10).all(|ip| admits(ip, START) == 0));

    // A minute on, all are idle and newcomers take their places.
    let minutes_later = later(2 * MINUTE);
    let admitted: usize = (10_000..20_000)
        .map(|network| admits(network << 8, minutes_later))
        .sum();
    assert!(limiter.subjects() <= CAPACITY);
    assert!(admitted > CAPACITY / 2, "{admitted}");
}

#[test]
fn the_more_networks_want_everything_the_less_each_gets() {
    const CAPACITY: usize = 10_000;
    let limiter = Limiter::new(&Limits::local().capacity(CAPACITY), None);
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 1, MINUTE)], None, START);
    let mut left = Vec::new();
    for network in 0..40_u32 {
        for host in 0..1_000_u128 {
            let bits = (0x2001_0000_u128 << 96) | (u128::from(network) << 80) | (host << 64);
            let caller = Caller {
                key: KeySubject::ApiKey(1),
                resource: "/",
                address: Some(Ipv6Addr::from_bits(bits).into()),
                known: None,
            };
            limiter.admit(&rules, &caller, 1, None, START);
        }
        left.push(CAPACITY - limiter.subjects());
    }
    // As the docs of `Limits::capacity` say.
    for (networks, share) in [(1, 0.94), (10, 0.54), (40, 0.08)] {
        let free = left[networks - 1] as f64 / CAPACITY as f64;
        assert!(free > share && free < share + 0.03, "{networks}: {free}");
    }
}

#[test]
fn room_found_later_does_not_refill_what_the_shared_counter_took() {
    let limiter = Limiter::new(&Limits::local().capacity(1), None);
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    assert!(ask(&limiter, &rules, 1, 1, "/", START).is_charged());
    // Address 2 finds no room at 29 s, and room at 31 s, when address 1 has become idle.
    let before = later(Duration::from_secs(29));
    let after = later(Duration::from_secs(31));
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_charged());
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_charged());
    // Nor does anybody else of its network, until all have waited as long as the counter says.
    for ip in 2..200 {
        assert!(!ask(&limiter, &rules, 1, ip, "/", after).is_charged());
    }
    let full = later(Duration::from_secs(59));
    assert!(ask(&limiter, &rules, 1, 2, "/", full).is_charged());
}
