//! A page of the list of apps: asked for, or had from a replica that has asked for it.

use std::time::Duration;

use bytes::Bytes;

use super::reader::AskedPage;
use super::shared::Found;
use super::shared::SharedRead;
use crate::api::Page;
use crate::api::api_keys::ApiAuthApp;
use crate::client::Error;
use crate::client::WachtClient;
use crate::client::events::PageName;

/// A page, and how long ago it was asked for by another replica, if it was.
pub(super) type Answer = (Result<Page<ApiAuthApp>, Error>, Option<Duration>);

impl AskedPage {
    /// Asks the management API, or has the page from a replica that has asked it less than `max_age`
    /// ago. Takes at most `deadline`, and what the store may take once more.
    pub(super) async fn send(
        self,
        client: &WachtClient,
        max_age: Duration,
        deadline: Duration,
    ) -> Answer {
        let began = tokio::time::Instant::now();
        let name = format!("{}-{}", self.limit, self.offset);
        let shared = SharedRead {
            client,
            page: PageName {
                name: &name,
                is_behind: false,
            },
            max_age: max_age.min(KEPT_FOR),
            kept_for: KEPT_FOR,
        };
        let turn = match shared.find(deadline / 2).await {
            Found::Read(page, age) => match ApiAuthApp::page(&page) {
                Ok(page) => return (Ok(page), Some(age)),
                // Of a version that says more, or less.
                Err(_) => None,
            },
            Found::Ours(turn) => Some(turn),
            Found::Nobody => None,
        };
        let left = deadline.saturating_sub(began.elapsed());
        let answer = self.ask(client, left).await;
        if let Some(turn) = turn {
            let bytes = answer.as_ref().ok();
            shared.put(&turn, bytes.map(|(_, bytes)| &**bytes)).await;
        }
        (answer.map(|(page, _)| page), None)
    }

    async fn ask(
        self,
        client: &WachtClient,
        deadline: Duration,
    ) -> Result<(Page<ApiAuthApp>, Bytes), Error> {
        let list = client.api_keys().list_api_auth_apps();
        let page = list.include_inactive(true).page(self.limit, self.offset);
        let bytes = page.without_retries().within(deadline).bytes().await?;
        Ok((ApiAuthApp::page(&bytes)?, bytes))
    }
}

/// Less than the shortest time between two readings of one replica, so that each reading of all of
/// them is a new one.
const KEPT_FOR: Duration = Duration::from_secs(45);
