//! What the gateway has said of a key, and how far that may be used now.
//!
//! An answer that says yes becomes a [`Verdict`] and is filed in the [`cache`](cache::VerdictCache),
//! by the digest of its key. A request looks it up there; its [`Age`] under the
//! [`CachePolicy`] says whether it may be used. How it ends before that:
//!
//! - A later check says no. [`open_checks`] tells which of two answers is the later one, and the
//!   verdict is withdrawn for good.
//! - The key is revoked here, or what is known of it is invalidated. [`revocations`] knows what is,
//!   and is looked at on every admission. Verdicts stay as they are.
//!
//! - A [list of keys](listed) says that its key ends, or that it may do less. [`key_index`] finds the
//!   verdicts of an app.
//!
//! In the order of reading: `policy`, `verdict`, `revocations`, `open_checks`, `hot_cache`,
//! `seen_good`, `key_index`, `cache`, `listed`.

pub(crate) mod cache;
pub(crate) mod revocations;

mod hot_cache;
mod identity;
mod key_index;
mod listed;
mod open_checks;
mod policy;
mod seen_good;
#[expect(
    clippy::module_inception,
    reason = "the room is named after what it keeps"
)]
mod verdict;

#[cfg(all(test, wacht_shuttle))]
mod interleavings;
#[cfg(test)]
mod tests;

pub(crate) use identity::Identity;
pub use identity::PrincipalKind;
pub(crate) use key_index::KeyIndex;
pub(crate) use open_checks::OpenCheck;
pub use policy::CachePolicy;
pub(crate) use verdict::{Age, End, RefreshClaim, Verdict, VerdictKey};
