//! A list of keys as the gate reads it: of each row what a verdict can be held against, and no more.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::ListApiKeysBuilder;
use crate::api::id;
use crate::client::{DecodeError, Result, decode};

/// The keys of an app that a list shows, by their ids.
#[derive(Debug)]
pub(crate) struct KeyList(Vec<ListedKey>);

/// A key that a list shows.
#[derive(Debug, Deserialize)]
pub(crate) struct ListedKey {
    #[serde(deserialize_with = "id::required")]
    id: i64,
    #[serde(deserialize_with = "id::required")]
    deployment_id: i64,
    app_slug: Box<str>,
    // All three have to be there and be lists: what is taken for empty is taken from the key.
    permissions: Vec<Box<str>>,
    org_role_permissions: Vec<Box<str>>,
    workspace_role_permissions: Vec<Box<str>>,
    // It has to be there, too: without one, a key never ends.
    #[serde(deserialize_with = "Option::deserialize")]
    expires_at: Option<DateTime<Utc>>,
    is_active: bool,
    #[serde(default)]
    revoked_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(alias = "data")]
    keys: Vec<ListedKey>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default)]
    total: Option<u64>,
}

impl ListApiKeysBuilder {
    /// Asks once, waits for the answer `within` this time and reads `answer_limit` bytes of it.
    pub(crate) async fn body(self, within: Duration, answer_limit: usize) -> Result<Bytes> {
        let call = self.call().without_retries(true).within(Some(within));
        call.answer_limit(Some(answer_limit)).bytes().await
    }
}

impl KeyList {
    /// Only a whole list, of this app of this deployment, is one: what it lacks means something.
    pub(crate) fn decode(body: &[u8], deployment: i64, app: &str) -> Result<Self> {
        let envelope: Envelope = decode(WHAT, body)?;
        let length = u64::try_from(envelope.keys.len()).unwrap_or(u64::MAX);
        if envelope.has_more == Some(true) || envelope.total.is_some_and(|total| total > length) {
            return Err(DecodeError::new(WHAT, "there is more than that").into());
        }
        let is_another = |key: &ListedKey| key.deployment_id != deployment || *key.app_slug != *app;
        if envelope.keys.iter().any(is_another) {
            return Err(DecodeError::new(WHAT, "a key of it belongs to another app").into());
        }
        Ok(Self::of(envelope.keys))
    }

    pub(super) fn of(mut keys: Vec<ListedKey>) -> Self {
        keys.sort_unstable_by_key(|key| key.id);
        Self(keys)
    }

    pub(crate) fn keys(&self) -> &[ListedKey] {
        &self.0
    }

    pub(crate) fn get(&self, id: i64) -> Option<&ListedKey> {
        let place = self.0.binary_search_by_key(&id, |key| key.id).ok()?;
        self.0.get(place)
    }
}

impl ListedKey {
    /// A key as another replica has read it, which has looked whose it is.
    pub(super) fn told(
        id: i64,
        is_revoked: bool,
        expires_at: Option<DateTime<Utc>>,
        permissions: Vec<Box<str>>,
    ) -> Self {
        Self {
            id,
            deployment_id: 0,
            app_slug: Box::default(),
            permissions,
            org_role_permissions: Vec::new(),
            workspace_role_permissions: Vec::new(),
            expires_at,
            is_active: !is_revoked,
            revoked_at: None,
        }
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Whether it was revoked or rotated, which nothing takes back. An expired key is not.
    pub(crate) fn is_revoked(&self) -> bool {
        !self.is_active || self.revoked_at.is_some()
    }

    /// What it may do, sorted, each permission once: its own and those of its owner's roles.
    pub(crate) fn permissions(&self) -> Vec<&str> {
        let own = self.permissions.iter().chain(&self.org_role_permissions);
        let all = own.chain(&self.workspace_role_permissions);
        let mut all: Vec<&str> = all.map(|name| &**name).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// When it ends, since 1970, if ever. A time before that is as over as 1970 itself.
    pub(crate) fn ends_at(&self) -> Option<Duration> {
        let micros = self.expires_at?.timestamp_micros();
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}

const WHAT: &str = "a list of API keys";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(id: i64) -> Value {
        json!({
            "id": id.to_string(), "deployment_id": "7", "app_slug": "orders", "name": "ci",
            "permissions": ["b", "a"], "org_role_permissions": ["c", "a"],
            "workspace_role_permissions": ["d"], "metadata": {}, "is_active": true,
            "expires_at": null, "revoked_at": null,
        })
    }

    fn list(body: &Value) -> Result<KeyList> {
        KeyList::decode(body.to_string().as_bytes(), 7, "orders")
    }

    #[test]
    fn a_row_is_found_by_its_id_with_the_permissions_of_all_three() {
        let list = list(&json!({"keys": [row(9), row(3), row(5)]})).unwrap();
        assert!(list.get(4).is_none());
        let key = list.get(3).unwrap();
        assert_eq!(key.permissions(), ["a", "b", "c", "d"]);
        assert!(!key.is_revoked() && key.ends_at().is_none());
    }

    #[test]
    fn revoked_and_ended_are_two_things() {
        let mut rows = [row(1), row(2), row(3), row(4)];
        rows[0]["is_active"] = json!(false);
        rows[1]["revoked_at"] = json!("2026-11-21T22:24:13.605921Z");
        rows[2]["expires_at"] = json!("1970-01-01T00:00:01.5Z");
        rows[3]["expires_at"] = json!("1969-01-01T00:00:00Z");
        let list = list(&json!({ "keys": rows })).unwrap();
        let get = |id| list.get(id).unwrap();
        assert!(get(1).is_revoked() && get(2).is_revoked());
        assert!(!get(3).is_revoked() && !get(4).is_revoked());
        assert_eq!(get(3).ends_at(), Some(Duration::from_millis(1500)));
        assert_eq!(get(4).ends_at(), Some(Duration::ZERO));
    }

    #[test]
    fn what_may_not_be_the_whole_list_is_none() {
        let mut strangers = row(1);
        strangers["deployment_id"] = json!("8");
        let mut others = row(1);
        others["app_slug"] = json!("billing");
        let mut garbled = row(1);
        garbled["permissions"] = json!("all");
        let mut without = row(1);
        without
            .as_object_mut()
            .unwrap()
            .remove("org_role_permissions");
        let mut null = row(1);
        null["permissions"] = json!(null);
        let mut endless = row(1);
        endless.as_object_mut().unwrap().remove("expires_at");
        for body in [
            json!({ "keys": [null] }),
            json!({ "keys": [endless] }),
            json!({"keys": [row(1)], "has_more": true}),
            json!({"keys": [row(1)], "total": 2}),
            json!({ "keys": [strangers] }),
            json!({ "keys": [row(2), others] }),
            json!({ "keys": [garbled] }),
            json!({ "keys": [without] }),
            json!({}),
            json!([row(1)]),
            json!({"keys": {"1": row(1)}}),
        ] {
            assert!(list(&body).is_err(), "{body}");
        }
        let whole = json!({"data": [row(1)], "has_more": false, "total": 1});
        assert!(list(&whole).is_ok());
        assert!(list(&json!({"keys": []})).is_ok());
    }
}
