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
mod dev;
mod directory;
mod documents;
mod flight;
mod gate;
#[cfg(feature = "tonic")]
mod grpc;
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
mod refusals;
mod revocation;
mod scene;
mod secrets;
mod tenancy;
mod tower_contract;
mod tower_http_stack;
mod traces;
mod unknown_keys;
mod verdicts;
mod wire;
