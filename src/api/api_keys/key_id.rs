//! How a caller names an API key.

use std::fmt;

/// The id of an API key: a decimal number, given as a number or as text.
///
/// ```
/// use wacht_auth::models::KeyId;
///
/// assert_eq!(KeyId::from("8000000000000001"), KeyId::from(8_000_000_000_000_001));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The id as Wacht writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a number; `None` for text that is none, which no key has for an id.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}

impl From<i64> for KeyId {
    fn from(id: i64) -> Self {
        Self(id.to_string())
    }
}

impl From<&str> for KeyId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl From<&String> for KeyId {
    fn from(id: &String) -> Self {
        Self(id.clone())
    }
}

impl From<String> for KeyId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
