//! Keys: how they are made up, and the digests that stand for them.

use std::hash::{BuildHasher, RandomState};

use sha2::{Digest as _, Sha256};

pub(super) type Digest = [u8; 32];

pub(super) fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

pub(super) fn hex_digest(secret: &str) -> String {
    digest(secret)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `<prefix>_` and 43 characters of the URL-safe alphabet.
///
/// The standard library's hash seeds are random enough for keys that open a test server only.
pub(super) fn random_secret(prefix: &str) -> String {
    const ALPHABET: [char; 64] = alphabet();
    let mut secret = format!("{prefix}_");
    let mut bits = 0_u64;
    for position in 0..43_u64 {
        if position % 10 == 0 {
            bits = RandomState::new().hash_one(position);
        }
        let index = usize::try_from(bits % 64).unwrap_or_default();
        secret.extend(ALPHABET.get(index));
        bits >>= 6;
    }
    secret
}

const fn alphabet() -> [char; 64] {
    let bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut characters = ['A'; 64];
    let mut index = 0;
    while index < 64 {
        characters[index] = bytes[index] as char;
        index += 1;
    }
    characters
}
