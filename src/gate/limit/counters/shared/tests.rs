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
    server: Mutex<Server>,
    /// One that goes on running while the other one is asked.
    stand_in: Mutex<Server>,
    saved: Mutex<HashMap<SubjectId, Subject>>,
    pub(in crate::gate::limit) asked: Mutex<Vec<LeaseRequest>>,
    pub(in crate::gate::limit) given_back: AtomicU32,
    /// How many there are, as all of them know; 0 if they do not.
    pub(in crate::gate::limit) replicas: AtomicU32,
    /// What happens to whom instead of an answer.
    faults: Mutex<Vec<Fault>>,
    ids: AtomicU64,
}

#[derive(Debug, Default)]
struct Server {
    subjects: HashMap<SubjectId, Subject>,
    register: u64,
    since: u64,
    /// And whether they were there before.
    entered: HashMap<usize, bool>,
    is_complete: bool,
}

#[derive(Clone, Debug, Default)]
struct Subject {
    epoch: u64,
    last: u64,
    /// Up to when it was known by who counts now, when he began.
    known_to: u64,
    log: Vec<Counted>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    nanoseconds: u64,
    /// By which it is told apart from all others.
    microseconds: u64,
    units: u32,
}

/// The store as one replica reaches it.
#[derive(Debug)]
pub(in crate::gate::limit) struct FakeLink {
    store: Arc<FakeStore>,
    replica: usize,
    registers: Arc<Registers>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::gate::limit) enum Fault {
    #[default]
    None,
    Away,
    Hangs,
    /// It counts, and its answer is lost.
    HangsAfterwards,
    Takes(Duration),
}

impl FakeStore {
    pub(in crate::gate::limit) fn new(clock: &ManualClock) -> Arc<Self> {
        let store = Arc::new(Self {
            clock: clock.into(),
            server: Mutex::default(),
            stand_in: Mutex::default(),
            saved: Mutex::default(),
            asked: Mutex::default(),
            given_back: AtomicU32::new(0),
            replicas: AtomicU32::new(0),
            faults: Mutex::default(),
            ids: AtomicU64::new(1),
        });
        store.restart();
        store.switch();
        store.restart();
        // Nobody has spent anything before.
        store.server.lock().unwrap().is_complete = true;
        store
    }

    pub(in crate::gate::limit) fn join(self: &Arc<Self>) -> Arc<FakeLink> {
        let mut faults = self.faults.lock().unwrap();
        faults.push(Fault::None);
        Arc::new(FakeLink {
            store: Arc::clone(self),
            replica: faults.len() - 1,
            registers: Arc::new(Registers::new(1)),
        })
    }

    pub(in crate::gate::limit) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(in crate::gate::limit) fn set(&self, fault: Fault) {
        self.faults.lock().unwrap().fill(fault);
    }

    /// For one replica alone.
    pub(in crate::gate::limit) fn set_for(&self, replica: usize, fault: Fault) {
        self.faults.lock().unwrap()[replica] = fault;
    }

    /// Forgets everything, as a server does that is restarted empty.
    pub(in crate::gate::limit) fn restart(&self) {
        *self.server.lock().unwrap() = Server {
            register: self.next_id(),
            since: nanoseconds(self.now().monotonic),
            ..Server::default()
        };
    }

    /// Another server takes its place that was there all the time.
    pub(in crate::gate::limit) fn switch(&self) {
        let mut stand_in = self.stand_in.lock().unwrap();
        std::mem::swap(&mut *self.server.lock().unwrap(), &mut *stand_in);
    }

    /// Who has met a later register has this one opened anew.
    fn reopen_before(&self, server: &mut Server, met: RegisterId) {
        if met.0 > server.register {
            server.register = self.next_id();
            server.since = nanoseconds(self.now().monotonic);
            server.entered.clear();
            server.is_complete = false;
            for subject in server.subjects.values_mut() {
                subject.known_to = subject.last;
            }
        }
    }

    pub(in crate::gate::limit) fn is_complete(&self) -> bool {
        self.server.lock().unwrap().is_complete
    }

    /// What a server that is restarted, or that takes its place, will know.
    pub(in crate::gate::limit) fn save(&self) {
        let server = self.server.lock().unwrap();
        let mut subjects = server.subjects.clone();
        if server.is_complete {
            // A replica had looked at it within the last second before.
            let at = nanoseconds(self.now().monotonic) / 1_000;
            for subject in subjects.values_mut() {
                subject.known_to = subject.last.max(at.saturating_sub(1_000_000));
            }
        }
        *self.saved.lock().unwrap() = subjects;
    }

    /// Forgets what was counted since it was saved.
    pub(in crate::gate::limit) fn fail_over(&self) {
        self.restart();
        let saved = self.saved.lock().unwrap().clone();
        self.server.lock().unwrap().subjects = saved;
    }

