//! Tower middleware that verifies Wacht API keys.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod client;
#[cfg(feature = "test-util")]
pub mod dev;
pub mod models;

mod clock;
mod gate;

pub use client::{Error, Result, WachtClient};
pub use clock::Clock;
pub use gate::*;

/// What only axum needs: see [`WachtAuthLayer::resource`].
#[cfg(feature = "axum")]
pub mod axum {
    pub use crate::gate::axum::matched_path;
}
