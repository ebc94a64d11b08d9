//! What was revoked here is refused here, at once and whatever the gateway still says.
//!
//! The gateway keeps a yes for up to 60 s after a revocation. A tombstone outlives that, plus the
//! longest verification in flight, plus a margin; it is never evicted for want of room.

use std::collections::HashMap;
use std::time::Duration;

use crate::client::events::RevocationId;
use crate::clock::Now;
use crate::gate::verdict::VerdictKey;
use crate::gate::verdict::{Identity, PrincipalKind};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The gateway's 60 s of stale yes, a verification's deadline, and room to spare.
const LIFETIME: Duration = Duration::from_secs(180);

/// Something that is refused until the gateway has surely heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grave {
    /// One credential.
    Secret(VerdictKey),
    /// One API key by its id. OAuth client ids are another series of numbers.
    KeyId(i64),
    /// All keys of an app, by its slug: tokens, too.
    App(Box<str>),
}

/// One burial. A grave may have several: each ends by itself.
#[derive(Debug)]
struct Stone {
    ticket: RevocationId,
    until: Duration,
}

/// The graves of one gate, and the count of all news that its flights must heed.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    // How many graves there are: nearly always none, and then one load is all a hit pays.
    standing: AtomicUsize,
    epoch: AtomicU64,
    tickets: AtomicU64,
    graves: Mutex<HashMap<Grave, Vec<Stone>>>,
}

impl Tombstones {
    /// Refuses `grave` from now on.
    pub(crate) fn bury(&self, grave: Grave, now: Now) -> RevocationId {
        let mut graves = self.graves();
        graves.retain(|_, stones| {
            stones.retain(|stone| stone.until > now.monotonic);
            !stones.is_empty()
        });
        let ticket = RevocationId(self.tickets.fetch_add(1, Ordering::SeqCst) + 1);
        graves.entry(grave).or_default().push(Stone {
            ticket,
            until: now.monotonic.saturating_add(LIFETIME),
        });
        self.standing.store(graves.len(), Ordering::SeqCst);
        ticket
    }

    /// Takes one burial back: nothing was revoked by it.
    pub(crate) fn lift(&self, grave: &Grave, ticket: RevocationId) {
        let mut graves = self.graves();
        if let Some(stones) = graves.get_mut(grave) {
            stones.retain(|stone| stone.ticket != ticket);
            if stones.is_empty() {
                graves.remove(grave);
            }
        }
        self.standing.store(graves.len(), Ordering::SeqCst);
    }

    /// Takes every burial in this grave back: what was ended lives again.
    pub(crate) fn clear(&self, grave: &Grave) {
        let mut graves = self.graves();
        graves.remove(grave);
        self.standing.store(graves.len(), Ordering::SeqCst);
    }

    /// Fences flights off: what was asked before now may not enter the cache any more.
    pub(crate) fn announce(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of news so far. A flight notes it when it is sent and looks again when its
    /// answer is in the cache: see [`VerdictCache::admit`](super::cache::VerdictCache::admit).
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn covers_secret(&self, key: &VerdictKey, now: Now) -> bool {
        self.any() && self.covers(&Grave::Secret(*key), now)
    }

    pub(crate) fn covers_identity(&self, identity: &Identity, now: Now) -> bool {
        self.any()
            && (self.covers(&Grave::App((&*identity.app_slug).into()), now)
                || identity.kind == PrincipalKind::ApiKey
                    && self.covers(&Grave::KeyId(identity.key_id), now))
    }

    fn any(&self) -> bool {
        self.standing.load(Ordering::SeqCst) != 0
    }

    fn covers(&self, grave: &Grave, now: Now) -> bool {
        let mut graves = self.graves();
        let Some(stones) = graves.get(grave) else {
            return false;
        };
        let stands = stones.iter().any(|stone| stone.until > now.monotonic);
        if !stands {
            graves.remove(grave);
            self.standing.store(graves.len(), Ordering::SeqCst);
        }
        stands
    }

    fn graves(&self) -> MutexGuard<'_, HashMap<Grave, Vec<Stone>>> {
        self.graves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_grave_outlives_the_gateways_stale_yes_and_then_ends() {
        let tombstones = Tombstones::default();
        let grave = Grave::KeyId(7);
        assert!(!tombstones.covers(&grave, at(0)));
        tombstones.bury(grave.clone(), at(10));
        assert!(tombstones.covers(&grave, at(10 + 62)));
        assert!(tombstones.covers(&grave, at(10 + 179)));
        assert!(!tombstones.covers(&grave, at(10 + 180)));
        assert!(!tombstones.any(), "the last grave is cleared away");
    }

    #[test]
    fn only_what_is_to_be_forgotten_moves_the_epoch() {
        let tombstones = Tombstones::default();
        let before = tombstones.epoch();
        // A grave is looked up where a flight lands; flights of other keys are not its business.
        tombstones.bury(Grave::KeyId(1), at(0));
        assert_eq!(tombstones.epoch(), before);
        tombstones.announce();
        assert_eq!(tombstones.epoch(), before + 1);
    }

    #[test]
    fn lifting_one_burial_leaves_the_others() {
        let tombstones = Tombstones::default();
        let grave = Grave::App("orders".into());
        let done = tombstones.bury(grave.clone(), at(0));
        let failed = tombstones.bury(grave.clone(), at(0));
        assert_ne!(done, failed);
        tombstones.lift(&grave, failed);
        assert!(tombstones.covers(&grave, at(1)));
        tombstones.lift(&grave, done);
        assert!(!tombstones.any());
    }

    #[test]
    fn what_lives_again_has_no_grave_left() {
        let tombstones = Tombstones::default();
        let grave = Grave::App("orders".into());
        tombstones.bury(grave.clone(), at(0));
        tombstones.bury(grave.clone(), at(5));
        tombstones.clear(&grave);
        assert!(!tombstones.covers(&grave, at(6)));
    }

    #[test]
    fn many_graves_are_all_kept() {
        let tombstones = Tombstones::default();
        for id in 0..1_000 {
            tombstones.bury(Grave::KeyId(id), at(0));
        }
        assert!((0..1_000).all(|id| tombstones.covers(&Grave::KeyId(id), at(1))));
    }
}
