//! The calls of a [`WachtClient`](crate::WachtClient), one resource a module.
//!
//! Each call is a builder that does nothing until it is sent: `….send().await?`.

use serde::{Deserialize, Deserializer};

pub mod api_keys;
pub mod gateway;
pub mod oauth;
pub mod rate_limit_schemes;

mod call;
pub(crate) mod id;
mod page;

pub use self::page::Page;

pub(crate) use self::call::Call;

/// For lists of words that may be absent: `null` is the empty list.
fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
