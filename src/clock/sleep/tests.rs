use std::sync::Arc;

use super::*;
use crate::sync::woken::Woken;

fn poll(sleep: &mut SleepUntil, woken: &Arc<Woken>) -> bool {
    let waker = Arc::clone(woken).into();
    Pin::new(sleep)
        .poll(&mut Context::from_waker(&waker))
        .is_ready()
}

fn in_seconds(now: Now, monotonic: u64, unix: u64) -> Now {
    Now {
        monotonic: now.monotonic + Duration::from_secs(monotonic),
        unix: now.unix + Duration::from_secs(unix),
    }
}

fn sleepers(clock: &ManualClock) -> usize {
    moved(&clock.0).sleepers.len()
}

#[test]
fn a_clock_moved_by_hand_wakes_those_whose_time_has_come_and_nobody_else() {
    let manual = ManualClock::new();
    let clock = Clock::from(&manual);
    let now = clock.now();
    let (soon, later) = (Arc::<Woken>::default(), Arc::<Woken>::default());
    let mut first = clock.sleep_until(in_seconds(now, 10, 10));
    let mut second = clock.sleep_until(in_seconds(now, 11, 11));
    assert!(!poll(&mut first, &soon) && !poll(&mut second, &later));
    manual.advance(Duration::from_secs(9));
    assert_eq!((soon.times(), later.times()), (0, 0));
    manual.advance(Duration::from_secs(1));
    assert_eq!((soon.times(), later.times()), (1, 0));
    assert!(poll(&mut first, &soon) && !poll(&mut second, &later));
}

#[test]
fn either_clock_ends_it() {
    for (monotonic, unix, set) in [(5, 1_000, false), (1_000, 5, true)] {
        let manual = ManualClock::new();
        let clock = Clock::from(&manual);
        let woken = Arc::<Woken>::default();
        let mut sleep = clock.sleep_until(in_seconds(clock.now(), monotonic, unix));
        assert!(!poll(&mut sleep, &woken));
        match set {
            true => manual.set_unix_time(manual.unix_time() + Duration::from_secs(5)),
            false => manual.advance(Duration::from_secs(5)),
        }
        assert_eq!(woken.times(), 1);
        assert!(poll(&mut sleep, &woken));
    }
}

#[test]
fn who_polls_last_is_woken_and_a_dropped_sleep_leaves_nothing() {
    let manual = ManualClock::new();
    let clock = Clock::from(&manual);
    let [before, last] = [(); 2].map(|()| Arc::<Woken>::default());
    let mut sleep = clock.sleep_until(in_seconds(clock.now(), 5, 5));
    assert!(!poll(&mut sleep, &before) && !poll(&mut sleep, &last));
    assert_eq!(sleepers(&manual), 1);
    let mut dropped = clock.sleep_until(in_seconds(clock.now(), 5, 5));
    assert!(!poll(&mut dropped, &before));
    drop(dropped);
    assert_eq!(sleepers(&manual), 1);
    manual.advance(Duration::from_secs(5));
    assert_eq!((before.times(), last.times()), (0, 1));
    assert_eq!(sleepers(&manual), 0);
}

#[tokio::test]
async fn the_systems_clock_wakes_by_tokios_timer() {
    let clock = Clock::system();
    let now = clock.now();
    let soon = Now {
        monotonic: now.monotonic + Duration::from_millis(5),
        unix: Duration::MAX,
    };
    clock.sleep_until(soon).await;
    assert!(clock.now().has_reached(soon));
    // By the wall clock alone.
    let soon = Now {
        monotonic: Duration::MAX,
        unix: clock.now().unix + Duration::from_millis(5),
    };
    clock.sleep_until(soon).await;
    assert!(clock.now().has_reached(soon));
}

#[test]
fn it_goes_on_on_another_runtime_after_its_own_is_gone_and_is_no_panic_without_one() {
    let clock = Clock::system();
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().build().unwrap()
    };
    let woken = Arc::<Woken>::default();
    let mut sleep = clock.sleep_until(Now {
        monotonic: clock.now().monotonic + Duration::from_millis(20),
        unix: Duration::MAX,
    });
    assert!(!poll(&mut sleep, &woken));
    let first = runtime();
    first.block_on(async { assert!(!poll(&mut sleep, &woken)) });
    drop(first);
    runtime().block_on(sleep);
}
