//! The crate from outside, over real sockets where they matter.

mod dev;
