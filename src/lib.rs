//! Tower middleware that verifies Wacht API keys.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod gate;

pub use clock::Clock;
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use gate::{ClientAddr, ClientIp, ClientIpError, CredentialSource, PeerAddr};
pub use gate::{Permissions, Requirement, RequirementError, RequirementErrorKind};
