//! Models of the races between who begins to wait, what ends the caller, and who gives up: see
//! [`model`](crate::sync::model).
//!
//! Real here: [`Ended`], [`Waiting`], [`Revocations`] and the verdict, over shuttle's atomics and
//! mutexes in place of std's. Made up: the threads, and the wakers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::task::{Wake, Waker};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::gate::directory::App;
use crate::gate::permission::Permissions;
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::revocations::Sent;
use crate::gate::verdict::{End, Identity, PrincipalKind};
use crate::gate::waiting::{Name, Waiting};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::model::{both, many};

const APP: &str = "orders";
const KEY_ID: i64 = 7;
const KEY: Name<'static> = Name::Key {
    app: APP,
    key_id: KEY_ID,
};

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A caller, and what may end it.
struct Scene {
    revocations: Arc<Revocations>,
    caller: Principal,
}

/// One that waits, as the executor that polls it sees it.
struct Waiter {
    ended: Ended,
    woken: Arc<Woken>,
}

impl Scene {
    fn new() -> Arc<Self> {
        let waiting = Arc::new(Waiting::new(Clock::system()));
        let revocations = Arc::new(Revocations::new(Duration::from_secs(1_000), waiting));
        let app = Arc::new(App::new(1, APP.into()));
        let identity = Identity {
            kind: PrincipalKind::ApiKey,
            key_id: KEY_ID,
            key_name: Box::default(),
            app_slug: Arc::clone(app.slug()),
            deployment_id: 1,
            owner_user_id: None.into(),
            organization_id: None.into(),
            workspace_id: None.into(),
            organization_membership_id: None.into(),
            workspace_membership_id: None.into(),
            permissions: Permissions::default(),
            metadata: serde_json::Value::Null,
        };
        let sent = Sent {
            at: Clock::system().now(),
            after: revocations.latest(),
        };
        let digest = KeyDigest::of("a key");
        let verdict = Verdict::new(digest, identity, app, End::Unknown, sent, &revocations);
        Arc::new(Self {
            caller: Principal::new(Arc::new(verdict), Answers::default()),
            revocations,
        })
    }

    fn waiter(&self) -> Waiter {
        Waiter {
            ended: Ended::new(&self.caller),
            woken: Arc::default(),
        }
    }

    fn waiting(&self) -> &Waiting {
        &self.revocations.waiting
    }

    fn revoke(&self) {
        let now = self.waiting().clock().now();
        let id = self.revocations.record(KEY, now);
        self.revocations.confirm(KEY, id, None, now);
    }

    /// As the cache does with a definite no.
    fn refuse(&self) {
        self.caller.verdict().withdraw();
        self.waiting().refused(KeyDigest::of("a key"), true);
    }

    /// The same after another verdict has taken the place of this one.
    fn refuse_another(&self) {
        self.waiting().refused(KeyDigest::of("a key"), true);
    }
}

impl Waiter {
    fn has_ended(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        Pin::new(&mut self.ended).poll(&mut cx).is_ready()
    }

    /// What the executor makes of it: it is polled again if it was woken.
    fn settles(&mut self) -> bool {
        self.woken.0.swap(0, Ordering::SeqCst) > 0 && self.has_ended()
    }
}

#[test]
fn no_end_is_missed_by_who_begins_to_wait_meanwhile() {
    for end in [Scene::revoke, Scene::refuse] {
        many(move || {
            let scene = Scene::new();
            let mut waiter = scene.waiter();
            let ending = Arc::clone(&scene);
            let mut has_ended = false;
            both(
                move || end(&ending),
                || has_ended = waiter.has_ended() || waiter.settles(),
            );
            assert!(has_ended || waiter.settles(), "it waits for ever");
            assert_eq!(scene.waiting().len(), 0);
        });
    }
}

#[test]
fn no_end_is_missed_by_who_is_polled_meanwhile() {
    for end in [Scene::revoke, Scene::refuse, Scene::refuse_another] {
        many(move || {
            let scene = Scene::new();
            let mut waiter = scene.waiter();
            assert!(!waiter.has_ended());
            let ending = Arc::clone(&scene);
            let mut has_ended = false;
            // For another reason, and by another task than before.
            waiter.woken = Arc::default();
            both(move || end(&ending), || has_ended = waiter.has_ended());
            assert!(has_ended || waiter.settles(), "it waits for ever");
        });
    }
}

#[test]
fn a_revocation_that_is_taken_back_leaves_nobody_ended_who_looks_after_that() {
    many(|| {
        let scene = Scene::new();
        let mut waiter = scene.waiter();
        assert!(!waiter.has_ended());
        let ending = Arc::clone(&scene);
        let mut has_ended = false;
        both(
            move || {
                let now = ending.waiting().clock().now();
                let id = ending.revocations.record(KEY, now);
                ending.revocations.undo(id);
            },
            || has_ended = waiter.has_ended(),
        );
        assert!(has_ended || !waiter.has_ended());
    });
}

#[test]
fn who_gives_up_while_his_caller_ends_leaves_nothing_and_takes_nobody_along() {
    many(|| {
        let scene = Scene::new();
        let mut stays = scene.waiter();
        let mut goes = scene.waiter();
        assert!(!stays.has_ended() && !goes.has_ended());
        let ending = Arc::clone(&scene);
        both(move || ending.revoke(), move || drop(goes));
        assert_eq!(scene.waiting().len(), 1);
        assert!(stays.settles());
        assert_eq!(scene.waiting().len(), 0);
        assert!(!scene.waiting().waits_for_key_of(APP));
    });
}

#[test]
fn one_of_those_who_wait_takes_over_if_the_other_goes() {
    many(|| {
        let scene = Scene::new();
        let mut stays = scene.waiter();
        let mut goes = scene.waiter();
        assert!(!goes.has_ended() && !stays.has_ended());
        let calling = Arc::clone(&scene);
        both(move || calling.waiting().wake_one(), move || drop(goes));
        assert!(
            stays.woken.0.load(Ordering::SeqCst) > 0,
            "nobody takes over"
        );
    });
}
