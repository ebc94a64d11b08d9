//! How a yes ends from elsewhere: by what lists of keys say.
//!
//! A key that Wacht shows as revoked is revoked here as by a call of the gate's own client: what the
//! gateway still says of it does not count.

use super::Verifier;
use crate::api::api_keys::KeyList;
use crate::client::events::ManagementEvent;
use crate::clock::Now;
use crate::gate::directory::{Asked, Judged, KeysInUse};
use crate::gate::waiting::Waiting;

impl KeysInUse for Verifier {
    fn drop_unused(&self, app: &str, now: Now) -> bool {
        let unused_for = self.cache.policy.longest_use();
        let is_waited_for = || self.waiting().waits_for_key_of(app);
        let index = self.cache.index();
        index.is_none_or(|index| index.drop_app(app, unused_for, is_waited_for, now))
    }

    fn list_begins(&self) -> u32 {
        let index = self.cache.index();
        index.map_or(0, |index| index.list_begins())
    }

    fn take_list(&self, app: &str, list: &KeyList, asked: Asked) -> Judged {
        let now = self.clock.now();
        let (mut judged, mut revoked) = self.cache.take_list(app, list, asked, now);
        let waited_for = self.waiting().key_ids(app);
        self.cache.keep_unlisted(app, &waited_for);
        for key_id in waited_for {
            match list.get(key_id) {
                Some(key) if key.is_revoked() => revoked.push(key_id),
                Some(key) => self.waiting().ends_at(app, key_id, key.ends_at()),
                None if self.cache.is_unlisted(app, key_id) => {}
                None => judged.missing.push(key_id),
            }
        }
        judged.missing.sort_unstable();
        judged.missing.dedup();
        for key_id in revoked {
            self.revoked_elsewhere(app, key_id);
        }
        judged
    }

    fn take_confirmation(&self, app: &str, missing: &[i64], list: Option<&KeyList>) {
        let now = self.clock.now();
        for key_id in missing {
            let Some(list) = list else {
                self.cache.verify_again(app, *key_id, now);
                continue;
            };
            match list.get(*key_id) {
                Some(key) if key.is_revoked() => self.revoked_elsewhere(app, *key_id),
                // It came between the two.
                Some(_) => {}
                None => self.cache.in_no_list(app, *key_id, now),
            }
        }
    }
}

impl Verifier {
    fn waiting(&self) -> &Waiting {
        &self.cache.revocations.waiting
    }

    fn revoked_elsewhere(&self, app: &str, key_id: i64) {
        let app = app.into();
        let event = ManagementEvent::RevokeKey { app, key_id };
        self.client.events().publish(event);
    }
}
