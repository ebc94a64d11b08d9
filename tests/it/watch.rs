//! What ends elsewhere is seen by lists of keys.

mod bound;
mod ends;
mod permissions;
mod races;
mod troubles;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::runtime::Runtime;
use wacht_auth::dev::{DevGateway, DevKey, DevRule, Fault, Held, On};
use wacht_auth::{
    AuthContext, Principal, PrincipalKind, RejectionKind, WachtAuthLayer, WachtAuthLayerBuilder,
    Watch, WatchStats,
};

use crate::scene::{Echo, Scene, eventually};

const INTERVAL: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A Wacht whose gateway says yes for 60 s more, and a gate that watches.
struct Watched {
    scene: Scene,
    layer: WachtAuthLayer,
    echo: Echo,
}

impl Watched {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(options: impl FnOnce(WachtAuthLayerBuilder) -> WachtAuthLayerBuilder) -> Self {
        Self::lagging(LAG, options).await
    }

    /// With a gateway that says yes for so long.
    async fn lagging(
        lag: Duration,
        options: impl FnOnce(WachtAuthLayerBuilder) -> WachtAuthLayerBuilder,
    ) -> Self {
        let scene = Scene::lagging(lag).await;
        let builder = scene.builder().watch(Watch::every(INTERVAL));
        let layer = options(builder).build().unwrap();
        let echo = Echo::behind(layer.clone());
        Self { scene, layer, echo }
    }

    fn wacht(&self) -> &DevGateway {
        &self.scene.wacht
    }

    fn advance(&self, by: Duration) {
        self.scene.clock.advance(by);
    }

    /// So long after what the wall clock shows.
    fn after(&self, span: Duration) -> DateTime<Utc> {
        let at = self.scene.clock.unix_time() + span;
        DateTime::from_timestamp_nanos(i64::try_from(at.as_nanos()).unwrap())
    }

    /// A key that has been shown, and whose app's list has been read since.
    async fn known_key(&self) -> DevKey {
        let key = self.scene.key();
        self.show(&key).await;
        key
    }

    /// The same, of a key that ends so long after now. The list is read [`INTERVAL`] after now.
    async fn key_that_ends_in(&self, span: Duration) -> DevKey {
        let key = self.wacht().issue_key("orders");
        let key = key.expires_at(self.after(span)).issue();
        self.show(&key).await;
        key
    }

    /// Shows the key, and has the list of its app read.
    async fn show(&self, key: &DevKey) {
        self.assert_admitted(key).await;
        self.next_list().await;
    }

    fn stats(&self) -> WatchStats {
        self.layer.handle().stats().watch.unwrap()
    }

    /// Moves the clock to where the next list is due, and waits for it. What the one before called for
    /// is done by then.
    async fn next_list(&self) {
        eventually(async || self.stats().lists > 0 && self.is_resting()).await;
        let lists = self.stats().lists;
        self.advance(INTERVAL);
        eventually(async || self.stats().lists > lists && self.is_resting()).await;
    }

    /// Holds back the list that is due, and waits until Wacht has decided what is in it.
    async fn held_list(&self) -> Held {
        eventually(async || self.stats().lists > 0 && self.is_resting()).await;
        let asked = self.asked().len();
        let held = self.wacht().hold(on_lists());
        self.advance(INTERVAL);
        eventually(async || self.asked().len() > asked).await;
        held
    }

    /// Whether every list that was asked for has been taken.
    fn is_resting(&self) -> bool {
        let stats = self.stats();
        let asked = self.asked().len() as u64;
        asked == stats.lists + stats.confirmations + stats.failed
    }

    /// The key is refused without the clock being moved: the list that is due says so.
    async fn assert_refused_soon(&self, key: &DevKey) {
        eventually(async || {
            let met = self.echo.get(key.secret()).await;
            met.kind() == Some(RejectionKind::InvalidKey)
        })
        .await;
    }

    async fn assert_admitted(&self, key: &DevKey) {
        self.echo.get(key.secret()).await.assert_ok();
    }

    async fn assert_refused(&self, key: &DevKey) {
        let met = self.echo.get(key.secret()).await;
        met.assert_refused(RejectionKind::InvalidKey);
    }

    /// Whom a handler would see.
    async fn caller(&self, key: &DevKey) -> Principal {
        let context = AuthContext::new("/");
        let gate = self.layer.handle();
        gate.authenticate_key(key.secret(), &context).await.unwrap()
    }

