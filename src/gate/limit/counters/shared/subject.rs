//! What subjects are called in the store: a keyed hash, so that nobody who reads it learns of keys
//! and addresses, nor finds out whether one he guesses is there.

use std::fmt;

use sha2::{Digest, Sha256};

use super::store::SubjectId;

/// Made of the management key, which all replicas of a deployment have anyway.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SubjectSecret([u8; 32]);

impl SubjectSecret {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The name of a rule.
    pub(super) fn name(&self, rule: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(rule);
        hash.finalize().into()
    }
}

/// A subject of the rule with this name, which is a secret as well.
pub(super) fn id(rule: &[u8; 32], of: &[u8]) -> SubjectId {
    let mut hash = Sha256::new_with_prefix(rule);
    hash.update(of);
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    // Half of it: what could be lengthened would have to be known whole.
    id.copy_from_slice(&digest[..16]);
    SubjectId(id)
}

impl fmt::Debug for SubjectSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectSecret")
    }
}
