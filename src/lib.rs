//! Tower middleware that verifies Wacht API keys.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod client;
pub mod models;

mod clock;

pub use client::{Error, Result, WachtClient};
