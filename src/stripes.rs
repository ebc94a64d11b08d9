//! Copies of what every request touches, so that threads do not touch the same one.
//!
//! Two threads that write to one cache line, be it a count or the references to an `Arc`, wait for
//! each other on every request.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A few copies, one of which is a thread's own as long as there are no more threads than copies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stripes<T>([Padded<T>; STRIPES]);

/// On cache lines of its own; processors fetch them in pairs.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Stripes<T> {
    pub(crate) fn new(mut copy: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| Padded(copy())))
    }

    /// This thread's copy.
    pub(crate) fn local(&self) -> &T {
        &self.0[stripe()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Padded(copy)| copy)
    }
}

fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static LOCAL: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    LOCAL.with(|local| {
        if local.get() == UNKNOWN {
            local.set(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        local.get() % STRIPES
    })
}

const STRIPES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_next_to_each_other_have_their_own_copies_and_keep_them() {
        let stripes: Vec<usize> = (0..STRIPES)
            .map(|_| std::thread::spawn(stripe))
            .map(|thread| thread.join().unwrap())
            .collect();
        // Other tests start threads, too.
        assert!(stripes.windows(2).any(|two| two[0] != two[1]));
        assert_eq!(stripe(), stripe());
    }
}
