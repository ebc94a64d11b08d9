//! What one replica reads for all of them.

use std::time::Duration;

use crate::client::WachtClient;
use crate::client::events::PageName;
use crate::client::events::SharedPage;
use crate::client::events::SharedPages;
use crate::client::events::Turn;

/// Something to be read, unless another replica has.
pub(super) struct SharedRead<'a> {
    pub(super) client: &'a WachtClient,
    pub(super) page: PageName<'a>,
    /// What another has asked for before that is none.
    pub(super) max_age: Duration,
    /// How long others find it.
    pub(super) kept_for: Duration,
}

/// What there is of it.
pub(super) enum Found {
    /// What another has asked for so long ago.
    Read(Vec<u8>, Duration),
    /// It is ours to read for all.
    Ours(Turn),
    /// It is read for nobody else: there is no store, or whoever reads it takes too long.
    Nobody,
}

impl SharedRead<'_> {
    /// Looks for it, and waits for whoever is reading it for so long at most.
    pub(super) async fn find(&self, wait: Duration) -> Found {
        let Some(sink) = self.client.events().sink() else {
            return Found::Nobody;
        };
        let found = tokio::time::timeout(wait, self.look(sink.pages())).await;
        found.unwrap_or(Found::Nobody)
    }

    async fn look(&self, pages: &dyn SharedPages) -> Found {
        loop {
            match pages.look(self.page, self.max_age).await {
                SharedPage::Read { page, turn, age } => {
                    // One that was made by nobody who has the management key, or for another turn, says
                    // nothing.
                    let bytes = self.client.unsealed(&self.seal(&turn), &page);
                    return match bytes {
                        Some(bytes) => Found::Read(bytes.to_vec(), age),
                        None => Found::Nobody,
                    };
                }
                SharedPage::Ours(turn) => return Found::Ours(turn),
                SharedPage::Away => return Found::Nobody,
                SharedPage::Theirs => tokio::time::sleep(BETWEEN_LOOKS).await,
            }
        }
    }

    /// Gives the others what was read in this turn; without anything, one of them reads it.
    pub(super) async fn put(&self, turn: &Turn, bytes: Option<&[u8]>) {
        let Some(sink) = self.client.events().sink() else {
            return;
        };
        let bytes = bytes.map(|bytes| self.client.sealed(&self.seal(turn), bytes));
        let (page, kept_for) = (self.page, self.kept_for);
        let pages = sink.pages();
        pages.put(page, turn, bytes.as_deref(), kept_for).await;
    }

    /// What the seal is for: with the turn, so that an old page cannot be passed off as a new one.
    fn seal(&self, Turn(turn): &Turn) -> String {
        format!("{} {turn}", self.page.name)
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
