//! A key: its form, and the digest that stands for it.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

/// More than one credential, or one that no Wacht key can look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A key as it stands in a request: visible ASCII, nothing more is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential<'h>(&'h [u8]);

impl<'h> Credential<'h> {
    pub(crate) fn parse(key: &'h [u8]) -> Result<Self, Malformed> {
        let visible = |byte: u8| byte.is_ascii_graphic() & (byte != b',');
        if key.is_empty() || !all(key, visible) {
            return Err(Malformed);
        }
        Ok(Self(key))
    }

    /// The key itself. For the one call that verifies it.
    #[expect(clippy::expect_used, reason = "`parse` lets visible ASCII pass alone")]
    pub(crate) fn expose(&self) -> &'h str {
        std::str::from_utf8(self.0).expect("visible ASCII")
    }

    /// Whether Wacht could have issued it. If not, there is no need to ask.
    ///
    /// The format of the gateway, with an upper bound of ours: 46 to 512 bytes, of which the last
    /// 43 are URL-safe base64.
    pub(crate) fn is_well_formed(&self) -> bool {
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_');
        (46..=512).contains(&self.0.len())
            && self
                .0
                .last_chunk::<43>()
                .is_some_and(|tail| all(tail, base64))
    }

    /// Whether it is an OAuth access token by its first letters.
    pub(crate) fn is_oauth_access_token(&self) -> bool {
        self.0.starts_with(b"oat_")
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.0).into())
    }
}

/// Looks at every byte even after one that fails: without a way out, the compiler looks at
/// sixteen at a time.
fn all(bytes: &[u8], accepts: impl Fn(u8) -> bool) -> bool {
    bytes
        .iter()
        .fold(true, |so_far, byte| so_far & accepts(*byte))
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// SHA-256 of a key: what stands for it wherever something is remembered about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyDigest(pub(crate) [u8; 32]);

impl KeyDigest {
    /// White space around the key is dropped first, as the gateway does.
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.trim().as_bytes()).into())
    }

    /// Where the digest belongs in a table of verdicts, by bits that its [`Hash`] does not use.
    pub(crate) fn place(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The bytes of a digest are evenly spread: eight of them tell entries apart as well as 32.
        // Who chooses keys chooses them all the same, so maps hash them with a secret seed.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

#[cfg(test)]
mod tests;
