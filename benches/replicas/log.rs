//! What was admitted when, and a perfect log to hold it against.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One unit: decided no sooner than the first moment and no later than the second.
#[derive(Clone, Copy)]
pub(crate) struct Admitted {
    pub(crate) subject: u32,
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// Nanoseconds since 1970, the same for all processes of the machine.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// The most units of one subject that were certainly admitted within one window.
pub(crate) fn most_in_a_window(admitted: &[Admitted], subjects: u32, window: Duration) -> usize {
    let window = u64::try_from(window.as_nanos()).unwrap();
    let mut before: Vec<Vec<u64>> = vec![Vec::new(); subjects as usize];
    let mut after = before.clone();
    for unit in admitted {
        before[unit.subject as usize].push(unit.before);
        after[unit.subject as usize].push(unit.after);
    }
    let mut most = 0;
    for (before, after) in before.iter_mut().zip(&mut after) {
        before.sort_unstable();
        after.sort_unstable();
        for (earlier, start) in before.iter().enumerate() {
            // Those that were over by the end of the window, less those that began before it.
            let over = after.partition_point(|time| *time < start + window);
            most = most.max(over.saturating_sub(earlier));
        }
    }
    most
}

/// Admits as many as a perfect log of the window does.
pub(crate) struct Perfect {
    window: u64,
    max: usize,
    log: VecDeque<u64>,
}

impl Perfect {
    pub(crate) fn new(max: u32, window: Duration) -> Self {
        Self {
            window: u64::try_from(window.as_nanos()).unwrap(),
            max: max as usize,
            log: VecDeque::new(),
        }
    }

    pub(crate) fn admits(&mut self, now: u64) -> bool {
        while self
            .log
            .front()
            .is_some_and(|time| time + self.window <= now)
        {
            self.log.pop_front();
        }
        let admits = self.log.len() < self.max;
        if admits {
            self.log.push_back(now);
        }
        admits
    }
}

pub(crate) fn percentile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    match values.is_empty() {
        true => 0,
        false => values[(values.len() - 1) * percent / 100],
    }
}
