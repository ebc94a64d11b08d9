//! A store made up for tests: a perfect log, by a clock that is moved by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::clock::Now;
use crate::dev::ManualClock;

/// Counts in a log of the window and the lease.
#[derive(Debug)]
pub(in crate::gate::limit) struct FakeStore {
    clock: Clock,
    logs: Mutex<HashMap<SubjectId, Vec<(u64, u32)>>>,
    pub(in crate::gate::limit) asked: Mutex<Vec<LeaseRequest>>,
    pub(in crate::gate::limit) given_back: AtomicU32,
    /// What it does instead of answering.
    pub(in crate::gate::limit) fault: Mutex<Fault>,
    pub(in crate::gate::limit) replicas: AtomicU32,
    epoch: AtomicU64,
    breaks: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gate::limit) enum Fault {
    #[default]
    None,
    Away,
    Hangs,
    Takes(Duration),
}

impl FakeStore {
    pub(in crate::gate::limit) fn new(clock: &ManualClock) -> Arc<Self> {
        Arc::new(Self {
            clock: clock.into(),
            logs: Mutex::default(),
            asked: Mutex::default(),
            given_back: AtomicU32::new(0),
            fault: Mutex::default(),
            replicas: AtomicU32::new(0),
            epoch: AtomicU64::new(1),
            breaks: AtomicU64::new(0),
        })
    }

    pub(in crate::gate::limit) fn sharing(self: &Arc<Self>, limits: &Limits) -> Sharing {
        let store: Arc<dyn LeaseStore> = Arc::clone(self) as _;
        Sharing::new(
            store,
            SubjectSecret::new([7; 32]),
            limits,
            self.clock.clone(),
        )
    }

    pub(in crate::gate::limit) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(in crate::gate::limit) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Forgets everything, as a server does that is restarted empty.
    pub(in crate::gate::limit) fn restart(&self) {
        self.logs.lock().unwrap().clear();
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.breaks.fetch_add(1, Ordering::SeqCst);
    }

    pub(in crate::gate::limit) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(in crate::gate::limit) fn last(&self) -> LeaseRequest {
        *self.asked.lock().unwrap().last().unwrap()
    }

    fn grant(&self, request: &LeaseRequest, took: Duration) -> Grant {
        let now = nanoseconds(self.now().monotonic);
        let epoch = self.epoch.load(Ordering::SeqCst);
        let span = nanoseconds(request.window + request.lease);
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(request.subject).or_default();
        log.retain(|(at, _)| at + span > now);
        let unknown = match request.epoch == epoch || request.epoch == 0 {
            true => 0,
            false => request.spent,
        };
        log.push((now, request.told + unknown + request.debt));
        let used: u32 = log.iter().map(|(_, units)| units).sum();
        let free = request.max.saturating_sub(used);
        let units = match free < request.need {
            true => 0,
            false => free.min(request.want),
        };
        log.push((now, units));
        let mut freed = free;
        let more = log.iter().find(|(_, count)| {
            freed += count;
            freed >= request.need.max(1)
        });
        Grant {
            units,
            left: free - units,
            more_in: more.map(|(at, _)| Duration::from_nanos(at + span - now)),
            lease: request.lease,
            id: GrantId {
                connection: 1,
                epoch,
                at: now,
            },
            took,
        }
    }
}

impl LeaseStore for FakeStore {
    fn ask(&self, request: LeaseRequest) -> Answer<Result<Grant, NoGrant>> {
        self.asked.lock().unwrap().push(request);
        let fault = *self.fault.lock().unwrap();
        let answer = match fault {
            Fault::None => Ok(self.grant(&request, Duration::from_micros(100))),
            Fault::Takes(took) => Ok(self.grant(&request, took)),
            Fault::Away | Fault::Hangs => Err(NoGrant {
                may_have_counted: false,
            }),
        };
        Box::pin(async move {
            match fault {
                Fault::Hangs => tokio::time::sleep(DEADLINE).await,
                Fault::Takes(took) => tokio::time::sleep(took).await,
                Fault::None | Fault::Away => {}
            }
            answer
        })
    }

    fn give_back(&self, request: LeaseRequest, units: u32, of: GrantId) -> Answer<()> {
        self.given_back.fetch_add(units, Ordering::SeqCst);
        let mut logs = self.logs.lock().unwrap();
        let mut entries = logs.entry(request.subject).or_default().iter_mut();
        if let Some((_, count)) = entries.find(|(at, count)| *at == of.at && *count >= units) {
            *count -= units;
        }
        Box::pin(async {})
    }

    fn is_away(&self) -> bool {
        *self.fault.lock().unwrap() == Fault::Away
    }

    fn replicas(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.replicas.load(Ordering::SeqCst))
    }

    fn breaks(&self) -> Breaks {
        Breaks {
            count: self.breaks.load(Ordering::SeqCst),
            last: nanoseconds(self.now().monotonic),
        }
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }
}

const DEADLINE: Duration = Duration::from_millis(20);
