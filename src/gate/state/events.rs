//! What happens to keys and apps through the gate's own client or its handle.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::events::{Deed, Listener, Outcome, RevocationId, Ticket};
use crate::gate::state::State;
use crate::gate::verdict::revocations::Name;

impl State {
    pub(crate) fn revoke(&self, name: Name<'_>) {
        self.cache.revocations.record(name, None, self.clock.now());
    }

    pub(crate) fn fence(&self, name: Name<'_>) {
        self.cache.revocations.fence(name, self.clock.now());
    }

    pub(crate) fn forget_app(&self, slug: &str) {
        self.expire_policy(slug);
        self.fence(Name::App(slug));
    }

    fn expire_policy(&self, slug: &str) {
        if let Some(app) = self.apps.get(slug) {
            app.expire();
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Listener for State {
    fn begins(&self, deed: &Deed) -> Ticket {
        let ticket = Ticket(NEXT.fetch_add(1, Ordering::SeqCst));
        let id = RevocationId(ticket.0);
        let now = self.clock.now();
        match deed {
            Deed::EndKey(key_id) => self.cache.revocations.begin(Name::KeyId(*key_id), id, now),
            Deed::CloseApp(slug) => {
                self.cache.revocations.begin(Name::App(slug), id, now);
                self.expire_policy(slug);
            }
            _ => {}
        }
        ticket
    }

    fn settled(&self, deed: &Deed, ticket: Ticket, outcome: Outcome) {
        let revocations = &self.cache.revocations;
        let now = self.clock.now();
        let id = RevocationId(ticket.0);
        match (outcome, deed) {
            (Outcome::Done, Deed::EndKey(key_id)) => {
                revocations.record(Name::KeyId(*key_id), Some(id), now);
            }
            (Outcome::Done, Deed::CloseApp(slug)) => {
                let order = NEXT.fetch_add(1, Ordering::SeqCst);
                revocations.close(slug, id, order, now);
            }
            (Outcome::Done, Deed::OpenApp(slug)) => {
                revocations.reopen(slug, ticket.0);
                self.forget_app(slug);
                if let Some(app) = self.apps.get(slug) {
                    app.forget_policy();
                }
            }
            (_, Deed::ChangeApp(slug)) => self.expire_policy(slug),
            (Outcome::Nothing, Deed::EndKey(_) | Deed::CloseApp(_)) => revocations.undo(id),
            _ => {}
        }
    }
}
