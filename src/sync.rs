//! What threads share, under names that a model check can put its own things behind.
//!
//! Only what a model is about takes its parts from here: tombstones, verdicts and buckets.

#[cfg(not(all(test, wacht_shuttle)))]
mod parts {
    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

    /// moka's cache. Seeded at random, as std's hasher is, and several times faster on short keys.
    pub(crate) type Cache<K, V> = moka::sync::Cache<K, V, foldhash::quality::RandomState>;

    /// The cache, as this module's [`Cache`].
    pub(crate) fn cache<K, V>(cache: Cache<K, V>) -> Cache<K, V> {
        cache
    }
}

#[cfg(all(test, wacht_shuttle))]
mod parts {
    use std::ops::Deref;

    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, atomic};

    /// moka's own cache, of which every call is one step.
    pub(crate) struct Cache<K, V>(Moka<K, V>);

    type Moka<K, V> = moka::sync::Cache<K, V, foldhash::quality::RandomState>;

    pub(crate) fn cache<K, V>(cache: Moka<K, V>) -> Cache<K, V> {
        Cache(cache)
    }

    impl<K, V> Deref for Cache<K, V> {
        type Target = Moka<K, V>;

        fn deref(&self) -> &Self::Target {
            // Whoever else is there may go first.
            atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
            &self.0
        }
    }
}

pub(crate) use parts::{Cache, Mutex, MutexGuard, PoisonError, atomic, cache};
