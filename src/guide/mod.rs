//! How to choose, where to put it, and what to do before production.
//!
//! Each chapter answers one question and can be read alone. The code in them runs with the tests,
//! against a Wacht in a box.
//!
//! | you want to | read |
//! |---|---|
//! | put the gate into an axum router, and know what a stranger sees | [`axum`] |
//! | serve with hyper alone | [`hyper`] |
//! | gate tonic services, all or one | [`grpc`] |
//! | choose how long a revoked key may still pass | [`staleness`] |
//! | choose who counts requests, and how exactly | [`limits`] |
//! | count the right addresses behind proxies | [`load_balancer`] |
//! | test your service without Wacht | [`testing`] |
//! | put it into production | [`production`] |
//! | replace checks written by hand with Wacht's SDK | [`migrating`] |
//! | know where this crate and Wacht's documentation part | [`differences`] |
//!
//! Words used throughout: the **gate** is the layer with the state that its clones share. The
//! **gateway** is Wacht's service that says whether a key is good; the **management API** is its
//! service that makes and revokes keys. A **check** is one call of the gateway. A **verdict** is
//! what the gate remembers of a check.

#[doc = include_str!("axum.md")]
pub mod axum {}

#[doc = include_str!("hyper.md")]
pub mod hyper {}

#[doc = include_str!("grpc.md")]
pub mod grpc {}

#[doc = include_str!("staleness.md")]
pub mod staleness {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("load_balancer.md")]
pub mod load_balancer {}

#[doc = include_str!("testing.md")]
#[cfg_attr(feature = "test-util", doc = "[`dev`]: crate::dev")]
#[cfg_attr(not(feature = "test-util"), doc = "[`dev`]: crate#features")]
pub mod testing {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[doc = include_str!("differences.md")]
pub mod differences {}
