//! What becomes of rows, changes and room, step by step.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::App;
use super::AppChange;
use super::AppStatus;
use super::apps::Apps;
use super::apps::CallSent;
use super::apps::Reading;
use super::apps::With;
use crate::api::api_keys::ApiAuthApp;
use crate::clock::Now;
use crate::gate::limit::Limiter;
use crate::gate::limit::Limits;

const MINUTE: u64 = 60;
/// More than any of these tests needs.
const ROOMY: usize = 1 << 20;

/// The map, what it needs, and a clock and a count of calls that go on by hand.
struct Stage {
    apps: Apps,
    limiter: Limiter,
    seconds: u64,
    order: u64,
    reading: Reading,
}

fn row(slug: &str, is_active: bool, rules: serde_json::Value) -> ApiAuthApp {
    serde_json::from_value(json!({
        "deployment_id": "1", "app_slug": slug, "name": slug, "key_prefix": "sk",
        "is_active": is_active, "rate_limit_scheme_slug": "tight", "rate_limits": rules,
        "created_at": "2026-11-21T22:14:52Z", "updated_at": "2026-11-21T22:14:52Z",
    }))
    .unwrap()
}

fn rule(max_requests: i32) -> serde_json::Value {
    json!([{"unit": "minute", "duration": 1, "max_requests": max_requests, "mode": "per_key"}])
}

impl Stage {
    fn new(unused_max: usize) -> Self {
        Self {
            apps: Apps::new(unused_max),
            limiter: Limiter::new(&Limits::local(), None),
            seconds: 1_000,
            order: 0,
            reading: Reading { number: 1 },
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Duration::from_secs(self.seconds),
            unix: Duration::ZERO,
        }
    }

    fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn sent(&mut self) -> CallSent {
        CallSent {
            order: self.next(),
            at: self.now(),
        }
    }

    fn take(&mut self, app: ApiAuthApp, sent: CallSent) {
        let (now, reading) = (self.now(), self.reading);
        let limiter = &self.limiter;
        self.apps.take(app, sent, reading, With { limiter, now });
    }

    /// Reads this row now.
    fn read(&mut self, slug: &str, is_active: bool, rules: serde_json::Value) {
        let sent = self.sent();
        self.take(row(slug, is_active, rules), sent);
    }

    fn app(&mut self, slug: &str) -> Arc<App> {
        let (now, reading) = (self.now(), self.reading);
        let limiter = &self.limiter;
        self.apps.app(1, slug, reading, With { limiter, now })
    }

    fn is_known(&mut self, slug: &str) -> bool {
        let (now, reading) = (self.now(), self.reading);
        let with = With {
            limiter: &self.limiter,
            now,
        };
        self.apps.known(1, slug, reading, with).is_some()
    }

    fn answered(&mut self, slug: &str, change: AppChange) {
        let (order, now) = (self.next(), self.now());
        let limiter = &self.limiter;
        self.apps
            .change_answered(slug, change, order, With { limiter, now });
    }

    fn missing(&mut self) -> Vec<Arc<str>> {
        self.apps.missing(self.reading)
    }

    fn next_reading(&mut self) {
        self.reading.number += 1;
    }
}

fn is_active(app: &App) -> bool {
    matches!(**app.status(), AppStatus::Active(_))
}

fn is_inactive(app: &App) -> bool {
    matches!(**app.status(), AppStatus::Inactive)
}

// --- what is news ---

#[test]
fn of_two_answers_the_one_that_was_asked_for_later_counts() {
    let mut stage = Stage::new(ROOMY);
    let app = stage.app("orders");
    assert!(matches!(**app.status(), AppStatus::Unknown));
    let (first, second) = (stage.sent(), stage.sent());
    stage.take(row("orders", true, rule(1)), second);
    stage.take(row("orders", false, rule(1)), first);
    assert!(is_active(&app));
}

#[test]
fn what_was_asked_for_before_a_change_was_answered_is_no_news() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    let before = stage.sent();
    stage.apps.change_sent("orders", stage.now());
    let during = stage.sent();
    stage.answered("orders", AppChange::Closed);
    assert!(is_inactive(&app), "at once");
    for early in [before, during] {
        stage.take(row("orders", true, rule(1)), early);
        stage.apps.take_gone("orders", early);
        assert!(is_inactive(&app));
    }
    stage.read("orders", true, rule(1));
    assert!(is_active(&app));
}

#[test]
fn a_change_that_was_given_up_may_come_true_for_a_minute() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    stage.apps.change_sent("orders", stage.now());
    stage.read("orders", false, rule(1));
    assert!(is_active(&app), "in flight");
    stage.apps.change_given_up("orders", stage.now());
    stage.seconds += MINUTE - 1;
    stage.read("orders", false, rule(1));
    assert!(is_active(&app), "a second too early");
    stage.seconds += 1;
    stage.read("orders", false, rule(1));
    assert!(is_inactive(&app));
}

#[test]
fn of_two_changes_the_one_still_in_flight_holds_back_what_is_asked() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    stage.apps.change_sent("orders", stage.now());
    stage.apps.change_sent("orders", stage.now());
    stage.answered("orders", AppChange::Changed);
    stage.read("orders", false, rule(1));
    assert!(is_active(&app));
    stage.answered("orders", AppChange::Nothing);
    stage.read("orders", false, rule(1));
    assert!(is_inactive(&app));
}

