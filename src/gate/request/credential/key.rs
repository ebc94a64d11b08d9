//! A key: its form, and the digest that stands for it.

use std::fmt;
use std::hash::{Hash, Hasher};

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// More than one credential, or one that no Wacht key can look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A key as it stands in a request. Nothing is known of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential<'h>(pub(crate) &'h [u8]);

impl<'h> Credential<'h> {
    /// # Errors
    ///
    /// [`Malformed`] if it is empty or holds anything but visible ASCII.
    pub(crate) fn parse(key: &'h [u8]) -> Result<Self, Malformed> {
        Some(Self(key)).filter(Self::is_visible).ok_or(Malformed)
    }

    /// Whether there is something, and all of it is visible ASCII without commas.
    pub(crate) fn is_visible(&self) -> bool {
        !self.0.is_empty() && all(self.0, visible)
    }

    /// The key itself. For the one call that verifies it, and never for what is no text.
    pub(crate) fn expose(&self) -> Option<&'h str> {
        std::str::from_utf8(self.0).ok()
    }

    /// Whether Wacht could have issued it. If not, there is no need to ask.
    ///
    /// The format of the gateway, with an upper bound of ours: 46 to 512 bytes, of which the last
    /// 43 are URL-safe base64.
    pub(crate) fn is_well_formed(&self) -> bool {
        self.is_as_long_as_a_key()
            && self
                .0
                .last_chunk::<43>()
                .is_some_and(|tail| all(tail, base64))
    }

    /// Whether Wacht issues any of this length, of which there is a digest to look up.
    pub(crate) fn is_as_long_as_a_key(&self) -> bool {
        (46..=512).contains(&self.0.len())
    }

    /// Whether it is an OAuth access token by its first letters.
    pub(crate) fn is_oauth_access_token(&self) -> bool {
        self.0.starts_with(b"oat_")
    }

    pub(crate) fn digest(&self) -> KeyDigest {
        match self.one_block() {
            Some(block) => KeyDigest::of_block(block),
            None => KeyDigest(Sha256::digest(self.0).into()),
        }
    }

    /// All that is hashed, padding included (FIPS 180-4, section 5.1.1), where it is no more than one
    /// block. It is of almost every key, and to hash it so takes half as long as by pieces.
    fn one_block(&self) -> Option<[u8; 64]> {
        let mut block = [0; 64];
        let (text, length) = block.split_at_mut(56);
        length.copy_from_slice(&(8 * self.0.len() as u64).to_be_bytes());
        let (key, padding) = text.split_at_mut_checked(self.0.len())?;
        key.copy_from_slice(self.0);
        *padding.first_mut()? = 0x80;
        Some(block)
    }
}

/// Looks at every byte even after one that is not accepted: without a way out, the compiler looks at
/// sixteen at a time. What is left over is looked at with those before it, once more.
fn all(bytes: &[u8], accepts: impl Fn(u8) -> bool) -> bool {
    let Some(last) = bytes.last_chunk::<16>() else {
        return bytes.iter().all(|byte| accepts(*byte));
    };
    let (sixteens, _) = bytes.as_chunks::<16>();
    let mut all = true;
    for sixteen in sixteens.iter().chain([last]) {
        for byte in sixteen {
            all &= accepts(*byte);
        }
    }
    all
}

fn visible(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b',')
}

/// Of URL-safe base64.
fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | (byte == b'-') | (byte == b'_')
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

    /// Of what one block holds (FIPS 180-4, section 6.2.2).
    fn of_block(block: [u8; 64]) -> Self {
        let mut state = INITIAL_HASH;
        compress256(&mut state, &[block]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        Self(digest)
    }

    /// Where the digest belongs in a table of verdicts, by bits that its [`Hash`] does not use.
    pub(crate) fn place(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// What tells it from others in its place, mostly: never 0.
    pub(crate) fn tag(&self) -> u8 {
        let [.., tag, _, _, _, _, _, _, _, _] = self.0;
        tag.max(1)
    }
}

/// FIPS 180-4, section 5.3.3.
const INITIAL_HASH: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

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
