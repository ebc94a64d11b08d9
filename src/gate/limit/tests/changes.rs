//! What counters become when a scheme changes.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// A gate whose scheme changes.
struct Changing {
    gate: TestGate,
}

impl Changing {
    fn new(algorithm: Algorithm, rules: &[RuleSpec]) -> Self {
        let limiter = Limiter::new(&Limits::local().algorithm(algorithm), None);
        let rules = limiter.ruleset(1, &app("shop"), rules, None, START);
        Self {
            gate: TestGate { limiter, rules },
        }
    }

    fn change(&mut self, rules: &[RuleSpec], now: Now) {
        let TestGate {
            limiter,
            rules: before,
        } = &self.gate;
        self.gate.rules = limiter.ruleset(1, &app("shop"), rules, Some(before), now);
    }

    fn admitted(&self, path: &str, now: Now) -> usize {
        (0..100)
            .filter(|_| self.gate.ask(1, 1, path, now).is_charged())
            .count()
    }
}

#[test]
fn a_raised_limit_lets_no_burst_through_before_the_old_window_is_over() {
    for algorithm in ALGORITHMS {
        let mut changing = Changing::new(algorithm, &[spec(Mode::Key, 3, HOUR)]);
        assert_eq!(changing.admitted("/", START), 3);
        changing.change(&[spec(Mode::Key, 10, HOUR)], START);
        let refused = changing.gate.expect_refused(1, 1, "/");
        assert_eq!(refused.violated, [Arc::from("per_key:10/3600s")]);
        let headers = changing
            .gate
            .headers(&refused.states, RateLimitHeaders::Draft);
        let wait = refused.retry_after.unwrap().as_secs();
        let expected = format!("\"per_key:10/3600s\";r=0;t={wait}");
        assert_eq!(headers["ratelimit"], expected.as_str());
        // It is as if the old rule were still there, until its window is over.
        let at_the_wait = later(refused.retry_after.unwrap());
        assert!(changing.gate.ask(1, 1, "/", at_the_wait).is_charged());
        let over = later(HOUR);
        assert!(changing.admitted("/", over) >= 9);
    }
}

#[test]
fn a_lowered_limit_holds_at_once_and_adds_nothing_to_what_the_old_one_left() {
    for algorithm in ALGORITHMS {
        let mut changing = Changing::new(algorithm, &[spec(Mode::Key, 10, HOUR)]);
        assert!(changing.gate.ask(1, 1, "/", START).is_charged());
        changing.change(&[spec(Mode::Key, 3, HOUR)], START);
        assert_eq!(changing.admitted("/", START), 3);

        let mut changing = Changing::new(algorithm, &[spec(Mode::Key, 10, HOUR)]);
        assert_eq!(changing.admitted("/", START), 10);
        changing.change(&[spec(Mode::Key, 3, HOUR)], START);
        assert_eq!(changing.admitted("/", START), 0);
    }
}

#[test]
fn many_changes_in_a_row_let_no_burst_through() {
    for algorithm in ALGORITHMS {
        let mut changing = Changing::new(algorithm, &[spec(Mode::Key, 5, HOUR)]);
        let mut admitted = changing.admitted("/", START);
        for max in [6, 7, 50, 5, 8, 5, 9] {
            changing.change(&[spec(Mode::Key, max, HOUR)], START);
            admitted += changing.admitted("/", START);
        }
        assert_eq!(admitted, 5);
    }
}

#[test]
fn another_window_or_unit_in_place_of_the_old_one_is_a_change_too() {
    let minute = Window::from(MINUTE);
    let day = Window::Calendar(CalendarUnit::Day);
    for (old, new) in [(minute, day), (day, minute), (minute, Window::from(HOUR))] {
        let mut changing = Changing::new(Algorithm::Gcra, &[spec(Mode::Key, 3, old)]);
        assert_eq!(changing.admitted("/", START), 3);
        changing.change(&[spec(Mode::Key, 20, new)], START);
        assert_eq!(changing.admitted("/", START), 0);
    }
}

#[test]
fn a_calendar_rule_that_is_replaced_has_its_say_until_its_day_is_over() {
    let day = Window::Calendar(CalendarUnit::Day);
    let mut changing = Changing::new(Algorithm::Gcra, &[spec(Mode::Key, 3, day)]);
    let moment = |seconds| Now {
        monotonic: START.monotonic + Duration::from_secs(seconds),
        unix: Duration::from_secs(1_000 * 86_400 - 60 + seconds),
    };
    assert_eq!(changing.admitted("/", moment(0)), 3);
    changing.change(&[spec(Mode::Key, 20, day)], moment(0));
    assert_eq!(changing.admitted("/", moment(59)), 0);
    assert_eq!(changing.admitted("/", moment(60)), 20);
}

