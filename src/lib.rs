//! Tower middleware that verifies Wacht API keys.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
#[allow(dead_code, reason = "called by the gate's straight path")]
mod gate;

pub use gate::limit::RateLimitHeaders;
