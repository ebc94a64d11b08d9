//! The time of one call: the bare service, hits, refusals, and a miss.

use std::time::{Duration, Instant};

use criterion::Criterion;
use tokio::runtime::Runtime;
use tower::ServiceExt;
use wacht_auth::dev::DevGateway;

use super::BATCH;
use super::cases::{Caller, cases};
use super::run::Run;
use super::service::{Inner, call, inner};
use super::stand_in::{COUNTED, StandIn, request_of};

pub(crate) fn measure(criterion: &mut Criterion, run: &Run) {
    if !run.wants("gate") {
        return;
    }
    let runtime = Runtime::new().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let cases = cases(&wacht, &runtime);
    let stand_in = StandIn::start(|_, _| None);
    // Policies are refreshed in the background; a long run sees a few of them.
    let _guard = runtime.enter();

    let mut group = criterion.benchmark_group("gate");
    let anybody = Caller::of_key(&format!("sk_{}", "x".repeat(43)));
    for (name, caller) in [
        ("bare inner service", anybody.clone()),
        (
            "bare inner service, with an address",
            anybody.with_address(),
        ),
    ] {
        let mut bare: Inner = inner();
        group.bench_function(name, |b| {
            b.iter_batched(
                || caller.request(),
                |request| call(&mut bare, request),
                BATCH,
            );
        });
    }
    for mut case in cases {
        group.bench_function(case.name, |b| {
            b.iter_batched(
                || case.caller.request(),
                |request| call(&mut case.gate, request),
                BATCH,
            );
        });
    }

    let gate = stand_in.gate();
    let mut number = 0;
    group.bench_function("miss", |b| {
        b.iter_custom(|times| {
            let mut taken = Duration::ZERO;
            for _ in 0..times {
                number += 1;
                let request = request_of(number, COUNTED);
                let gate = gate.clone();
                let before = Instant::now();
                let answer = runtime.block_on(gate.oneshot(request)).unwrap();
                taken += before.elapsed();
                assert_eq!(answer.status(), 200);
            }
            taken
        });
    });
    group.finish();
}
