//! How a yes ends from this side: through the handle, and through what the gate's own client does.
//!
//! Revocation is final here. From the moment that a call which ends a key is *sent*, the key is
//! refused in every gate on that client or a clone of it. Only a definite answer that nothing was
//! revoked lifts that; a time-out does not.

use crate::client::events::{Deed, Listener, Outcome, Ticket};
use crate::clock::Now;
use crate::gate::directory::AppChange;
use crate::gate::principal::PrincipalKind;
use crate::gate::state::State;
use crate::gate::verdict::VerdictKey;
use crate::gate::verdict::cache::VerdictCache;
use crate::gate::verdict::revocations::{Grave, Tombstones};

impl State {
    /// Refuses the API key with this id from now on.
    pub(crate) fn end_key(&self, key_id: i64) -> Ticket {
        end_key(&self.tombstones, &self.cache, key_id, self.clock.now())
    }

    /// Refuses this credential from now on.
    pub(crate) fn end_secret(&self, key: VerdictKey) {
        self.tombstones.bury(Grave::Secret(key), self.clock.now());
        self.cache.forget(&key);
    }

    /// Refuses all keys of an app from now on.
    fn close_app(&self, slug: &str) -> Ticket {
        let ticket = self
            .tombstones
            .bury(Grave::App(slug.into()), self.clock.now());
        self.drop_app(slug);
        ticket
    }

    /// Lets the next request with this API key verify it anew.
    pub(crate) fn forget_key_id(&self, key_id: i64) {
        forget_key_id(&self.tombstones, &self.cache, key_id);
    }

    /// Lets the next request with any key of this app verify it anew, the app included.
    pub(crate) fn forget_app(&self, slug: &str) {
        self.tombstones.announce();
        self.directory.invalidate(slug);
        self.drop_app(slug);
    }

    fn drop_app(&self, slug: &str) {
        self.cache
            .forget_if(|verdict| &*verdict.identity.app_slug == slug);
    }
}

/// Refuses the API key with this id from now on, and drops the yes about it, which might outlive
/// the grave in an outage. A yes still in flight meets the grave when it lands.
pub(crate) fn end_key(
    tombstones: &Tombstones,
    cache: &VerdictCache,
    key_id: i64,
    now: Now,
) -> Ticket {
    let ticket = tombstones.bury(Grave::KeyId(key_id), now);
    drop_key_id(cache, key_id);
    ticket
}

pub(crate) fn forget_key_id(tombstones: &Tombstones, cache: &VerdictCache, key_id: i64) {
    tombstones.announce();
    drop_key_id(cache, key_id);
}

fn drop_key_id(cache: &VerdictCache, key_id: i64) {
    cache.forget_if(|verdict| {
        verdict.identity.kind == PrincipalKind::ApiKey && verdict.identity.key_id == key_id
    });
}

impl Listener for State {
    fn begins(&self, deed: &Deed) -> Ticket {
        if let Some((slug, _)) = change(deed) {
            self.directory.change_sent(slug);
        }
        match deed {
            Deed::EndKey(key_id) => self.end_key(*key_id),
            Deed::CloseApp(slug) => self.close_app(slug),
            Deed::OpenApp(_) | Deed::ChangeApp(_) => Ticket::default(),
        }
    }

    fn settled(&self, deed: &Deed, ticket: Ticket, outcome: Outcome) {
        if let Some((slug, change)) = change(deed) {
            match outcome {
                Outcome::Done => self.directory.change_answered(slug, change),
                Outcome::Nothing => self.directory.change_answered(slug, AppChange::Nothing),
                Outcome::Unknown => self.directory.change_given_up(slug),
            }
        }
        let grave = match deed {
            Deed::EndKey(key_id) => Grave::KeyId(*key_id),
            Deed::CloseApp(slug) => Grave::App(slug.as_str().into()),
            Deed::OpenApp(slug) => {
                if outcome == Outcome::Done {
                    self.tombstones.clear(&Grave::App(slug.as_str().into()));
                    self.tombstones.announce();
                    self.drop_app(slug);
                }
                return;
            }
            Deed::ChangeApp(_) => return,
        };
        match outcome {
            // Again, so that it lasts from the moment that the deed was done.
            Outcome::Done => {
                self.tombstones.bury(grave, self.clock.now());
            }
            Outcome::Nothing => self.tombstones.lift(&grave, ticket),
            Outcome::Unknown => {}
        }
    }
}

/// Which app the deed changes, and how.
fn change(deed: &Deed) -> Option<(&str, AppChange)> {
    match deed {
        Deed::EndKey(_) => None,
        Deed::CloseApp(slug) => Some((slug, AppChange::Closed)),
        Deed::OpenApp(slug) => Some((slug, AppChange::Opened)),
        Deed::ChangeApp(slug) => Some((slug, AppChange::Changed)),
    }
}
