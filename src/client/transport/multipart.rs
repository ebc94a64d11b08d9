//! A form as the body of a request: `multipart/form-data` as RFC 7578 has it, with the escapes of
//! WHATWG's HTML, which every server reads.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use http::HeaderValue;

use crate::client::error::{Error, Result};
use crate::client::request::Form;

/// The content type, and the body whole: one that can be sent again, as it is where the peer says
/// that it did not process it.
///
/// # Errors
///
/// [`Error::InvalidRequest`] for a file whose content type is none.
pub(super) fn encode(form: &Form) -> Result<(String, Bytes)> {
    let boundary = boundary();
    let mut body = Vec::new();
    for part in form.parts() {
        let name = escaped(part.name);
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
        if let Some(file) = &part.file {
            if !is_content_type(&file.content_type) {
                let message = format!("{:?} is not a content type", file.content_type);
                return Err(Error::InvalidRequest(message));
            }
            let name = escaped(&file.name);
            head += &format!(
                "; filename=\"{name}\"\r\nContent-Type: {}",
                file.content_type
            );
        }
        head += "\r\n\r\n";
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    Ok((content_type, body.into()))
}

/// 128 bits that nobody knows beforehand, so that no content holds them.
fn boundary() -> String {
    let half = || RandomState::new().hash_one(());
    format!("wacht-{:016x}{:016x}", half(), half())
}

/// A name as it may stand between quotes.
fn escaped(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A type and a subtype, with whatever parameters, in one line.
fn is_content_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_token = |part: &str| {
        let is_of_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_of_token)
    };
    HeaderValue::from_str(text).is_ok()
        && essence
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::request::FileHead;

    fn file(name: &str, content_type: &str) -> Result<(String, Bytes)> {
        let head = FileHead {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
        };
        encode(&Form::default().file("logo", Bytes::from_static(b"\r\n--x--"), head))
    }

    #[test]
    fn a_form_is_its_parts_between_boundaries() {
        let form = Form::default().text("slug", "a").text("name", "ü\r\n");
        let (content_type, body) = encode(&form).unwrap();
        let boundary = content_type
            .strip_prefix("multipart/form-data; boundary=")
            .unwrap();
        let expected = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"slug\"\r\n\r\na\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nü\r\n\r\n\
             --{boundary}--\r\n"
        );
        assert_eq!(body, expected.as_bytes());
        assert_ne!(encode(&form).unwrap().0, content_type, "another boundary");
    }

    #[test]
    fn a_files_name_stays_within_its_quotes() {
        let (_, body) = file("a\"; name=\"slug\"\r\n\r\nx.png", "image/png").unwrap();
        let body = String::from_utf8(body.into()).unwrap();
        assert!(
            body.contains(
                "; filename=\"a%22; name=%22slug%22%0D%0A%0D%0Ax.png\"\r\nContent-Type: image/png\r\n\r\n"
            ),
            "{body}"
        );
    }

    #[test]
    fn what_is_no_content_type_is_refused() {
        for good in ["image/png", "image/svg+xml; charset=utf-8", "a/b;c"] {
            assert!(file("x", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "png",
            "image/",
            "/png",
            "a b/c",
            "a/b/c",
            "image/png\r\nX: y",
        ] {
            let refused = file("x", bad);
            assert!(matches!(refused, Err(Error::InvalidRequest(_))), "{bad}");
        }
    }
}
