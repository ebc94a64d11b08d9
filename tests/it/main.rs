//! The crate from outside, over real sockets where they matter.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod dev;
