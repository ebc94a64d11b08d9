//! A list of keys: asked for, or had from a replica that has asked for it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use super::turns::Place;
use crate::api::api_keys::KEY_PAGE_VERSION;
use crate::api::api_keys::KeyList;
use crate::client::Error;
use crate::client::WachtClient;
use crate::client::events::PageName;
use crate::gate::directory::Directory;
use crate::gate::directory::apps::CallSent;
use crate::gate::directory::shared::Found;
use crate::gate::directory::shared::SharedRead;
use crate::gate::directory::trouble::NoAnswer;

/// A list of keys that is asked for.
pub(in crate::gate::directory) struct AskedList {
    pub(super) app: Arc<str>,
    pub(super) what: What,
    pub(super) number: u32,
    pub(super) sent: CallSent,
    pub(super) answer_limit: usize,
    /// What another replica has asked for before that is none.
    pub(super) max_age: Duration,
    /// How long other replicas find it.
    pub(super) kept_for: Duration,
}

/// Which of an app's keys are asked for, and for whose sake.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// Those that may be used, as the app is in turn here.
    Keys(Place),
    /// The revoked ones, too, as some are to be looked for under this number.
    WithRevoked(u64),
}

impl AskedList {
    pub(super) fn is_confirmation(&self) -> bool {
        matches!(self.what, What::WithRevoked(_))
    }

    /// Asks the management API, or has the list from a replica that has, and takes it.
    pub(super) async fn send(
        self,
        directory: &Weak<Directory>,
        client: &WachtClient,
        deadline: Duration,
    ) {
        let began = tokio::time::Instant::now();
        let name = self.name(client);
        let shared = SharedRead {
            client,
            page: PageName {
                name: &name,
                is_behind: true,
            },
            max_age: self.max_age,
            kept_for: self.kept_for,
        };
        let turn = match shared.find(deadline / 2).await {
            Found::Read(page, age) => {
                let read = elsewhere(page.len(), move || KeyList::from_page(&page));
                // One of another version is read again.
                if let Some(Some(list)) = read.await {
                    return self.take(directory, Ok(list), Some(age)).await;
                }
                None
            }
            Found::Ours(turn) => Some(turn),
            Found::Nobody => None,
        };
        // Nothing is in use before that is known.
        let Some(deployment) = directory.upgrade().map(|it| it.deployment()) else {
            return;
        };
        let list = client.api_keys().list_api_keys(&*self.app);
        let list = list.include_inactive(self.is_confirmation());
        let left = deadline.saturating_sub(began.elapsed());
        let body = list.body(left, self.answer_limit).await;
        let (app, is_for_all) = (Arc::clone(&self.app), turn.is_some());
        let length = body.as_ref().map_or(0, bytes::Bytes::len);
        let decoded = elsewhere(length, move || {
            let list = KeyList::decode(&body?, deployment.unwrap_or_default(), &app)?;
            let page = is_for_all.then(|| list.to_page()).flatten();
            Ok((list, page))
        });
        let Some(answer) = decoded.await else {
            return;
        };
        if let Some(turn) = turn {
            let page = answer.as_ref().ok().and_then(|(_, page)| page.as_deref());
            shared.put(&turn, page).await;
        }
        let answer = answer.map(|(list, _)| list);
        self.take(directory, answer, None).await;
    }

    async fn take(
        self,
        directory: &Weak<Directory>,
        answer: Result<KeyList, Error>,
        age: Option<Duration>,
    ) {
        let length = answer.as_ref().map_or(0, |list| list.keys().len() * ROW);
        let directory = Weak::clone(directory);
        let take = move || {
            if let Some(directory) = directory.upgrade() {
                directory.take_list(self, answer.map_err(NoAnswer::Failed), age);
            }
        };
        let _ = elsewhere(length, take).await;
    }

    /// By what replicas of this version call it: a digest of the app, of which only they know the secret.
    fn name(&self, client: &WachtClient) -> String {
        let kind = match self.what {
            What::Keys(_) => "keys",
            What::WithRevoked(_) => "all-keys",
        };
        let mut name = format!("{kind}-{KEY_PAGE_VERSION}-");
        let sealed = client.sealed(kind, self.app.as_bytes());
        for byte in sealed.iter().take(16) {
            let _ = write!(name, "{byte:02x}");
        }
        name
    }
}

/// Does this on a thread where nobody waits, if it is about so many bytes that requests of this one would
/// have to. `None` where the runtime ends.
async fn elsewhere<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match bytes > SHORT {
        true => tokio::task::spawn_blocking(work).await.ok(),
        false => Some(work()),
    }
}

/// Bytes of a list that is taken at once, in some hundred microseconds.
const SHORT: usize = 64 << 10;
/// What a row of a list has about, in bytes.
const ROW: usize = 700;
