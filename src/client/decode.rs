//! Good answers, and what is said about one that cannot be understood.

use serde::de::{DeserializeOwned, Deserializer};
use serde_path_to_error::{Path, Segment};

/// A successful answer could not be understood: it is too long, no JSON, or of another shape.
///
/// It says what was being read and which member of it is wrong, and quotes nothing of the
/// answer.
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::dev::{DevGateway, Fault, On};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let client = wacht.client();
/// let body = r#"{"data": [{"deployment_id": true}]}"#;
/// wacht.fault(On::Management, Fault::body(200, "application/json", body));
/// match client.api_keys().list_api_auth_apps().send().await {
///     Err(Error::Decode(error)) => assert_eq!(error.path(), Some("data[0].deployment_id")),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("could not decode {what}: {detail} ({})", self.hint())]
pub struct DecodeError {
    what: &'static str,
    path: Option<String>,
    detail: String,
    is_too_long: bool,
}

impl DecodeError {
    pub(crate) fn new(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            path: None,
            detail: detail.into(),
            is_too_long: false,
        }
    }

    /// Of an answer, there was more than `limit` bytes.
    pub(crate) fn too_long(limit: usize) -> Self {
        let detail = format!("it is longer than {limit} bytes");
        Self {
            is_too_long: true,
            ..Self::new("an answer", detail)
        }
    }

    /// What to do about it.
    fn hint(&self) -> &'static str {
        match self.is_too_long {
            true => "raise `answer_limit` if that may be so",
            false => "is the URL that of Wacht? a newer wacht-auth may help",
        }
    }

    /// Whether there was more of the answer than is read.
    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// The member that could not be read, such as `data[3].created_at`, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    fn json(what: &'static str, path: Option<String>, error: &serde_json::Error) -> Self {
        let mut detail = problem(error);
        if let Some(path) = &path {
            detail = format!("{detail}, at `{path}`");
        }
        // A value that was read before knows no line.
        if error.line() != 0 {
            let (line, column) = (error.line(), error.column());
            detail = format!("{detail}, line {line} column {column}");
        }
        Self {
            path,
            ..Self::new(what, detail)
        }
    }
}

/// Decodes a good answer, of which `what` is the name in messages.
pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    body: &[u8],
) -> Result<T, DecodeError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = decode_from(what, "", &mut json)?;
    json.end()
        .map_err(|error| DecodeError::json(what, None, &error))?;
    Ok(value)
}

/// Decodes a part of a good answer that stands at `place` of it.
pub(crate) fn decode_from<'de, T, D>(
    what: &'static str,
    place: &str,
    from: D,
) -> Result<T, DecodeError>
where
    T: DeserializeOwned,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(from).map_err(|error| {
        let path = shown(place, error.path());
        DecodeError::json(what, path, error.inner())
    })
}

fn problem(error: &serde_json::Error) -> String {
    // Only this message of serde is made of our own words; the others quote the answer, which
    // holds keys when a key is created.
    let text = error.to_string();
    if let Some(rest) = text.strip_prefix("missing field `") {
        let name = rest.split('`').next().unwrap_or_default();
        return format!("missing field `{name}`");
    }
    match error.classify() {
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "the JSON ends early",
        _ => "a member has another type or value",
    }
    .to_owned()
}

fn shown(place: &str, path: &Path) -> Option<String> {
    let mut shown = place.to_owned();
    for segment in path {
        match segment {
            Segment::Seq { index } => shown.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                // Names are text of the answer. Those of ours are plain words, which no key is.
                match is_plain_word(name) {
                    true => shown.push_str(name),
                    false => shown.push('…'),
                }
            }
            Segment::Unknown => {}
        }
    }
    (!shown.is_empty()).then_some(shown)
}

fn is_plain_word(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

const LONGEST_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decode_error_quotes_nothing() {
        #[derive(Debug, serde::Deserialize)]
        struct Answer {
            #[serde(rename = "secret")]
            _secret: i64,
        }
        for (body, expected) in [
            (
                r#"{"secret":"sk_SYNTHETIC"}"#,
                "another type or value, at `secret`, line 1",
            ),
            (r#"{"other":"sk_SYNTHETIC"}"#, "missing field `secret`"),
            ("sk_SYNTHETIC", "not JSON"),
            (r#"{"secret":"sk_SYNTHETIC"#, "the JSON ends early"),
            (r#"{"sk_\"SYNTHETIC\\":{"a":?"#, "not JSON"),
            (r#"{"\u0073k_SYNTHETIC-7":{"a":?"#, "not JSON"),
        ] {
            let error = decode::<Answer>("an answer", body.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(expected), "{shown}");
            assert!(!shown.contains("SYNTHETIC"), "{shown}");
        }
    }
}
