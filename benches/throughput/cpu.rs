//! The processor time of a process.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// In its own code. The system tells this from the rest by samples.
    pub(crate) user: Duration,
    /// In its own code and in the system's.
    pub(crate) all: Duration,
}

impl Spent {
    /// Nothing where the system does not tell.
    pub(crate) fn by(process: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name comes second and may hold anything; the 14th and the 15th field are what we want.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut fields = after_name.split(' ').skip(11);
        // Linux tells all programs that a second has 100 ticks.
        let mut next = || {
            Some(Duration::from_millis(
                10 * fields.next()?.parse::<u64>().ok()?,
            ))
        };
        let (user, system) = (next()?, next()?);
        let all = user + system;
        Some(Self { user, all })
    }
}

/// What all programs have used of all processors so far.
pub(crate) fn spent_by_all() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Option<Vec<u64>> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().ok())
        .collect();
    let ticks = ticks?;
    // User, nice, system; then idle and waiting; then interrupts.
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..7)?);
    Some(Duration::from_millis(10 * busy.sum::<u64>()))
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            all: self.all.saturating_sub(before.all),
        }
    }
}
