//! The apps of the deployment: how they are read, what a change of one does, and what is asked of
//! the management API for it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tracing::field::Field;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use wacht_auth::dev::{DevGateway, DevKey, DevRule, Entry, Fault, ManualClock, On};
use wacht_auth::models::{CreateApiAuthAppRequest, UpdateApiAuthAppRequest};
use wacht_auth::{
    AuthHandle, CachePolicy, RejectionKind, WachtAuthLayer, WachtAuthLayerBuilder, WachtClient,
};

use crate::scene::{Echo, Scene, eventually, landed};

const SECOND: Duration = Duration::from_secs(1);
const LIST: &str = "/api-auth/apps";
const ORDERS: &str = "/api-auth/apps/orders";
/// The latest time at which the list is due: 60 s and a fifth. And the earliest.
const DUE: Duration = Duration::from_secs(72);
const NOT_DUE: Duration = Duration::from_secs(47);
const INVALID: Option<RejectionKind> = Some(RejectionKind::InvalidKey);

/// What the gate says in the log on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl<S: Subscriber> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "wacht_auth::gate" {
            return;
        }
        let level = *event.metadata().level();
        event.record(&mut |field: &Field, value: &dyn Debug| {
            if field.name() == "message" {
                let said = format!("{value:?}");
                self.0.lock().unwrap().push((level, said));
            }
        });
    }
}

impl Log {
    pub(crate) fn count(&self, message: &str) -> usize {
        let said = self.0.lock().unwrap();
        said.iter().filter(|(_, said)| said == message).count()
    }

    /// What somebody is woken up for.
    fn errors(&self) -> Vec<String> {
        let said = self.0.lock().unwrap();
        let errors = said.iter().filter(|(level, _)| *level == Level::ERROR);
        errors.map(|(_, said)| said.clone()).collect()
    }

    /// What needs a person, and is about the apps of the deployment.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let said = self.0.lock().unwrap();
        let loud = said.iter().filter(|(level, _)| *level <= Level::WARN);
        let loud = loud.map(|(_, said)| said.clone());
        loud.filter(|said| !said.starts_with("keys of every app"))
            .collect()
    }
}

/// A gate, on a clock that it has in common with its Wacht.
struct Stage {
    log: Log,
    _guard: DefaultGuard,
    wacht: DevGateway,
    clock: ManualClock,
    client: WachtClient,
    layer: WachtAuthLayer,
    echo: Echo,
}

impl Stage {
    /// With every default but the deadline, as in [`Scene::builder`].
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    /// With verdicts that last, so that only what becomes of an app can end them.
    async fn lasting() -> Self {
        Self::with(|builder| builder.cache(lasting())).await
    }

    async fn with(settings: impl FnOnce(WachtAuthLayerBuilder) -> WachtAuthLayerBuilder) -> Self {
        let clock = ManualClock::new();
        let wacht = DevGateway::start().await.clock(&clock);
        let client = wacht.client();
        let builder = WachtAuthLayer::builder(client.clone())
            .clock(&clock)
            .deadline(60 * SECOND);
        let layer = settings(builder).build().unwrap();
        let log = Log::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        Self {
            _guard: subscriber.set_default(),
            log,
            echo: Echo::behind(layer.clone()),
            wacht,
            clock,
            client,
            layer,
        }
    }

    /// A key for each of so many apps, which are made in this order.
    fn apps(&self, count: usize) -> Vec<DevKey> {
        let key = |app| self.wacht.issue_key(&format!("app-{app}")).issue();
        (0..count).map(key).collect()
    }

    /// The calls of the list that were answered with a page.
    fn pages(&self) -> usize {
        let is_page = |entry: &&Entry| {
            entry.method == "GET" && entry.path == LIST && entry.status == Some(200)
        };
        self.wacht
            .journal()
            .entries()
            .iter()
            .filter(is_page)
            .count()
    }

    /// The apps that were looked up singly, oldest first.
    fn look_ups(&self) -> Vec<String> {
        let entries = self.wacht.journal().entries();
        let reads = entries.iter().filter(|entry| entry.method == "GET");
        reads
            .filter_map(|entry| entry.path.strip_prefix("/api-auth/apps/"))
            .map(str::to_owned)
            .collect()
    }

    /// What was asked for in the pages, oldest first: `limit` and `offset`.
    fn asked(&self) -> Vec<(u64, u64)> {
        let number = |query: &str, name: &str| -> u64 {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name));
            pair.and_then(|pair| pair.strip_prefix('='))
                .unwrap()
                .parse()
                .unwrap()
        };
        let entries = self.wacht.journal().entries();
        let pages = entries
            .iter()
            .filter(|entry| entry.path == LIST && entry.method == "GET");
        pages
            .map(|entry| entry.query.as_deref().unwrap())
            .map(|query| (number(query, "limit"), number(query, "offset")))
            .collect()
    }

    async fn admit(&self, keys: &[DevKey]) {
        for met in join_all(keys.iter().map(|key| self.echo.get(key.secret()))).await {
            met.assert_ok();
        }
    }

    /// The gate knows the rules of all their apps, from the list: no request is a check, once the keys
    /// are known, and no app was looked up singly.
    async fn counts_here(&self, keys: &[DevKey]) {
        self.admit(keys).await;
        let checks = self.wacht.journal().checks();
        self.admit(keys).await;
        let after = self.wacht.journal().checks();
        assert_eq!(after, checks, "all are counted here");
        assert_eq!(self.look_ups(), [""; 0]);
    }

    /// How often the gate has read the list to its end and taken in what it says.
    fn readings(&self) -> usize {
        self.log.count("the apps of the deployment have been read")
    }

    /// Lets the list be read once more, for the sake of this key.
    async fn reread(&self, key: &DevKey) {
        let before = self.readings();
        self.clock.advance(DUE);
        eventually(async || {
            self.echo.get(key.secret()).await;
            self.readings() > before
        })
        .await;
    }
}

