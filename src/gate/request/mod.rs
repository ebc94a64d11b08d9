//! What a request says: its key, its caller's address, what it is about.

pub(crate) mod client_ip;
pub(crate) mod context;
pub(crate) mod credential;
pub(crate) mod options;
pub(crate) mod peer;
pub(crate) mod view;
