//! The scripts of the counters alone, with a clock passed in, against a perfect log.

mod attacks;
mod bounds;
mod calendar;
mod memory;
mod story;

use redis::{Connection, Script};

pub const SECOND: i64 = 1_000_000;

/// A counter in the store, as replicas ask it.
pub struct Counter {
    script: Script,
    key: String,
    max: i64,
    window: String,
    lease: i64,
}

/// What one call says beside the rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    pub need: i64,
    pub want: i64,
    pub told: i64,
    pub known: i64,
    pub spent: i64,
    pub period: i64,
    pub debt: i64,
    /// Units, when they were granted, by which epoch.
    pub back: (i64, i64, i64),
}

/// What the script answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub units: i64,
    pub left: i64,
    pub more: i64,
    pub lease: i64,
    pub epoch: i64,
    pub now: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gcra,
    Sliding,
}

impl Kind {
    pub fn script(self) -> Script {
        Script::new(match self {
            Self::Gcra => GCRA,
            Self::Sliding => SLIDING,
        })
    }

    /// Most that may be spent in a window.
    pub fn bound(self, max: i64) -> i64 {
        match self {
            Self::Gcra => 2 * max - 1,
            Self::Sliding => max,
        }
    }
}

const GCRA: &str = concat!(
    include_str!("../../../src/store/scripts/ask.lua"),
    include_str!("../../../src/store/scripts/gcra.lua")
);
const SLIDING: &str = concat!(
    include_str!("../../../src/store/scripts/ask.lua"),
    include_str!("../../../src/store/scripts/sliding.lua")
);
const CALENDAR: &str = concat!(
    include_str!("../../../src/store/scripts/ask.lua"),
    include_str!("../../../src/store/scripts/calendar.lua")
);

/// As replicas choose it.
pub fn lease_of(window: i64) -> i64 {
    (window / 20).clamp(50_000, 250_000)
}

impl Counter {
    pub fn new(kind: Kind, key: impl Into<String>, max: i64, window: i64) -> Self {
        Self {
            script: kind.script(),
            key: key.into(),
            max,
            window: window.to_string(),
            lease: lease_of(window),
        }
    }

    pub fn calendar(unit: &str, key: impl Into<String>, max: i64) -> Self {
        Self {
            script: Script::new(CALENDAR),
            key: key.into(),
            max,
            window: unit.to_owned(),
            lease: 250_000,
        }
    }

    pub fn ask(&self, redis: &mut Connection, ask: Ask, now: i64) -> Answer {
        self.ask_at(redis, ask, &now.to_string())
    }

    /// By the store's own clock.
    pub fn ask_now(&self, redis: &mut Connection, ask: Ask) -> Answer {
        self.ask_at(redis, ask, "")
    }

    fn ask_at(&self, redis: &mut Connection, ask: Ask, now: &str) -> Answer {
        let mut call = self.script.key(&self.key);
        call.arg(self.max).arg(&self.window).arg(self.lease);
        call.arg(ask.need).arg(ask.want).arg(ask.told);
        call.arg(ask.known)
            .arg(ask.spent)
            .arg(ask.period)
            .arg(ask.debt);
        call.arg(ask.back.0).arg(ask.back.1).arg(ask.back.2);
        call.arg(now);
        let answer: [i64; 6] = call.invoke(redis).unwrap();
        let [units, left, more, lease, epoch, now] = answer;
        Answer {
            units,
            left,
            more,
            lease,
            epoch,
            now,
        }
    }

    pub fn forget(&self, redis: &mut Connection) {
        redis::cmd("DEL").arg(&self.key).exec(redis).unwrap();
    }
}

/// At least `need` units, at most `want`.
pub fn units(need: i64, want: i64) -> Ask {
    Ask {
        need,
        want,
        ..Ask::default()
    }
}

/// The most that any stretch of this length has, of times in order.
pub fn most_in_a_window(times: &[i64], window: i64) -> i64 {
    let mut start = 0;
    let mut most = 0;
    for (end, time) in times.iter().enumerate() {
        while times[start] + window <= *time {
            start += 1;
        }
        most = most.max(end - start + 1);
    }
    i64::try_from(most).unwrap()
}
