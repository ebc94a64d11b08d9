//! Requests at the same time.

use super::*;

#[test]
fn who_loses_the_race_after_the_look_gets_everything_back() {
    let gate = TestGate::new(&[
        spec(Mode::Key, 5, MINUTE),
        spec(Mode::Ip, 5, MINUTE),
        spec(Mode::App, 1, MINUTE),
        spec(Mode::AppAndIp, 5, MINUTE),
    ]);
    let refused = gate.refused_after_the_look(1, START);
    assert_eq!(refused.violated, [Arc::from("per_app:1/60s")]);
    assert_eq!(refused.retry_after, Some(MINUTE));
    assert_eq!(left(&refused.states), [4, 4, 0, 4]);
}

#[test]
fn many_requests_at_one_instant_on_many_threads_admit_the_limit_exactly() {
    const LIMIT: usize = 500;
    let narrow = spec(Mode::App, LIMIT as u32, MINUTE);
    let wide = spec(Mode::Key, 100_000, MINUTE);
    for rules in [[narrow.clone(), wide.clone()], [wide, narrow]] {
        let gate = TestGate::new(&rules);
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let ask = || usize::from(gate.ask(1, 1, "/", START).is_charged());
                        (0..1_000).map(|_| ask()).sum::<usize>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(admitted, LIMIT);
        // The losers' charges of the wide rule were all given back.
        let refused = gate.expect_refused(1, 1, "/");
        let left: u32 = left(&refused.states).into_iter().sum();
        assert_eq!(left, 100_000 - LIMIT as u32);
    }
}

#[test]
fn two_narrow_rules_racing_never_exceed_either() {
    let gate = TestGate::new(&[spec(Mode::Key, 200, MINUTE), spec(Mode::App, 300, MINUTE)]);
    let admitted: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = [1, 2, 1, 2]
            .map(|key| {
                let gate = &gate;
                scope.spawn(move || {
                    (0..1_000)
                        .filter(|_| gate.ask(key, 1, "/", START).is_charged())
                        .count()
                })
            })
            .into_iter()
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let [a, b, c, d] = admitted[..] else {
        unreachable!()
    };
    assert!(a + c <= 200 && b + d <= 200, "{admitted:?}");
    assert_eq!(a + b + c + d, 300);
}