    pub(in crate::gate::limit) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(in crate::gate::limit) fn last(&self) -> LeaseRequest {
        *self.asked.lock().unwrap().last().unwrap()
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::SeqCst)
    }

    fn grant(&self, request: &LeaseRequest, took: Duration) -> Grant {
        let now = nanoseconds(self.now().monotonic);
        let span = nanoseconds(request.window + request.lease);
        let mut server = self.server.lock().unwrap();
        self.reopen_before(&mut server, request.register);
        let is_complete = server.is_complete || server.since + span <= now;
        let register = RegisterId(server.register);
        let new = || Subject {
            epoch: self.next_id() * 1_000,
            last: now / 1_000,
            known_to: now / 1_000,
            log: Vec::new(),
        };
        let subject = server.subjects.entry(request.subject).or_insert_with(new);
        // No two calls are answered within one microsecond.
        subject.last = (subject.last + 1).max(now / 1_000);
        let at = subject.last;
        let log = &mut subject.log;
        log.retain(|entry| entry.nanoseconds + span > now);
        let has_heard = request.heard == register;
        let missing = match request.seen {
            _ if request.epoch == 0 || !has_heard && !request.tells() => 0,
            _ if request.epoch != subject.epoch => request.spent,
            _ if has_heard => 0,
            seen if seen > subject.known_to + 4_000_000 => request.spent,
            seen if seen > subject.known_to => request.recent,
            _ => 0,
        };
        let counted = |units| Counted {
            nanoseconds: now,
            microseconds: at,
            units,
        };
        log.push(counted(request.told + missing + request.debt));
        let used: u32 = log.iter().map(|entry| entry.units).sum();
        let free = request.max.saturating_sub(used);
        let units = match free < request.need || !is_complete {
            true => 0,
            false => free.min(request.want),
        };
        log.push(counted(units));
        let mut freed = free;
        let more = log.iter().find(|entry| {
            freed += entry.units;
            freed >= request.need.max(1)
        });
        Grant {
            units,
            left: free - units,
            more_in: more.map(|entry| Duration::from_nanos(entry.nanoseconds + span - now)),
            lease: request.lease,
            id: GrantId {
                connection: 1,
                epoch: subject.epoch,
                at,
            },
            register,
            is_complete,
            took,
        }
    }
}

impl FakeLink {
    pub(in crate::gate::limit) fn sharing(self: &Arc<Self>, limits: &Limits) -> Arc<Sharing> {
        let store: Arc<dyn LeaseStore> = Arc::clone(self) as _;
        let clock = self.store.clock.clone();
        Sharing::new(store, SubjectSecret::new([7; 32]), limits, clock)
    }

    /// As a replica does once in a second.
    pub(in crate::gate::limit) async fn look(&self) {
        self.registers.visit(self).await;
    }

    fn fault(&self) -> Fault {
        self.store.faults.lock().unwrap()[self.replica]
    }
}

impl LeaseStore for FakeLink {
    fn ask(&self, request: LeaseRequest) -> Answer<Result<Grant, NoGrant>> {
        self.store.asked.lock().unwrap().push(request);
        let fault = self.fault();
        let unsent = NoGrant {
            may_have_counted: false,
        };
        let answer = match fault {
            Fault::None => Ok(self.store.grant(&request, Duration::from_micros(100))),
            Fault::Takes(took) => Ok(self.store.grant(&request, took)),
            Fault::Away | Fault::Hangs => Err(unsent),
            Fault::HangsAfterwards => {
                self.store.grant(&request, DEADLINE);
                Err(NoGrant {
                    may_have_counted: true,
                })
            }
        };
        Box::pin(async move {
            match fault {
                Fault::Hangs | Fault::HangsAfterwards => tokio::time::sleep(DEADLINE).await,
                Fault::Takes(took) => tokio::time::sleep(took).await,
                Fault::None | Fault::Away => {}
            }
            answer
        })
    }

    fn give_back(&self, request: LeaseRequest, units: u32, of: GrantId) -> Answer<()> {
        self.store.given_back.fetch_add(units, Ordering::SeqCst);
        let mut server = self.store.server.lock().unwrap();
        let subject = server.subjects.get_mut(&request.subject);
        if let Some(subject) = subject.filter(|subject| subject.epoch == of.epoch) {
            // Behind what the replica had told with the same call.
            let mut entries = subject.log.iter_mut().rev();
            if let Some(entry) = entries.find(|entry| entry.microseconds == of.at) {
                entry.units = entry.units.saturating_sub(units);
            }
        }
        Box::pin(async {})
    }

    fn is_away(&self) -> bool {
        self.fault() == Fault::Away
    }

    fn replicas(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.store.replicas.load(Ordering::SeqCst))
    }

    fn registers(&self) -> &Arc<Registers> {
        &self.registers
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }
}

impl RegisterBook for FakeLink {
    fn enter(&self, _: usize, entry: Entry) -> Answer<Result<Entered, NoGrant>> {
        let fault = self.fault();
        let unheard = Err(NoGrant {
            may_have_counted: false,
        });
        let answer = match fault {
            Fault::Away | Fault::Hangs => unheard,
            Fault::None | Fault::Takes(_) | Fault::HangsAfterwards => {
                let mut server = self.store.server.lock().unwrap();
                self.store.reopen_before(&mut server, entry.met);
                let is_told = entry.is_told && entry.met.0 == server.register;
                if is_told && (!server.is_complete || entry.is_late) {
                    server.entered.insert(self.replica, entry.is_late);
                    let replicas = self.store.replicas.load(Ordering::SeqCst) as usize;
                    let late = server.entered.values().filter(|late| **late).count();
                    let entered = if late > 0 { late } else { server.entered.len() };
                    server.is_complete = entered >= replicas;
                }
                match fault {
                    Fault::HangsAfterwards => unheard,
                    _ => Ok(Entered {
                        register: RegisterId(server.register),
                        is_complete: server.is_complete,
                    }),
                }
            }
        };
        Box::pin(async move {
            if matches!(fault, Fault::Hangs | Fault::HangsAfterwards) {
                tokio::time::sleep(DEADLINE).await;
            }
            answer
        })
    }
}

const DEADLINE: Duration = Duration::from_millis(20);
