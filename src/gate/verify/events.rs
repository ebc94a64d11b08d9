//! How a yes ends from this side: by what the gate's own client does to keys and apps, and by what is
//! said to its handle.
//!
//! Revocation is final here. From the moment that a call which ends a key is *sent*, the key is
//! refused in every gate on that client or a clone of it. Only a definite answer that nothing was
//! revoked takes that back, or, for an app, that it is opened again; a time-out does not.

use super::Verifier;
use crate::client::events::{Listener, ManagementEvent, Order, Outcome, RevocationId, Settled};
use crate::gate::directory::AppChange;
use crate::gate::request::credential::KeyDigest;
use crate::gate::waiting::Name;

impl Verifier {
    /// Lets the next request with what the event names verify it anew, if it is an event that
    /// forgets. An app, or everything, is asked about as well.
    pub(crate) fn forget(&self, event: &ManagementEvent) {
        match event {
            ManagementEvent::ForgetDigest(digest) => self.fence(Name::Digest(KeyDigest(*digest))),
            ManagementEvent::ForgetKeyId(key_id) => self.fence(Name::KeyId(*key_id)),
            ManagementEvent::ForgetApp(slug) => {
                self.directory.invalidate(slug);
                self.fence(Name::App(slug));
            }
            ManagementEvent::ForgetAll => {
                self.directory.invalidate_all();
                self.cache.forget_all();
            }
            _ => {}
        }
    }

    fn fence(&self, name: Name<'_>) {
        self.cache.revocations.fence(name, self.clock.now());
    }
}

impl Listener for Verifier {
    fn begins(&self, event: &ManagementEvent, _: Order) -> RevocationId {
        if let Some((slug, _)) = change(event) {
            self.directory.change_sent(slug);
        }
        match revoked_by(event) {
            Some(name) => self.cache.revocations.record(name, self.clock.now()),
            None => RevocationId::default(),
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
        let (revocations, now) = (&self.cache.revocations, self.clock.now());
        if let (ManagementEvent::OpenApp(slug), Outcome::Done) = (event, settled.outcome) {
            revocations.reopen(slug, settled.sent);
            self.fence(Name::App(slug));
        }
        self.forget(event);
        match (revoked_by(event), settled.outcome) {
            (Some(name), Outcome::Done) => revocations.confirm(name, id, settled.answered, now),
            (Some(name), Outcome::Indeterminate) => revocations.keep(name, id, now),
            (Some(_), Outcome::Nothing) => revocations.undo(id),
            (None, _) => {}
        }
    }

    #[cfg(feature = "redis")]
    fn missed(&self) {
        self.cache.verify_all_again(self.clock.now());
    }
}

/// What is revoked, if anything is.
fn revoked_by(event: &ManagementEvent) -> Option<Name<'_>> {
    match event {
        ManagementEvent::RevokeKey { app, key_id } => Some(Name::Key {
            app,
            key_id: *key_id,
        }),
        ManagementEvent::RevokeKeyId(key_id) => Some(Name::KeyId(*key_id)),
        ManagementEvent::RevokeDigest(digest) => Some(Name::Digest(KeyDigest(*digest))),
        ManagementEvent::CloseApp(slug) => Some(Name::App(slug)),
        ManagementEvent::OpenApp(_)
        | ManagementEvent::ChangeApp(_)
        | ManagementEvent::ForgetDigest(_)
        | ManagementEvent::ForgetKeyId(_)
        | ManagementEvent::ForgetApp(_)
        | ManagementEvent::ForgetAll => None,
    }
}

/// Which app the event changes, and how.
fn change(event: &ManagementEvent) -> Option<(&str, AppChange)> {
    match event {
        ManagementEvent::RevokeKey { .. }
        | ManagementEvent::RevokeKeyId(_)
        | ManagementEvent::RevokeDigest(_)
        | ManagementEvent::ForgetDigest(_)
        | ManagementEvent::ForgetKeyId(_)
        | ManagementEvent::ForgetApp(_)
        | ManagementEvent::ForgetAll => None,
        ManagementEvent::CloseApp(slug) => Some((slug, AppChange::Closed)),
        ManagementEvent::OpenApp(slug) => Some((slug, AppChange::Opened)),
        ManagementEvent::ChangeApp(slug) => Some((slug, AppChange::Changed)),
    }
}
