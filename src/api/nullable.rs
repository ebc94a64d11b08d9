//! Lists that may be absent.

use serde::de::{Deserialize, Deserializer};

/// For a list that may be absent: `null` is the empty list.
pub(crate) fn or_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
