//! Replicas that count together, against a real `redis-server`.
//!
//! ```sh
//! cargo bench -p benches --bench replicas                  # all of it, ten minutes
//! cargo bench -p benches --bench replicas -- bounds use    # some of it
//! cargo bench -p benches --bench replicas -- --test        # a little of all, for half a minute
//! ```
//!
//! - `bounds`: four processes of two threads, 100 subjects, a million requests; both algorithms and a
//!   calendar's day. What was admitted is held against a perfect log.
//! - `faults`: the same with a store that is killed, comes back empty and stands still, and a replica that
//!   is cut off.
//! - `use`: what steady demand of 1.2 times the limit gets of what a perfect log would have admitted.
//! - `hot`: a hit on a hot subject against the same counted in the process, and calls of the store.
//! - `cold`: the first request of a subject, against a bare round trip.
//! - `seldom`: a hundred thousand subjects, each seldom seen, against `INCR`.
//! - `opening`: 16 replicas that ask for a thousand subjects at once.
//!
//! A process cannot see at which moment a gate has decided, but it knows a moment before and one
//! after. An excess is what was admitted beyond the limit wholly within a window.
#![allow(missing_docs)]
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what is timed here is the machine; what goes wrong ends the run"
)]

mod bounds;
mod hot;
mod log;
mod opening;
mod process;
mod seldom;
mod server;
mod used;

use std::env;

fn main() {
    if let Some(task) = env::var_os(process::TASK) {
        return process::run(&task.into_string().unwrap());
    }
    let args: Vec<String> = env::args().skip(1).collect();
    let is_test = args.iter().any(|arg| arg == "--test");
    let wanted = |name: &str| {
        let named = args.iter().filter(|arg| !arg.starts_with("--"));
        named.clone().count() == 0 || named.clone().any(|arg| arg == name)
    };
    if !server::is_installed() {
        println!("left out, as there is no redis-server");
        return;
    }
    if wanted("bounds") {
        bounds::run(is_test, false);
    }
    if wanted("faults") {
        bounds::run(is_test, true);
    }
    if wanted("use") {
        used::run(is_test);
    }
    if wanted("hot") {
        hot::run(is_test);
    }
    if wanted("cold") {
        seldom::cold(is_test);
    }
    if wanted("seldom") {
        seldom::run(is_test);
    }
    if wanted("opening") {
        opening::run(is_test);
    }
}
