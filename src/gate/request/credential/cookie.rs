//! The cookie that holds a key, among others.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::gate::request::credential::key::Malformed;

/// The value of this cookie. HTTP/2 may send each cookie in a line of its own (RFC 9113, section
/// 8.2.3).
///
/// # Errors
///
/// [`Malformed`] if there are two.
pub(super) fn value<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, Malformed> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| pairs(line.as_bytes()));
    let mut values = pairs.filter_map(|pair| value_of(pair, name));
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Malformed),
    }
}

/// Removes this cookie and leaves the others.
pub(super) fn remove(headers: &mut HeaderMap, name: &str) {
    let has_it =
        |line: &HeaderValue| pairs(line.as_bytes()).any(|pair| value_of(pair, name).is_some());
    if !headers.get_all(COOKIE).iter().any(has_it) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        let others = pairs(line.as_bytes()).filter(|pair| value_of(pair, name).is_none());
        let others = others.collect::<Vec<_>>().join(&b"; "[..]);
        let Ok(mut others) = HeaderValue::from_bytes(&others) else {
            continue;
        };
        if !others.is_empty() {
            others.set_sensitive(true);
            headers.append(COOKIE, others);
        }
    }
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}

/// The value of a pair of this name.
fn value_of<'h>(pair: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (found, value) = pair.split_at_checked(equals)?;
    let is_it = found.trim_ascii_end() == name.as_bytes();
    is_it.then(|| value.get(1..).unwrap_or_default().trim_ascii_start())
}
