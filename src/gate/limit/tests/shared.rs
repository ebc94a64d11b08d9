//! Limits that several replicas count in one store. tokio's clock is paused: nothing here has a socket.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::counters::shared::tests::{FakeLink, FakeStore, Fault};
use super::super::limits::WhenAway;
use super::*;
use crate::dev::ManualClock;

/// Replicas with rules of their own, over one store.
struct Replicas {
    clock: ManualClock,
    store: Arc<FakeStore>,
    links: Vec<Arc<FakeLink>>,
    gates: Vec<(Limiter, RuleSet)>,
}

impl Replicas {
    fn new(count: usize, limits: &Limits, rules: &[RuleSpec]) -> Self {
        let clock = ManualClock::at(LEAP.unix);
        let store = FakeStore::new(&clock);
        let links: Vec<_> = (0..count).map(|_| store.join()).collect();
        let gate = |link: &Arc<FakeLink>| {
            let limiter = Limiter::new(limits, Some(link.sharing(limits)));
            let rules = limiter.ruleset(1, &app("shop"), rules, None, store.now());
            (limiter, rules)
        };
        Self {
            gates: links.iter().map(gate).collect(),
            clock,
            store,
            links,
        }
    }

    fn one(rules: &[RuleSpec]) -> Self {
        Self::new(1, &sliding(), rules)
    }

    /// As the pipeline does it, until it is decided.
    async fn ask(&self, gate: usize, cost: u32) -> ChargeOutcome {
        self.ask_as(gate, 1, cost).await
    }

    async fn ask_as(&self, gate: usize, key: i64, cost: u32) -> ChargeOutcome {
        let (limiter, rules) = &self.gates[gate];
        let caller = Caller {
            key: KeySubject::ApiKey(key),
            resource: "/",
            address: Some(Ipv4Addr::LOCALHOST.into()),
            known: None,
        };
        let mut held = None;
        loop {
            let now = self.store.now();
            match limiter.admit(rules, &caller, cost, held.as_mut(), now) {
                ChargeOutcome::Ask => {
                    assert!(self.store.calls() < 20_000, "it asks for ever");
                    held = Some(limiter.ask(rules, &caller, cost, held, now).wait().await);
                }
                outcome => return outcome,
            }
        }
    }

    /// One dies, and another takes its place.
    fn replace(&mut self, gate: usize, rules: &[RuleSpec]) {
        let limits = sliding();
        let link = self.store.join();
        let limiter = Limiter::new(&limits, Some(link.sharing(&limits)));
        let rules = limiter.ruleset(1, &app("shop"), rules, None, self.store.now());
        self.links[gate] = link;
        self.gates[gate] = (limiter, rules);
    }

    /// All look at the store, as they do once a second.
    async fn look(&self) {
        for link in &self.links {
            link.look().await;
        }
    }

