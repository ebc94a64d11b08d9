//! One reader: a page of the management API that one replica reads, all of them have.

use std::pin::Pin;
use std::time::Duration;

use super::Replica;
use crate::client::events::{SharedPage, SharedPages, Turn};
use crate::store::StoreError;
use crate::store::script::{Arg, Script, Slot};

impl Replica {
    /// The keys of a page, and of the turn to read it.
    fn page(&self, name: &str) -> [Slot; 2] {
        ["page", "page:reader"].map(|of| self.link.slot(&format!("{of}:{name}"), &self.keys.scope))
    }

    async fn look_for_page(&self, name: &str, max_age: Duration) -> Result<SharedPage, StoreError> {
        let [page, reader] = self.page(name);
        let id = format!("{:016x}", self.id);
        let args = [
            Arg::Bytes(id.as_bytes()),
            milliseconds(TURN),
            milliseconds(max_age),
        ];
        let answer = self.link.run(&LOOK, &[&page, &reader], &args).await?;
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
        name: &'a str,
        max_age: Duration,
    ) -> Pin<Box<dyn Future<Output = SharedPage> + Send + 'a>> {
        Box::pin(async move {
            let look = self.look_for_page(name, max_age).await;
            look.unwrap_or(SharedPage::Away)
        })
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        Turn(turn): &'a Turn,
        page: Option<&'a [u8]>,
        kept_for: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let args = [
                Arg::Bytes(turn.as_bytes()),
                milliseconds(kept_for),
                Arg::Bytes(page.unwrap_or_default()),
            ];
            let [page, reader] = self.page(name);
            // In vain: then the turn ends by itself, and another reads it.
            let _ = self.link.run(&PUT, &[&page, &reader], &args).await;
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
