//! Tower middleware that verifies Wacht API keys.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
#[cfg(feature = "test-util")]
pub mod dev;
