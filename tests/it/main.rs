//! Tests over real sockets, in one binary. `cargo test --all-features` runs all of them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod allocations;
mod attack;
mod axum_ways;
mod bounds;
mod by_hand;
mod cache_weight;
mod clients;
mod cost;
mod credentials;
mod dev;
mod directory;
mod documents;
mod ended;
mod flight;
mod gate;
#[cfg(feature = "tonic")]
mod grpc;
mod grpc_rule;
mod guides;
mod hyper;
#[cfg(feature = "wacht")]
mod interop;
mod limit_memory;
mod limit_options;
mod limits;
mod mangled;
#[cfg(feature = "metrics")]
mod metrics;
mod news;
mod oauth;
mod once;
mod outage;
mod permitted;
mod properties;
mod rate_limit_fields;
mod raw;
mod refusals;
mod resources;
mod revocation;
mod runtimes;
mod scene;
mod secrets;
mod starvation;
mod tenancy;
mod told_outside;
mod tower_contract;
mod tower_http_stack;
mod traces;
mod transport;
mod unknown_keys;
mod uploads;
mod verdicts;
mod watch;
mod wire;
mod wires;
