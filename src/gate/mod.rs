//! The gate.
#![expect(dead_code, reason = "the parsers stand alone on this branch")]

mod client_ip;
mod connection;
mod credential;
mod permission;

pub use client_ip::{ClientIp, ClientIpError};
pub use connection::{ClientAddr, PeerAddr};
pub use credential::CredentialSource;
pub use permission::{Permissions, Requirement, RequirementError, RequirementErrorKind};
