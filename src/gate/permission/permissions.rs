//! The permissions that a caller holds.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::memory;

/// The permissions a caller holds. Cheap to clone.
///
/// Names are compared exactly: case counts, and `*` is a character like any other. serde
/// writes and reads them as a list.
///
/// ```
/// use wacht_auth::{Permissions, Requirement};
///
/// let held: Permissions = ["orders:read", "orders:write"].into_iter().collect();
/// assert!(held.contains("orders:read"));
/// assert!(!held.contains("orders:*"));
/// assert!(held.satisfies(&Requirement::try_from("admin OR orders:write")?));
/// # Ok::<(), wacht_auth::RequirementError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Permissions(Arc<[Box<str>]>);

impl Permissions {
    /// Whether the caller holds exactly this permission.
    #[must_use]
    pub fn contains(&self, permission: &str) -> bool {
        self.0
            .binary_search_by(|held| (**held).cmp(permission))
            .is_ok()
    }

    /// Whether the caller holds every one of these permissions. True for none.
    #[must_use]
    pub fn contains_all(&self, permissions: impl IntoIterator<Item: AsRef<str>>) -> bool {
        permissions
            .into_iter()
            .all(|permission| self.contains(permission.as_ref()))
    }

    /// Whether the caller holds at least one of these permissions. False for none.
    ///
    /// ```
    /// use wacht_auth::Permissions;
    ///
    /// let held: Permissions = ["orders:read", "orders:write"].into_iter().collect();
    /// assert!(held.contains_any(["orders:read", "admin"]));
    /// assert!(!held.contains_all(["orders:read", "admin"]));
    /// assert!(!held.contains_any([""; 0]) && held.contains_all([""; 0]), "of no permissions");
    /// ```
    #[must_use]
    pub fn contains_any(&self, permissions: impl IntoIterator<Item: AsRef<str>>) -> bool {
        permissions
            .into_iter()
            .any(|permission| self.contains(permission.as_ref()))
    }

    /// The names, sorted, each once.
    ///
    /// ```
    /// use wacht_auth::Permissions;
    ///
    /// let held: Permissions = ["orders:write", "orders:read", "orders:read"].into_iter().collect();
    /// assert!(held.iter().eq(["orders:read", "orders:write"]));
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.0.iter().map(AsRef::as_ref)
    }

    /// The number of different permissions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the caller holds no permission.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes of memory the names take.
    pub(crate) fn weight(&self) -> usize {
        let list = 2 * size_of::<usize>() + self.0.len() * size_of::<Box<str>>();
        let names = self.0.iter().map(|name| memory::allocated(name.len()));
        memory::allocated(list) + names.sum::<usize>()
    }

    /// How many of those bytes fall to one of those who hold the set. The one that knows it for
    /// others to share does not count.
    pub(crate) fn share_of_weight(&self) -> usize {
        let holders = Arc::strong_count(&self.0) - 1;
        self.weight() / holders.max(1)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Permissions {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// From a list of names, in any order.
impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Box<str>>::deserialize(deserializer)?;
        Ok(names.into_iter().collect())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_a_sorted_set() {
        let permissions: Permissions = ["b", "a", "b"].into_iter().collect();
        assert_eq!(permissions.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(format!("{permissions:?}"), r#"["a", "b"]"#);
        assert_eq!(permissions.len(), 2);
        assert!(!permissions.is_empty());
        assert!(permissions.contains_all(["a", "b"]));
        assert!(!permissions.contains_all(vec!["a".to_owned(), "c".to_owned()]));
        assert!(permissions.contains_any(["c", "b"]));
        assert!(!permissions.contains_any(["c", "A", ""]));
        assert!(permissions.contains_all([""; 0]));
        assert!(!permissions.contains_any([""; 0]));
        assert!(permissions.weight() > Permissions::default().weight());
    }

    #[test]
    fn a_list_of_names_is_all_that_is_written() {
        let read: Permissions = serde_json::from_str(r#"["b", "a", "b"]"#).unwrap();
        assert_eq!(read, ["b", "a"].into_iter().collect());
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["a","b"]"#);
        assert!(serde_json::from_str::<Permissions>(r#"["a", 1]"#).is_err());
    }
}
