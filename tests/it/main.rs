//! Tests over real sockets, in one binary.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod bounds;
mod dev;
mod gate;
mod scene;
mod wire;
