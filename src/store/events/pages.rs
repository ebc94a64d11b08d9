//! One reader: a page of the management API that one replica reads, all of them have.

use std::pin::Pin;
use std::time::Duration;

use super::Replica;
use crate::client::events::{PageName, SharedPage, SharedPages, Turn};
use crate::store::error::StoreError;
use crate::store::script::{Arg, Script, Slot};

impl Replica {
    /// The keys of a page, and of the turn to read it.
    fn page(&self, name: &str) -> [Slot; 2] {
        ["page", "page:reader"].map(|of| self.link.slot(&format!("{of}:{name}"), &self.keys.scope))
    }

    /// How long the store may take.
    fn page_within(&self, page: PageName<'_>) -> Duration {
        match page.is_behind {
            true => self.link.patience(),
            false => self.link.deadline(),
        }
    }

    async fn look_for_page(
        &self,
        page: PageName<'_>,
        max_age: Duration,
    ) -> Result<SharedPage, StoreError> {
        let within = self.page_within(page);
        let [page, reader] = self.page(page.name);
        let id = format!("{:016x}", self.id);
        let args = [
            Arg::Bytes(id.as_bytes()),
            milliseconds(TURN),
            milliseconds(max_age),
        ];
        let keys = [&page, &reader];
        let answer = self.link.run_within(within, &LOOK, &keys, &args).await?;
        let took = answer.took;
        let (what, turn, age, page): (String, String, String, Vec<u8>) = answer.read()?;
        Ok(match &*what {
            "read" => SharedPage::Read {
                page,
                turn: Turn(turn),
                age: Duration::from_millis(age.parse().unwrap_or(u64::MAX)).saturating_add(took),
            },
            "ours" => SharedPage::Ours(Turn(turn)),
            _ => SharedPage::Theirs,
        })
    }
}

impl SharedPages for Replica {
    fn look<'a>(
        &'a self,
        page: PageName<'a>,
        max_age: Duration,
    ) -> Pin<Box<dyn Future<Output = SharedPage> + Send + 'a>> {
        Box::pin(async move {
            let look = self.look_for_page(page, max_age).await;
            look.unwrap_or(SharedPage::Away)
        })
    }

    fn put<'a>(
        &'a self,
        page: PageName<'a>,
        Turn(turn): &'a Turn,
        bytes: Option<&'a [u8]>,
        kept_for: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let args = [
                Arg::Bytes(turn.as_bytes()),
                milliseconds(kept_for),
                Arg::Bytes(bytes.unwrap_or_default()),
            ];
            let within = self.page_within(page);
            let [page, reader] = self.page(page.name);
            let keys = [&page, &reader];
            // In vain: then the turn ends by itself, and another reads it.
            let _ = self.link.run_within(within, &PUT, &keys, &args).await;
        })
    }
}

fn milliseconds(time: Duration) -> Arg<'static> {
    Arg::Int(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

static LOOK: Script = Script::new(include_str!("../scripts/page_look.lua"));
static PUT: Script = Script::new(include_str!("../scripts/page_put.lua"));

/// A reader that has died is taken over after that.
const TURN: Duration = Duration::from_secs(5);
