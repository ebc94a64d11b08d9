//! How a yes ends from this side: through the handle, and through what the gate's own client does.
//!
//! Revocation is final here. From the moment that a call which ends a key is *sent*, the key is
//! refused in every gate on that client or a clone of it. Only a definite answer that nothing was
//! revoked lifts that; a time-out does not.

use crate::client::events::{Listener, ManagementEvent, Order, Outcome, RevocationId, Settled};
use crate::clock::Now;
use crate::gate::directory::AppChange;
use crate::gate::request::credential::KeyDigest;
use crate::gate::verdict::PrincipalKind;
use crate::gate::verdict::VerdictKey;
use crate::gate::verdict::cache::VerdictCache;
use crate::gate::verdict::revocations::{Grave, Tombstones};
use crate::gate::verify::Verifier;

impl Verifier {
    /// Refuses the API key with this id from now on.
    pub(crate) fn end_key(&self, key_id: i64) -> RevocationId {
        end_key(&self.tombstones, &self.cache, key_id, self.clock.now())
    }

    /// Refuses this credential from now on.
    pub(crate) fn end_secret(&self, key: VerdictKey) {
        self.tombstones.bury(Grave::Secret(key), self.clock.now());
        self.cache.forget(&key);
    }

    /// Refuses all keys of an app from now on.
    fn close_app(&self, slug: &str) -> RevocationId {
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
) -> RevocationId {
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

impl Listener for Verifier {
    fn begins(&self, event: &ManagementEvent, _sent: Order) -> RevocationId {
        if let Some((slug, _)) = change(event) {
            self.directory.change_sent(slug);
        }
        match event {
            ManagementEvent::RevokeKey { key_id, .. } | ManagementEvent::RevokeKeyId(key_id) => {
                self.end_key(*key_id)
            }
            ManagementEvent::RevokeDigest(digest) => {
                let digest = KeyDigest(*digest);
                for kind in [PrincipalKind::ApiKey, PrincipalKind::OauthAccessToken] {
                    self.end_secret(VerdictKey { digest, kind });
                }
                RevocationId::default()
            }
            ManagementEvent::CloseApp(slug) => self.close_app(slug),
            ManagementEvent::OpenApp(_) | ManagementEvent::ChangeApp(_) => RevocationId::default(),
        }
    }

    fn settled(&self, event: &ManagementEvent, id: RevocationId, settled: Settled) {
        if let Some((slug, change)) = change(event) {
            match settled.outcome {
                Outcome::Done => self.directory.change_answered(slug, change),
                Outcome::Nothing => self.directory.change_answered(slug, AppChange::Nothing),
                Outcome::Indeterminate => self.directory.change_given_up(slug),
            }
        }
        let grave = match event {
            ManagementEvent::RevokeKey { key_id, .. } => Grave::KeyId(*key_id),
            // Nothing was sent that could have been answered otherwise.
            ManagementEvent::RevokeKeyId(_) | ManagementEvent::RevokeDigest(_) => return,
            ManagementEvent::CloseApp(slug) => Grave::App(slug.clone()),
            ManagementEvent::OpenApp(slug) => {
                if settled.outcome == Outcome::Done {
                    self.tombstones.clear(&Grave::App(slug.clone()));
                    self.tombstones.announce();
                    self.drop_app(slug);
                }
                return;
            }
            ManagementEvent::ChangeApp(_) => return,
        };
        match settled.outcome {
            // Again, so that it lasts from the moment that it was done.
            Outcome::Done => {
                self.tombstones.bury(grave, self.clock.now());
            }
            Outcome::Nothing => self.tombstones.lift(&grave, id),
            Outcome::Indeterminate => {}
        }
    }
}

/// Which app the event changes, and how.
fn change(event: &ManagementEvent) -> Option<(&str, AppChange)> {
    match event {
        ManagementEvent::RevokeKey { .. }
        | ManagementEvent::RevokeKeyId(_)
        | ManagementEvent::RevokeDigest(_) => None,
        ManagementEvent::CloseApp(slug) => Some((slug, AppChange::Closed)),
        ManagementEvent::OpenApp(slug) => Some((slug, AppChange::Opened)),
        ManagementEvent::ChangeApp(slug) => Some((slug, AppChange::Changed)),
    }
}
