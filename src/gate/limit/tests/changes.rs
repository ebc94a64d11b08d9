//! What counters become when a scheme changes.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

/// A gate whose scheme changes.
struct Changing {
    gate: Gate,
}

impl Changing {
    fn new(algorithm: Algorithm, rules: &[RuleSpec]) -> Self {
        let limiter = Limiter::new(&Limits::local().algorithm(algorithm));
        let rules = limiter.ruleset(1, &app("shop"), rules, None, START);
        Self {
            gate: Gate { limiter, rules },
        }
    }

    fn change(&mut self, rules: &[RuleSpec], now: Now) {
        let Gate {
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
        let wait = refused.retry_after.as_secs();
        let expected = format!("\"per_key:10/3600s\";r=0;t={wait}");
        assert_eq!(headers["ratelimit"], expected.as_str());
        // It is as if the old rule were still there, until its window is over.
        let at_the_wait = later(refused.retry_after);
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
    assert_eq!(changing.gate.rules.rules().count(), 1);
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