fn lasting() -> CachePolicy {
    CachePolicy::default().fresh_for(Duration::from_secs(24 * 3600))
}

fn handle(stage: &Stage) -> AuthHandle {
    stage.layer.handle()
}

// --- what it costs ---

#[tokio::test]
async fn a_hundred_apps_cost_one_call_a_minute_and_no_check_but_refreshes() {
    let stage = Stage::new().await;
    let keys = stage.apps(100);
    let journal = stage.wacht.journal();
    // Five minutes, each key every ten seconds.
    for _ in 0..30 {
        stage.admit(&keys).await;
        landed(&stage.layer).await;
        stage.clock.advance(10 * SECOND);
    }
    let stats = handle(&stage).stats();
    assert_eq!(stats.checks, 100 + stats.refreshes);
    assert!((500..=1_000).contains(&stats.refreshes), "{stats:?}");
    assert_eq!(journal.management_calls(), stage.asked().len());
    assert!(
        (4..=7).contains(&stage.asked().len()),
        "{:?}",
        stage.asked()
    );
}

#[tokio::test]
async fn a_hundred_known_keys_of_a_hundred_apps_pass_through_an_outage() {
    let stage = Stage::new().await;
    let keys = stage.apps(100);
    stage.admit(&keys).await;
    stage.clock.advance(20 * SECOND);
    stage.admit(&keys).await;
    stage.wacht.refuse_connections(true);
    // Long enough for every app to be older than the list should be.
    for _ in 0..15 {
        stage.clock.advance(20 * SECOND);
        stage.admit(&keys).await;
        landed(&stage.layer).await;
    }
    stage.wacht.refuse_connections(false);
    stage.reread(&keys[0]).await;
}

#[tokio::test]
async fn ten_thousand_apps_are_read_in_twenty_one_calls_a_minute() {
    const APPS: usize = 10_000;
    let stage = Stage::new().await;
    for app in 0..APPS {
        stage.wacht.app(&format!("app-{app:04}"));
    }
    let key = |app| stage.wacht.issue_key(&format!("app-{app:04}")).issue();
    // One key is enough to have all of them read.
    let newest = key(APPS - 1);
    stage.echo.get(newest.secret()).await.assert_ok();
    eventually(async || stage.readings() == 1).await;
    let expected: Vec<_> = (0..21).map(|page| (500, page * 490)).collect();
    assert_eq!(stage.asked(), expected);

    // Some from every page, and none of them waits for a call of the management API.
    let keys: Vec<_> = (0..APPS).step_by(40).map(key).collect();
    stage.counts_here(&keys).await;

    for minutes in 2..=4 {
        stage.clock.advance(DUE);
        stage.admit(&keys).await;
        eventually(async || stage.readings() == minutes).await;
        landed(&stage.layer).await;
    }
    assert_eq!(stage.wacht.journal().management_calls(), 4 * 21);
}

#[tokio::test]
async fn a_management_key_of_three_calls_a_minute_finishes_in_the_end() {
    let stage = Stage::lasting().await;
    let keys = stage.apps(100);
    stage.wacht.page_limit(20);
    stage.wacht.management_limit(3);
    // Twenty apps, and ten more with every page.
    eventually(async || {
        stage.echo.get(keys[99].secret()).await;
        let entries = stage.wacht.journal().entries();
        if entries.last().and_then(|entry| entry.status) == Some(429) {
            stage.clock.advance(SECOND);
        }
        stage.readings() == 1
    })
    .await;
    // The clock runs while pages are on their way, so some may have been asked for twice.
    let offsets: BTreeSet<_> = stage
        .asked()
        .into_iter()
        .map(|(_, offset)| offset)
        .collect();
    assert_eq!(offsets, (0..9).map(|page| 10 * page).collect());
    // Three pages, and then it is told to wait, which it does.
    let entries = stage.wacht.journal().entries();
    let told = entries.iter().filter(|entry| entry.status == Some(429));
    assert!((2..=4).contains(&told.count()), "{entries:?}");
    // That one key has used up its app's limit meanwhile.
    stage.clock.advance(NOT_DUE);
    stage.counts_here(&keys).await;
}

#[tokio::test]
async fn being_told_too_many_pauses_all_calls_for_a_minute() {
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    stage.admit(std::slice::from_ref(&key)).await;
    stage
        .wacht
        .fault_times(On::Management, Fault::Status(429), 1);
    let journal = stage.wacht.journal();
    journal.clear();
    stage.clock.advance(DUE);
    eventually(async || {
        stage.echo.get(key.secret()).await;
        journal.management_calls() == 1
    })
    .await;
    // Not even for an app that has not been read.
    let new = stage.wacht.issue_key("new").issue();
    eventually(async || {
        let before = journal.checks();
        stage.echo.get(new.secret()).await;
        journal.checks() == before + 1
    })
    .await;
    for wait in [30, 29] {
        stage.clock.advance(wait * SECOND);
        for _ in 0..10 {
            stage.echo.get(new.secret()).await.assert_ok();
        }
        assert_eq!(journal.management_calls(), 1);
    }
    stage.clock.advance(SECOND);
    stage.echo.get(new.secret()).await.assert_ok();
    eventually(async || journal.management_calls() > 1).await;
}

