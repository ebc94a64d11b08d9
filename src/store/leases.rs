//! Limits that all replicas count: the scripts, and who may call them.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::error::StoreErrorKind;
use super::events::Replica;
use super::link::{ConnectionId, Link};
use super::script::{Arg, Script, Slot};
use super::{Reply, StoreError};
use crate::clock::{Clock, nanoseconds};
use crate::gate::limit_store::{
    Answer, Breaks, Counting, Grant, GrantId, LeaseRequest, LeaseStore, NoGrant, SubjectId,
};

/// The limits of one gate in the store.
pub(crate) struct Leases(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    replica: Arc<Replica>,
    /// By which breaks are told in the gate's own time.
    clock: Clock,
    /// So many calls at once: at the opening of a day all subjects ask, of all replicas.
    calls: Semaphore,
    breaks: Mutex<Breaks>,
}

static GCRA: Script = Script::new(concat!(
    include_str!("scripts/ask.lua"),
    include_str!("scripts/gcra.lua")
));
static SLIDING: Script = Script::new(concat!(
    include_str!("scripts/ask.lua"),
    include_str!("scripts/sliding.lua")
));
static CALENDAR: Script = Script::new(concat!(
    include_str!("scripts/ask.lua"),
    include_str!("scripts/calendar.lua")
));

impl Leases {
    pub(crate) fn new(link: &Arc<Link>, replica: Arc<Replica>, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            link: Arc::clone(link),
            replica,
            clock,
            calls: Semaphore::new(MOST_CALLS),
            breaks: Mutex::default(),
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

    fn breaks(&self) -> Breaks {
        *self.0.breaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self) -> Duration {
        self.0.link.deadline()
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
        let slot = self.slot(request.subject);
        let args = args(request, None);
        let answer = self
            .link
            .run(script(request.counting), &[&slot], &args)
            .await;
        let answer = answer.and_then(grant);
        answer.map_err(|error| {
            self.notice_break(error);
            NoGrant {
                may_have_counted: error.sent_over.is_some(),
            }
        })
    }

    /// Once, whatever becomes of it, and over the connection that granted: another one may lead to a
    /// server that has never granted it.
    async fn give_back(&self, request: &LeaseRequest, units: u32, of: GrantId) {
        let Ok(_turn) = self.calls.acquire().await else {
            return;
        };
        let slot = self.slot(request.subject);
        let args = args(request, Some((units, of)));
        let connection = ConnectionId(of.connection);
        let script = script(request.counting);
        if let Err(error) = self.link.run_on(connection, script, &[&slot], &args).await {
            self.notice_break(error);
        }
    }

    fn slot(&self, SubjectId(id): SubjectId) -> Slot {
        let number = u128::from_be_bytes(id);
        self.link.slot("limit", &format!("{number:032x}"))
    }

    /// After a break another server may answer, which does not know of the last second.
    fn notice_break(&self, error: StoreError) {
        let is_break = matches!(
            error.kind,
            StoreErrorKind::Unreachable | StoreErrorKind::ReadOnly | StoreErrorKind::NotReady
        );
        if is_break {
            let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
            breaks.count += 1;
            breaks.last = nanoseconds(self.clock.now().monotonic);
        }
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
fn args(request: &LeaseRequest, back: Option<(u32, GrantId)>) -> [Arg<'static>; 13] {
    let number = |units: u32| Arg::Int(units.into());
    let wide = |number: u64| Arg::Int(i64::try_from(number).unwrap_or(i64::MAX));
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
        number(request.spent),
        wide(request.period),
        number(request.debt),
        number(units),
        wide(of.map_or(0, |of| of.at)),
        wide(of.map_or(0, |of| of.epoch)),
    ]
}

fn micros(time: Duration) -> Arg<'static> {
    Arg::Int(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

fn grant(reply: Reply) -> Result<Grant, StoreError> {
    let (connection, took) = (reply.connection, reply.took);
    let answer: Vec<i64> = reply.read()?;
    let &[units, left, more, lease, epoch, at] = &answer[..] else {
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
