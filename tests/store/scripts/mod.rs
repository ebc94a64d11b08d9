//! The scripts of the counters alone, with a clock passed in, against a perfect log.

mod attacks;
mod bounds;
mod calendar;
mod memory;
mod register;
mod story;

use std::cell::Cell;

use redis::{Connection, Script};

pub const SECOND: i64 = 1_000_000;

/// A counter in the store, as replicas ask it.
pub struct Counter {
    script: Script,
    key: String,
    max: i64,
    window: String,
    lease: i64,
    /// Whether all have told the server what they had spent.
    is_complete: Cell<bool>,
}

/// What one call says beside the rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    pub need: i64,
    pub want: i64,
    pub told: i64,
    pub known: i64,
    pub seen: i64,
    pub spent: i64,
    pub recent: i64,
    pub heard: i64,
    pub met: i64,
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
    pub register: i64,
    pub is_complete: bool,
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
    include_str!("../../../src/store/scripts/register.lua"),
    include_str!("../../../src/store/scripts/ask.lua"),
    include_str!("../../../src/store/scripts/gcra.lua")
);
const SLIDING: &str = concat!(
    include_str!("../../../src/store/scripts/register.lua"),
    include_str!("../../../src/store/scripts/ask.lua"),
    include_str!("../../../src/store/scripts/sliding.lua")
);
const CALENDAR: &str = concat!(
    include_str!("../../../src/store/scripts/register.lua"),
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
            is_complete: Cell::new(false),
        }
    }

    pub fn calendar(unit: &str, key: impl Into<String>, max: i64) -> Self {
        Self {
            script: Script::new(CALENDAR),
            key: key.into(),
            max,
            window: unit.to_owned(),
            lease: 250_000,
            is_complete: Cell::new(false),
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
        if !self.is_complete.replace(true) {
            let (since, _) = enter(redis, "1", 0, 0, false, now);
            let (_, is_complete) = enter(redis, "1", 1, since, true, now);
            assert!(is_complete, "it is the only one");
        }
        let mut call = self.script.prepare_invoke();
        call.key(&self.key).key(REGISTER);
        call.arg(self.max).arg(&self.window).arg(self.lease);
        call.arg(ask.need).arg(ask.want).arg(ask.told);
        call.arg(ask.known).arg(ask.seen).arg(ask.spent);
        call.arg(ask.recent).arg(ask.heard).arg(ask.met);
        call.arg(ask.period).arg(ask.debt);
        call.arg(ask.back.0).arg(ask.back.1).arg(ask.back.2);
        call.arg(now);
        let answer: [i64; 8] = call.invoke(redis).unwrap();
        let [units, left, more, lease, epoch, now, register, is_complete] = answer;
        Answer {
            units,
            left,
            more,
            lease,
            epoch,
            now,
            register,
            is_complete: is_complete == 1,
        }
    }

    pub fn forget(&self, redis: &mut Connection) {
        redis::cmd("DEL").arg(&self.key).exec(redis).unwrap();
    }
}

/// A replica that knows of so many looks at the register, or enters itself.
pub fn enter(
    redis: &mut Connection,
    replica: &str,
    there: i64,
    told: i64,
    is_late: bool,
    now: &str,
) -> (i64, bool) {
    let script = Script::new(ENTER);
    let mut call = script.key(REGISTER);
    call.arg(replica).arg(there).arg(told);
    call.arg(i64::from(told != 0)).arg(i64::from(is_late));
    let (since, is_complete): (i64, i64) = call.arg(now).invoke(redis).unwrap();
    (since, is_complete == 1)
}

pub const REGISTER: &str = "counts";
const ENTER: &str = concat!(
    include_str!("../../../src/store/scripts/register.lua"),
    include_str!("../../../src/store/scripts/enter.lua")
);

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
