//! Going on without requests, while somebody waits for the end of a caller.
//!
//! Requests carry the reader on, and who holds a stream open makes none. So one of those who wait lets a
//! task on its runtime sleep until something is due. If that runtime is dropped, another of them is
//! woken and does the same.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Directory;
use crate::clock::Now;

/// The task, for as long as it lives.
struct Alarm(Weak<Directory>);

impl Directory {
    /// Somebody waits on the current runtime: what is due is done now, and from now on when it is.
    pub(crate) fn waited_for(self: &Arc<Self>, now: Now) {
        self.keep_current(now);
        self.keep_events_current();
        if self.has_alarm.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.has_alarm.swap(true, Ordering::SeqCst) {
            let alarm = Alarm(Arc::downgrade(self));
            // A runtime that is shutting down drops it at once.
            runtime.spawn(alarm.run());
        }
    }

    /// Has the events of other replicas read, unless somebody does. Whether there are any.
    fn keep_events_current(&self) -> bool {
        let sink = self.client.events().sink();
        if let Some(sink) = &sink {
            sink.keep_current();
        }
        sink.is_some()
    }
}

impl Alarm {
    async fn run(self) {
        while let Some(directory) = self.0.upgrade() {
            if directory.waiting.len() == 0 {
                return;
            }
            let clock = directory.clock.clone();
            let now = clock.now();
            directory.keep_current(now);
            let hears_of_others = directory.keep_events_current();
            let due_at = Duration::from_nanos(directory.due_at.load(Ordering::Acquire));
            drop(directory);
            // Something that is due and cannot be done yet is no reason to look all the time.
            let soon = now.monotonic.saturating_add(LOOK_AGAIN);
            let due = Now {
                // When a runtime ends that has read the events, nobody says so.
                monotonic: match hears_of_others {
                    true => soon,
                    false => due_at.max(soon),
                },
                unix: Duration::MAX,
            };
            clock.sleep_until(due).await;
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(directory) = self.0.upgrade() {
            directory.has_alarm.store(false, Ordering::SeqCst);
            // Whoever waits still takes its place: nobody, if that is why it has ended.
            directory.waiting.wake_one();
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
