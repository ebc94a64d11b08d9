//! Who asks, and by what of it a rule counts.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::known::KnownCounter;
use crate::gate::request::credential::KeyDigest;

/// Who asks, and for what.
pub(crate) struct Caller<'a> {
    pub(crate) key: KeySubject,
    pub(crate) resource: &'a str,
    /// The client's address, canonical and cut to its prefix, if it has one. Nobody looks at it
    /// where no rule of the set counts by address.
    pub(crate) address: Option<IpAddr>,
    /// Where its key was counted before.
    pub(crate) known: Option<&'a KnownCounter>,
}

/// What a per-key rule counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeySubject {
    ApiKey(i64),
    /// An OAuth access token, by the half of its digest: nobody can make two that have it in common.
    Token([u8; 16]),
}

/// What one counter belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LimitSubject {
    /// The rule's number.
    pub(crate) rule: u64,
    pub(crate) key: Option<KeySubject>,
    pub(crate) address: Option<IpAddr>,
    /// The fingerprint of the resource, where resources are counted apart, else 0.
    pub(crate) resource: u64,
}

// === impl KeySubject ===

impl KeySubject {
    pub(crate) fn token(digest: &KeyDigest) -> Self {
        let (halves, _) = digest.0.as_chunks::<16>();
        Self::Token(halves.first().copied().unwrap_or_default())
    }
}

// === impl LimitSubject ===

impl LimitSubject {
    /// Whose share of the room it takes: all resources of a key, and all addresses of a network.
    pub(crate) fn owner(&self) -> Self {
        Self {
            address: self.address.map(network),
            resource: 0,
            ..*self
        }
    }

    /// What owners of this place share, where there is no room for the subjects of a rule.
    pub(crate) fn overflow(rule: u64, place: u64) -> Self {
        Self {
            rule,
            key: None,
            address: None,
            resource: place,
        }
    }

    pub(crate) fn is_overflow(&self) -> bool {
        self.key.is_none() && self.address.is_none()
    }
}

// In as few words as tell subjects of one rule apart: this runs on every request.
impl Hash for LimitSubject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.rule);
        match self.key {
            None => {}
            Some(KeySubject::ApiKey(id)) => state.write_i64(id),
            Some(KeySubject::Token(half)) => state.write_u128(u128::from_ne_bytes(half)),
        }
        match self.address {
            None => {}
            Some(IpAddr::V4(address)) => state.write_u32(address.to_bits()),
            Some(IpAddr::V6(address)) => state.write_u128(address.to_bits()),
        }
        state.write_u64(self.resource);
    }
}

/// What one customer of a provider has at most as a rule: a /24 of IPv4, a /48 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).into(),
    }
}
