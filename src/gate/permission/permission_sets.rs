//! Equal sets of permissions, kept once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::gate::permission::permissions::Permissions;

/// The sets that the keys of an app hold: mostly the same few, so that keys share them.
#[derive(Debug, Default)]
pub(crate) struct PermissionSets(Mutex<VecDeque<Permissions>>);

impl PermissionSets {
    const MOST: usize = 64;
    /// Bytes: what is known here is no part of what bounds the cache.
    const HEAVIEST: usize = 6 * 1024;

    /// The set as it is known already, or itself, known from now on.
    pub(crate) fn share(&self, permissions: Permissions) -> Permissions {
        if permissions.weight() > Self::HEAVIEST {
            return permissions;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| **known == permissions) {
            return known.clone();
        }
        if known.len() == Self::MOST {
            known.pop_front();
        }
        known.push_back(permissions.clone());
        permissions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(names: &str) -> Permissions {
        names.split_whitespace().collect()
    }

    fn is_shared(one: &Permissions, other: &Permissions) -> bool {
        one.iter()
            .zip(other.iter())
            .any(|(one, other)| std::ptr::eq(one, other))
    }

    #[test]
    fn keys_with_equal_sets_share_one_and_only_so_many_are_known() {
        let sets = PermissionSets::default();
        let first = sets.share(held("a b"));
        assert!(is_shared(&first, &sets.share(held("b a"))));
        assert_eq!(sets.share(held("a")), held("a"));
        for number in 0..PermissionSets::MOST {
            sets.share(held(&number.to_string()));
        }
        assert!(!is_shared(&first, &sets.share(held("a b"))));
        assert_eq!(sets.0.lock().unwrap().len(), PermissionSets::MOST);
        let heavy = held(&"a".repeat(PermissionSets::HEAVIEST));
        assert!(!is_shared(
            &sets.share(heavy.clone()),
            &sets.share(heavy.iter().collect())
        ));
    }
}