#[test]
fn a_change_of_which_nobody_says_what_became_of_it_is_over_after_two_minutes() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    stage.apps.change_sent("orders", stage.now());
    stage.seconds += 2 * MINUTE - 1;
    stage.read("orders", false, rule(1));
    assert!(is_active(&app));
    stage.seconds += 1;
    stage.read("orders", false, rule(1));
    assert!(is_inactive(&app));
}

#[test]
fn an_activated_app_has_its_rules_back_and_a_deleted_one_does_not_come_back() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", false, rule(1));
    let app = stage.app("orders");
    assert!(is_inactive(&app));
    stage.answered("orders", AppChange::Opened);
    assert!(is_active(&app));
    assert!(!stage.is_known("orders"), "it is to be read again");

    let sent = stage.sent();
    stage.apps.take_gone("orders", sent);
    assert!(app.is_gone());
    assert!(stage.is_known("orders"), "it is known to be gone");
    stage.answered("orders", AppChange::Opened);
    let again = stage.app("orders");
    assert!(!Arc::ptr_eq(&app, &again));
    stage.read("orders", true, rule(1));
    assert!(is_active(&again));
    assert!(app.is_gone());
}

#[test]
fn what_says_the_same_changes_nothing() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    let before = Arc::clone(&app.status());
    stage.read("orders", true, rule(1));
    assert!(Arc::ptr_eq(&before, &app.status()));
    stage.read("orders", true, rule(2));
    assert!(!Arc::ptr_eq(&before, &app.status()));
}

// --- what is missing ---

#[test]
fn only_apps_that_were_known_before_a_reading_can_be_missing_from_it() {
    let mut stage = Stage::new(ROOMY);
    for slug in ["listed", "lost", "unused"] {
        stage.read(slug, true, rule(1));
    }
    let held = [
        stage.app("listed"),
        stage.app("lost"),
        stage.app("unheard-of"),
    ];
    stage.next_reading();
    let made_since = stage.app("made-since");
    stage.read("looked-up", true, rule(1));
    let looked_up = stage.app("looked-up");
    stage.read("listed", true, rule(1));
    let mut missing = stage.missing();
    missing.sort_unstable();
    assert_eq!(
        missing.iter().map(|slug| &**slug).collect::<Vec<_>>(),
        ["lost", "unheard-of"]
    );
    assert!(is_active(&held[1]), "until it is confirmed");
    assert!(
        !stage.is_known("unused"),
        "it is to be looked up if a key comes"
    );
    drop((made_since, looked_up));

    // The one that is gone is not asked for each time.
    let sent = stage.sent();
    stage.apps.take_gone("lost", sent);
    stage.next_reading();
    stage.read("listed", true, rule(1));
    let missing = stage.missing();
    assert!(!missing.iter().any(|slug| **slug == *"lost"), "{missing:?}");
}

#[test]
fn a_row_that_is_no_news_is_still_no_gap() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    stage.next_reading();
    let page = stage.sent();
    stage.answered("orders", AppChange::Changed);
    stage.take(row("orders", true, rule(1)), page);
    assert_eq!(stage.missing(), [] as [Arc<str>; 0]);
    drop(app);
}

// --- room ---

#[test]
fn apps_without_keys_are_kept_within_their_bytes() {
    const MIB: usize = 1 << 20;
    // As many rules as apps is as bad as it gets; one scheme for all is how it mostly is.
    for (schemes, at_least) in [(1, 4_000), (i32::MAX, 1_500)] {
        let mut stage = Stage::new(MIB);
        let used = stage.app("used");
        let allocated = allocation_counter::measure(|| {
            for app in 0..30_000 {
                let slug = format!("the-app-of-user-{app:08}");
                stage.read(&slug, true, rule(app % schemes));
            }
        });
        let bytes = usize::try_from(allocated.bytes_current).unwrap();
        assert!(bytes <= MIB, "{bytes} B");
        assert!(bytes > MIB / 3, "{bytes} B");
        assert!(stage.apps.len() > at_least, "{}", stage.apps.len());
        // One that a key is shown of has its place all the same.
        stage.read("used", true, rule(1));
        assert!(is_active(&used));
    }
}

#[test]
fn beyond_the_bound_what_no_key_is_in_use_of_goes() {
    let mut stage = Stage::new(24 << 10);
    let slugs: Vec<_> = (0..200).map(|app| format!("app-{app}")).collect();
    let held: Vec<_> = slugs
        .iter()
        .map(|slug| {
            stage.read(slug, true, rule(1));
            stage.app(slug)
        })
        .collect();
    let now = stage.now();
    stage.apps.sweep(now);
    assert_eq!(stage.apps.len(), 200, "all are in use");
    drop(held);
    stage.apps.sweep(now);
    assert!(
        (100..200).contains(&stage.apps.len()),
        "{}",
        stage.apps.len()
    );
    assert!(slugs.iter().all(|slug| stage.apps.used(slug).is_none()));
    // And what was never in a list goes anyway.
    drop(stage.app("unheard-of"));
    stage.apps.sweep(now);
    assert!(stage.apps.used("unheard-of").is_none());
}

#[test]
fn an_app_that_is_not_in_use_for_a_while_keeps_its_rules() {
    let mut stage = Stage::new(ROOMY);
    stage.read("orders", true, rule(1));
    let app = stage.app("orders");
    drop(app);
    let now = stage.now();
    stage.apps.sweep(now);
    assert!(stage.apps.used("orders").is_some());
}
