//! Which address a request comes from, without believing strangers.
//!
//! In come the headers and what `peer` finds of the connection. `options` say whom to believe;
//! `hops` walks what proxies have written, in `X-Forwarded-For` or `forwarded`, each `node` of it
//! made an `address` in one form. Out goes the caller's address, for `limit` and for the audit.

mod address;
mod forwarded;
mod hops;
mod node;
mod options;

pub(crate) use options::NO_PROXY_IS_TRUSTED;
pub use options::{ClientIp, ClientIpError};

#[cfg(test)]
mod tests;
