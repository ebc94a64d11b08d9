//! Replicas that share a real Redis, which these tests start themselves.
//!
//! Where there is no `redis-server`, each test says that it is left out, and passes; with
//! `WACHT_TEST_REDIS=required` in the environment it fails.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod away;
mod events;
mod figures;
mod limits;
mod log;
mod proxy;
mod reader;
mod scripts;
mod secrets;
mod server;
mod stage;
mod stream;
mod tls;
mod topology;
mod watch;
