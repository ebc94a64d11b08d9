//! What threads share, under names that a model check can put its own things behind.
//!
//! Only what a model is about takes its parts from here: revocations, verdicts, what holds them, and
//! buckets.

#[cfg(not(all(test, wacht_shuttle)))]
mod parts {
    pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

    use arc_swap::ArcSwapOption;

    /// A place for one `Arc`.
    pub(crate) type Slot<T> = ArcSwapOption<T>;

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
    use std::sync::Arc;

    use arc_swap::{ArcSwapOption, Guard};

    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, atomic};

    /// A place for one `Arc`, of which every use is one step.
    pub(crate) struct Slot<T>(ArcSwapOption<T>);

    impl<T> Default for Slot<T> {
        fn default() -> Self {
            Self(ArcSwapOption::empty())
        }
    }

    impl<T> Slot<T> {
        /// No step: moka, which asks for it, holds a lock that no other thread may want meanwhile.
        pub(crate) fn compare_and_swap(
            &self,
            current: *const T,
            new: Option<Arc<T>>,
        ) -> Guard<Option<Arc<T>>> {
            self.0.compare_and_swap(current, new)
        }
    }

    impl<T> Deref for Slot<T> {
        type Target = ArcSwapOption<T>;

        fn deref(&self) -> &Self::Target {
            stop();
            &self.0
        }
    }

    /// moka's own cache, of which every call is one step.
    pub(crate) struct Cache<K, V>(Moka<K, V>);

    type Moka<K, V> = moka::sync::Cache<K, V, foldhash::quality::RandomState>;

    pub(crate) fn cache<K, V>(cache: Moka<K, V>) -> Cache<K, V> {
        Cache(cache)
    }

    impl<K, V> Deref for Cache<K, V> {
        type Target = Moka<K, V>;

        fn deref(&self) -> &Self::Target {
            stop();
            &self.0
        }
    }

    /// Whoever else is there may go first.
    fn stop() {
        atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
    }
}

#[cfg(all(test, wacht_shuttle))]
pub(crate) mod model;
#[cfg(test)]
pub(crate) mod woken;

pub(crate) use parts::{Cache, Mutex, MutexGuard, PoisonError, Slot, atomic, cache};
