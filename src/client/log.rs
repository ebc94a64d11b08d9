//! The name under which the client logs.

/// The target of every event and span of the client, for filters to name.
pub(super) const LOG: &str = "wacht_auth::client";