#[tokio::test]
async fn few_apps_in_use_of_a_long_list_are_read_singly() {
    let stage = Stage::lasting().await;
    stage.wacht.page_limit(20);
    let keys = stage.apps(100);
    // The newest, which are on the first page.
    let used = [keys[99].clone(), keys[98].clone()];
    stage.admit(&used).await;
    eventually(async || stage.readings() == 1).await;
    stage.wacht.set_app_active("app-98", false);
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(used[1].secret()).await.kind() == INVALID).await;
    stage.admit(&used[..1]).await;
    eventually(async || stage.look_ups().len() == 2).await;
    let mut looked_up = stage.look_ups();
    looked_up.sort_unstable();
    assert_eq!(looked_up, ["app-98", "app-99"]);
    assert_eq!(stage.pages(), 9);
    // Of the others nothing is believed that may have changed since.
    stage
        .wacht
        .set_scheme("app-2", [DevRule::per_key(7, "hour", 1)]);
    let met = stage.echo.get(keys[2].secret()).await;
    met.assert_ok();
    assert_eq!(
        met.header("ratelimit-policy"),
        r#""per_key:7/3600s";q=7;w=3600"#
    );
    assert_eq!(stage.look_ups().len(), 3);

    // As soon as it has fewer pages than apps are in use, it is read again.
    stage.admit(&keys[3..12]).await;
    stage.reread(&keys[3]).await;
    assert_eq!(stage.pages(), 18);
}

#[tokio::test]
async fn of_apps_named_on_the_builder_no_more_is_read_than_has_them() {
    let stage = Stage::with(|builder| builder.cache(lasting()).apps(["app-99", "app-85"])).await;
    stage.wacht.page_limit(20);
    let keys = stage.apps(100);
    stage.admit(&[keys[99].clone(), keys[85].clone()]).await;
    assert_eq!(handle(&stage).stats().cached_keys, 2);
    for _ in 0..3 {
        stage.reread(&keys[99]).await;
    }
    assert_eq!(stage.asked(), [(500, 0); 4], "both are on the first page");
    let other = stage.echo.get(keys[98].secret()).await;
    assert_eq!(other.kind(), INVALID);
    assert_eq!(stage.look_ups(), [""; 0]);
}

#[tokio::test]
async fn a_trouble_is_told_once_however_often_it_is_met() {
    let stage = Stage::new().await;
    let keys = stage.apps(100);
    stage.admit(&keys).await;
    let told = "could not read the apps of the deployment: changes of them are not seen";
    for (status, times) in [(500, 1), (503, 1), (429, 2)] {
        stage.wacht.fault(On::Management, Fault::Status(status));
        stage.wacht.journal().clear();
        for _ in 0..30 {
            stage.clock.advance(20 * SECOND);
            stage.admit(&keys).await;
            landed(&stage.layer).await;
        }
        assert!(stage.wacht.journal().management_calls() >= 5);
        assert_eq!(stage.log.warnings(), vec![told; times], "{status}");
        stage.wacht.clear_faults();
    }
    stage.clock.advance(60 * SECOND);
    stage.reread(&keys[0]).await;
    assert_eq!(
        stage
            .log
            .count("the apps of the deployment are up to date again"),
        1
    );
    // And from then on it is told again.
    stage.wacht.fault(On::Management, Fault::Status(500));
    stage.clock.advance(DUE);
    eventually(async || {
        stage.echo.get(keys[0].secret()).await;
        stage.log.warnings().len() == 3
    })
    .await;
}

/// What is said of a management API that refuses the key of the client.
const REFUSED: &str = "could not read the apps of the deployment: changes of them are not seen";
const UNSURE: &str =
    "the management API answers 401, as it does while it cannot ask the gateway about its key";

#[tokio::test]
async fn a_401_that_comes_of_a_gateway_that_is_down_pages_nobody() {
    let stage = Stage::new().await;
    let keys = stage.apps(5);
    stage.admit(&keys).await;
    for outage in 1..=3 {
        stage.wacht.fault(On::Checks, Fault::Status(503));
        stage.wacht.fault(On::Management, Fault::Status(401));
        stage.wacht.journal().clear();
        for _ in 0..90 {
            stage.clock.advance(2 * SECOND);
            stage.admit(&keys).await;
            landed(&stage.layer).await;
        }
        assert!(stage.wacht.journal().management_calls() >= 5);
        assert_eq!(stage.log.errors(), [""; 0], "outage {outage}");
        assert_eq!(stage.log.count(UNSURE), outage, "once each");
        stage.wacht.clear_faults();
        stage.clock.advance(60 * SECOND);
        stage.reread(&keys[0]).await;
        stage.admit(&keys).await;
        let over = "the apps of the deployment are up to date again";
        assert_eq!(stage.log.count(over), outage);
    }
}

#[tokio::test]
async fn a_management_api_that_answers_now_and_then_in_an_outage_is_told_once() {
    let patient = CachePolicy::default().stale_if_error(24 * 3600 * SECOND);
    let stage = Stage::with(|builder| builder.cache(patient)).await;
    let keys = stage.apps(5);
    stage.admit(&keys).await;
    stage.wacht.fault(On::Checks, Fault::Status(503));
    for _ in 0..5 {
        stage
            .wacht
            .fault_times(On::Management, Fault::Status(401), 2);
        let read = stage.readings();
        eventually(async || {
            stage.clock.advance(20 * SECOND);
            stage.admit(&keys).await;
            landed(&stage.layer).await;
            stage.readings() > read
        })
        .await;
    }
    let over = "the apps of the deployment are up to date again";
    assert_eq!(stage.log.count(over), 5);
    assert_eq!(stage.log.errors(), [""; 0]);
    assert_eq!(stage.log.count(UNSURE), 1);
}

