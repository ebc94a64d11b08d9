//! A hit among many keys: all of them in random order, so that the processor's caches miss as often
//! as they can, and a thousand of them in random order, as where most callers are silent.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use criterion::Criterion;
use moka::sync::Cache;
use tokio::runtime::Runtime;

use super::BATCH;
use super::run::Run;
use super::service::call;
use super::stand_in::{COUNTED, StandIn, UNCOUNTED, fill, mixed, request_of};

pub(crate) fn measure(criterion: &mut Criterion, run: &Run) {
    if !run.wants("keys") {
        return;
    }
    let runtime = Runtime::new().unwrap();
    let stand_in = StandIn::start(|_, _| None);
    let mut gate = stand_in.gate();
    let alone: Cache<Digest, Arc<Entry>> = Cache::builder()
        .max_capacity(4 << 30)
        .weigher(|_, _| 512)
        .build();
    let _guard = runtime.enter();

    let mut group = criterion.benchmark_group("keys");
    let mut known = 0;
    for keys in run.populations().iter().copied() {
        fill(&gate, &runtime, known..keys);
        for number in known..keys {
            // From here on each has a counter.
            assert_eq!(call(&mut gate, request_of(number, COUNTED)).status(), 200);
            alone.insert(Digest::of(number), Arc::new(Entry([number; 38])));
        }
        known = keys;
        for (name, path, in_use) in [
            ("hit, one rule", COUNTED, keys),
            ("hit, no rule matches", UNCOUNTED, keys),
            ("hit, one rule, 1000 in use", COUNTED, 1_000),
        ] {
            let mut random = Walk::new(in_use.min(keys));
            group.bench_function(format!("{name}, {keys} keys"), |b| {
                b.iter_batched(
                    || request_of(random.next(), path),
                    |request| call(&mut gate, request),
                    BATCH,
                );
            });
        }
        let mut random = Walk::new(keys);
        group.bench_function(format!("moka get alone, {keys} keys"), |b| {
            b.iter_batched(
                || Digest::of(random.next()),
                |digest| alone.get(&digest).unwrap().0[0],
                BATCH,
            );
        });
    }
    group.finish();
}

/// Numbers below an end, in no order, the same in every run.
struct Walk {
    state: u64,
    end: u64,
}

impl Walk {
    fn new(end: u64) -> Self {
        Self { state: end, end }
    }

    fn next(&mut self) -> u64 {
        self.state = mixed(self.state);
        self.state % self.end
    }
}

/// As large as the gate's keys, and hashed in the same way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u64; 4], u8);

/// About as large as the gate's verdicts.
pub(crate) struct Entry(pub(crate) [u64; 38]);

impl Digest {
    pub(crate) fn of(number: u64) -> Self {
        let first = mixed(number ^ 0x5851_f42d_4c95_7f2d);
        Self([first, mixed(first), number, 0], 0)
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_isize(isize::from(self.1 as i8));
    }
}
