//! Nobody's liveness hangs on another's runtime: what one runtime has begun and does not go on with is
//! begun again by another.

use std::convert::Infallible;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service};
use wacht_auth::dev::DevKey;
use wacht_auth::{Limits, RejectionKind};

use crate::scene::{Echo, Met, Scene, eventually, get, made_up};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for an answer on a busy machine within a quarter, short enough to wait for half of it.
const DEADLINE: Duration = Duration::from_secs(4);

/// A runtime that stands still whenever nobody blocks on it.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A gate that is used from a runtime that goes on, and from others.
struct Stage {
    main: Runtime,
    scene: Scene,
    echo: Echo,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let main = Runtime::new().unwrap();
        let scene = main.block_on(Scene::new());
        let builder = scene.builder().deadline(DEADLINE).limits(limits);
        let stage = Self {
            echo: Echo::behind(builder.build().unwrap()),
            main,
            scene,
        };
        // The deployment is known, and the app.
        stage.passes(&stage.scene.key());
        stage.scene.wacht.journal().clear();
        stage
    }

    fn checks(&self) -> usize {
        self.scene.wacht.journal().checks()
    }

    /// Begins requests with these keys on a runtime, which is left when so many checks have been
    /// sent.
    fn begin<'a>(
        &self,
        runtime: &Runtime,
        secrets: impl IntoIterator<Item = &'a str>,
        sent: usize,
    ) {
        let before = self.checks();
        runtime.block_on(async {
            for secret in secrets {
                self.echo.spawn_get(secret);
            }
            let journal = self.scene.wacht.journal();
            soon(journal.wait_for_checks(before + sent)).await;
        });
    }

    fn passes(&self, key: &DevKey) {
        let met = self.main.block_on(soon(self.echo.get(key.secret())));
        met.assert_ok();
    }

    /// A verdict of this age, as far as the gate knows.
    fn known(&self, age: Duration) -> DevKey {
        let key = self.scene.key();
        self.passes(&key);
        self.scene.clock.advance(age);
        self.scene.wacht.journal().clear();
        key
    }
}

/// What must not hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    let what = tokio::time::timeout(20 * SECOND, what);
    what.await.expect("it hangs")
}

#[test]
fn who_joins_a_check_that_nobody_drives_asks_once_more() {
    let stage = Stage::new(Limits::local());
    let (key, still) = (stage.scene.key(), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret()], 1);
    held.release();
    stage.main.block_on(async {
        let joined = join_all((0..20).map(|_| stage.echo.get(key.secret())));
        for met in soon(joined).await {
            met.assert_ok();
        }
    });
    assert_eq!(stage.checks(), 2, "one of them has asked for all");
    drop(still);
}

#[test]
fn who_joins_from_a_runtime_of_its_own_asks_once_more() {
    let stage = Stage::new(Limits::local());
    let (key, still) = (stage.scene.key(), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret()], 1);
    held.release();
    let met = thread::scope(|scope| {
        let joined = scope.spawn(|| one_thread().block_on(soon(stage.echo.get(key.secret()))));
        joined.join().unwrap()
    });
    met.assert_ok();
    assert_eq!(stage.checks(), 2);
    drop(still);
}

#[test]
fn who_joins_a_refresh_that_nobody_drives_asks_once_more() {
    let stage = Stage::new(Limits::local());
    let (key, still) = (stage.known(59 * SECOND), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret()], 1);
    held.release();
    // Too old to be used before the gateway has said something.
    stage.scene.clock.advance(2 * SECOND);
    stage.passes(&key);
    assert_eq!(stage.checks(), 2);
    drop(still);
}

#[test]
fn a_refresh_that_nobody_drives_is_sent_again_after_the_deadline() {
    let stage = Stage::new(Limits::local());
    let (key, still) = (stage.known(31 * SECOND), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret()], 1);
    held.release();
    for _ in 0..10 {
        stage.passes(&key);
    }
    assert_eq!(stage.checks(), 1, "it has until the deadline");
    stage.scene.clock.advance(DEADLINE);
    stage.passes(&key);
    let journal = stage.scene.wacht.journal();
    stage.main.block_on(soon(journal.wait_for_checks(2)));
    drop(still);
}

#[test]
fn checks_that_nobody_drives_keep_their_places_no_longer_than_the_deadline() {
    for limits in [Limits::local(), Limits::gateway()] {
        let stage = Stage::new(limits);
        let still = one_thread();
        let held = stage.scene.wacht.hold_checks();
        let secrets: Vec<String> = (0..200).map(made_up).collect();
        stage.begin(&still, secrets.iter().map(String::as_str), 128);
        held.release();
        stage.scene.clock.advance(DEADLINE);
        for _ in 0..3 {
            stage.passes(&stage.scene.key());
        }
        drop(still);
    }
}

#[test]
fn who_asks_once_more_takes_the_place_of_the_check_that_nobody_drives() {
    let stage = Stage::new(Limits::local());
    let still = one_thread();
    let keys: Vec<_> = (0..128).map(|_| stage.scene.key()).collect();
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, keys.iter().map(DevKey::secret), 128);
    held.release();
    // All places are taken, and the clock stands still.
    stage.main.block_on(async {
        for met in soon(join_all(
            keys.iter().map(|key| stage.echo.get(key.secret())),
        ))
        .await
        {
            met.assert_ok();
        }
    });
    assert_eq!(stage.checks(), 256);
    drop(still);
}