#[tokio::test]
async fn a_401_while_the_gateway_answers_is_an_error_that_is_told_once() {
    let stage = Stage::new().await;
    let keys = stage.apps(5);
    stage.admit(&keys).await;
    stage.wacht.fault(On::Management, Fault::Status(401));
    for _ in 0..60 {
        stage.clock.advance(2 * SECOND);
        stage.admit(&keys).await;
        landed(&stage.layer).await;
    }
    assert!(stage.wacht.journal().management_calls() >= 3);
    assert_eq!(stage.log.errors(), [REFUSED]);

    // At a start, the gateway has just answered about the key that was shown.
    let stage = Stage::new().await;
    let keys = stage.apps(1);
    stage.wacht.fault(On::Management, Fault::Status(401));
    stage.echo.get(keys[0].secret()).await;
    let told = "could not learn the deployment: no key can be verified";
    assert_eq!(stage.log.errors(), [told]);
}

#[tokio::test]
async fn a_401_is_no_error_until_the_gateway_is_known_to_answer() {
    let stage = Stage::lasting().await;
    let keys = stage.apps(2);
    stage.admit(&keys[..1]).await;
    stage.wacht.fault(On::Management, Fault::Status(401));
    let journal = stage.wacht.journal();
    // The key needs no check, so nobody knows how the gateway is.
    for unsure in [0, 1, 1] {
        let before = journal.management_calls();
        stage.clock.advance(DUE);
        eventually(async || {
            stage.admit(&keys[..1]).await;
            landed(&stage.layer).await;
            journal.management_calls() > before
        })
        .await;
        eventually(async || stage.log.count(UNSURE) == unsure).await;
        assert_eq!(stage.log.errors(), [""; 0]);
    }
    // This one does.
    stage.clock.advance(DUE);
    stage.admit(&keys[1..]).await;
    eventually(async || stage.log.errors() == [REFUSED]).await;
}

// --- how the list is read ---

#[tokio::test]
async fn the_list_is_read_again_behind_the_requests() {
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    assert_eq!(stage.asked(), [(500, 0)]);
    stage.clock.advance(NOT_DUE);
    for _ in 0..10 {
        stage.echo.get(key.secret()).await.assert_ok();
    }
    assert_eq!(stage.asked().len(), 1);

    stage.clock.advance(DUE - NOT_DUE);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    for _ in 0..10 {
        // Nobody waits for it, and it is sent once.
        stage.echo.get(key.secret()).await.assert_ok();
    }
    stage.wacht.journal().wait_for_management_calls(2).await;
    stage.echo.get(key.secret()).await.assert_ok();
    assert_eq!(stage.asked().len(), 2);
    held.release();
}

#[tokio::test]
async fn gates_do_not_read_at_the_same_moment() {
    const GATES: usize = 20;
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    let gate = || {
        WachtAuthLayer::builder(stage.client.clone())
            .cache(lasting())
            .clock(&stage.clock)
            .build()
            .unwrap()
    };
    let gates: Vec<_> = (0..GATES).map(|_| Echo::behind(gate())).collect();
    for echo in &gates {
        echo.get(key.secret()).await.assert_ok();
    }
    // The first has learned the deployment for all, so the others read behind their request.
    eventually(async || stage.pages() == GATES).await;
    let all_at = async |wait| {
        stage.clock.advance(wait);
        let before = stage.asked().len();
        for echo in &gates {
            echo.get(key.secret()).await.assert_ok();
        }
        // A fair coin falls on one side 20 times in a row once in a million runs.
        eventually(async || stage.asked().len() > before).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        stage.asked().len() - before
    };
    let early = all_at(60 * SECOND).await;
    assert!(early < GATES, "{early} of {GATES}");
}

#[tokio::test]
async fn a_server_with_shorter_pages_is_read_by_its_own() {
    let stage = Stage::new().await;
    stage.wacht.page_limit(50);
    let keys = stage.apps(120);
    stage.echo.get(keys[119].secret()).await.assert_ok();
    eventually(async || stage.readings() == 1).await;
    assert_eq!(stage.asked(), [(500, 0), (500, 40), (500, 80)]);
    stage.counts_here(&keys).await;
}

