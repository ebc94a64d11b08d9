//! Ids on the wire: decimal strings in most answers, integers in some, 64 bits in all.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// For `#[serde(deserialize_with)]` on an `i64`.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    // Not through f64, which cannot hold every id.
    deserializer.deserialize_any(IdVisitor)
}

/// The same for an `Option<i64>`; needs `default` beside it for members that may be absent.
pub(crate) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    Ok(Option::<Id>::deserialize(deserializer)?.map(|Id(id)| id))
}

struct Id(i64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        required(deserializer).map(Self)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a 64-bit id as a string or an integer")
    }

    fn visit_i64<E: Error>(self, id: i64) -> Result<i64, E> {
        Ok(id)
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<i64, E> {
        i64::try_from(id).map_err(|_| E::invalid_value(Unexpected::Unsigned(id), &self))
    }

    fn visit_str<E: Error>(self, id: &str) -> Result<i64, E> {
        id.parse()
            .map_err(|_| E::invalid_value(Unexpected::Str(id), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Ids {
        #[serde(deserialize_with = "super::required")]
        id: i64,
        #[serde(default, deserialize_with = "super::optional")]
        other: Option<i64>,
    }

    #[test]
    fn strings_and_integers_keep_every_digit() {
        for text in [
            r#"{"id":"9223372036854775807","other":9007199254740993}"#,
            r#"{"id":9223372036854775807,"other":"9007199254740993"}"#,
        ] {
            let ids: Ids = serde_json::from_str(text).unwrap();
            assert_eq!(ids.id, i64::MAX);
            assert_eq!(ids.other, Some(9_007_199_254_740_993));
        }
    }

    #[test]
    fn absent_and_null_are_the_same() {
        for text in [r#"{"id":1}"#, r#"{"id":1,"other":null}"#] {
            assert_eq!(serde_json::from_str::<Ids>(text).unwrap().other, None);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for id in [
            "1.5",
            "1e3",
            "9223372036854775808",
            "\"\"",
            "\"x\"",
            "null",
            "true",
            "\" 1\"",
        ] {
            let text = format!(r#"{{"id":{id}}}"#);
            assert!(serde_json::from_str::<Ids>(&text).is_err(), "{id}");
        }
    }
}