#[test]
fn one_busy_thread_of_many_holds_up_none_of_the_others() {
    let stage = Stage::new(Limits::local());
    let key = stage.scene.key();
    let held = stage.scene.wacht.hold_checks();
    let journal = stage.scene.wacht.journal();
    thread::scope(|scope| {
        let (free, is_busy) = mpsc::channel::<()>();
        let (tell, begins) = mpsc::channel();
        let (echo, secret) = (stage.echo.clone(), key.secret());
        scope.spawn(move || {
            one_thread().block_on(async {
                let own = echo.spawn_get(secret);
                journal.wait_for_checks(1).await;
                // A handler that blocks its thread, until the test is over or has failed.
                tell.send(()).unwrap();
                let _ = is_busy.recv();
                soon(own).await.unwrap().assert_ok();
            });
        });
        begins.recv().unwrap();
        held.release();
        let others: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| one_thread().block_on(soon(stage.echo.get(key.secret())))))
            .collect();
        for other in others {
            other.join().unwrap().assert_ok();
        }
        drop(free);
    });
    assert_eq!(stage.checks(), 2);
}

#[test]
fn a_thread_that_was_busy_is_no_gateway_that_is_down() {
    let stage = Stage::new(Limits::local());
    let gate = |deadline| stage.scene.builder().deadline(deadline).build().unwrap();
    let (layer, still) = (gate(SECOND), one_thread());
    let echo = Echo::behind(layer.clone());
    let journal = stage.scene.wacht.journal();
    let held = stage.scene.wacht.hold_checks();
    still.block_on(async {
        for number in 0..5 {
            echo.spawn_get(&made_up(number));
        }
        soon(journal.wait_for_checks(5)).await;
    });
    // Their time runs out while nobody looks after them: this one has more, and was sent later.
    let longer = Echo::behind(gate(3 * SECOND));
    let met = stage.main.block_on(soon(longer.get(&made_up(5))));
    met.assert_refused(RejectionKind::Unavailable);
    held.release();
    still.block_on(eventually(async || layer.handle().stats().in_flight == 0));
    assert!(layer.handle().stats().gateway_trusted);
}

#[test]
fn checks_that_end_with_their_runtime_are_begun_again() {
    for threads in [0, 1] {
        let stage = Stage::new(Limits::local());
        let key = stage.scene.key();
        let held = stage.scene.wacht.hold_checks();
        let doomed = match threads {
            0 => one_thread(),
            _ => Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()
                .unwrap(),
        };
        stage.begin(&doomed, [key.secret()], 1);
        let followers = stage.main.block_on(async {
            let followers: Vec<_> = (0..5).map(|_| stage.echo.spawn_get(key.secret())).collect();
            tokio::task::yield_now().await;
            followers
        });
        doomed.shutdown_background();
        held.release();
        for met in stage.main.block_on(soon(join_all(followers))) {
            met.unwrap().assert_ok();
        }
        assert_eq!(stage.checks(), 2);
    }
}

#[test]
fn runtimes_one_after_the_other_share_one_gate() {
    let stage = Stage::new(Limits::local());
    let known = stage.known(31 * SECOND);
    for round in 0..10 {
        let key = stage.scene.key();
        // As with `#[tokio::test]`: whatever it has begun ends with it.
        one_thread().block_on(async {
            soon(stage.echo.get(key.secret())).await.assert_ok();
            soon(stage.echo.get(known.secret())).await.assert_ok();
        });
        // The refresh may have ended with its runtime, and is due again then.
        assert!((round + 1..=2 * (round + 1)).contains(&stage.checks()));
        stage.passes(&key);
    }
}

#[test]
fn a_check_of_ones_own_that_nobody_drives_holds_up_nobody_else() {
    let stage = Stage::new(Limits::gateway());
    let (key, still) = (stage.scene.key(), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret()], 1);
    held.release();
    stage.passes(&key);
    stage.passes(&stage.scene.key());
    drop(still);
}

#[test]
fn a_request_that_is_begun_on_another_runtime_waits_no_longer_than_its_deadline() {
    let stage = Stage::new(Limits::local());
    let still = one_thread();
    for limits in [Limits::local(), Limits::gateway()] {
        let builder = stage.scene.builder().deadline(SECOND).limits(limits);
        let inner = tower::service_fn(async |request: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let mut service = builder.build().unwrap().layer(inner);
        // As a buffer between the two would do, whose worker stands still.
        let asked = {
            let _on_it = still.enter();
            service.call(get(stage.scene.key().secret()))
        };
        let met = stage
            .main
            .block_on(soon(async { Met::of(asked.await.unwrap()).await }));
        // One of its own is asked for once and no more.
        assert!(met.refusal.is_none() || met.kind() == Some(RejectionKind::Unavailable));
    }
}

#[test]
fn checks_of_one_key_that_nobody_drives_keep_its_share_no_longer_than_the_deadline() {
    let stage = Stage::new(Limits::gateway());
    let (key, still) = (stage.scene.key(), one_thread());
    let held = stage.scene.wacht.hold_checks();
    stage.begin(&still, [key.secret(); 100], 32);
    held.release();
    stage.scene.clock.advance(DEADLINE);
    for _ in 0..3 {
        stage.passes(&key);
    }
    drop(still);
}
