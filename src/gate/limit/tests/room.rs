//! What is remembered, of whom, and for how long.

use super::*;

#[test]
fn rules_nobody_holds_are_remembered_until_they_are_idle() {
    for mode in [Mode::App, Mode::Key] {
        let limiter = Limiter::new(&Limits::local());
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
    let limiter = Limiter::new(&Limits::local().capacity(CAPACITY));
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    for _ in 0..2 {
        for ip in 0..10 {
            assert!(ask(&limiter, &rules, 1, ip, "/", START).is_charged());
        }
    }
    let mut admitted = 0;
    for ip in 10..1_000_000 {
        admitted += usize::from(ask(&limiter, &rules, 1, ip, "/", START).is_charged());
        if ip % 50_000 == 0 {
            assert!(limiter.subjects() <= CAPACITY);
        }
    }
    assert_eq!(limiter.subjects(), CAPACITY);
    // Everybody with a counter once, and twice through the one that all others share.
    assert_eq!(admitted, CAPACITY - 10 + 2);
    for ip in 0..10 {
        assert!(!ask(&limiter, &rules, 1, ip, "/", START).is_charged());
    }

    // A minute on, all are idle and newcomers take their places.
    let mut admitted = 0;
    for ip in 2_000_000..2_100_000 {
        admitted += usize::from(ask(&limiter, &rules, 1, ip, "/", later(2 * MINUTE)).is_charged());
    }
    assert!(limiter.subjects() <= CAPACITY);
    assert!(admitted > CAPACITY / 2, "{admitted}");
}

#[test]
fn room_found_later_does_not_refill_what_the_shared_counter_took() {
    let limiter = Limiter::new(&Limits::local().capacity(1));
    let rules = limiter.ruleset(1, &app("shop"), &[spec(Mode::Ip, 2, MINUTE)], None, START);
    assert!(ask(&limiter, &rules, 1, 1, "/", START).is_charged());
    // Address 2 finds no room at 29 s and room at 31 s, when address 1 has become idle.
    let before = later(Duration::from_secs(29));
    let after = later(Duration::from_secs(31));
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_charged());
    assert!(ask(&limiter, &rules, 1, 2, "/", before).is_charged());
    // Any shard forgets only its own, so address 1's is where room appears.
    for ip in 3..2_000 {
        assert!(!ask(&limiter, &rules, 1, ip, "/", after).is_charged());
    }
    assert!(!ask(&limiter, &rules, 1, 2, "/", after).is_charged());
}