#[test]
fn what_stays_of_an_old_rule_survives_the_next_look_at_the_scheme() {
    let mut changing = Changing::new(Algorithm::SlidingWindow, &[spec(Mode::Key, 3, HOUR)]);
    assert_eq!(changing.admitted("/", START), 3);
    for minutes in 0..60 {
        let now = later(minutes * MINUTE);
        changing.change(&[spec(Mode::Key, 10, HOUR)], now);
        assert_eq!(changing.admitted("/", now), 0, "after {minutes} minutes");
    }
    let over = later(HOUR);
    assert_eq!(changing.admitted("/", over), 10);
    changing.change(&[spec(Mode::Key, 10, HOUR)], over);
    let (_, entry) = changing.gate.rules.matching("/").next().unwrap();
    assert!(entry.departed.is_empty(), "it is forgotten");
}

#[test]
fn an_old_rule_has_a_say_only_where_both_apply_and_counts_once() {
    let old = only(&["/a", "/b"], spec(Mode::Key, 2, HOUR));
    let mut changing = Changing::new(Algorithm::Gcra, &[old]);
    // Split in two: both take its place.
    let halves = [
        only(&["/a", "/c"], spec(Mode::Key, 20, HOUR)),
        only(&["/b", "/a"], spec(Mode::Key, 30, HOUR)),
        only(&["/d"], spec(Mode::Key, 40, HOUR)),
    ];
    changing.change(&halves, START);
    assert_eq!(changing.admitted("/a", START), 2);
    assert_eq!(changing.admitted("/b", START), 0);
    assert_eq!(changing.admitted("/c", START), 18);
    assert_eq!(changing.admitted("/d", START), 40);
}

#[test]
fn a_rule_that_goes_without_a_successor_is_gone_at_once() {
    let rules = [spec(Mode::Key, 1, HOUR), spec(Mode::App, 50, HOUR)];
    let mut changing = Changing::new(Algorithm::Gcra, &rules);
    assert_eq!(changing.admitted("/", START), 1);
    changing.change(&rules[1..], START);
    assert_eq!(changing.admitted("/", START), 49);
    // One that is added where none was, or that is of another mode, starts with nothing used.
    changing.change(&[rules[1].clone(), spec(Mode::Ip, 7, HOUR)], START);
    assert_eq!(changing.admitted("/", START), 0);
    changing.change(&[spec(Mode::Ip, 7, HOUR)], START);
    assert_eq!(changing.admitted("/", START), 7);
}

#[test]
fn a_rule_that_comes_back_has_kept_its_counters() {
    let mut changing = Changing::new(Algorithm::SlidingWindow, &[spec(Mode::Key, 5, HOUR)]);
    assert!(changing.gate.ask(1, 1, "/", START).is_charged());
    changing.change(&[spec(Mode::Key, 8, HOUR)], START);
    assert!(changing.gate.ask(1, 1, "/", START).is_charged());
    changing.change(&[spec(Mode::Key, 5, HOUR)], START);
    assert_eq!(changing.admitted("/", START), 3);
}

#[test]
fn a_rule_that_goes_has_its_say_beside_one_that_was_there_before() {
    for algorithm in ALGORITHMS {
        let [narrow, wide] = [3, 10].map(|max| spec(Mode::Key, max, HOUR));
        let mut changing = Changing::new(algorithm, &[narrow, wide.clone()]);
        assert_eq!(changing.admitted("/", START), 3);
        changing.change(&[wide], START);
        assert_eq!(changing.admitted("/", START), 0);
        assert!(changing.admitted("/", later(HOUR)) >= 7);
    }
}

#[test]
fn a_rule_that_went_while_nothing_was_in_its_place_is_remembered() {
    for algorithm in ALGORITHMS {
        let mut changing = Changing::new(algorithm, &[spec(Mode::Key, 3, HOUR)]);
        assert_eq!(changing.admitted("/", START), 3);
        changing.change(&[spec(Mode::App, 5, HOUR)], START);
        assert_eq!(changing.admitted("/", START), 5);
        changing.change(&[spec(Mode::Key, 10, HOUR)], START);
        assert_eq!(changing.admitted("/", START), 0);
        assert!(changing.admitted("/", later(HOUR)) >= 9);
    }
}

/// Of rules that may be in a scheme: the limit, the window in seconds, and the endpoints.
const POOL: [(u32, u64, &[&str]); 6] = [
    (3, 10, &["*"]),
    (4, 10, &["*"]),
    (5, 25, &["*"]),
    (2, 25, &["/a"]),
    (6, 60, &["/a", "/b"]),
    (1, 5, &["/b"]),
];