    /// The queries of the lists that were asked for.
    fn asked(&self) -> Vec<Option<String>> {
        let entries = self.scene.wacht.journal().entries();
        let lists = entries.into_iter().filter(|entry| is_list(&entry.path));
        lists.map(|entry| entry.query).collect()
    }

    /// The permissions that a request with this key has.
    async fn held(&self, key: &DevKey) -> Vec<String> {
        let met = self.echo.get(key.secret()).await;
        met.assert_ok();
        let caller = met.caller.unwrap();
        caller.permissions().iter().map(str::to_owned).collect()
    }
}

fn is_list(path: &str) -> bool {
    path.starts_with("/api-auth/apps/") && path.ends_with("/keys")
}

fn empty_list() -> Fault {
    Fault::body(200, "application/json", "{\"keys\":[]}")
}

/// A runtime that stands still while nobody waits for what it runs.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Requests for the list of the app `orders`.
fn on_lists() -> On {
    On::Path("/api-auth/apps/orders/keys".to_owned())
}

#[tokio::test]
async fn a_key_revoked_elsewhere_is_refused_after_the_next_list() {
    let watched = Watched::new().await;
    let (key, other) = (watched.known_key().await, watched.known_key().await);
    watched.wacht().revoke(key.key_id());
    watched.assert_admitted(&key).await;
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
    watched.assert_admitted(&other).await;
    assert_eq!(watched.stats().confirmations, 1);
    let asked = watched.asked();
    assert_eq!(
        asked.last().unwrap().as_deref(),
        Some("include_inactive=true")
    );
}

#[tokio::test]
async fn a_key_rotated_elsewhere_is_refused_and_its_successor_is_not() {
    let watched = Watched::new().await;
    let old = watched.known_key().await;
    let elsewhere = watched.wacht().client();
    let rotate = elsewhere.api_keys().rotate_api_key("orders", old.key_id());
    let new = rotate.send().await.unwrap();
    watched.echo.get(&new.secret).await.assert_ok();
    watched.next_list().await;
    watched.assert_refused_soon(&old).await;
    watched.echo.get(&new.secret).await.assert_ok();
}

#[tokio::test]
async fn the_stale_yes_of_the_gateway_does_not_pass_after_a_list_has_contradicted_it() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
    for _ in 0..12 {
        watched.layer.handle().invalidate_all();
        watched.assert_refused(&key).await;
        watched.advance(INTERVAL);
    }
    let checks = watched.wacht().journal().checks();
    watched.assert_refused(&key).await;
    assert_eq!(
        watched.wacht().journal().checks(),
        checks,
        "nor is it asked about"
    );
}

#[tokio::test]
async fn a_key_that_no_list_has_is_verified_again_and_not_refused_for_that() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().delete_key(key.key_id());
    watched.next_list().await;
    eventually(async || watched.stats().confirmations == 1).await;
    // Some time within `stale_while_revalidate` it is asked about, though it is fresh.
    let checks = watched.wacht().journal().checks();
    let mut is_asked_about = false;
    for _ in 0..5 {
        watched.assert_admitted(&key).await;
        is_asked_about |= watched.wacht().journal().checks() > checks;
        watched.next_list().await;
    }
    assert!(is_asked_about);
    // For as long as nobody has asked, there is nothing to be confirmed.
    assert!(watched.stats().confirmations < 6, "{:?}", watched.stats());
    // The gateway has the last word, once its own memory is over.
    watched.advance(LAG);
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn what_our_own_client_has_revoked_is_not_confirmed() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.layer.handle().revoke_key_id(key.key_id());
    watched.wacht().revoke(key.key_id());
    watched.next_list().await;
    watched.next_list().await;
    assert_eq!(watched.stats().confirmations, 0);
    watched.assert_refused(&key).await;
}

#[tokio::test]
async fn a_list_with_many_keys_is_held_against_each_of_them() {
    let watched = Watched::new().await;
    let limits = [DevRule::per_key(1_000_000, "minute", 1)];
    watched.wacht().set_scheme("orders", limits);
    let keys: Vec<DevKey> = (0..1_200).map(|_| watched.scene.key()).collect();
    for key in &keys {
        watched.assert_admitted(key).await;
    }
    watched.next_list().await;
    let revoked: Vec<&DevKey> = keys.iter().step_by(97).collect();
    for key in &revoked {
        watched.wacht().revoke(key.key_id());
    }
    watched.next_list().await;
    for key in &revoked {
        watched.assert_refused_soon(key).await;
    }
    let mut admitted = 0;
    for key in &keys {
        let met = watched.echo.get(key.secret()).await;
        admitted += usize::from(met.status == http::StatusCode::OK);
    }
    assert_eq!(admitted, keys.len() - revoked.len());
    assert_eq!(watched.stats().confirmations, 1);
}

