//! What ends elsewhere is seen by lists of keys.

use std::time::Duration;

use wacht_auth::dev::{DevKey, Fault, On};
use wacht_auth::{
    CachePolicy, RejectionKind, WachtAuthLayer, WachtAuthLayerBuilder, Watch, WatchStats,
};

use crate::scene::{Echo, Scene, eventually, landed};

const INTERVAL: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_secs(60);

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
        let scene = Scene::lagging(LAG).await;
        let builder = scene.builder().watch(Watch::every(INTERVAL));
        let layer = options(builder).build().unwrap();
        let echo = Echo::behind(layer.clone());
        Self { scene, layer, echo }
    }

    /// A key that has been shown, and whose app's list has been read since.
    async fn known_key(&self) -> DevKey {
        let key = self.scene.key();
        self.echo.get(key.secret()).await.assert_ok();
        self.next_list().await;
        key
    }

    fn stats(&self) -> WatchStats {
        self.layer.handle().stats().watch.unwrap()
    }

    /// Moves the clock to where the next list is due, and waits for it. What the one before called for
    /// is done by then.
    async fn next_list(&self) {
        let lists = self.stats().lists;
        self.scene.clock.advance(INTERVAL);
        eventually(async || self.stats().lists > lists).await;
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

    /// The lists that were asked for, with their queries.
    fn asked(&self) -> Vec<(String, Option<String>)> {
        let entries = self.scene.wacht.journal().entries();
        let lists = entries.into_iter().filter(|entry| is_list(&entry.path));
        lists.map(|entry| (entry.path, entry.query)).collect()
    }
}

fn is_list(path: &str) -> bool {
    path.starts_with("/api-auth/apps/") && path.ends_with("/keys")
}

const LIST: &str = "/api-auth/apps/orders/keys";

fn on_lists() -> On {
    On::Path(LIST.to_owned())
}

#[tokio::test]
async fn a_key_revoked_elsewhere_is_refused_after_the_next_list() {
    let watched = Watched::new().await;
    let (key, other) = (watched.known_key().await, watched.known_key().await);
    watched.scene.wacht.revoke(key.key_id());
    watched.assert_admitted(&key).await;
    watched.next_list().await;
    watched.assert_refused_soon(&key).await;
    watched.assert_admitted(&other).await;
    assert_eq!(watched.stats().confirmations, 1);
    let asked = watched.asked();
    assert_eq!(
        asked.last().unwrap().1.as_deref(),
        Some("include_inactive=true")
    );
}