#[tokio::test]
async fn a_page_that_is_too_long_is_asked_for_by_halves() {
    let stage = Stage::new().await;
    let keys = stage.apps(3);
    stage
        .wacht
        .fault_times(On::Path(LIST.to_owned()), Fault::Huge(5 << 20), 2);
    stage.admit(&keys).await;
    assert_eq!(stage.asked(), [(500, 0), (250, 0), (125, 0)]);
    // It was this page, not all of them.
    stage.reread(&keys[0]).await;
    assert_eq!(stage.asked()[3..], [(500, 0)]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other_app() {
    let stage = Stage::new().await;
    let client = stage.client.api_keys();
    let keys = stage.apps(3);
    let apps = client.list_api_auth_apps().send().await.unwrap();
    assert_eq!(apps.len(), 3);
    stage.wacht.journal().clear();
    // The newest comes first, and somebody has given it a name that is none.
    let row = r#"{"data":[{"app_slug":1}],"has_more":true}"#;
    let unreadable = Fault::body(200, "application/json", row);
    stage
        .wacht
        .fault_times(On::Path(LIST.to_owned()), unreadable, 9);
    stage.admit(&keys[..1]).await;
    let asked = stage.asked();
    let halves = [500, 250, 125, 62, 31, 15, 7, 3, 1].map(|limit| (limit, 0));
    assert_eq!(asked[..9], halves);
    assert_eq!(asked[9], (1, 1));
    stage.admit(&keys).await;
}

#[tokio::test]
async fn a_reading_that_fails_goes_on_where_it_was() {
    let stage = Stage::lasting().await;
    stage.wacht.page_limit(20);
    let keys = stage.apps(60);
    let list = On::Path(LIST.to_owned());
    let held = stage.wacht.hold(list.clone());
    let waiting = stage.echo.spawn_get(keys[59].secret());
    stage.wacht.journal().wait_for_management_calls(1).await;
    // The first page is on its way; the next is lost.
    stage.wacht.fault_times(list, Fault::Status(503), 1);
    held.release();
    waiting.await.unwrap().assert_ok();
    eventually(async || {
        stage.clock.advance(Duration::from_millis(10));
        stage.echo.get(keys[59].secret()).await;
        stage.readings() == 1
    })
    .await;
    let offsets: Vec<_> = stage.asked().iter().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, [0, 10, 10, 20, 30, 40]);
}

#[tokio::test]
async fn apps_made_while_the_pages_are_read_shift_them_and_hide_nothing() {
    let stage = Stage::lasting().await;
    stage.wacht.page_limit(20);
    let keys = stage.apps(60);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let waiting = stage.echo.spawn_get(keys[59].secret());
    stage.wacht.journal().wait_for_management_calls(1).await;
    for new in 0..25 {
        stage.wacht.app(&format!("new-{new}"));
    }
    held.release();
    waiting.await.unwrap().assert_ok();
    eventually(async || stage.readings() == 1).await;
    stage.counts_here(&keys).await;
}

#[tokio::test]
async fn an_app_that_fell_between_two_pages_counts_for_nothing() {
    let stage = Stage::lasting().await;
    stage.wacht.page_limit(20);
    let keys = stage.apps(60);
    stage.admit(&keys[59..]).await;
    eventually(async || stage.readings() == 1).await;
    stage.admit(&keys).await;
    assert_eq!(stage.look_ups(), [""; 0]);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let before = stage.asked().len();
    stage.clock.advance(DUE);
    eventually(async || {
        stage.admit(&keys[..1]).await;
        stage.asked().len() > before
    })
    .await;
    // All that the next page should repeat, and one more: `app-39` moves to where it is not read.
    for app in 40..51 {
        stage.wacht.delete_app(&format!("app-{app}"));
    }
    held.release();
    eventually(async || stage.readings() == 2).await;
    stage.admit(&keys).await;
    // The next reading finds the others gone, and does not lack this one.
    stage.reread(&keys[0]).await;
    eventually(async || {
        let all = keys[40..51].iter().map(|key| stage.echo.get(key.secret()));
        let all = join_all(all).await;
        all.iter().all(|met| met.kind() == INVALID)
    })
    .await;
    stage.admit(&keys[..40]).await;
    let mut looked_up = stage.look_ups();
    looked_up.sort_unstable();
    let deleted: Vec<_> = (40..51).map(|app| format!("app-{app}")).collect();
    assert_eq!(looked_up, deleted);
}

// --- what becomes of an app ---

#[tokio::test]
async fn a_deactivated_app_loses_its_keys_with_the_next_reading() {
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    for (active, kind) in [(false, INVALID), (true, None), (false, INVALID)] {
        stage.wacht.set_app_active("orders", active);
        stage.clock.advance(DUE);
        eventually(async || stage.echo.get(key.secret()).await.kind() == kind).await;
    }
    assert_eq!(
        stage.wacht.journal().checks(),
        1,
        "the gateway was not asked"
    );
    assert_eq!(stage.look_ups(), [""; 0]);
}

#[tokio::test]
async fn a_deleted_app_loses_its_keys_and_they_are_forgotten() {
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    stage.wacht.app("billing");
    stage.echo.get(key.secret()).await.assert_ok();
    assert_eq!(handle(&stage).stats().cached_keys, 1);
    stage.wacht.delete_app("orders");
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(key.secret()).await.kind() == INVALID).await;
    assert_eq!(stage.look_ups(), ["orders"], "it was confirmed");
    assert_eq!(handle(&stage).stats().cached_keys, 0);
    // An app with the same name starts afresh.
    let new = stage.wacht.issue_key("orders").issue();
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(new.secret()).await.kind().is_none()).await;
    assert_eq!(stage.echo.get(key.secret()).await.kind(), INVALID);
}

#[tokio::test]
async fn the_keys_of_a_deleted_app_do_not_come_back_with_one_of_the_same_name() {
    let stage = Stage::lasting().await;
    let keys: Vec<_> = (0..2)
        .map(|_| stage.wacht.issue_key("orders").issue())
        .collect();
    stage.admit(&keys).await;
    stage.wacht.delete_app("orders");
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(keys[0].secret()).await.kind() == INVALID).await;
    stage.wacht.app("orders");
    let new = stage.wacht.issue_key("orders").issue();
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(new.secret()).await.kind().is_none()).await;
    // The second was not shown while there was none.
    for key in &keys {
        assert_eq!(stage.echo.get(key.secret()).await.kind(), INVALID);
    }
}

