//! A page that one replica reads for all of them.

use std::time::Duration;

use bytes::Bytes;

use super::reader::AskedPage;
use crate::api::Page;
use crate::api::api_keys::ApiAuthApp;
use crate::client::Error;
use crate::client::WachtClient;
use crate::client::events::SharedPage;
use crate::client::events::SharedPages;
use crate::client::events::Turn;

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
        let left = || deadline.saturating_sub(began.elapsed());
        let Some(sink) = client.events().sink() else {
            return (self.ask(client, deadline).await.map(|(page, _)| page), None);
        };
        let pages = sink.pages();
        let name = format!("{}-{}", self.limit, self.offset);
        let found = self.find(client, pages, &name, max_age);
        let turn = match tokio::time::timeout(deadline / 2, found).await {
            Ok(Found::Read(page, age)) => return (Ok(page), Some(age)),
            Ok(Found::Ours(turn)) => Some(turn),
            // Whoever reads it takes too long, or there is no store.
            Ok(Found::Nobody) | Err(_) => None,
        };
        let answer = self.ask(client, left()).await;
        if let Some(turn) = turn {
            let bytes = answer.as_ref().ok();
            let bytes = bytes.map(|(_, bytes)| client.sealed(&name, bytes));
            pages.put(&name, &turn, bytes.as_deref()).await;
        }
        (answer.map(|(page, _)| page), None)
    }

    async fn find(
        self,
        client: &WachtClient,
        pages: &dyn SharedPages,
        name: &str,
        max_age: Duration,
    ) -> Found {
        loop {
            match pages.look(name, max_age).await {
                SharedPage::Read { page, age } => {
                    // One that was made by nobody who has the management key says nothing.
                    let page = client.unsealed(name, &page).map(ApiAuthApp::page);
                    return match page {
                        Some(Ok(page)) => Found::Read(page, age),
                        _ => Found::Nobody,
                    };
                }
                SharedPage::Ours(turn) => return Found::Ours(turn),
                SharedPage::Away => return Found::Nobody,
                SharedPage::Theirs => tokio::time::sleep(BETWEEN_LOOKS).await,
            }
        }
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

enum Found {
    Read(Page<ApiAuthApp>, Duration),
    Ours(Turn),
    Nobody,
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
