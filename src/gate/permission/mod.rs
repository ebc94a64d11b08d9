//! What a key may do.
//!
//! In come the names that the gateway says a key holds, and the text of what a route asks for. Out
//! go `permissions`, of which the keys of an app share equal sets (`permission_sets`), and a
//! `requirement` that is satisfied by them or not. `refusal` answers whom it refuses.

mod permission_sets;
mod permissions;
pub(crate) mod requirement;

pub(crate) use permission_sets::PermissionSets;
pub use permissions::Permissions;