#[tokio::test]
async fn only_the_apps_own_404_says_that_it_is_gone() {
    let envelope = |message: &str| {
        let text = format!(r#"{{"errors":[{{"message":"{message}","code":404}}]}}"#);
        Fault::body(404, "application/json", text)
    };
    let faults = [
        Fault::Status(404),
        Fault::body(404, "text/plain", ""),
        Fault::body(404, "text/plain", "API key app not found"),
        envelope("Not found"),
        envelope("API key not found"),
        Fault::Status(400),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(410),
        Fault::Status(414),
        Fault::Status(429),
        Fault::Status(500),
        Fault::Status(503),
        Fault::Drop,
        Fault::body(200, "application/json", "{}"),
        Fault::body(200, "text/html", "<p>Log in to the hotel's network</p>"),
        Fault::Redirect("http://127.0.0.1:1/".to_owned()),
    ];
    let nothing = r#"{"data":[],"has_more":false}"#;
    for fault in faults {
        let stage = Stage::lasting().await;
        stage
            .wacht
            .set_scheme("orders", [DevRule::per_key(1_000_000, "day", 1)]);
        let key = stage.wacht.issue_key("orders").issue();
        let limit = stage.echo.get(key.secret()).await;
        limit.assert_ok();
        // The list lacks it, and asked for singly it is not found either, or nothing is said.
        let (list, app) = (On::Path(LIST.to_owned()), On::Path(ORDERS.to_owned()));
        let empty = Fault::body(200, "application/json", nothing);
        stage.wacht.fault(list, empty);
        stage.wacht.fault(app, fault.clone());
        stage.clock.advance(DUE);
        let is_answered = |entry: &Entry| {
            entry.path == ORDERS && (entry.status.is_some() || matches!(fault, Fault::Drop))
        };
        eventually(async || {
            stage.echo.get(key.secret()).await;
            let entries = stage.wacht.journal().entries();
            entries.iter().any(is_answered)
        })
        .await;
        for _ in 0..50 {
            let met = stage.echo.get(key.secret()).await;
            assert_eq!(met.status, 200, "{fault:?}: {met:?}");
            assert_eq!(
                met.header("ratelimit-policy"),
                limit.header("ratelimit-policy"),
                "{fault:?}: the rules stay too"
            );
        }
        assert_eq!(stage.wacht.journal().checks(), 1, "{fault:?}");
    }
    // And the one that does; a list that says it does not.
    let stage = Stage::lasting().await;
    let key = stage.wacht.issue_key("orders").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    let gone = || envelope("API key app not found");
    stage
        .wacht
        .fault_times(On::Path(LIST.to_owned()), gone(), 1);
    stage.clock.advance(DUE);
    eventually(async || {
        stage.echo.get(key.secret()).await;
        stage.clock.advance(Duration::from_millis(10));
        stage.readings() == 2
    })
    .await;
    let nothing = Fault::body(200, "application/json", nothing);
    stage.wacht.fault(On::Path(LIST.to_owned()), nothing);
    stage.wacht.fault(On::Path(ORDERS.to_owned()), gone());
    stage.clock.advance(DUE);
    eventually(async || stage.echo.get(key.secret()).await.kind() == INVALID).await;
}

#[tokio::test]
async fn changed_rules_arrive_with_the_list_and_unchanged_ones_keep_their_counts() {
    let stage = Stage::lasting().await;
    let kept = || DevRule::per_key(1, "month", 1);
    stage
        .wacht
        .set_scheme("orders", [kept(), DevRule::per_app(500, "day", 1)]);
    let key = stage.wacht.issue_key("orders").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    stage
        .wacht
        .set_scheme("orders", [kept(), DevRule::per_app(7, "minute", 1)]);
    stage.clock.advance(DUE);
    let policy = r#""per_key:1/2592000s";q=1;w=2592000, "per_app:7/60s";q=7;w=60"#;
    eventually(async || {
        let met = stage.echo.get(key.secret()).await;
        met.assert_refused(RejectionKind::RateLimited);
        met.header("ratelimit-policy") == policy
    })
    .await;
    let met = stage.echo.get(key.secret()).await;
    let violated: Vec<_> = met.refusal.as_ref().unwrap().violated_policies().collect();
    assert_eq!(violated, ["per_key:1/2592000s"]);
    let other = stage
        .echo
        .get(stage.wacht.issue_key("orders").issue().secret())
        .await;
    other.assert_ok();
    assert_eq!(other.header("ratelimit-policy"), policy);
}

// --- apps that the list does not have ---

#[tokio::test]
async fn an_app_made_since_is_looked_up_once_for_all_its_keys() {
    let stage = Stage::new().await;
    stage.admit(&stage.apps(1)).await;
    let keys: Vec<_> = (0..100)
        .map(|_| stage.wacht.issue_key("new").issue())
        .collect();
    stage.admit(&keys).await;
    assert_eq!(stage.look_ups(), ["new"]);
    let checks = stage.wacht.journal().checks();
    stage.admit(&keys).await;
    assert_eq!(stage.wacht.journal().checks(), checks);
}

#[tokio::test]
async fn past_ten_look_ups_a_minute_the_gateway_is_asked() {
    let stage = Stage::lasting().await;
    stage.admit(&stage.apps(1)).await;
    let new: Vec<_> = (0..15)
        .map(|app| stage.wacht.issue_key(&format!("new-{app}")).issue())
        .collect();
    let journal = stage.wacht.journal();
    stage.admit(&new).await;
    assert_eq!(stage.look_ups().len(), 10);
    let checks = journal.checks();
    for round in 1..=3 {
        stage.admit(&new).await;
        assert_eq!(journal.checks(), checks + round * 5);
    }
    assert_eq!(stage.look_ups().len(), 10);
    // The next reading has all of them.
    stage.clock.advance(DUE);
    eventually(async || {
        let checks = journal.checks();
        stage.admit(&new).await;
        journal.checks() == checks
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_not_accepted_costs_no_call() {
    let scene = Scene::new().await;
    let layer = scene.layer();
    let (orders, any) = (
        Echo::behind(layer.clone().app("orders")),
        Echo::behind(layer),
    );
    orders.get(scene.key().secret()).await.assert_ok();
    let journal = scene.wacht.journal();
    assert_eq!(journal.management_calls(), 1);
    let keys: Vec<_> = (0..30)
        .map(|app| scene.wacht.issue_key(&format!("other-{app}")).issue())
        .collect();
    for key in &keys {
        orders
            .get(key.secret())
            .await
            .assert_refused(RejectionKind::InvalidKey);
    }
    assert_eq!(journal.management_calls(), 1);
    // Where it is accepted it does, and is judged by its own rules.
    scene
        .wacht
        .set_scheme("other-0", [DevRule::per_key(1, "hour", 1)]);
    any.get(keys[0].secret()).await.assert_ok();
    any.get(keys[0].secret())
        .await
        .assert_refused(RejectionKind::RateLimited);
    assert_eq!(journal.count("GET", "/api-auth/apps/other-0"), 1);
}

// --- our own client ---

fn made(slug: &str) -> CreateApiAuthAppRequest {
    CreateApiAuthAppRequest {
        app_slug: slug.to_owned(),
        name: slug.to_owned(),
        key_prefix: "sk".to_owned(),
        ..Default::default()
    }
}

fn scheme(slug: &str) -> UpdateApiAuthAppRequest {
    UpdateApiAuthAppRequest {
        rate_limit_scheme_slug: Some(slug.to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_update_through_the_client_is_seen_at_once() {
    let stage = Stage::lasting().await;
    // A scheme of another app, to be given to this one.
    stage
        .wacht
        .set_scheme("other", [DevRule::per_key(5, "day", 1)]);
    let key = stage.wacht.issue_key("orders").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    let api_keys = stage.client.api_keys();
    let update = api_keys.update_api_auth_app("orders", scheme("other-limits"));
    update.send().await.unwrap();
    eventually(async || {
        let met = stage.echo.get(key.secret()).await;
        met.header("ratelimit-policy") == r#""per_key:5/86400s";q=5;w=86400"#
    })
    .await;
    assert_eq!(stage.asked().len(), 1, "without another list");
}

#[tokio::test]
async fn a_page_asked_for_before_a_change_of_our_own_does_not_undo_it() {
    let stage = Stage::lasting().await;
    stage
        .wacht
        .set_scheme("other", [DevRule::per_key(500, "day", 1)]);
    let key = stage.wacht.issue_key("orders").issue();
    let marker = stage.wacht.issue_key("first").issue();
    stage.echo.get(key.secret()).await.assert_ok();
    stage.admit(std::slice::from_ref(&marker)).await;
    let journal = stage.wacht.journal();
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let before = stage.asked().len();
    // What the page says of another app shows that it has been taken in.
    stage.wacht.set_app_active("first", false);
    stage.clock.advance(DUE);
    eventually(async || {
        stage.echo.get(key.secret()).await;
        stage.asked().len() > before
    })
    .await;
    let api_keys = stage.client.api_keys();
    let update = api_keys.update_api_auth_app("orders", scheme("other-limits"));
    update.send().await.unwrap();
    let changed = r#""per_key:500/86400s";q=500;w=86400"#;
    eventually(async || {
        stage
            .echo
            .get(key.secret())
            .await
            .header("ratelimit-policy")
            == changed
    })
    .await;
    let calls = journal.management_calls();
    held.release();
    eventually(async || stage.echo.get(marker.secret()).await.kind() == INVALID).await;
    let met = stage.echo.get(key.secret()).await;
    assert_eq!(met.header("ratelimit-policy"), changed);
    assert_eq!(journal.management_calls(), calls);
}

#[tokio::test]
async fn a_page_asked_for_while_a_change_of_our_own_may_still_be_carried_out_is_no_news() {
    let stage = Stage::lasting().await;
    stage
        .wacht
        .set_scheme("orders", [DevRule::per_key(500, "day", 1)]);
    let key = stage.wacht.issue_key("orders").issue();
    let marker = stage.wacht.issue_key("first").issue();
    stage.admit(&[key.clone(), marker.clone()]).await;
    // Nobody knows whether this was done.
    let client = stage.client.clone();
    stage
        .wacht
        .fault_times(On::Path(ORDERS.to_owned()), Fault::Drop, 1);
    let update = client
        .api_keys()
        .update_api_auth_app("orders", scheme("other-limits"));
    update.send().await.unwrap_err();
    // Whatever the list says within the next minute.
    let policy = |per_day: u32| format!(r#""per_key:{per_day}/86400s";q={per_day};w=86400"#);
    stage
        .wacht
        .set_scheme("orders", [DevRule::per_key(600, "day", 1)]);
    stage.wacht.set_app_active("first", false);
    layer_reads(&stage, &key, 59 * SECOND, &marker, INVALID).await;
    let met = stage.echo.get(key.secret()).await;
    assert_eq!(met.header("ratelimit-policy"), policy(500));
    stage.wacht.set_app_active("first", true);
    layer_reads(&stage, &key, SECOND, &marker, None).await;
    let met = stage.echo.get(key.secret()).await;
    assert_eq!(met.header("ratelimit-policy"), policy(600));
}

/// Lets all be read again so much later, and waits until the marker shows that it was.
async fn layer_reads(
    stage: &Stage,
    key: &DevKey,
    later: Duration,
    marker: &DevKey,
    becomes: Option<RejectionKind>,
) {
    stage.clock.advance(later);
    let handle = handle(stage);
    handle.invalidate_all();
    stage.echo.get(key.secret()).await.assert_ok();
    eventually(async || stage.echo.get(marker.secret()).await.kind() == becomes).await;
}

#[tokio::test]
async fn an_app_made_through_the_client_is_known_with_its_first_key() {
    let stage = Stage::lasting().await;
    stage.admit(&stage.apps(1)).await;
    let api_keys = stage.client.api_keys();
    api_keys
        .create_api_auth_app(made("new"))
        .send()
        .await
        .unwrap();
    let key = stage.wacht.issue_key("new").issue();
    stage.admit(std::slice::from_ref(&key)).await;
    assert_eq!(stage.look_ups(), ["new"]);
    api_keys.delete_api_auth_app("new").send().await.unwrap();
    stage
        .echo
        .get(key.secret())
        .await
        .assert_refused(RejectionKind::InvalidKey);
    api_keys
        .create_api_auth_app(made("new"))
        .send()
        .await
        .unwrap();
    let again = stage.wacht.issue_key("new").issue();
    stage.admit(&[again]).await;
    assert_eq!(stage.echo.get(key.secret()).await.kind(), INVALID);
}

// --- runtimes ---

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_reader_whose_runtime_is_dropped_is_followed_by_another() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let stage = main.block_on(Stage::lasting());
    let (key, other) = main.block_on(async {
        let key = stage.wacht.issue_key("orders").issue();
        stage.echo.get(key.secret()).await.assert_ok();
        (key, stage.wacht.issue_key("other").issue())
    });
    stage.clock.advance(DUE);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let doomed = runtime();
    doomed.block_on(async {
        stage.echo.get(key.secret()).await.assert_ok();
        stage.wacht.journal().wait_for_management_calls(2).await;
    });
    doomed.shutdown_background();
    stage.wacht.set_app_active("orders", false);
    drop(held);
    main.block_on(async {
        eventually(async || stage.echo.get(key.secret()).await.kind() == INVALID).await;
        assert_eq!(stage.asked().len(), 3);
        stage.echo.get(other.secret()).await.assert_ok();
    });
}

#[test]
fn a_reader_that_stands_still_is_followed_by_another_after_the_deadline() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let stage = main.block_on(Stage::lasting());
    let key = stage.wacht.issue_key("orders").issue();
    main.block_on(stage.echo.get(key.secret())).assert_ok();
    stage.clock.advance(DUE);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let still = runtime();
    still.block_on(async {
        stage.echo.get(key.secret()).await.assert_ok();
        stage.wacht.journal().wait_for_management_calls(2).await;
    });
    stage.wacht.set_app_active("orders", false);
    drop(held);
    main.block_on(async {
        for _ in 0..10 {
            stage.echo.get(key.secret()).await.assert_ok();
        }
        assert_eq!(stage.asked().len(), 2, "it has until the deadline");
        stage.clock.advance(62 * SECOND);
        eventually(async || stage.echo.get(key.secret()).await.kind() == INVALID).await;
    });
    drop(still);
}

#[test]
fn a_look_up_that_stands_still_keeps_nobody_from_looking_up() {
    let main = tokio::runtime::Runtime::new().unwrap();
    let stage = main.block_on(Stage::lasting());
    let layer = WachtAuthLayer::builder(stage.client.clone())
        .clock(&stage.clock)
        .deadline(6 * SECOND)
        .build()
        .unwrap();
    let echo = Echo::behind(layer);
    let first = stage.wacht.issue_key("orders").issue();
    main.block_on(echo.get(first.secret())).assert_ok();
    stage.wacht.app("new");
    let keys = [
        stage.wacht.issue_key("new").issue(),
        stage.wacht.issue_key("new").issue(),
    ];
    let held = stage.wacht.hold(On::Path("/api-auth/apps/new".to_owned()));
    let still = runtime();
    still.block_on(async {
        echo.spawn_get(keys[0].secret());
        stage.wacht.journal().wait_for_management_calls(2).await;
    });
    drop(held);
    main.block_on(async {
        echo.get(keys[1].secret()).await.assert_ok();
        let checks = stage.wacht.journal().checks();
        echo.get(keys[1].secret()).await.assert_ok();
        assert_eq!(stage.wacht.journal().checks(), checks, "it is known");
    });
    assert_eq!(stage.look_ups(), ["new", "new"]);
    drop(still);
}

#[tokio::test]
async fn callers_who_hang_up_leave_the_reading_to_the_others() {
    let stage = Stage::new().await;
    let keys = stage.apps(2);
    let held = stage.wacht.hold(On::Path(LIST.to_owned()));
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let (echo, secret) = (stage.echo.clone(), keys[0].secret().to_owned());
        callers.spawn(async move { echo.get(&secret).await });
    }
    stage.wacht.journal().wait_for_management_calls(1).await;
    callers.shutdown().await;
    held.release();
    stage.admit(&keys).await;
    assert_eq!(stage.asked().len(), 1);
}
