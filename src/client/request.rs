//! What is asked of the management API.

use bytes::Bytes;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::{Error, Result};

/// One request, which can be sent more than once.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Made by [`path`].
    pub(crate) path: String,
    /// Made by [`template`].
    pub(crate) template: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) payload: Payload,
    /// How many bytes of a good answer are read, if not as many as of any other.
    pub(crate) answer_limit: Option<usize>,
}

/// What a request carries.
#[derive(Clone)]
pub(crate) enum Payload {
    None,
    Json(Bytes),
    Multipart(Form),
}

/// A `multipart/form-data` body: its parts, in the order of their making.
#[derive(Clone, Default)]
pub(crate) struct Form {
    parts: Vec<Part>,
}

#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) content: Bytes,
    pub(crate) file: Option<FileHead>,
}

/// What makes a part a file.
#[derive(Clone)]
pub(crate) struct FileHead {
    pub(crate) name: String,
    pub(crate) content_type: String,
}

// === impl Form ===

impl Form {
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.parts.push(Part {
            name,
            content: text.into().into(),
            file: None,
        });
        self
    }

    /// The content type is the part's own; a part without one is taken for a text.
    pub(crate) fn file(mut self, name: &'static str, content: Bytes, file: FileHead) -> Self {
        self.parts.push(Part {
            name,
            content,
            file: Some(file),
        });
        self
    }
}

/// Puts the segments behind one another, each encoded as a whole.
///
/// # Errors
///
/// [`Error::InvalidRequest`] for a segment that a URL cannot carry: empty, `.` and `..` would
/// name another resource.
pub(crate) fn path(segments: &[&str]) -> Result<String> {
    let mut path = String::new();
    for segment in segments {
        if matches!(*segment, "" | "." | "..") {
            return Err(Error::InvalidRequest(format!(
                "{segment:?} cannot stand in a path: a name is not empty, `.` or `..`"
            )));
        }
        path.push('/');
        path.extend(utf8_percent_encode(segment, ENCODED_IN_A_SEGMENT));
    }
    Ok(path)
}

/// The path with a name in the place of whatever says which app, key or other object it is about.
pub(crate) fn template(segments: &[&str]) -> String {
    let mut template = String::new();
    let mut named = None;
    for segment in segments {
        template.push('/');
        if let Some(name) = named.take() {
            template.push_str(name);
            continue;
        }
        template.push_str(segment);
        // An id stands behind the collection that it is from, and nowhere else.
        named = match *segment {
            "apps" => Some("{app_slug}"),
            "clients" => Some("{client_id}"),
            "grants" => Some("{grant_id}"),
            "keys" => Some("{key_id}"),
            "rate-limit-schemes" => Some("{scheme_slug}"),
            "scopes" => Some("{scope}"),
            _ => None,
        };
    }
    template
}

const ENCODED_IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_name_no_object() {
        for (segments, expected) in [
            (&["oauth", "apps"][..], "/oauth/apps"),
            (&["oauth", "apps", "keys"], "/oauth/apps/{app_slug}"),
            (
                &["api-auth", "apps", "apps", "keys", "7", "revoke"],
                "/api-auth/apps/{app_slug}/keys/{key_id}/revoke",
            ),
            (
                &[
                    "oauth", "apps", "a", "clients", "7", "grants", "8", "revoke",
                ],
                "/oauth/apps/{app_slug}/clients/{client_id}/grants/{grant_id}/revoke",
            ),
            (
                &["oauth", "apps", "a", "scopes", "orders:read", "mapping"],
                "/oauth/apps/{app_slug}/scopes/{scope}/mapping",
            ),
            (
                &["api-auth", "rate-limit-schemes", "strict"],
                "/api-auth/rate-limit-schemes/{scheme_slug}",
            ),
        ] {
            assert_eq!(template(segments), expected);
        }
    }

    #[test]
    fn segments_stay_segments() {
        for (slug, expected) in [
            ("billing-api", "/apps/billing-api"),
            ("a/../b", "/apps/a%2F..%2Fb"),
            ("%2e%2e", "/apps/%252e%252e"),
            ("a?b#c", "/apps/a%3Fb%23c"),
            ("tab\tline\n", "/apps/tab%09line%0A"),
            ("\\", "/apps/%5C"),
            ("ü", "/apps/%C3%BC"),
            ("...", "/apps/..."),
        ] {
            assert_eq!(path(&["apps", slug]).unwrap(), expected);
        }
        for slug in ["", ".", ".."] {
            assert!(matches!(
                path(&["apps", slug]),
                Err(Error::InvalidRequest(_))
            ));
        }
    }
}