#[derive(Clone, Debug)]
enum Step {
    /// These of the pool are the scheme now.
    Change(Vec<usize>),
    Request(&'static str),
}

/// Steps, and the milliseconds that pass before each.
fn steps(of: std::ops::Range<usize>, fewest: usize) -> impl Strategy<Value = Vec<(u64, Step)>> {
    let scheme = subsequence(of.collect::<Vec<_>>(), fewest..=3);
    let step = prop_oneof![
        1 => scheme.prop_map(Step::Change),
        5 => select(vec!["/a", "/b", "/c"]).prop_map(Step::Request),
    ];
    // Mostly bunched.
    let gap = (0..6_000_u64, any::<bool>()).prop_map(|(gap, moves)| gap * u64::from(moves));
    prop::collection::vec((gap, step), 1..300)
}

fn of_pool(scheme: &[usize]) -> Vec<RuleSpec> {
    let rule = |place: &usize| {
        let (max, seconds, endpoints) = POOL[*place];
        only(
            endpoints,
            spec(Mode::Key, max, Duration::from_secs(seconds)),
        )
    };
    scheme.iter().map(rule).collect()
}

/// Every rule of the pool with a log of all that it has counted.
#[derive(Default)]
struct PerfectLogs {
    scheme: Vec<usize>,
    logs: [Vec<u64>; POOL.len()],
    /// Until when those that have gone have a say.
    until: [u64; POOL.len()],
}

impl PerfectLogs {
    fn change(&mut self, scheme: &[usize], now: u64) {
        for gone in self.scheme.iter().filter(|rule| !scheme.contains(rule)) {
            self.until[*gone] = now + POOL[*gone].1 * 1_000;
        }
        scheme.iter().for_each(|rule| self.until[*rule] = 0);
        self.scheme = scheme.to_vec();
    }

    fn admits(&mut self, path: &str, now: u64) -> bool {
        let matches = |rule: &usize| {
            POOL[*rule]
                .2
                .iter()
                .any(|endpoint| ["*", path].contains(endpoint))
        };
        if !self.scheme.iter().any(matches) {
            return true;
        }
        let has_a_say = |rule: &usize| self.scheme.contains(rule) || now < self.until[*rule];
        let rules: Vec<usize> = (0..POOL.len()).filter(matches).filter(has_a_say).collect();
        let admits = rules.iter().all(|rule| {
            let (max, seconds, _) = POOL[*rule];
            let counts = |at: &&u64| **at + seconds * 1_000 > now;
            self.logs[*rule].iter().filter(counts).count() < max as usize
        });
        if admits {
            rules.iter().for_each(|rule| self.logs[*rule].push(now));
        }
        admits
    }
}

proptest! {
    #[test]
    fn any_changes_are_decided_as_by_perfect_logs(steps in steps(0..POOL.len(), 0)) {
        let mut changing = Changing::new(Algorithm::SlidingWindow, &[]);
        let mut perfect = PerfectLogs::default();
        let mut millis = 0;
        for (gap, step) in steps {
            millis += gap;
            let now = later(Duration::from_millis(millis));
            match step {
                Step::Change(scheme) => {
                    changing.change(&of_pool(&scheme), now);
                    perfect.change(&scheme, millis);
                }
                Step::Request(path) => {
                    let admitted = changing.gate.ask(1, 1, path, now).is_charged();
                    prop_assert_eq!(admitted, perfect.admits(path, millis));
                }
            }
        }
    }

    /// With rules that are all for the same requests.
    #[test]
    fn no_changes_admit_more_than_the_rules_in_force_when_a_window_began(
        steps in steps(0..3, 1),
        algorithm in select(ALGORITHMS.to_vec()),
    ) {
        let mut scheme = vec![0];
        let mut changing = Changing::new(algorithm, &of_pool(&scheme));
        let mut admitted: Vec<(u64, Vec<usize>)> = Vec::new();
        let mut millis = 0;
        for (gap, step) in steps {
            millis += gap;
            let now = later(Duration::from_millis(millis));
            match step {
                Step::Change(next) => {
                    changing.change(&of_pool(&next), now);
                    scheme = next;
                }
                Step::Request(path) => {
                    if changing.gate.ask(1, 1, path, now).is_charged() {
                        admitted.push((millis, scheme.clone()));
                    }
                }
            }
        }
        for (index, (from, in_force)) in admitted.iter().enumerate() {
            for rule in in_force {
                let (max, seconds, _) = POOL[*rule];
                let most = match algorithm {
                    Algorithm::Gcra => 2 * max - 1,
                    Algorithm::SlidingWindow => max,
                };
                let within = |(at, _): &&(u64, Vec<usize>)| *at < from + seconds * 1_000;
                let count = admitted[index..].iter().take_while(within).count();
                prop_assert!(count <= most as usize, "{count} of {most} in {seconds} s");
            }
        }
    }
}
