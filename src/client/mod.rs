//! The client: where Wacht is, with which key, and what goes wrong on the way.
//!
//! [`WachtClient`] is made once and cloned freely; its calls are in [`crate::api`].

mod builder;
mod config;
mod config_error;
mod decode;
mod error;
pub(crate) mod events;
mod log;
mod process;
mod redact;
mod request;
mod request_error;
mod retry;
mod transport;
mod wacht_client;

#[cfg(test)]
mod tests;

pub use self::builder::WachtClientBuilder;
pub use self::config_error::{ConfigError, ConfigErrorKind};
pub use self::decode::DecodeError;
pub use self::error::{Error, Result, StoreUnavailable};
pub use self::events::StoreStats;
pub use self::process::init;
pub use self::request_error::RequestError;
pub use self::retry::RetryPolicy;
pub use self::wacht_client::WachtClient;

pub(crate) use self::decode::{decode, decode_from};
pub(crate) use self::request::{FileHead, Form, Payload, Request, path, template};
#[cfg(feature = "redis")]
pub(crate) use self::transport::crypto_provider;
