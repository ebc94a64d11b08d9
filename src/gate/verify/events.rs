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
    /// Lets the next request with this credential verify it anew.
    pub(crate) fn forget_secret(&self, secret: &str) {
        self.fence(Name::Digest(KeyDigest::of(secret)));
    }

    /// Lets the next request with this API key verify it anew.
    pub(crate) fn forget_key_id(&self, key_id: i64) {
        self.fence(Name::KeyId(key_id));
    }

    /// Lets the next request with any key of this app verify it anew, the app included.
    pub(crate) fn forget_app(&self, slug: &str) {
        self.directory.invalidate(slug);
        self.fence(Name::App(slug));
    }

    /// Lets the next request with any key verify it anew, its app included.
    pub(crate) fn forget_all(&self) {
        self.directory.invalidate_all();
        self.cache.forget_all();
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
        match (revoked_by(event), settled.outcome) {
            (Some(name), Outcome::Done) => revocations.confirm(name, id, settled.answered, now),
            (Some(name), Outcome::Indeterminate) => revocations.keep(name, id, now),
            (Some(_), Outcome::Nothing) => revocations.undo(id),
            (None, _) => {}
        }
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
        ManagementEvent::OpenApp(_) | ManagementEvent::ChangeApp(_) => None,
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
