//! What axum's users write in the signatures of their handlers.
//!
//! In comes a request that the gate has let pass. `extract` takes out who it is, `permitted` only who
//! may; `matched_path` names the route for limits and the audit; `response` lets a handler return a
//! refusal. Nothing in the gate imports this room.

mod const_requirement;
mod extract;
mod matched_path;
mod permitted;
mod response;

pub use matched_path::matched_path;
pub use permitted::{Permission, Permitted};
