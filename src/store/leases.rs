//! Limits that all replicas count: the scripts, and who may call them.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::error::{StoreError, StoreErrorKind};
use super::events::Replica;
use super::link::{ConnectionId, Link};
use super::script::{Arg, Reply, Script, Slot};
use crate::gate::limit_store::{
    Answer, Counting, Entered, Entry, Grant, GrantId, LeaseRequest, LeaseStore, NoGrant,
    RegisterBook, RegisterId, Registers, SubjectId,
};

/// The limits of one gate in the store.
pub(crate) struct Leases(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    replica: Arc<Replica>,
    /// So many calls at once: at the opening of a day all subjects ask, of all replicas.
    calls: Semaphore,
}

static GCRA: Script = Script::new(concat!(
    include_str!("scripts/register.lua"),
    include_str!("scripts/ask.lua"),
    include_str!("scripts/gcra.lua")
));
static SLIDING: Script = Script::new(concat!(
    include_str!("scripts/register.lua"),
    include_str!("scripts/ask.lua"),
    include_str!("scripts/sliding.lua")
));
static CALENDAR: Script = Script::new(concat!(
    include_str!("scripts/register.lua"),
    include_str!("scripts/ask.lua"),
    include_str!("scripts/calendar.lua")
));
impl Leases {
    pub(crate) fn new(link: &Arc<Link>, replica: Arc<Replica>) -> Self {
        Self(Arc::new(Inner {
            link: Arc::clone(link),
            replica,
            calls: Semaphore::new(MOST_CALLS),
        }))
    }
}

impl LeaseStore for Leases {
    fn ask(&self, request: LeaseRequest) -> Answer<Result<Grant, NoGrant>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.ask(&request).await })
    }

    fn give_back(&self, request: LeaseRequest, units: u32, of: GrantId) -> Answer<()> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.give_back(&request, units, of).await })
    }

    fn is_away(&self) -> bool {
        self.0.link.is_away()
    }

    fn replicas(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.0.replica.members().most_alive()?)
    }

    fn registers(&self) -> &Arc<Registers> {
        self.0.replica.registers()
    }

    fn deadline(&self) -> Duration {
        self.0.link.deadline()
    }
}

impl RegisterBook for Leases {
    fn enter(&self, part: usize, entry: Entry) -> Answer<Result<Entered, NoGrant>> {
        self.0.replica.enter(part, entry)
    }
}

impl Inner {
    async fn ask(&self, request: &LeaseRequest) -> Result<Grant, NoGrant> {
        let unsent = NoGrant {
            may_have_counted: false,
        };
        // Who waits for a turn as long as for an answer is not waited for any more.
        let turn = tokio::time::timeout(self.link.deadline(), self.calls.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(unsent);
        };
        let keys = self.keys(request.subject);
        let args = args(request, None);
        let script = script(request.counting);
        // Told twice, it counts twice.
        let within = match request.tells() {
            true => self.link.patience(),
            false => self.link.deadline(),
        };
        let keys = [&keys[0], &keys[1]];
        let answer = self.link.run_within(within, script, &keys, &args).await;
        answer.and_then(grant).map_err(|error| NoGrant {
            may_have_counted: error.sent_over.is_some(),
        })
    }

    /// Once, whatever becomes of it, and over the connection that granted: another one may lead to a
    /// server that has never granted it.
    async fn give_back(&self, request: &LeaseRequest, units: u32, of: GrantId) {
        let Ok(_turn) = self.calls.acquire().await else {
            return;
        };
        let keys = self.keys(request.subject);
        let args = args(request, Some((units, of)));
        let connection = ConnectionId(of.connection);
        let script = script(request.counting);
        let keys = [&keys[0], &keys[1]];
        // Lost where it does not arrive.
        let _ = self.link.run_on(connection, script, &keys, &args).await;
    }

    /// The subject, and the register of its part.
    fn keys(&self, subject: SubjectId) -> [Slot; 2] {
        let part = self.replica.registers().part_of(subject);
        let number = u128::from_be_bytes(subject.0);
        let kind = format!("limit:{number:032x}");
        [
            self.link.slot(&kind, &part.to_string()),
            self.replica.register(part),
        ]
    }
}

fn script(counting: Counting) -> &'static Script {
    match counting {
        Counting::Gcra => &GCRA,
        Counting::Sliding => &SLIDING,
        Counting::Day | Counting::Month => &CALENDAR,
    }
}

/// In the order that `ask.lua` lists them.
fn args(request: &LeaseRequest, back: Option<(u32, GrantId)>) -> [Arg<'static>; 17] {
    let number = |units: u32| Arg::Int(units.into());
    let window = match request.counting {
        Counting::Gcra | Counting::Sliding => micros(request.window),
        Counting::Day => Arg::Bytes(b"day"),
        Counting::Month => Arg::Bytes(b"month"),
    };
    let (units, of) = back.map_or((0, None), |(units, of)| (units, Some(of)));
    [
        number(request.max),
        window,
        micros(request.lease),
        number(request.need),
        number(request.want),
        number(request.told),
        wide(request.epoch),
        wide(request.seen),
        number(request.spent),
        number(request.recent),
        wide(request.heard.0),
        wide(request.register.0),
        wide(request.period),
        number(request.debt),
        number(units),
        wide(of.map_or(0, |of| of.at)),
        wide(of.map_or(0, |of| of.epoch)),
    ]
}

fn wide(number: u64) -> Arg<'static> {
    Arg::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn micros(time: Duration) -> Arg<'static> {
    Arg::Int(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

fn grant(reply: Reply) -> Result<Grant, StoreError> {
    let (connection, took) = (reply.connection, reply.took);
    let answer: Vec<i64> = reply.read()?;
    let &[units, left, more, lease, epoch, at, since, is_complete] = &answer[..] else {
        return Err(StoreError {
            kind: StoreErrorKind::Refused,
            sent_over: Some(connection),
        });
    };
    let units_of = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    let wide = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Grant {
        units: units_of(units),
        left: units_of(left),
        more_in: u64::try_from(more).ok().map(Duration::from_micros),
        lease: Duration::from_micros(wide(lease)),
        id: GrantId {
            connection: connection.0,
            epoch: wide(epoch),
            at: wide(at),
        },
        register: RegisterId(wide(since)),
        is_complete: is_complete == 1,
        took,
    })
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

/// Sixteen replicas with so many calls each keep a store busy for some ten milliseconds.
const MOST_CALLS: usize = 32;
