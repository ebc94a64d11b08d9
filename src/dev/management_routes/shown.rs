//! Values as the management API writes them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

pub(super) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

pub(super) fn id_text(id: Option<i64>) -> Option<String> {
    id.map(|id| id.to_string())
}

/// Most optional members are absent rather than null.
pub(super) fn add_if_some(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    let members: Option<&mut Map<String, Value>> = object.as_object_mut();
    if let (Some(members), Some(value)) = (members, value) {
        members.insert(name.to_owned(), value.into());
    }
}
