//! How many cache lines a request touches in the gate, counted from a trace of all its accesses.
//!
//! In a server the caches hold little of the gate when a request comes, so what a hit costs there
//! goes by how many places of the memory it touches. This counts them: distinct lines of 64 bytes
//! of data, on the heap or static, that a call reads or writes. Lines of the stack are left out of
//! the figure and told beside it: whatever ran before has just used them. So are lines of code.
//! `benches/lines.txt` keeps the figures, and this fails when a case takes more than five lines more
//! than its kept one: one and the same code, linked again, was seen to differ by four.
//!
//! `cargo bench -p benches --bench lines` compares. The same with `-- --keep` writes the figures
//! down anew, which is for changes that are meant to cost what they cost. With
//! `-- --show "hit, one rule"` it lists the lines of a case, by the functions that touch them
//! first. Valgrind must be installed; the list needs `addr2line` too.
//!
//! How it counts: valgrind's `lackey` writes down every access of a program that has one thread at
//! work, and this one keeps those from the call of the service until its answer is dropped. The
//! request is made before. What the allocator touches counts as well. Nine known keys, the same in
//! every run, call once each, right after another call; of their figures the median counts.
//!
//! An allocation may begin anywhere in a line, which differs from run to run and says nothing of the
//! gate. So the figure is the mean of what it would be for every place that an allocation can begin
//! at. It comes out the same to a line or so. What is aligned to lines on purpose, and touched from
//! end to end, counts for up to one line too many.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use futures_util::future::FutureExt;
use http::Request;
use http_body_util::Empty;
use tokio::runtime::Builder;
use tower::Service;
use wacht_auth::dev::DevGateway;

mod cases;
mod kept;
#[path = "../service/mod.rs"]
mod service;
mod trace;

use cases::{BARE, Case};
use kept::Kept;
use service::{Inner, inner};

const CASES: [&str; 5] = [
    "hit, limits off",
    "hit, one rule, no headers",
    "hit, one rule",
    "hit, three rules",
    "no key",
];

/// Keys of each case, each of which calls once.
const KEYS: usize = 9;

/// More than this is for somebody to say that it is meant.
const MAY_GROW_BY: u64 = 5;

/// Tells this program that lackey is looking.
const TRACED: &str = "WACHT_AUTH_TRACED";

/// What one call touches.
#[derive(Clone, Default)]
pub(crate) struct Touched {
    /// By the number of the step, see there.
    pub(crate) data: BTreeMap<u64, Touch>,
    pub(crate) stack: BTreeSet<u64>,
    pub(crate) code: BTreeSet<u64>,
}

#[derive(Clone, Copy)]
pub(crate) struct Touch {
    pub(crate) is_written: bool,
    /// The instruction that was the first to touch it.
    pub(crate) first_by: u64,
}

fn main() -> ExitCode {
    if env::var_os(TRACED).is_some() {
        trace::answer_where();
        run();
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = [BARE].into_iter().chain(CASES).collect();
    let traced = trace::trace(TRACED);
    assert_eq!(traced.calls.len(), names.len() * KEYS);
    let middles: Vec<(&str, &Touched)> = names
        .into_iter()
        .zip(traced.calls.chunks(KEYS).map(middle))
        .collect();

    let mut arguments = env::args().skip_while(|argument| argument != "--show");
    if let Some(wanted) = arguments.nth(1) {
        let found = middles.iter().find(|(name, _)| *name == wanted);
        let (_, touched) = found.expect("there is a case of this name");
        traced.places.show(touched);
        return ExitCode::SUCCESS;
    }
    println!(
        "{:<28} {:>7} {:>10} {:>10} {:>7} {:>7}",
        "lines of", "data", "static", "written", "stack", "code"
    );
    for (name, touched) in &middles {
        let data = touched.lines(|_, _| true);
        let constants = touched.lines(|address, _| traced.places.is_static(address));
        let written = touched.lines(|_, touch| touch.is_written);
        let (stack, code) = (touched.stack.len(), touched.code.len());
        println!("{name:<28} {data:>7} {constants:>10} {written:>10} {stack:>7} {code:>7}");
    }
    println!();
    let counted: Vec<_> = middles
        .iter()
        .map(|(name, touched)| ((*name).to_owned(), touched.lines(|_, _| true)))
        .collect();
    let kept = Kept {
        name: "lines",
        may_grow_to: |kept| kept + MAY_GROW_BY,
    };
    kept.judge(&counted)
}

/// The one that touches as many lines as half of the others do at most.
fn middle(calls: &[Touched]) -> &Touched {
    let mut calls: Vec<&Touched> = calls.iter().collect();
    calls.sort_by_key(|touched| touched.lines(|_, _| true));
    calls[calls.len() / 2]
}

/// Every case, warmed up and then watched.
fn run() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let _guard = runtime.enter();
    let mut bare: Inner = inner();
    for _ in 0..KEYS {
        watched(&mut bare, cases::anybodys_request());
    }
    for name in CASES {
        let mut case = Case::warm(&wacht, &runtime, name, KEYS);
        for number in 0..KEYS {
            // What the allocator keeps at hand is then what a call takes.
            case.check(number);
            let request = case.request(number);
            watched(&mut case.gate, request);
        }
    }
}

#[inline(never)]
fn watched<S>(service: &mut S, request: Request<Empty<Bytes>>)
where
    S: Service<Request<Empty<Bytes>>, Error = Infallible>,
{
    trace::mark();
    drop(black_box(service.call(request).now_or_never()));
    trace::mark();
}
