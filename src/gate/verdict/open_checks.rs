//! The checks that are out, so that an answer is held against the others about its key.
//!
//! Answers may overtake each other: a check that was sent first may say yes after a later one has
//! said no. What is remembered for a time of its own, or let go for want of room, cannot decide
//! then. So when the last yes and the last no were sent is remembered here, for exactly as long as
//! a check of that key is out.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::gate::verdict::revocations::Sent;
use crate::gate::verdict::verdict::VerdictKey;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The checks that are out, by key.
#[derive(Default)]
pub(super) struct OpenChecks([Mutex<Checks>; LOCKS]);

type Checks = HashMap<VerdictKey, Checked, RandomState>;

/// What is out about one key.
#[derive(Default)]
struct Checked {
    out: usize,
    /// When the last check was sent that brought a yes.
    yes: Option<Duration>,
    /// The same for a definite no.
    no: Option<Duration>,
}

/// A check on its way.
pub(crate) struct OpenCheck<'a> {
    all: &'a OpenChecks,
    pub(super) key: VerdictKey,
    pub(super) sent: Sent,
}

/// What was answered first, though it was asked later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OvertakenBy {
    Nothing,
    Yes,
    No,
}

/// The right to file an answer: one at a time for a key.
pub(super) struct Filing<'a> {
    check: &'a OpenCheck<'a>,
    checks: MutexGuard<'a, Checks>,
}

impl OpenChecks {
    pub(super) fn open(&self, key: VerdictKey, sent: Sent) -> OpenCheck<'_> {
        self.of(&key).entry(key).or_default().out += 1;
        let all = self;
        OpenCheck { all, key, sent }
    }

    /// Keeps every answer about this key from being filed for as long as what is returned is held.
    pub(super) fn hold_back(&self, key: &VerdictKey) -> impl Sized {
        self.of(key)
    }

    fn of(&self, key: &VerdictKey) -> MutexGuard<'_, Checks> {
        let [first, ..] = &self.0;
        let home = (key.digest.place() as usize).checked_rem(self.0.len());
        let lock = home.and_then(|home| self.0.get(home));
        lock.unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenCheck<'_> {
    /// When it was sent.
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    pub(super) fn file(&self) -> Filing<'_> {
        Filing {
            check: self,
            checks: self.all.of(&self.key),
        }
    }
}

impl Filing<'_> {
    /// Files a yes, unless a check that was sent later, or at the same instant, has said no.
    pub(super) fn yes(&mut self) -> OvertakenBy {
        let sent = Some(self.check.sent.at.monotonic);
        let Some(checked) = self.checks.get_mut(&self.check.key) else {
            return OvertakenBy::Nothing;
        };
        if checked.no >= sent {
            OvertakenBy::No
        } else if checked.yes > sent {
            OvertakenBy::Yes
        } else {
            checked.yes = sent;
            OvertakenBy::Nothing
        }
    }

    /// Files a definite no, unless a check that was sent later has said yes.
    pub(super) fn no(&mut self) -> OvertakenBy {
        if self.indeterminate() == OvertakenBy::Yes {
            return OvertakenBy::Yes;
        }
        let sent = Some(self.check.sent.at.monotonic);
        if let Some(checked) = self.checks.get_mut(&self.check.key) {
            checked.no = checked.no.max(sent);
        }
        OvertakenBy::Nothing
    }

    /// Nothing to file; whether a check that was sent later has said yes.
    pub(super) fn indeterminate(&self) -> OvertakenBy {
        let sent = Some(self.check.sent.at.monotonic);
        match self.checks.get(&self.check.key) {
            Some(checked) if checked.yes > sent => OvertakenBy::Yes,
            _ => OvertakenBy::Nothing,
        }
    }
}

impl Drop for OpenCheck<'_> {
    fn drop(&mut self) {
        let mut checks = self.all.of(&self.key);
        if let Some(of) = checks.get_mut(&self.key) {
            of.out -= 1;
            if of.out == 0 {
                checks.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for OpenChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenChecks").finish_non_exhaustive()
    }
}

/// In models, each lock would be one more thing to make.
const LOCKS: usize = if cfg!(wacht_shuttle) { 1 } else { 16 };