#[tokio::test]
async fn a_deactivated_app_is_left_to_the_list_of_apps_and_a_deleted_one_is_seen_at_once() {
    let watched = Watched::new().await;
    let key = watched.known_key().await;
    watched.wacht().set_app_active("orders", false);
    watched.next_list().await;
    watched.next_list().await;
    assert_eq!(watched.stats().confirmations, 0, "its keys are all there");
    watched.wacht().set_app_active("orders", true);
    watched.assert_admitted(&key).await;

    watched.wacht().delete_app("orders");
    let failed = watched.stats().failed;
    watched.advance(INTERVAL);
    eventually(async || watched.stats().failed > failed).await;
    watched.assert_refused_soon(&key).await;
}

#[tokio::test]
async fn keys_of_an_app_made_anew_are_not_those_of_the_one_before() {
    let watched = Watched::new().await;
    let old = watched.known_key().await;
    watched.wacht().delete_app("orders");
    let new = watched.scene.key();
    watched.assert_admitted(&new).await;
    watched.next_list().await;
    watched.next_list().await;
    watched.assert_admitted(&new).await;
    watched.advance(LAG);
    watched.assert_refused_soon(&old).await;
    watched.assert_admitted(&new).await;
}

#[tokio::test]
async fn tokens_are_in_no_list_and_judged_by_none() {
    let scene = Scene::lagging(LAG).await;
    let watch = Watch::every(INTERVAL);
    let layer = scene.builder().watch(watch).build().unwrap();
    let layer = layer.accept_oauth_tokens();
    let token = scene.wacht.issue_token("orders").issue();
    let gate = layer.handle();
    let context = AuthContext::new("/");
    for _ in 0..4 {
        let caller = gate
            .authenticate_key(token.secret(), &context)
            .await
            .unwrap();
        assert_eq!(caller.kind(), PrincipalKind::OauthAccessToken);
        scene.clock.advance(INTERVAL);
    }
    let watch = gate.stats().watch.unwrap();
    assert_eq!((watch.apps, watch.lists), (0, 0));
}

#[tokio::test]
async fn lists_of_apps_that_are_not_accepted_are_not_read() {
    let watched = Watched::with(|builder| builder.app("orders")).await;
    let strangers = watched.wacht().issue_key("billing").issue();
    watched.assert_refused(&strangers).await;
    watched.known_key().await;
    let entries = watched.wacht().journal().entries();
    assert!(!entries.iter().any(|entry| entry.path.contains("billing")));
    assert_eq!(watched.stats().apps, 1);
}

#[tokio::test]
async fn it_goes_on_without_requests_for_as_long_as_a_verdict_may_be_used() {
    let watched = Watched::new().await;
    watched.known_key().await;
    // That is 330 s with the default policy.
    for _ in 0..64 {
        watched.next_list().await;
    }
    watched.advance(INTERVAL);
    eventually(async || watched.stats().apps == 0).await;
    let asked = watched.asked().len();
    for _ in 0..20 {
        watched.advance(INTERVAL);
        let deleted = watched.scene.key();
        watched.wacht().delete_key(deleted.key_id());
        // A call and its answer: a list that was asked for would have been met by now.
        let checks = watched.wacht().journal().checks();
        watched.assert_refused(&deleted).await;
        let journal = watched.wacht().journal();
        assert_eq!(journal.checks(), checks + 1);
        assert_eq!((watched.asked().len(), watched.stats().apps), (asked, 0));
    }
    // And begins again with the next one.
    watched.known_key().await;
    assert!(watched.asked().len() > asked);
}

#[tokio::test]
async fn without_a_watch_no_list_is_read() {
    let scene = Scene::lagging(LAG).await;
    let echo = Echo::behind(scene.layer());
    let key = scene.key();
    for _ in 0..10 {
        echo.get(key.secret()).await.assert_ok();
        scene.clock.advance(INTERVAL);
    }
    let entries = scene.wacht.journal().entries();
    assert!(!entries.iter().any(|entry| is_list(&entry.path)));
    assert_eq!(scene.layer().handle().stats().watch, None);
}

#[test]
fn no_interval_is_too_short_and_no_budget_too_small() {
    assert_eq!(Watch::every(Duration::ZERO), Watch::every(SECOND));
    assert_ne!(Watch::every(2 * SECOND), Watch::every(SECOND));
    let none = Watch::every(SECOND).calls_a_minute(0);
    assert_eq!(none, Watch::every(SECOND).calls_a_minute(1));
}
