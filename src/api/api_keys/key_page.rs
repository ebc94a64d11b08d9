//! A list of keys as replicas tell each other: what a verdict can be held against, and neither names
//! nor metadata.

use std::time::Duration;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::key_list::{KeyList, ListedKey};

/// The version of the form. Replicas of another do not understand each other, and read for themselves.
pub(crate) const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Page {
    version: u32,
    keys: Vec<Row>,
}

/// Id, whether it is revoked, when it ends in microseconds since 1970, and what it may do.
#[derive(Serialize, Deserialize)]
struct Row(i64, bool, Option<u64>, Vec<Box<str>>);

impl KeyList {
    /// For other replicas, unless it is longer than is good for the store.
    pub(crate) fn to_page(&self) -> Option<Vec<u8>> {
        let rows = self.keys().iter().map(|key| {
            let ends_at = key.ends_at().map(micros);
            let permissions = key.permissions().into_iter().map(Into::into).collect();
            Row(key.id(), key.is_revoked(), ends_at, permissions)
        });
        let page = Page {
            version: VERSION,
            keys: rows.collect(),
        };
        let page = serde_json::to_vec(&page).ok()?;
        (page.len() <= LONGEST).then_some(page)
    }

    /// From another replica, which has looked whose keys they are.
    pub(crate) fn from_page(page: &[u8]) -> Option<Self> {
        let page: Page = serde_json::from_slice(page).ok()?;
        if page.version != VERSION {
            return None;
        }
        let keys = page
            .keys
            .into_iter()
            .map(|Row(id, is_revoked, ends_at, permissions)| {
                let expires_at = match ends_at {
                    Some(ends_at) => Some(DateTime::from_timestamp_micros(
                        i64::try_from(ends_at).ok()?,
                    )?),
                    None => None,
                };
                Some(ListedKey::told(id, is_revoked, expires_at, permissions))
            });
        Some(Self::of(keys.collect::<Option<_>>()?))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Some ten thousand keys.
const LONGEST: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(rows: usize) -> KeyList {
        let row = |id: usize| {
            json!({
                "id": id.to_string(), "deployment_id": "7", "app_slug": "orders",
                "name": "the name of a key", "key_prefix": "sk_live", "key_suffix": "wxyz",
                "permissions": ["b", "a"], "org_role_permissions": ["c"],
                "workspace_role_permissions": [], "metadata": {"plan": "gold"},
                "is_active": id != 2, "expires_at": (id == 3).then_some("2026-11-21T22:24:13.605921Z"),
            })
        };
        let body = json!({ "keys": (1..=rows).map(row).collect::<Vec<_>>() });
        KeyList::decode(body.to_string().as_bytes(), 7, "orders").unwrap()
    }

    #[test]
    fn what_another_has_read_says_the_same() {
        let read = list(3);
        let told = KeyList::from_page(&read.to_page().unwrap()).unwrap();
        assert_eq!(told.keys().len(), 3);
        for id in 1..=3 {
            let (read, told) = (read.get(id).unwrap(), told.get(id).unwrap());
            assert_eq!(told.permissions(), read.permissions());
            assert_eq!(told.ends_at(), read.ends_at());
            assert_eq!(told.is_revoked(), id == 2);
        }
        assert!(told.get(3).unwrap().ends_at().is_some());
    }

    #[test]
    fn it_has_no_names_and_no_part_of_a_key() {
        let page = String::from_utf8(list(3).to_page().unwrap()).unwrap();
        for word in ["the name of a key", "sk_live", "wxyz", "gold", "orders"] {
            assert!(!page.contains(word), "{page}");
        }
    }

    #[test]
    fn garbage_and_other_versions_are_none() {
        let page = String::from_utf8(list(1).to_page().unwrap()).unwrap();
        assert!(KeyList::from_page(page.as_bytes()).is_some());
        let other = page.replace("\"version\":1", "\"version\":2");
        assert_ne!(page, other);
        for page in [&*other, &page[1..], "", "{}", "[]", "null"] {
            assert!(KeyList::from_page(page.as_bytes()).is_none(), "{page}");
        }
        let late = format!(r#"{{"version":1,"keys":[[1,false,{},[]]]}}"#, u64::MAX);
        assert!(KeyList::from_page(late.as_bytes()).is_none());
    }

    #[test]
    fn a_very_long_list_is_kept_to_oneself() {
        assert!(list(9_000).to_page().is_some());
        assert!(list(30_000).to_page().is_none());
    }
}
