//! What replicas share, against a real `redis-server` that the tests start. Without one on this
//! machine each test says so and passes.

#![cfg(feature = "redis")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod limits;
mod scripts;
mod server;
