//! What a request says: its key, its caller's address, what it is about.
//!
//! In come the head of a request and what servers and frameworks have left in its extensions. Out
//! go, each from a room of its own, the `credential`, the `client_ip` (which asks `peer`), the
//! `resource` in its normal form, and the `view` that `pipeline` walks with.

pub(crate) mod client_ip;
pub(crate) mod context;
pub(crate) mod credential;
pub(crate) mod options;
pub(crate) mod peer;
pub(crate) mod resource;
pub(crate) mod view;
