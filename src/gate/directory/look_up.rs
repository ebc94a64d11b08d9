//! Single look-ups: apps that are not in the list, or not yet.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::Instrument;

use super::Contents;
use super::Directory;
use super::app::App;
use super::app::may_be_looked_up;
use super::apps::CallSent;
use super::apps::LookUp;
use super::trouble::NoAnswer;
use crate::api::api_keys::ApiAuthApp;
use crate::clock::Now;

/// An app that is being asked for. The look-up is over when this is dropped.
pub(super) struct AskedApp {
    directory: Weak<Directory>,
    /// In use for as long as it is asked for.
    app: Arc<App>,
    sent: CallSent,
    over: watch::Sender<()>,
}

impl Directory {
    /// The app of a key: as the list has it, else as a single look-up says, which is waited for so
    /// long at most. Where nobody says, its status is unknown, or as it was.
    ///
    /// Only for the slugs of our own keys that are accepted: each costs memory and perhaps a call.
    pub(crate) async fn resolve(
        self: &Arc<Self>,
        deployment: i64,
        slug: &str,
        wait: Duration,
    ) -> Arc<App> {
        self.keep_current(self.clock.now());
        if let Some(app) = self.known_app(deployment, slug) {
            return app;
        }
        let half = wait / 2;
        // The first page may have it.
        self.read_until(half, |known, _| known.reader.has_begun)
            .await;
        if let Some(app) = self.known_app(deployment, slug) {
            return app;
        }
        if may_be_looked_up(slug) {
            self.look_up(deployment, slug, wait.saturating_sub(half))
                .await;
        }
        self.app(deployment, slug)
    }

    /// The same without any call: as the list has it, or unknown.
    pub(crate) fn app(&self, deployment: i64, slug: &str) -> Arc<App> {
        let mut known = self.known();
        self.app_of(&mut known, deployment, slug)
    }

    fn known_app(&self, deployment: i64, slug: &str) -> Option<Arc<App>> {
        let with = self.with(self.clock.now());
        let mut known = self.known();
        let reading = known.reader.reading();
        known.apps.known(deployment, slug, reading, with)
    }

    fn app_of(&self, known: &mut Contents, deployment: i64, slug: &str) -> Arc<App> {
        let reading = known.reader.reading();
        let with = self.with(self.clock.now());
        known.apps.app(deployment, slug, reading, with)
    }

    /// Joins the look-up of this app, or starts it. One that has come to nothing after half of the
    /// wait is not waited for any longer, but started once more.
    async fn look_up(self: &Arc<Self>, deployment: i64, slug: &str, wait: Duration) {
        let half = wait / 2;
        let Some(first) = self.join_look_up(deployment, slug, None) else {
            return;
        };
        if over(&first, half).await {
            return;
        }
        if let Some(second) = self.join_look_up(deployment, slug, Some(&first)) {
            over(&second, wait.saturating_sub(half)).await;
        }
    }

    /// Looks an app up that keys were shown of, before anybody waits for it if that may be.
    pub(super) fn look_up_soon(self: &Arc<Self>, slug: &str) {
        let Some(app) = self.known().apps.used(slug) else {
            return;
        };
        if self.join_look_up(app.deployment(), slug, None).is_none() {
            let mut known = self.known();
            known.reader.want(Arc::clone(app.slug()));
            self.wake(&mut known);
        }
    }

    /// The look-up of this app that is under way, another than this one; or a new one.
    fn join_look_up(
        self: &Arc<Self>,
        deployment: i64,
        slug: &str,
        other_than: Option<&watch::Receiver<()>>,
    ) -> Option<watch::Receiver<()>> {
        let runtime = Handle::try_current().ok()?;
        let now = self.clock.now();
        let mut known = self.known();
        let app = self.app_of(&mut known, deployment, slug);
        match known.apps.look_up(slug, now) {
            Err(Some(look_up)) if !other_than.is_some_and(|o| o.same_channel(&look_up.over)) => {
                return Some(look_up.over.clone());
            }
            Err(None) => return None,
            Ok(()) | Err(Some(_)) => {}
        }
        known.backoff.may_try(now).ok()?;
        known.budget.spend_look_up(now).ok()?;
        let asked = self.ask(&mut known, app, now);
        let over = asked.over.subscribe();
        drop(known);
        runtime.spawn(asked.send().in_current_span());
        Some(over)
    }

    /// Notes that the app is being asked for from now on.
    pub(super) fn ask(self: &Arc<Self>, known: &mut Contents, app: Arc<App>, now: Now) -> AskedApp {
        let (over, watched) = watch::channel(());
        let look_up = LookUp {
            over: watched,
            lapses_at: self.lapses_at(now),
        };
        known.apps.begin_look_up(app.slug(), look_up);
        AskedApp {
            directory: Arc::downgrade(self),
            sent: known.sent(now),
            app,
            over,
        }
    }

    fn take_look_up(&self, slug: &str, sent: CallSent, answer: Result<ApiAuthApp, NoAnswer>) {
        let now = self.clock.now();
        let mut known = self.known();
        let reason = match answer {
            Ok(app) if self.accept(app.deployment_id).is_err() => NoAnswer::OtherDeployment,
            Ok(app) if app.app_slug == slug => {
                let reading = known.reader.reading();
                self.take_app(&mut known, app, sent, reading, now);
                return self.answered(&mut known);
            }
            Ok(_) => NoAnswer::OtherApp,
            // Another deployment's key does not find any of our apps.
            Err(NoAnswer::Failed(error)) if error.is_app_not_found() && self.key_is_ours() => {
                known.apps.take_gone(slug, sent);
                return self.answered(&mut known);
            }
            Err(reason) => reason,
        };
        if reason.is_about_all() {
            return self.failed(&mut known, &reason, sent);
        }
        let again_at = sent.at.monotonic.saturating_add(ASK_AGAIN);
        known.apps.ask_again(slug, again_at);
        self.troubles.met(
            &reason,
            "could not look up an app: changes of it are not seen",
        );
    }

    fn answered(&self, known: &mut Contents) {
        known.backoff.clear();
        if known.reader.is_done() {
            self.troubles.over();
        }
    }
}

// === impl AskedApp ===

impl AskedApp {
    pub(super) async fn send(self) {
        let Some(directory) = self.directory.upgrade() else {
            return;
        };
        let (client, deadline) = (directory.client.clone(), directory.deadline);
        drop(directory);
        let app = client.api_keys().get_api_auth_app(&**self.app.slug());
        let app = app.without_retries().within(deadline).send().await;
        let answer = app.map_err(NoAnswer::Failed);
        if let Some(directory) = self.directory.upgrade() {
            directory.take_look_up(self.app.slug(), self.sent, answer);
        }
    }
}

/// Waits for the end of a look-up, for so long at most, and says whether it has come.
async fn over(look_up: &watch::Receiver<()>, wait: Duration) -> bool {
    let mut look_up = look_up.clone();
    // Nothing is ever sent: its end is an error.
    tokio::time::timeout(wait, look_up.changed()).await.is_ok()
}

/// When an app is asked for again of which an answer said nothing.
const ASK_AGAIN: Duration = Duration::from_secs(60);
