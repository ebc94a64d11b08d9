//! What was revoked here is refused here, at once and whatever the gateway still says.
//!
//! The gateway keeps a yes for up to 60 s after a revocation. A tombstone outlives that, plus the
//! longest verification in flight, plus a margin; it is never evicted for want of room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Now;
use crate::gate::cache::VerdictKey;
use crate::gate::principal::{Identity, PrincipalKind};

/// The gateway's 60 s of stale yes, a verification's deadline, and room to spare.
const LIFETIME: Duration = Duration::from_secs(180);

/// Something that is refused until the gateway has surely heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Grave {
    /// One credential.
    Secret(VerdictKey),
    /// One API key by its id. OAuth client ids are another series of numbers.
    KeyId(i64),
}

/// The graves of one gate, and the count of all news that its flights must heed.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    // How many graves there are: nearly always none, and then one load is all a hit pays.
    standing: AtomicUsize,
    epoch: AtomicU64,
    graves: Mutex<HashMap<Grave, Duration>>,
}

impl Tombstones {
    /// Refuses `grave` from now on.
    pub(crate) fn bury(&self, grave: Grave, now: Now) {
        let mut graves = self.graves();
        graves.retain(|_, until| *until > now.monotonic);
        graves.insert(grave, now.monotonic.saturating_add(LIFETIME));
        self.standing.store(graves.len(), Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
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
            && identity.kind == PrincipalKind::ApiKey
            && self.covers(&Grave::KeyId(identity.key_id), now)
    }

    fn any(&self) -> bool {
        self.standing.load(Ordering::SeqCst) != 0
    }

    fn covers(&self, grave: &Grave, now: Now) -> bool {
        let mut graves = self.graves();
        match graves.get(grave) {
            Some(until) if *until > now.monotonic => true,
            Some(_) => {
                graves.remove(grave);
                self.standing.store(graves.len(), Ordering::SeqCst);
                false
            }
            None => false,
        }
    }

    fn graves(&self) -> MutexGuard<'_, HashMap<Grave, Duration>> {
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
    fn every_piece_of_news_moves_the_epoch() {
        let tombstones = Tombstones::default();
        let before = tombstones.epoch();
        tombstones.announce();
        tombstones.bury(Grave::KeyId(1), at(0));
        assert_eq!(tombstones.epoch(), before + 2);
    }

    #[test]
    fn many_graves_are_all_kept() {
        let tombstones = Tombstones::default();
        for id in 0..10_000 {
            tombstones.bury(Grave::KeyId(id), at(0));
        }
        assert!((0..10_000).all(|id| tombstones.covers(&Grave::KeyId(id), at(1))));
    }
}
