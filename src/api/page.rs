//! Lists: one page of them, in whichever envelope it comes.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::client::{DecodeError, Result, decode, decode_from};

/// One page of a list.
///
/// All pages, one at a time:
///
/// ```
/// use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// for slug in ["a", "b", "c"] {
///     wacht.app(slug);
/// }
/// let mut seen = 0;
/// loop {
///     let page = client.api_keys().list_api_auth_apps().page(2, seen).send().await?;
///     seen += page.items.len() as u64;
///     if !page.has_more {
///         break;
///     }
/// }
/// assert_eq!((seen, wacht.journal().management_calls()), (3, 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// Whether there is another page behind this one.
    pub has_more: bool,
    /// How many items there are on all pages, if the answer says so.
    pub total: Option<i64>,
    /// How many items were asked for, if the answer repeats it.
    pub limit: Option<i64>,
    /// How many items are before this page, if the answer repeats it.
    pub offset: Option<i64>,
}

impl<T: DeserializeOwned> Page<T> {
    /// Accepts the list under `data` or under one of `names`, also nested under `data`, and bare.
    pub(crate) fn decode(what: &'static str, names: &[&str], body: &[u8]) -> Result<Self> {
        let envelope: Value = decode(what, body)?;
        let Some((place, list, members)) = find(envelope, names) else {
            return Err(DecodeError::new(what, "there is no list in it").into());
        };
        let number = |name| members.get(name).and_then(Value::as_i64);
        let (total, limit, offset) = (number("total"), number("limit"), number("offset"));
        let seen = offset
            .unwrap_or(0)
            .saturating_add_unsigned(list.len() as u64);
        let has_more = members
            .get("has_more")
            .and_then(Value::as_bool)
            .unwrap_or_else(|| total.is_some_and(|total| seen < total));
        let items = list
            .into_iter()
            .enumerate()
            .map(|(index, item)| decode_from(what, &format!("{place}[{index}]"), item))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            items,
            has_more,
            total,
            limit,
            offset,
        })
    }
}

/// Where the list is, the list, and the members that stand beside it or around it.
fn find(envelope: Value, names: &[&str]) -> Option<(String, Vec<Value>, Map<String, Value>)> {
    let mut members = match envelope {
        Value::Array(list) => return Some((String::new(), list, Map::new())),
        Value::Object(members) => members,
        _ => return None,
    };
    for name in names {
        if let Some(Value::Array(list)) = members.get_mut(*name).map(Value::take) {
            return Some(((*name).to_owned(), list, members));
        }
    }
    match members.remove("data")? {
        Value::Array(list) => Some(("data".to_owned(), list, members)),
        Value::Object(mut inner) => {
            let (name, list) = names.iter().find_map(|name| match inner.remove(*name) {
                Some(Value::Array(list)) => Some((name, list)),
                _ => None,
            })?;
            members.extend(inner);
            Some((format!("data.{name}"), list, members))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Result<Page<i64>> {
        Page::decode("a list", &["apps"], body.as_bytes())
    }

    #[test]
    fn every_known_envelope_is_read() {
        for body in [
            r#"{"data":[1,2],"has_more":true}"#,
            r#"{"apps":[1,2],"total":3}"#,
            r#"{"data":{"apps":[1,2],"has_more":true}}"#,
            r#"{"data":{"apps":[1,2]},"has_more":true}"#,
            r#"{"data":[1,2],"total":7,"offset":4}"#,
        ] {
            let page = page(body).unwrap();
            assert_eq!(page.items, [1, 2], "{body}");
            assert!(page.has_more, "{body}");
        }
    }

    #[test]
    fn a_list_that_says_nothing_about_more_is_complete() {
        for body in [
            "[1,2]",
            r#"{"data":[1,2]}"#,
            r#"{"apps":[1,2],"total":2}"#,
            r#"{"data":[1,2],"total":6,"offset":4,"limit":2}"#,
            r#"{"data":[1,2],"has_more":null}"#,
        ] {
            let page = page(body).unwrap();
            assert_eq!(page.items, [1, 2], "{body}");
            assert!(!page.has_more, "{body}");
        }
    }

    #[test]
    fn an_answer_without_list_or_with_a_wrong_item_is_an_error() {
        for body in [
            "{}",
            "null",
            "3",
            r#"{"data":{}}"#,
            r#"{"keys":[1]}"#,
            r#"{"data":["x"]}"#,
        ] {
            assert!(page(body).is_err(), "{body}");
        }
    }
}