    async fn admitted(&self, gate: usize, tries: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += u32::from(self.ask(gate, 1).await.is_charged());
        }
        admitted
    }

    /// Moves the gates' clock and tokio's.
    async fn wait(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
        // Tasks whose time has come have their turn.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}

fn sliding() -> Limits {
    Limits::shared().algorithm(Algorithm::SlidingWindow)
}

const LEASE: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn the_first_request_asks_and_a_busy_subject_is_granted_ahead() {
    let replicas = Replicas::one(&[spec(Mode::Key, 1_000, MINUTE)]);
    assert_eq!(left(&expect_charged(replicas.ask(0, 1).await)), [999]);
    assert_eq!(replicas.store.calls(), 1);
    assert_eq!(
        (replicas.store.last().need, replicas.store.last().want),
        (1, 1)
    );
    for _ in 0..300 {
        replicas.wait(Duration::from_millis(2)).await;
        expect_charged(replicas.ask(0, 1).await);
    }
    let calls = replicas.store.calls();
    assert!(calls < 40, "{calls} calls for 300 requests");
    assert!(
        replicas.store.last().want > 40,
        "{:?}",
        replicas.store.last()
    );
    assert!(replicas.store.last().want <= 125, "an eighth at once");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_what_the_store_said_less_what_was_spent_since() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 10, MINUTE)]);
    expect_charged(replicas.ask(0, 1).await);
    assert_eq!(left(&expect_charged(replicas.ask(1, 3).await)), [6]);
    assert_eq!(left(&expect_charged(replicas.ask(0, 2).await)), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_until_it_is_over_and_no_rule_is_asked_meanwhile() {
    let rules = [spec(Mode::Key, 2, MINUTE), spec(Mode::App, 1_000, MINUTE)];
    let replicas = Replicas::one(&rules);
    assert_eq!(replicas.admitted(0, 2).await, 2);
    let refused = expect_limited(replicas.ask(0, 1).await);
    assert_eq!(refused.retry_after, Some(Duration::from_secs(61)));
    let calls = replicas.store.calls();
    for _ in 0..100 {
        assert!(!replicas.ask(0, 1).await.is_charged());
    }
    assert_eq!(replicas.store.calls(), calls);
    replicas.wait(Duration::from_secs(61)).await;
    expect_charged(replicas.ask(0, 1).await);
}

#[tokio::test(start_paused = true)]
async fn what_one_rule_granted_and_another_refused_is_given_back() {
    let rules = [spec(Mode::App, 100, MINUTE), spec(Mode::Key, 1, MINUTE)];
    let replicas = Replicas::one(&rules);
    for key in 0..20 {
        expect_charged(replicas.ask_as(0, key, 1).await);
        expect_limited(replicas.ask_as(0, key, 1).await);
        replicas.wait(LEASE).await;
    }
    replicas.wait(LEASE).await;
    // A new replica finds no more used than what has passed.
    let (limiter, _) = &replicas.gates[0];
    assert!(limiter.subjects() > 0);
    let states = expect_charged(replicas.ask_as(0, 99, 1).await);
    assert_eq!(left(&states), [79, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cost_is_granted_exactly_and_spent_at_once() {
    let replicas = Replicas::one(&[spec(Mode::Key, 80, MINUTE)]);
    expect_charged(replicas.ask(0, 50).await);
    let asked = replicas.store.last();
    assert_eq!((asked.need, asked.want), (50, 50), "more than an eighth");
    expect_limited(replicas.ask(0, 31).await);
    // A refusal of much says nothing of less.
    expect_charged(replicas.ask(0, 30).await);
    let never = expect_limited(replicas.ask(0, 81).await);
    assert_eq!(never.retry_after, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_cost_asks_and_leaves_its_unit_to_others() {
    let replicas = Replicas::one(&[spec(Mode::Key, 1, MINUTE)]);
    expect_charged(replicas.ask(0, 0).await);
    expect_charged(replicas.ask(0, 0).await);
    expect_charged(replicas.ask(0, 1).await);
    expect_limited(replicas.ask(0, 0).await);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_ask_once() {
    let replicas = Replicas::one(&[spec(Mode::Key, 1_000, MINUTE)]);
    let all = futures_util::future::join_all((0..100).map(|_| replicas.ask(0, 1))).await;
    assert!(all.iter().all(ChargeOutcome::is_charged));
    assert!(replicas.store.calls() <= 4, "{}", replicas.store.calls());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_spent_goes_back_when_the_lease_ends() {
    let replicas = Replicas::one(&[spec(Mode::Key, 1_000, MINUTE)]);
    for _ in 0..200 {
        replicas.wait(Duration::from_millis(2)).await;
        expect_charged(replicas.ask(0, 1).await);
    }
    replicas.wait(LEASE * 2).await;
    assert!(replicas.store.given_back.load(Ordering::SeqCst) > 0);
    let left_then = left(&expect_charged(replicas.ask(0, 1).await));
    assert_eq!(left_then, [799]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_until_its_deadline() {
    let limits = sliding().replicas(std::num::NonZeroU32::new(4).unwrap());
    let replicas = Replicas::new(1, &limits, &[spec(Mode::Key, 40, MINUTE)]);
    replicas.store.set(Fault::Hangs);
    let began = tokio::time::Instant::now();
    assert_eq!(replicas.admitted(0, 10).await, 10, "its share");
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_millis(200),
        "ten deadlines: {waited:?}"
    );
    assert!(waited < Duration::from_millis(250), "{waited:?}");
    expect_limited(replicas.ask(0, 1).await);
}

#[tokio::test(start_paused = true)]
async fn away_the_share_counts_what_was_spent_of_leases() {
    for (replica_count, share) in [(2, 50), (4, 25)] {
        let replicas = Replicas::one(&[spec(Mode::Key, 100, MINUTE)]);
        replicas
            .store
            .replicas
            .store(replica_count, Ordering::SeqCst);
        assert_eq!(replicas.admitted(0, 20).await, 20);
        replicas.wait(LEASE).await;
        replicas.store.set(Fault::Away);
        assert_eq!(replicas.admitted(0, 100).await, share - 20);
        let refused = expect_limited(replicas.ask(0, 1).await);
        let wait = refused.retry_after.unwrap();
        assert!(wait <= Duration::from_secs(62), "{wait:?}");
        replicas.wait(wait + Duration::from_secs(2)).await;
        assert!(replicas.ask(0, 1).await.is_charged());
    }
}

#[tokio::test(start_paused = true)]
async fn away_what_the_store_has_refused_stays_refused() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 10, MINUTE)]);
    replicas.store.replicas.store(1, Ordering::SeqCst);
    assert_eq!(replicas.admitted(0, 10).await, 10);
    expect_limited(replicas.ask(1, 1).await);
    replicas.store.set(Fault::Away);
    expect_limited(replicas.ask(1, 1).await);
}

#[tokio::test(start_paused = true)]
async fn away_without_a_share_nobody_passes_for_want_of_a_store() {
    let unknown = Replicas::one(&[spec(Mode::Key, 10, MINUTE)]);
    unknown.store.set(Fault::Away);
    assert_eq!(unknown.ask(0, 1).await, ChargeOutcome::Unavailable);
    let too_many = Replicas::one(&[spec(Mode::Key, 10, MINUTE)]);
    too_many.store.replicas.store(11, Ordering::SeqCst);
    too_many.store.set(Fault::Away);
    assert_eq!(too_many.ask(0, 1).await, ChargeOutcome::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn away_as_the_options_say() {
    let rules = [spec(Mode::Key, 10, MINUTE)];
    let refuses = Replicas::new(1, &sliding().when_away(WhenAway::Refuse), &rules);
    let admits = Replicas::new(1, &sliding().when_away(WhenAway::Admit), &rules);
    for replicas in [&refuses, &admits] {
        replicas.store.replicas.store(1, Ordering::SeqCst);
        replicas.store.set(Fault::Away);
    }
    assert_eq!(refuses.ask(0, 1).await, ChargeOutcome::Unavailable);
    assert_eq!(admits.admitted(0, 30).await, 30);
    // And told, when it is back.
    admits.store.set(Fault::None);
    expect_limited(admits.ask(0, 1).await);
    let asked = admits.store.asked.lock().unwrap();
    let told = asked.iter().map(|request| request.told).max().unwrap();
    assert!(told >= 29, "{told}");
}

#[tokio::test(start_paused = true)]
async fn back_again_it_tells_what_was_spent_before_it_asks() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(2, Ordering::SeqCst);
    assert_eq!(replicas.admitted(0, 10).await, 10);
    assert_eq!(replicas.admitted(1, 10).await, 10);
    replicas.wait(LEASE).await;
    replicas.store.set(Fault::Away);
    assert_eq!(replicas.admitted(0, 100).await, 40);
    replicas.store.set(Fault::None);
    // 60 are used: 40 of them are told now.
    assert_eq!(
        replicas.admitted(0, 100).await + replicas.admitted(1, 100).await,
        40
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_forgotten_is_told_the_whole_last_window() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 100, MINUTE)]);
    assert_eq!(replicas.admitted(0, 60).await, 60);
    replicas.wait(LEASE).await;
    replicas.store.restart();
    let again = replicas.admitted(0, 100).await;
    assert!(
        (20..=40).contains(&again),
        "{again}: the last second may be told twice"
    );
    // Who has not told knows nothing of it: that much more, and no more.
    assert_eq!(replicas.admitted(1, 100).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_forgotten_grants_nothing_until_all_have_told() {
    let replicas = Replicas::new(3, &sliding(), &[spec(Mode::Key, 30, MINUTE)]);
    replicas.store.replicas.store(3, Ordering::SeqCst);
    replicas.look().await;
    assert_eq!(replicas.admitted(0, 12).await, 12);
    replicas.store.restart();
    // By its share of 10 meanwhile, which the first has used up.
    assert_eq!(replicas.admitted(1, 30).await, 10);
    assert_eq!(replicas.admitted(0, 30).await, 0);
    // The third has nothing to tell, and asks for nothing.
    replicas.links[2].look().await;
    replicas.wait(LEASE).await;
    let mut rest = 0;
    for gate in [1, 2, 0] {
        rest += replicas.admitted(gate, 30).await;
    }
    assert_eq!(rest, 8);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_the_place_of_another_is_told_what_it_has_not_heard_of() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(2, Ordering::SeqCst);
    assert_eq!(replicas.admitted(0, 30).await, 30);
    replicas.wait(LEASE).await;
    replicas.wait(Duration::from_secs(10)).await;
    replicas.store.save();
    // What was granted within the last seconds counts, which may be more than was forgotten.
    assert_eq!(replicas.admitted(0, 10).await, 10);
    assert_eq!(replicas.admitted(1, 10).await, 10);
    replicas.store.fail_over();
    replicas.look().await;
    replicas.look().await;
    assert_eq!(replicas.admitted(1, 100).await, 50);
    assert_eq!(replicas.admitted(0, 100).await, 0);
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_other_store_by_asking_tells_it_as_well() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(2, Ordering::SeqCst);
    assert_eq!(replicas.admitted(0, 30).await, 30);
    replicas.wait(LEASE).await;
    replicas.wait(Duration::from_secs(10)).await;
    replicas.store.save();
    assert_eq!(replicas.admitted(0, 10).await, 10);
    replicas.store.fail_over();
    // By the share at most, of which 40 are spent.
    assert_eq!(replicas.admitted(0, 100).await, 10);
    replicas.look().await;
    // What it has spent by its share it tells when it asks, and what it does not spend goes back.
    for _ in 0..3 {
        replicas.wait(LEASE).await;
        replicas.ask(0, 0).await;
    }
    replicas.wait(LEASE).await;
    assert_eq!(replicas.admitted(1, 100).await, 50);
}

#[tokio::test(start_paused = true)]
async fn what_two_stores_in_a_row_have_not_heard_of_is_told() {
    let replicas = Replicas::new(3, &sliding(), &[spec(Mode::Key, 60, MINUTE)]);
    replicas.store.replicas.store(3, Ordering::SeqCst);
    let mut total = replicas.admitted(0, 1).await;
    replicas.wait(LEASE).await;
    replicas.store.save();
    total += replicas.admitted(0, 59).await;
    replicas.wait(LEASE).await;
    // The next one does not know of these 59, and is followed by one that knows all that it does.
    replicas.store.fail_over();
    for _ in 0..2 {
        total += replicas.admitted(1, 60).await;
        replicas.wait(LEASE).await;
    }
    replicas.store.save();
    replicas.store.fail_over();
    replicas.look().await;
    replicas.look().await;
    replicas.wait(LEASE).await;
    total += replicas.admitted(1, 60).await;
    replicas.store.set(Fault::Away);
    total += replicas.admitted(2, 60).await;
    assert_eq!(total, 60 + 20 + 20);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_met_again_is_told_what_was_spent_meanwhile() {
    let replicas = Replicas::new(3, &sliding(), &[spec(Mode::Key, 60, MINUTE)]);
    replicas.store.replicas.store(3, Ordering::SeqCst);
    replicas.look().await;
    // Another one takes its place, which goes on running.
    replicas.store.switch();
    replicas.store.restart();
    replicas.look().await;
    replicas.look().await;
    let mut total = replicas.admitted(0, 100).await;
    replicas.wait(LEASE).await;
    replicas.store.switch();
    total += replicas.admitted(1, 100).await;
    replicas.store.set(Fault::Away);
    total += replicas.admitted(2, 60).await;
    assert_eq!(total, 60 + 20 + 20);
}

/// A request from code that is not async, whose runtime nobody drives afterwards.
#[test]
fn a_runtime_that_stands_still_does_not_keep_a_replica_from_telling() {
    let (still, other) = (paused(), paused());
    let replicas = Replicas::one(&[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(2, Ordering::SeqCst);
    other.block_on(async {
        expect_charged(replicas.ask_as(0, 1, 1).await);
        expect_charged(replicas.ask_as(0, 2, 1).await);
    });
    replicas.store.restart();
    replicas.store.set(Fault::Takes(Duration::from_millis(15)));
    still.block_on(async { replicas.ask_as(0, 2, 1).await });
    replicas.store.set(Fault::None);
    replicas.store.replicas.store(1, Ordering::SeqCst);
    other.block_on(async {
        // Its turn lapses.
        for _ in 0..8 {
            replicas.wait(Duration::from_secs(1)).await;
            replicas.look().await;
        }
        assert!(replicas.store.is_complete());
        let before = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        for key in 10..60 {
            replicas.ask_as(0, key, 1).await;
        }
        replicas.wait(LEASE * 4).await;
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert!(tasks <= before + 1, "{before}, then {tasks}");
    });
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_tell_nothing_twice_but_what_was_told_with_them() {
    let replicas = Replicas::new(1, &sliding(), &[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(1, Ordering::SeqCst);
    for _ in 0..4 {
        assert_eq!(replicas.admitted(0, 10).await, 10);
        replicas.wait(Duration::from_secs(5)).await;
    }
    replicas.store.restart();
    // Two requests that wait in vain.
    replicas.store.replicas.store(4, Ordering::SeqCst);
    replicas.store.set(Fault::HangsAfterwards);
    assert_eq!(replicas.admitted(0, 2).await, 0);
    replicas.store.set(Fault::None);
    replicas.store.replicas.store(1, Ordering::SeqCst);
    replicas.look().await;
    replicas.look().await;
    assert_eq!(replicas.admitted(0, 100).await, 60);
}

#[tokio::test(start_paused = true)]
async fn what_an_old_store_grants_late_is_not_spent() {
    let replicas = Replicas::one(&[spec(Mode::Key, 10, MINUTE), spec(Mode::App, 90, MINUTE)]);
    replicas.store.replicas.store(1, Ordering::SeqCst);
    expect_charged(replicas.ask(0, 1).await);
    replicas.store.set(Fault::Takes(Duration::from_millis(10)));
    let late = async {
        tokio::task::yield_now().await;
        replicas.store.set(Fault::None);
        replicas.store.restart();
        replicas.look().await;
        replicas.wait(Duration::from_millis(10)).await;
    };
    let (outcome, ()) = tokio::join!(replicas.ask(0, 3), late);
    assert!(outcome.is_charged());
    assert_eq!(replicas.admitted(0, 20).await, 6, "4 of 10, once");
}

#[tokio::test(start_paused = true)]
async fn all_subjects_are_told_of_however_many_there_are() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 2, MINUTE)]);
    replicas.store.replicas.store(2, Ordering::SeqCst);
    for key in 0..100 {
        expect_charged(replicas.ask_as(0, key, 1).await);
    }
    replicas.store.restart();
    replicas.look().await;
    for key in 0..100 {
        expect_charged(replicas.ask_as(1, key, 1).await);
        expect_limited(replicas.ask_as(1, key, 1).await);
    }
}

#[tokio::test(start_paused = true)]
async fn away_who_finds_no_room_has_a_share_as_well() {
    let limits = sliding().capacity(1);
    let replicas = Replicas::new(1, &limits, &[spec(Mode::Key, 12, MINUTE)]);
    replicas.store.replicas.store(3, Ordering::SeqCst);
    replicas.store.set(Fault::Away);
    for key in 0..20 {
        let mut admitted = 0;
        for _ in 0..20 {
            admitted += u32::from(replicas.ask_as(0, key, 1).await.is_charged());
        }
        assert_eq!(admitted, 4, "key {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_trip_that_is_too_long_for_leases_puts_the_rule_on_shares() {
    let replicas = Replicas::one(&[spec(Mode::Key, 100, MINUTE)]);
    replicas.store.replicas.store(4, Ordering::SeqCst);
    // Longer than the lease itself: dead on arrival, and not refused for it.
    replicas.store.set(Fault::Takes(LEASE));
    for _ in 0..10 {
        expect_charged(replicas.ask(0, 1).await);
        replicas.wait(LEASE / 2).await;
    }
    let before = replicas.store.calls();
    assert_eq!(replicas.admitted(0, 100).await, 15, "the rest of its share");
    let slow = replicas.store.calls() - before;
    assert!(slow <= 2, "nobody waits for it any more: {slow}");
    // One now and then looks whether it is better.
    replicas.store.set(Fault::None);
    replicas.wait(LEASE).await;
    // By the share still, or by the store already.
    let first = u32::from(replicas.ask(0, 1).await.is_charged());
    replicas.wait(Duration::from_millis(1)).await;
    assert_eq!(
        first + replicas.admitted(0, 100).await,
        75,
        "all that is left"
    );
}

#[tokio::test(start_paused = true)]
async fn windows_under_a_second_are_never_asked_for() {
    let replicas = Replicas::one(&[spec(Mode::Key, 100, Duration::from_millis(900))]);
    replicas.store.replicas.store(4, Ordering::SeqCst);
    assert_eq!(replicas.admitted(0, 100).await, 25);
    replicas.wait(Duration::from_secs(1)).await;
    assert_eq!(replicas.admitted(0, 100).await, 25);
    assert_eq!(replicas.store.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn subjects_without_room_are_counted_by_the_store_each_for_itself() {
    let limits = sliding().capacity(1);
    let replicas = Replicas::new(1, &limits, &[spec(Mode::Key, 3, MINUTE)]);
    for key in 0..20 {
        let mut admitted = 0;
        for _ in 0..5 {
            admitted += u32::from(replicas.ask_as(0, key, 1).await.is_charged());
        }
        assert_eq!(admitted, 3, "key {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_booked_is_booked_in_the_store() {
    let replicas = Replicas::new(2, &sliding(), &[spec(Mode::Key, 10, MINUTE)]);
    expect_charged(replicas.ask(0, 1).await);
    let (limiter, rules) = &replicas.gates[0];
    let caller = Caller {
        key: KeySubject::ApiKey(1),
        resource: "/",
        address: None,
        known: None,
    };
    let now = replicas.store.now();
    limiter.book_debt(&limiter.charged_by(rules, &caller, now), 7, now);
    assert_eq!(replicas.admitted(0, 10).await, 2);
    assert_eq!(replicas.admitted(1, 10).await, 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Ask { gate: usize, times: u32, cost: u32 },
    Store(Fault),
    CutOff(usize, Fault),
    Look(usize),
    Restart,
    Save,
    FailOver,
    Die(usize),
}

fn steps(with_faults: bool, dying: u32) -> impl Strategy<Value = Vec<Step>> {
    let faults = || {
        prop::sample::select(vec![
            Fault::None,
            Fault::None,
            Fault::Away,
            Fault::Hangs,
            Fault::HangsAfterwards,
            Fault::Takes(Duration::from_millis(15)),
        ])
    };
    let fault = prop_oneof![
        2 => faults().prop_map(Step::Store),
        2 => (0_usize..3, faults()).prop_map(|(gate, fault)| Step::CutOff(gate, fault)),
        2 => Just(Step::Restart),
        1 => Just(Step::Save),
        1 => Just(Step::FailOver),
        4 => (0_usize..3).prop_map(Step::Look),
        dying => (0_usize..3).prop_map(Step::Die),
    ];
    let fault = fault.prop_map(move |fault| if with_faults { fault } else { Step::Wait(1) });
    let step = prop_oneof![
        3 => (0_u64..200).prop_map(Step::Wait),
        1 => (200_u64..30_000).prop_map(Step::Wait),
        6 => (0_usize..3, 1_u32..25, 1_u32..4)
            .prop_map(|(gate, times, cost)| Step::Ask { gate, times, cost }),
        2 => fault,
    ];
    prop::collection::vec(step, 1..60)
}

/// The most in any window, less what those who died then had spent.
async fn most_admitted(steps: &[Step], max: u32, window: Duration) -> u32 {
    let rules = [spec(Mode::Key, max, window)];
    let mut replicas = Replicas::new(3, &sliding(), &rules);
    replicas.store.replicas.store(3, Ordering::SeqCst);
    replicas.look().await;
    let mut admitted: Vec<(Duration, u32)> = Vec::new();
    // By whom, since it began.
    let mut own: [Vec<(Duration, u32)>; 3] = Default::default();
    for step in steps {
        match *step {
            Step::Wait(millis) => replicas.wait(Duration::from_millis(millis)).await,
            Step::Ask { gate, times, cost } => {
                for _ in 0..times {
                    let now = replicas.store.now().monotonic;
                    if replicas.ask(gate, cost).await.is_charged() {
                        own[gate].push((now, cost));
                    }
                }
            }
            Step::Die(gate) => {
                // What it had not told is no more than that.
                let now = replicas.store.now().monotonic;
                own[gate].retain(|(at, _)| *at + window <= now);
                admitted.append(&mut own[gate]);
                replicas.replace(gate, &rules);
            }
            Step::Store(fault) => replicas.store.set(fault),
            Step::CutOff(gate, fault) => replicas.store.set_for(gate, fault),
            Step::Look(gate) => replicas.links[gate].look().await,
            Step::Restart => replicas.store.restart(),
            Step::Save => replicas.store.save(),
            Step::FailOver => replicas.store.fail_over(),
        }
    }
    admitted.extend(own.into_iter().flatten());
    let within = |start: Duration| {
        let window = admitted
            .iter()
            .filter(move |(at, _)| *at >= start && *at < start + window);
        window.map(|(_, cost)| cost).sum()
    };
    admitted
        .iter()
        .map(|(at, _)| within(*at))
        .max()
        .unwrap_or(0)
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn replicas_never_admit_more_than_the_limit(
        steps in steps(false, 0),
        max in 1_u32..60,
        seconds in 1_u64..20,
    ) {
        let window = Duration::from_secs(seconds);
        let most = paused().block_on(most_admitted(&steps, max, window));
        prop_assert!(most <= max, "{most} of {max}");
    }

    /// Whatever the store does, as often as it likes: it forgets all, or what was counted since it was
    /// saved, hangs before or after it has counted, and is away for one or for all.
    #[test]
    fn replicas_never_admit_more_than_twice_the_limit(
        steps in steps(true, 0),
        max in 1_u32..60,
        seconds in 1_u64..20,
    ) {
        let window = Duration::from_secs(seconds);
        let most = paused().block_on(most_admitted(&steps, max, window));
        prop_assert!(most <= 2 * max, "{most} of {max}");
    }

    /// One that dies takes with it what it had not told: that much more, at most all that it had spent
    /// in the last window.
    #[test]
    fn replicas_that_die_cost_no_more_than_they_had_spent(
        steps in steps(true, 2),
        max in 1_u32..60,
        seconds in 1_u64..20,
    ) {
        let window = Duration::from_secs(seconds);
        let most = paused().block_on(most_admitted(&steps, max, window));
        prop_assert!(most <= 2 * max, "{most} of {max}");
    }
}
